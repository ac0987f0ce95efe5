/* SPDX-License-Identifier: Apache-2.0 */
#include "surroundings.h"

#include "emulator/certificate.h"
#include "emulator/exchange.h"
#include "emulator/hardware.h"
#include "emulator/intel.h"
#include "emulator/maa.h"
#include "jose/jws.h"

#define INSTANCE "sharedemu.attest.localhost:8443"
#define ATTEST   "/attest/SevSnpVm?api-version=2022-08-01"

static int open_maa(void **state)
{
	(void)state;
	return make_directory() || intel_open(&emulator).failure || hardware_open(&emulator).failure ||
	               maa_open(&emulator).failure
	           ? -1
	           : 0;
}

static int close_maa(void **state)
{
	(void)state;
	maa_close(&emulator);
	hardware_close(&emulator);
	intel_close(&emulator);
	remove_files(test_directory);
	return 0;
}

static skr_status change(const char *settings)
{
	auto_json *request = json_of(settings);
	return hardware_change(&emulator, request);
}

static int default_machine(void **state)
{
	(void)state;
	atomic_store(&emulator.clock_offset, 0);
	return change("{\"product\":\"Milan\",\"debug\":false,\"thim_tcb\":null,\"feed\":\"ContainerPlat-AMD-UVM\","
	              "\"svn\":100,\"token_lifetime\":28800,\"certs_with_numbers\":false,\"accept_real_amd\":false,"
	              "\"security_policy\":\"package policy\"}")
	    .failure;
}

/* ---- requests ---- */

/* What a request says; members left NULL are as a container's agent sends them. */
struct question {
	const char *runtime; /* JSON text */
	const char *data_type;
	const char *tail;        /* more members of the body: ",\"nonce\":\"x\"" */
	const char *report;      /* base64 in place of a fresh report that binds `runtime` */
	const char *chain;       /* base64 in place of THIM's */
	const char *endorsement; /* base64 in place of the security context's; "": none */
	bool standard;           /* base64 with padding, section 4 of the RFC */
};

#define RUNTIME "{\"keys\":[{\"n\":\"AQ\",\"kty\":\"RSA\",\"e\":\"AQAB\"}],\"extra\":\"b\"}"

static void encode(const struct question *q, const void *data, size_t len, struct buf *out)
{
	assert_ok(q->standard ? base64_encode(data, len, out) : base64url_encode(data, len, out));
}

static void fresh_report(const struct question *q, struct buf *out)
{
	uint8_t report_data[64] = {0}, report[REPORT_SIZE];
	const char *runtime = q->runtime ? q->runtime : RUNTIME;
	assert_ok(sha256(runtime, strlen(runtime), report_data));
	assert_ok(hardware_report(&emulator, report_data, 0, report));
	encode(q, report, sizeof(report), out);
}

static void thim_chain(const struct question *q, struct buf *out)
{
	auto_json *answer = NULL;
	auto_buf pem = BUF(PEM_LIMIT);
	assert_ok(hardware_thim(&emulator, &answer));
	assert_ok(buf_append_text(&pem, json_string_or_null(answer, "vcekCert")));
	assert_ok(buf_append_text(&pem, json_string_or_null(answer, "certificateChain")));
	encode(q, pem.data, pem.len, out);
}

static void put_endorsements(const struct question *q, struct buf *out)
{
	auto_buf text = BUF(PEM_LIMIT), list = BUF(PEM_LIMIT);
	if (q->endorsement && !*q->endorsement)
		return;
	if (q->endorsement)
		assert_ok(buf_append_text(&text, q->endorsement));
	else
		assert_ok(emulator_read(&emulator, "security-context/reference-info-base64", &text));
	assert_ok(buf_printf(&list, "{\"Uvm\":[\"%s\"]}", buf_text(&text)));
	assert_ok(buf_append_text(out, ",\"Endorsements\":\""));
	encode(q, list.data, list.len, out);
	assert_ok(buf_append_text(out, "\""));
}

static void make_body(const struct question *q, struct buf *out)
{
	auto_buf evidence = BUF(MAA_REQUEST_LIMIT);
	const char *runtime = q->runtime ? q->runtime : RUNTIME;
	assert_ok(buf_append_text(&evidence, "{\"SnpReport\":\""));
	if (q->report)
		assert_ok(buf_append_text(&evidence, q->report));
	else
		fresh_report(q, &evidence);
	assert_ok(buf_append_text(&evidence, "\",\"VcekCertChain\":\""));
	if (q->chain)
		assert_ok(buf_append_text(&evidence, q->chain));
	else
		thim_chain(q, &evidence);
	assert_ok(buf_append_text(&evidence, "\""));
	put_endorsements(q, &evidence);
	assert_ok(buf_append_text(&evidence, "}"));

	assert_ok(buf_append_text(out, "{\"report\":\""));
	encode(q, evidence.data, evidence.len, out);
	assert_ok(buf_append_text(out, "\",\"runtimeData\":{\"data\":\""));
	encode(q, runtime, strlen(runtime), out);
	assert_ok(buf_printf(out, "\",\"dataType\":\"%s\"}%s}", q->data_type ? q->data_type : "JSON",
	                     q->tail ? q->tail : ""));
}

