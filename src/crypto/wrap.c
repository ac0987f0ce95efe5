/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/wrap.h"

#include "crypto/cipher.h"
#include "crypto/oaep.h"
#include "crypto/pkcs1.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <string.h>

enum {
	VALUE_MAX = 16 * 1024, /* PKCS#8 of RSA-4096 has 2.4 KiB */
	SEMIBLOCK = 8,
	KWP_LEAST = 16, /* of up to 8 bytes RFC 5649 makes one AES block */
	KW_LEAST = 24,  /* RFC 3394 wants two semiblocks */
	KEK_MAX = 32
};

/* A wrapping that is asked for, as far as both directions see it. */
struct wrapping {
	const struct mechanism *row;
	struct mechanism_params params;
	const struct key *key;
};

static CK_RV refused(CK_RV otherwise)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? CKR_HOST_MEMORY : otherwise;
}

static bool is_rsa_alone(const struct wrapping *w)
{
	return w->row->type == CKM_RSA_PKCS || w->row->type == CKM_RSA_PKCS_OAEP;
}

static bool is_rsa_aes(const struct wrapping *w)
{
	return w->row->type == CKM_RSA_AES_KEY_WRAP;
}

/* The AES half of it, by libcrypto's name. */
static const char *mode_of(const struct wrapping *w)
{
	switch (w->row->type) {
	case CKM_AES_CBC_PAD:
		return "CBC";
	case CKM_AES_KEY_WRAP:
		return "WRAP";
	default:
		return "WRAP-PAD";
	}
}

/* --- the RSA half --------------------------------------------------------------------------------------------------
 */

static EVP_PKEY_CTX *rsa_context(const struct wrapping *w, int (*init)(EVP_PKEY_CTX *), int padding)
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key_pkey(w->key), NULL);

	if (!ctx || init(ctx) <= 0 || EVP_PKEY_CTX_set_rsa_padding(ctx, padding) <= 0)
		return NULL;
	if (padding == RSA_PKCS1_OAEP_PADDING && !oaep_set(ctx, &w->params))
		return NULL;
	return TAKE(ctx);
}

/* What fits under the padding. */
static size_t rsa_room(const struct wrapping *w)
{
	size_t k = key_size(w->key);

	return w->row->padding == RSA_PKCS1_PADDING ? k - PKCS1_OVERHEAD : k - 2 * digest_size(w->params.digest) - 2;
}

/* `out` has room for the modulus. */
static CK_RV rsa_seal(const struct wrapping *w, const uint8_t *value, size_t len, CK_BYTE *out)
{
	auto_pkey_ctx *ctx = rsa_context(w, EVP_PKEY_encrypt_init, w->row->padding);
	size_t size = key_size(w->key);

	if (!ctx || EVP_PKEY_encrypt(ctx, out, &size, value, len) <= 0)
		return refused(CKR_FUNCTION_FAILED);
	return CKR_OK;
}

static CK_RV rsa_open(const struct wrapping *w, int padding, const CK_BYTE *in, struct buf *ret)
{
	size_t size = key_size(w->key);
	uint8_t *place;

	if (buf_reserve(ret, size, &place).failure)
		return CKR_HOST_MEMORY;
	auto_pkey_ctx *ctx = rsa_context(w, EVP_PKEY_decrypt_init, padding);
	if (!ctx)
		return refused(CKR_FUNCTION_FAILED);
	ret->len = size;
	int done = EVP_PKEY_decrypt(ctx, place, &size, in, size);
	burn_stack();
	if (done <= 0)
		return refused(CKR_WRAPPED_KEY_INVALID);
	ret->len = size;
	return CKR_OK;
}

/* --- wrapping ------------------------------------------------------------------------------------------------------
 */

static CK_RV find(const CK_MECHANISM *mechanism, const struct mechanism_policy *policy, CK_FLAGS flag,
                  struct wrapping *w)
{
	w->row = mechanism_find(mechanism->mechanism, policy);
	if (!w->row || !(mechanism_flags(w->row, policy) & flag))
		return CKR_MECHANISM_INVALID;
	bool fits = mechanism_takes(w->row, key_type(w->key)) && (flag == CKF_WRAP || key_is_private(w->key));
	if (!fits)
		return flag == CKF_WRAP ? CKR_WRAPPING_KEY_TYPE_INCONSISTENT : CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT;
	if (!(key_uses(w->key) & (flag == CKF_WRAP ? KEY_USE_WRAP : KEY_USE_UNWRAP)))
		return CKR_KEY_FUNCTION_NOT_PERMITTED;
	return mechanism_params(w->row, mechanism, key_bits(w->key), &w->params);
}

