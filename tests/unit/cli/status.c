/* SPDX-License-Identifier: Apache-2.0 */
/* What `skr-pkcs11 status` makes of an audit trail, and the metrics of it. The command itself: tests/interop/status.sh.
 */
#include "cli/status.h"

#include "cli/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[] = "status-XXXXXX", trail[64];
static struct config *config;

static const char configuration[] =
    "[token web]\nattestation = https://sharedneu.neu.attest.azure.net\n"
    "key = https://contoso.vault.azure.net/keys/www\n"
    "key = https://contoso.vault.azure.net/keys/old/0123456789abcdef0123456789abcdef label=pinned\n"
    "[token a\"b\\c]\nattestation = https://sharedneu.neu.attest.azure.net\n"
    "key = https://contoso.vault.azure.net/keys/www\n";

static void write_trail(const char *text)
{
	FILE *file = fopen(trail, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void read_trail(const char *text, struct history *ret)
{
	write_trail(text);
	assert_int_equal(history_open(config, ret).failure, 0);
	assert_int_equal(history_read(ret, trail).failure, 0);
}

#define KEY(version, hash)                                                              \
	"{\"host\":\"contoso.vault.azure.net\",\"name\":\"www\",\"version\":\"" version \
	"\",\"public_key_sha256\":\"" hash "\"}"
#define GOOD(time, version, hash)                                                                                 \
	"{\"time\":\"" time                                                                                       \
	"\",\"event\":\"login\",\"token\":\"web\",\"result\":\"ok\",\"released\":true,\"ms\":812,\"keys\":[" KEY( \
	    version, hash) "]}\n"
#define KEPT(time)                                                                                                    \
	"{\"time\":\"" time "\",\"event\":\"login\",\"token\":\"web\",\"result\":\"ok\",\"released\":false,\"ms\":0}" \
	"\n"
#define BAD(time, event, number)                                                                                     \
	"{\"time\":\"" time "\",\"event\":\"" event "\",\"token\":\"web\",\"result\":\"failed\",\"failure\":" number \
	"}\n"

static void logins_keys_and_failures_are_told_apart(void **state)
{
	(void)state;
	auto_history history = {0};

	read_trail(GOOD("2026-11-01T10:00:00Z", "aaaa", "11") KEPT("2026-11-01T10:05:00Z")
	               GOOD("2026-11-02T10:00:00Z", "aaaa", "11") GOOD("2026-11-03T10:00:00Z", "bbbb", "22")
	                   BAD("2026-11-04T10:00:00Z", "login", "331") BAD("2026-11-05T10:00:00Z", "security", "340"),
	           &history);
	const struct token_history *web = &history.tokens[0];
	const struct key_history *www = &web->keys[0];
	assert_int_equal(history.lines, 6);
	assert_int_equal(history.unread, 0);
	assert_int_equal(history.from, 1793527200);
	assert_int_equal(web->released, 3);
	assert_int_equal(web->kept, 1);
	assert_int_equal(web->failed, 2);
	assert_int_equal(web->security, 1);
	assert_int_equal(web->failures[331], 1);
	assert_int_equal(web->failures[340], 1);
	assert_int_equal(web->last_failure, 340);
	assert_int_equal(web->last_ms, 812);
	assert_true(web->last_bad > web->last_good);
	assert_string_equal(www->version, "bbbb");
	assert_string_equal(www->public_key_sha256, "22");
	assert_int_equal(www->changes, 1);
	assert_int_equal(www->since, www->released); /* the new version came with the last release */
	assert_int_equal(web->keys[1].released, 0);
	assert_int_equal(history.tokens[1].released, 0); /* the same key, but another token */
}

static void a_versions_age_is_that_of_its_first_release(void **state)
{
	(void)state;
	auto_history history = {0};

	read_trail(GOOD("2026-11-01T10:00:00Z", "aaaa", "11") GOOD("2026-11-02T10:00:00Z", "aaaa", "11"), &history);
	assert_int_equal(history.tokens[0].keys[0].released - history.tokens[0].keys[0].since, 86400);
}

static void what_is_no_record_is_counted_and_hurts_nobody(void **state)
{
	static const char *const texts[] = {
	    "no json\n",
	    "[]\n",
	    "{}\n",
	    "{\"time\":\"2026-11-01T10:00:00Z\"}\n",
	    "{\"time\":\"yesterday\",\"event\":\"login\"}\n",
	    "{\"time\":\"2026-11-01T10:00:00Z and more\",\"event\":\"login\"}\n",
	    "{\"time\":7,\"event\":\"login\"}\n",
	    "{\"event\":\"login\",\"time\":\"2026-11-01T10:00:00Z\"", /* cut */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		auto_history history = {0};
		read_trail(texts[i], &history);
		if (history.unread != 1 || history.lines != 1)
			fail_msg("%s", texts[i]);
	}
}

static void records_with_odd_members_are_taken_for_what_they_say(void **state)
{
	(void)state;
	auto_history history = {0};

	read_trail(
	    BAD("2026-11-01T10:00:00Z", "login", "\"331\"") BAD("2026-11-01T10:00:00Z", "login", "600")
	        BAD("2026-11-01T10:00:00Z", "login",
	            "-1") "{\"time\":\"2026-11-01T10:00:00Z\",\"event\":\"login\",\"token\":\"elsewhere\"}\n"
	                  "{\"time\":\"2026-11-01T10:00:00Z\",\"event\":\"login\",\"token\":\"web\",\"result\":\"ok\","
	                  "\"released\":true,\"keys\":[7,{},{\"name\":\"www\"},{\"name\":\"none\",\"host\":\"contoso."
	                  "vault.azure.net\",\"version\":\"x\"}]}\n",
	    &history);
	assert_int_equal(history.unread, 0);
	assert_int_equal(history.tokens[0].failures[599], 3); /* the number of what cannot be */
	assert_int_equal(history.tokens[0].released, 1);
	assert_int_equal(history.tokens[0].keys[0].released, 0);
}

/* The version of a key line counts for that line alone. */
static void a_pinned_version_is_another_key(void **state)
{
	(void)state;
	auto_history history = {0};

	read_trail("{\"time\":\"2026-11-01T10:00:00Z\",\"event\":\"login\",\"token\":\"web\",\"result\":\"ok\","
	           "\"released\":true,\"keys\":[{\"host\":\"contoso.vault.azure.net\",\"name\":\"old\",\"version\":"
	           "\"ffffffffffffffffffffffffffffffff\"}]}\n",
	           &history);
	assert_int_equal(history.tokens[0].keys[1].released, 0);
}

/* An agent that turns somebody away says what was asked for, but that token did not fail. */
static void a_refused_peer_is_no_failed_login(void **state)
{
	(void)state;
	auto_history history = {0};

	read_trail("{\"time\":\"2026-11-01T10:00:00Z\",\"event\":\"security\",\"token\":\"web\",\"result\":\"failed\","
	           "\"failure\":507,\"peer_uid\":1000}\n",
	           &history);
	assert_int_equal(history.tokens[0].security, 1);
	assert_int_equal(history.tokens[0].failed, 0);
}

static void metrics_are_in_the_format_of_prometheus(void **state)
{
	(void)state;
	auto_history history = {0};
	auto_buf text = BUF(64 * 1024);
	static struct token_status tokens[2];

	read_trail(GOOD("2026-11-01T10:00:00Z", "aaaa", "11") BAD("2026-11-04T10:00:00Z", "login", "331"), &history);
	tokens[0].history = &history.tokens[0];
	tokens[1].history = &history.tokens[1];
	assert_int_equal(metrics_print(&history, tokens, 2, 1793600000, &text).failure, 0);

	static const char *const expected[] = {
	    "# TYPE skr_pkcs11_logins_total counter\n"
	    "skr_pkcs11_logins_total{token=\"web\",result=\"released\"} 1\n"
	    "skr_pkcs11_logins_total{token=\"web\",result=\"kept\"} 0\n"
	    "skr_pkcs11_logins_total{token=\"web\",result=\"failed\"} 1\n"
	    "skr_pkcs11_logins_total{token=\"a\\\"b\\\\c\",result=\"released\"} 0\n",
	    "skr_pkcs11_failures_total{token=\"web\",failure=\"SKR-331\"} 1\n",
	    ("skr_pkcs11_key_last_release_timestamp_seconds{token=\"web\",key=\"www\",host=\"contoso.vault.azure.net\","
	     "version=\"aaaa\"} 1793527200\n"),
	    "skr_pkcs11_last_release_duration_seconds{token=\"web\"} 0.812\n",
	    "skr_pkcs11_status_timestamp_seconds 1793600000\n",
	    "skr_pkcs11_audit_lines 2\n",
	};
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		if (!strstr(buf_text(&text), expected[i]))
			fail_msg("no %s in %s", expected[i], buf_text(&text));
	assert_null(strstr(buf_text(&text), "key=\"pinned\"")); /* what never was is no point in time */
}

/* Each family is announced once, before its samples, and every sample belongs to the family above it. */
static void every_sample_stands_below_its_family(void **state)
{
	(void)state;
	auto_history history = {0};
	auto_buf text = BUF(64 * 1024);
	static struct token_status tokens[2];
	char family[128] = "", seen[8192] = "";

	read_trail(GOOD("2026-11-01T10:00:00Z", "aaaa", "11") BAD("2026-11-04T10:00:00Z", "login", "331"), &history);
	tokens[0].history = &history.tokens[0];
	tokens[1].history = &history.tokens[1];
	assert_int_equal(metrics_print(&history, tokens, 2, 0, &text).failure, 0);
	char *rest = (char *)text.data;
	for (char *line; (line = strsep(&rest, "\n")) && *line;) {
		if (sscanf(line, "# TYPE %127s", family) == 1) {
			char once[132];
			snprintf(once, sizeof(once), " %s ", family);
			assert_null(strstr(seen, once));
			strcat(seen, once);
		} else if (*line != '#') {
			assert_memory_equal(line, family, strlen(family));
			assert_true(strchr("{ ", line[strlen(family)]) != NULL);
		}
	}
	assert_int_equal(text.data[text.len - 1], 0); /* the last strsep's; the text ended with a newline */
}

static int start(void **state)
{
	(void)state;
	if (ossl_open().failure || !mkdtemp(folder))
		return -1;
	snprintf(trail, sizeof(trail), "%s/audit", folder);
	return config_parse("test", configuration, strlen(configuration), &config).failure;
}

static int stop(void **state)
{
	(void)state;
	config_free(config);
	unlink(trail);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(logins_keys_and_failures_are_told_apart),
	    cmocka_unit_test(a_versions_age_is_that_of_its_first_release),
	    cmocka_unit_test(what_is_no_record_is_counted_and_hurts_nobody),
	    cmocka_unit_test(records_with_odd_members_are_taken_for_what_they_say),
	    cmocka_unit_test(a_pinned_version_is_another_key),
	    cmocka_unit_test(a_refused_peer_is_no_failed_login),
	    cmocka_unit_test(metrics_are_in_the_format_of_prometheus),
	    cmocka_unit_test(every_sample_stands_below_its_family),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
