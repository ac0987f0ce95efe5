/* SPDX-License-Identifier: Apache-2.0 */
#include "config/ini.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* What the reader said, as text: "LINE[section]" or "LINE[section]name=value", one after the other. */
static char seen[2048];

static skr_status note(const struct ini_line *line, void *with)
{
	size_t at = strlen(seen);

	(void)with;
	if (line->name)
		snprintf(seen + at, sizeof(seen) - at, "%d[%s]%s=%s ", line->number, line->section, line->name,
		         line->value);
	else
		snprintf(seen + at, sizeof(seen) - at, "%d[%s] ", line->number, line->section);
	return OK;
}

static int read_bytes(const char *text, size_t len)
{
	/* An exact copy, so that a sanitizer sees a byte too many. */
	char *copy = malloc(len ? len : 1);
	memcpy(copy, text, len);
	seen[0] = '\0';
	status_clear();
	int failure = ini_read("f", copy, len, note, NULL).failure;
	free(copy);
	return failure;
}

static int read_text(const char *text)
{
	return read_bytes(text, strlen(text));
}

static void sections_and_settings_come_in_order_with_their_lines(void **state)
{
	(void)state;
	assert_int_equal(read_text("# head\n\n[a]\nx = 1\n\t y=2 \n[ b c ]\nz = 3"), 0);
	assert_string_equal(seen, "3[a] 4[a]x=1 5[a]y=2 6[b c] 7[b c]z=3 ");
}

static void a_comment_starts_a_line_or_follows_white_space(void **state)
{
	(void)state;
	assert_int_equal(read_text("[a] ; why\n;x = 1\n  # y = 2\nx = 1 ; newest\ny = 2\t# two\n"), 0);
	assert_string_equal(seen, "1[a] 4[a]x=1 5[a]y=2 ");
}

static void a_comment_sign_inside_a_word_belongs_to_the_value(void **state)
{
	(void)state;
	assert_int_equal(read_text("[a]\nx = sha256//A=;sha256//B=#c\n"), 0);
	assert_string_equal(seen, "1[a] 2[a]x=sha256//A=;sha256//B=#c ");
}

static void a_value_keeps_its_equal_signs_and_inner_blanks(void **state)
{
	(void)state;
	assert_int_equal(read_text("[a]\nkey = https://h/keys/n  label=x=y\n"), 0);
	assert_string_equal(seen, "1[a] 2[a]key=https://h/keys/n  label=x=y ");
}