/* ---- exchanges ---- */

static void call(struct exchange *x, const char *method, const char *target, const char *body)
{
	assert_ok(exchange_open(x, method, INSTANCE, target));
	assert_ok(exchange_add_header(x, "Content-Type", "application/json"));
	x->service = SERVICE_ATTESTATION;
	x->tls = true;
	x->body.limit = x->reply.limit = EXCHANGE_BODY_LIMIT;
	assert_ok(buf_append_text(&x->body, body));
	for (const struct route *route = maa_routes; route->path; route++) {
		char first[32];
		snprintf(first, sizeof(first), "%.*s", (int)strcspn(route->path + 1, "/{"), route->path + 1);
		if (strcmp(route->method, method) == 0 && strncmp(target + 1, first, strlen(first)) == 0)
			x->route = route;
	}
	assert_non_null(x->route);
	assert_ok(x->route->handle(&emulator, x));
}

static void ask(struct exchange *x, const struct question *q)
{
	auto_buf body = BUF(MAA_REQUEST_LIMIT);
	make_body(q, &body);
	call(x, "POST", ATTEST, buf_text(&body));
}

static void assert_reply(const struct exchange *x, int status, const char *code, const char *words)
{
	if (x->status != status || !strstr(buf_text(&x->reply), code) || !strstr(buf_text(&x->reply), words))
		fail_msg("%d %s, not %d with %s and \"%s\"", x->status, buf_text(&x->reply), status, code, words);
}

/* The question is answered with 400 InvalidParameter and these words. */
static void assert_invalid(const struct question *q, const char *words)
{
	auto_exchange x = {0};
	ask(&x, q);
	assert_reply(&x, 400, "\"InvalidParameter\"", words);
}

/* The token of a question that is answered. */
static void take_token(const struct question *q, struct buf *out)
{
	auto_exchange x = {0};
	auto_json *answer = NULL;
	ask(&x, q);
	if (x.status != 200)
		fail_msg("%d %s", x.status, buf_text(&x.reply));
	assert_ok(json_parse(x.reply.data, x.reply.len, &answer));
	out->limit = MAA_REQUEST_LIMIT;
	assert_ok(buf_append_text(out, json_string_or_null(answer, "token")));
}

static json *claims_of(const struct question *q)
{
	auto_buf token = BUF(0);
	json *claims = NULL;
	take_token(q, &token);
	assert_ok(maa_token_claims(&emulator, buf_text(&token), &claims));
	return claims;
}

static void assert_claim(const json *claims, const char *name, const char *value)
{
	const char *found = json_string_or_null(claims, name);
	if (!found || strcmp(found, value) != 0)
		fail_msg("%s is %s, not %s", name, found ? found : "absent", value);
}

static int64_t number_claim(const json *claims, const char *name)
{
	int64_t value = -1;
	assert_ok(json_integer(claims, name, false, &value));
	return value;
}

/* ---- what is attested ---- */

static void a_container_gets_the_claims_of_the_reference(void **state)
{
	(void)state;
	auto_json *claims = claims_of(&(struct question){0});
	assert_claim(claims, "iss", "https://" INSTANCE);
	assert_claim(claims, "x-ms-attestation-type", "sevsnpvm");
	assert_claim(claims, "x-ms-compliance-status", "azure-compliant-uvm");
	assert_claim(claims, "x-ms-ver", "1.0");
	assert_claim(claims, "x-ms-sevsnpvm-familyId", "01000000000000000000000000000000");
	assert_claim(claims, "x-ms-sevsnpvm-imageId", "02000000000000000000000000000000");
	assert_int_equal(number_claim(claims, "x-ms-sevsnpvm-bootloader-svn"), 3);
	assert_int_equal(number_claim(claims, "x-ms-sevsnpvm-microcode-svn"), 115);
	assert_int_equal(number_claim(claims, "x-ms-sevsnpvm-snpfw-svn"), 8);
	assert_int_equal(number_claim(claims, "x-ms-sevsnpvm-tee-svn"), 0);
	assert_int_equal(number_claim(claims, "x-ms-sevsnpvm-guestsvn"), 2);
	assert_int_equal(number_claim(claims, "x-ms-sevsnpvm-vmpl"), 0);
	assert_false(json_bool(claims, "x-ms-sevsnpvm-is-debuggable", true));
	assert_true(json_bool(claims, "x-ms-sevsnpvm-smt-allowed", false));
	assert_int_equal(number_claim(claims, "exp") - number_claim(claims, "iat"), 28800);
	assert_int_equal(number_claim(claims, "nbf"), number_claim(claims, "iat"));
	assert_int_equal(strlen(json_string_or_null(claims, "jti")), 64);
	assert_int_equal(strlen(json_string_or_null(claims, "x-ms-policy-hash")), 43);
	assert_null(json_get(claims, "nonce"));
	assert_null(json_get(claims, "aud"));
	const json *endorsement = json_get(claims, "x-ms-sevsnpvm-uvm-endorsement");
	assert_claim(endorsement, "x-ms-sevsnpvm-guestsvn", "100");
	assert_claim(endorsement, "x-ms-sevsnpvm-launchmeasurement",
	             json_string_or_null(claims, "x-ms-sevsnpvm-launchmeasurement"));
}

