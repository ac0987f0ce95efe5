/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/policy.h"
#include "unit/emulator/surroundings.h"

#define ISSUER "https://sharedemu.attest.localhost:4711"

static const char claims_text[] =
    "{\"iss\":\"" ISSUER "\",\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-sevsnpvm-is-debuggable\":"
    "false,\"x-ms-sevsnpvm-vmpl\":0,\"x-ms-sevsnpvm-bootloader-svn\":3,"
    "\"x-ms-isolation-tee\":{\"x-ms-compliance-status\":\"azure-compliant-cvm\","
    "\"x-ms-runtime\":{\"vm-configuration\":{\"secure-boot\":true}}},"
    "\"a.b\":\"top\",\"a\":{\"b\":\"inside\"},\"list\":[\"x\"],\"none\":null,\"nothing\":\"\"}";

static bool holds(const char *policy_text, char *reason, size_t size)
{
	auto_json *policy = json_of(policy_text), *claims = json_of(claims_text);

	assert_ok(policy_check(policy));
	return policy_holds(policy, claims, reason, size);
}

static bool condition_holds(const char *condition)
{
	char policy[1024], reason[512];

	snprintf(policy, sizeof(policy),
	         "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" ISSUER "\",\"allOf\":[%s]}]}", condition);
	return holds(policy, reason, sizeof(reason));
}