static void utf8_is_text_and_broken_utf8_is_not(void **state)
{
	static const struct {
		const char *bytes;
		int failure;
	} cases[] = {
	    {"[a]\nx = Schl\xc3\xbcssel \xf0\x9f\x94\x91\n", 0},
	    {"[a]\nx = \xff\n", 4},             /* no lead byte */
	    {"[a]\nx = \xc3\n", 4},             /* cut */
	    {"[a]\nx = \xc0\xaf\n", 4},         /* overlong */
	    {"[a]\nx = \xed\xa0\x80\n", 4},     /* surrogate */
	    {"[a]\nx = \xf4\x90\x80\x80\n", 4}, /* above U+10FFFF */
	    {"\xef\xbb\xbf\x01[a]\n", 4},
	    {"[a]\nx = \x7f\n", 4},
	    {"[a]\nx = a\x1b[31m\n", 4},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (read_text(cases[i].bytes) != cases[i].failure)
			fail_msg("case %zu: %s", i, status_message());
}

static void a_nul_byte_is_refused_with_its_column(void **state)
{
	(void)state;
	assert_int_equal(read_bytes("[a]\nx = 1\0y = 2\n", 16), 4);
	assert_string_equal(status_message(), "f:2: byte 0x00 in column 6 is not text");
}

static void a_byte_order_mark_is_refused(void **state)
{
	(void)state;
	assert_int_equal(read_text("\xef\xbb\xbf[a]\n"), 4);
}

static void dos_line_ends_are_refused_by_name(void **state)
{
	(void)state;
	assert_int_equal(read_text("[a]\r\nx = 1\r\n"), 4);
	assert_non_null(strstr(status_message(), "f:1: the line ends with CR LF"));
	assert_int_equal(read_text("[a]\nx = 1\ry = 2\n"), 4);
	assert_non_null(strstr(status_message(), "byte 0x0d in column 6"));
}

static void malformed_lines_are_refused_with_file_line_and_name(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
	    {"x = 1\n", "f:1: x: stands before the first [section]"},
	    {"[a]\nhello\n", "f:2: neither a [section]"},
	    {"[a\n", "f:1: a section is [NAME] and nothing else"},
	    {"[a] b\n", "f:1: a section is [NAME] and nothing else"},
	    {"[]\n", "f:1: a section is [NAME] and nothing else"},
	    {"[[a]\n", "f:1: a section is [NAME] and nothing else"},
	    {"[a]\n = 1\n", "f:2: the name of a setting"},
	    {"[a]\nX = 1\n", "f:2: the name of a setting"},
	    {"[a]\nx y = 1\n", "f:2: the name of a setting"},
	    {"[a]\nx =\n", "f:2: x: no value"},
	    {"[a]\nx = # none\n", "f:2: x: no value"},
	    {"[a]\nx = 1\n  continued\n", "f:3: neither a [section]"},
	    {"@include other.conf\n", "f:1: neither a [section]"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(read_text(cases[i].text), 4);
		if (!strstr(status_message(), cases[i].message))
			fail_msg("%s gave: %s", cases[i].text, status_message());
	}
}

static void a_line_of_4096_bytes_passes_and_one_more_is_refused(void **state)
{
	char text[4 + INI_LINE_LIMIT + 3];

	(void)state;
	memcpy(text, "[a]\n", 4);
	memset(text + 4, 'x', sizeof(text) - 4);
	memcpy(text + 4, "x = ", 4);
	text[4 + INI_LINE_LIMIT] = '\n';
	assert_int_equal(read_bytes(text, 4 + INI_LINE_LIMIT + 1), 0);
	text[4 + INI_LINE_LIMIT] = 'x';
	text[4 + INI_LINE_LIMIT + 1] = '\n';
	assert_int_equal(read_bytes(text, 4 + INI_LINE_LIMIT + 2), 4);
	assert_non_null(strstr(status_message(), "f:2: 4097 bytes"));
}

static void a_file_of_64_kib_passes_and_one_byte_more_is_refused(void **state)
{
	char *text = malloc(INI_FILE_LIMIT + 1);

	(void)state;
	memset(text, '\n', INI_FILE_LIMIT + 1);
	assert_int_equal(read_bytes(text, INI_FILE_LIMIT), 0);
	assert_int_equal(read_bytes(text, INI_FILE_LIMIT + 1), 3); /* E-03 */
	free(text);
}

static void an_empty_file_and_a_last_line_without_end_are_fine(void **state)
{
	(void)state;
	assert_int_equal(read_text(""), 0);
	assert_int_equal(read_text("[a]"), 0);
	assert_string_equal(seen, "1[a] ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sections_and_settings_come_in_order_with_their_lines),
	    cmocka_unit_test(a_comment_starts_a_line_or_follows_white_space),
	    cmocka_unit_test(a_comment_sign_inside_a_word_belongs_to_the_value),
	    cmocka_unit_test(a_value_keeps_its_equal_signs_and_inner_blanks),
	    cmocka_unit_test(utf8_is_text_and_broken_utf8_is_not),
	    cmocka_unit_test(a_nul_byte_is_refused_with_its_column),
	    cmocka_unit_test(a_byte_order_mark_is_refused),
	    cmocka_unit_test(dos_line_ends_are_refused_by_name),
	    cmocka_unit_test(malformed_lines_are_refused_with_file_line_and_name),
	    cmocka_unit_test(a_line_of_4096_bytes_passes_and_one_more_is_refused),
	    cmocka_unit_test(a_file_of_64_kib_passes_and_one_byte_more_is_refused),
	    cmocka_unit_test(an_empty_file_and_a_last_line_without_end_are_fine),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
