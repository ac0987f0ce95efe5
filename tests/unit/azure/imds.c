/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata service and its likes: rows M-01 to M-05, V-20, V-21, V-23. */
#include "azure/imds.h"

#include "surroundings.h"

#define AUDIENCE "https://vault.azure.net"
#define TOKEN(expires, resource)                                                                                       \
	"{\"access_token\":\"acc.tok\",\"client_id\":\"c\",\"refresh_token\":\"\",\"expires_in\":\"86400\",\"expires_" \
	"on\":" expires ",\"not_before\":\"1000\",\"resource\":\"" resource "\",\"token_type\":\"Bearer\"}"
#define GOOD    TOKEN("\"32503680000\"", AUDIENCE)
#define EXPIRED TOKEN("\"1000\"", AUDIENCE)

static skr_status play(const struct scene *scenes, size_t count, const char *selector, struct buf *token,
                       char request[512], int *ret_requests)
{
	struct stage *stage = stage_open(scenes, count, false, 8000);
	skr_status status = imds_token(&stage->azure, AUDIENCE, selector, token);

	snprintf(request, 512, "%.511s", stage->server->requests[0]);
	*ret_requests = stage->server->request_count;
	stage_close(stage);
	return status;
}

static void a_token_is_asked_for_as_documented(void **state)
{
	(void)state;
	static const struct {
		const char *selector, *query;
	} rows[] = {
	    {NULL, "resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n"},
	    {"11111111-2222-3333-4444-555555555555", "&client_id=11111111-2222-3333-4444-555555555555 HTTP/1.1\r\n"},
	    {"object:abc", "&object_id=abc HTTP/1.1\r\n"},
	    {"resource:/subscriptions/s/x y", "&msi_res_id=%2Fsubscriptions%2Fs%2Fx%20y HTTP/1.1\r\n"},
	};
	char *reply = json_reply(200, "", GOOD), request[512];
	struct scene scene = {.reply = reply};
	int requests;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf token = BUF(64);
		assert_int_equal(play(&scene, 1, rows[i].selector, &token, request, &requests).failure, 0);
		assert_string_equal(buf_text(&token), "acc.tok");
		assert_non_null(strstr(request, rows[i].query));
		assert_non_null(
		    strstr(request, "GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource="));
		assert_non_null(strstr(request, "\r\nMetadata: true\r\n"));
		assert_null(strcasestr(request, "X-Forwarded-For"));
	}
	free(reply);
}

static const struct {
	const char *name, *body;
	int failure;
	const char *said;
} answers[] = {
    {"expires_on a number", TOKEN("32503680000", AUDIENCE), 0, NULL},
    {"resource with a slash", TOKEN("32503680000", AUDIENCE "/"), 0, NULL},
    {"expired", EXPIRED, 304, "expires_on"},
    {"expires_on absurd", TOKEN("\"99999999999999999999999\"", AUDIENCE), 304, "expires_on"},
    {"expires_on negative", TOKEN("-1", AUDIENCE), 304, "expires_on"},
    {"expires_on a date", TOKEN("\"1/2/2030 3:04:05 AM\"", AUDIENCE), 304, "expires_on"},
    {"expires_on missing", "{\"access_token\":\"a\"}", 304, "expires_on"},
    {"another audience", TOKEN("32503680000", "https://managedhsm.azure.net"), 304, "resource"},
    {"not yet valid", "{\"access_token\":\"a\",\"expires_on\":32503680000,\"not_before\":32503600000}", 304,
     "not_before"},
    {"no bearer token", "{\"access_token\":\"a\",\"expires_on\":32503680000,\"token_type\":\"pop\"}", 304,
     "token_type"},
    {"no token", "{\"access_token\":\"\",\"expires_on\":32503680000}", 304, "access_token"},
    {"token of another type", "{\"access_token\":7,\"expires_on\":32503680000}", 304, "access_token"},
    {"token that would end its header", "{\"access_token\":\"a\\r\\nX: y\",\"expires_on\":32503680000}", 304,
     "access_token"},
    {"an array", "[]", 304, NULL},
};

