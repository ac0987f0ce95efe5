/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor advises, when a release policy is too weak, and how findings are counted and shown. */
#include "cli/doctor_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- commands ---- */

static const char *fix(int failure, const char *sentence, const char *state)
{
	static const struct key_config key = {
	    .url = "https://contoso.vault.azure.net/keys/www", .host = "contoso.vault.azure.net", .name = "www"};
	static const struct token_config token = {.label = "web",
	                                          .attestation = "https://contoso.weu.attest.azure.net"};
	static const struct config config = {.path = "/etc/skr-pkcs11.conf",
	                                     .agent = "/nowhere/agent.sock",
	                                     .imds = "http://169.254.169.254",
	                                     .tpm = "device:/nowhere/tpm"};
	static char out[1024];
	struct status_record record = {.failure = failure, .host = "contoso.vault.azure.net:443"};
	const struct ailment ailment = {
	    .config = &config, .token = &token, .key = &key, .object_id = "12-34", .state = state};

	snprintf(record.sentence, sizeof(record.sentence), "%s", sentence);
	fix_for(&record, &ailment, out, sizeof(out));
	return out;
}

static void the_command_names_vault_key_identity_file_and_token(void **state)
{
	(void)state;
	assert_string_equal(fix(333, "", "disabled"),
	                    "az keyvault key set-attributes --vault-name contoso --name www --enabled true");
	assert_non_null(strstr(fix(331, "", NULL), "--assignee-object-id 12-34 "));
	assert_non_null(strstr(fix(331, "", NULL), "$(az keyvault show --name contoso --query id -o tsv)/keys/www"));
	assert_non_null(strstr(fix(331, "", "firewall"), "az keyvault network-rule add --vault-name contoso"));
	assert_string_equal(fix(332, "", NULL),
	                    "skr-pkcs11 policy explain --key https://contoso.vault.azure.net/keys/www web");
	assert_string_equal(fix(3, "/etc/a.conf (mode 0666, uid 0) can be written by others", NULL),
	                    "sudo chown root /etc/a.conf && sudo chmod go-w /etc/a.conf");
	assert_string_equal(fix(3, "/etc/a.conf is a symbolic link", NULL),
	                    "sudo cp --remove-destination \"$(readlink -f /etc/a.conf)\" /etc/a.conf");
	assert_null(strstr(fix(3, "/etc is not a regular file", NULL), "chown"));
	assert_null(strstr(fix(3, "/etc/a.conf: more than the limit of 65536 bytes", NULL), "chown"));
	assert_null(strstr(fix(3, "a.conf: the path of the configuration must be absolute", NULL), "chown"));
	assert_non_null(strstr(fix(201, "", NULL), "getent hosts contoso.vault.azure.net "));
	assert_non_null(strstr(fix(141, "", NULL), "http://169.254.169.254/metadata/THIM"));
	assert_string_equal(fix(502, "", NULL), "sudo systemctl enable --now skr-agent.socket");
	assert_non_null(strstr(fix(101, "", NULL), "ls -l /dev/sev-guest"));
	assert_string_equal(fix(599, "", NULL), "");
}

static void a_managed_hsm_has_its_own_roles(void **state)
{
	static const struct key_config key = {.url = "https://c.managedhsm.azure.net/keys/k",
	                                      .host = "c.managedhsm.azure.net",
	                                      .name = "k",
	                                      .managed_hsm = true};
	static const struct config config = {.path = "/c"};
	static const struct token_config token = {.label = "web"};
	const struct status_record record = {.failure = 331};
	char out[1024];

	(void)state;
	fix_for(&record, &(struct ailment){.config = &config, .token = &token, .key = &key}, out, sizeof(out));
	assert_non_null(strstr(out, "az keyvault role assignment create --hsm-name c "));
	assert_non_null(strstr(out, "OBJECT-ID"));
}

/* Whatever is known, no {blank} is left, and nothing is written behind the end. */
static void every_command_is_whole_or_cut_at_its_end(void **state)
{
	char out[2048], small[24];
	struct status_record record = {.sentence = "/a/file is bad"};

	(void)state;
	for (const struct failure_row *row = failure_rows; row->number; row++) {
		const char *command = fix(row->number, "/a/file is bad", NULL);
		if (strstr(command, "{") && !strstr(command, "'{}'"))
			fail_msg("SKR-%03d: %s", row->number, command);
		record.failure = row->number;
		fix_for(&record, &(struct ailment){.config = NULL}, out, sizeof(out));
		fix_for(&record, &(struct ailment){.config = NULL}, small, sizeof(small));
		assert_true(strlen(small) < sizeof(small));
		assert_memory_equal(small, out, strlen(small));
	}
}

/* What somebody must act on has a command, but for what is to be reported, and for this program's own trouble. */
static void every_refusal_has_a_command(void **state)
{
	static const int without[] = {17, 18, 22, 6, 90, 113, 116, 120, 122, 133, 208, 210, 213, 230, 231, 242, 302};

	(void)state;
	for (const struct failure_row *row = failure_rows; row->number; row++) {
		bool excused = row->family != FAMILY_REFUSED;
		for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
			excused |= without[i] == row->number;
		if (!excused && !*fix(row->number, "/a/file is bad", NULL))
			fail_msg("SKR-%03d %s: no command", row->number, row->sentence);
	}
}

