/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct given {
	const char *first, *second, *file;
	bool loud;
	struct argument_values names;
};

static char *err;

/* Of a command that exists, for the sake of its usage line. */
static enum exit_code read_line(const char *line, struct given *g)
{
	static char copy[512]; /* the values are borrowed from it, until the next line */
	char *rest = copy, *argv[16];
	int argc = 0;
	size_t len;
	const struct argument known[] = {{"", .value = &g->first},        {"", .value = &g->second},
	                                 {"--file", .value = &g->file},   {"--loud", .flag = &g->loud},
	                                 {"--name", .values = &g->names}, {.name = NULL}};

	*g = (struct given){.first = NULL};
	free(err);
	err = NULL;
	struct terminal t = {.out = stderr, .err = open_memstream(&err, &len)};
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word; (word = strsep(&rest, " ")) && argc < 16;)
		argv[argc++] = word;
	enum exit_code code = arguments_read(&t, "tokens", argc, argv, known);
	fclose(t.err);
	return code;
}

static void words_options_and_flags_go_where_the_table_says(void **state)
{
	struct given g;

	(void)state;
	assert_int_equal(read_line("one --file f two --loud", &g), EXIT_GOOD);
	assert_string_equal(g.first, "one");
	assert_string_equal(g.second, "two");
	assert_string_equal(g.file, "f");
	assert_true(g.loud);
	assert_string_equal(err, "");
}

static void a_value_may_stand_behind_an_equals_sign(void **state)
{
	struct given g;

	(void)state;
	assert_int_equal(read_line("--file=a=b --name=--x", &g), EXIT_GOOD);
	assert_string_equal(g.file, "a=b");
	assert_string_equal(g.names.text[0], "--x");
}

static void a_repeated_option_keeps_each_value(void **state)
{
	struct given g;

	(void)state;
	assert_int_equal(read_line("--name a --name b --name=c", &g), EXIT_GOOD);
	assert_int_equal(g.names.count, 3);
	assert_string_equal(g.names.text[2], "c");
}

static void what_is_not_understood_is_named(void **state)
{
	static const struct {
		const char *line, *says;
	} rows[] = {
	    {"a b c", "\"c\" is one word too many"},
	    {"--nothing", "\"--nothing\" is not understood"},
	    {"--fil f", "\"--fil\" is not understood"},
	    {"--files f", "\"--files\" is not understood"},
	    {"-f", "\"-f\" is not understood"},
	    {"--file", "--file needs a value"},
	    {"--file=", "--file needs a value"},
	    {"--file --loud", "--file needs a value"},
	    {"--file a --file b", "--file is given too often"},
	    {"--loud=yes", "--loud takes no value"},
	};
	struct given g;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (read_line(rows[i].line, &g) != EXIT_USAGE || !strstr(err, rows[i].says) ||
		    !strstr(err, "usage: skr-pkcs11 tokens"))
			fail_msg("%s: %s", rows[i].line, err);
}

static void an_option_is_repeated_only_so_often(void **state)
{
	char word[] = "--name=x", *argv[ARGUMENT_VALUES_MAX + 1];
	struct argument_values names = {.count = 0};
	const struct argument known[] = {{"--name", .values = &names}, {.name = NULL}};
	struct terminal t = {.out = stderr, .err = fopen("/dev/null", "w")};

	(void)state;
	for (size_t i = 0; i <= ARGUMENT_VALUES_MAX; i++)
		argv[i] = word;
	assert_int_equal(arguments_read(&t, "tokens", ARGUMENT_VALUES_MAX, argv, known), EXIT_GOOD);
	names.count = 0;
	assert_int_equal(arguments_read(&t, "tokens", ARGUMENT_VALUES_MAX + 1, argv, known), EXIT_USAGE);
	fclose(t.err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(words_options_and_flags_go_where_the_table_says),
	    cmocka_unit_test(a_value_may_stand_behind_an_equals_sign),
	    cmocka_unit_test(a_repeated_option_keeps_each_value),
	    cmocka_unit_test(what_is_not_understood_is_named),
	    cmocka_unit_test(an_option_is_repeated_only_so_often),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(err);
	return failed;
}