static void claims_and_runtime_data_come_back_sorted(void **state)
{
	(void)state;
	auto_buf token = BUF(0);
	auto_jws jws = {0};
	take_token(&(struct question){0}, &token);
	assert_ok(jws_parse(buf_text(&token), token.len, &jws));
	assert_non_null(
	    strstr(buf_text(&jws.payload_bytes),
	           "\"x-ms-runtime\":{\"extra\":\"b\",\"keys\":[{\"e\":\"AQAB\",\"kty\":\"RSA\",\"n\":\"AQ\"}]}"));
	assert_ok(jws_payload(&jws));
	const char *before = "";
	for (const json *claim = json_first(jws.payload); claim; claim = json_next(claim)) {
		assert_true(strcmp(before, json_name(claim)) < 0);
		before = json_name(claim);
	}
}

static void every_spelling_of_base64_is_understood(void **state)
{
	(void)state;
	auto_json *unpadded = claims_of(&(struct question){0}),
	          *padded = claims_of(&(struct question){.standard = true});
	assert_claim(padded, "x-ms-sevsnpvm-reportdata", json_string_or_null(unpadded, "x-ms-sevsnpvm-reportdata"));
}

static void a_nonce_keeps_its_digits(void **state)
{
	static const struct {
		const char *tail, *nonce;
	} rows[] = {
	    {",\"nonce\":18446744073709551615", "18446744073709551615"},
	    {",\"nonce\" : 3413764049005270139 ", "3413764049005270139"},
	    {",\"nonce\":0", "0"},
	    {",\"nonce\":\"a \\\"b\\\"\"", "a \"b\""},
	    {",\"x\":{\"nonce\":5},\"y\":\"\\\"nonce\\\":7\",\"nonce\":9", "9"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_json *claims = claims_of(&(struct question){.tail = rows[i].tail});
		assert_claim(claims, "nonce", rows[i].nonce);
	}
}

static void an_empty_init_time_is_none_and_a_real_one_binds_host_data(void **state)
{
	(void)state;
	auto_json *none = claims_of(&(struct question){.tail = ",\"initTimeData\":{\"data\":\"\",\"dataType\":\"\"}"});
	assert_null(json_get(none, "x-ms-inittime"));

	assert_ok(change("{\"security_policy\":\"{\\\"b\\\":1}\"}"));
	auto_json *given =
	    claims_of(&(struct question){.tail = ",\"initTimeData\":{\"data\":\"eyJiIjoxfQ\",\"dataType\":\"JSON\"}"});
	assert_int_equal(number_claim(json_get(given, "x-ms-inittime"), "b"), 1);
	assert_invalid(&(struct question){.tail = ",\"initTimeData\":{\"data\":\"eyJiIjoyfQ\",\"dataType\":\"JSON\"}"},
	               "host data is not SHA-256");
}

static void binary_runtime_data_binds_but_makes_no_claim(void **state)
{
	(void)state;
	auto_json *claims = claims_of(&(struct question){.runtime = "not JSON", .data_type = "Binary"});
	assert_null(json_get(claims, "x-ms-runtime"));
}

static void compliance_comes_from_the_endorsements_feed(void **state)
{
	(void)state;
	assert_ok(change("{\"feed\":\"ConfAKS-AMD-UVM\",\"svn\":1}"));
	auto_json *kata = claims_of(&(struct question){0});
	assert_claim(kata, "x-ms-compliance-status", "azure-signed-katacc-uvm");
	assert_ok(change("{\"feed\":\"Somebody-Else\"}"));
	auto_json *other = claims_of(&(struct question){0});
	assert_null(json_get(other, "x-ms-compliance-status"));
	auto_json *none = claims_of(&(struct question){.endorsement = ""});
	assert_null(json_get(none, "x-ms-compliance-status"));
	assert_null(json_get(none, "x-ms-sevsnpvm-uvm-endorsement"));
}

static void a_debuggable_guest_is_told_from_others(void **state)
{
	(void)state;
	assert_ok(change("{\"debug\":true}"));
	auto_json *claims = claims_of(&(struct question){0});
	assert_true(json_bool(claims, "x-ms-sevsnpvm-is-debuggable", false));
}

/* ---- what is refused (A-01) ---- */

static void evidence_that_does_not_hold_is_refused_in_words(void **state)
{
	(void)state;
	auto_buf fresh = BUF(PEM_LIMIT);
	fresh_report(&(struct question){.runtime = "{\"other\":1}"}, &fresh);
	assert_invalid(&(struct question){.report = buf_text(&fresh)},
	               "does not begin with SHA-256 of the runtime data");
	assert_invalid(&(struct question){.report = "AAAA"}, "3 bytes, not 1184");
	assert_invalid(&(struct question){.chain = "AAAA"}, "VcekCertChain: no PEM certificates");
	assert_invalid(&(struct question){.endorsement = "AAAA"}, "where a tag was expected");
	assert_invalid(&(struct question){.runtime = "[1]"}, "runtimeData is not a JSON object");
	assert_invalid(&(struct question){.runtime = "{\"a\":1,\"a\":2}"}, "runtimeData");
	assert_invalid(&(struct question){.data_type = "Text"}, "dataType is neither JSON nor Binary");
}

static void a_tampered_report_is_refused(void **state)
{
	(void)state;
	auto_buf text = BUF(PEM_LIMIT), report = BUF(PEM_LIMIT), changed = BUF(PEM_LIMIT);
	fresh_report(&(struct question){0}, &text);
	assert_ok(base64url_decode(buf_text(&text), text.len, &report));
	report.data[REPORT_POLICY + 2] ^= 8; /* debug */
	assert_ok(base64url_encode(report.data, report.len, &changed));
	assert_invalid(&(struct question){.report = buf_text(&changed)}, "signature of the SNP report does not verify");
}

static void certificates_of_another_tcb_are_refused(void **state)
{
	(void)state;
	assert_ok(change("{\"thim_tcb\":{\"snp\":7}}"));
	assert_invalid(&(struct question){0}, "the report's TCB has SNP 8, the VCEK is for 7");
}

static void an_endorsement_of_another_measurement_is_refused(void **state)
{
	(void)state;
	char settings[160] = "", digits[97] = "";
	memset(digits, 'b', 96);
	snprintf(settings, sizeof(settings), "{\"endorsed_measurement\":\"%s\"}", digits);
	assert_ok(change(settings));
	assert_invalid(&(struct question){0}, "another launch measurement");
	snprintf(settings, sizeof(settings), "{\"measurement\":\"%s\"}", digits);
	assert_ok(change(settings));
	auto_json *claims = claims_of(&(struct question){0});
	assert_claim(claims, "x-ms-sevsnpvm-launchmeasurement", digits);
}

/* The published evidence of a real container group. */
static void real_evidence_is_attested_only_when_told(void **state)
{
	(void)state;
	auto_buf report = BUF(PEM_LIMIT), chain = BUF(PEM_LIMIT), endorsement = BUF(PEM_LIMIT), runtime = BUF(4096);
	auto_buf report_text = BUF(PEM_LIMIT), chain_text = BUF(PEM_LIMIT), endorsement_text = BUF(PEM_LIMIT);
	read_data("snp/milan-v2-aci/report.bin", &report);
	read_data("snp/milan-v2-aci/chain-vcek-ask-ark.pem", &chain);
	read_data("snp/milan-v2-aci/reference-info.cose", &endorsement);
	read_data("snp/milan-v2-aci/runtime-data.json", &runtime);
	assert_ok(base64url_encode(report.data, report.len, &report_text));
	assert_ok(base64url_encode(chain.data, chain.len, &chain_text));
	assert_ok(base64_encode(endorsement.data, endorsement.len, &endorsement_text));
	const struct question real = {.runtime = buf_text(&runtime),
	                              .data_type = "Binary",
	                              .report = buf_text(&report_text),
	                              .chain = buf_text(&chain_text),
	                              .endorsement = buf_text(&endorsement_text)};
	assert_invalid(&real, "was not told to accept it");
	assert_ok(change("{\"accept_real_amd\":true}"));
	auto_json *claims = claims_of(&real);
	assert_claim(claims, "x-ms-compliance-status", "azure-compliant-uvm");
	assert_claim(json_get(claims, "x-ms-sevsnpvm-uvm-endorsement"), "x-ms-sevsnpvm-guestsvn", "22");
}

static void bodies_that_are_no_request_are_refused_in_words(void **state)
{
	static const struct {
		const char *body, *words;
	} rows[] = {
	    {"", "the request"},
	    {"[]", "not a JSON object"},
	    {"{}", "report"},
	    {"{\"report\":7}", "report"},
	    {"{\"report\":\"!\"}", "report"},
	    {"{\"report\":\"e30\"}", "SnpReport"},
	    {"{\"report\":\"eyJTbnBSZXBvcnQiOiIifQ\"}", "VcekCertChain"},
	    {"{\"nonce\":", "the request"},
	    {"{\"nonce\":1", "the request"},
	    {"{\"nonce\":1e99}", "the request"},
	    {"{\"nonce", "the request"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_exchange x = {0};
		call(&x, "POST", ATTEST, rows[i].body);
		assert_reply(&x, 400, "\"InvalidParameter\"", rows[i].words);
	}
}

static void types_and_versions_that_are_not_served_are_named(void **state)
{
	static const struct {
		const char *target;
		int status;
		const char *words;
	} rows[] = {
	    {"/attest/SevSnpVm", 400, "api-version is missing"},
	    {"/attest/SevSnpVm?api-version=2019-01-01", 400, "2019-01-01 is not served"},
	    {"/attest/TdxVm?api-version=2022-08-01", 400, "2022-08-01 does not have TdxVm"},
	    {"/attest/TdxVm?api-version=2023-04-01-preview", 400, "quote"},
	    {"/attest/SgxEnclave?api-version=2020-10-01", 400, "SgxEnclave evidence is not played"},
	    {"/attest/Nothing?api-version=2020-10-01", 404, "no attestation type Nothing"},
	    {"/attest/SEVSNPVM?api-version=2020-10-01", 400, "report"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_exchange x = {0};
		call(&x, "POST", rows[i].target, "{}");
		assert_reply(&x, rows[i].status, "code", rows[i].words);
	}
}

/* ---- TDs ---- */

#define ATTEST_TD "/attest/TdxVm?api-version=2025-06-01"
#define PARAVISOR                                                                                     \
	"{\"keys\":[{\"kid\":\"HCLAkPub\",\"key_ops\":[\"sign\"]},{\"kid\":\"HCLEkPub\",\"key_ops\":" \
	"[\"encrypt\"]}],\"vm-configuration\":{\"secure-boot\":true},\"user-data\":\"00\"}"

/* The quote that binds `runtime`, as the metadata service gives it. */
static void fresh_quote(const char *runtime, unsigned version, struct buf *out)
{
	uint8_t report_data[64] = {0}, report[TD_REPORT_BYTES];
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	assert_ok(sha256(runtime, strlen(runtime), report_data));
	assert_ok(intel_td_report(&emulator, report_data, report));
	assert_ok(intel_quote(&emulator, report, version, &quote));
	assert_ok(base64url_encode(quote.data, quote.len, out));
}

/* `data`: the member runtimeData, or "". */
static void ask_td(struct exchange *x, const char *quote, const char *data)
{
	auto_buf body = BUF(MAA_REQUEST_LIMIT);
	assert_ok(buf_printf(&body, "{\"quote\":\"%s\"%s}", quote, data));
	call(x, "POST", ATTEST_TD, buf_text(&body));
}

static void runtime_member(const char *runtime, const char *type, struct buf *out)
{
	assert_ok(buf_append_text(out, ",\"runtimeData\":{\"data\":\""));
	assert_ok(base64url_encode(runtime, strlen(runtime), out));
	assert_ok(buf_printf(out, "\",\"dataType\":\"%s\"}", type));
}

static json *claims_of_answer(const struct exchange *x)
{
	auto_json *answer = NULL;
	json *claims = NULL;
	if (x->status != 200)
		fail_msg("%d %s", x->status, buf_text(&x->reply));
	assert_ok(json_parse(x->reply.data, x->reply.len, &answer));
	assert_ok(maa_token_claims(&emulator, json_string_or_null(answer, "token"), &claims));
	return claims;
}

static json *td_claims(const char *runtime, const char *type, unsigned version)
{
	auto_exchange x = {0};
	auto_buf quote = BUF(PEM_LIMIT), data = BUF(PEM_LIMIT);
	fresh_quote(runtime, version, &quote);
	runtime_member(runtime, type, &data);
	ask_td(&x, buf_text(&quote), buf_text(&data));
	return claims_of_answer(&x);
}

static void a_paravisors_td_is_a_compliant_confidential_vm(void **state)
{
	(void)state;
	for (unsigned version = 4; version <= 5; version++) {
		auto_json *claims = td_claims(PARAVISOR, "JSON", version);
		assert_claim(claims, "x-ms-attestation-type", "tdxvm");
		assert_claim(claims, "x-ms-compliance-status", "azure-compliant-cvm");
		assert_claim(claims, "attester_tcb_status", "UpToDate");
		assert_claim(claims, "x-ms-ver", "1.0");
		assert_claim(claims, "iss", "https://" INSTANCE);
		assert_int_equal(json_count(json_get(json_get(claims, "x-ms-runtime"), "keys")), 2);
		assert_claim(json_get(claims, "x-ms-runtime"), "user-data", "00");
	}
}

static void other_tds_are_attested_without_a_compliance_status(void **state)
{
	(void)state;
	auto_json *own = td_claims(RUNTIME, "JSON", 5);
	assert_null(json_get(own, "x-ms-compliance-status"));
	assert_non_null(json_get(own, "x-ms-runtime"));
	auto_json *binary = td_claims("\1\2\3", "Binary", 4);
	assert_null(json_get(binary, "x-ms-runtime"));
	assert_ok(change("{\"td_debug\":true}"));
	auto_json *debug = td_claims(PARAVISOR, "JSON", 4);
	assert_ok(change("{\"td_debug\":false}"));
	assert_null(json_get(debug, "x-ms-compliance-status"));
	assert_claim(debug, "dbgstat", "enabled");
	assert_true(json_bool(debug, "tdx_td_attributes_debug", false));
}

/* A client's platform attestation binds nothing. */
static void empty_runtime_data_makes_no_claim(void **state)
{
	static const char *const members[] = {"", ",\"runtimeData\":null",
	                                      ",\"runtimeData\":{\"data\":\"\",\"dataType\":\"JSON\"}",
	                                      ",\"runtimeData\":{\"data\":\"\",\"dataType\":\"Binary\"}",
	                                      ",\"runtimeData\":{\"data\":\"\",\"dataType\":\"\"}"};
	(void)state;
	auto_buf quote = BUF(PEM_LIMIT);
	fresh_quote(PARAVISOR, 4, &quote);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		auto_exchange x = {0};
		ask_td(&x, buf_text(&quote), members[i]);
		auto_json *claims = claims_of_answer(&x);
		assert_claim(claims, "x-ms-attestation-type", "tdxvm");
		assert_null(json_get(claims, "x-ms-runtime"));
		assert_null(json_get(claims, "x-ms-compliance-status"));
	}
}

static void td_evidence_that_does_not_hold_is_refused_in_words(void **state)
{
	static const struct {
		const char *runtime, *type, *words;
	} rows[] = {{"{\"other\":1}", "JSON", "does not begin with SHA-256 of the runtime data"},
	            {"{\"other\":1}", "Binary", "does not begin with SHA-256 of the runtime data"},
	            {"[1]", "JSON", "runtimeData is not a JSON object"},
	            {PARAVISOR, "Text", "dataType is neither JSON nor Binary"}};
	(void)state;
	auto_buf quote = BUF(PEM_LIMIT);
	fresh_quote(PARAVISOR, 4, &quote);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_exchange x = {0};
		auto_buf data = BUF(PEM_LIMIT);
		runtime_member(rows[i].runtime, rows[i].type, &data);
		ask_td(&x, buf_text(&quote), buf_text(&data));
		assert_reply(&x, 400, "\"InvalidParameter\"", rows[i].words);
	}
	auto_exchange none = {0}, init = {0};
	ask_td(&none, "AAAA", "");
	assert_reply(&none, 400, "\"InvalidParameter\"", "the quote's version 0");
	ask_td(&init, buf_text(&quote), ",\"initTimeData\":{\"data\":\"e30\",\"dataType\":\"JSON\"}");
	assert_reply(&init, 400, "\"InvalidParameter\"", "initTimeData");
}

static void a_real_td_is_attested_only_when_told(void **state)
{
	(void)state;
	auto_buf quote = BUF(PEM_LIMIT), text = BUF(PEM_LIMIT), hcl = BUF(PEM_LIMIT), data = BUF(PEM_LIMIT);
	read_data("cvm/tdx-with-quote/td-quote.bin", &quote);
	read_data("cvm/tdx-with-quote/hcl-report.bin", &hcl);
	assert_ok(base64url_encode(quote.data, quote.len, &text));
	const char *runtime = (const char *)hcl.data + 32 + 1184 + 20;
	runtime_member(runtime, "JSON", &data);

	auto_exchange refused = {0}, accepted = {0};
	ask_td(&refused, buf_text(&text), buf_text(&data));
	assert_reply(&refused, 400, "\"InvalidParameter\"", "was not told to accept it");
	assert_ok(change("{\"accept_real_intel\":true}"));
	ask_td(&accepted, buf_text(&text), buf_text(&data));
	assert_ok(change("{\"accept_real_intel\":false}"));
	auto_json *claims = claims_of_answer(&accepted);
	assert_claim(claims, "x-ms-compliance-status", "azure-compliant-cvm");
	assert_claim(claims, "tdx_tee_tcb_svn", "02010600000000000000000000000000");
}

/* ---- confidential VMs on AMD, by the report alone ---- */

#define SIGNER_OF_PARAVISOR                                     \
	"{\"id_key_digest\":\"0356215882a825279a85b300b0b74293" \
	"1d113bf7e32dde2e50ffde7ec743ca491ecdd7f336dc28a6e0b2bb57af7a44a3\"}"
#define NO_SIGNER                                               \
	"{\"id_key_digest\":\"00000000000000000000000000000000" \
	"0000000000000000000000000000000000000000000000000000000000000000\"}"

static void a_paravisors_report_is_a_compliant_confidential_vm(void **state)
{
	(void)state;
	assert_ok(change(SIGNER_OF_PARAVISOR));
	auto_json *good = claims_of(&(struct question){.runtime = PARAVISOR, .endorsement = ""});
	auto_json *other = claims_of(&(struct question){.runtime = RUNTIME, .endorsement = ""});
	assert_ok(change("{\"debug\":true}"));
	auto_json *debug = claims_of(&(struct question){.runtime = PARAVISOR, .endorsement = ""});
	assert_ok(change("{\"debug\":false}"));
	assert_ok(change(NO_SIGNER));
	auto_json *unsigned_image = claims_of(&(struct question){.runtime = PARAVISOR, .endorsement = ""});

	assert_claim(good, "x-ms-attestation-type", "sevsnpvm");
	assert_claim(good, "x-ms-compliance-status", "azure-compliant-cvm");
	assert_int_equal(json_count(json_get(json_get(good, "x-ms-runtime"), "keys")), 2);
	assert_null(json_get(other, "x-ms-compliance-status"));
	assert_null(json_get(debug, "x-ms-compliance-status"));
	assert_null(json_get(unsigned_image, "x-ms-compliance-status"));
}

/* What a container's guest may choose does not make it a confidential VM. */
static void an_endorsed_container_stays_one(void **state)
{
	(void)state;
	assert_ok(change(SIGNER_OF_PARAVISOR));
	auto_json *claims = claims_of(&(struct question){.runtime = PARAVISOR});
	assert_ok(change("{\"feed\":\"Another\"}"));
	auto_json *another = claims_of(&(struct question){.runtime = PARAVISOR});
	assert_ok(change(NO_SIGNER));
	assert_claim(claims, "x-ms-compliance-status", "azure-compliant-uvm");
	assert_null(json_get(another, "x-ms-compliance-status"));
}

/* ---- draft policies ---- */

static void a_draft_policys_token_is_signed_by_nobody(void **state)
{
	(void)state;
	auto_buf token = BUF(0);
	json *claims = NULL;
	take_token(&(struct question){.tail = ",\"draftPolicyForAttestation\":\"version= 1.0; authorizationrules "
	                                      "{ => permit(); }; issuancerules {};\""},
	           &token);
	assert_int_equal(buf_text(&token)[token.len - 1], '.');
	assert_memory_equal(token.data, "eyJhbGciOiJub25lI", 17); /* {"alg":"none" */
	assert_int_not_equal(maa_token_claims(&emulator, buf_text(&token), &claims).failure, 0);
	assert_null(claims);
}

static void a_draft_policy_can_refuse(void **state)
{
	static const struct {
		const char *tail, *code;
	} rows[] = {
	    {",\"draftPolicyForAttestation\":\"permit\"", "PolicyParsingError"},
	    {",\"draftPolicyForAttestation\":\"version= 1.0; authorizationrules { => deny(); };\"",
	     "PolicyEvaluationError"},
	};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		auto_exchange x = {0};
		ask(&x, &(struct question){.tail = rows[i].tail});
		assert_reply(&x, 400, rows[i].code, "message");
	}
}