static CK_RV check_wrapped(const struct wrapping *w, const struct key *key)
{
	if (!key_is_private(key) || (is_rsa_alone(w) && !key_is_secret(key)))
		return CKR_KEY_NOT_WRAPPABLE;
	return key_uses(key) & KEY_USE_LEAVE ? CKR_OK : CKR_KEY_UNEXTRACTABLE;
}

/* PKCS#8 PrivateKeyInfo, or the bytes themselves. */
static CK_RV value_of(const struct key *key, struct buf *ret)
{
	if (key_is_secret(key))
		return key_value(key, ret);
	auto_pkcs8 *info = EVP_PKEY2PKCS8(key_pkey(key));
	uint8_t *der = NULL;
	int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
	burn_stack();
	if (len <= 0)
		return refused(CKR_KEY_NOT_WRAPPABLE);
	bool kept = !buf_append(ret, der, (size_t)len).failure;
	OPENSSL_clear_free(der, (size_t)len);
	return kept ? CKR_OK : CKR_HOST_MEMORY;
}

static size_t kwp_size(size_t len)
{
	return (len + SEMIBLOCK - 1) / SEMIBLOCK * SEMIBLOCK + SEMIBLOCK;
}

/* What `len` bytes become; 0: they cannot be wrapped so. */
static size_t wrapped_size(const struct wrapping *w, size_t len)
{
	switch (w->row->type) {
	case CKM_AES_KEY_WRAP:
		return len % SEMIBLOCK == 0 && len >= 2 * SEMIBLOCK ? len + SEMIBLOCK : 0;
	case CKM_AES_CBC_PAD:
		return len - len % AES_BLOCK + AES_BLOCK;
	case CKM_RSA_PKCS:
	case CKM_RSA_PKCS_OAEP:
		return len <= rsa_room(w) ? key_size(w->key) : 0;
	case CKM_RSA_AES_KEY_WRAP:
		return key_size(w->key) + kwp_size(len);
	default:
		return kwp_size(len);
	}
}

/* Into `out`, which has room for exactly what wrapped_size() says: libcrypto wants more while it works. */
static CK_RV aes_seal(const struct wrapping *w, const uint8_t *kek, size_t kek_len, const struct buf *value,
                      CK_BYTE *out, size_t size)
{
	auto_buf sealed = BUF(VALUE_MAX + 2 * AES_BLOCK);
	uint8_t *place;
	size_t len;

	if (buf_reserve(&sealed, value->len + 2 * AES_BLOCK, &place).failure)
		return CKR_HOST_MEMORY;
	CK_RV rv = cipher_once(mode_of(w), kek, kek_len, w->params.iv, true, value->data, value->len, place, &len);
	if (rv != CKR_OK || len != size)
		return rv != CKR_OK ? rv : CKR_FUNCTION_FAILED;
	memcpy(out, place, size);
	return CKR_OK;
}

static CK_RV rsa_aes_seal(const struct wrapping *w, const struct buf *value, CK_BYTE *out, size_t size)
{
	uint8_t kek[KEK_MAX];
	size_t k = key_size(w->key);

	if (random_bytes(kek, w->params.kek_len).failure)
		return CKR_FUNCTION_FAILED;
	CK_RV rv = rsa_seal(w, kek, w->params.kek_len, out);
	if (rv == CKR_OK)
		rv = aes_seal(w, kek, w->params.kek_len, value, out + k, size - k);
	OPENSSL_cleanse(kek, sizeof(kek));
	return rv;
}

static CK_RV seal(const struct wrapping *w, const struct key *key, CK_BYTE *out, CK_ULONG *out_len)
{
	auto_buf value = BUF(VALUE_MAX);

	CK_RV rv = value_of(key, &value);
	if (rv != CKR_OK)
		return rv;
	size_t size = wrapped_size(w, value.len);
	if (size == 0)
		return CKR_KEY_SIZE_RANGE;
	size_t room = out ? *out_len : size;
	if (!out || room < size) {
		*out_len = size;
		return out ? CKR_BUFFER_TOO_SMALL : CKR_OK;
	}
	if (is_rsa_alone(w))
		rv = rsa_seal(w, value.data, value.len, out);
	else if (is_rsa_aes(w))
		rv = rsa_aes_seal(w, &value, out, size);
	else
		rv = aes_seal(w, key_secret(w->key), key_size(w->key), &value, out, size);
	if (rv == CKR_OK)
		*out_len = size;
	return rv;
}

