/* SPDX-License-Identifier: Apache-2.0 */
/* Release policies explained (K-03); grammar and comparison of reference/akv-release section 11. */
#include "azure/policy.h"

#include "azure/service.h"
#include "base/ossl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char claims_text[] =
    "{\"iss\":\"https://"
    "maa.example\",\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-compliance-status\":\"azure-compliant-uvm\","
    "\"x-ms-sevsnpvm-hostdata\":\"bbbb\",\"x-ms-sevsnpvm-is-debuggable\":false,\"x-ms-sevsnpvm-vmpl\":0,"
    "\"x-ms-sevsnpvm-snpfw-svn\":8,\"x-ms-runtime\":{\"vm-configuration\":{\"secure-boot\":true}},\"a.b\":\"dotted\","
    "\"list\":[1]}";

/* One condition, or anything else that stands in allOf, under the right authority. */
static size_t explain(const char *conditions, const char *authority, struct buf *text)
{
	auto_json *claims = NULL, *policy = NULL;
	char whole[4096];
	size_t unmet = 99;

	buf_clear(text);
	snprintf(whole, sizeof(whole), "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"%s\",\"allOf\":[%s]}]}",
	         authority, conditions);
	assert_int_equal(json_parse(claims_text, strlen(claims_text), &claims).failure, 0);
	if (json_parse(whole, strlen(whole), &policy).failure)
		fail_msg("%s: %s", whole, status_message());
	assert_int_equal(policy_explain(policy, claims, text, &unmet).failure, 0);
	return unmet;
}

static void the_claim_that_fails_is_named_with_both_values(void **state)
{
	(void)state;
	auto_buf text = BUF(4096);

	assert_int_equal(explain("{\"claim\":\"x-ms-attestation-type\",\"equals\":\"sevsnpvm\"},"
	                         "{\"claim\":\"x-ms-sevsnpvm-hostdata\",\"equals\":\"aaaa\"}",
	                         "https://maa.example/", &text),
	                 1);
	assert_string_equal(buf_text(&text), "needs x-ms-sevsnpvm-hostdata = aaaa, this machine has bbbb");
	assert_int_equal(explain("{\"claim\":\"nowhere\",\"equals\":\"1\"}", "https://maa.example", &text), 1);
	assert_string_equal(buf_text(&text), "needs nowhere = 1, this machine has none");
}

static const struct {
	const char *condition;
	size_t unmet;
} conditions[] = {
    {"{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":\"false\"}", 0},
    {"{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":false}", 0},
    {"{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":\"False\"}", 1},
    {"{\"claim\":\"x-ms-sevsnpvm-vmpl\",\"equals\":\"0\"}", 0},
    {"{\"claim\":\"x-ms-sevsnpvm-vmpl\",\"equals\":0}", 0},
    {"{\"claim\":\"x-ms-sevsnpvm-snpfw-svn\",\"greater\":7}", 0},
    {"{\"claim\":\"x-ms-sevsnpvm-snpfw-svn\",\"greater\":8}", 1},
    {"{\"claim\":\"x-ms-sevsnpvm-snpfw-svn\",\"greaterOrEquals\":\"8\"}", 0},
    {"{\"claim\":\"x-ms-sevsnpvm-snpfw-svn\",\"less\":8}", 1},
    {"{\"claim\":\"x-ms-sevsnpvm-snpfw-svn\",\"lessOrEquals\":8}", 0},
    {"{\"claim\":\"x-ms-attestation-type\",\"greater\":1}", 1},
    {"{\"claim\":\"x-ms-attestation-type\",\"notEquals\":\"tdxvm\"}", 0},
    {"{\"claim\":\"nowhere\",\"notEquals\":\"tdxvm\"}", 1},
    {"{\"claim\":\"nowhere\",\"exists\":false}", 0},
    {"{\"claim\":\"iss\",\"exists\":true}", 0},
    {"{\"claim\":\"x-ms-runtime.vm-configuration.secure-boot\",\"equals\":\"true\"}", 0},
    {"{\"claim\":\"a.b\",\"equals\":\"dotted\"}", 0},
    {"{\"claim\":\"list\",\"equals\":\"1\"}", 1},
    {"{\"claim\":\"x-ms-attestation-type\",\"contains\":\"s\"}", 1},
    {"{\"claim\":\"iss\"}", 1},
    {"{}", 1},
    {"{\"anyOf\":[{\"claim\":\"iss\",\"equals\":\"x\"},{\"claim\":\"x-ms-sevsnpvm-vmpl\",\"equals\":0}]}", 0},
    {"{\"anyOf\":[{\"allOf\":[{\"claim\":\"iss\",\"equals\":\"x\"},{\"claim\":\"p\",\"equals\":1}]},{\"claim\":\"q\","
     "\"equals\":2}]}",
     1},
    {"{\"anyOf\":[{\"claim\":\"q\",\"equals\":2},{\"allOf\":[{\"claim\":\"iss\",\"equals\":\"x\"},{\"claim\":\"p\","
     "\"equals\":1}]}]}",
     1},
    {"{\"allOf\":[]}", 0},
    {"", 0},
};