/* ---- tokens, as others check them ---- */

/* A key that /certs publishes, by its x5c. */
static EVP_PKEY *published_key(const char *kid, bool *ret_has_numbers, size_t *ret_count)
{
	auto_exchange x = {0};
	auto_json *answer = NULL;
	EVP_PKEY *key = NULL;
	call(&x, "GET", "/certs", "");
	assert_int_equal(x.status, 200);
	assert_ok(json_parse(x.reply.data, x.reply.len, &answer));
	const json *keys = json_get(answer, "keys");
	*ret_count = json_count(keys);
	for (const json *jwk = json_first(keys); jwk; jwk = json_next(jwk)) {
		if (strcmp(json_string_or_null(jwk, "kid"), kid) != 0)
			continue;
		const char *text = json_text(json_first(json_get(jwk, "x5c")));
		auto_buf der = BUF(PEM_LIMIT);
		auto_x509 *certificate = NULL;
		assert_ok(base64_decode(text, strlen(text), &der));
		assert_ok(certificate_from_der(der.data, der.len, &certificate));
		key = X509_get_pubkey(certificate);
		*ret_has_numbers = json_get(jwk, "n") && json_get(jwk, "e");
	}
	return key;
}

static void a_token_verifies_with_the_published_certificate(void **state)
{
	(void)state;
	auto_buf token = BUF(0);
	auto_jws jws = {0};
	bool numbers;
	size_t count;
	take_token(&(struct question){0}, &token);
	assert_ok(jws_parse(buf_text(&token), token.len, &jws));
	assert_claim(jws.header, "alg", "RS256");
	assert_claim(jws.header, "typ", "JWT");
	assert_claim(jws.header, "jku", "https://" INSTANCE "/certs");
	const char *kid = json_string_or_null(jws.header, "kid");
	assert_int_equal(strlen(kid), 44);

	auto_pkey *key = published_key(kid, &numbers, &count);
	assert_non_null(key);
	assert_false(numbers);
	assert_int_equal(count, 2);
	assert_ok(jws_verify_with_key(&jws, key));
	assert_ok(change("{\"certs_with_numbers\":true}"));
	auto_pkey *again = published_key(kid, &numbers, &count);
	assert_true(numbers);
	assert_int_equal(EVP_PKEY_eq(key, again), 1);
}

