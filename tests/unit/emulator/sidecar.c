/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/release_policy.h"
#include "emulator/sidecar.h"
#include "jose/jws.h"
#include "unit/emulator/client.h"

/* One request to the sidecar; the answer is in the exchange. */
static struct call *tell(const char *method, const char *target, const char *body)
{
	struct call *call = NULL;
	const struct inner_request request = {
	    .service = SERVICE_SIDECAR, .method = method, .authority = "localhost", .target = target, .body = body};

	assert_ok(dispatch_inner(&emulator, &request, &call));
	return call;
}

/* The answer is an error whose text has these words in it. */
static void assert_says(const struct call *call, int status, const char *words)
{
	assert_status(call, status);
	auto_json *body = answer_of(call);
	const char *text = json_string_or_null(body, "error");
	assert_non_null(text);
	if (!strstr(text, words))
		fail_msg("\"%s\" has no \"%s\"", text, words);
}

static struct call *release_of(const char *vault, const char *kid, const char *extra)
{
	auto_buf body = BUF(64 * 1024);

	assert_ok(buf_printf(&body, "{\"maa_endpoint\":\"%s\",\"akv_endpoint\":\"%s\",\"kid\":\"%s\"%s}", MAA_HOST,
	                     vault, kid, extra));
	return tell("POST", "/key/release", buf_text(&body));
}

/* A key with this machine's policy, or with that of the machine whose host data is `value`. */
static json *create(const char *vault, const char *name, const char *kty, const char *value)
{
	auto_buf policy = BUF(4096), data = BUF(8192), body = BUF(16 * 1024), target = BUF(256);

	assert_ok(release_policy_print(&emulator, value, &policy));
	assert_ok(base64url_encode(policy.data, policy.len, &data));
	assert_ok(buf_printf(
	    &body, "{\"kty\":\"%s\",\"attributes\":{\"exportable\":true},\"release_policy\":{\"data\":\"%s\"}}", kty,
	    buf_text(&data)));
	assert_ok(buf_printf(&target, "/keys/%s/create?api-version=7.4", name));
	auto_call *call =
	    ask("POST", vault, buf_text(&target), strcmp(vault, HSM) ? vault_token : hsm_token, buf_text(&body));
	assert_status(call, 200);
	return answer_of(call);
}

static void fault(const char *rule)
{
	assert_ok(faults_add(&emulator, rule));
}

static int healthy(void **state)
{
	(void)state;
	auto_json *settings = json_of("{\"context_tcb\":null,\"thim_tcb\":null}");

	faults_clear(&emulator);
	entra_find(&emulator, "system")->may_release = true;
	assert_ok(hardware_change(&emulator, settings));
	return 0;
}

/* ---- attestation ---- */

static void it_says_that_it_is_well(void **state)
{
	(void)state;
	auto_call *call = tell("GET", "/status", NULL);
	assert_status(call, 200);
	assert_string_equal(buf_text(&call->exchange.reply), "{\"message\":\"Status OK\"}");
	auto_call *nothing = tell("GET", "/keys", NULL), *method = tell("GET", "/key/release", NULL);
	assert_status(nothing, 404);
	assert_string_equal(buf_text(&nothing->exchange.reply), "404 page not found");
	assert_status(method, 404);
}

static void a_raw_report_commits_to_the_runtime_data(void **state)
{
	(void)state;
	uint8_t digest[32];
	auto_buf report = BUF(REPORT_SIZE);
	auto_call *call = tell("POST", "/attest/raw", "{\"runtime_data\":\"aGVsbG8=\"}");
	assert_status(call, 200);
	auto_json *body = answer_of(call);
	const char *text = json_string_or_null(body, "report");
	assert_ok(hex_decode(text, strlen(text), &report));
	assert_int_equal(report.len, REPORT_SIZE);
	assert_ok(sha256("hello", 5, digest));
	assert_memory_equal(report.data + REPORT_REPORT_DATA, digest, 32);
	for (int i = 32; i < 64; i++)
		assert_int_equal(report.data[REPORT_REPORT_DATA + i], 0);
}

