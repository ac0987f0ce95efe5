/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/key.h"

#include "crypto/cipher.h"
#include "crypto/digest.h"
#include "crypto/pkcs1.h"

#include <openssl/core_names.h>
#include <openssl/err.h>

#include <stdatomic.h>
#include <string.h>

enum { RSA_MIN_BITS = 2048, RSA_PRIVATE_MAX_BITS = 4096, RSA_PUBLIC_MAX_BITS = 8 * PKCS1_BLOCK_MAX };

struct key {
	atomic_uint references;
	EVP_PKEY *pkey;  /* NULL for a secret key */
	uint8_t *secret; /* `bits` / 8 bytes; NULL for a pair's half */
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

static struct key *key_start(bool is_private, unsigned uses)
{
	struct key *key = OPENSSL_zalloc(sizeof(*key));
	if (!key)
		return NULL;
	atomic_init(&key->references, 1);
	key->made_in = ossl;
	key->is_private = is_private;
	key->uses = uses;
	return key;
}

CK_RV key_new(EVP_PKEY *pkey, bool is_private, unsigned uses, struct key **ret)
{
	struct key *key = key_start(is_private, uses);
	if (!key) {
		EVP_PKEY_free(pkey);
		return CKR_HOST_MEMORY;
	}
	key->pkey = pkey;

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

CK_RV key_check_secret(CK_KEY_TYPE type, size_t len)
{
	switch (type) {
	case CKK_AES:
		return len == 16 || len == 24 || len == 32 ? CKR_OK : CKR_KEY_SIZE_RANGE;
	case CKK_GENERIC_SECRET:
	case CKK_SHA_1_HMAC:
	case CKK_SHA224_HMAC:
	case CKK_SHA256_HMAC:
	case CKK_SHA384_HMAC:
	case CKK_SHA512_HMAC:
		return len >= 1 && len <= KEY_SECRET_MAX ? CKR_OK : CKR_KEY_SIZE_RANGE;
	default:
		return CKR_KEY_TYPE_INCONSISTENT;
	}
}

CK_RV key_new_secret(const void *bytes, size_t len, CK_KEY_TYPE type, unsigned uses, struct key **ret)
{
	CK_RV rv = key_check_secret(type, len);
	if (rv != CKR_OK)
		return rv;
	struct key *key = key_start(true, uses);
	if (!key)
		return CKR_HOST_MEMORY;

	ERR_set_mark();
	key->secret = OPENSSL_memdup(bytes, len);
	ERR_pop_to_mark();
	if (!key->secret) {
		key_drop(key);
		return CKR_HOST_MEMORY;
	}
	key->type = type;
	key->bits = (unsigned)len * 8;
	*ret = key;
	return CKR_OK;
}

CK_RV key_with_uses(const struct key *key, unsigned uses, struct key **ret)
{
	if (key->secret)
		return key_new_secret(key->secret, key_size(key), key->type, uses, ret);

	struct key *other = key_start(key->is_private, uses);
	if (!other)
		return CKR_HOST_MEMORY;
	if (!EVP_PKEY_up_ref(key->pkey)) {
		key_drop(other);
		return CKR_HOST_MEMORY;
	}
	other->pkey = key->pkey;
	other->made_in = key->made_in;
	other->type = key->type;
	other->bits = key->bits;
	memcpy(other->rejection_secret, key->rejection_secret, sizeof(other->rejection_secret));
	*ret = other;
	return CKR_OK;
}

/* A key of the public numbers alone. */
static EVP_PKEY *public_half(EVP_PKEY *pkey)
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, pkey, NULL);
	OSSL_PARAM *numbers = NULL;
	EVP_PKEY *half = NULL;

	if (ctx && EVP_PKEY_todata(pkey, EVP_PKEY_PUBLIC_KEY, &numbers) && EVP_PKEY_fromdata_init(ctx) > 0 &&
	    EVP_PKEY_fromdata(ctx, &half, EVP_PKEY_PUBLIC_KEY, numbers) <= 0)
		half = NULL;
	OSSL_PARAM_free(numbers);
	return half;
}

CK_RV key_public_half(const struct key *key, unsigned uses, struct key **ret)
{
	if (key->secret)
		return CKR_KEY_TYPE_INCONSISTENT;
	ERR_set_mark();
	EVP_PKEY *half = public_half(key->pkey);
	ERR_pop_to_mark();
	return half ? key_new(half, false, uses, ret) : CKR_HOST_MEMORY;
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
	OPENSSL_clear_free(key->secret, key_size(key));
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

bool key_is_secret(const struct key *key)
{
	return key->secret != NULL;
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

const uint8_t *key_secret(const struct key *key)
{
	return key->secret;
}

static bool encrypt_zeros(const struct key *key, CK_BYTE out[16])
{
	static const uint8_t zeros[16];
	size_t len = sizeof(zeros);

	return cipher_once("ECB", key_secret(key), key_size(key), NULL, true, zeros, len, out, &len) == CKR_OK;
}

CK_RV key_check_value(const struct key *key, CK_BYTE ret[3])
{
	uint8_t block[DIGEST_MAX];

	if (!key->secret)
		return CKR_KEY_TYPE_INCONSISTENT;
	ERR_set_mark();
	bool done = key->type == CKK_AES
	                ? encrypt_zeros(key, block)
	                : EVP_Digest(key->secret, key_size(key), block, NULL, digest_md(DIGEST_SHA1), NULL) > 0;
	ERR_pop_to_mark();
	if (!done)
		return CKR_HOST_MEMORY;
	memcpy(ret, block, 3);
	OPENSSL_cleanse(block, sizeof(block));
	return CKR_OK;
}

CK_RV key_value(const struct key *key, struct buf *ret)
{
	if (!key->secret)
		return CKR_KEY_TYPE_INCONSISTENT;
	if (!(key->uses & KEY_USE_LEAVE))
		return CKR_KEY_UNEXTRACTABLE;
	buf_clear(ret);
	return buf_append(ret, key->secret, key_size(key)).failure ? CKR_HOST_MEMORY : CKR_OK;
}
