/* SPDX-License-Identifier: Apache-2.0 */
/* What goes to the attestation service, and what is taken from it: rows. */
#include "azure/attestation.h"

#include "jose/jws.h"
#include "surroundings.h"

#define RUNTIME "{\"keys\":[{\"e\":\"AQAB\",\"key_ops\":[\"encrypt\"],\"kid\":\"k-1\",\"kty\":\"RSA\",\"n\":\"AAA\"}]}"

/* ---- the body ---- */

static const json *decoded(const json *object, const char *name, json **parsed, struct buf *text)
{
	const char *value = json_string_or_null(object, name);

	assert_non_null(value);
	assert_int_equal(base64url_decode(value, strlen(value), text).failure, 0); /* unpadded */
	if (parsed)
		assert_int_equal(json_parse(text->data, text->len, parsed).failure, 0);
	return parsed ? *parsed : NULL;
}

static void the_body_is_as_maa_wants_it(void **state)
{
	(void)state;
	auto_buf report = BUF(2000), chain = BUF(200), uvm = BUF(200), runtime = BUF(512), body = BUF(64 * 1024);
	auto_buf text = BUF(64 * 1024), data = BUF(64 * 1024), part = BUF(64 * 1024), cose = BUF(1024);
	auto_json *parsed = NULL, *inner = NULL, *endorsements = NULL;
	uint8_t bytes[1184];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + 251);
	assert_int_equal(buf_append(&report, bytes, sizeof(bytes)).failure, 0);
	assert_int_equal(buf_append_text(&chain, "-----BEGIN CERTIFICATE-----\n").failure, 0);
	assert_int_equal(buf_append(&uvm, "\xd2\x84\xff", 3).failure, 0);
	assert_int_equal(buf_append_text(&runtime, RUNTIME).failure, 0);
	struct attestation_evidence evidence = {&report, &chain, &uvm, &runtime};

	assert_int_equal(attestation_snp_print(&evidence, "no-nce", &body).failure, 0);
	assert_int_equal(json_parse(body.data, body.len, &parsed).failure, 0);
	assert_string_equal(json_string_or_null(parsed, "nonce"), "no-nce");
	const json *runtime_data = json_get(parsed, "runtimeData");
	assert_string_equal(json_string_or_null(runtime_data, "dataType"), "JSON");
	decoded(runtime_data, "data", NULL, &data);
	assert_string_equal(buf_text(&data), RUNTIME);
	decoded(parsed, "report", &inner, &text);
	decoded(inner, "SnpReport", NULL, &part);
	assert_int_equal(part.len, sizeof(bytes));
	assert_memory_equal(part.data, bytes, sizeof(bytes));
	buf_clear(&part);
	decoded(inner, "VcekCertChain", NULL, &part);
	assert_string_equal(buf_text(&part), buf_text(&chain));
	buf_clear(&part);
	decoded(inner, "Endorsements", &endorsements, &part);
	const char *first = json_text(json_first(json_get(endorsements, "Uvm")));
	assert_int_equal(base64url_decode(first, strlen(first), &cose).failure, 0);
	assert_memory_equal(cose.data, "\xd2\x84\xff", 3);

	buf_clear(&uvm);
	buf_clear(&body);
	buf_clear(&text);
	json_free(TAKE(parsed));
	json_free(TAKE(inner));
	assert_int_equal(attestation_snp_print(&evidence, "no-nce", &body).failure, 0);
	assert_int_equal(json_parse(body.data, body.len, &parsed).failure, 0);
	decoded(parsed, "report", &inner, &text);
	assert_null(json_get(inner, "Endorsements"));
	assert_int_equal(json_count(parsed), 3);
}

