/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <string.h>

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static skr_status encode(const char *alphabet, int padded, const uint8_t *in, size_t len, struct buf *out)
{
	size_t chars = len / 3 * 4 + (len % 3 ? (padded ? 4 : len % 3 + 1) : 0);
	uint8_t *to;
	size_t i;

	TRY(buf_reserve(out, chars, &to));
	for (i = 0; i + 3 <= len; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (uint32_t)in[i + 1] << 8 | in[i + 2];
		*to++ = (uint8_t)alphabet[v >> 18];
		*to++ = (uint8_t)alphabet[v >> 12 & 63];
		*to++ = (uint8_t)alphabet[v >> 6 & 63];
		*to++ = (uint8_t)alphabet[v & 63];
	}
	if (len % 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (len % 3 == 2 ? (uint32_t)in[i + 1] << 8 : 0);
		*to++ = (uint8_t)alphabet[v >> 18];
		*to++ = (uint8_t)alphabet[v >> 12 & 63];
		if (len % 3 == 2)
			*to++ = (uint8_t)alphabet[v >> 6 & 63];
		else if (padded)
			*to++ = '=';
		if (padded)
			*to++ = '=';
	}
	out->len += chars;
	out->data[out->len] = 0;
	return OK;
}

/* The value of a character, or -1. `any`: both alphabets. */
static int value_of(const char *alphabet, int any, char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == alphabet[62] || (any && (c == '+' || c == '-')))
		return 62;
	if (c == alphabet[63] || (any && (c == '/' || c == '_')))
		return 63;
	return -1;
}

/* `len` counts the characters before any padding. */
static skr_status decode(const char *alphabet, int any, const char *text, size_t len, struct buf *out)
{
	uint8_t *to;
	size_t bytes = len / 4 * 3 + (len % 4 ? len % 4 - 1 : 0);

	if (len % 4 == 1)
		return FAIL(213, "base64 text of %zu characters cannot be", len);
	TRY(buf_reserve(out, bytes, &to));
	for (size_t i = 0; i < len; i += 4) {
		size_t chars = len - i < 4 ? len - i : 4;
		uint32_t v = 0;
		for (size_t k = 0; k < 4; k++) {
			int six = k < chars ? value_of(alphabet, any, text[i + k]) : 0;
			if (six < 0)
				return FAIL(213, "no base64 character at offset %zu", i + k);
			v = v << 6 | (uint32_t)six;
		}
		if ((chars == 2 && (v & 0xffff)) || (chars == 3 && (v & 0xff)))
			return FAIL(213, "stray bits in the last base64 character");
		*to++ = (uint8_t)(v >> 16);
		if (chars > 2)
			*to++ = (uint8_t)(v >> 8);
		if (chars > 3)
			*to++ = (uint8_t)v;
	}
	out->len += bytes;
	out->data[out->len] = 0;
	return OK;
}

skr_status base64url_encode(const void *data, size_t len, struct buf *out)
{
	return encode(url, 0, data, len, out);
}

skr_status base64url_decode(const char *text, size_t len, struct buf *out)
{
	return decode(url, 0, text, len, out);
}

skr_status base64_encode(const void *data, size_t len, struct buf *out)
{
	return encode(standard, 1, data, len, out);
}

skr_status base64_decode(const char *text, size_t len, struct buf *out)
{
	size_t padding = 0;

	if (len % 4)
		return FAIL(213, "base64 text of %zu characters, not a multiple of 4", len);
	while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
		padding++;
	return decode(standard, 0, text, len - padding, out);
}

skr_status base64_decode_any(const char *text, size_t len, struct buf *out)
{
	while (len && strchr(" \t\r\n", text[len - 1]) && text[len - 1])
		len--;
	for (int padding = 0; padding < 2 && len && text[len - 1] == '='; padding++)
		len--;
	return decode(standard, 1, text, len, out);
}

skr_status hex_encode(const void *data, size_t len, struct buf *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *in = data;
	uint8_t *to;

	if (len > SIZE_MAX / 2)
		return FAIL(208, "%zu bytes as hexadecimal", len);
	TRY(buf_reserve(out, len * 2, &to));
	for (size_t i = 0; i < len; i++) {
		*to++ = (uint8_t)digits[in[i] >> 4];
		*to++ = (uint8_t)digits[in[i] & 15];
	}
	out->len += len * 2;
	out->data[out->len] = 0;
	return OK;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

skr_status hex_decode(const char *text, size_t len, struct buf *out)
{
	uint8_t *to;

	if (len % 2)
		return FAIL(213, "an odd number of hexadecimal digits");
	TRY(buf_reserve(out, len / 2, &to));
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_value(text[i]), low = hex_value(text[i + 1]);
		if (high < 0 || low < 0)
			return FAIL(213, "no hexadecimal digit at offset %zu", high < 0 ? i : i + 1);
		*to++ = (uint8_t)(high << 4 | low);
	}
	out->len += len / 2;
	out->data[out->len] = 0;
	return OK;
}