static void answers_are_checked_field_by_field(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) { /* M-05 */
		auto_json *answer = NULL;
		auto_buf token = BUF(64);
		bool expired = false;

		assert_int_equal(json_parse(answers[i].body, strlen(answers[i].body), &answer).failure, 0);
		skr_status status = managed_token_parse(answer, AUDIENCE, wall_clock(), &token, &expired);
		if (status.failure != answers[i].failure ||
		    (answers[i].said && !strstr(status_message(), answers[i].said)))
			fail_msg("%s: SKR-%d %s", answers[i].name, status.failure, status_message());
		assert_int_equal(token.len > 0, status.failure == 0);
		assert_int_equal(expired, strcmp(answers[i].name, "expired") == 0 ||
		                              strcmp(answers[i].name, "expires_on negative") == 0);
	}
}

static void an_expired_token_is_asked_for_once_more(void **state)
{
	(void)state;
	char *old = json_reply(200, "", EXPIRED), *fresh = json_reply(200, "", GOOD), request[512];
	struct scene renewed[] = {{.reply = old}, {.reply = fresh}},
	             stale[] = {{.reply = old}, {.reply = old}, {.reply = fresh}};
	auto_buf token = BUF(64);
	int requests;

	assert_int_equal(play(renewed, 2, NULL, &token, request, &requests).failure, 0);
	expect_failure(play(stale, 3, NULL, &token, request, &requests), 304, "expired");
	assert_int_equal(requests, 2);
	free(old);
	free(fresh);
}

static void refusals_have_their_numbers(void **state)
{
	(void)state;
	static const struct {
		int http, failure;
		const char *said;
	} rows[] = {
	    {400, 301, "identity some-id: the metadata service answers 400: Identity not found"}, /* M-02 */
	    {401, 302, NULL},                                                                     /* M-03 */
	    {403, 302, NULL},
	    {405, 242, NULL},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *reply =
		         json_reply(rows[i].http, "",
		                    "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}"),
		     request[512];
		struct scene scene = {.reply = reply};
		auto_buf token = BUF(64);
		int requests;

		expect_failure(play(&scene, 1, "some-id", &token, request, &requests), rows[i].failure, rows[i].said);
		assert_string_equal(status_last()->step, "identity");
		assert_string_equal(status_last()->svc_code, "invalid_request");
		assert_int_equal(requests, 1);
		free(reply);
	}
}

static void a_starting_service_is_waited_for(void **state)
{
	(void)state;
	char *starting = json_reply(404, "", "{}"), *upgrading = json_reply(410, "", "{}"),
	     *fresh = json_reply(200, "", GOOD);
	struct scene scenes[] = {{.reply = starting}, {.reply = fresh}}, too_long[] = {{.reply = upgrading}};
	char request[512];
	auto_buf token = BUF(64);
	int requests;

	assert_int_equal(play(scenes, 2, NULL, &token, request, &requests).failure, 0); /* M-04 */
	expect_failure(play(too_long, 1, NULL, &token, request, &requests), 303, "no time is left");
	assert_int_equal(status_last()->attempts, 7);
	free(starting);
	free(upgrading);
	free(fresh);
}

static void an_absent_service_is_given_up_soon(void **state)
{
	(void)state;
	struct stage *stage = stage_open(NULL, 0, false, 8000);
	auto_buf token = BUF(64);
	int64_t began = monotonic_ms();

	stage->config.imds = "http://127.0.0.1:1";
	expect_failure(imds_token(&stage->azure, AUDIENCE, NULL, &token), 300, "refused"); /* M-01 */
	assert_true(monotonic_ms() - began < 3000);
	assert_int_equal(status_last()->attempts, 2);
	stage_close(stage);
}