static void a_quote_goes_as_it_came(void **state)
{
	(void)state;
	auto_buf quote = BUF(8 * 1024), runtime = BUF(512), body = BUF(64 * 1024), sent = BUF(8 * 1024),
	         data = BUF(512);
	auto_json *parsed = NULL;
	uint8_t bytes[5006] = {4, 0, 2, 0, 0x81}; /* zero bytes behind it, as Azure's quotes have them */

	assert_int_equal(buf_append(&quote, bytes, sizeof(bytes)).failure, 0);
	assert_int_equal(buf_append_text(&runtime, RUNTIME).failure, 0);
	struct attestation_td evidence = {&quote, &runtime};
	assert_int_equal(attestation_tdx_print(&evidence, "no-nce", &body).failure, 0);
	assert_int_equal(json_parse(body.data, body.len, &parsed).failure, 0);
	assert_int_equal(json_count(parsed), 3);
	assert_string_equal(json_string_or_null(parsed, "nonce"), "no-nce");
	decoded(parsed, "quote", NULL, &sent);
	assert_int_equal(sent.len, sizeof(bytes));
	assert_memory_equal(sent.data, bytes, sizeof(bytes));
	assert_string_equal(json_string_or_null(json_get(parsed, "runtimeData"), "dataType"), "JSON");
	decoded(json_get(parsed, "runtimeData"), "data", NULL, &data);
	assert_string_equal(buf_text(&data), RUNTIME);
}

/* ---- the look at the token: A-04 ---- */

#define CLAIMS(iss, nonce, keys, exp)                                                                      \
	"{\"iss\":\"" iss "\",\"nonce\":\"" nonce "\",\"x-ms-runtime\":{\"keys\":[" keys "]},\"exp\":" exp \
	",\"nbf\":1000}"
#define OURS  "{\"e\":\"AQAB\",\"kid\":\"k-1\",\"kty\":\"RSA\",\"n\":\"AAA\"}"
#define OTHER "{\"e\":\"AQAB\",\"kid\":\"k-1\",\"kty\":\"RSA\",\"n\":\"BBB\"}"
#define RS256 "{\"alg\":\"RS256\",\"jku\":\"https://127.0.0.1:1/certs\"}"

static const struct {
	const char *name, *header, *claims, *said;
} tokens[] = {
    {"good", RS256, CLAIMS("https://maa.example", "n", OURS, "5000"), NULL},
    {"slash at the end of iss", RS256, CLAIMS("https://maa.example/", "n", OURS, "5000"), NULL},
    {"ours is the second key", RS256, CLAIMS("https://maa.example", "n", OTHER "," OURS, "5000"), NULL},
    {"unsigned", "{\"alg\":\"none\"}", CLAIMS("https://maa.example", "n", OURS, "5000"), "alg"},
    {"secret-key signature", "{\"alg\":\"HS256\"}", CLAIMS("https://maa.example", "n", OURS, "5000"), "alg"},
    {"another instance", RS256, CLAIMS("https://maa.example.org", "n", OURS, "5000"), "iss"},
    {"no issuer", RS256, "{\"nonce\":\"n\"}", "iss"},
    {"another nonce", RS256, CLAIMS("https://maa.example", "m", OURS, "5000"), "nonce"},
    {"another key", RS256, CLAIMS("https://maa.example", "n", OTHER, "5000"), "x-ms-runtime"},
    {"no key", RS256, CLAIMS("https://maa.example", "n", "", "5000"), "x-ms-runtime"},
    {"expired", RS256, CLAIMS("https://maa.example", "n", OURS, "2000"), "exp"},
    {"no end", RS256, CLAIMS("https://maa.example", "n", OURS, "\"5000\""), "exp"},
    {"not yet valid", RS256,
     "{\"iss\":\"https://maa.example\",\"nonce\":\"n\",\"x-ms-runtime\":{\"keys\":[" OURS "]},"
     "\"exp\":9000,\"nbf\":8000}",
     "nbf"},
    {"no JSON", RS256, "hello", NULL},
};

