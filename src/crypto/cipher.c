/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/cipher.h"

#include "crypto/operation.h"

#include <openssl/err.h>

#include <stdlib.h>
#include <string.h>

struct cipher {
	CK_MECHANISM_TYPE type;
	const struct mechanism_params *params;
	const struct key *key;
	bool encrypts;
	OSSL_LIB_CTX *made_in;
	EVP_CIPHER *algorithm;
	EVP_CIPHER_CTX *ctx;
	size_t held;   /* bytes that libcrypto took and has given nothing out for */
	uint64_t left; /* blocks before the counter of CTR repeats */
	bool has_tail; /* the last block of CBC_PAD is decrypted and waits for a buffer that is large enough */
	uint8_t tail[AES_BLOCK];
	size_t tail_len;
	uint8_t *collected; /* ciphertext of GCM, which is no secret: the arena is too good for it */
	size_t collected_len, collected_room;
};

/* Plaintext that was promised to nobody. */
static void wipe(CK_BYTE *out, size_t len)
{
	OPENSSL_cleanse(out, len);
}

static const char *mode_of(CK_MECHANISM_TYPE type)
{
	switch (type) {
	case CKM_AES_ECB:
		return "ECB";
	case CKM_AES_CTR:
		return "CTR";
	case CKM_AES_GCM:
		return "GCM";
	default:
		return "CBC";
	}
}

static EVP_CIPHER *fetch(const char *mode, size_t key_len)
{
	char name[24];

	snprintf(name, sizeof(name), "AES-%zu-%s", 8 * key_len, mode);
	return EVP_CIPHER_fetch(ossl, name, NULL);
}

static CK_RV refused(CK_RV otherwise)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? CKR_HOST_MEMORY : otherwise;
}

static bool is_gcm(const struct cipher *c)
{
	return c->type == CKM_AES_GCM;
}

static bool is_padded(const struct cipher *c)
{
	return c->type == CKM_AES_CBC_PAD;
}

/* Gives out as many bytes as it takes, at once. */
static bool is_stream(const struct cipher *c)
{
	return c->type == CKM_AES_CTR || is_gcm(c);
}

static bool opens_gcm(const struct cipher *c)
{
	return is_gcm(c) && !c->encrypts;
}

static CK_RV length_refused(const struct cipher *c)
{
	return c->encrypts ? CKR_DATA_LEN_RANGE : CKR_ENCRYPTED_DATA_LEN_RANGE;
}

/* --- life ----------------------------------------------------------------------------------------------------------
 */

void cipher_free(struct cipher *cipher)
{
	if (!cipher)
		return;
	if (cipher->made_in == ossl) { /* else they are left alone: see ossl_renew() */
		EVP_CIPHER_CTX_free(cipher->ctx);
		EVP_CIPHER_free(cipher->algorithm);
	}
	free(cipher->collected);
	OPENSSL_clear_free(cipher, sizeof(*cipher));
}

static void state_done(struct cipher **cipher)
{
	cipher_free(*cipher);
}
#define auto_state __attribute__((cleanup(state_done))) struct cipher

CK_RV cipher_new(const struct mechanism *row, const struct mechanism_params *params, const struct key *key,
                 bool encrypt, struct cipher **ret)
{
	auto_state *c = OPENSSL_zalloc(sizeof(*c));
	if (!c)
		return CKR_HOST_MEMORY;

	c->type = row->type;
	c->params = params;
	c->key = key;
	c->encrypts = encrypt;
	c->made_in = ossl;
	c->algorithm = fetch(mode_of(row->type), key_size(key));
	c->ctx = EVP_CIPHER_CTX_new();
	if (!c->algorithm || !c->ctx)
		return CKR_HOST_MEMORY;
	*ret = TAKE(c);
	return CKR_OK;
}

/* Blocks from the first counter block to the one where its lowest `counter_bits` are all ones, and that one. */
static uint64_t counter_room(const struct mechanism_params *params)
{
	uint64_t blocks = 0;

	for (size_t bit = params->counter_bits; bit-- > 0;) {
		uint8_t byte = params->iv[AES_BLOCK - 1 - bit / 8];
		if (blocks >> 62) /* more than anybody can encrypt */
			return blocks;
		blocks = blocks << 1 | !(byte >> bit % 8 & 1);
	}
	return blocks + 1;
}