static void keys_outlive_a_restart(void **state)
{
	(void)state;
	auto_buf token = BUF(0);
	json *claims = NULL;
	take_token(&(struct question){0}, &token);
	maa_close(&emulator);
	assert_ok(maa_open(&emulator));
	assert_ok(maa_token_claims(&emulator, buf_text(&token), &claims));
	json_free(claims);
}

/* A-04 on the vault's side of it. */
static void tokens_that_are_not_ours_are_refused(void **state)
{
	(void)state;
	auto_buf token = BUF(0);
	json *claims = NULL;
	take_token(&(struct question){0}, &token);
	char *text = (char *)token.data, *signature = strrchr(text, '.') + 1;

	signature[10] = signature[10] == 'A' ? 'B' : 'A';
	assert_refused(maa_token_claims(&emulator, text, &claims), 340, "");
	assert_refused(maa_token_claims(&emulator, "", &claims), 340, "");
	assert_refused(maa_token_claims(&emulator, "a.b.c", &claims), 340, "");
	assert_null(claims);
}

static void a_strangers_signature_is_refused(void **state)
{
	(void)state;
	auto_exchange x = {.signer = LEAF_UNKNOWN_CA};
	auto_buf body = BUF(MAA_REQUEST_LIMIT);
	auto_json *answer = NULL;
	json *claims = NULL;
	make_body(&(struct question){0}, &body);
	call(&x, "POST", ATTEST, buf_text(&body));
	assert_ok(json_parse(x.reply.data, x.reply.len, &answer));
	assert_refused(maa_token_claims(&emulator, json_string_or_null(answer, "token"), &claims), 340, "");
}

