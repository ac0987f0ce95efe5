/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "cmocka_all.h"

static void one_byte_over_the_limit_is_refused_and_changes_nothing(void **state)
{
	(void)state;
	auto_buf b = BUF(4);

	assert_int_equal(buf_append(&b, "abcd", 4).failure, 0);
	assert_int_equal(buf_append(&b, "e", 1).failure, 208);
	assert_memory_equal(b.data, "abcd", 4);
	assert_int_equal(b.len, 4);
	assert_non_null(strstr(status_message(), "limit of 4"));
}

static void a_length_that_would_wrap_is_refused(void **state)
{
	(void)state;
	auto_buf b = BUF(16);
	uint8_t *place;

	assert_int_equal(buf_append(&b, "x", 1).failure, 0);
	assert_int_equal(buf_reserve(&b, SIZE_MAX, &place).failure, 208);
	assert_int_equal(buf_reserve(&b, SIZE_MAX - 1, &place).failure, 208);
}

static void text_is_terminated_and_grows(void **state)
{
	(void)state;
	auto_buf b = BUF(1000);

	assert_string_equal(buf_text(&b), "");
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_printf(&b, "%d,", i % 10).failure, 0);
	assert_int_equal(b.len, 200);
	assert_int_equal(strlen(buf_text(&b)), 200);
	assert_int_equal(buf_append_text(&b, "end").failure, 0);
	assert_string_equal(buf_text(&b) + 200, "end");
}

static void moved_bytes_have_one_owner(void **state)
{
	(void)state;
	auto_buf a = BUF(10), b = BUF(4);

	assert_int_equal(buf_append_text(&a, "secret").failure, 0);
	buf_move(&b, &a);
	assert_null(a.data);
	assert_int_equal(a.len, 0);
	assert_string_equal(buf_text(&b), "secret");
}

static void clearing_wipes(void **state)
{
	(void)state;
	auto_buf b = BUF(10);

	assert_int_equal(buf_append_text(&b, "secret").failure, 0);
	buf_clear(&b);
	assert_memory_equal(b.data, "\0\0\0\0\0\0", 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_byte_over_the_limit_is_refused_and_changes_nothing),
	    cmocka_unit_test(a_length_that_would_wrap_is_refused),
	    cmocka_unit_test(text_is_terminated_and_grows),
	    cmocka_unit_test(moved_bytes_have_one_owner),
	    cmocka_unit_test(clearing_wipes),
	};
	return cmocka_run_group_tests_name("base.buf", tests, NULL, NULL);
}
