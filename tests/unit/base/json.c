/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "cmocka_all.h"

static int failure_of(const char *text, size_t len)
{
	auto_json *j = NULL;
	int failure = json_parse(text, len, &j).failure;
	if (failure)
		assert_null(j);
	return failure;
}

static void what_services_send_is_read(void **state)
{
	(void)state;
	static const char text[] = " {\"a\":\"x\\u00e9\\n\",\"n\":9007199254740992,\"m\":-7,\"t\":true,\"z\":null,"
	                           "\"l\":[1,\"2\",{}],\"d\":\"42\"}\r\n";
	auto_json *j = NULL;
	const char *string;
	int64_t number;

	assert_int_equal(json_parse(text, sizeof(text) - 1, &j).failure, 0);
	assert_int_equal(json_string(j, "a", &string).failure, 0);
	assert_string_equal(string, "x\xc3\xa9\n");
	assert_int_equal(json_integer(j, "n", false, &number).failure, 0);
	assert_true(number == INT64_C(1) << 53);
	assert_int_equal(json_integer(j, "m", false, &number).failure, 0);
	assert_true(number == -7);
	assert_int_equal(json_integer(j, "d", false, &number).failure, 213);
	assert_int_equal(json_integer(j, "d", true, &number).failure, 0);
	assert_true(number == 42);
	assert_true(json_bool(j, "t", false));
	assert_true(json_bool(j, "a", true));
	assert_int_equal(json_count(json_get(j, "l")), 3);
	assert_null(json_get(j, "A"));
	assert_int_equal(json_string(j, "n", &string).failure, 213);
	assert_int_equal(json_string(j, "gone", &string).failure, 213);
	assert_non_null(strstr(status_message(), "gone"));
}

/* H-14 */
static void what_is_not_strict_json_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"",
	                                  " ",
	                                  "{",
	                                  "{\"a\":1",
	                                  "{\"a\":1}x",
	                                  "{\"a\":1}{}",
	                                  "{\"a\":1,}",
	                                  "[1,]",
	                                  "[,1]",
	                                  "{a:1}",
	                                  "{'a':1}",
	                                  "{\"a\":1,\"a\":2}",
	                                  "{\"a\":1,\"\\u0061\":2}",
	                                  "{\"x\":{\"b\":1,\"b\":1}}",
	                                  "\"\\ud800\"",
	                                  "\"\\udc00\\ud800\"",
	                                  "\"\\u0000\"",
	                                  "\"\\x\"",
	                                  "\"a\nb\"",
	                                  "\"\xff\"",
	                                  "\"\xc0\x80\"",
	                                  "\"\xed\xa0\x80\"",
	                                  "\"\xf4\x90\x80\x80\"",
	                                  "\"\xe2\x82\"",
	                                  "01",
	                                  "-",
	                                  "1.5",
	                                  "1e3",
	                                  "9007199254740993",
	                                  "99999999999999999999",
	                                  "+1",
	                                  "nul",
	                                  "tru",
	                                  "NaN",
	                                  "Infinity",
	                                  "\"open",
	                                  "[1 2]",
	                                  "{\"a\" 1}",
	                                  "/**/1",
	                                  "\xef\xbb\xbf{}"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (failure_of(bad[i], strlen(bad[i])) != 213)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(failure_of("{\"a\":\"\0\"}", 9), 213);
}