static void a_token_lives_as_long_as_the_settings_say(void **state)
{
	(void)state;
	auto_buf token = BUF(0);
	json *claims = NULL;
	assert_ok(change("{\"token_lifetime\":60}"));
	take_token(&(struct question){0}, &token);
	assert_ok(maa_token_claims(&emulator, buf_text(&token), &claims));
	json_free(claims);
	claims = NULL;
	atomic_store(&emulator.clock_offset, 61);
	assert_refused(maa_token_claims(&emulator, buf_text(&token), &claims), 340, "expired");
	atomic_store(&emulator.clock_offset, -60);
	assert_refused(maa_token_claims(&emulator, buf_text(&token), &claims), 340, "not valid before");
}

/* A token with another issuer under the right key of the instance that signed it. */
static void an_issuer_that_is_no_instance_is_refused(void **state)
{
	static const char *const issuers[] = {"https://sharedemu.attest.localhost:8443/",
	                                      "http://sharedemu.attest.localhost:8443", "https://evil.example",
	                                      "https://other.attest.localhost:8443", "https://"};
	(void)state;
	for (size_t i = 0; i < sizeof(issuers) / sizeof(issuers[0]); i++) {
		auto_buf token = BUF(0), forged = BUF(MAA_REQUEST_LIMIT), text = BUF(MAA_REQUEST_LIMIT);
		auto_jws jws = {0};
		auto_pkey *key = NULL;
		json *claims = NULL;
		take_token(&(struct question){0}, &token);
		assert_ok(jws_parse(buf_text(&token), token.len, &jws));
		assert_ok(jws_payload(&jws));
		assert_ok(emulator_key(&emulator, "maa-sharedemu.attest.localhost-1.key", 2048, NULL, &key));
		json_set_string(jws.payload, "iss", issuers[i]);
		assert_ok(json_print(jws.payload, &text));
		assert_ok(jws_sign(jws.header, text.data, text.len, key, &forged));
		assert_refused(maa_token_claims(&emulator, buf_text(&forged), &claims), 340, "");
	}
}

