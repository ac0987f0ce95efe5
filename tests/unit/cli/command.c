/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

/* What the last command wrote. */
static char *out, *err;

static enum exit_code run(const char *line)
{
	char copy[512], *rest = copy, *argv[16];
	int argc = 0;
	size_t out_len, err_len;

	free(out);
	free(err);
	struct terminal t = {.out = open_memstream(&out, &out_len), .err = open_memstream(&err, &err_len)};
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word; (word = strsep(&rest, " ")) && argc < 15;)
		if (*word)
			argv[argc++] = word;
	argv[argc] = NULL;
	enum exit_code code = command_run(&t, argc, argv);
	fclose(t.out);
	fclose(t.err);
	return code;
}

static void no_command_or_an_unknown_one_is_misuse_and_says_where_to_read_on(void **state)
{
	static const char *const lines[] = {"",
	                                    "dance",
	                                    "config",
	                                    "config dance",
	                                    "--frobnicate",
	                                    "configcheck",
	                                    "config check a b",
	                                    "config settings x",
	                                    "tokens extra",
	                                    "attest a b",
	                                    "attest --token --json",
	                                    "attest --token --no-service",
	                                    "tokens --module",
	                                    "doctor a b",
	                                    "doctor --config"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		if (run(lines[i]) != EXIT_USAGE)
			fail_msg("%s", lines[i]);
		assert_string_equal(out, "");
		assert_true(strstr(err, "usage: ") || strstr(err, "--help"));
	}
}

static void help_names_every_command(void **state)
{
	(void)state;
	assert_int_equal(run("--help"), EXIT_GOOD);
	for (const struct command *c = commands; c->words; c++)
		if (!strstr(out, c->words) || !strstr(out, c->summary))
			fail_msg("%s is missing", c->words);
}

static void every_command_has_help_with_usage_exit_status_and_an_example(void **state)
{
	char line[128];

	(void)state;
	for (const struct command *c = commands; c->words; c++) {
		snprintf(line, sizeof(line), "%s --help", c->words);
		if (run(line) != EXIT_GOOD || *err || !strstr(out, c->words) || !strstr(out, c->arguments) ||
		    !strstr(out, "Example"))
			fail_msg("%s: %s%s", line, out, err);
		for (const char *at = out; (at = strchr(at, '\n')); at++)
			if (strcspn(at + 1, "\n") > 120)
				fail_msg("%s: a line is too long: %.130s", line, at + 1);
		/* Wherever --help stands, nothing is done. */
		snprintf(line, sizeof(line), "%s --nonsense --help", c->words);
		assert_int_equal(run(line), EXIT_GOOD);
	}
	assert_int_equal(run("dance --help"), EXIT_USAGE);
}

static void the_first_word_of_a_family_lists_it(void **state)
{
	(void)state;
	assert_int_equal(run("policy"), EXIT_USAGE);
	assert_string_equal(out, "");
	assert_non_null(strstr(err, "  policy diff "));
	assert_null(strstr(err, "audit verify"));
	assert_int_equal(run("policy --help"), EXIT_GOOD);
	assert_string_equal(err, "");
	assert_non_null(strstr(out, "  policy explain "));
	assert_int_equal(run("pol"), EXIT_USAGE);
	assert_non_null(strstr(err, "no command \"pol\""));
	assert_int_equal(run("policy dance"), EXIT_USAGE);
	assert_non_null(strstr(err, "no command \"policy dance\""));
}

static void the_version_is_the_builds(void **state)
{
	(void)state;
	assert_int_equal(run("--version"), EXIT_GOOD);
	assert_string_equal(out, "skr-pkcs11 " SKR_VERSION "\n");
}

static void the_settings_are_listed_with_their_defaults(void **state)
{
	(void)state;
	assert_int_equal(run("config settings"), EXIT_GOOD);
	for (const struct setting *s = config_settings; s->name; s++) {
		char line[256];
		snprintf(line, sizeof(line), "\n%s = %s\n", s->name, s->fallback ? s->fallback : "");
		if (!strstr(out, line) || !strstr(out, s->meaning))
			fail_msg("%s is missing", s->name);
	}
	assert_non_null(strstr(out, "\n[token LABEL]\n"));
}

static void a_missing_file_is_a_failure_with_number_and_advice(void **state)
{
	(void)state;
	assert_int_equal(run("config check /nowhere/skr.conf"), EXIT_BAD);
	assert_string_equal(out, "");
	assert_non_null(strstr(err, "SKR-001"));
	assert_non_null(strstr(err, "/nowhere/skr.conf"));
	assert_non_null(strstr(err, "what to do: "));
}

static void a_module_that_cannot_be_loaded_is_a_failure(void **state)
{
	(void)state;
	assert_int_equal(run("tokens --module /nowhere.so"), EXIT_BAD);
	assert_non_null(strstr(err, "/nowhere.so"));
	assert_non_null(strstr(err, "what to do: "));
}