static void limits_hold_to_the_one(void **state)
{
	(void)state;
	char nested[40];
	auto_buf many = BUF(100000);

	memset(nested, '[', 17);
	memset(nested + 17, ']', 17);
	assert_int_equal(failure_of(nested, 34), 213);
	assert_int_equal(failure_of(nested + 1, 32), 0);

	assert_int_equal(buf_append_text(&many, "[0").failure, 0);
	for (int i = 1; i < 512; i++)
		assert_int_equal(buf_append_text(&many, ",0").failure, 0);
	assert_int_equal(buf_append_text(&many, "]").failure, 0);
	assert_int_equal(failure_of(buf_text(&many), many.len), 0);
	many.data[many.len - 1] = ',';
	assert_int_equal(buf_append_text(&many, "0]").failure, 0);
	assert_int_equal(failure_of(buf_text(&many), many.len), 213);

	buf_clear(&many);
	assert_int_equal(buf_append_text(&many, "\"").failure, 0);
	for (int i = 0; i < 65535; i++)
		assert_int_equal(buf_append_text(&many, "x").failure, 0);
	assert_int_equal(buf_append_text(&many, "\"").failure, 0);
	assert_int_equal(failure_of(buf_text(&many), many.len), 0);
	many.data[many.len - 1] = 'x';
	assert_int_equal(buf_append_text(&many, "xx\"").failure, 0);
	assert_int_equal(failure_of(buf_text(&many), many.len), 213);
}

static void of_several_values_the_first_can_be_had(void **state)
{
	(void)state;
	static const char *const texts[] = {"{\"a\":1}", " {\"a\":1}{\"a\":2}", "{\"a\":1}]", "{\"a\":1}\n\xff"};
	static const char *const refused[] = {"", " ", "]{\"a\":1}", "{\"a\":1,\"a\":1}{}", "{\"a\":1"};
	int64_t value;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		auto_json *j = NULL;
		assert_int_equal(json_parse_first(texts[i], strlen(texts[i]), &j).failure, 0);
		assert_int_equal(json_integer(j, "a", false, &value).failure, 0);
		assert_int_equal(value, 1);
	}
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		auto_json *j = NULL;
		assert_int_equal(json_parse_first(refused[i], strlen(refused[i]), &j).failure, 213);
		assert_null(j);
	}
}

static void what_is_built_reads_back(void **state)
{
	(void)state;
	auto_json *j = json_object();
	auto_buf out = BUF(1000);
	json *list = json_array();

	json_set_string(j, "b", "\"quoted\" \xc3\xa9");
	json_set_number(j, "c", INT64_C(1) << 53);
	json_push(list, json_of_string("x"));
	json_push(list, json_of_number(-1));
	json_set(j, "a", list);
	json_set_bool(j, "d", true);
	json_set_string(j, "b", "again");
	json_sort(j);
	assert_int_equal(json_print(j, &out).failure, 0);
	assert_string_equal(buf_text(&out), "{\"a\":[\"x\",-1],\"b\":\"again\",\"c\":9007199254740992,\"d\":true}");
}

static void a_member_that_could_not_be_made_fails_the_printing(void **state)
{
	(void)state;
	auto_json *j = json_object();
	auto_buf out = BUF(1000);

	json_set(j, "a", NULL);
	assert_int_not_equal(json_print(j, &out).failure, 0);
}

static void scalars_have_one_text(void **state)
{
	(void)state;
	static const struct {
		const char *value, *text;
	} rows[] = {
	    {"\"a\"", "a"}, {"true", "true"}, {"false", "false"}, {"-7", "-7"},
	    {"null", NULL}, {"[]", NULL},     {"{}", NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char document[32], room[24];
		auto_json *tree = NULL;
		snprintf(document, sizeof(document), "{\"v\":%s}", rows[i].value);
		assert_int_equal(json_parse(document, strlen(document), &tree).failure, 0);
		const char *text = json_scalar_text(json_get(tree, "v"), room);
		assert_int_equal(text == NULL, rows[i].text == NULL);
		if (text)
			assert_string_equal(text, rows[i].text);
	}
	char room[24];
	assert_null(json_scalar_text(NULL, room));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(scalars_have_one_text),
	    cmocka_unit_test(what_services_send_is_read),
	    cmocka_unit_test(what_is_not_strict_json_is_refused),
	    cmocka_unit_test(limits_hold_to_the_one),
	    cmocka_unit_test(of_several_values_the_first_can_be_had),
	    cmocka_unit_test(what_is_built_reads_back),
	    cmocka_unit_test(a_member_that_could_not_be_made_fails_the_printing),
	};
	return cmocka_run_group_tests_name("base.json", tests, NULL, NULL);
}
