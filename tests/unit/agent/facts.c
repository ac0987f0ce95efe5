/* SPDX-License-Identifier: Apache-2.0 */
/* What goes from the agent into the audit trail: bounded, printable, and never more than the module takes. */
#include "agent/facts.h"

#include "agent/protocol.h"
#include "base/base64.h"
#include "base/ossl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char *fact(const json *facts, const char *name)
{
	return json_string_or_null(facts, name);
}

/* The module takes a message with these facts, and finds in it what was told. Frees them. */
static void assert_is_taken(json *facts)
{
	auto_agent_message message = {.type = AGENT_FACTS, .facts = facts}, again = {.type = AGENT_END};
	auto_buf text = BUF(PROTOCOL_ANSWER_LIMIT);

	assert_int_equal(agent_message_print(&message, &text).failure, 0);
	if (agent_message_parse(text.data, text.len, &again).failure)
		fail_msg("%s: %s", status_message(), buf_text(&text));
	assert_int_equal(json_count(again.facts), json_count(facts));
}

/* A token with this payload; nobody looks at the rest. */
static json *facts_of_claims(const char *claims)
{
	auto_buf token = BUF(64 * 1024);

	assert_int_equal(base64url_encode("{\"alg\":\"RS256\"}", 15, &token).failure, 0);
	assert_int_equal(buf_append(&token, ".", 1).failure, 0);
	assert_int_equal(base64url_encode(claims, strlen(claims), &token).failure, 0);
	assert_int_equal(buf_append(&token, ".AAAA", 5).failure, 0);
	return facts_of_attestation(&token);
}

static void evidence_is_told_by_kind_way_and_endorsements(void **state)
{
	(void)state;
	static const struct {
		struct evidence evidence;
		const char *tee;
	} cases[] = {
	    {{.form = EVIDENCE_SNP, .provider = "snp-ioctl", .endorsement_source = "thim"}, "AMD SEV-SNP"},
	    {{.form = EVIDENCE_TDX, .provider = "tdx-configfs", .endorsement_source = "quote"}, "Intel TDX"},
	    {{.form = EVIDENCE_GUEST,
	      .provider = "azure-cvm",
	      .endorsement_source = "thim",
	      .vtpm.evidence.isolation = ISOLATION_SNP},
	     "AMD SEV-SNP"},
	    {{.form = EVIDENCE_GUEST,
	      .provider = "trusted-launch",
	      .endorsement_source = "none",
	      .vtpm.evidence.isolation = ISOLATION_TRUSTED_LAUNCH},
	     "Trusted Launch"},
	    {{.form = EVIDENCE_DIRECT_TDX,
	      .provider = "azure-cvm-direct",
	      .endorsement_source = "quote",
	      .vtpm.hcl.isolation = ISOLATION_TDX},
	     "Intel TDX"},
	    {{.form = EVIDENCE_NONE, .provider = "sidecar", .endorsement_source = "none"}, NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json *facts = facts_of_evidence(&cases[i].evidence);
		if (cases[i].tee)
			assert_string_equal(fact(facts, "tee"), cases[i].tee);
		else
			assert_null(fact(facts, "tee"));
		assert_string_equal(fact(facts, "evidence"), cases[i].evidence.provider);
		assert_string_equal(fact(facts, "endorsements"), cases[i].evidence.endorsement_source);
		assert_is_taken(facts);
	}
}

static void claims_are_told_as_policies_name_them(void **state)
{
	(void)state;
	json *facts = facts_of_claims("{\"jti\":\"7f\",\"x-ms-attestation-type\":\"azurevm\",\"secureboot\":true,"
	                              "\"x-ms-sevsnpvm-is-debuggable\":false,\"attester_tcb_status\":7,"
	                              "\"x-ms-runtime\":{\"keys\":[]},\"x-ms-policy-hash\":\"not asked for\","
	                              "\"x-ms-isolation-tee\":{\"x-ms-compliance-status\":\"azure-compliant-cvm\"}}");

	assert_string_equal(fact(facts, "jti"), "7f");
	assert_string_equal(fact(facts, "x-ms-attestation-type"), "azurevm");
	assert_string_equal(fact(facts, "secureboot"), "true");
	assert_string_equal(fact(facts, "x-ms-sevsnpvm-is-debuggable"), "false");
	assert_string_equal(fact(facts, "attester_tcb_status"), "7");
	assert_string_equal(fact(facts, "x-ms-isolation-tee.x-ms-compliance-status"), "azure-compliant-cvm");
	assert_int_equal(json_count(facts), 6);
	assert_is_taken(facts);
}

/* The attestation service, or who answers in its place, writes what it likes. */
static void what_a_service_supplies_is_cut_and_made_printable(void **state)
{
	(void)state;
	char claims[4096], long_text[1024];

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	snprintf(claims, sizeof(claims),
	         "{\"jti\":\"%s\",\"x-ms-attestation-type\":\"two\\nlines \\u001b[2J \\u007f\xc3\xbc\","
	         "\"x-ms-compliance-status\":\"\",\"x-ms-sevsnpvm-hostdata\":[1],\"attester_tcb_status\":null,"
	         "\"x-ms-isolation-tee\":\"no object\"}",
	         long_text);
	json *facts = facts_of_claims(claims);
	assert_int_equal(strlen(fact(facts, "jti")), PROTOCOL_FACT_SIZE - 1);
	assert_string_equal(fact(facts, "x-ms-attestation-type"), "two?lines ?[2J ???");
	assert_int_equal(json_count(facts), 2);
	assert_is_taken(facts);
}

static void a_token_that_cannot_be_read_tells_nothing(void **state)
{
	(void)state;
	auto_buf token = BUF(64);

	assert_is_taken(facts_of_attestation(&token));
	assert_int_equal(buf_append_text(&token, "a.b").failure, 0);
	json *facts = facts_of_attestation(&token);
	assert_int_equal(json_count(facts), 0);
	assert_is_taken(facts);
}

static void a_request_is_told_by_the_services_id_and_its_attempts(void **state)
{
	(void)state;
	struct azure azure = {.request_id = "7f3c", .attempts = 1};
	char name[PROTOCOL_FACT_NAME_SIZE];
	json *facts = facts_of_request("request-attestation", &azure);

	assert_string_equal(fact(facts, "request-attestation"), "7f3c");
	assert_int_equal(json_count(facts), 1);
	assert_is_taken(facts);

	azure.attempts = 3;
	/* the longest name of a key, 127 bytes */
	snprintf(name, sizeof(name), "request-release.%.127s",
	         "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
	         "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk");
	facts = facts_of_request(name, &azure);
	assert_int_equal(json_count(facts), 2);
	assert_is_taken(facts);

	azure.request_id[0] = '\0';
	azure.attempts = 1;
	facts = facts_of_request("request-attestation", &azure);
	assert_int_equal(json_count(facts), 0);
	json_free(facts);
}

static int start(void **state)
{
	(void)state;
	return ossl_open().failure;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(evidence_is_told_by_kind_way_and_endorsements),
	    cmocka_unit_test(claims_are_told_as_policies_name_them),
	    cmocka_unit_test(what_a_service_supplies_is_cut_and_made_printable),
	    cmocka_unit_test(a_token_that_cannot_be_read_tells_nothing),
	    cmocka_unit_test(a_request_is_told_by_the_services_id_and_its_attempts),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