static void requests_that_are_not_as_they_should_be_are_400(void **state)
{
	static const char *const targets[] = {"/attest/raw", "/attest/combined", "/attest/maa"};
	static const struct {
		const char *body, *words;
	} rows[] = {
	    {"", "invalid request format: EOF"},
	    {"{", "invalid request format"},
	    {"[]", "invalid request format"},
	    {"{}", "'RuntimeData' failed on the 'required' tag"},
	    {"{\"runtime_data\":\"\"}", "'RuntimeData' failed on the 'required' tag"},
	    {"{\"runtime_data\":7}", "'RuntimeData' failed on the 'required' tag"},
	    {"{\"runtime_data\":\"aGVsbG8\"}", "decoding base64-encoded runtime data of request failed"},
	    {"{\"runtime_data\":\"aGVs-_8=\"}", "decoding base64-encoded runtime data of request failed"},
	};
	(void)state;
	for (size_t t = 0; t < 3; t++) {
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			auto_call *call = tell("POST", targets[t], rows[i].body);
			assert_says(call, 400, rows[i].words);
		}
	}
	auto_call *endpoint = tell("POST", "/attest/maa", "{\"runtime_data\":\"e30=\"}");
	assert_says(endpoint, 400, "'MAAEndpoint' failed on the 'required' tag");
}

static void the_combined_answer_has_all_that_a_verifier_needs(void **state)
{
	(void)state;
	auto_buf pem = BUF(PEM_LIMIT), report = BUF(REPORT_SIZE);
	auto_x509s *chain = NULL;
	auto_rules rules = {0};
	enum product product;
	auto_call *call = tell("POST", "/attest/combined", "{\"runtime_data\":\"aGVsbG8=\"}");
	assert_status(call, 200);
	auto_json *body = answer_of(call);
	assert_string_equal(json_string_or_null(body, "endorsed_tcb"), "7308000000000003");
	const char *text = json_string_or_null(body, "endorsements");
	assert_ok(base64_decode(text, strlen(text), &pem));
	assert_ok(certificates_from_pem(pem.data, pem.len, &chain));
	text = json_string_or_null(body, "evidence");
	assert_ok(base64_decode(text, strlen(text), &report));
	assert_ok(hardware_attestation_rules(&emulator, &rules));
	const struct report_trust trust = {.ark = rules.ark, .now = emulator_now(&emulator)};
	assert_ok(report_verify(report.data, report.len, chain, &trust, &product));
	assert_true(strlen(json_string_or_null(body, "uvm_endorsements")) > 1000);
}

static void an_attestation_token_is_of_the_instance_and_shows_the_runtime_data(void **state)
{
	(void)state;
	auto_json *claims = NULL;
	auto_call *call =
	    tell("POST", "/attest/maa", "{\"maa_endpoint\":\"" MAA_HOST "\",\"runtime_data\":\"eyJhIjoiYiJ9\"}");
	assert_status(call, 200);
	auto_json *body = answer_of(call);
	assert_ok(maa_token_claims(&emulator, json_string_or_null(body, "token"), &claims));
	assert_string_equal(json_string_or_null(claims, "iss"), ISSUER);
	assert_string_equal(json_string_or_null(json_get(claims, "x-ms-runtime"), "a"), "b");
	assert_string_equal(json_string_or_null(claims, "x-ms-compliance-status"), "azure-compliant-uvm");
}

static void attestation_is_refused_in_its_own_words(void **state)
{
	(void)state;
	auto_call *no_json =
	    tell("POST", "/attest/maa", "{\"maa_endpoint\":\"" MAA_HOST "\",\"runtime_data\":\"aGVsbG8=\"}");
	assert_says(no_json, 403, "Retrieving MAA token from MAA endpoint failed");
	assert_says(no_json, 403, "InvalidParameter");
	assert_says(no_json, 403, "http response status equal to 400 Bad Request");
	assert_says(no_json, 403, "Troubleshooting: https://");

	auto_call *vault = tell("POST", "/attest/maa", "{\"maa_endpoint\":\"" VAULT "\",\"runtime_data\":\"e30=\"}");
	assert_says(vault, 403, "lookup contoso.vault.localhost: no such host");
	auto_call *path = tell("POST", "/attest/maa",
	                       "{\"maa_endpoint\":\"sharedemu.attest.localhost/x?\",\"runtime_data\":\"e30=\"}");
	assert_says(path, 403, "invalid host");
}

static void certificates_of_an_older_firmware_are_fetched_anew(void **state)
{
	(void)state;
	static const char body[] = "{\"maa_endpoint\":\"" MAA_HOST "\",\"runtime_data\":\"e30=\"}";
	auto_json *mounted = json_of("{\"context_tcb\":{\"microcode\":1}}");
	assert_ok(hardware_change(&emulator, mounted));
	auto_call *fetched = tell("POST", "/attest/maa", body);
	assert_status(fetched, 200);

	auto_json *both = json_of("{\"context_tcb\":{\"microcode\":1},\"thim_tcb\":{\"microcode\":1}}");
	assert_ok(hardware_change(&emulator, both));
	auto_call *refused = tell("POST", "/attest/maa", body);
	assert_says(refused, 403, "doesn't match Certificate TCB value: 0108000000000003");

	fault("thim.certification status(503)");
	auto_call *down = tell("POST", "/attest/maa", body);
	assert_says(down, 403, "refreshing CertState failed");
	assert_says(down, 403, "503 Service Unavailable");
}

