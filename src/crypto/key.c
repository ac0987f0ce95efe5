/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/key.h"

#include "crypto/pkcs1.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

#include <stdatomic.h>
#include <string.h>

enum { RSA_MIN_BITS = 2048, RSA_PRIVATE_MAX_BITS = 4096, RSA_PUBLIC_MAX_BITS = 8 * PKCS1_BLOCK_MAX };

struct key {
	atomic_uint references;
	EVP_PKEY *pkey;
	OSSL_LIB_CTX *made_in;
	CK_KEY_TYPE type;
	unsigned bits, uses;
	bool is_private;
	uint8_t rejection_secret[32];
};

void __attribute__((noinline)) burn_stack(void)
{
#if __has_attribute(uninitialized) /* the flags would have it zeroed twice */
	__attribute__((uninitialized))
#endif
	unsigned char below[16 * 1024];

	memset(below, 0, sizeof(below));
	__asm__ volatile("" : : "r"(below) : "memory"); /* somebody may look at it, so it must be done */
}

static bool is_known_curve(EVP_PKEY *pkey)
{
	static const char *const curves[] = {"prime256v1", "secp384r1", "secp521r1", "secp256k1"};
	char name[32];

	if (!EVP_PKEY_get_group_name(pkey, name, sizeof(name), NULL))
		return false;
	for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
		if (strcmp(name, curves[i]) == 0)
			return true;
	return false;
}

static CK_RV classify(struct key *key)
{
	key->bits = (unsigned)EVP_PKEY_get_bits(key->pkey);
	if (EVP_PKEY_is_a(key->pkey, "RSA")) {
		key->type = CKK_RSA;
		unsigned max = key->is_private ? RSA_PRIVATE_MAX_BITS : RSA_PUBLIC_MAX_BITS;
		return key->bits < RSA_MIN_BITS || key->bits > max ? CKR_KEY_SIZE_RANGE : CKR_OK;
	}
	key->type = CKK_EC;
	return EVP_PKEY_is_a(key->pkey, "EC") && is_known_curve(key->pkey) ? CKR_OK : CKR_KEY_TYPE_INCONSISTENT;
}

static CK_RV derive_rejection_secret(struct key *key)
{
	auto_buf exponent = BUF(RSA_PRIVATE_MAX_BITS / 8);
	uint8_t *bytes;
	BIGNUM *d = NULL;
	int size = (int)key_size(key);

	if (buf_reserve(&exponent, (size_t)size, &bytes).failure)
		return CKR_HOST_MEMORY;
	if (!EVP_PKEY_get_bn_param(key->pkey, OSSL_PKEY_PARAM_RSA_D, &d))
		return CKR_KEY_TYPE_INCONSISTENT;
	bool fits = BN_bn2binpad(d, bytes, size) == size;
	BN_clear_free(d);
	if (!fits)
		return CKR_KEY_TYPE_INCONSISTENT;
	return sha256(bytes, (size_t)size, key->rejection_secret).failure ? CKR_HOST_MEMORY : CKR_OK;
}

static CK_RV prepare(struct key *key)
{
	CK_RV rv = classify(key);
	if (rv == CKR_OK && key->type == CKK_RSA && key->is_private) {
		rv = derive_rejection_secret(key);
		burn_stack();
	}
	return rv;
}

CK_RV key_new(EVP_PKEY *pkey, bool is_private, unsigned uses, struct key **ret)
{
	struct key *key = OPENSSL_zalloc(sizeof(*key));
	if (!key) {
		EVP_PKEY_free(pkey);
		return CKR_HOST_MEMORY;
	}
	atomic_init(&key->references, 1);
	key->pkey = pkey;
	key->made_in = ossl;
	key->is_private = is_private;
	key->uses = uses;

	ERR_set_mark();
	CK_RV rv = prepare(key);
	ERR_pop_to_mark();
	if (rv != CKR_OK) {
		key_drop(key);
		return rv;
	}
	*ret = key;
	return CKR_OK;
}

struct key *key_hold(struct key *key)
{
	if (key)
		atomic_fetch_add_explicit(&key->references, 1, memory_order_relaxed);
	return key;
}

void key_drop(struct key *key)
{
	if (!key || atomic_fetch_sub_explicit(&key->references, 1, memory_order_acq_rel) != 1)
		return;
	if (key->made_in == ossl) /* else its locks may be held by a thread that is no more: see ossl_renew() */
		EVP_PKEY_free(key->pkey);
	OPENSSL_clear_free(key, sizeof(*key));
}

CK_KEY_TYPE key_type(const struct key *key)
{
	return key->type;
}

unsigned key_bits(const struct key *key)
{
	return key->bits;
}

size_t key_size(const struct key *key)
{
	return (key->bits + 7) / 8;
}

unsigned key_uses(const struct key *key)
{
	return key->uses;
}

bool key_is_private(const struct key *key)
{
	return key->is_private;
}

EVP_PKEY *key_pkey(const struct key *key)
{
	return key->pkey;
}

const uint8_t *key_rejection_secret(const struct key *key)
{
	return key->rejection_secret;
}