/* A folder whose parents are all root's: only root has one for sure. */
static void a_good_file_is_shown_and_a_bad_one_is_refused_with_its_line(void **state)
{
	char folder[] = "/var/lib/skr-cli-XXXXXX", command[600], path[64];

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/c", folder);
	snprintf(command, sizeof(command), "cp " SKR_TEST_DATA "/config/good/ten-lines.conf %s && chmod 644 %s", path,
	         path);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "config check %s", path);
	assert_int_equal(run(command), EXIT_GOOD);
	assert_non_null(strstr(out, "is good: 1 token, 2 keys"));
	assert_non_null(strstr(out, "label sign"));
	assert_string_equal(err, "");

	snprintf(command, sizeof(command), "cp " SKR_TEST_DATA "/config/bad/bool.conf %s", path);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "config check %s", path);
	assert_int_equal(run(command), EXIT_BAD);
	assert_string_equal(out, "");
	assert_non_null(strstr(err, "SKR-004"));
	assert_non_null(strstr(err, "/c:4: allow_sha1: true is neither yes nor no"));

	/* The same by a relative name. */
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(run("config check c"), EXIT_BAD);
	assert_non_null(strstr(err, "/c:4: allow_sha1"));
	assert_int_equal(chdir("/"), 0);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

static void a_check_is_one_line_without_colour_and_steers_no_terminal(void **state)
{
	size_t len;
	char *text = NULL;

	(void)state;
	struct terminal t = {.out = open_memstream(&text, &len), .err = stderr};
	terminal_check(&t, VERDICT_GOOD, "evidence", 12, "%s", "snp\x1b[2J");
	terminal_waiting(&t, "release");
	terminal_check(&t, VERDICT_BAD, "release", -1, "%s", "");
	fclose(t.out);
	assert_string_equal(text, "  ok      evidence             12 ms  snp?[2J\n  FAILED  release\n");
	free(text);
}

/* Half a second is the limit; what is faster leaves no trace. */
static void what_takes_long_is_said_to_be_under_way_on_a_terminal_only(void **state)
{
	static const struct {
		bool live;
		int ms;
		bool said;
	} rows[] = {{true, 900, true}, {true, 50, false}, {false, 900, false}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t len;
		char *text = NULL;
		struct terminal t = {.out = open_memstream(&text, &len), .err = stderr, .live = rows[i].live};
		terminal_waiting(&t, "attestation");
		usleep((useconds_t)rows[i].ms * 1000);
		terminal_check(&t, VERDICT_GOOD, "attestation", 1, "%s", "done");
		fclose(t.out);
		assert_int_equal(strstr(text, "       attestation  0 s") != NULL, rows[i].said);
		assert_non_null(strstr(text, "  ok      attestation           1 ms  done\n"));
		free(text);
	}
}

static void a_command_to_copy_stays_on_one_line(void **state)
{
	size_t len;
	char *text = NULL, command[400];

	(void)state;
	memset(command, 'x', sizeof(command));
	for (size_t i = 10; i < sizeof(command); i += 10)
		command[i] = ' ';
	command[sizeof(command) - 1] = '\0';
	struct terminal t = {.out = open_memstream(&text, &len), .err = stderr, .live = true};
	terminal_command(&t, command);
	terminal_below(&t, "%s", command);
	fclose(t.out);
	assert_memory_equal(text, "          try: xxxxxxxxxx xx", 28);
	assert_int_equal(strcspn(text, "\n"), 15 + strlen(command));
	assert_int_not_equal(strcspn(strchr(text, '\n') + 1, "\n"), 10 + strlen(command));
	free(text);
}

static void a_failure_is_told_with_number_sentence_and_advice(void **state)
{
	size_t len;
	char *text = NULL;
	struct status_record record = {.failure = 332,
	                               .step = "release",
	                               .host = "contoso.vault.azure.net",
	                               .http = 403,
	                               .sentence = "needs x = 1"};

	(void)state;
	struct terminal t = {.out = open_memstream(&text, &len), .err = stderr};
	terminal_failure(&t, &record);
	fclose(t.out);
	assert_non_null(strstr(text, "SKR-332 "));
	assert_non_null(strstr(text, "(release, contoso.vault.azure.net, HTTP 403)"));
	assert_non_null(strstr(text, "needs x = 1"));
	assert_non_null(strstr(text, "what to do: "));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_command_or_an_unknown_one_is_misuse_and_says_where_to_read_on),
	    cmocka_unit_test(help_names_every_command),
	    cmocka_unit_test(every_command_has_help_with_usage_exit_status_and_an_example),
	    cmocka_unit_test(the_first_word_of_a_family_lists_it),
	    cmocka_unit_test(the_version_is_the_builds),
	    cmocka_unit_test(the_settings_are_listed_with_their_defaults),
	    cmocka_unit_test(a_missing_file_is_a_failure_with_number_and_advice),
	    cmocka_unit_test(a_module_that_cannot_be_loaded_is_a_failure),
	    cmocka_unit_test(a_good_file_is_shown_and_a_bad_one_is_refused_with_its_line),
	    cmocka_unit_test(a_check_is_one_line_without_colour_and_steers_no_terminal),
	    cmocka_unit_test(what_takes_long_is_said_to_be_under_way_on_a_terminal_only),
	    cmocka_unit_test(a_command_to_copy_stays_on_one_line),
	    cmocka_unit_test(a_failure_is_told_with_number_sentence_and_advice),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(out);
	free(err);
	return failed;
}