static void conditions_compare_as_key_vault_does(void **state)
{
	(void)state;
	auto_buf text = BUF(4096);
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		size_t unmet = explain(conditions[i].condition, "https://maa.example", &text);
		if (unmet != conditions[i].unmet || (unmet == 0) != (text.len == 0))
			fail_msg("%s: %zu unmet, \"%s\"", conditions[i].condition, unmet, buf_text(&text));
	}
	explain("{\"anyOf\":[{\"allOf\":[{\"claim\":\"iss\",\"equals\":\"x\"},{\"claim\":\"p\",\"equals\":1}]},{"
	        "\"claim\":\"q\",\"equals\":2}"
	        "]}",
	        "https://maa.example", &text);
	assert_string_equal(buf_text(&text), "needs q = 2, this machine has none"); /* the nearest branch */
}

static void another_authority_is_said_first(void **state)
{
	(void)state;
	auto_buf text = BUF(4096);

	assert_true(explain("{\"claim\":\"iss\",\"equals\":\"x\"}", "https://other.example", &text) > 0);
	assert_string_equal(buf_text(&text),
	                    "trusts https://other.example, this machine's token is from https://maa.example");
}

static void many_conditions_are_counted(void **state)
{
	(void)state;
	auto_buf text = BUF(4096);

	assert_int_equal(
	    explain("{\"claim\":\"a\",\"equals\":1},{\"claim\":\"b\",\"equals\":1},{\"claim\":\"c\",\"equals\":1},"
	            "{\"claim\":\"d\",\"equals\":1},{\"claim\":\"e\",\"equals\":1},{\"claim\":\"f\",\"equals\":1}",
	            "https://maa.example", &text),
	    6);
	assert_non_null(strstr(buf_text(&text), "; and 2 more"));
	assert_null(strstr(buf_text(&text), "needs e "));
}

static void what_is_no_policy_is_refused(void **state)
{
	(void)state;
	static const char *const bad[] = {"{}", "[]", "{\"anyOf\":{}}", "{\"anyOf\":[]}", "{\"anyOf\":\"x\"}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		auto_json *policy = NULL;
		auto_buf text = BUF(64);
		size_t unmet = 7;
		assert_int_equal(json_parse(bad[i], strlen(bad[i]), &policy).failure, 0);
		assert_int_equal(policy_explain(policy, NULL, &text, &unmet).failure, 213);
		assert_int_equal(unmet, 7);
	}
}

static void the_summary_names_what_policies_usually_ask(void **state)
{
	(void)state;
	auto_json *claims = NULL;
	auto_buf text = BUF(4096);

	assert_int_equal(json_parse(claims_text, strlen(claims_text), &claims).failure, 0);
	assert_int_equal(policy_summary(claims, &text).failure, 0);
	assert_string_equal(buf_text(&text), "iss = https://maa.example, x-ms-attestation-type = sevsnpvm, "
	                                     "x-ms-compliance-status = azure-compliant-uvm, "
	                                     "x-ms-sevsnpvm-is-debuggable = false, x-ms-sevsnpvm-hostdata = bbbb");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_claim_that_fails_is_named_with_both_values),
	    cmocka_unit_test(conditions_compare_as_key_vault_does),
	    cmocka_unit_test(another_authority_is_said_first),
	    cmocka_unit_test(many_conditions_are_counted),
	    cmocka_unit_test(what_is_no_policy_is_refused),
	    cmocka_unit_test(the_summary_names_what_policies_usually_ask),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