static void another_metadata_host_must_be_of_this_machine(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", GOOD), other[80];
	struct scene scene = {.reply = reply};
	struct stage *stage = stage_open(&scene, 1, false, 4000);
	auto_buf token = BUF(64);

	stage->config.imds = "http://127.0.0.1:1";
	stage->config.allow_custom_endpoint = false;
	setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://203.0.113.1", 1);
	expect_failure(imds_token(&stage->azure, AUDIENCE, NULL, &token), 5, NULL);
	snprintf(other, sizeof(other), "%s/", stage->url);
	setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", other, 1);
	assert_int_equal(imds_token(&stage->azure, AUDIENCE, NULL, &token).failure, 0);
	assert_non_null(strstr(stage->server->requests[0], "GET /metadata/identity"));
	unsetenv("AZURE_POD_IDENTITY_AUTHORITY_HOST");
	stage_close(stage);
	free(reply);
}

static void local_addresses_are_literal(void **state)
{
	(void)state;
	static const char *const local[] = {"http://127.0.0.1:42356/msi/token", "http://localhost/x",
	                                    "http://[::1]:80/", "http://169.254.130.2:8081/msi/token",
	                                    "http://127.9.9.9"};
	static const char *const remote[] = {"https://127.0.0.1/",
	                                     "http://169.254.evil.example/",
	                                     "http://127.0.0.1.example/",
	                                     "http://10.0.0.1/",
	                                     "http://127.0.0.1@evil.example/",
	                                     "http://localhost@evil.example/",
	                                     "http://[::2]/",
	                                     "http://[::1",
	                                     "http://[::1]@evil.example/",
	                                     "http://[::1]evil.example/",
	                                     "http://127.0.0.1:80@evil.example/",
	                                     "http://",
	                                     "ftp://127.0.0.1",
	                                     ""};

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		if (!endpoint_is_local(local[i]))
			fail_msg("%s", local[i]);
	for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
		if (endpoint_is_local(remote[i]))
			fail_msg("%s", remote[i]);
}

static void an_app_service_endpoint_gets_its_header(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", GOOD), endpoint[96];
	struct scene scene = {.reply = reply};
	struct stage *stage = stage_open(&scene, 1, false, 4000);
	auto_buf token = BUF(64);

	snprintf(endpoint, sizeof(endpoint), "%s/msi/token", stage->url);
	stage->config.allow_custom_endpoint = false;
	assert_int_equal(app_service_token(&stage->azure, endpoint, "s3cr3t", AUDIENCE, "resource:/r", &token).failure,
	                 0);
	const char *request = stage->server->requests[0];
	assert_non_null(strstr(
	    request, "GET /msi/token?api-version=2019-08-01&resource=https%3A%2F%2Fvault.azure.net&mi_res_id=%2Fr "));
	assert_non_null(strstr(request, "\r\nX-IDENTITY-HEADER: s3cr3t\r\n"));
	expect_failure(app_service_token(&stage->azure, "https://evil.example/", "s3cr3t", AUDIENCE, NULL, &token), 5,
	               NULL);
	assert_null(strstr(status_message(), "s3cr3t"));
	stage_close(stage);
	free(reply);
}

/* ---- THIM ---- */

static skr_status certification(const char *url, const struct scene *scene, json **ret, char request[512])
{
	struct stage *stage = stage_open(scene, 1, false, 500);

	if (url)
		stage->config.imds = url;
	skr_status status = imds_amd_certification(&stage->azure, ret);
	snprintf(request, 512, "%.511s", stage->server->requests[0]);
	stage_close(stage);
	return status;
}

