/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 policy explain | generate | diff` on saved files. */
#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/ossl.h"
#include "cli/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define CLAIMS SKR_TEST_DATA "/policy/claims/"

/* What the last command wrote. */
static char *out, *err;
static char folder[] = "/tmp/skr-policy-XXXXXX";

__attribute__((format(printf, 1, 2))) static enum exit_code run(const char *format, ...)
{
	char copy[1024], *rest = copy, *argv[24];
	int argc = 0;
	size_t out_len, err_len;
	va_list args;

	free(out);
	free(err);
	struct terminal t = {.out = open_memstream(&out, &out_len), .err = open_memstream(&err, &err_len)};
	va_start(args, format);
	vsnprintf(copy, sizeof(copy), format, args);
	va_end(args);
	for (char *word; (word = strsep(&rest, " ")) && argc < 23;)
		if (*word)
			argv[argc++] = word;
	argv[argc] = NULL;
	enum exit_code code = command_run(&t, argc, argv);
	fclose(t.out);
	fclose(t.err);
	return code;
}

static void expect(bool good, const char *what)
{
	if (!good)
		fail_msg("%s\n--- out\n%s--- err\n%s", what, out, err);
}

static void write_text(const char *name, const char *text)
{
	FILE *file = fopen(name, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static void read_text(const char *name, char *text, size_t size)
{
	FILE *file = fopen(name, "r");

	assert_non_null(file);
	text[fread(text, 1, size - 1, file)] = '\0';
	fclose(file);
}

/* A compact token with these claims and dates around now, and a signature of `signature` zero bytes. */
static void write_token(const char *name, const char *alg, const char *claims, int from, int until, size_t signature)
{
	static const uint8_t zeros[1024];
	char header[64], payload[2048];
	auto_buf token = BUF(8192);

	snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"typ\":\"JWT\"}", alg);
	snprintf(payload, sizeof(payload), "{%s,\"nbf\":%lld,\"exp\":%lld}", claims, (long long)time(NULL) + from,
	         (long long)time(NULL) + until);
	assert_int_equal(base64url_encode(header, strlen(header), &token).failure, 0);
	assert_int_equal(buf_append_text(&token, ".").failure, 0);
	assert_int_equal(base64url_encode(payload, strlen(payload), &token).failure, 0);
	assert_int_equal(buf_append_text(&token, ".").failure, 0);
	assert_int_equal(base64url_encode(zeros, signature, &token).failure, 0);
	write_text(name, buf_text(&token));
}

#define GOOD "\"iss\":\"https://maa.example\",\"colour\":\"red\",\"size\":7"
#define POLICY(conditions) \
	"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://maa.example/\",\"allOf\":[" conditions "]}]}"
#define RED  "{\"claim\":\"colour\",\"equals\":\"red\"}"
#define BLUE "{\"claim\":\"colour\",\"equals\":\"blue\"}"

static int begin(void **state)
{
	(void)state;
	umask(022);
	if (ossl_open().failure || !mkdtemp(folder) || chdir(folder) != 0)
		return -1;
	write_text("red.json", POLICY(RED));
	write_text("blue.json", POLICY(BLUE ",{\"claim\":\"size\",\"greater\":5}"));
	write_text("claims.json", "{" GOOD "}");
	write_token("token", "RS256", GOOD, -60, 3600, 256);
	return 0;
}

static int end(void **state)
{
	char command[64];

	(void)state;
	free(out);
	free(err);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return chdir("/") != 0 || system(command) != 0;
}

/* ---- explain ---- */

static void the_tree_shows_what_is_wanted_and_found(void **state)
{
	(void)state;
	expect(run("policy explain --policy red.json --token claims.json") == EXIT_GOOD, "red");
	assert_string_equal(out, "red.json, held against claims.json\n"
	                         "  ok      https://maa.example/, all of\n"
	                         "  ok        colour = red\n"
	                         "satisfied\n");
	expect(run("policy explain --policy blue.json --token claims.json") == EXIT_BAD, "blue");
	assert_string_equal(out, "blue.json, held against claims.json\n"
	                         "  FAILED  https://maa.example/, all of\n"
	                         "  FAILED    colour = blue\n"
	                         "              found red\n"
	                         "  ok        size > 5\n"
	                         "              found 7\n"
	                         "not satisfied: colour\n");
	assert_string_equal(err, "");
}

static void a_token_is_read_but_not_verified_and_that_is_said(void **state)
{
	(void)state;
	expect(run("policy explain --policy=red.json --token=token") == EXIT_GOOD, "token");
	assert_non_null(strstr(out, "not verified here"));
	assert_null(strstr(out, "eyJ"));
	expect(run("policy explain --policy red.json --token claims.json") == EXIT_GOOD, "claims");
	assert_null(strstr(out, "not verified"));
}

static void of_several_branches_only_the_nearest_has_failed(void **state)
{
	(void)state;
	write_text("p", "{\"anyOf\":[{\"authority\":\"https://other.example\",\"allOf\":[" RED "]},"
	                "{\"authority\":\"https://maa.example\",\"anyOf\":[{\"allOf\":[" BLUE
	                ",{\"claim\":\"x.y\",\"equals\":1}]}," BLUE "]}]}");
	expect(run("policy explain --policy p --token claims.json") == EXIT_BAD, "p");
	assert_string_equal(out, "p, held against claims.json\n"
	                         "  no      https://other.example, all of\n"
	                         "            the token is from https://maa.example\n"
	                         "  ok        colour = red\n"
	                         "  FAILED  https://maa.example, any of\n"
	                         "  no        all of\n"
	                         "  no          colour = blue\n"
	                         "                found red\n"
	                         "  no          x.y = 1\n"
	                         "                found none\n"
	                         "  FAILED    colour = blue\n"
	                         "              found red\n"
	                         "note: the policy has no \"version\"; a Managed HSM refuses that\n"
	                         "not satisfied: colour\n");
}

static void what_a_policy_holds_steers_no_terminal(void **state)
{
	(void)state;
	write_text("p", POLICY("{\"claim\":\"\\u001b[2J\",\"equals\":\"\\u001b[0m\\n\"}"));
	expect(run("policy explain --policy p --token claims.json") == EXIT_BAD, "escape");
	assert_null(strchr(out, '\033'));
	assert_non_null(strstr(out, "  FAILED    ?[2J = ?[0m?\n"));
}

/* ---- bad input ---- */

static const struct {
	const char *policy, *claims; /* files; contents where they begin with ! */
	const char *says;
} bad_inputs[] = {
    {"nowhere.json", "claims.json", "nowhere.json: No such file"},
    {".", "claims.json", ". is not a regular file"},
    {"!", "claims.json", "it is empty"},
    {"!hello", "claims.json", "neither JSON nor"},
    {"!{\"version\":", "claims.json", "offset"},
    {"!" POLICY("{\"claim\":\"c\",\"matches\":\"x\"}"), "claims.json",
     "anyOf[0].allOf[0] has \"matches\", which is no operator"},
    {"!" POLICY("{\"anyOf\":[{\"anyOf\":[{\"anyOf\":[{\"anyOf\":[{\"anyOf\":[{\"anyOf\":[{\"anyOf\":[" RED
                "]}]}]}]}]}]}]}"),
     "claims.json", "nested too deep"},
    {"red.json", "nowhere", "nowhere: No such file"},
    {"red.json", "..", ".. is not a regular file"},
    {"red.json", "!", "it is empty"},
    {"red.json", "!  \n", "it is empty"},
    {"red.json", "!hello", "neither a JSON object of claims nor a whole token"},
    {"red.json", "!{\"iss\":", "offset"},
    {"red.json", "![1]", "claims are a JSON object"},
    {"red.json", "!eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ", "neither a JSON object of claims nor a whole token"},
    {"red.json", "!{\"iss\":\"https://else.example\"}",
     "is from https://else.example; this policy trusts nobody but https://maa.example/"},
    {"red.json", "!{\"colour\":\"red\"}", "is from nobody"},
};

static const char *file_of(const char *given, const char *name)
{
	if (*given != '!')
		return given;
	write_text(name, given + 1);
	return name;
}

static void expect_bad_input(const char *says, const char *what)
{
	expect(*out == '\0', what);
	expect(strstr(err, says) != NULL, says);
	expect(strchr(err, '\n') == err + strlen(err) - 1, "one sentence on one line");
}

static void bad_input_gets_one_sentence_and_exit_code_two(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_inputs) / sizeof(bad_inputs[0]); i++) {
		const char *policy = file_of(bad_inputs[i].policy, "bad-policy");
		const char *claims = file_of(bad_inputs[i].claims, "bad-claims");
		expect(run("policy explain --policy %s --token %s", policy, claims) == EXIT_USAGE, bad_inputs[i].says);
		expect_bad_input(bad_inputs[i].says, "nothing on the standard output");
	}
}

static void tokens_that_no_vault_takes_are_refused(void **state)
{
	static const struct {
		const char *alg;
		int from, until;
		size_t signature;
		const char *says;
	} tokens[] = {
	    {"RS256", -7200, -3600, 256, "expired 60 min ago"},
	    {"RS256", 3600, 7200, 256, "valid only in"},
	    {"RS256", -60, 3600, 200, "cut short: its signature has 200 bytes"},
	    {"RS256", -60, 3600, 0, ""},
	    {"ES256", -60, 3600, 63, "cut short"},
	    {"none", -60, 3600, 256, "not signed (alg none)"},
	    {"HS256", -60, 3600, 32, "not signed (alg HS256)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		write_token("t", tokens[i].alg, GOOD, tokens[i].from, tokens[i].until, tokens[i].signature);
		expect(run("policy explain --policy red.json --token t") == EXIT_USAGE, tokens[i].says);
		expect_bad_input(tokens[i].says, "nothing on the standard output");
		expect(run("policy generate --token t --output never.json") == EXIT_USAGE, tokens[i].says);
		assert_int_equal(access("never.json", F_OK), -1);
	}
}

static void misuse_says_how_to_use_it(void **state)
{
	static const char *const lines[] = {
	    "policy",
	    "policy explain",
	    "policy explain --policy red.json --key https://v/keys/k --token claims.json",
	    "policy explain --policy",
	    "policy explain a b",
	    "policy generate --commands --token claims.json",
	    "policy generate a b",
	    "policy diff red.json",
	    "policy diff a b c",
	    "policy diff --policy red.json"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		expect(run("%s", lines[i]) == EXIT_USAGE, lines[i]);
		expect(*out == '\0' && (strstr(err, "usage: ") || strstr(err, "--help")), lines[i]);
	}
}

/* ---- generate ---- */

static const struct {
	const char *claims, *strictness;
	const char *wanted; /* claims of the policy in order, with blanks between */
} generated[] = {
    {"container", "platform",
     "x-ms-attestation-type x-ms-compliance-status x-ms-sevsnpvm-is-debuggable x-ms-sevsnpvm-migration-allowed"},
    {"container", "workload",
     "x-ms-attestation-type x-ms-compliance-status x-ms-sevsnpvm-is-debuggable x-ms-sevsnpvm-migration-allowed "
     "x-ms-sevsnpvm-hostdata"},
    {"container", "image,workload",
     "x-ms-attestation-type x-ms-compliance-status x-ms-sevsnpvm-is-debuggable x-ms-sevsnpvm-migration-allowed "
     "x-ms-sevsnpvm-launchmeasurement x-ms-sevsnpvm-hostdata"},
    {"snp", "image",
     "x-ms-attestation-type x-ms-sevsnpvm-is-debuggable x-ms-sevsnpvm-migration-allowed "
     "x-ms-sevsnpvm-launchmeasurement"},
    {"tdx", "image,workload",
     "x-ms-attestation-type tdx_td_attributes_debug attester_tcb_status tdx_mrtd tdx_rtmr1 tdx_rtmr2"},
    {"cvm-snp", "workload",
     "x-ms-attestation-type x-ms-isolation-tee.x-ms-attestation-type x-ms-isolation-tee.x-ms-compliance-status "
     "x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable x-ms-isolation-tee.x-ms-sevsnpvm-vmpl secureboot "
     "x-ms-azurevm-vmid"},
    {"cvm-snp", "image",
     "x-ms-attestation-type x-ms-isolation-tee.x-ms-attestation-type x-ms-isolation-tee.x-ms-compliance-status "
     "x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable x-ms-isolation-tee.x-ms-sevsnpvm-vmpl secureboot "
     "x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement"},
    {"cvm-tdx", "image,workload",
     "x-ms-attestation-type x-ms-isolation-tee.x-ms-attestation-type x-ms-isolation-tee.x-ms-compliance-status "
     "x-ms-isolation-tee.tdx_td_attributes_debug secureboot x-ms-isolation-tee.tdx_mrtd x-ms-azurevm-vmid"},
    {"trusted-launch", "workload", "x-ms-attestation-type secureboot x-ms-azurevm-vmid"},
};

static void list_claims(const char *policy_text, char *list, size_t size)
{
	auto_json *policy = NULL;
	size_t at = 0;

	assert_int_equal(json_parse(policy_text, strlen(policy_text), &policy).failure, 0);
	list[0] = '\0';
	const json *entry = json_first(json_get(policy, "anyOf"));
	for (const json *c = json_first(json_get(entry, "allOf")); c; c = json_next(c))
		at += (size_t)snprintf(list + at, size - at, "%s%s", at ? " " : "", json_string_or_null(c, "claim"));
}

static void each_kind_of_machine_gets_its_own_conditions_and_satisfies_them(void **state)
{
	char list[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(generated) / sizeof(generated[0]); i++) {
		expect(run("policy generate --token " CLAIMS "%s.json --strictness %s", generated[i].claims,
		           generated[i].strictness) == EXIT_GOOD,
		       generated[i].claims);
		list_claims(out, list, sizeof(list));
		assert_string_equal(list, generated[i].wanted);
		write_text("generated.json", out);
		expect(strstr(err, "buys ") && strstr(err, "breaks "), "it is explained");
		expect(run("policy explain --policy generated.json --token " CLAIMS "%s.json", generated[i].claims) ==
		           EXIT_GOOD,
		       generated[i].claims);
	}
}

static void workload_is_what_is_meant_without_a_word(void **state)
{
	char *first;

	(void)state;
	expect(run("policy generate --quiet --token " CLAIMS "container.json") == EXIT_GOOD, "default");
	assert_string_equal(err, "");
	first = strdup(out);
	expect(run("policy generate --quiet --strictness workload --token " CLAIMS "container.json") == EXIT_GOOD, "");
	assert_string_equal(out, first);
	free(first);
}

static void a_policy_that_would_look_stricter_than_it_is_is_not_written(void **state)
{
	static const char *const lines[] = {"--strictness image --token " CLAIMS "trusted-launch.json",
	                                    "--strictness workload --token " CLAIMS "snp.json",
	                                    "--strictness image,workload --token " CLAIMS "snp.json"};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		expect(run("policy generate --output p.json %s", lines[i]) == EXIT_USAGE, lines[i]);
		expect_bad_input("has none that tells its", lines[i]);
		assert_int_equal(access("p.json", F_OK), -1);
	}
	expect(run("policy generate --strictness severe --token claims.json") == EXIT_USAGE, "severe");
	expect_bad_input("strictness is platform, image, workload", "severe");
	expect(run("policy generate --strictness image, --token claims.json") == EXIT_USAGE, "a comma too many");
	expect(run("policy generate --token claims.json") == EXIT_USAGE, "claims of no machine");
	expect_bad_input("x-ms-attestation-type is missing", "claims of no machine");
	write_text("nobody.json", "{\"x-ms-attestation-type\":\"tdxvm\"}");
	expect(run("policy generate --strictness platform --token nobody.json") == EXIT_USAGE, "no issuer");
	expect_bad_input("the claims name no issuer (iss)", "no issuer");
	write_text("enclave.json", "{\"iss\":\"https://maa.example\",\"x-ms-attestation-type\":\"azurevm\","
	                           "\"x-ms-isolation-tee\":{\"x-ms-attestation-type\":\"sgx\"}}");
	expect(run("policy generate --strictness platform --token enclave.json") == EXIT_USAGE, "another kind of TEE");
	expect_bad_input("x-ms-attestation-type is azurevm: no kind of machine", "another kind of TEE");
}

static void what_is_unsafe_on_this_machine_is_still_asked_for(void **state)
{
	(void)state;
	write_text("debug.json",
	           "{\"iss\":\"https://maa.example\",\"x-ms-attestation-type\":\"azurevm\",\"secureboot\":false,"
	           "\"x-ms-azurevm-vmid\":\"A\"}");
	expect(run("policy generate --token debug.json") == EXIT_BAD, "secure boot is off");
	assert_non_null(strstr(out, "{\"claim\":\"secureboot\",\"equals\":\"true\"}"));
	assert_non_null(strstr(err, "secureboot = true, but this machine has false"));
	assert_non_null(strstr(err, "does not satisfy its own policy"));
	expect(run("policy generate --quiet --token debug.json") == EXIT_BAD, "and said in any case");
	assert_non_null(strstr(err, "secureboot = true, but this machine has false"));
}

static void a_policy_of_the_platform_alone_is_warned_of(void **state)
{
	(void)state;
	expect(run("policy generate --strictness platform --token " CLAIMS "container.json") == EXIT_GOOD, "");
	assert_non_null(strstr(err, "Every machine of this kind satisfies it, whoever owns it"));
}

static void commands_name_key_role_and_identity(void **state)
{
	static const struct {
		const char *claims, *identity;
	} kinds[] = {{"container", "az container create "},
	             {"cvm-snp", "az vm identity assign "},
	             {"tdx", "az vm identity assign "}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		expect(run("policy generate --commands --output it's.json --token " CLAIMS "%s.json",
		           kinds[i].claims) == EXIT_GOOD,
		       kinds[i].claims);
		expect(strstr(out, kinds[i].identity) != NULL, kinds[i].identity);
		expect(strstr(out, "policy='it'\\''s.json'\n") != NULL, "the file is named for a shell");
		expect(strstr(out, "az keyvault key create ") && strstr(out, "--exportable true --policy \"$policy\""),
		       "key");
		expect(strstr(out, "'Key Vault Crypto Service Release User'") != NULL, "role");
		write_text("commands.sh", out);
		assert_int_equal(system("sh -n commands.sh"), 0);
		assert_int_equal(access("it's.json", R_OK), 0);
	}
}

static void a_file_is_written_whole_or_not_at_all(void **state)
{
	char text[4096];
	struct stat about;

	(void)state;
	write_text("kept.json", "as it was");
	expect(run("policy generate --output kept.json --token nowhere") == EXIT_USAGE, "no claims");
	read_text("kept.json", text, sizeof(text));
	assert_string_equal(text, "as it was");
	expect(run("policy generate --quiet --output kept.json --token " CLAIMS "container.json") == EXIT_GOOD, "");
	assert_string_equal(out, "");
	read_text("kept.json", text, sizeof(text));
	assert_string_equal(strrchr(text, '\0') - 2, "}\n");
	assert_int_equal(stat("kept.json", &about), 0);
	assert_int_equal(about.st_mode & 0777, 0644);

	assert_int_equal(mkdir("folder", 0755), 0);
	expect(run("policy generate --output folder --token " CLAIMS "container.json") == EXIT_USAGE, "a folder");
	expect_bad_input("folder cannot be written: ", "a folder");
	expect(run("policy generate --output no/where --token " CLAIMS "container.json") == EXIT_USAGE, "no folder");
	expect_bad_input("no/where cannot be written: No such file", "no folder");
	assert_int_not_equal(system("ls | grep -q 'folder[.]'"), 0); /* nothing half-written is left */
}

/* ---- diff ---- */

static const struct {
	const char *old, *new, *says; /* "": the same */
} differences[] = {
    {POLICY(RED), POLICY(RED), ""},
    {POLICY("{\"claim\":\"a\",\"equals\":true},{\"claim\":\"b\",\"equals\":0}"),
     "{\"anyOf\":[{\"authority\":\"HTTPS://maa.example\",\"allOf\":[{\"claim\":\"b\",\"equals\":\"0\"},{\"equals\":"
     "\"true\",\"claim\":\"a\"}]}],\"version\":\"0.2\"}",
     ""},
    {POLICY("{\"anyOf\":[" RED "]}"), POLICY("{\"allOf\":[{\"allOf\":[" RED "]}]}"), ""},
    {POLICY("{\"anyOf\":[" RED ",{\"anyOf\":[" BLUE "]}]}"), POLICY("{\"anyOf\":[" BLUE "," RED "]}"), ""},
    {POLICY(RED), POLICY(BLUE), "https://maa.example/\n  ~ colour = red -> blue\n"},
    {POLICY(RED), POLICY(RED "," BLUE), "https://maa.example/\n  + colour = blue\n"},
    {POLICY(RED "," BLUE), POLICY(RED), "https://maa.example/\n  - colour = blue\n"},
    {POLICY("{\"claim\":\"n\",\"less\":5}"), POLICY("{\"claim\":\"n\",\"lessOrEquals\":5}"),
     "https://maa.example/\n  - n < 5\n  + n <= 5\n"},
    {POLICY("{\"claim\":\"c\",\"equals\":\"x\"}"), POLICY("{\"claim\":\"c\",\"equals\":\"X\"}"),
     "https://maa.example/\n  ~ c = x -> X\n"},
    {POLICY("{\"anyOf\":[" RED "," BLUE "]}"), POLICY(RED "," BLUE),
     "https://maa.example/\n  - any of (colour = red; colour = blue)\n  + colour = red\n  + colour = blue\n"},
    {POLICY(RED),
     "{\"anyOf\":[{\"authority\":\"https://maa.example\",\"allOf\":[" RED
     "]},{\"authority\":\"https://other.example\",\"allOf\":[" RED "," BLUE "]}]}",
     "  + https://other.example, all of (colour = red; colour = blue)\n"},
    {"{\"anyOf\":[{\"authority\":\"https://a.example\",\"allOf\":[" RED
     "]},{\"authority\":\"https://b.example\",\"allOf\":[" RED "]}]}",
     "{\"allOf\":[{\"authority\":\"https://b.example\",\"allOf\":[" RED
     "]},{\"authority\":\"https://a.example\",\"allOf\":[" RED "]}]}",
     "  ~ any of the authorities -> all of them\n"},
    {"{\"anyOf\":[{\"authority\":\"https://a.example\",\"allOf\":[" RED
     "]},{\"authority\":\"https://a.example/\",\"allOf\":[" BLUE "]}]}",
     "{\"anyOf\":[{\"authority\":\"https://a.example\",\"allOf\":[" BLUE "]}]}",
     "  - https://a.example, colour = red\n"},
    {"{\"anyOf\":[{\"authority\":\"https://a.example\",\"allOf\":[" RED "]}]}",
     "{\"anyOf\":[{\"authority\":\"https://b.example\",\"allOf\":[" RED "]}]}",
     "  - https://a.example, colour = red\n  + https://b.example, colour = red\n"},
};

static void policies_are_compared_by_what_they_mean(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++) {
		write_text("old", differences[i].old);
		write_text("new", differences[i].new);
		enum exit_code code = run("policy diff old new");
		if (strcmp(out, differences[i].says) != 0 || code != (*out ? EXIT_BAD : EXIT_GOOD))
			fail_msg("%s\n%s\n%d: %s%s", differences[i].old, differences[i].new, code, out, err);
	}
	expect(run("policy diff red.json nowhere") == EXIT_USAGE, "nowhere");
	expect_bad_input("nowhere: No such file", "nowhere");
	expect(run("policy diff . red.json") == EXIT_USAGE, "a folder");
	expect_bad_input("is not a regular file", "a folder");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_tree_shows_what_is_wanted_and_found),
	    cmocka_unit_test(a_token_is_read_but_not_verified_and_that_is_said),
	    cmocka_unit_test(of_several_branches_only_the_nearest_has_failed),
	    cmocka_unit_test(what_a_policy_holds_steers_no_terminal),
	    cmocka_unit_test(bad_input_gets_one_sentence_and_exit_code_two),
	    cmocka_unit_test(tokens_that_no_vault_takes_are_refused),
	    cmocka_unit_test(misuse_says_how_to_use_it),
	    cmocka_unit_test(each_kind_of_machine_gets_its_own_conditions_and_satisfies_them),
	    cmocka_unit_test(workload_is_what_is_meant_without_a_word),
	    cmocka_unit_test(a_policy_that_would_look_stricter_than_it_is_is_not_written),
	    cmocka_unit_test(what_is_unsafe_on_this_machine_is_still_asked_for),
	    cmocka_unit_test(a_policy_of_the_platform_alone_is_warned_of),
	    cmocka_unit_test(commands_name_key_role_and_identity),
	    cmocka_unit_test(a_file_is_written_whole_or_not_at_all),
	    cmocka_unit_test(policies_are_compared_by_what_they_mean),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
