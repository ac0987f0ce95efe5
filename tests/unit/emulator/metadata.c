/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/certificate.h"
#include "emulator/intel.h"
#include "unit/emulator/client.h"

#include <time.h>

#define IMDS "127.0.0.1:4712"

/* What the metadata service gives to confidential VMs: TD quotes, and a new certificate for the attestation key. */

static int open_metadata(void **state)
{
	(void)state;
	if (make_directory())
		return -1;
	pthread_mutex_init(&emulator.lock, NULL);
	strcpy(emulator.client, "11111111-2222-4333-8444-555555555555");
	assert_ok(requestlog_open(&emulator));
	assert_ok(faults_open(&emulator));
	assert_ok(intel_open(&emulator));
	return hardware_open(&emulator).failure ? -1 : 0;
}

static int close_metadata(void **state)
{
	(void)state;
	hardware_close(&emulator);
	intel_close(&emulator);
	faults_close(&emulator);
	requestlog_close(&emulator);
	remove_files(test_directory);
	return 0;
}

static struct call *imds(const char *method, const char *target, bool header, const char *body)
{
	struct call *call = calloc(1, sizeof(*call));

	assert_non_null(call);
	call->exchange.service = SERVICE_METADATA;
	assert_ok(exchange_open(&call->exchange, method, IMDS, target));
	if (header)
		assert_ok(exchange_add_header(&call->exchange, "Metadata", "true"));
	assert_ok(buf_append_text(&call->exchange.body, body));
	assert_ok(dispatch_head(&emulator, call));
	dispatch_body(&emulator, call);
	return call;
}

/* ---- quotes ---- */

static struct call *ask_quote(const uint8_t *report, size_t len, bool standard)
{
	auto_buf text = BUF(PEM_LIMIT), body = BUF(PEM_LIMIT);
	assert_ok(standard ? base64_encode(report, len, &text) : base64url_encode(report, len, &text));
	assert_ok(buf_printf(&body, "{\"report\":\"%s\"}", buf_text(&text)));
	return imds("POST", "/acc/tdquote", false, buf_text(&body));
}

static void fresh_report(uint8_t report[TD_REPORT_BYTES])
{
	uint8_t report_data[64] = {0};
	assert_ok(sha256("claims", 6, report_data));
	assert_ok(intel_td_report(&emulator, report_data, report));
}

static void a_td_report_becomes_a_quote(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES], report_data[64];
	struct quote_trust trust;
	fresh_report(report);
	assert_ok(intel_trust(&emulator, &trust));
	for (int standard = 0; standard < 2; standard++) {
		auto_call *call = ask_quote(report, sizeof(report), standard);
		assert_status(call, 200);
		auto_json *answer = answer_of(call), *claims = json_object();
		auto_buf quote = BUF(TD_QUOTE_ROOM);
		const char *text = json_string_or_null(answer, "quote");
		assert_int_equal(json_count(answer), 1);
		assert_ok(base64url_decode(text, strlen(text), &quote)); /* strict: no padding */
		assert_int_equal(quote.len, 5006);
		assert_ok(quote_verify(quote.data, quote.len, &trust, report_data, claims));
		assert_memory_equal(report_data, report + 128, sizeof(report_data));
	}
}

static void a_report_of_another_length_is_refused(void **state)
{
	static const size_t lengths[] = {0, 1023, 1025, 1184};
	uint8_t report[2048] = {0};
	(void)state;
	fresh_report(report);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		auto_call *call = ask_quote(report, lengths[i], false);
		assert_status(call, 400);
		assert_non_null(strstr(buf_text(&call->exchange.reply), "not 1024"));
	}
	auto_call *much = ask_quote(report, sizeof(report), false);
	assert_status(much, 400);
}

static void a_report_with_a_wrong_mac_is_refused(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES];
	fresh_report(report);
	report[224] ^= 1;
	auto_call *call = ask_quote(report, sizeof(report), false);
	assert_status(call, 400);
	assert_non_null(strstr(buf_text(&call->exchange.reply), "MAC"));
}

static void bodies_that_are_no_request_for_a_quote_are_refused(void **state)
{
	static const char *const bodies[] = {
	    "", "{}", "[]", "{\"report\":7}", "{\"report\":\"!\"}", "{\"Report\":\"AAAA\"}"};
	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		auto_call *call = imds("POST", "/acc/tdquote", false, bodies[i]);
		assert_status(call, 400);
	}
	auto_call *get = imds("GET", "/acc/tdquote", false, "");
	assert_status(get, 405);
}