static bool start_gcm(struct cipher *c)
{
	const struct mechanism_params *p = c->params;
	int len;

	if (EVP_CipherInit_ex2(c->ctx, c->algorithm, NULL, NULL, c->encrypts, NULL) <= 0 ||
	    EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_SET_IVLEN, (int)p->iv_len, NULL) <= 0 ||
	    EVP_CipherInit_ex2(c->ctx, NULL, key_secret(c->key), p->iv, c->encrypts, NULL) <= 0)
		return false;
	return p->label_len == 0 || EVP_CipherUpdate(c->ctx, NULL, &len, p->label, (int)p->label_len) > 0;
}

static bool start(struct cipher *c)
{
	if (is_gcm(c))
		return start_gcm(c);
	return EVP_CipherInit_ex2(c->ctx, c->algorithm, key_secret(c->key), c->params->iv, c->encrypts, NULL) > 0 &&
	       EVP_CIPHER_CTX_set_padding(c->ctx, is_padded(c)) > 0;
}

CK_RV cipher_rewind(struct cipher *c)
{
	c->held = 0;
	c->has_tail = false;
	c->collected_len = 0;
	if (c->type == CKM_AES_CTR)
		c->left = counter_room(c->params);
	wipe(c->tail, sizeof(c->tail));
	return start(c) ? CKR_OK : refused(CKR_FUNCTION_FAILED);
}

/* --- bytes ---------------------------------------------------------------------------------------------------------
 */

enum { CHUNK = 1 << 30 }; /* libcrypto counts in int */

static CK_RV feed(struct cipher *c, const CK_BYTE *in, size_t in_len, CK_BYTE *out, size_t *ret_len)
{
	size_t done = 0;

	while (in_len > 0) {
		size_t part = in_len < CHUNK ? in_len : CHUNK;
		int len;
		if (EVP_CipherUpdate(c->ctx, out + done, &len, in, (int)part) <= 0)
			return refused(CKR_FUNCTION_FAILED);
		done += (size_t)len;
		in += part;
		in_len -= part;
	}
	*ret_len = done;
	return CKR_OK;
}

/* CTR must not come back to a block that it has used. */
static CK_RV count(struct cipher *c, size_t in_len)
{
	if (c->type != CKM_AES_CTR)
		return CKR_OK;
	size_t begun = (AES_BLOCK - c->held) % AES_BLOCK; /* what is left of the last block */
	size_t blocks = in_len > begun ? (in_len - begun - 1) / AES_BLOCK + 1 : 0;
	if (blocks > c->left)
		return length_refused(c);
	c->left -= blocks;
	c->held = (c->held + in_len) % AES_BLOCK;
	return CKR_OK;
}

/* What an update with so many more bytes gives out. */
static size_t update_size(const struct cipher *c, size_t in_len)
{
	if (opens_gcm(c))
		return 0;
	if (is_stream(c))
		return in_len;
	size_t total = c->held + in_len;
	size_t kept = total % AES_BLOCK;
	if (kept == 0 && total > 0 && is_padded(c) && !c->encrypts)
		kept = AES_BLOCK; /* it may be the last one */
	return total - kept;
}

static CK_RV collect(struct cipher *c, const CK_BYTE *in, size_t in_len)
{
	if (in_len > OPERATION_COLLECT_MAX - c->collected_len)
		return CKR_ENCRYPTED_DATA_LEN_RANGE;
	size_t needed = c->collected_len + in_len;
	if (needed > c->collected_room) {
		size_t room = needed + needed / 2;
		uint8_t *more = realloc(c->collected, room);
		if (!more)
			return CKR_HOST_MEMORY;
		c->collected = more;
		c->collected_room = room;
	}
	if (in_len)
		memcpy(c->collected + c->collected_len, in, in_len);
	c->collected_len = needed;
	return CKR_OK;
}

/* Input may lie where output goes (PKCS#11 2.40 section 5.8); libcrypto bears that only while it holds nothing back. */
static bool input_in_the_way(const struct cipher *c, const CK_BYTE *in, size_t in_len, const CK_BYTE *out, size_t size)
{
	return c->held > 0 && !is_stream(c) && in < out + size && out < in + in_len;
}

static CK_RV feed_apart(struct cipher *c, const CK_BYTE *in, size_t in_len, CK_BYTE *out, size_t *ret_len)
{
	auto_buf copy = BUF(in_len);

	if (buf_append(&copy, in, in_len).failure)
		return CKR_HOST_MEMORY;
	return feed(c, copy.data, copy.len, out, ret_len);
}

/* --- calls ---------------------------------------------------------------------------------------------------------
 */

/* True if the length is the answer, and nothing is to be done yet. */
static bool length_is_answer(size_t size, const CK_BYTE *out, CK_ULONG *out_len, CK_RV *rv)
{
	if (out && *out_len >= size)
		return false;
	*rv = out ? CKR_BUFFER_TOO_SMALL : CKR_OK;
	*out_len = size;
	return true;
}

