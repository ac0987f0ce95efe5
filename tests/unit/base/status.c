/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/status.h"
#include "cmocka_all.h"

#include <sys/stat.h>
#include <unistd.h>

static void rows_are_sorted_unique_and_whole(void **state)
{
	(void)state;
	int last = 0;

	for (const struct failure_row *row = failure_rows; row->number; row++) {
		if (row->number <= last)
			fail_msg("row %d after row %d", row->number, last);
		last = row->number;
		assert_true(strlen(row->sentence) > 8 && strlen(row->hint) > 8);
		assert_ptr_equal(failure_row(row->number), row);
	}
	assert_int_equal(failure_row(12345)->number, 599);
}

static void a_line_says_what_is_known_and_nothing_else(void **state)
{
	(void)state;
	char line[2048];

	(void)FAIL(320, "HTTP %d from %s", 400, "maa.example");
	snprintf(status_amend()->step, sizeof(status_amend()->step), "attest");
	status_amend()->http = 400;
	status_line(status_last(), line, sizeof(line));
	assert_string_equal(line,
	                    "SKR-320 step=attest http=400 : evidence refused by the attestation service: HTTP 400 from "
	                    "maa.example : the service's own words say why");
	status_clear();
	assert_string_equal(status_message(), "");
}

static void words_from_outside_cannot_break_the_line(void **state)
{
	(void)state;
	(void)FAIL(242, "service says %s", "a\nSKR-000 forged\x1b[2J\xff");
	assert_null(strpbrk(status_message(), "\n\x1b\xff"));
	char longest[2000];
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	(void)FAIL(242, "%s", longest);
	assert_true(strlen(status_message()) < sizeof(status_last()->sentence));
}

static void a_log_file_gets_whole_lines_and_private_mode(void **state)
{
	(void)state;
	char path[] = "/tmp/skr-log-XXXXXX", text[4096];
	struct stat about;

	close(mkstemp(path));
	unlink(path);
	log_open(path, LOG_LEVEL_WARNING, "skr-test");
	log_line(LOG_LEVEL_INFO, "not wanted");
	(void)FAIL(203, "could not reach it");
	log_failure();
	log_line(LOG_LEVEL_ERROR, "two\nlines");
	log_open("none", LOG_LEVEL_ERROR, "skr-test");
	assert_int_equal(stat(path, &about), 0);
	assert_int_equal(about.st_mode & 0777, 0600);
	FILE *file = fopen(path, "r");
	size_t len = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	unlink(path);
	text[len] = '\0';
	assert_null(strstr(text, "not wanted"));
	assert_non_null(strstr(text, "error: SKR-203 : could not connect: could not reach it : is there a route"));
	assert_non_null(strstr(text, "two?lines\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows_are_sorted_unique_and_whole),
	    cmocka_unit_test(a_line_says_what_is_known_and_nothing_else),
	    cmocka_unit_test(words_from_outside_cannot_break_the_line),
	    cmocka_unit_test(a_log_file_gets_whole_lines_and_private_mode),
	};
	return cmocka_run_group_tests_name("base.status", tests, NULL, NULL);
}