static void faults_name_the_quote_service(void **state)
{
	(void)state;
	uint8_t report[TD_REPORT_BYTES];
	fresh_report(report);
	assert_ok(faults_add(&emulator, "imds.tdquote[1..1] status(503)"));
	auto_call *first = ask_quote(report, sizeof(report), false), *second = ask_quote(report, sizeof(report), false);
	assert_status(first, 503);
	assert_status(second, 200);
}

/* ---- renewal ---- */

#define RENEW   "/metadata/THIM/tvm/certificate/renew?api-version="
#define QUERY   "/metadata/THIM/tvm/certificate/query?api-version="
#define MACHINE "&vmId=11111111-2222-4333-8444-555555555555&requestId=1"

static X509 *authority, *present;
static EVP_PKEY *authority_key, *ak;

static void make(const char *common, EVP_PKEY *key, X509 *issuer, int64_t end, X509 **ret)
{
	const struct certificate_name subject[] = {{"CN", common}, {NULL, NULL}};
	const struct certificate_extension extensions[] = {{.oid = "keyUsage", .text = "critical,digitalSignature"},
	                                                   {0}};
	const struct certificate_plan plan = {.subject = subject,
	                                      .key = key,
	                                      .issuer = issuer,
	                                      .issuer_key = authority_key,
	                                      .not_before = end - 3600,
	                                      .not_after = end,
	                                      .extensions = extensions};
	assert_ok(certificate_issue(&plan, ret));
}

/* The authority as vtpm.c leaves it in DIR, and a certificate of it that has expired. */
static int make_authority(void **state)
{
	auto_buf pem = BUF(PEM_LIMIT);
	(void)state;
	if (authority)
		return 0;
	assert_ok(emulator_key(&emulator, "vtpm-ca.key", 2048, NULL, &authority_key));
	assert_ok(key_generate("RSA-2048", &ak));
	make("Global Virtual TPM CA", authority_key, NULL, time(NULL) + 3600, &authority);
	make("11111111.TrustedVM.Azure", ak, authority, time(NULL) - 3600, &present);
	assert_ok(certificate_to_pem(authority, &pem));
	return emulator_write(&emulator, "vtpm-ca.pem", pem.data, pem.len).failure;
}

static void escaped_pem(X509 *certificate, struct buf *out)
{
	auto_buf pem = BUF(PEM_LIMIT);
	assert_ok(certificate_to_pem(certificate, &pem));
	for (size_t i = 0; i < pem.len; i++)
		assert_ok(buf_printf(out, "%%%02X", pem.data[i]));
}

static void assert_renewed(const char *pem)
{
	auto_x509s *fresh = NULL;
	assert_ok(certificates_from_pem(pem, strlen(pem), &fresh));
	assert_int_equal(sk_X509_num(fresh), 1);
	X509 *certificate = sk_X509_value(fresh, 0);
	assert_ok(certificate_signed_by(certificate, authority, time(NULL)));
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(certificate), ak), 1);
	assert_int_equal(X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_subject_name(present)), 0);
	assert_int_equal(X509_get_ext_count(certificate), X509_get_ext_count(present));
	assert_true(X509_cmp_time(X509_get0_notAfter(certificate), &(time_t){time(NULL) + 300 * 86400}) == 1);
	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get_serialNumber(certificate), X509_get_serialNumber(present)), 0);
}

static void an_expired_certificate_is_renewed_at_once(void **state)
{
	(void)state;
	auto_buf body = BUF(PEM_LIMIT), plain = BUF(PEM_LIMIT);
	escaped_pem(present, &body);
	assert_ok(certificate_to_pem(present, &plain));
	auto_call *call = imds("POST", RENEW "2023-07-01" MACHINE, true, buf_text(&body));
	assert_status(call, 200);
	auto_json *answer = answer_of(call);
	assert_int_equal(strlen(json_string_or_null(answer, "CertQueryId")), 36);
	assert_renewed(json_string_or_null(answer, "AkCertPem"));
	auto_call *unescaped = imds("POST", RENEW "2023-07-01" MACHINE, true, buf_text(&plain));
	assert_status(unescaped, 200);
}

static void the_older_version_gives_a_query_first(void **state)
{
	(void)state;
	char target[256];
	auto_buf body = BUF(PEM_LIMIT);
	escaped_pem(present, &body);
	auto_call *call = imds("POST", RENEW "2021-12-01" MACHINE, true, buf_text(&body));
	assert_status(call, 200);
	assert_int_equal(call->exchange.reply.len, 36);
	snprintf(target, sizeof(target), QUERY "2021-12-01" MACHINE "&guid=%s", buf_text(&call->exchange.reply));
	auto_call *answer = imds("GET", target, true, "");
	assert_status(answer, 200);
	assert_renewed(buf_text(&answer->exchange.reply));
}