CK_RV cipher_update(struct cipher *c, const CK_BYTE *in, size_t in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	size_t size = update_size(c, in_len), len = 0;
	CK_RV rv;

	if (!in && in_len)
		return CKR_ARGUMENTS_BAD;
	if (length_is_answer(size, out, out_len, &rv))
		return rv;
	if (opens_gcm(c)) {
		*out_len = 0;
		return collect(c, in, in_len);
	}
	rv = count(c, in_len);
	if (rv != CKR_OK)
		return rv;
	rv = input_in_the_way(c, in, in_len, out, size) ? feed_apart(c, in, in_len, out, &len)
	                                                : feed(c, in, in_len, out, &len);
	if (rv != CKR_OK)
		return rv;
	if (!is_stream(c))
		c->held = c->held + in_len - len;
	*out_len = len;
	return CKR_OK;
}

/* All of it, `len` bytes without the tag; nothing of a wrong one is left in `out`. */
static CK_RV open_gcm(struct cipher *c, const CK_BYTE *in, size_t len, CK_BYTE *out, CK_ULONG *out_len)
{
	uint8_t rest[AES_BLOCK];
	size_t done = 0;
	int none;

	if (EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_SET_TAG, (int)c->params->tag_len, (void *)(in + len)) <= 0)
		return refused(CKR_FUNCTION_FAILED);
	CK_RV rv = feed(c, in, len, out, &done);
	if (rv == CKR_OK && EVP_CipherFinal_ex(c->ctx, rest, &none) <= 0)
		rv = refused(CKR_ENCRYPTED_DATA_INVALID);
	if (rv != CKR_OK) {
		wipe(out, len);
		return rv;
	}
	*out_len = len;
	return CKR_OK;
}

static CK_RV seal_gcm(struct cipher *c, CK_BYTE *out, size_t *ret_len)
{
	int none;

	if (EVP_CipherFinal_ex(c->ctx, out, &none) <= 0 ||
	    EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_GET_TAG, (int)c->params->tag_len, out) <= 0)
		return refused(CKR_FUNCTION_FAILED);
	*ret_len = c->params->tag_len;
	return CKR_OK;
}

/* The last of libcrypto's output, at most a block. */
static CK_RV finish(struct cipher *c, CK_BYTE *out, size_t *ret_len)
{
	uint8_t block[2 * AES_BLOCK];
	int len;

	if (is_gcm(c))
		return seal_gcm(c, out, ret_len);
	if (EVP_CipherFinal_ex(c->ctx, block, &len) <= 0)
		return refused(c->encrypts ? CKR_FUNCTION_FAILED : CKR_ENCRYPTED_DATA_INVALID);
	memcpy(out, block, (size_t)len);
	wipe(block, sizeof(block));
	*ret_len = (size_t)len;
	return CKR_OK;
}

static CK_RV final_open_gcm(struct cipher *c, CK_BYTE *out, CK_ULONG *out_len)
{
	size_t tag = c->params->tag_len;
	CK_RV rv;

	if (c->collected_len < tag)
		return CKR_ENCRYPTED_DATA_LEN_RANGE;
	if (length_is_answer(c->collected_len - tag, out, out_len, &rv))
		return rv;
	return open_gcm(c, c->collected, c->collected_len - tag, out, out_len);
}

/* A wrong padding is told here, whatever the buffer; a right one gives its very length. */
static CK_RV final_unpad(struct cipher *c, CK_BYTE *out, CK_ULONG *out_len)
{
	if (c->held != AES_BLOCK)
		return CKR_ENCRYPTED_DATA_LEN_RANGE;
	if (!out) {
		*out_len = AES_BLOCK;
		return CKR_OK;
	}
	if (!c->has_tail) {
		CK_RV rv = finish(c, c->tail, &c->tail_len);
		if (rv != CKR_OK)
			return rv;
		c->has_tail = true;
	}
	size_t room = *out_len;
	*out_len = c->tail_len;
	if (room < c->tail_len)
		return CKR_BUFFER_TOO_SMALL;
	memcpy(out, c->tail, c->tail_len);
	wipe(c->tail, sizeof(c->tail));
	return CKR_OK;
}

