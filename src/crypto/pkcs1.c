/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/pkcs1.h"

#include "crypto/digest.h"

#include <openssl/core_names.h>
#include <openssl/params.h>

#include <string.h>

AUTO_OSSL(mac_ctx, EVP_MAC_CTX, EVP_MAC_CTX_free)
#define auto_mac_ctx __attribute__((cleanup(mac_ctx_done))) EVP_MAC_CTX

/*
 * Truth as a mask: 0 or all ones. The barrier keeps the compiler from seeing that, or it would make branches of masks.
 * Numbers are below 2^31.
 */
static inline uint32_t hide(uint32_t x)
{
	__asm__("" : "+r"(x));
	return x;
}

static inline uint32_t is_less(uint32_t a, uint32_t b)
{
	return hide(0 - ((a - b) >> 31));
}

static inline uint32_t is_zero(uint32_t x)
{
	return is_less(x, 1);
}

static inline uint32_t choose(uint32_t mask, uint32_t yes, uint32_t no)
{
	return (mask & yes) | (~mask & no);
}

static inline uint8_t choose_byte(uint32_t mask, uint8_t yes, uint8_t no)
{
	return (uint8_t)choose(mask, yes, no);
}

/* 128 candidates make the chance that none is short enough negligible (at worst 2^-128). */
enum { CANDIDATES = 128, MAC_SIZE = 32 };

struct workspace {
	uint8_t key[MAC_SIZE];
	uint8_t synthetic[PKCS1_BLOCK_MAX + MAC_SIZE]; /* room for the last MAC in full */
	uint8_t lengths[2 * CANDIDATES];
};

static void workspace_done(struct workspace **w)
{
	OPENSSL_clear_free(*w, sizeof(**w));
}

static bool mac(EVP_MAC_CTX *ctx, const uint8_t *data, size_t len, uint8_t out[MAC_SIZE])
{
	size_t out_len;
	return EVP_MAC_update(ctx, data, len) && EVP_MAC_final(ctx, out, &out_len, MAC_SIZE) && out_len == MAC_SIZE;
}

/* The draft's PRF: MAC(key, number of the part || label || wanted bits) until there is enough. Writes whole parts. */
static bool expand(EVP_MAC_CTX *ctx, const char *label, uint8_t *out, size_t wanted)
{
	uint8_t input[16];
	size_t label_len = strlen(label);
	size_t bits = wanted * 8;

	memcpy(input + 2, label, label_len);
	input[2 + label_len] = (uint8_t)(bits >> 8);
	input[3 + label_len] = (uint8_t)bits;
	for (size_t part = 0; part * MAC_SIZE < wanted; part++) {
		input[0] = (uint8_t)(part >> 8);
		input[1] = (uint8_t)part;
		if (!EVP_MAC_init(ctx, NULL, 0, NULL) || !mac(ctx, input, 4 + label_len, out + part * MAC_SIZE))
			return false;
	}
	return true;
}

/* Everything that depends on the ciphertext and the key, whatever the block says. */
static bool prepare(const uint8_t secret[MAC_SIZE], const uint8_t *ciphertext, size_t k, struct workspace *w)
{
	char sha256_name[] = OSSL_DIGEST_NAME_SHA2_256;
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256_name, 0), OSSL_PARAM_END};
	EVP_MAC *hmac = digest_hmac();
	auto_mac_ctx *ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;

	return ctx && EVP_MAC_init(ctx, secret, MAC_SIZE, params) && mac(ctx, ciphertext, k, w->key) &&
	       EVP_MAC_init(ctx, w->key, MAC_SIZE, NULL) && expand(ctx, "message", w->synthetic, k) &&
	       expand(ctx, "length", w->lengths, sizeof(w->lengths));
}

/* The last candidate, cut to the bits of the limit, that is below the limit. */
static uint32_t synthetic_length(const uint8_t lengths[2 * CANDIDATES], uint32_t limit)
{
	uint32_t bits = limit, length = 0;

	for (int shift = 1; shift < 16; shift *= 2)
		bits |= bits >> shift;
	for (size_t i = 0; i < CANDIDATES; i++) {
		uint32_t candidate = ((uint32_t)lengths[2 * i] << 8 | lengths[2 * i + 1]) & bits;
		length = choose(is_less(candidate, limit), candidate, length);
	}
	return length;
}

