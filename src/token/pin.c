/* SPDX-License-Identifier: Apache-2.0 */
#include "token/pin.h"

#include "base/base64.h"
#include "base/deadline.h"
#include "base/ossl.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_TRIES    5
#define LONGEST_WAIT  300 /* seconds */
#define SCRYPT_MEMORY ((uint64_t)64 * 1024 * 1024)

AUTO_OSSL(kdf, EVP_KDF, EVP_KDF_free)
AUTO_OSSL(kdf_ctx, EVP_KDF_CTX, EVP_KDF_CTX_free)
#define auto_kdf     __attribute__((cleanup(kdf_done))) EVP_KDF
#define auto_kdf_ctx __attribute__((cleanup(kdf_ctx_done))) EVP_KDF_CTX

struct pin_hash {
	uint64_t n;
	uint32_t r, p;
	struct buf salt, hash;
};
static void pin_hash_done(struct pin_hash *h)
{
	buf_done(&h->salt);
	buf_done(&h->hash);
}

/* The next number of "N:r:p:…". */
static bool number(const char **text, uint64_t *ret)
{
	char *end;

	if (**text < '0' || **text > '9')
		return false;
	*ret = strtoull(*text, &end, 10);
	if (*end != ':' || *ret == 0 || *ret > UINT32_MAX)
		return false;
	*text = end + 1;
	return true;
}

static skr_status pin_hash_parse(const char *text, struct pin_hash *ret)
{
	static const char scheme[] = "scrypt:";
	uint64_t r, p;

	if (strncmp(text, scheme, sizeof(scheme) - 1) != 0)
		return FAIL(4, "pin_hash: only scrypt is known");
	text += sizeof(scheme) - 1;
	if (!number(&text, &ret->n) || !number(&text, &r) || !number(&text, &p))
		return FAIL(4, "pin_hash: scrypt:N:r:p:SALT:HASH is expected");
	ret->r = (uint32_t)r;
	ret->p = (uint32_t)p;
	const char *colon = strchr(text, ':');
	if (!colon)
		return FAIL(4, "pin_hash: scrypt:N:r:p:SALT:HASH is expected");
	TRY(base64url_decode(text, (size_t)(colon - text), &ret->salt));
	TRY(base64url_decode(colon + 1, strlen(colon + 1), &ret->hash));
	if (ret->salt.len < 8 || ret->hash.len < 16)
		return FAIL(4, "pin_hash: salt or hash too short");
	return OK;
}

static skr_status scrypt(const struct pin_hash *h, const void *pin, size_t len, uint8_t *out)
{
	auto_kdf *kdf = EVP_KDF_fetch(ossl, "SCRYPT", NULL);
	auto_kdf_ctx *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	uint64_t n = h->n, memory = SCRYPT_MEMORY;
	uint32_t r = h->r, p = h->p;
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, (void *)(len ? pin : ""), len),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, h->salt.data, h->salt.len),
	    OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
	    OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
	    OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
	    OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &memory),
	    OSSL_PARAM_construct_end(),
	};

	if (!ctx || EVP_KDF_derive(ctx, out, h->hash.len, params) != 1)
		return ossl_fail(4, "pin_hash: scrypt");
	return OK;
}

static void count_wrong(struct pin_guard *guard)
{
	int64_t seconds = 1;

	guard->wrong++;
	if (guard->wrong < FREE_TRIES)
		return;
	for (int i = FREE_TRIES; i < guard->wrong && seconds < LONGEST_WAIT; i++)
		seconds *= 2;
	guard->locked_until = monotonic_ms() + 1000 * (seconds < LONGEST_WAIT ? seconds : LONGEST_WAIT);
}

skr_status pin_check(const char *pin_hash, const void *pin, size_t len, struct pin_guard *guard)
{
	__attribute__((cleanup(pin_hash_done))) struct pin_hash h = {.salt = BUF(128), .hash = BUF(128)};
	uint8_t derived[128];
	int64_t wait = guard->locked_until - monotonic_ms();

	if (wait > 0)
		return FAIL(412, "after %d wrong PINs the next is taken in %lld s", guard->wrong,
		            (long long)(wait + 999) / 1000);
	TRY(pin_hash_parse(pin_hash, &h));
	TRY(scrypt(&h, pin, len, derived));
	int right = equal_secret(derived, h.hash.data, h.hash.len);
	OPENSSL_cleanse(derived, sizeof(derived));
	if (!right) {
		count_wrong(guard);
		return FAIL(410, "wrong PIN, %d in a row", guard->wrong);
	}
	*guard = (struct pin_guard){0};
	return OK;
}