/* ---- keys ---- */

/* The private JWK of a good answer, which is text within JSON. */
static json *key_of(const struct call *call)
{
	json *jwk = NULL;
	assert_status(call, 200);
	auto_json *body = answer_of(call);
	const char *text = json_string_or_null(body, "key");
	assert_non_null(text);
	assert_ok(json_parse(text, strlen(text), &jwk));
	return jwk;
}

static void a_released_key_is_a_private_jwk_with_the_vaults_public_half(void **state)
{
	static const struct {
		const char *vault, *kty, *bare;
	} rows[] = {{VAULT, "RSA-HSM", "RSA"}, {VAULT, "EC-HSM", "EC"}, {HSM, "RSA-HSM", "RSA"}, {HSM, "EC-HSM", "EC"}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[16];
		auto_pkey *private = NULL, *public = NULL;
		snprintf(name, sizeof(name), "key-%zu", i);
		auto_json *bundle = create(rows[i].vault, name, rows[i].kty, NULL);
		auto_call *call = release_of(rows[i].vault, name, "");
		auto_json *jwk = key_of(call);
		assert_string_equal(json_string_or_null(jwk, "kty"), rows[i].bare);
		assert_null(json_get(jwk, "kid"));
		assert_ok(jwk_private_key(jwk, &private));
		assert_ok(jwk_public_key(json_get(bundle, "key"), &public));
		assert_int_equal(EVP_PKEY_eq(private, public), 1);
		for (const json *member = json_first(jwk); json_next(member); member = json_next(member))
			assert_true(strcmp(json_name(member), json_name(json_next(member))) < 0);
	}
}

static void a_symmetric_key_is_an_oct_jwk(void **state)
{
	(void)state;
	auto_json *bundle = create(HSM, "oct", "oct-HSM", NULL);
	auto_call *call = release_of(HSM, "oct", "");
	auto_json *jwk = key_of(call);
	assert_non_null(bundle);
	assert_string_equal(json_string_or_null(jwk, "kty"), "oct");
	assert_int_equal(strlen(json_string_or_null(jwk, "k")), 43);
}

static void a_version_can_be_asked_for(void **state)
{
	(void)state;
	char kid[128];
	auto_json *bundle = create(VAULT, "versions", "EC-HSM", NULL);
	auto_json *newer = create(VAULT, "versions", "EC-HSM", NULL);
	const char *version = strrchr(json_string_or_null(json_get(bundle, "key"), "kid"), '/') + 1;
	snprintf(kid, sizeof(kid), "versions/%s", version);
	auto_call *call = release_of(VAULT, kid, "");
	auto_json *jwk = key_of(call);
	assert_string_equal(json_string_or_null(jwk, "x"), json_string_or_null(json_get(bundle, "key"), "x"));
	assert_string_not_equal(json_string_or_null(jwk, "x"), json_string_or_null(json_get(newer, "key"), "x"));
}

static void what_the_vault_refuses_is_refused_with_its_words(void **state)
{
	(void)state;
	auto_json *bundle = create(VAULT, "elsewhere", "EC-HSM", "00");
	assert_non_null(bundle);
	auto_call *policy = release_of(VAULT, "elsewhere", "");
	assert_says(
	    policy, 403,
	    "releasing the key elsewhere failed: pulling AKV response body failed: {\"error\":{\"code\":\"Forbidden\"");
	assert_says(policy, 403, "Target environment does not meet key release policy requirements.");
	assert_says(policy, 403, "http response status equal to 403 Forbidden");

	auto_call *missing = release_of(VAULT, "nobody", "");
	assert_says(missing, 403, "KeyNotFound");
	assert_says(missing, 403, "http response status equal to 404 Not Found");

	entra_find(&emulator, "system")->may_release = false;
	auto_call *right = release_of(VAULT, "elsewhere", "");
	assert_says(right, 403, "ForbiddenByRbac");
}