static void certificates_come_from_thim(void **state)
{
	(void)state;
	static const struct {
		int http;
		const char *body;
		int failure;
	} rows[] = {
	    {200, "{\"vcekCert\":\"v\",\"tcbm\":\"1\",\"certificateChain\":\"c\",\"cacheControl\":\"86400\"}", 0},
	    {200, "{\"vcekCert\":\"v\",\"tcbm\":\"1\"}", 143}, /* V-23 */
	    {200, "{\"vcekCert\":\"v\",\"tcbm\":1,\"certificateChain\":\"c\"}", 143},
	    {200, "{\"vcekCert\":", 143},
	    {404, "", 141}, /* V-21 */
	    {500, "", 141},
	    {403, "", 141},
	};
	char request[512];
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *reply = json_reply(rows[i].http, "", rows[i].body);
		struct scene scene = {.reply = reply};
		auto_json *answer = NULL;

		expect_failure(certification(NULL, &scene, &answer, request), rows[i].failure, NULL);
		assert_int_equal(answer != NULL, rows[i].failure == 0);
		assert_non_null(strstr(request, "GET /metadata/THIM/amd/certification HTTP/1.1\r\n"));
		assert_non_null(strstr(request, "\r\nMetadata: true\r\n"));
		free(reply);
	}
	auto_json *answer = NULL;
	expect_failure(certification("http://127.0.0.1:1", &(struct scene){0}, &answer, request), 141, "refused");
	assert_string_equal(status_last()->step, "evidence");
}

/* ---- quotes ---- */

static const struct {
	const char *name, *body;
	size_t bytes; /* 0: refused */
} quotes[] = {
    {"base64url", "{\"quote\":\"-_8A\"}", 3},
    {"base64url without padding", "{\"quote\":\"-_8\"}", 2},
    {"base64 with padding", "{\"quote\":\"+/8=\"}", 2},
    {"more members", "{\"quote\":\"-_8A\",\"version\":4}", 3},
    {"no quote", "{}", 0},
    {"no object", "[]", 0},
    {"a number", "{\"quote\":4}", 0},
    {"empty", "{\"quote\":\"\"}", 0},
    {"no base64", "{\"quote\":\"a b\"}", 0},
};

static void quotes_come_in_either_alphabet(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(quotes) / sizeof(quotes[0]); i++) {
		auto_json *answer = NULL;
		auto_buf quote = BUF(64);

		MUST(!json_parse(quotes[i].body, strlen(quotes[i].body), &answer).failure);
		skr_status status = imds_td_quote_parse(answer, &quote);
		if (status.failure != (quotes[i].bytes ? 0 : 140) || quote.len != quotes[i].bytes)
			fail_msg("%s: SKR-%d %s", quotes[i].name, status.failure, status_message());
	}
}

static void a_quote_of_16_kib_is_the_largest(void **state)
{
	(void)state;
	static const uint8_t zeros[16 * 1024 + 1];

	for (size_t len = 16 * 1024; len <= sizeof(zeros); len++) {
		auto_json *answer = json_object();
		auto_buf text = BUF(32 * 1024), quote = BUF(32 * 1024);

		MUST(!base64url_encode(zeros, len, &text).failure);
		json_set_string(answer, "quote", buf_text(&text));
		assert_int_equal(imds_td_quote_parse(answer, &quote).failure, len == sizeof(zeros) ? 140 : 0);
	}
}