/* Mask: the padding is right; then the message starts at *start. */
static uint32_t find_message(const uint8_t *block, size_t k, uint32_t *start)
{
	uint32_t separator = 0, found = 0;

	for (uint32_t i = 2; i < k; i++) {
		uint32_t zero = is_zero(block[i]);
		separator = choose(zero & ~found, i, separator);
		found |= zero;
	}
	*start = separator + 1;
	return is_zero(block[0]) & is_zero(block[1] ^ 2) & ~is_less(separator, PKCS1_OVERHEAD - 1);
}

/* Moves the bytes `by` places to the front, in steps of 1, 2, 4 … places that are all made or only seem to be. */
static void shift_to_front(uint8_t *bytes, size_t len, uint32_t by)
{
	for (size_t step = 1; step <= len; step *= 2) {
		uint32_t move = ~is_zero(by & (uint32_t)step);
		for (size_t i = 0; i + step < len; i++)
			bytes[i] = choose_byte(move, bytes[i + step], bytes[i]);
	}
}

/* Mask: the length is one of those. */
static uint32_t is_among(uint32_t length, const size_t *lengths, size_t count)
{
	uint32_t found = 0;

	for (size_t i = 0; i < count; i++)
		found |= is_zero(length ^ (uint32_t)lengths[i]);
	return found;
}

/* One of the lengths, by the first candidate. */
static uint32_t synthetic_among(const uint8_t candidates[2 * CANDIDATES], const size_t *lengths, size_t count)
{
	uint32_t candidate = (uint32_t)candidates[0] << 8 | candidates[1], length = 0;
	uint32_t chosen = candidate * (uint32_t)count >> 16;

	for (size_t i = 0; i < count; i++)
		length = choose(is_zero(chosen ^ (uint32_t)i), (uint32_t)lengths[i], length);
	return length;
}

/* `count` 0: every length will do. */
static bool unpad(const uint8_t secret[MAC_SIZE], const uint8_t *ciphertext, uint8_t *block, size_t k,
                  const size_t *lengths, size_t count, uint8_t *out, size_t *out_len)
{
	__attribute__((cleanup(workspace_done))) struct workspace *w = OPENSSL_zalloc(sizeof(*w));
	if (!w || k > PKCS1_BLOCK_MAX || !prepare(secret, ciphertext, k, w))
		return false;

	size_t longest = k - PKCS1_OVERHEAD;
	uint32_t start;
	uint32_t good = find_message(block, k, &start);
	uint32_t synthetic =
	    count ? synthetic_among(w->lengths, lengths, count) : synthetic_length(w->lengths, (uint32_t)longest + 1);
	if (count)
		good &= is_among((uint32_t)k - start, lengths, count);
	start = choose(good, start, (uint32_t)k - synthetic);
	for (size_t i = 0; i < k; i++)
		block[i] = choose_byte(good, block[i], w->synthetic[i]);

	uint32_t length = (uint32_t)k - start;
	uint8_t *message = block + PKCS1_OVERHEAD;
	shift_to_front(message, longest, start - PKCS1_OVERHEAD);
	for (size_t i = 0; i < longest; i++)
		out[i] = choose_byte(is_less((uint32_t)i, length), message[i], out[i]);
	*out_len = length;
	OPENSSL_cleanse(block, k);
	return true;
}

bool pkcs1_unpad(const uint8_t secret[MAC_SIZE], const uint8_t *ciphertext, uint8_t *block, size_t k, uint8_t *out,
                 size_t *out_len)
{
	return unpad(secret, ciphertext, block, k, NULL, 0, out, out_len);
}

bool pkcs1_unpad_key(const uint8_t secret[MAC_SIZE], const uint8_t *ciphertext, uint8_t *block, size_t k,
                     const size_t *lengths, size_t count, uint8_t *out, size_t *out_len)
{
	return unpad(secret, ciphertext, block, k, lengths, count, out, out_len);
}
