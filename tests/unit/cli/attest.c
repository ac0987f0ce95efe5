/* SPDX-License-Identifier: Apache-2.0 */
/* What reports and quotes of real machines (tests/data/snp, tests/data/cvm) are shown to say. */
#include "cli/facts.h"

#include "base/file.h"
#include "base/ossl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct buf read_data(const char *name)
{
	char path[512];
	struct buf bytes = BUF(64 * 1024);

	snprintf(path, sizeof(path), SKR_TEST_DATA "/%s", name);
	if (file_read(path, &bytes).failure)
		fail_msg("%s", status_message());
	return bytes;
}

static struct evidence snp_evidence(const char *report, const char *const *pem)
{
	struct evidence evidence = {.form = EVIDENCE_SNP, .provider = "snp-ioctl", .endorsement_source = "thim"};

	evidence.report = read_data(report);
	evidence.chain_pem = BUF(64 * 1024);
	for (; *pem; pem++) {
		auto_buf part = read_data(*pem);
		assert_int_equal(buf_append(&evidence.chain_pem, part.data, part.len).failure, 0);
	}
	return evidence;
}

static struct evidence td_evidence(const char *quote)
{
	struct evidence evidence = {.form = EVIDENCE_TDX, .provider = "tdx-configfs", .endorsement_source = "quote"};

	evidence.report = read_data(quote);
	return evidence;
}

/* "a.b" of the document as text, "" if it is not there. */
static const char *at(const json *document, const char *section, const char *name, const char *part)
{
	static char number[32];
	const json *value = json_get(json_get(document, section), name);
	int64_t n = 0;

	value = part ? json_get(value, part) : value;
	if (json_kind(value) == JSON_STRING)
		return json_text(value);
	if (json_kind(value) == JSON_BOOL)
		return json_is_true(value) ? "true" : "false";
	if (json_kind(value) != JSON_NUMBER || json_number(value, &n).failure)
		return "";
	snprintf(number, sizeof(number), "%lld", (long long)n);
	return number;
}

static void a_report_of_milan_is_taken_apart_and_amd_vouches_for_it(void **state)
{
	auto_evidence evidence = snp_evidence("snp/milan-v2-aci/report.bin",
	                                      (const char *const[]){"snp/milan-v2-aci/chain-vcek-ask-ark.pem", NULL});
	auto_json *document = json_object();
	bool debuggable = true;

	(void)state;
	assert_int_equal(facts_of_evidence(&evidence, document).failure, 0);
	assert_string_equal(at(document, "report", "version", NULL), "2");
	assert_string_equal(at(document, "report", "vmpl", NULL), "0");
	assert_string_equal(at(document, "report", "policy", "debug_allowed"), "false");
	assert_string_equal(at(document, "report", "policy", "smt_allowed"), "true");
	assert_string_equal(at(document, "report", "policy", "abi"), "0.31");
	assert_string_equal(at(document, "report", "reported_tcb", "value"), "7308000000000003");
	assert_string_equal(at(document, "report", "reported_tcb", "snp"), "8");
	assert_string_equal(at(document, "report", "reported_tcb", "microcode"), "115");
	assert_string_equal(at(document, "report", "reported_tcb", "fmc"), "");
	assert_int_equal(strlen(at(document, "report", "measurement", NULL)), 96);
	assert_int_equal(strlen(at(document, "report", "chip_id", NULL)), 128);
	assert_string_equal(at(document, "verification", "root", "value"), "AMD's own for Milan");
	assert_string_equal(at(document, "verification", "root", "genuine"), "true");
	assert_int_equal(facts_debuggable(&evidence, &debuggable).failure, 0);
	assert_false(debuggable);
}

