/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#include <openssl/core_names.h>

#include <stdatomic.h>
#include <stdbool.h>

static const struct {
	const char *name;
	size_t size;
} digests[DIGEST_COUNT] = {
    [DIGEST_SHA1] = {"SHA1", 20},       [DIGEST_SHA224] = {"SHA2-224", 28}, [DIGEST_SHA256] = {"SHA2-256", 32},
    [DIGEST_SHA384] = {"SHA2-384", 48}, [DIGEST_SHA512] = {"SHA2-512", 64},
};

struct fetched {
	OSSL_LIB_CTX *from;
	EVP_MD *md[DIGEST_COUNT];
	EVP_MAC *hmac;
};

static struct fetched *_Atomic published;

static void fetched_free(struct fetched *f)
{
	if (!f)
		return;
	for (int i = 0; i < DIGEST_COUNT; i++)
		EVP_MD_free(f->md[i]);
	EVP_MAC_free(f->hmac);
	OPENSSL_free(f);
}

static struct fetched *fetch(void)
{
	struct fetched *f = OPENSSL_zalloc(sizeof(*f));
	if (!f)
		return NULL;

	f->from = ossl;
	f->hmac = EVP_MAC_fetch(ossl, OSSL_MAC_NAME_HMAC, NULL);
	bool complete = f->hmac != NULL;
	for (int i = DIGEST_NONE + 1; complete && i < DIGEST_COUNT; i++) {
		f->md[i] = EVP_MD_fetch(ossl, digests[i].name, NULL);
		complete = f->md[i] != NULL;
	}
	if (!complete) {
		fetched_free(f);
		return NULL;
	}
	return f;
}

/* What was fetched from a context that ossl_renew() replaced is left alone, like all that was made in it. */
static const struct fetched *fetched(void)
{
	struct fetched *found = atomic_load_explicit(&published, memory_order_acquire);
	if (found && found->from == ossl)
		return found;

	struct fetched *fresh = fetch();
	if (!fresh || atomic_compare_exchange_strong(&published, &found, fresh))
		return fresh;
	fetched_free(fresh); /* another thread was first */
	return found;
}

size_t digest_size(enum digest digest)
{
	return digests[digest].size;
}

const EVP_MD *digest_md(enum digest digest)
{
	const struct fetched *f = fetched();
	return f ? f->md[digest] : NULL;
}

EVP_MAC *digest_hmac(void)
{
	const struct fetched *f = fetched();
	return f ? f->hmac : NULL;
}
