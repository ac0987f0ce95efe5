/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/operation.h"

#include "crypto/cipher.h"
#include "crypto/oaep.h"
#include "crypto/pkcs1.h"
#include "crypto/signature.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include <string.h>

/*
 * An operation outlives its end: the session gives it to the next operation_begin(), and if that wants the same, the
 * contexts are used again. Setting them up costs more than a tenth of a P-256 signature.
 */
struct operation {
	enum operation_kind kind;
	const struct mechanism *row;
	struct mechanism_params params; /* its label and IV are ours */
	struct key *key;
	OSSL_LIB_CTX *made_in;
	EVP_PKEY_CTX *pkey_ctx; /* NULL for digests and secret keys */
	EVP_MD_CTX *md_ctx;     /* NULL where the caller hashes */
	EVP_MAC_CTX *mac_ctx;   /* signs and verifies with a secret key; else NULL */
	struct cipher *cipher;  /* does everything with AES that encrypts or decrypts; else NULL */
	uint8_t hash[DIGEST_MAX];
	uint8_t *block; /* `room` bytes: input in parts, or a padded or decrypted block; NULL where there is none */
	size_t room, collected;
	bool in_parts; /* update was called */
	bool broken;   /* libcrypto failed: its contexts are not to be used again */
};

static const struct {
	CK_FLAGS flag;
	unsigned use;
	bool needs_private;
} kinds[] = {
    [OPERATION_SIGN] = {CKF_SIGN, KEY_USE_SIGN, true},
    [OPERATION_VERIFY] = {CKF_VERIFY, KEY_USE_VERIFY, false},
    [OPERATION_ENCRYPT] = {CKF_ENCRYPT, KEY_USE_ENCRYPT, false},
    [OPERATION_DECRYPT] = {CKF_DECRYPT, KEY_USE_DECRYPT, true},
    [OPERATION_DIGEST] = {CKF_DIGEST, 0, false},
};

/* --- life ----------------------------------------------------------------------------------------------------------
 */

void operation_free(struct operation *operation)
{
	if (!operation)
		return;
	if (operation->made_in == ossl) { /* else they are left alone: see ossl_renew() */
		EVP_PKEY_CTX_free(operation->pkey_ctx);
		EVP_MD_CTX_free(operation->md_ctx);
		EVP_MAC_CTX_free(operation->mac_ctx);
	}
	cipher_free(operation->cipher);
	key_drop(operation->key);
	OPENSSL_clear_free(operation->block, operation->room);
	OPENSSL_clear_free((void *)operation->params.label, operation->params.label_len);
	OPENSSL_clear_free((void *)operation->params.iv, operation->params.iv_len);
	OPENSSL_clear_free(operation, sizeof(*operation));
}

static void operation_done(struct operation **operation)
{
	operation_free(*operation);
}
#define auto_operation __attribute__((cleanup(operation_done))) struct operation

/* What libcrypto's failure means where only a lack of memory is expected to make it fail. */
static CK_RV libcrypto_failed(struct operation *o, CK_RV otherwise)
{
	o->broken = true;
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? CKR_HOST_MEMORY : otherwise;
}

/* The digest that goes into the padding. */
static const EVP_MD *padding_md(const struct operation *o)
{
	return digest_md(o->params.digest);
}

static bool set_pss(struct operation *o)
{
	return EVP_PKEY_CTX_set_signature_md(o->pkey_ctx, padding_md(o)) > 0 &&
	       EVP_PKEY_CTX_set_rsa_mgf1_md(o->pkey_ctx, digest_md(o->params.mgf)) > 0 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(o->pkey_ctx, (int)o->params.salt_len) > 0;
}

static bool set_padding(struct operation *o)
{
	int padding = o->row->padding;

	if (o->row->key != CKK_RSA)
		return true;
	/* libcrypto would tell right from wrong padding: it opens the block, pkcs1.c removes the padding. */
	if (o->kind == OPERATION_DECRYPT && padding == RSA_PKCS1_PADDING)
		padding = RSA_NO_PADDING;
	if (EVP_PKEY_CTX_set_rsa_padding(o->pkey_ctx, padding) <= 0)
		return false;
	if (padding == RSA_PKCS1_PSS_PADDING)
		return set_pss(o);
	if (padding == RSA_PKCS1_OAEP_PADDING)
		return oaep_set(o->pkey_ctx, &o->params);
	return o->row->digest == DIGEST_NONE || EVP_PKEY_CTX_set_signature_md(o->pkey_ctx, padding_md(o)) > 0;
}

