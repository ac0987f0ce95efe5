/* SPDX-License-Identifier: Apache-2.0 */
#include "base/audit.h"

#include "base/arena.h"
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "audit-XXXXXX";

static void a_record_is_one_line_of_json(void **state)
{
	(void)state;
	auto_buf text = BUF(4096);
	auto_json *parsed = NULL;
	json *record = audit_record("login");

	json_set_string(record, "token", "two\nlines \"quoted\"");
	assert_int_equal(audit_write(path, record, 18).failure, 0);
	assert_int_equal(file_read(path, &text).failure, 0);
	assert_ptr_equal(strchr(buf_text(&text), '\n'), buf_text(&text) + text.len - 1);
	assert_int_equal(json_parse(text.data, text.len - 1, &parsed).failure, 0);
	assert_string_equal(json_string_or_null(parsed, "event"), "login");
	assert_string_equal(json_string_or_null(parsed, "token"), "two\nlines \"quoted\"");
	int64_t pid;
	assert_int_equal(json_integer(parsed, "pid", false, &pid).failure, 0);
	assert_int_equal(pid, getpid());
}

static void records_are_appended_and_the_file_is_private(void **state)
{
	(void)state;
	struct stat before, after;

	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0600);
	assert_int_equal(audit_write(path, audit_record("logout"), 18).failure, 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_size > before.st_size);
}

static void without_a_file_nothing_is_written_and_nothing_fails(void **state)
{
	(void)state;
	assert_int_equal(audit_write(NULL, audit_record("login"), 18).failure, 0);
}

/* E-15 */
static void a_record_that_cannot_be_written_fails_with_the_number_asked_for(void **state)
{
	(void)state;
	assert_int_equal(audit_write("/nonexistent/audit", audit_record("login"), 18).failure, 18);
	assert_non_null(strstr(status_message(), "/nonexistent/audit"));
	assert_int_equal(audit_write("/dev/full", audit_record("login"), 18).failure, 18);
}

static void a_symbolic_link_is_not_followed(void **state)
{
	(void)state;
	unlink("audit-link");
	assert_int_equal(symlink(path, "audit-link"), 0);
	assert_int_equal(audit_write("audit-link", audit_record("login"), 18).failure, 18);
	unlink("audit-link");
}

/* E-14 */
static void a_lost_record_leaves_the_failure_that_is_reported_alone(void **state)
{
	(void)state;
	(void)FAIL(320, "the real reason");
	audit_note("/nonexistent/audit", audit_record("login"));
	assert_int_equal(status_last()->failure, 320);
	assert_string_equal(status_message(), "the real reason");
}

static int start(void **state)
{
	(void)state;
	if (arena_open(ARENA_LOCK_OFF).failure)
		return -1;
	int fd = mkstemp(path);
	close(fd);
	return unlink(path);
}

static int stop(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_record_is_one_line_of_json),
	    cmocka_unit_test(records_are_appended_and_the_file_is_private),
	    cmocka_unit_test(without_a_file_nothing_is_written_and_nothing_fails),
	    cmocka_unit_test(a_record_that_cannot_be_written_fails_with_the_number_asked_for),
	    cmocka_unit_test(a_symbolic_link_is_not_followed),
	    cmocka_unit_test(a_lost_record_leaves_the_failure_that_is_reported_alone),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