CK_RV key_wrap(const CK_MECHANISM *mechanism, const struct mechanism_policy *policy, const struct key *wrapping,
               const struct key *key, CK_BYTE *out, CK_ULONG *out_len)
{
	struct wrapping w = {.key = wrapping};

	CK_RV rv = find(mechanism, policy, CKF_WRAP, &w);
	if (rv == CKR_OK)
		rv = check_wrapped(&w, key);
	if (rv != CKR_OK)
		return rv;
	ERR_set_mark();
	rv = seal(&w, key, out, out_len);
	ERR_pop_to_mark();
	return rv;
}

/* --- unwrapping ----------------------------------------------------------------------------------------------------
 */

static CK_RV check_wanted(const struct wrapping *w, const struct key_wanted *wanted)
{
	if (wanted->class == CKO_PRIVATE_KEY) {
		bool known = wanted->type == CKK_RSA || wanted->type == CKK_EC;
		return known && !is_rsa_alone(w) ? CKR_OK : CKR_TEMPLATE_INCONSISTENT;
	}
	if (wanted->class != CKO_SECRET_KEY)
		return CKR_TEMPLATE_INCONSISTENT;
	size_t len = wanted->len ? wanted->len : KEK_MAX;
	if (is_rsa_alone(w) && len > rsa_room(w))
		return CKR_TEMPLATE_INCONSISTENT;
	return key_check_secret(wanted->type, len) == CKR_OK ? CKR_OK : CKR_TEMPLATE_INCONSISTENT;
}

/* Public facts all. */
static bool length_fits(const struct wrapping *w, size_t len)
{
	size_t k = key_size(w->key);

	if (len > VALUE_MAX)
		return false;
	switch (w->row->type) {
	case CKM_AES_KEY_WRAP:
		return len % SEMIBLOCK == 0 && len >= KW_LEAST;
	case CKM_AES_CBC_PAD:
		return len % AES_BLOCK == 0 && len > 0;
	case CKM_RSA_PKCS:
	case CKM_RSA_PKCS_OAEP:
		return len == k;
	case CKM_RSA_AES_KEY_WRAP:
		return len >= k + KWP_LEAST && (len - k) % SEMIBLOCK == 0;
	default:
		return len % SEMIBLOCK == 0 && len >= KWP_LEAST;
	}
}

static CK_RV aes_open(const struct wrapping *w, const uint8_t *kek, size_t kek_len, const CK_BYTE *in, size_t len,
                      struct buf *ret)
{
	uint8_t *place;
	size_t opened;

	if (buf_reserve(ret, len + 2 * AES_BLOCK, &place).failure)
		return CKR_HOST_MEMORY;
	CK_RV rv = cipher_once(mode_of(w), kek, kek_len, w->params.iv, false, in, len, place, &opened);
	ret->len = rv == CKR_OK ? opened : len;
	return rv == CKR_FUNCTION_FAILED ? CKR_WRAPPED_KEY_INVALID : rv;
}

static CK_RV rsa_aes_open(const struct wrapping *w, const CK_BYTE *in, size_t len, struct buf *ret)
{
	auto_buf kek = BUF(PKCS1_BLOCK_MAX);
	size_t k = key_size(w->key);

	CK_RV rv = rsa_open(w, RSA_PKCS1_OAEP_PADDING, in, &kek);
	if (rv == CKR_OK && kek.len != w->params.kek_len)
		rv = CKR_WRAPPED_KEY_INVALID;
	return rv == CKR_OK ? aes_open(w, kek.data, kek.len, in + k, len - k, ret) : rv;
}

/* The lengths that the wanted key may have under this padding. */
static size_t acceptable(const struct wrapping *w, const struct key_wanted *wanted, size_t lengths[KEY_SECRET_MAX])
{
	size_t count = 0;

	for (size_t len = 1; len <= rsa_room(w) && len <= KEY_SECRET_MAX; len++)
		if ((!wanted->len || len == wanted->len) && key_check_secret(wanted->type, len) == CKR_OK)
			lengths[count++] = len;
	return count;
}

