/* SPDX-License-Identifier: Apache-2.0 */
/* Releases, and why they are refused: rows K-01 to K-09. */
#include "azure/vault.h"

#include "surroundings.h"

static void audiences_follow_the_host(void **state)
{
	(void)state;
	static const struct {
		const char *host, *audience;
		bool hsm;
	} rows[] = {
	    {"contoso.vault.azure.net", "https://vault.azure.net", false},
	    {"contoso.managedhsm.azure.net", "https://managedhsm.azure.net", true},
	    {"c.vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net", false},
	    {"c.vault.localhost:4711", "https://vault.localhost", false},
	    {"127.0.0.1:4711", "https://vault.azure.net", false},
	    {"[::1]:4711", "https://managedhsm.azure.net", true},
	    {"localhost", "https://vault.azure.net", false},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct key_config key = {.host = rows[i].host, .managed_hsm = rows[i].hsm};
		auto_buf audience = BUF(128);
		assert_int_equal(vault_audience(&key, &audience).failure, 0);
		assert_string_equal(buf_text(&audience), rows[i].audience);
	}
}

static const struct {
	int http;
	const char *code, *inner, *message;
	int failure;
} refusals[] = {
    {401, "Unauthorized", "", "AKV10000: Request is missing a Bearer or PoP token.", 330},
    {403, "Forbidden", "ForbiddenByRbac", "Caller is not authorized to perform action on resource.", 331},
    {403, "Forbidden", "AccessDenied", "The user ... does not have keys release permission on key vault 'x'.", 331},
    {403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized", 331},
    {403, "Forbidden", "KeyDisabled", "Operation release is not allowed on a disabled key.", 333},
    {403, "Forbidden", "", "The key is not yet valid", 333},
    {403, "Forbidden", "AccessDenied", "Target environment attestation statement cannot be verified.", 332},
    {403, "Forbidden", "", "attestation token has expired", 332},
    {403, "Forbidden", "", "", 332},
    {403, "Forbidden", "", "Hardware key operation not allowed on standard vault", 336},
    {404, "KeyNotFound", "", "Key not found: www", 334},
    {409, "Conflict", "ObjectIsBeingDeleted", "", 335},
    {400, "BadParameter", "", "AKV.SKR.1002", 336},
};

static void refusals_are_told_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct service_error error = {.http = refusals[i].http};
		snprintf(error.code, sizeof(error.code), "%s", refusals[i].code);
		snprintf(error.inner, sizeof(error.inner), "%s", refusals[i].inner);
		snprintf(error.message, sizeof(error.message), "%s", refusals[i].message);
		if (vault_refusal(&error) != refusals[i].failure)
			fail_msg("%d %s: SKR-%d", refusals[i].http, refusals[i].message, vault_refusal(&error));
	}
}

static void challenges_are_read_in_any_order(void **state)
{
	(void)state;
	struct vault_challenge c;

	vault_challenge_parse("Bearer authorization=\"https://login.x/T\", resource=\"https://vault.azure.net\"", &c);
	assert_string_equal(c.authorization, "https://login.x/T");
	assert_string_equal(c.resource, "https://vault.azure.net");
	vault_challenge_parse("Bearer resource=\"r\",authorization_uri=\"u\"", &c);
	assert_string_equal(c.authorization, "u");
	assert_string_equal(c.resource, "r");
	vault_challenge_parse("Bearer xresource=\"r\", resource=unquoted, authorization=\"open", &c);
	assert_string_equal(c.resource, "");
	assert_string_equal(c.authorization, "open");
	vault_challenge_parse("", &c);
	assert_string_equal(c.resource, "");
}

/* ---- against a scripted vault ---- */

static const char claims[] =
    "{\"iss\":\"https://maa.example\",\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-sevsnpvm-hostdata\":\"bbbb\"}";

static skr_status release(struct stage *stage, struct buf *jws)
{
	auto_buf token = BUF(4096);

	token_print("{\"alg\":\"RS256\"}", claims, &token);
	return vault_release(&stage->azure, &stage->key, "acc-tok", buf_text(&token), "our-nonce", jws);
}