/* ---- release policies ---- */

static bool tells(const char *text)
{
	auto_json *policy = NULL;

	assert_int_equal(json_parse(text, strlen(text), &policy).failure, 0);
	return policy_tells_machines_apart(policy);
}

static void a_policy_that_any_machine_of_the_kind_satisfies_is_seen(void **state)
{
#define A    "\"authority\":\"https://a\","
#define KIND "{\"claim\":\"x-ms-attestation-type\",\"equals\":\"sevsnpvm\"}"
#define HOST "{\"claim\":\"x-ms-sevsnpvm-hostdata\",\"equals\":\"00\"}"
	(void)state;
	assert_false(tells("{\"anyOf\":[{" A "\"allOf\":[" KIND "]}]}"));
	assert_true(tells("{\"anyOf\":[{" A "\"allOf\":[" KIND "," HOST "]}]}"));
	assert_true(tells("{\"anyOf\":[{" A
	                  "\"allOf\":[{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement\","
	                  "\"equals\":\"00\"}]}]}"));
	/* One way around it is enough to be weak. */
	assert_false(tells("{\"anyOf\":[{" A "\"allOf\":[" KIND "," HOST "]},{" A "\"allOf\":[" KIND "]}]}"));
	assert_false(tells("{\"anyOf\":[{" A "\"anyOf\":[" KIND "," HOST "]}]}"));
	assert_true(tells("{\"anyOf\":[{" A "\"allOf\":[" KIND ",{\"anyOf\":[" HOST "," HOST "]}]}]}"));
	assert_false(tells("{\"anyOf\":[]}"));
	assert_false(tells("{}"));
}

/* ---- findings ---- */

static void findings_are_counted_and_shown_with_their_command(void **state)
{
	char *text = NULL;
	size_t len;
	struct terminal t = {.out = open_memstream(&text, &len), .err = stderr};
	struct visit v = {.t = &t};
	const struct status_record record = {.failure = 332, .sentence = "needs x"};

	(void)state;
	visit_found(&v, VERDICT_GOOD, "clock", NULL, "within %d s", 1);
	visit_found(&v, VERDICT_WARNING, "policy", "do this", "weak");
	visit_failed(&v, VERDICT_BAD, "release", 7, &record, "do that");
	fclose(t.out);
	assert_int_equal(v.failed, 1);
	assert_int_equal(v.warned, 1);
	assert_int_equal(v.last_failure, 332);
	assert_non_null(strstr(text, "  ok      clock             within 1 s\n"));
	assert_non_null(strstr(text, "  WARN    policy            weak\n          try: do this\n"));
	assert_non_null(strstr(text, "  FAILED  release               7 ms\n          SKR-332 "));
	assert_non_null(strstr(text, "\n          try: do that\n"));
	free(text);
}

static void a_document_has_the_same_and_nothing_is_printed_before_it(void **state)
{
	char *text = NULL;
	size_t len;
	struct terminal t = {.out = open_memstream(&text, &len), .err = stderr};
	struct token_config token = {.label = "web"};
	auto_json *checks = json_array();
	struct visit v = {.t = &t, .checks = checks, .token = &token};
	const struct status_record record = {.failure = 332, .sentence = "needs x", .http = 403};
	auto_buf out = BUF(4096);

	(void)state;
	visit_heading(&v, "token web");
	visit_waiting(&v, "release");
	visit_failed(&v, VERDICT_BAD, "release", 7, &record, "do that");
	visit_found(&v, VERDICT_GOOD, "key", NULL, "k");
	visit_more(&v, "public_key_sha256", "00");
	fclose(t.out);
	assert_string_equal(text ? text : "", "");
	assert_int_equal(json_print(checks, &out).failure, 0);
	assert_string_equal(
	    buf_text(&out),
	    "[{\"token\":\"web\",\"name\":\"release\",\"verdict\":\"failed\",\"ms\":7,\"failure\":{"
	    "\"number\":\"SKR-332\",\"sentence\":\"the key's release policy is not satisfied by this "
	    "machine\",\"seen\":\"needs x\",\"what_to_do\":\"see which condition is not met: skr-pkcs11 "
	    "policy explain --key URL; the policy must name what this machine is\",\"http\":403},\"fix\":\"do that\"},"
	    "{\"token\":\"web\",\"name\":\"key\",\"verdict\":\"ok\",\"found\":\"k\","
	    "\"public_key_sha256\":\"00\"}]");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_command_names_vault_key_identity_file_and_token),
	    cmocka_unit_test(a_managed_hsm_has_its_own_roles),
	    cmocka_unit_test(every_command_is_whole_or_cut_at_its_end),
	    cmocka_unit_test(every_refusal_has_a_command),
	    cmocka_unit_test(a_policy_that_any_machine_of_the_kind_satisfies_is_seen),
	    cmocka_unit_test(findings_are_counted_and_shown_with_their_command),
	    cmocka_unit_test(a_document_has_the_same_and_nothing_is_printed_before_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
