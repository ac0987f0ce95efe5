/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/keywrap.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <string.h>

#define KEK_MAX       32
#define KWP_BLOCK     8
#define KWP_LEAST     16          /* a target of up to 8 bytes is one AES block: RFC 5649 section 4.1 */
#define WRAPPED_LIMIT (16 * 1024) /* threat model 10 */

static const struct {
	const char *enc, *digest;
} encodings[] = {
    {"RSA_AES_KEY_WRAP_256", "SHA256"},
    {"RSA_AES_KEY_WRAP_384", "SHA384"},
    {"CKM_RSA_AES_KEY_WRAP", "SHA1"},
};

const char *keywrap_digest(const char *enc)
{
	for (size_t i = 0; i < sizeof(encodings) / sizeof(encodings[0]); i++)
		if (strcmp(encodings[i].enc, enc) == 0)
			return encodings[i].digest;
	return NULL;
}

/* The one sentence of every failure to open. */
static skr_status does_not_open(void)
{
	ERR_clear_error();
	return FAIL(341, "the wrapped key cannot be opened");
}

static EVP_PKEY_CTX *oaep_context(EVP_PKEY *key, const char *digest, int (*init)(EVP_PKEY_CTX *))
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key, NULL);

	if (!ctx || init(ctx) <= 0 || EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_oaep_md_name(ctx, digest, NULL) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_mgf1_md_name(ctx, digest, NULL) <= 0)
		return NULL;
	return TAKE(ctx);
}

static EVP_CIPHER *kwp_cipher(size_t kek_len)
{
	switch (kek_len) {
	case 16:
		return EVP_CIPHER_fetch(ossl, "AES-128-WRAP-PAD", NULL);
	case 24:
		return EVP_CIPHER_fetch(ossl, "AES-192-WRAP-PAD", NULL);
	case 32:
		return EVP_CIPHER_fetch(ossl, "AES-256-WRAP-PAD", NULL);
	default:
		return NULL;
	}
}

/* AES key wrap with padding in either direction; `out` has room for len + 16. */
static int kwp(int encrypt, const void *kek, size_t kek_len, const void *in, size_t len, uint8_t *out, int *ret_len)
{
	auto_cipher *cipher = kwp_cipher(kek_len);
	auto_cipher_ctx *ctx = EVP_CIPHER_CTX_new();
	int got = 0, more = 0;

	if (!cipher || !ctx)
		return 0;
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_CipherInit_ex2(ctx, cipher, kek, NULL, encrypt, NULL) <= 0 ||
	    EVP_CipherUpdate(ctx, out, &got, in, (int)len) <= 0 || EVP_CipherFinal_ex(ctx, out + got, &more) <= 0)
		return 0;
	*ret_len = got + more;
	return 1;
}

skr_status keywrap_open_aes(const void *kek, size_t kek_len, const void *wrapped, size_t len, struct buf *ret_target)
{
	auto_buf target = BUF(WRAPPED_LIMIT + KWP_LEAST);
	uint8_t *place;
	int got;

	if (len < KWP_LEAST || len % KWP_BLOCK != 0 || len > WRAPPED_LIMIT)
		return does_not_open();
	TRY(buf_reserve(&target, len + KWP_LEAST, &place));
	if (!kwp(0, kek, kek_len, wrapped, len, place, &got) || got <= 0 || (size_t)got > ret_target->limit)
		return does_not_open();
	target.len = (size_t)got;
	buf_clear(ret_target);
	return buf_append(ret_target, target.data, target.len);
}

/* RSA-OAEP of the AES key. 0: refused, for whatever reason. */
static int open_kek(const char *digest, EVP_PKEY *transport, const uint8_t *in, size_t len, uint8_t *place,
                    size_t *room)
{
	auto_pkey_ctx *ctx = oaep_context(transport, digest, EVP_PKEY_decrypt_init);

	return ctx && EVP_PKEY_decrypt(ctx, place, room, in, len) > 0;
}

skr_status keywrap_open(const char *enc, EVP_PKEY *transport, const void *wrapped, size_t len, struct buf *ret_target)
{
	const char *digest = keywrap_digest(enc);
	int size = EVP_PKEY_get_size(transport);
	auto_buf kek = BUF(1024); /* OpenSSL wants room for a whole modulus */
	const uint8_t *in = wrapped;
	uint8_t *place;

	if (!digest || size <= 0 || (size_t)size > kek.limit || len <= (size_t)size)
		return does_not_open();
	TRY(buf_reserve(&kek, (size_t)size, &place));
	size_t room = (size_t)size;
	if (!open_kek(digest, transport, in, (size_t)size, place, &room))
		return does_not_open();
	kek.len = room;
	return keywrap_open_aes(kek.data, kek.len, in + size, len - (size_t)size, ret_target);
}

static skr_status seal_aes(const struct buf *kek, const void *target, size_t len, struct buf *out)
{
	uint8_t *place;
	int got;

	TRY(buf_reserve(out, len + 2 * KWP_LEAST, &place));
	if (len == 0 || len > WRAPPED_LIMIT || !kwp(1, kek->data, kek->len, target, len, place, &got))
		return ossl_fail(599, "AES key wrap");
	out->len += (size_t)got;
	return OK;
}

skr_status keywrap_seal_kek(const char *enc, EVP_PKEY *transport, const void *kek, size_t kek_len, struct buf *out)
{
	const char *digest = keywrap_digest(enc);
	uint8_t *place;

	if (!digest)
		return FAIL(599, "no key wrapping of the name %.64s", enc);
	auto_pkey_ctx *ctx = oaep_context(transport, digest, EVP_PKEY_encrypt_init);
	size_t room = (size_t)EVP_PKEY_get_size(transport);
	TRY(buf_reserve(out, room, &place));
	if (!ctx || EVP_PKEY_encrypt(ctx, place, &room, kek, kek_len) <= 0)
		return ossl_fail(599, "RSA-OAEP");
	out->len += room;
	return OK;
}

skr_status keywrap_seal(const char *enc, EVP_PKEY *transport, const void *target, size_t len, struct buf *out)
{
	auto_buf kek = BUF(KEK_MAX), sealed = BUF(WRAPPED_LIMIT + 2048);
	uint8_t *place;

	TRY(buf_reserve(&kek, KEK_MAX, &place));
	TRY(random_bytes(place, KEK_MAX));
	kek.len = KEK_MAX;
	TRY(keywrap_seal_kek(enc, transport, kek.data, kek.len, &sealed));
	TRY(seal_aes(&kek, target, len, &sealed));
	return buf_append(out, sealed.data, sealed.len);
}