static void a_report_of_turin_has_its_own_layout_of_the_tcb(void **state)
{
	auto_evidence evidence =
	    snp_evidence("snp/turin-v5-aci/report.bin",
	                 (const char *const[]){"snp/turin-v5-aci/vcek.pem", "snp/turin-v5-aci/ask.pem",
	                                       "snp/turin-v5-aci/ark.pem", NULL});
	auto_json *document = json_object();

	(void)state;
	assert_int_equal(facts_of_evidence(&evidence, document).failure, 0);
	assert_non_null(strstr(at(document, "report", "processor", NULL), "Turin (family 0x1a"));
	assert_string_equal(at(document, "report", "reported_tcb", "fmc"), "1");
	assert_string_equal(at(document, "report", "reported_tcb", "boot_loader"), "1");
	assert_string_equal(at(document, "report", "reported_tcb", "snp"), "4");
	assert_string_equal(at(document, "report", "reported_tcb", "microcode"), "81");
	assert_string_equal(at(document, "verification", "root", "value"), "AMD's own for Turin");
}

static void a_quote_is_taken_apart_and_intel_vouches_for_it(void **state)
{
	static const char *const quotes[] = {"cvm/tdx-with-quote/td-quote.bin", "cvm/tdquote/td_quote_v4.dat"};

	(void)state;
	for (size_t i = 0; i < sizeof(quotes) / sizeof(quotes[0]); i++) {
		auto_evidence evidence = td_evidence(quotes[i]);
		auto_json *document = json_object();
		if (facts_of_evidence(&evidence, document).failure)
			fail_msg("%s: %s", quotes[i], status_message());
		assert_int_equal(strlen(at(document, "quote", "mrtd", NULL)), 96);
		assert_int_equal(strlen(at(document, "quote", "rtmr3", NULL)), 96);
		assert_string_equal(at(document, "quote", "debug", NULL), "false");
		assert_string_equal(at(document, "verification", "root", "value"), "Intel's own");
		assert_int_equal(json_count(json_get(json_get(document, "verification"), "certificates")), 3);
	}
}

static void another_machines_certificates_are_no_verification(void **state)
{
	auto_evidence evidence = snp_evidence("snp/milan-v2-bare/report.bin",
	                                      (const char *const[]){"snp/milan-v2-aci/chain-vcek-ask-ark.pem", NULL});
	auto_json *document = json_object();

	(void)state;
	assert_int_equal(facts_of_evidence(&evidence, document).failure, 117);
	assert_non_null(json_get(document, "report")); /* what it says is worth seeing */
	assert_null(json_get(document, "verification"));
}

static void debugging_is_seen_in_reports_and_quotes(void **state)
{
	auto_evidence snp = snp_evidence("snp/milan-v2-aci/report.bin", (const char *const[]){NULL});
	auto_evidence td = td_evidence("cvm/tdx-with-quote/td-quote.bin");
	auto_json *document = json_object();
	bool debuggable = false;

	(void)state;
	snp.report.data[0x0a] |= 1 << 3; /* bit 19 of POLICY at 0x08 */
	assert_int_equal(facts_debuggable(&snp, &debuggable).failure, 0);
	assert_true(debuggable);
	assert_int_equal(facts_of_evidence(&snp, document).failure, 0);
	assert_string_equal(at(document, "report", "policy", "debug_allowed"), "true");
	assert_non_null(strstr(at(document, "verification", "signature", NULL), "NOT verified"));
	debuggable = false;
	td.report.data[48 + 120] |=
	    1; /* TDATTRIBUTES behind header, TEE_TCB_SVN, MRSEAM, MRSIGNERSEAM, SEAMATTRIBUTES */
	assert_int_equal(facts_debuggable(&td, &debuggable).failure, 0);
	assert_true(debuggable);
	snp.report.len--;
	assert_int_equal(facts_debuggable(&snp, &debuggable).failure, 116);
}

static int prepare(void **state)
{
	(void)state;
	return ossl_open().failure;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_report_of_milan_is_taken_apart_and_amd_vouches_for_it),
	    cmocka_unit_test(a_report_of_turin_has_its_own_layout_of_the_tcb),
	    cmocka_unit_test(a_quote_is_taken_apart_and_intel_vouches_for_it),
	    cmocka_unit_test(another_machines_certificates_are_no_verification),
	    cmocka_unit_test(debugging_is_seen_in_reports_and_quotes),
	};
	return cmocka_run_group_tests(tests, prepare, NULL);
}