CK_RV cipher_final(struct cipher *c, CK_BYTE *out, CK_ULONG *out_len)
{
	size_t size = is_padded(c) ? AES_BLOCK : is_gcm(c) ? c->params->tag_len : 0, len = 0;
	CK_RV rv;

	if (opens_gcm(c))
		return final_open_gcm(c, out, out_len);
	if (is_padded(c) && !c->encrypts)
		return final_unpad(c, out, out_len);
	if (!is_padded(c) && !is_stream(c) && c->held != 0)
		return length_refused(c);
	if (length_is_answer(size, out, out_len, &rv))
		return rv;
	if (size > 0) {
		rv = finish(c, out, &len);
		if (rv != CKR_OK)
			return rv;
	}
	*out_len = len;
	return CKR_OK;
}

/* --- in one part ---------------------------------------------------------------------------------------------------
 */

/* False: no whole input of this mechanism has this length. */
static bool single_fits(const struct cipher *c, size_t in_len)
{
	if (opens_gcm(c))
		return in_len >= c->params->tag_len;
	if (is_stream(c) || (is_padded(c) && c->encrypts))
		return true;
	return in_len % AES_BLOCK == 0 && (in_len > 0 || !is_padded(c));
}

/* The output's length; for CBC_PAD that is decrypted, more than that. */
static size_t single_size(const struct cipher *c, size_t in_len)
{
	if (is_gcm(c))
		return c->encrypts ? in_len + c->params->tag_len : in_len - c->params->tag_len;
	if (is_padded(c) && c->encrypts)
		return in_len - in_len % AES_BLOCK + AES_BLOCK;
	return in_len;
}

/* Feeds and finishes. `out` has room for single_size(). */
static CK_RV run(struct cipher *c, const CK_BYTE *in, size_t in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	size_t len = 0, rest = 0;

	CK_RV rv = count(c, in_len);
	if (rv == CKR_OK)
		rv = feed(c, in, in_len, out, &len);
	if (rv == CKR_OK && (is_padded(c) || is_gcm(c)))
		rv = finish(c, out + len, &rest);
	if (rv != CKR_OK) {
		wipe(out, len);
		return rv;
	}
	*out_len = len + rest;
	return CKR_OK;
}

/* The buffer may be too small by the padding alone: that is known when it is decrypted, and not in the buffer. */
static CK_RV unpad_apart(struct cipher *c, const CK_BYTE *in, size_t in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	auto_buf plain = BUF(in_len);
	CK_ULONG len;
	uint8_t *place;

	if (buf_reserve(&plain, in_len, &place).failure)
		return CKR_HOST_MEMORY;
	plain.len = in_len;
	CK_RV rv = run(c, in, in_len, place, &len);
	if (rv != CKR_OK)
		return rv;
	size_t room = *out_len;
	*out_len = len;
	if (room < len) {
		rv = cipher_rewind(c);
		return rv == CKR_OK ? CKR_BUFFER_TOO_SMALL : rv;
	}
	memcpy(out, place, len);
	return CKR_OK;
}

CK_RV cipher_single(struct cipher *c, const CK_BYTE *in, size_t in_len, CK_BYTE *out, CK_ULONG *out_len)
{
	CK_RV rv;

	if (!in && in_len)
		return CKR_ARGUMENTS_BAD;
	if (!single_fits(c, in_len))
		return length_refused(c);
	if (out && is_padded(c) && !c->encrypts && *out_len < in_len)
		return unpad_apart(c, in, in_len, out, out_len);
	if (length_is_answer(single_size(c, in_len), out, out_len, &rv))
		return rv;
	if (opens_gcm(c))
		return open_gcm(c, in, in_len - c->params->tag_len, out, out_len);
	return run(c, in, in_len, out, out_len);
}

/* --- keys ----------------------------------------------------------------------------------------------------------
 */

CK_RV cipher_once(const char *mode, const uint8_t *key, size_t key_len, const uint8_t *iv, bool encrypt,
                  const uint8_t *in, size_t len, uint8_t *out, size_t *ret_len)
{
	auto_cipher *algorithm = fetch(mode, key_len);
	auto_cipher_ctx *ctx = EVP_CIPHER_CTX_new();
	int got = 0, more = 0;

	if (!algorithm || !ctx)
		return CKR_HOST_MEMORY;
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_CipherInit_ex2(ctx, algorithm, key, iv, encrypt, NULL) <= 0)
		return refused(CKR_FUNCTION_FAILED);
	EVP_CIPHER_CTX_set_padding(ctx, strcmp(mode, "CBC") == 0);
	if (EVP_CipherUpdate(ctx, out, &got, in, (int)len) <= 0 || EVP_CipherFinal_ex(ctx, out + got, &more) <= 0)
		return refused(CKR_FUNCTION_FAILED);
	*ret_len = (size_t)(got + more);
	return CKR_OK;
}
