/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"
#include "cmocka_all.h"

/* RFC 4648 section 10. */
static const struct {
	const char *plain, *padded, *bare;
} rfc4648[] = {
    {"", "", ""},
    {"f", "Zg==", "Zg"},
    {"fo", "Zm8=", "Zm8"},
    {"foo", "Zm9v", "Zm9v"},
    {"foob", "Zm9vYg==", "Zm9vYg"},
    {"fooba", "Zm9vYmE=", "Zm9vYmE"},
    {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
};

static void rfc_vectors_go_both_ways(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rfc4648) / sizeof(rfc4648[0]); i++) {
		auto_buf out = BUF(100);
		size_t len = strlen(rfc4648[i].plain);
		assert_int_equal(base64_encode(rfc4648[i].plain, len, &out).failure, 0);
		assert_string_equal(buf_text(&out), rfc4648[i].padded);
		buf_clear(&out);
		assert_int_equal(base64url_encode(rfc4648[i].plain, len, &out).failure, 0);
		assert_string_equal(buf_text(&out), rfc4648[i].bare);
		buf_clear(&out);
		assert_int_equal(base64_decode(rfc4648[i].padded, strlen(rfc4648[i].padded), &out).failure, 0);
		assert_string_equal(buf_text(&out), rfc4648[i].plain);
		buf_clear(&out);
		assert_int_equal(base64url_decode(rfc4648[i].bare, strlen(rfc4648[i].bare), &out).failure, 0);
		assert_string_equal(buf_text(&out), rfc4648[i].plain);
	}
}

static void every_byte_survives(void **state)
{
	(void)state;
	uint8_t all[256];
	auto_buf text = BUF(1000), back = BUF(1000);

	for (int i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	assert_int_equal(base64url_encode(all, 256, &text).failure, 0);
	assert_null(strpbrk(buf_text(&text), "+/="));
	assert_int_equal(base64url_decode(buf_text(&text), text.len, &back).failure, 0);
	assert_int_equal(back.len, 256);
	assert_memory_equal(back.data, all, 256);
}

static void refusals_hand_nothing_out(void **state)
{
	(void)state;
	static const char *const bad[] = {"Zg==", "Zh",   "Zm9",   "Z", "Zm 9v",  "Zm9v\n",
	                                  "Zm+v", "Zm/v", "Zm9vY", "=", "Zm9\xc3"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		auto_buf out = BUF(100);
		if (base64url_decode(bad[i], strlen(bad[i]), &out).failure != 213 || out.len != 0)
			fail_msg("base64url accepts %s", bad[i]);
	}
	static const char *const bad_standard[] = {"Zg", "Zg=", "Zh==", "Zg===", "Z===", "====", "Zm-v", "Zg==Zg=="};
	for (size_t i = 0; i < sizeof(bad_standard) / sizeof(bad_standard[0]); i++) {
		auto_buf out = BUF(100);
		if (base64_decode(bad_standard[i], strlen(bad_standard[i]), &out).failure != 213 || out.len != 0)
			fail_msg("base64 accepts %s", bad_standard[i]);
	}
}

static void every_spelling_of_azure_is_read(void **state)
{
	(void)state;
	static const char *const spellings[] = {"-_-_YQ==", "+/+/YQ==", "-_-_YQ", "+/+/YQ", "-_+/YQ==\r\n"};

	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		auto_buf out = BUF(100);
		assert_int_equal(base64_decode_any(spellings[i], strlen(spellings[i]), &out).failure, 0);
		assert_int_equal(out.len, 4);
		assert_memory_equal(out.data, "\xfb\xff\xbf\x61", 4);
	}
}

static void hexadecimal_goes_both_ways(void **state)
{
	(void)state;
	auto_buf out = BUF(100);

	assert_int_equal(hex_encode("\x00\xaf\x10", 3, &out).failure, 0);
	assert_string_equal(buf_text(&out), "00af10");
	buf_clear(&out);
	assert_int_equal(hex_decode("00aF10", 6, &out).failure, 0);
	assert_memory_equal(out.data, "\x00\xaf\x10", 3);
	assert_int_equal(hex_decode("0", 1, &out).failure, 213);
	assert_int_equal(hex_decode("0g", 2, &out).failure, 213);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rfc_vectors_go_both_ways),   cmocka_unit_test(every_byte_survives),
	    cmocka_unit_test(refusals_hand_nothing_out),  cmocka_unit_test(every_spelling_of_azure_is_read),
	    cmocka_unit_test(hexadecimal_goes_both_ways),
	};
	return cmocka_run_group_tests_name("base.base64", tests, NULL, NULL);
}