static bool start_pkey(struct operation *o)
{
	o->pkey_ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key_pkey(o->key), NULL);
	if (!o->pkey_ctx)
		return false;
	switch (o->kind) {
	case OPERATION_SIGN:
		return EVP_PKEY_sign_init(o->pkey_ctx) > 0 && set_padding(o);
	case OPERATION_VERIFY:
		return EVP_PKEY_verify_init(o->pkey_ctx) > 0 && set_padding(o);
	case OPERATION_ENCRYPT:
		return EVP_PKEY_encrypt_init(o->pkey_ctx) > 0 && set_padding(o);
	case OPERATION_DECRYPT:
		return EVP_PKEY_decrypt_init(o->pkey_ctx) > 0 && set_padding(o);
	case OPERATION_DIGEST:
		break;
	}
	return false;
}

AUTO_OSSL(mac, EVP_MAC, EVP_MAC_free)
#define auto_mac __attribute__((cleanup(mac_done))) EVP_MAC

static CK_RV start_mac(struct operation *o)
{
	auto_mac *cmac = NULL;
	EVP_MAC *algorithm = NULL;

	if (o->row->key == CKK_AES)
		algorithm = cmac = EVP_MAC_fetch(ossl, OSSL_MAC_NAME_CMAC, NULL);
	else
		algorithm = digest_hmac();
	o->mac_ctx = algorithm ? EVP_MAC_CTX_new(algorithm) : NULL;
	return o->mac_ctx ? CKR_OK : CKR_HOST_MEMORY;
}

static CK_RV start_contexts(struct operation *o)
{
	if (mechanism_is_mac(o->row))
		return start_mac(o);
	if (mechanism_is_cipher(o->row))
		return cipher_new(o->row, &o->params, o->key, o->kind == OPERATION_ENCRYPT, &o->cipher);
	if (o->key && !start_pkey(o))
		return libcrypto_failed(o, CKR_FUNCTION_FAILED);
	if (o->row->digest == DIGEST_NONE)
		return CKR_OK;
	o->md_ctx = EVP_MD_CTX_new();
	return o->md_ctx ? CKR_OK : CKR_HOST_MEMORY;
}

/* Replaces what is the caller's by a copy. */
static bool make_ours(const CK_BYTE **bytes, size_t len)
{
	*bytes = len > 0 ? OPENSSL_memdup(*bytes, len) : NULL;
	return len == 0 || *bytes;
}

/* Copies what the caller may reuse, and makes the room that parts and blocks need. */
static CK_RV start_memory(struct operation *o)
{
	bool label = make_ours(&o->params.label, o->params.label_len);
	bool iv = make_ours(&o->params.iv, o->params.iv_len);

	if (!label || !iv)
		return CKR_HOST_MEMORY;
	if (!o->key || key_is_secret(o->key) || o->row->digest != DIGEST_NONE)
		return CKR_OK;
	o->room = key_size(o->key);
	o->block = OPENSSL_zalloc(o->room);
	return o->block ? CKR_OK : CKR_HOST_MEMORY;
}

/* libcrypto copies the names, and does not change them. */
static bool rewind_mac(struct operation *o)
{
	static char digest[] = OSSL_MAC_PARAM_DIGEST, cipher[] = OSSL_MAC_PARAM_CIPHER;
	bool cmac = o->row->key == CKK_AES;
	size_t key_len = key_size(o->key);
	char name[24];

	snprintf(name, sizeof(name), "AES-%zu-CBC", 8 * key_len);
	const char *algorithm = cmac ? name : EVP_MD_get0_name(digest_md(o->row->digest));
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(cmac ? cipher : digest, (char *)algorithm, 0),
	                       OSSL_PARAM_END};
	return EVP_MAC_init(o->mac_ctx, key_secret(o->key), key_len, params) > 0;
}

/* Ready for the first byte. */
static CK_RV rewind_input(struct operation *o)
{
	o->in_parts = false;
	o->collected = 0;
	if (o->mac_ctx)
		return rewind_mac(o) ? CKR_OK : libcrypto_failed(o, CKR_FUNCTION_FAILED);
	if (o->cipher)
		return cipher_rewind(o->cipher);
	if (!o->md_ctx)
		return CKR_OK;
	const EVP_MD *md = digest_md(o->row->digest);
	if (!md || !EVP_DigestInit_ex2(o->md_ctx, md, NULL))
		return libcrypto_failed(o, CKR_FUNCTION_FAILED);
	return CKR_OK;
}