static skr_status play(const struct scene *scenes, size_t count, int *ret_requests)
{
	struct stage *stage = stage_open(scenes, count, true, 15000);
	auto_buf jws = BUF(4096);
	skr_status status = release(stage, &jws);

	*ret_requests = stage->server->request_count;
	assert_null(strstr(status_message(), "acc-tok")); /* I-05 */
	assert_int_equal(jws.len, 0);
	stage_close(stage);
	return status;
}

static void a_release_asks_as_the_reference_says(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", "{\"value\":\"aaa.bbb.ccc\"}");
	struct scene scenes[] = {{.reply = reply}, {.reply = reply}};
	struct stage *stage = stage_open(scenes, 2, true, 5000);
	auto_buf jws = BUF(64);

	assert_int_equal(release(stage, &jws).failure, 0);
	assert_string_equal(buf_text(&jws), "aaa.bbb.ccc");
	const char *request = stage->server->requests[0];
	assert_non_null(strstr(request, "POST /keys/www/release?api-version=7.4 HTTP/1.1\r\n"));
	assert_non_null(strstr(request, "\r\nAuthorization: Bearer acc-tok\r\n"));
	assert_non_null(strstr(request, "\"enc\":\"RSA_AES_KEY_WRAP_256\""));
	assert_non_null(strstr(request, "\"nonce\":\"our-nonce\""));
	assert_non_null(strstr(request, "{\"target\":\"ey"));
	stage->key.version = "0123456789abcdef0123456789abcdef";
	buf_clear(&jws);
	assert_int_equal(release(stage, &jws).failure, 0);
	assert_non_null(strstr(stage->server->requests[1],
	                       "POST /keys/www/0123456789abcdef0123456789abcdef/release?api-version=7.4 HTTP/1.1\r\n"));
	stage_close(stage);
	free(reply);
}

static char *key_bundle(const char *policy, const char *attributes)
{
	auto_buf data = BUF(4096), body = BUF(8192);

	MUST(!base64url_encode(policy, strlen(policy), &data).failure);
	MUST(!buf_printf(&body, "{\"key\":{},\"attributes\":{%s},\"release_policy\":{\"data\":\"%s\"}}", attributes,
	                 buf_text(&data))
	          .failure);
	return json_reply(200, "", buf_text(&body));
}

#define FORBIDDEN                                                                                              \
	"{\"error\":{\"code\":\"Forbidden\",\"message\":\"Target environment attestation statement cannot be " \
	"verified.\"}}"
#define POLICY(authority, hostdata)                                                                 \
	"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" authority "\",\"allOf\":[{\"claim\":" \
	"\"x-ms-sevsnpvm-hostdata\",\"equals\":\"" hostdata "\"}]}]}"

static void expect_explanation(char *key, int failure, const char *said)
{
	char *no = json_reply(403, "x-ms-request-id: r-1\r\n", FORBIDDEN);
	struct scene scenes[] = {{.reply = no}, {.reply = key}};
	int requests;

	expect_failure(play(scenes, 2, &requests), failure, said);
	assert_int_equal(requests, 2);
	assert_string_equal(status_last()->step, "release");
	assert_string_equal(status_last()->reqid, "r-1");
	assert_int_equal(status_last()->http, 403);
	assert_non_null(strstr(status_message(), "the vault says: Target environment"));
	free(no);
	free(key);
}

/* K-03: what a person sees when the policy does not fit this machine. */
static void an_unsatisfied_policy_is_explained_by_claim(void **state)
{
	(void)state;
	expect_explanation(
	    key_bundle(POLICY("https://maa.example", "aaaa"), "\"enabled\":true"), 332,
	    "key www: its policy needs x-ms-sevsnpvm-hostdata = aaaa, this machine has bbbb; the vault says");
	expect_explanation(key_bundle(POLICY("https://other.example", "bbbb"), ""), 332,
	                   "its policy trusts https://other.example, this machine's token is from https://maa.example");
	expect_explanation(key_bundle(POLICY("https://maa.example", "bbbb"), ""), 332,
	                   "is satisfied by this machine, so the vault cannot verify the token itself (can it reach "
	                   "https://maa.example?");
}

static void an_unreadable_policy_leaves_what_this_machine_has(void **state)
{
	(void)state;
	expect_explanation(json_reply(403, "", "{}"), 332,
	                   "its policy cannot be read from here; this machine has iss = https://maa.example");
	expect_explanation(json_reply(200, "", "{\"key\":{}}"), 332, "x-ms-sevsnpvm-hostdata = bbbb");
	expect_explanation(key_bundle("not a policy", ""), 332, "cannot be read");
}