static void a_token_in_the_request_is_used_in_place_of_the_machines(void **state)
{
	(void)state;
	char token[8192], extra[9000];
	auto_json *bundle = create(VAULT, "token", "EC-HSM", NULL);
	assert_non_null(bundle);
	issue_token("https://vault.localhost", "stranger", token, sizeof(token));
	snprintf(extra, sizeof(extra), ",\"access_token\":\"%s\"", token);
	auto_call *stranger = release_of(VAULT, "token", extra);
	assert_says(stranger, 403, "ForbiddenByRbac");
	auto_call *nonsense = release_of(VAULT, "token", ",\"access_token\":\"x\"");
	assert_says(nonsense, 403, "http response status equal to 401 Unauthorized");
	auto_call *own = release_of(VAULT, "token", "");
	assert_status(own, 200);
}

static void a_release_request_without_its_members_gets_an_empty_error_object(void **state)
{
	static const char *const bodies[] = {"",
	                                     "{",
	                                     "{}",
	                                     "{\"maa_endpoint\":\"a\",\"akv_endpoint\":\"b\"}",
	                                     "{\"maa_endpoint\":\"a\",\"akv_endpoint\":\"b\",\"kid\":\"\"}",
	                                     "{\"maa_endpoint\":1,\"akv_endpoint\":\"b\",\"kid\":\"c\"}"};
	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		auto_call *call = tell("POST", "/key/release", bodies[i]);
		assert_status(call, 400);
		assert_string_equal(buf_text(&call->exchange.reply), "{\"error\":{}}");
	}
}

static void an_answer_that_does_not_verify_is_not_opened(void **state)
{
	static const char *const rules[] = {"akv.release mutate(jws.raw.signature,flip)",
	                                    "akv.release signer(selfsigned)", "akv.release signer(wrongname)",
	                                    "akv.release signer(expired)", "akv.release signer(unknownca)"};
	(void)state;
	auto_json *bundle = create(VAULT, "signed", "EC-HSM", NULL);
	assert_non_null(bundle);
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		faults_clear(&emulator);
		fault(rules[i]);
		auto_call *call = release_of(VAULT, "signed", "");
		assert_says(call, 403, "validating AKV jwsResponse failed");
	}
	faults_clear(&emulator);
	fault("akv.release mutate(key_hsm.ciphertext,AAAA)");
	auto_call *call = release_of(VAULT, "signed", "");
	assert_says(call, 403, "unwrapping the released key failed");
}

static void faults_act_on_its_requests_and_on_its_answers(void **state)
{
	(void)state;
	auto_json *bundle = create(VAULT, "faults", "EC-HSM", NULL);
	assert_non_null(bundle);
	fault("maa.attest[1] status(500)");
	fault("imds.token[1] status(429)");
	fault("akv.release[1] status(503)");
	fault("sidecar.release[4] status(503,message=full)");
	auto_call *attestation = release_of(VAULT, "faults", "");
	assert_says(attestation, 403, "attestation failed: ");
	auto_call *identity = release_of(VAULT, "faults", "");
	assert_says(identity, 403, "retrieving authentication token failed: ");
	auto_call *vault = release_of(VAULT, "faults", "");
	assert_says(vault, 403, "503 Service Unavailable");
	auto_call *sidecar = release_of(VAULT, "faults", "");
	assert_status(sidecar, 503);
	assert_string_equal(buf_text(&sidecar->exchange.reply), "{\"error\":\"full\"}");
	auto_call *well = release_of(VAULT, "faults", "");
	assert_status(well, 200);
}

static int open_all(void **state)
{
	int failed = open_emulator(state);
	emulator.https_port = 4711;
	return failed;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, healthy)
	const struct CMUnitTest tests[] = {
	    TEST(it_says_that_it_is_well),
	    TEST(a_raw_report_commits_to_the_runtime_data),
	    TEST(requests_that_are_not_as_they_should_be_are_400),
	    TEST(the_combined_answer_has_all_that_a_verifier_needs),
	    TEST(an_attestation_token_is_of_the_instance_and_shows_the_runtime_data),
	    TEST(attestation_is_refused_in_its_own_words),
	    TEST(certificates_of_an_older_firmware_are_fetched_anew),
	    TEST(a_released_key_is_a_private_jwk_with_the_vaults_public_half),
	    TEST(a_symmetric_key_is_an_oct_jwk),
	    TEST(a_version_can_be_asked_for),
	    TEST(what_the_vault_refuses_is_refused_with_its_words),
	    TEST(a_token_in_the_request_is_used_in_place_of_the_machines),
	    TEST(a_release_request_without_its_members_gets_an_empty_error_object),
	    TEST(an_answer_that_does_not_verify_is_not_opened),
	    TEST(faults_act_on_its_requests_and_on_its_answers),
	};
	return cmocka_run_group_tests(tests, open_all, close_emulator);
}