static CK_RV start(enum operation_kind kind, const struct mechanism *row, const struct mechanism_params *params,
                   struct key *key, struct operation **ret)
{
	auto_operation *o = OPENSSL_zalloc(sizeof(*o));
	/* They are fetched all at once, so none is missing below, where libcrypto would take NULL for its default. */
	if (!o || !digest_md(DIGEST_SHA256))
		return CKR_HOST_MEMORY;
	o->kind = kind;
	o->row = row;
	o->key = key_hold(key);
	o->made_in = ossl;

	o->params = *params;
	CK_RV rv = start_memory(o);
	if (rv == CKR_OK)
		rv = start_contexts(o);
	if (rv == CKR_OK)
		rv = rewind_input(o);
	if (rv == CKR_OK)
		*ret = TAKE(o);
	return rv;
}

static bool same_bytes(const CK_BYTE *a, size_t a_len, const CK_BYTE *b, size_t b_len)
{
	return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool same_params(const struct mechanism_params *a, const struct mechanism_params *b)
{
	return a->digest == b->digest && a->mgf == b->mgf && a->salt_len == b->salt_len && a->tag_len == b->tag_len &&
	       a->counter_bits == b->counter_bits && same_bytes(a->label, a->label_len, b->label, b->label_len) &&
	       same_bytes(a->iv, a->iv_len, b->iv, b->iv_len);
}

/* A kept operation holds its key, so equal pointers are the same key. */
static bool can_reuse(const struct operation *kept, enum operation_kind kind, const struct mechanism *row,
                      const struct mechanism_params *params, const struct key *key)
{
	return kept && !kept->broken && kept->made_in == ossl && kept->kind == kind && kept->row == row &&
	       kept->key == key && same_params(&kept->params, params);
}

static CK_RV check_key(enum operation_kind kind, const struct mechanism *row, const struct key *key)
{
	if (row->key == NO_KEY)
		return CKR_OK;
	if (!key || !mechanism_takes(row, key_type(key)) || (kinds[kind].needs_private && !key_is_private(key)))
		return CKR_KEY_TYPE_INCONSISTENT;
	if (!(key_uses(key) & kinds[kind].use))
		return CKR_KEY_FUNCTION_NOT_PERMITTED;
	if (key_bits(key) < row->min_bits || key_bits(key) > row->max_bits)
		return CKR_KEY_SIZE_RANGE;
	return CKR_OK;
}

/* The policy's word on SHA-1 where the parameters, and not the mechanism, name it. */
static CK_RV check_digest(enum operation_kind kind, const struct mechanism *row, const struct mechanism_params *params,
                          const struct mechanism_policy *policy)
{
	bool weak =
	    !mechanism_is_mac(row) && kind == OPERATION_SIGN && params->digest == DIGEST_SHA1 && !policy->allow_sha1;
	return weak ? CKR_MECHANISM_PARAM_INVALID : CKR_OK;
}

CK_RV operation_begin(enum operation_kind kind, const CK_MECHANISM *mechanism, struct key *key,
                      const struct mechanism_policy *policy, struct operation **reuse, struct operation **ret)
{
	auto_operation *kept = reuse ? TAKE(*reuse) : NULL;
	struct mechanism_params params;

	const struct mechanism *row = mechanism_find(mechanism->mechanism, policy);
	if (!row || !(mechanism_flags(row, policy) & kinds[kind].flag))
		return CKR_MECHANISM_INVALID;
	if (row->key == NO_KEY)
		key = NULL;
	CK_RV rv = check_key(kind, row, key);
	if (rv == CKR_OK)
		rv = mechanism_params(row, mechanism, key ? key_bits(key) : 0, &params);
	if (rv == CKR_OK)
		rv = check_digest(kind, row, &params, policy);
	if (rv != CKR_OK)
		return rv;

	ERR_set_mark();
	if (can_reuse(kept, kind, row, &params, key)) {
		rv = rewind_input(kept);
		if (rv == CKR_OK)
			*ret = TAKE(kept);
	} else {
		rv = start(kind, row, &params, key, ret);
	}
	ERR_pop_to_mark();
	return rv;
}

enum operation_kind operation_kind(const struct operation *operation)
{
	return operation->kind;
}

bool operation_goes_on(CK_RV rv, const CK_BYTE *out)
{
	return rv == CKR_BUFFER_TOO_SMALL || (rv == CKR_OK && !out);
}

/* --- lengths -------------------------------------------------------------------------------------------------------
 */

/* What the input of padding may measure; more is CKR_DATA_LEN_RANGE. */
static size_t padded_max(const struct operation *o)
{
	size_t k = key_size(o->key);

	switch (o->row->padding) {
	case RSA_PKCS1_PADDING:
		return k - PKCS1_OVERHEAD;
	case RSA_PKCS1_OAEP_PADDING:
		return k - 2 * digest_size(o->params.digest) - 2;
	case RSA_PKCS1_PSS_PADDING:
		return digest_size(o->params.digest);
	default:
		return k;
	}
}

static size_t signature_size(const struct operation *o)
{
	if (o->mac_ctx)
		return o->params.tag_len;
	return o->row->key == CKK_EC ? 2 * key_size(o->key) : key_size(o->key);
}

/* The longest output: it depends on key and mechanism alone, never on what is decrypted. */
static size_t output_max(const struct operation *o)
{
	switch (o->kind) {
	case OPERATION_SIGN:
		return signature_size(o);
	case OPERATION_ENCRYPT:
		return key_size(o->key);
	case OPERATION_DECRYPT:
		return padded_max(o);
	case OPERATION_DIGEST:
		return digest_size(o->row->digest);
	case OPERATION_VERIFY:
		break;
	}
	return 0;
}

/* True if the length alone is the answer, and nothing is to be done yet. */
static bool length_is_answer(const struct operation *o, const CK_BYTE *out, CK_ULONG *out_len, CK_RV *rv)
{
	size_t max = output_max(o);
	/* OAEP tells right from wrong anyway, so a buffer for the very plaintext will do. */
	bool exact_later = o->kind == OPERATION_DECRYPT && o->row->padding == RSA_PKCS1_OAEP_PADDING;

	if (out && (*out_len >= max || exact_later))
		return false;
	*rv = out ? CKR_BUFFER_TOO_SMALL : CKR_OK;
	*out_len = max;
	return true;
}

/* --- input ---------------------------------------------------------------------------------------------------------
 */

/* Bytes as they lie somewhere. */
struct span {
	const CK_BYTE *data;
	size_t len;
};

/* ECDSA uses the leftmost bits of its input and no more than the order has; how long it was does not matter. */
static bool cuts_input(const struct operation *o)
{
	return o->row->key == CKK_EC;
}

static CK_RV collect(struct operation *o, const CK_BYTE *in, size_t in_len)
{
	size_t left = padded_max(o) - o->collected;
	size_t taken = in_len < left ? in_len : left;

	if (taken < in_len && !cuts_input(o))
		return CKR_DATA_LEN_RANGE;
	if (taken)
		memcpy(o->block + o->collected, in, taken);
	o->collected += taken;
	return CKR_OK;
}

static CK_RV add_input(struct operation *o, const CK_BYTE *in, size_t in_len)
{
	if (!in && in_len)
		return CKR_ARGUMENTS_BAD;
	if (o->mac_ctx)
		return EVP_MAC_update(o->mac_ctx, in, in_len) ? CKR_OK : libcrypto_failed(o, CKR_FUNCTION_FAILED);
	if (!o->md_ctx)
		return collect(o, in, in_len);
	return EVP_DigestUpdate(o->md_ctx, in, in_len) ? CKR_OK : libcrypto_failed(o, CKR_FUNCTION_FAILED);
}

static CK_RV finish_mac(struct operation *o, struct span *ret)
{
	size_t len;

	if (!EVP_MAC_final(o->mac_ctx, o->hash, &len, sizeof(o->hash)))
		return libcrypto_failed(o, CKR_FUNCTION_FAILED);
	*ret = (struct span){o->hash, o->params.tag_len};
	return CKR_OK;
}

/* All input is there: what the key is to work on. It lies in the operation. */
static CK_RV finish_input(struct operation *o, struct span *ret)
{
	if (o->mac_ctx)
		return finish_mac(o, ret);
	if (o->md_ctx) {
		unsigned len;
		if (!EVP_DigestFinal_ex(o->md_ctx, o->hash, &len))
			return libcrypto_failed(o, CKR_FUNCTION_FAILED);
		*ret = (struct span){o->hash, len};
		return CKR_OK;
	}
	size_t len = o->collected;
	if (o->row->padding == RSA_PKCS1_PSS_PADDING && len != padded_max(o))
		return CKR_DATA_LEN_RANGE;
	if (len == 0 && o->kind != OPERATION_ENCRYPT)
		return CKR_DATA_LEN_RANGE; /* a signature of nothing: libcrypto makes them but does not verify them */
	if (o->row->padding == RSA_NO_PADDING) { /* a number: zeros on the left (PKCS#11 2.40 mechanisms, 2.1.7) */
		memmove(o->block + o->room - len, o->block, len);
		memset(o->block, 0, o->room - len);
		len = o->room;
	}
	*ret = (struct span){o->block, len};
	return CKR_OK;
}

/* Nothing of the input stays behind. */
static void forget_input(struct operation *o)
{
	OPENSSL_cleanse(o->hash, sizeof(o->hash));
	if (o->block)
		OPENSSL_cleanse(o->block, o->room);
	o->collected = 0;
}

/* --- work ----------------------------------------------------------------------------------------------------------
 */

/* Without padding, the one thing that can be wrong with data of the right length is a value not below the modulus. */
static CK_RV data_refused(struct operation *o)
{
	return libcrypto_failed(o, o->row->padding == RSA_NO_PADDING ? CKR_DATA_INVALID : CKR_FUNCTION_FAILED);
}

static CK_RV copy_out(struct span result, CK_BYTE *out, CK_ULONG *out_len)
{
	memcpy(out, result.data, result.len);
	*out_len = result.len;
	return CKR_OK;
}

static CK_RV sign(struct operation *o, struct span tbs, CK_BYTE *out, CK_ULONG *out_len)
{
	uint8_t der[SIGNATURE_DER_MAX];
	bool ec = o->row->key == CKK_EC;
	size_t size = signature_size(o);
	size_t len = ec ? sizeof(der) : size;

	int done = EVP_PKEY_sign(o->pkey_ctx, ec ? der : out, &len, tbs.data, tbs.len);
	burn_stack();
	if (done <= 0)
		return data_refused(o);
	if (ec ? !signature_from_der(der, len, size / 2, out) : len != size)
		return libcrypto_failed(o, CKR_FUNCTION_FAILED);
	*out_len = size;
	return CKR_OK;
}

static CK_RV verify(struct operation *o, struct span tbs, const CK_BYTE *signature, CK_ULONG signature_len)
{
	uint8_t der[SIGNATURE_DER_MAX];
	size_t len = signature_len;

	if (signature_len != signature_size(o))
		return CKR_SIGNATURE_LEN_RANGE;
	if (o->mac_ctx)
		return equal_secret(tbs.data, signature, tbs.len) ? CKR_OK : CKR_SIGNATURE_INVALID;
	if (o->row->key == CKK_EC) {
		len = signature_to_der(signature, signature_len / 2, der);
		signature = der;
	}
	if (EVP_PKEY_verify(o->pkey_ctx, signature, len, tbs.data, tbs.len) == 1)
		return CKR_OK;
	return libcrypto_failed(o, CKR_SIGNATURE_INVALID);
}

static CK_RV encrypt(struct operation *o, struct span plain, CK_BYTE *out, CK_ULONG *out_len)
{
	size_t len = *out_len;

	if (EVP_PKEY_encrypt(o->pkey_ctx, out, &len, plain.data, plain.len) <= 0)
		return data_refused(o);
	*out_len = len;
	return CKR_OK;
}

/* Opens into the block. */
static CK_RV decrypt_block(struct operation *o, const CK_BYTE *in, size_t *ret_len)
{
	*ret_len = o->room;
	int done = EVP_PKEY_decrypt(o->pkey_ctx, o->block, ret_len, in, o->room);
	burn_stack();
	return done > 0 ? CKR_OK : libcrypto_failed(o, CKR_ENCRYPTED_DATA_INVALID);
}

static CK_RV decrypt(struct operation *o, const CK_BYTE *in, size_t in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	size_t len;

	if (!in || in_len != o->room)
		return CKR_ENCRYPTED_DATA_LEN_RANGE;
	CK_RV rv = decrypt_block(o, in, &len);
	if (rv != CKR_OK)
		return rv;
	if (o->row->padding == RSA_PKCS1_PADDING) {
		if (!pkcs1_unpad(key_rejection_secret(o->key), in, o->block, len, out, &len))
			return libcrypto_failed(o, CKR_HOST_MEMORY);
		*out_len = len;
		return CKR_OK;
	}
	size_t given = *out_len;
	*out_len = len;
	if (given < len)
		return CKR_BUFFER_TOO_SMALL;
	memcpy(out, o->block, len);
	return CKR_OK;
}

static CK_RV produce(struct operation *o, CK_BYTE *out, CK_ULONG *out_len)
{
	struct span input;
	CK_RV rv = finish_input(o, &input);
	if (rv != CKR_OK)
		return rv;
	switch (o->kind) {
	case OPERATION_SIGN:
		return o->mac_ctx ? copy_out(input, out, out_len) : sign(o, input, out, out_len);
	case OPERATION_ENCRYPT:
		return encrypt(o, input, out, out_len);
	case OPERATION_DIGEST:
		return copy_out(input, out, out_len);
	default:
		return CKR_FUNCTION_FAILED;
	}
}

/* --- calls ---------------------------------------------------------------------------------------------------------
 */

/* A cipher that failed half-way starts anew or not at all. */
static CK_RV leave_cipher(struct operation *o, CK_RV rv)
{
	ERR_pop_to_mark();
	if (rv != CKR_OK && rv != CKR_BUFFER_TOO_SMALL)
		o->broken = true;
	return rv;
}

/* Whatever happened, libcrypto's error queue is as before: hosts look at theirs, which may be the same. */
static CK_RV leave(struct operation *o, CK_RV rv)
{
	ERR_pop_to_mark();
	forget_input(o);
	return rv;
}

CK_RV operation_single(struct operation *operation, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	struct operation *o = operation;
	CK_RV rv;

	if (o->kind == OPERATION_VERIFY)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (o->in_parts)
		return CKR_OPERATION_ACTIVE;
	if (o->cipher) {
		ERR_set_mark();
		return leave_cipher(o, cipher_single(o->cipher, in, in_len, out, out_len));
	}
	if (length_is_answer(o, out, out_len, &rv))
		return rv;
	ERR_set_mark();
	if (o->kind == OPERATION_DECRYPT)
		return leave(o, decrypt(o, in, in_len, out, out_len));
	rv = add_input(o, in, in_len);
	if (rv == CKR_OK)
		rv = produce(o, out, out_len);
	return leave(o, rv);
}

static CK_RV verify_input(struct operation *o, const CK_BYTE *signature, CK_ULONG signature_len)
{
	struct span input;
	CK_RV rv = finish_input(o, &input);
	return rv == CKR_OK ? verify(o, input, signature, signature_len) : rv;
}

CK_RV operation_verify(struct operation *operation, const CK_BYTE *in, CK_ULONG in_len, const CK_BYTE *signature,
                       CK_ULONG signature_len)
{
	struct operation *o = operation;

	if (o->kind != OPERATION_VERIFY)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (o->in_parts)
		return CKR_OPERATION_ACTIVE;
	ERR_set_mark();
	CK_RV rv = add_input(o, in, in_len);
	if (rv == CKR_OK)
		rv = verify_input(o, signature, signature_len);
	return leave(o, rv);
}

/*
 * RSA encrypts and decrypts in one part only (PKCS#11 2.40 mechanisms, table 3). The one-part signatures take parts all
 * the same, since pkcs11-tool gives its data in parts whatever the mechanism: they are collected.
 */
static bool takes_parts(const struct operation *o)
{
	return o->cipher || (o->kind != OPERATION_ENCRYPT && o->kind != OPERATION_DECRYPT);
}

CK_RV operation_update(struct operation *operation, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	struct operation *o = operation;

	if (!takes_parts(o))
		return CKR_FUNCTION_NOT_SUPPORTED;
	o->in_parts = true;
	ERR_set_mark();
	if (o->cipher)
		return leave_cipher(o, cipher_update(o->cipher, in, in_len, out, out_len));
	CK_RV rv = add_input(o, in, in_len);
	ERR_pop_to_mark();
	return rv;
}

CK_RV operation_final(struct operation *operation, CK_BYTE *out, CK_ULONG *out_len)
{
	struct operation *o = operation;
	CK_RV rv;

	if (o->kind == OPERATION_VERIFY)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!takes_parts(o))
		return CKR_FUNCTION_NOT_SUPPORTED;
	if (o->cipher) {
		ERR_set_mark();
		return leave_cipher(o, cipher_final(o->cipher, out, out_len));
	}
	if (length_is_answer(o, out, out_len, &rv))
		return rv;
	ERR_set_mark();
	return leave(o, produce(o, out, out_len));
}

CK_RV operation_verify_final(struct operation *operation, const CK_BYTE *signature, CK_ULONG signature_len)
{
	if (operation->kind != OPERATION_VERIFY)
		return CKR_OPERATION_NOT_INITIALIZED;
	ERR_set_mark();
	return leave(operation, verify_input(operation, signature, signature_len));
}