static skr_status td_quote(const struct scene *scenes, size_t count, int64_t deadline_ms, struct buf *quote,
                           int *ret_requests)
{
	struct stage *stage = stage_open(scenes, count, false, deadline_ms);
	uint8_t report[1024];

	memset(report, 0xff, sizeof(report));
	stage->config.https_proxy = "127.0.0.1:1"; /* never asked for a service of this machine */
	skr_status status = imds_td_quote(&stage->azure, report, sizeof(report), quote);
	const char *request = stage->server->requests[0], *body = strstr(request, "\r\n\r\n");
	assert_non_null(strstr(request, "POST /acc/tdquote HTTP/1.1\r\n"));
	assert_non_null(strstr(request, "\r\nMetadata: true\r\n"));
	assert_non_null(strstr(request, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(body);
	assert_true(strncmp(body + 4, "{\"report\":\"______", 17) == 0); /* base64url … */
	assert_int_equal(strlen(body + 4), 11 + 1366 + 2);               /* … without padding */
	*ret_requests = stage->server->request_count;
	stage_close(stage);
	return status;
}

static void a_quote_is_asked_for_five_times_a_second_apart(void **state)
{
	(void)state;
	char *bad = json_reply(400, "", "{\"error\":\"the report's MAC is wrong\"}"), *busy = json_reply(503, "", ""),
	     *fine = json_reply(200, "", "{\"quote\":\"-_8A\"}");
	struct scene later[] = {{.reply = busy}, {.reply = bad}, {.reply = fine}},
	             never[] = {{.reply = bad}, {.reply = bad}, {.reply = bad},
	                        {.reply = bad}, {.reply = bad}, {.reply = fine}};
	auto_buf quote = BUF(64), none = BUF(64);
	int requests;
	int64_t began = monotonic_ms();

	assert_int_equal(td_quote(later, 3, 8000, &quote, &requests).failure, 0); /* V-20 */
	assert_int_equal(requests, 3);
	assert_in_range(monotonic_ms() - began, 2000, 3000);
	assert_memory_equal(quote.data, "\xfb\xff\x00", 3);
	expect_failure(td_quote(never, 6, 8000, &none, &requests), 140,
	               "the host's quote service answers 400: the report's MAC is wrong");
	assert_int_equal(requests, 5);
	assert_int_equal(none.len, 0);
	assert_string_equal(status_last()->step, "evidence");
	expect_failure(td_quote(never, 6, 1500, &none, &requests), 140, "no time is left");
	assert_int_equal(requests, 2);
	expect_failure(td_quote(later, 1, 800, &none, &requests), 240, "the host's quote service answers 503");
	free(bad);
	free(busy);
	free(fine);
}

static void an_answer_without_quote_is_told_as_such(void **state)
{
	(void)state;
	static const char *const replies[] = {
	    "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
	    "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{",
	    "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n<>",
	    "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
	};
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		auto_buf quote = BUF(64);
		int requests;

		expect_failure(td_quote(&(struct scene){.reply = replies[i]}, 1, 4000, &quote, &requests), 140, NULL);
		assert_int_equal(requests, 1);
		assert_true(strncmp(status_last()->host, "127.0.0.1:", 10) == 0);
	}
}

static void an_absent_quote_service_is_told_as_such(void **state)
{
	(void)state;
	struct stage *stage = stage_open(NULL, 0, false, 8000);
	auto_buf quote = BUF(64);
	uint8_t report[1024] = {0};

	stage->config.imds = "http://127.0.0.1:1";
	expect_failure(imds_td_quote(&stage->azure, report, sizeof(report), &quote), 240, "refused");
	stage_close(stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_token_is_asked_for_as_documented),
	    cmocka_unit_test(answers_are_checked_field_by_field),
	    cmocka_unit_test(an_expired_token_is_asked_for_once_more),
	    cmocka_unit_test(refusals_have_their_numbers),
	    cmocka_unit_test(a_starting_service_is_waited_for),
	    cmocka_unit_test(an_absent_service_is_given_up_soon),
	    cmocka_unit_test(another_metadata_host_must_be_of_this_machine),
	    cmocka_unit_test(local_addresses_are_literal),
	    cmocka_unit_test(an_app_service_endpoint_gets_its_header),
	    cmocka_unit_test(certificates_come_from_thim),
	    cmocka_unit_test(quotes_come_in_either_alphabet),
	    cmocka_unit_test(a_quote_of_16_kib_is_the_largest),
	    cmocka_unit_test(a_quote_is_asked_for_five_times_a_second_apart),
	    cmocka_unit_test(an_answer_without_quote_is_told_as_such),
	    cmocka_unit_test(an_absent_quote_service_is_told_as_such),
	};
	return cmocka_run_group_tests(tests, surroundings_set_up, surroundings_tear_down);
}