static void an_unusable_key_is_told_by_its_attributes(void **state)
{
	(void)state;
	const char *policy = POLICY("https://maa.example", "aaaa");
	expect_explanation(key_bundle(policy, "\"enabled\":false"), 333, "key www: it is disabled"); /* K-04 */
	expect_explanation(key_bundle(policy, "\"exp\":1000000000"), 333, "it expired");
	expect_explanation(key_bundle(policy, "\"nbf\":32503680000"), 333, "it is valid only in");
}

static void missing_permission_is_final_and_not_explained_away(void **state)
{
	(void)state;
	char *no =
	    json_reply(403, "",
	               "{\"error\":{\"code\":\"Forbidden\",\"message\":\"Caller is not authorized to perform action on "
	               "resource.\\r\\nCaller: appid=x\",\"innererror\":{\"code\":\"ForbiddenByRbac\"}}}");
	struct scene scenes[] = {{.reply = no}, {.reply = no}};
	int requests;

	expect_failure(play(scenes, 2, &requests), 331, "on resource. Caller: appid=x"); /* K-02 */
	assert_int_equal(requests, 1);
	assert_string_equal(status_last()->svc_code, "Forbidden/ForbiddenByRbac");
	free(no);
}

static void a_challenge_is_shown_and_not_followed(void **state)
{
	(void)state;
	char *no = json_reply(401,
	                      "WWW-Authenticate: Bearer authorization=\"https://127.0.0.1:1/TENANT\", "
	                      "resource=\"https://vault.azure.net\"\r\n",
	                      "{\"error\":{\"code\":\"Unauthorized\",\"message\":\"AKV10032: Invalid issuer\"}}");
	struct scene scenes[] = {{.reply = no}};
	int requests;

	expect_failure(play(scenes, 1, &requests), 330,
	               "one from https://127.0.0.1:1/TENANT for https://vault.azure.net is wanted");
	assert_non_null(strstr(status_message(), "AKV10032"));
	assert_int_equal(requests, 1); /* K-01, I-09, I-11 */
	free(no);
}

static void a_key_being_changed_is_asked_for_again(void **state)
{
	(void)state;
	char *no = json_reply(409, "", "{\"error\":{\"code\":\"Conflict\",\"message\":\"being deleted\"}}");
	char *gone = json_reply(404, "", "{\"error\":{\"code\":\"KeyNotFound\",\"message\":\"Key not found: www\"}}");
	struct scene scenes[] = {{.reply = no}, {.reply = gone}};
	int requests;

	expect_failure(play(scenes, 2, &requests), 334, "key www"); /* K-05 after K-06 */
	assert_int_equal(requests, 2);
	free(no);
	free(gone);
}

static void throttling_without_advice_waits_a_second_first(void **state)
{
	(void)state;
	char *no = json_reply(429, "", "{\"error\":{\"code\":\"Throttled\",\"message\":\"slow\"}}");
	char *gone = json_reply(404, "", "{}");
	struct scene scenes[] = {{.reply = no}, {.reply = gone}};
	int requests;
	int64_t began = monotonic_ms();

	expect_failure(play(scenes, 2, &requests), 334, NULL); /* K-08 */
	assert_in_range(monotonic_ms() - began, 1000, 1600);
	free(no);
	free(gone);
}

static void an_answer_without_value_is_no_release(void **state)
{
	(void)state;
	static const char *const bodies[] = {"{}", "{\"value\":7}", "[]", "{\"value\":null}"};
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		char *reply = json_reply(200, "", bodies[i]);
		struct scene scene = {.reply = reply};
		int requests;
		expect_failure(play(&scene, 1, &requests), 340, "key www");
		free(reply);
	}
}

/* ---- the public key ---- */

static skr_status read_key(const struct scene *scenes, size_t count, json **bundle, int *ret_requests)
{
	struct stage *stage = stage_open(scenes, count, true, 5000);
	skr_status status = vault_key(&stage->azure, &stage->key, "acc-tok", bundle);

	*ret_requests = stage->server->request_count;
	assert_non_null(strstr(stage->server->requests[0], "GET /keys/www?api-version=7.4 HTTP/1.1\r\n"));
	assert_non_null(strstr(stage->server->requests[0], "\r\nAuthorization: Bearer acc-tok\r\n"));
	assert_null(strstr(status_message(), "acc-tok")); /* I-05 */
	stage_close(stage);
	return status;
}