static void queries_that_nobody_made_are_refused(void **state)
{
	static const struct {
		const char *guid;
		int status;
	} rows[] = {{"", 400},
	            {"&guid=1", 400},
	            {"&guid=././././././././././././././././../x", 400}, /* as long as an id */
	            {"&guid=aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa", 404}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char target[256];
		snprintf(target, sizeof(target), QUERY "2021-12-01" MACHINE "%s", rows[i].guid);
		auto_call *call = imds("GET", target, true, "");
		assert_status(call, rows[i].status);
	}
}

static void renewals_of_somebody_else_are_refused(void **state)
{
	(void)state;
	auto_buf body = BUF(PEM_LIMIT), foreign = BUF(PEM_LIMIT), many = BUF(2 * PEM_LIMIT);
	auto_x509 *stranger = NULL;
	escaped_pem(present, &body);
	make("11111111.TrustedVM.Azure", ak, NULL, time(NULL) + 3600, &stranger); /* signed by itself */
	escaped_pem(stranger, &foreign);
	assert_ok(buf_printf(&many, "%s%s", buf_text(&body), buf_text(&body)));
	const struct {
		const char *target, *body, *words;
		bool header;
	} rows[] = {
	    {RENEW "2023-07-01" MACHINE, buf_text(&body), "metadata header", false},
	    {RENEW "2022-01-01" MACHINE, buf_text(&body), "api-version", true},
	    {RENEW "2023-07-01&requestId=1", buf_text(&body), "vmId", true},
	    {RENEW "2023-07-01&requestId=1&vmId=other", buf_text(&body), "vmId", true},
	    {RENEW "2023-07-01&vmId=11111111-2222-4333-8444-555555555555", buf_text(&body), "requestId", true},
	    {RENEW "2023-07-01" MACHINE, "", "not one certificate", true},
	    {RENEW "2023-07-01" MACHINE, "hello", "not one certificate", true},
	    {RENEW "2023-07-01" MACHINE, buf_text(&many), "not one certificate", true},
	    {RENEW "2023-07-01" MACHINE, buf_text(&foreign), "another authority", true},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_call *call = imds("POST", rows[i].target, rows[i].header, rows[i].body);
		assert_status(call, 400);
		if (!strstr(buf_text(&call->exchange.reply), rows[i].words))
			fail_msg("\"%s\" has no \"%s\"", buf_text(&call->exchange.reply), rows[i].words);
	}
}

/* No authority: a machine without a vTPM. First, since the files are made later. */
static void without_a_vtpm_there_is_nothing_to_renew(void **state)
{
	(void)state;
	auto_call *call = imds("POST", RENEW "2023-07-01" MACHINE, true, "x");
	assert_status(call, 404);
}

static void faults_name_the_renewal(void **state)
{
	(void)state;
	auto_buf body = BUF(PEM_LIMIT);
	escaped_pem(present, &body);
	assert_ok(faults_add(&emulator, "thim.renew[1..1] status(429,Retry-After: 1)"));
	auto_call *first = imds("POST", RENEW "2023-07-01" MACHINE, true, buf_text(&body));
	auto_call *second = imds("POST", RENEW "2023-07-01" MACHINE, true, buf_text(&body));
	assert_status(first, 429);
	assert_status(second, 200);
}

static void the_machine_has_an_id(void **state)
{
	(void)state;
	auto_call *call = imds("GET", "/metadata/instance/compute/vmId?api-version=2019-03-11&format=text", true, "");
	assert_status(call, 200);
	assert_string_equal(buf_text(&call->exchange.reply), "11111111-2222-4333-8444-555555555555");
}

int main(void)
{
#define RENEWAL_TEST(test) cmocka_unit_test_setup(test, make_authority)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_td_report_becomes_a_quote),
	    cmocka_unit_test(a_report_of_another_length_is_refused),
	    cmocka_unit_test(a_report_with_a_wrong_mac_is_refused),
	    cmocka_unit_test(bodies_that_are_no_request_for_a_quote_are_refused),
	    cmocka_unit_test(faults_name_the_quote_service),
	    cmocka_unit_test(the_machine_has_an_id),
	    cmocka_unit_test(without_a_vtpm_there_is_nothing_to_renew),
	    RENEWAL_TEST(an_expired_certificate_is_renewed_at_once),
	    RENEWAL_TEST(the_older_version_gives_a_query_first),
	    RENEWAL_TEST(queries_that_nobody_made_are_refused),
	    RENEWAL_TEST(renewals_of_somebody_else_are_refused),
	    RENEWAL_TEST(faults_name_the_renewal),
	};
	return cmocka_run_group_tests(tests, open_metadata, close_metadata);
}