static void operators_compare_as_the_grammar_says(void **state)
{
	(void)state;
	static const struct {
		const char *condition;
		bool holds;
	} cases[] = {
	    {"{\"claim\":\"x-ms-attestation-type\",\"equals\":\"sevsnpvm\"}", true},
	    {"{\"claim\":\"x-ms-attestation-type\",\"equals\":\"SEVSNPVM\"}", false},
	    {"{\"claim\":\"x-ms-attestation-type\",\"notEquals\":\"tdxvm\"}", true},
	    {"{\"claim\":\"x-ms-attestation-type\",\"notEquals\":\"sevsnpvm\"}", false},
	    {"{\"claim\":\"absent\",\"notEquals\":\"x\"}", false},
	    {"{\"claim\":\"absent\",\"equals\":\"\"}", false},
	    {"{\"claim\":\"absent\",\"exists\":true}", false},
	    {"{\"claim\":\"absent\",\"exists\":\"false\"}", true},
	    {"{\"claim\":\"none\",\"exists\":true}", true},
	    {"{\"claim\":\"none\",\"equals\":\"null\"}", false},
	    {"{\"claim\":\"nothing\",\"equals\":\"\"}", true},
	    {"{\"claim\":\"list\",\"equals\":\"x\"}", false},
	    {"{\"claim\":\"x-ms-sevsnpvm-bootloader-svn\",\"less\":4}", true},
	    {"{\"claim\":\"x-ms-sevsnpvm-bootloader-svn\",\"less\":3}", false},
	    {"{\"claim\":\"x-ms-sevsnpvm-bootloader-svn\",\"lessOrEquals\":\"3\"}", true},
	    {"{\"claim\":\"x-ms-sevsnpvm-bootloader-svn\",\"greater\":2}", true},
	    {"{\"claim\":\"x-ms-sevsnpvm-bootloader-svn\",\"greater\":3}", false},
	    {"{\"claim\":\"x-ms-sevsnpvm-bootloader-svn\",\"greaterOrEquals\":3}", true},
	    {"{\"claim\":\"x-ms-sevsnpvm-bootloader-svn\",\"greaterOrEquals\":\" 3\"}", false},
	    {"{\"claim\":\"x-ms-attestation-type\",\"greater\":1}", false},
	    {"{\"claim\":\"nothing\",\"less\":1}", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (condition_holds(cases[i].condition) != cases[i].holds)
			fail_msg("%s should %shold", cases[i].condition, cases[i].holds ? "" : "not ");
}

static void text_of_a_policy_matches_booleans_and_numbers_of_a_token(void **state)
{
	(void)state;
	assert_true(condition_holds("{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":\"false\"}"));
	assert_true(condition_holds("{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":false}"));
	assert_false(condition_holds("{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":\"False\"}"));
	assert_true(condition_holds("{\"claim\":\"x-ms-sevsnpvm-vmpl\",\"equals\":\"0\"}"));
	assert_true(condition_holds("{\"claim\":\"x-ms-sevsnpvm-vmpl\",\"equals\":0}"));
	assert_false(condition_holds("{\"claim\":\"x-ms-sevsnpvm-vmpl\",\"equals\":\"00\"}"));
}

static void nested_claims_are_named_with_dots_and_whole_names_come_first(void **state)
{
	(void)state;
	assert_true(condition_holds(
	    "{\"claim\":\"x-ms-isolation-tee.x-ms-runtime.vm-configuration.secure-boot\",\"equals\":true}"));
	assert_true(condition_holds("{\"claim\":\"a.b\",\"equals\":\"top\"}"));
	assert_false(condition_holds("{\"claim\":\"a.b.c\",\"exists\":true}"));
	assert_false(condition_holds("{\"claim\":\"x-ms-isolation-tee.\",\"exists\":true}"));
	assert_false(condition_holds("{\"claim\":\"x-ms-isolation-tee\",\"equals\":\"\"}"));
}

static void groups_nest(void **state)
{
	(void)state;
	assert_true(
	    condition_holds("{\"anyOf\":[{\"claim\":\"absent\",\"exists\":true},{\"claim\":\"a\",\"exists\":true}]}"));
	assert_false(
	    condition_holds("{\"allOf\":[{\"claim\":\"absent\",\"exists\":true},{\"claim\":\"a\",\"exists\":true}]}"));
	assert_true(condition_holds("{\"anyOf\":[{\"allOf\":[{\"claim\":\"a\",\"exists\":true}]}]}"));
}

#define AUTHORITY(name_, value_) \
	"{\"authority\":\"" name_ "\",\"allOf\":[{\"claim\":\"x-ms-sevsnpvm-vmpl\",\"equals\":" value_ "}]}"

static void the_issuer_of_the_token_must_be_the_authority(void **state)
{
	(void)state;
	char reason[512];

	assert_true(
	    holds("{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY(ISSUER "/", "0") "]}", reason, sizeof(reason)));
	assert_true(
	    holds("{\"version\":\"0.2\",\"anyOf\":[" AUTHORITY("HTTPS://SharedEMU.attest.localhost:4711", "0") "]}",
	          reason, sizeof(reason)));
	assert_false(
	    holds("{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY(ISSUER "//", "0") "]}", reason, sizeof(reason)));
	assert_false(
	    holds("{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY("https://sharedemu.attest.localhost", "0") "]}",
	          reason, sizeof(reason)));
	assert_non_null(strstr(reason, "authority"));
	assert_true(
	    holds("{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY("https://other", "0") "," AUTHORITY(ISSUER, "0") "]}",
	          reason, sizeof(reason)));
	assert_false(
	    holds("{\"version\":\"1.0.0\",\"allOf\":[" AUTHORITY("https://other", "0") "," AUTHORITY(ISSUER, "0") "]}",
	          reason, sizeof(reason)));
	assert_true(holds("{\"version\":\"1.0.0\",\"allOf\":[" AUTHORITY(ISSUER, "0") "]}", reason, sizeof(reason)));
}

static void a_refusal_names_the_claim(void **state)
{
	(void)state;
	char reason[512];

	assert_false(holds("{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY(ISSUER, "1") "]}", reason, sizeof(reason)));
	assert_string_equal(reason, "claim x-ms-sevsnpvm-vmpl is 0, the policy wants equals 1");
}

static void what_is_no_policy_is_refused(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	    {"[]", "no JSON object"},
	    {"{\"anyOf\":[" AUTHORITY(ISSUER, "1") "]}", "missing 'version'"},
	    {"{\"version\":1,\"anyOf\":[" AUTHORITY(ISSUER, "1") "]}", "'version' is no text"},
	    {"{\"version\":\"1.0.0\"}", "missing 'anyOf' or 'allOf'"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[],\"allOf\":[]}", "both"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[]}", "empty"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":{}}", "no list"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY(ISSUER, "1") "],\"x\":1}", "unknown property"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[{\"anyOf\":[]}]}", "missing 'authority'"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY("http://x", "1") "]}", "no https URL"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY(ISSUER, "[1]") "]}", "takes text"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[" AUTHORITY(ISSUER, "null") "]}", "takes text"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://x\",\"allOf\":[{\"claim\":\"a\"}]}]}",
	     "exactly one operator"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://"
	     "x\",\"allOf\":[{\"claim\":\"a\",\"equals\":1,\"less\":2}]}]}",
	     "exactly one operator"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://"
	     "x\",\"allOf\":[{\"claim\":\"\",\"equals\":1}]}]}",
	     "'claim' is no text"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://"
	     "x\",\"allOf\":[{\"claim\":\"a\",\"condition\":\"equals\",\"value\":1}]}]}",
	     "unknown property 'condition'"},
	    {"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://x\",\"allOf\":[1]}]}",
	     "a condition is no object"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		auto_json *policy = json_of(cases[i][0]);
		skr_status status = policy_check(policy);
		if (status.failure != 213 || !strstr(status_message(), cases[i][1]))
			fail_msg("%s: SKR-%d %s", cases[i][0], status.failure, status_message());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(operators_compare_as_the_grammar_says),
	    cmocka_unit_test(text_of_a_policy_matches_booleans_and_numbers_of_a_token),
	    cmocka_unit_test(nested_claims_are_named_with_dots_and_whole_names_come_first),
	    cmocka_unit_test(groups_nest),
	    cmocka_unit_test(the_issuer_of_the_token_must_be_the_authority),
	    cmocka_unit_test(a_refusal_names_the_claim),
	    cmocka_unit_test(what_is_no_policy_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
