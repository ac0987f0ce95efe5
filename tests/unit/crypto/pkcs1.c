/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/pkcs1.h"

#include "unit/crypto/surroundings.h"

enum { K = 256, ROOM = K - PKCS1_OVERHEAD };

static const uint8_t secret[32] = "a secret of thirty-two bytes...";
static const uint8_t ciphertext[K] = "a ciphertext";

static uint8_t out[ROOM];

static size_t unpad(const uint8_t *given)
{
	uint8_t block[K];
	size_t len = 9999;

	memcpy(block, given, K);
	memset(out, 0xa5, sizeof(out));
	assert_true(pkcs1_unpad(secret, ciphertext, block, K, out, &len));
	assert_in_range(len, 0, ROOM);
	return len;
}

/* 0 2 padding 0 message */
static void pad(uint8_t *block, size_t message_len)
{
	memset(block, 0xff, K);
	block[0] = 0;
	block[1] = 2;
	block[K - message_len - 1] = 0;
	for (size_t i = 0; i < message_len; i++)
		block[K - message_len + i] = (uint8_t)i; /* begins with a zero of its own */
}

static void every_length_of_message_comes_back(void **state)
{
	uint8_t block[K];

	(void)state;
	for (size_t len = 0; len <= ROOM; len++) {
		pad(block, len);
		assert_int_equal(unpad(block), len);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(out[i], (uint8_t)i);
	}
}

static void bytes_behind_the_message_keep_their_values(void **state)
{
	uint8_t block[K];

	(void)state;
	pad(block, 3);
	assert_int_equal(unpad(block), 3);
	for (size_t i = 3; i < ROOM; i++)
		assert_int_equal(out[i], 0xa5);
}

static void a_key_of_another_length_is_as_wrong_as_its_padding(void **state)
{
	static const size_t lengths[] = {16, 24, 32};
	uint8_t block[K], wrong[K];
	size_t len = 0, wrong_len = 0, seen = 0;

	(void)state;
	for (size_t message = 0; message <= ROOM; message++) {
		pad(block, message);
		memset(out, 0, sizeof(out));
		assert_true(pkcs1_unpad_key(secret, ciphertext, block, K, lengths, 3, out, &len));
		assert_true(len == 16 || len == 24 || len == 32);
		if (message == 16 || message == 24 || message == 32) {
			assert_int_equal(len, message);
			assert_int_equal(out[1], 1);
			continue;
		}
		uint8_t synthetic[32];
		memcpy(synthetic, out, len);
		pad(wrong, message);
		wrong[1] = 1;
		assert_true(pkcs1_unpad_key(secret, ciphertext, wrong, K, lengths, 3, out, &wrong_len));
		assert_int_equal(wrong_len, len);
		assert_memory_equal(out, synthetic, len);
	}
	for (uint8_t i = 0; i < 60; i++) { /* every length is given, by the ciphertext */
		uint8_t other[K] = {i};
		memset(block, 0, sizeof(block));
		assert_true(pkcs1_unpad_key(secret, other, block, K, lengths, 3, out, &len));
		seen |= (size_t)1 << len / 8;
	}
	assert_int_equal(seen, 1 << 2 | 1 << 3 | 1 << 4);
}

static void the_block_is_wiped(void **state)
{
	static const uint8_t zeros[K];
	uint8_t block[K];
	size_t len;

	(void)state;
	pad(block, 100);
	assert_true(pkcs1_unpad(secret, ciphertext, block, K, out, &len));
	assert_memory_equal(block, zeros, K);
}

/* Whatever is wrong, the answer is one and the same for this key and this ciphertext. */
static void every_wrong_padding_gives_the_same_other_message(void **state)
{
	uint8_t block[K], first[ROOM];

	(void)state;
	memset(block, 0, K);
	size_t first_len = unpad(block);
	memcpy(first, out, first_len);

	for (int fault = 0; fault < 13; fault++) {
		pad(block, 40);
		if (fault == 0)
			block[0] = 1;
		else if (fault == 1)
			block[0] = 0x80;
		else if (fault == 2)
			block[1] = 1;
		else if (fault == 3)
			block[1] = 0x82;
		else if (fault == 4)
			memset(block + 2, 0xff, K - 2); /* no separator */
		else
			block[2 + fault - 5] = 0; /* one to eight of eight bytes of padding missing */
		assert_int_equal(unpad(block), first_len);
		assert_memory_equal(out, first, first_len);
	}
}

static void eight_bytes_of_padding_are_enough(void **state)
{
	uint8_t block[K];

	(void)state;
	pad(block, ROOM);
	assert_int_equal(block[10], 0);
	assert_int_equal(unpad(block), ROOM);
	assert_int_equal(out[ROOM - 1], (uint8_t)(ROOM - 1));
}

static void the_other_message_depends_on_the_ciphertext_and_the_key(void **state)
{
	static const uint8_t other_ciphertext[K] = "b ciphertext", other_secret[32] = "b";
	uint8_t block[K], results[3][ROOM];
	size_t lens[3];

	(void)state;
	memset(results, 0, sizeof(results));
	memset(block, 0, K);
	assert_true(pkcs1_unpad(secret, ciphertext, block, K, results[0], &lens[0]));
	assert_true(pkcs1_unpad(secret, other_ciphertext, block, K, results[1], &lens[1]));
	assert_true(pkcs1_unpad(other_secret, ciphertext, block, K, results[2], &lens[2]));
	assert_true(lens[0] != lens[1] || memcmp(results[0], results[1], lens[0]) != 0);
	assert_true(lens[0] != lens[2] || memcmp(results[0], results[2], lens[0]) != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_length_of_message_comes_back),
	    cmocka_unit_test(bytes_behind_the_message_keep_their_values),
	    cmocka_unit_test(a_key_of_another_length_is_as_wrong_as_its_padding),
	    cmocka_unit_test(the_block_is_wiped),
	    cmocka_unit_test(every_wrong_padding_gives_the_same_other_message),
	    cmocka_unit_test(eight_bytes_of_padding_are_enough),
	    cmocka_unit_test(the_other_message_depends_on_the_ciphertext_and_the_key),
	};
	return cmocka_run_group_tests(tests, open_libcrypto, NULL);
}