/* libcrypto opens the block, pkcs1.c removes the padding, and nobody learns whether there was one. */
static CK_RV pkcs1_open(const struct wrapping *w, const struct key_wanted *wanted, const CK_BYTE *in, struct buf *ret)
{
	size_t lengths[KEY_SECRET_MAX], k = key_size(w->key), len;
	auto_buf block = BUF(PKCS1_BLOCK_MAX);
	uint8_t *place;

	CK_RV rv = rsa_open(w, RSA_NO_PADDING, in, &block);
	if (rv != CKR_OK)
		return rv;
	if (buf_reserve(ret, k, &place).failure)
		return CKR_HOST_MEMORY;
	size_t count = acceptable(w, wanted, lengths);
	if (!pkcs1_unpad_key(key_rejection_secret(w->key), in, block.data, k, lengths, count, place, &len))
		return CKR_HOST_MEMORY;
	ret->len = len;
	return CKR_OK;
}

static CK_RV open_value(const struct wrapping *w, const struct key_wanted *wanted, const CK_BYTE *in, size_t len,
                        struct buf *ret)
{
	switch (w->row->type) {
	case CKM_RSA_PKCS:
		return pkcs1_open(w, wanted, in, ret);
	case CKM_RSA_PKCS_OAEP:
		return rsa_open(w, RSA_PKCS1_OAEP_PADDING, in, ret);
	case CKM_RSA_AES_KEY_WRAP:
		return rsa_aes_open(w, in, len, ret);
	default:
		return aes_open(w, key_secret(w->key), key_size(w->key), in, len, ret);
	}
}

/* PKCS#8 PrivateKeyInfo, unencrypted, nothing behind it. */
static EVP_PKEY *parse_private(const struct buf *der)
{
	const uint8_t *p = der->data;
	auto_pkcs8 *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)der->len);

	return info && p == der->data + der->len ? EVP_PKCS82PKEY_ex(info, ossl, NULL) : NULL;
}

static CK_RV check_parts(const struct key *key)
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key_pkey(key), NULL);

	if (!ctx)
		return CKR_HOST_MEMORY;
	return EVP_PKEY_check(ctx) == 1 ? CKR_OK : refused(CKR_WRAPPED_KEY_INVALID);
}

static CK_RV private_key(const struct buf *value, const struct key_wanted *wanted, struct key **ret)
{
	EVP_PKEY *pkey = parse_private(value);
	struct key *key;

	if (!pkey)
		return refused(CKR_WRAPPED_KEY_INVALID);
	CK_RV rv = key_new(pkey, true, wanted->uses, &key);
	if (rv != CKR_OK)
		return rv == CKR_HOST_MEMORY ? rv : CKR_WRAPPED_KEY_INVALID;
	rv = key_type(key) == wanted->type ? check_parts(key) : CKR_WRAPPED_KEY_INVALID;
	burn_stack();
	if (rv != CKR_OK) {
		key_drop(key);
		return rv;
	}
	*ret = key;
	return CKR_OK;
}

static CK_RV secret_key(const struct buf *value, const struct key_wanted *wanted, struct key **ret)
{
	if (wanted->len && value->len != wanted->len)
		return CKR_WRAPPED_KEY_INVALID;
	CK_RV rv = key_new_secret(value->data, value->len, wanted->type, wanted->uses, ret);
	return rv == CKR_OK || rv == CKR_HOST_MEMORY ? rv : CKR_WRAPPED_KEY_INVALID;
}

static CK_RV open_key(const struct wrapping *w, const CK_BYTE *wrapped, size_t len, const struct key_wanted *wanted,
                      struct key **ret)
{
	auto_buf value = BUF(VALUE_MAX + 2 * AES_BLOCK);

	CK_RV rv = open_value(w, wanted, wrapped, len, &value);
	if (rv != CKR_OK)
		return rv;
	if (wanted->class == CKO_PRIVATE_KEY)
		return private_key(&value, wanted, ret);
	return secret_key(&value, wanted, ret);
}

CK_RV key_unwrap(const CK_MECHANISM *mechanism, const struct mechanism_policy *policy, const struct key *unwrapping,
                 const CK_BYTE *wrapped, CK_ULONG wrapped_len, const struct key_wanted *wanted, struct key **ret)
{
	struct wrapping w = {.key = unwrapping};

	CK_RV rv = find(mechanism, policy, CKF_UNWRAP, &w);
	if (rv == CKR_OK)
		rv = check_wanted(&w, wanted);
	if (rv == CKR_OK && (!wrapped || !length_fits(&w, wrapped_len)))
		rv = CKR_WRAPPED_KEY_LEN_RANGE;
	if (rv != CKR_OK)
		return rv;
	ERR_set_mark();
	rv = open_key(&w, wrapped, wrapped_len, wanted, ret);
	ERR_pop_to_mark();
	return rv;
}
