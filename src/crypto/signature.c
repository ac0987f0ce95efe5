/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/signature.h"

#include <string.h>

enum { DER_INTEGER = 0x02, DER_SEQUENCE = 0x30 };

/* What remains to be read. */
struct der {
	const uint8_t *at;
	size_t left;
};

/* The contents of the next element if it has this tag, and the shortest form of a length below 256. */
static bool der_next(struct der *der, uint8_t tag, struct der *ret_contents)
{
	size_t head = 2;

	if (der->left < 2 || der->at[0] != tag)
		return false;
	size_t len = der->at[1];
	if (len >= 0x80) {
		if (len != 0x81 || der->left < 3 || der->at[2] < 0x80)
			return false;
		len = der->at[2];
		head = 3;
	}
	if (len > der->left - head)
		return false;
	*ret_contents = (struct der){der->at + head, len};
	*der = (struct der){der->at + head + len, der->left - head - len};
	return true;
}

/* A number that is not negative and has no needless zero in front, without the zero that keeps its sign. */
static bool der_number(struct der *der, size_t half, struct der *ret_number)
{
	struct der n;

	if (!der_next(der, DER_INTEGER, &n) || n.left == 0 || n.at[0] >= 0x80)
		return false;
	if (n.at[0] == 0) {
		n = (struct der){n.at + 1, n.left - 1};
		if (n.left > 0 && n.at[0] < 0x80)
			return false;
	}
	if (n.left > half)
		return false;
	*ret_number = n;
	return true;
}

static void place(const struct der *number, size_t half, uint8_t *out)
{
	memset(out, 0, half - number->left);
	memcpy(out + half - number->left, number->at, number->left);
}

bool signature_from_der(const uint8_t *der, size_t der_len, size_t half, uint8_t *ret_raw)
{
	struct der whole = {der, der_len}, pair, r, s;

	if (!der_next(&whole, DER_SEQUENCE, &pair) || whole.left != 0)
		return false;
	if (!der_number(&pair, half, &r) || !der_number(&pair, half, &s) || pair.left != 0)
		return false;
	place(&r, half, ret_raw);
	place(&s, half, ret_raw + half);
	return true;
}

/* Writes one INTEGER, at most 3 + half bytes. */
static size_t put_number(const uint8_t *number, size_t half, uint8_t *out)
{
	while (half > 1 && number[0] == 0) {
		number++;
		half--;
	}
	size_t sign = number[0] >= 0x80;
	out[0] = DER_INTEGER;
	out[1] = (uint8_t)(sign + half);
	out[2] = 0; /* overwritten when there is no need for a sign */
	memcpy(out + 2 + sign, number, half);
	return 2 + sign + half;
}

size_t signature_to_der(const uint8_t *raw, size_t half, uint8_t *ret_der)
{
	uint8_t pair[2 * (3 + SIGNATURE_HALF_MAX)];
	size_t len = put_number(raw, half, pair);
	size_t head = 0;

	len += put_number(raw + half, half, pair + len);
	ret_der[head++] = DER_SEQUENCE;
	if (len >= 0x80)
		ret_der[head++] = 0x81;
	ret_der[head++] = (uint8_t)len;
	memcpy(ret_der + head, pair, len);
	return head + len;
}