static void tokens_that_are_not_for_us_are_refused_by_field(void **state)
{
	(void)state;
	auto_json *runtime = NULL;

	assert_int_equal(json_parse(RUNTIME, strlen(RUNTIME), &runtime).failure, 0);
	struct attestation_expectation expected = {
	    .instance = "https://maa.example", .nonce = "n", .runtime_data = runtime, .now = 2000};
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		auto_buf token = BUF(4096);
		bool good = i < 3;

		token_print(tokens[i].header, tokens[i].claims, &token);
		skr_status status = attestation_token_check(buf_text(&token), token.len, &expected);
		if (status.failure != (good ? 0 : 323) ||
		    (tokens[i].said && strncmp(status_message(), tokens[i].said, strlen(tokens[i].said)) != 0))
			fail_msg("%s: SKR-%d %s", tokens[i].name, status.failure, status_message());
	}
	/* What is looked for elsewhere, or not at all, is not looked for here; the rest is. */
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		struct attestation_expectation dates = {.instance = "https://maa.example", .now = 2000};
		const char *said = tokens[i].said;
		bool good = i < 3 || (said && (strcmp(said, "nonce") == 0 || strcmp(said, "x-ms-runtime") == 0));
		auto_buf token = BUF(4096);

		token_print(tokens[i].header, tokens[i].claims, &token);
		if (attestation_token_check(buf_text(&token), token.len, &dates).failure != (good ? 0 : 323))
			fail_msg("%s: %s", tokens[i].name, status_message());
	}
	assert_int_equal(attestation_token_check("a.b", 3, &expected).failure, 323);
	assert_int_equal(attestation_token_check("", 0, &expected).failure, 323);
}

/* ---- against a scripted service ---- */

static skr_status attest(const struct scene *scenes, size_t count, int *ret_requests)
{
	struct stage *stage = stage_open(scenes, count, true, 3000);
	auto_buf report = BUF(64), chain = BUF(64), uvm = BUF(64), runtime = BUF(512), token = BUF(4096);

	MUST(!buf_append_text(&report, "report").failure && !buf_append_text(&chain, "chain").failure);
	MUST(!buf_append_text(&runtime, RUNTIME).failure);
	struct attestation_evidence evidence = {&report, &chain, &uvm, &runtime};
	skr_status status = attestation_snp(&stage->azure, &evidence, &token);
	assert_non_null(
	    strstr(stage->server->requests[0], "POST /attest/SevSnpVm?api-version=2022-08-01 HTTP/1.1\r\n"));
	assert_null(strcasestr(stage->server->requests[0], "Authorization:"));
	assert_int_equal(token.len, 0);
	*ret_requests = stage->server->request_count;
	stage_close(stage);
	return status;
}