static void a_public_key_is_read_by_version_or_the_newest(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", "{\"key\":{\"kty\":\"RSA\"},\"attributes\":{}}");
	struct scene scenes[] = {{.reply = reply}};
	struct stage *stage = stage_open(scenes, 1, true, 5000);
	auto_json *newest = NULL, *version = NULL;
	int requests;

	assert_int_equal(read_key(scenes, 1, &newest, &requests).failure, 0);
	assert_string_equal(json_string_or_null(json_get(newest, "key"), "kty"), "RSA");
	stage->key.version = "0123456789abcdef0123456789abcdef";
	assert_int_equal(vault_key(&stage->azure, &stage->key, "acc-tok", &version).failure, 0);
	assert_non_null(strstr(stage->server->requests[0],
	                       "GET /keys/www/0123456789abcdef0123456789abcdef?api-version=7.4 HTTP/1.1\r\n"));
	stage_close(stage);
	free(reply);
}

static void a_key_that_cannot_be_read_is_refused_as_in_a_release(void **state)
{
	(void)state;
	static const struct {
		int http;
		const char *headers, *body;
		int failure;
		const char *said;
	} rows[] = {
	    {401, "WWW-Authenticate: Bearer authorization=\"https://127.0.0.1:1/T\", resource=\"https://other\"\r\n",
	     "{}", 330,
	     "a token for https://vault.azure.net was sent, one from https://127.0.0.1:1/T for https://other"},
	    {403, "", "{\"error\":{\"code\":\"Forbidden\",\"innererror\":{\"code\":\"ForbiddenByRbac\"}}}", 331,
	     "permission \"get\""},
	    {403, "", "{}", 331, "key www, to be read"}, /* there is no release policy in it */
	    {403, "", "{\"error\":{\"code\":\"Forbidden\",\"innererror\":{\"code\":\"KeyDisabled\"}}}", 333, "key www"},
	    {404, "", "{\"error\":{\"code\":\"KeyNotFound\",\"message\":\"no\"}}", 334, "key www"},
	    {429, "Retry-After: 100\r\n", "{}", 337, "key www"},
	    {503, "Retry-After: 100\r\n", "{}", 338, "key www"},
	    {200, "", "{}", 336, "key www: no public key"},
	    {200, "", "{\"key\":7}", 336, "no public key"},
	    {200, "", "[", 213, "key www"},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *reply = json_reply(rows[i].http, rows[i].headers, rows[i].body);
		auto_json *bundle = NULL;
		int requests;

		expect_failure(read_key(&(struct scene){.reply = reply}, 1, &bundle, &requests), rows[i].failure,
		               rows[i].said);
		assert_string_equal(status_last()->step, "release");
		assert_null(bundle);
		assert_int_equal(requests, 1);
		free(reply);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(audiences_follow_the_host),
	    cmocka_unit_test(refusals_are_told_apart),
	    cmocka_unit_test(challenges_are_read_in_any_order),
	    cmocka_unit_test(a_release_asks_as_the_reference_says),
	    cmocka_unit_test(an_unsatisfied_policy_is_explained_by_claim),
	    cmocka_unit_test(an_unreadable_policy_leaves_what_this_machine_has),
	    cmocka_unit_test(an_unusable_key_is_told_by_its_attributes),
	    cmocka_unit_test(missing_permission_is_final_and_not_explained_away),
	    cmocka_unit_test(a_challenge_is_shown_and_not_followed),
	    cmocka_unit_test(a_key_being_changed_is_asked_for_again),
	    cmocka_unit_test(throttling_without_advice_waits_a_second_first),
	    cmocka_unit_test(an_answer_without_value_is_no_release),
	    cmocka_unit_test(a_public_key_is_read_by_version_or_the_newest),
	    cmocka_unit_test(a_key_that_cannot_be_read_is_refused_as_in_a_release),
	};
	return cmocka_run_group_tests(tests, surroundings_set_up, surroundings_tear_down);
}