static void metadata_and_policy_name_this_instance(void **state)
{
	(void)state;
	auto_exchange metadata = {0}, policy = {0}, unknown = {0};
	call(&metadata, "GET", "/.well-known/openid-configuration", "");
	assert_reply(&metadata, 200, "\"issuer\":\"https://" INSTANCE "\"",
	             "\"jwks_uri\":\"https://" INSTANCE "/certs\"");
	call(&policy, "GET", "/policies/SevSnpVm?api-version=2020-10-01", "");
	assert_reply(&policy, 200, "\"token\":\"", "");
	call(&unknown, "GET", "/policies/Nothing?api-version=2020-10-01", "");
	assert_reply(&unknown, 404, "NotFound", "");
}

int main(void)
{
#define MACHINE_TEST(test) cmocka_unit_test_setup(test, default_machine)
	const struct CMUnitTest tests[] = {
	    MACHINE_TEST(a_container_gets_the_claims_of_the_reference),
	    MACHINE_TEST(claims_and_runtime_data_come_back_sorted),
	    MACHINE_TEST(every_spelling_of_base64_is_understood),
	    MACHINE_TEST(a_nonce_keeps_its_digits),
	    MACHINE_TEST(an_empty_init_time_is_none_and_a_real_one_binds_host_data),
	    MACHINE_TEST(binary_runtime_data_binds_but_makes_no_claim),
	    MACHINE_TEST(compliance_comes_from_the_endorsements_feed),
	    MACHINE_TEST(a_debuggable_guest_is_told_from_others),
	    MACHINE_TEST(evidence_that_does_not_hold_is_refused_in_words),
	    MACHINE_TEST(a_tampered_report_is_refused),
	    MACHINE_TEST(certificates_of_another_tcb_are_refused),
	    MACHINE_TEST(an_endorsement_of_another_measurement_is_refused),
	    MACHINE_TEST(real_evidence_is_attested_only_when_told),
	    MACHINE_TEST(bodies_that_are_no_request_are_refused_in_words),
	    MACHINE_TEST(types_and_versions_that_are_not_served_are_named),
	    MACHINE_TEST(a_paravisors_td_is_a_compliant_confidential_vm),
	    MACHINE_TEST(other_tds_are_attested_without_a_compliance_status),
	    MACHINE_TEST(empty_runtime_data_makes_no_claim),
	    MACHINE_TEST(td_evidence_that_does_not_hold_is_refused_in_words),
	    MACHINE_TEST(a_real_td_is_attested_only_when_told),
	    MACHINE_TEST(a_paravisors_report_is_a_compliant_confidential_vm),
	    MACHINE_TEST(an_endorsed_container_stays_one),
	    MACHINE_TEST(a_draft_policys_token_is_signed_by_nobody),
	    MACHINE_TEST(a_draft_policy_can_refuse),
	    MACHINE_TEST(a_token_verifies_with_the_published_certificate),
	    MACHINE_TEST(keys_outlive_a_restart),
	    MACHINE_TEST(tokens_that_are_not_ours_are_refused),
	    MACHINE_TEST(a_strangers_signature_is_refused),
	    MACHINE_TEST(a_token_lives_as_long_as_the_settings_say),
	    MACHINE_TEST(an_issuer_that_is_no_instance_is_refused),
	    MACHINE_TEST(metadata_and_policy_name_this_instance),
	};
	return cmocka_run_group_tests(tests, open_maa, close_maa);
}