static void refusals_have_their_numbers(void **state)
{
	(void)state;
	static const struct {
		int http, failure;
		const char *said;
	} rows[] = {
	    {400, 320, "the attestation service answers 400: A Deny claim"},
	    {401, 321, "https://localhost:"},
	    {403, 321, NULL},
	    {404, 321, NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *reply = json_reply(
		    rows[i].http, "",
		    "{\"error\":{\"code\":\"PolicyEvaluationError\",\"message\":\"A Deny claim was issued\"}}");
		struct scene scene = {.reply = reply};
		int requests;

		skr_status status = attest(&scene, 1, &requests);
		expect_failure(status, rows[i].failure, rows[i].said);
		assert_int_equal(strncmp(status_message(), "evidence with SHA-256 ", 22) == 0, i == 0);
		assert_string_equal(status_last()->step, "attestation");
		assert_string_equal(status_last()->svc_code, "PolicyEvaluationError");
		assert_int_equal(requests, 1);
		free(reply);
	}
}

static void a_token_of_somebody_else_is_not_handed_on(void **state)
{
	(void)state;
	auto_buf token = BUF(4096), body = BUF(8192);
	int requests;

	token_print(RS256, CLAIMS("https://maa.example", "n", OURS, "32503680000"), &token);
	assert_int_equal(buf_printf(&body, "{\"token\":\"%s\"}", buf_text(&token)).failure, 0);
	char *wrong = json_reply(200, "", buf_text(&body)), *empty = json_reply(200, "", "{}");
	struct scene scenes[] = {{.reply = wrong}}, none[] = {{.reply = empty}};

	expect_failure(attest(scenes, 1, &requests), 323, "iss");
	assert_int_equal(requests, 1);
	expect_failure(attest(none, 1, &requests), 323, "token");
	free(wrong);
	free(empty);
}

typedef skr_status attest_fn(struct azure *azure, struct buf *ret_token);
static struct buf runtime_data, some_evidence;

static skr_status by_tdx(struct azure *azure, struct buf *ret_token)
{
	return attestation_tdx(azure, &(struct attestation_td){&some_evidence, &runtime_data}, ret_token);
}
static skr_status by_tdx_direct(struct azure *azure, struct buf *ret_token)
{
	return attestation_tdx_direct(azure, &(struct attestation_td){&some_evidence, &runtime_data}, ret_token);
}
static skr_status by_snp_direct(struct azure *azure, struct buf *ret_token)
{
	struct attestation_evidence evidence = {
	    .report = &some_evidence, .chain_pem = &some_evidence, .runtime_data = &runtime_data};
	return attestation_snp_direct(azure, &evidence, ret_token);
}

/* Each form has its route, and a token for another nonce is refused in each. */
static void every_form_has_its_route_and_its_nonce(void **state)
{
	(void)state;
	static const struct {
		attest_fn *attest;
		const char *route;
	} rows[] = {
	    {by_tdx, "POST /attest/TdxVm?api-version=2025-06-01 HTTP/1.1\r\n"},
	    {by_tdx_direct, "POST /attest/TdxVm?api-version=2025-06-01 HTTP/1.1\r\n"},
	    {by_snp_direct, "POST /attest/SevSnpVm?api-version=2022-08-01 HTTP/1.1\r\n"},
	};
	runtime_data = BUF(512);
	some_evidence = BUF(64);
	MUST(!buf_append_text(&runtime_data, RUNTIME).failure && !buf_append_text(&some_evidence, "evidence").failure);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf text = BUF(4096), body = BUF(8192), token = BUF(4096);

		struct stage *stage = stage_open(NULL, 0, true, 3000);
		auto_buf claims = BUF(1024);
		MUST(!buf_printf(&claims, "{\"iss\":\"%s\",\"nonce\":\"of another\",\"exp\":32503680000}", stage->url)
		          .failure);
		token_print(RS256, buf_text(&claims), &text);
		MUST(!buf_printf(&body, "{\"token\":\"%s\"}", buf_text(&text)).failure);
		char *reply = json_reply(200, "", buf_text(&body));
		stage->server->scenes = &(struct scene){.reply = reply};
		stage->server->count = 1;

		expect_failure(rows[i].attest(&stage->azure, &token), 323, "nonce");
		assert_int_equal(token.len, 0);
		assert_non_null(strstr(stage->server->requests[0], rows[i].route));
		assert_null(strcasestr(stage->server->requests[0], "Authorization:"));
		stage_close(stage);
		free(reply);
	}
	buf_done(&runtime_data);
	buf_done(&some_evidence);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_body_is_as_maa_wants_it),
	    cmocka_unit_test(a_quote_goes_as_it_came),
	    cmocka_unit_test(tokens_that_are_not_for_us_are_refused_by_field),
	    cmocka_unit_test(refusals_have_their_numbers),
	    cmocka_unit_test(a_token_of_somebody_else_is_not_handed_on),
	    cmocka_unit_test(every_form_has_its_route_and_its_nonce),
	};
	return cmocka_run_group_tests(tests, surroundings_set_up, surroundings_tear_down);
}
