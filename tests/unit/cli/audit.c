/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 audit verify`: each way to tamper with a chained trail is found at its line, or is said not to be. */
#include "cli/command.h"

#include "base/audit.h"
#include "base/audit_chain.h"
#include "base/ossl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "verify-XXXXXX", good[64], other[64];
static char *out, *err;
static char *lines[16]; /* of the good file, without newlines */
enum { LINES = 6 };

static enum exit_code verify(const char *a, const char *b, const char *head)
{
	char command[] = "audit", words[] = "verify", option[] = "--head";
	char *argv[8] = {command, words};
	int argc = 2;
	size_t out_len, err_len;

	free(out);
	free(err);
	struct terminal t = {.out = open_memstream(&out, &out_len), .err = open_memstream(&err, &err_len)};
	if (head) {
		argv[argc++] = option;
		argv[argc++] = (char *)(uintptr_t)head;
	}
	if (a)
		argv[argc++] = (char *)(uintptr_t)a;
	if (b)
		argv[argc++] = (char *)(uintptr_t)b;
	enum exit_code code = command_run(&t, argc, argv);
	fclose(t.out);
	fclose(t.err);
	return code;
}

static void put(const char *path, const char *const *text, size_t count)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	for (size_t i = 0; i < count; i++)
		fprintf(file, "%s\n", text[i]);
	assert_int_equal(fclose(file), 0);
}

static void assert_says(const char *stream, const char *text)
{
	if (!strstr(stream, text))
		fail_msg("no \"%s\" in: %s", text, stream);
}

static void assert_refused(const char *text)
{
	assert_int_equal(verify(other, NULL, NULL), EXIT_BAD);
	assert_string_equal(out, "");
	assert_says(err, text);
}

static void hash_of(const char *line, char hash[AUDIT_HASH_SIZE])
{
	assert_int_equal(audit_line_hash(line, strlen(line), hash).failure, 0);
}

static void a_good_chain_is_told_with_its_head(void **state)
{
	(void)state;
	char head[AUDIT_HASH_SIZE];

	hash_of(lines[LINES - 1], head);
	assert_int_equal(verify(good, NULL, NULL), EXIT_GOOD);
	assert_string_equal(err, "");
	assert_says(out, "lines  6\nchain  1 to 6, unbroken\n");
	assert_says(out, head);
	assert_says(out, "Note the head elsewhere");
}

static void each_line_that_is_changed_is_found(void **state)
{
	(void)state;
	for (size_t i = 0; i + 1 < LINES; i++) {
		char changed[4096], expected[64];
		const char *text[LINES];
		memcpy(text, lines, sizeof(text));
		snprintf(changed, sizeof(changed), "%s", lines[i]);
		char *event = strstr(changed, "\"login\"");
		assert_non_null(event);
		event[1] = 'L';
		text[i] = changed;
		put(other, text, LINES);
		snprintf(expected, sizeof(expected), "line %zu does not fit: the line before it was changed", i + 2);
		assert_refused(expected);
	}
}

static void a_line_taken_out_put_in_or_moved_is_found(void **state)
{
	(void)state;
	const char *const without[] = {lines[0], lines[1], lines[3], lines[4]};
	const char *const twice[] = {lines[0], lines[1], lines[1], lines[2]};
	const char *const moved[] = {lines[0], lines[2], lines[1], lines[3]};
	const char *const put_in[] = {lines[0], "{\"event\":\"login\"}", lines[1]};
	const char *const text[] = {lines[0], "all is well", lines[1]};

	put(other, without, 4);
	assert_refused("line 3 does not fit: its number is 4 where 3 belongs");
	put(other, twice, 4);
	assert_refused("line 3 does not fit: its number is 2 where 3 belongs");
	put(other, moved, 4);
	assert_refused("line 2 does not fit: its number is 3 where 2 belongs");
	put(other, put_in, 3);
	assert_refused("line 2 has no link");
	put(other, text, 3);
	assert_refused("line 2 is no JSON object");
}

static void a_line_cut_short_is_found(void **state)
{
	(void)state;
	FILE *file = fopen(other, "w");

	fprintf(file, "%s\n%.20s", lines[0], lines[1]);
	fclose(file);
	assert_refused("line 2 was cut short");
	file = fopen(other, "w"); /* the same with all of its text, but no newline */
	fprintf(file, "%s\n%s", lines[0], lines[1]);
	fclose(file);
	assert_refused("line 2 was cut short");
}

static void a_line_that_never_ends_costs_little_and_is_found(void **state)
{
	(void)state;
	FILE *file = fopen(other, "w");

	fprintf(file, "%s\n", lines[0]);
	for (int i = 0; i < 3 * AUDIT_LINE_LIMIT; i++)
		fputc('x', file);
	fprintf(file, "\n%s\n", lines[1]);
	fclose(file);
	assert_refused("line 2 was cut short, or is too long");
}

/* What the chain cannot show is shown by a head that was kept elsewhere. */
static void a_missing_end_is_found_by_the_head_alone(void **state)
{
	(void)state;
	char head[AUDIT_HASH_SIZE], earlier[AUDIT_HASH_SIZE];

	hash_of(lines[LINES - 1], head);
	hash_of(lines[1], earlier);
	put(other, (const char *const *)lines, LINES - 1);
	assert_int_equal(verify(other, NULL, NULL), EXIT_GOOD);
	assert_int_equal(verify(other, NULL, head), EXIT_BAD);
	assert_says(err, "is the hash of no line");
	assert_int_equal(verify(good, NULL, head), EXIT_GOOD);
	assert_says(out, "noted  found, 0 lines were added since");
	assert_int_equal(verify(good, NULL, earlier), EXIT_GOOD);
	assert_says(out, "noted  found, 4 lines were added since");
}

static void a_rotated_file_and_its_follower_are_one_chain(void **state)
{
	(void)state;
	char old[80], expected[128], head[AUDIT_HASH_SIZE];

	snprintf(old, sizeof(old), "%s.1", other);
	put(old, (const char *const *)lines, 4);
	put(other, (const char *const *)lines + 4, 2);
	assert_int_equal(verify(old, other, NULL), EXIT_GOOD);
	assert_says(out, "chain  1 to 6, unbroken");
	assert_int_equal(verify(other, NULL, NULL), EXIT_GOOD);
	hash_of(lines[3], head);
	snprintf(expected, sizeof(expected), "after  %s, the head of an older file", head);
	assert_says(out, expected);
	assert_int_equal(verify(other, old, NULL), EXIT_BAD);
	put(old, (const char *const *)lines, 3);
	assert_int_equal(verify(old, other, NULL), EXIT_BAD);
	assert_says(err, "line 1 does not fit");
	unlink(old);
}

static void lines_from_before_the_chain_are_counted_and_said_to_be_unprotected(void **state)
{
	(void)state;
	struct audit_trail trail = {.file = other};

	unlink(other);
	assert_int_equal(audit_write(&trail, audit_record("login"), 17).failure, 0);
	assert_int_equal(verify(other, NULL, NULL), EXIT_BAD);
	assert_says(err, "none of the 1 lines is chained");
	trail.chained = true;
	assert_int_equal(audit_write(&trail, audit_record("login"), 17).failure, 0);
	assert_int_equal(verify(other, NULL, NULL), EXIT_GOOD);
	assert_says(out, "lines  2, the first 1 from before the chain began: nothing protects them");

	/* The first link binds the line before it all the same. */
	const char *const text[] = {"{\"event\":\"another\"}", lines[0]};
	put(other, text, 2);
	assert_refused("line 2 does not fit");
	const char *const later[] = {"{\"event\":\"another\"}", lines[1]};
	put(other, later, 2);
	assert_refused("line 2 has number 2, but the lines before it have none");
}

static void what_cannot_be_read_is_one_sentence_and_exit_2(void **state)
{
	(void)state;
	assert_int_equal(verify("/nonexistent/audit", NULL, NULL), EXIT_USAGE);
	assert_says(err, "/nonexistent/audit: No such file");
	assert_int_equal(verify(folder, NULL, NULL), EXIT_USAGE);
	assert_says(err, "is not a regular file");
	assert_int_equal(verify("/dev/zero", NULL, NULL), EXIT_USAGE);
	assert_int_equal(verify(NULL, NULL, NULL), EXIT_USAGE);
	assert_int_equal(verify(good, NULL, "abc"), EXIT_USAGE);
	assert_int_equal(verify("--frobnicate", NULL, NULL), EXIT_USAGE);
	assert_string_equal(out, "");
	unlink(other);
	put(other, NULL, 0);
	assert_int_equal(verify(other, NULL, NULL), EXIT_BAD);
}

static int start(void **state)
{
	(void)state;
	struct audit_trail trail = {.chained = true};
	static char text[32 * 1024];

	if (ossl_open().failure || !mkdtemp(folder))
		return -1;
	snprintf(good, sizeof(good), "%s/good", folder);
	snprintf(other, sizeof(other), "%s/other", folder);
	trail.file = good;
	for (int i = 0; i < LINES; i++)
		if (audit_write(&trail, audit_record("login"), 17).failure)
			return -1;
	FILE *file = fopen(good, "r");
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	char *rest = text;
	for (int i = 0; i < LINES; i++)
		lines[i] = strsep(&rest, "\n");
	return 0;
}

static int stop(void **state)
{
	(void)state;
	unlink(good);
	unlink(other);
	free(out);
	free(err);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_good_chain_is_told_with_its_head),
	    cmocka_unit_test(each_line_that_is_changed_is_found),
	    cmocka_unit_test(a_line_taken_out_put_in_or_moved_is_found),
	    cmocka_unit_test(a_line_cut_short_is_found),
	    cmocka_unit_test(a_line_that_never_ends_costs_little_and_is_found),
	    cmocka_unit_test(a_missing_end_is_found_by_the_head_alone),
	    cmocka_unit_test(a_rotated_file_and_its_follower_are_one_chain),
	    cmocka_unit_test(lines_from_before_the_chain_are_counted_and_said_to_be_unprotected),
	    cmocka_unit_test(what_cannot_be_read_is_one_sentence_and_exit_2),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
