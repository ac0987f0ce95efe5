/* SPDX-License-Identifier: Apache-2.0 */
/* Microsoft's SKR sidecar: what it is asked, what is taken from it. */
#include "azure/sidecar.h"

#include "surroundings.h"

#define RSA                                                                                                   \
	"\\\"kty\\\":\\\"RSA\\\",\\\"n\\\":\\\"AQ\\\",\\\"e\\\":\\\"AQAB\\\",\\\"d\\\":\\\"AQ\\\",\\\"p\\\":" \
	"\\\"AQ\\\",\\\"q\\\":\\\"AQ\\\","                                                                    \
	"\\\"dp\\\":\\\"AQ\\\",\\\"dq\\\":\\\"AQ\\\",\\\"qi\\\":\\\"AQ\\\""
#define KEY(members) "{\"key\":\"{" members "}\"}"
#define T(text)      "\\\"" text "\\\""

static const struct {
	const char *name, *body, *said;
} answers[] = {
    {"RSA", KEY(RSA), NULL},
    {"RSA with key_ops", KEY(RSA "," T("key_ops") ":[" T("sign") "]"), NULL},
    {"EC",
     KEY(T("crv") ":" T("P-256") "," T("d") ":" T("AQ") "," T("kty") ":" T("EC") "," T("x") ":" T("AQ") "," T(
         "y") ":" T("AQ")),
     NULL},
    {"oct", KEY(T("k") ":" T("AQ") "," T("kty") ":" T("oct")), NULL},
    {"a second value behind it", KEY(RSA) "{\"key\":\"\"}", NULL},
    {"blanks and garbage behind it", " \n" KEY(RSA) "\n]]", NULL},
    {"nothing", "", "no JSON"},
    {"no JSON", "<html>", "no JSON"},
    {"cut", "{\"key\":\"{", "no JSON"},
    {"an array", "[]", "key: there is none"},
    {"no key", "{\"error\":\"x\"}", "key: there is none"},
    {"the first value counts", "{}" KEY(RSA), "key: there is none"},
    {"a key that is no text", "{\"key\":{\"kty\":\"oct\",\"k\":\"AQ\"}}", "key: there is none"},
    {"a text that is no JSON", "{\"key\":\"-----BEGIN\"}", "key: 10 characters"},
    {"two values in the text", "{\"key\":\"{}{}\"}", "key: 4 characters"},
    {"a text of another type", "{\"key\":\"7\"}", "kty: nothing"},
    {"no kty", KEY(T("k") ":" T("AQ")), "kty: nothing"},
    {"a kty of the vault's", KEY(T("kty") ":" T("RSA-HSM")), "kty: RSA-HSM"},
    {"a public key", KEY(T("kty") ":" T("RSA") "," T("n") ":" T("AQ") "," T("e") ":" T("AQAB")), "d: there is none"},
    {"a public EC key",
     KEY(T("crv") ":" T("P-256") "," T("kty") ":" T("EC") "," T("x") ":" T("AQ") "," T("y") ":" T("AQ")),
     "d: there is none"},
    {"no curve", KEY(T("kty") ":" T("EC") "," T("x") ":" T("AQ") "," T("y") ":" T("AQ") "," T("d") ":" T("AQ")),
     "crv: there is none"},
    {"an oct key without bytes", KEY(T("kty") ":" T("oct") "," T("k") ":" T("")), "k: there is none"},
    {"padding", KEY(T("kty") ":" T("oct") "," T("k") ":" T("AQ==")), "no base64url"},
    {"a number", KEY(T("kty") ":" T("oct") "," T("k") ":1"), "k: there is none"},
};

static void answers_hold_a_whole_private_key_or_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		auto_json *key = NULL;
		skr_status status = sidecar_answer_parse(answers[i].body, strlen(answers[i].body), &key);

		if (status.failure != (answers[i].said ? 162 : 0) ||
		    (answers[i].said && !strstr(status_message(), answers[i].said)))
			fail_msg("%s: SKR-%d %s", answers[i].name, status.failure, status_message());
		assert_int_equal(key == NULL, status.failure != 0);
	}
}

static void each_rsa_number_must_be_there(void **state)
{
	(void)state;
	static const char *const names[] = {"n", "e", "d", "p", "q", "dp", "dq", "qi"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		auto_json *key = NULL, *refused = NULL, *answer = json_object();
		auto_buf text = BUF(1024), body = BUF(2048);
		char said[32];

		MUST(!sidecar_answer_parse(answers[0].body, strlen(answers[0].body), &key).failure);
		json_remove(key, names[i]);
		MUST(!json_print(key, &text).failure);
		json_set_string(answer, "key", buf_text(&text));
		MUST(!json_print(answer, &body).failure);
		snprintf(said, sizeof(said), "%s: there is none", names[i]);
		expect_failure(sidecar_answer_parse(body.data, body.len, &refused), 162, said);
	}
}

/* ---- against a scripted sidecar ---- */

static skr_status release(struct stage *stage, json **ret_key)
{
	stage->token.sidecar = stage->url;
	stage->token.attestation = "https://sharedweu.weu.attest.azure.net:4711";
	stage->key.host = "contoso.vault.azure.net";
	return sidecar_release(&stage->azure, &stage->key, ret_key);
}

static skr_status play(const struct scene *scenes, size_t count, int *ret_requests)
{
	struct stage *stage = stage_open(scenes, count, false, 6000);
	auto_json *key = NULL;
	skr_status status = release(stage, &key);

	*ret_requests = stage->server->request_count;
	assert_int_equal(key == NULL, status.failure != 0);
	stage_close(stage);
	return status;
}

static const char *body_of(const struct stage *stage, int request)
{
	const char *end = strstr(stage->server->requests[request], "\r\n\r\n");

	assert_non_null(end);
	return end + 4;
}

static void a_key_is_asked_for_by_hosts_and_name(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", KEY(RSA));
	struct scene scenes[] = {{.reply = reply}, {.reply = reply}};
	struct stage *stage = stage_open(scenes, 2, false, 5000);
	auto_json *key = NULL, *versioned = NULL;

	stage->config.https_proxy = "127.0.0.1:1"; /* never asked for a service of this machine */
	assert_int_equal(release(stage, &key).failure, 0);
	assert_string_equal(json_string_or_null(key, "kty"), "RSA");
	assert_non_null(strstr(stage->server->requests[0], "POST /key/release HTTP/1.1\r\n"));
	assert_non_null(strstr(stage->server->requests[0], "\r\nContent-Type: application/json\r\n"));
	assert_string_equal(body_of(stage, 0), "{\"maa_endpoint\":\"sharedweu.weu.attest.azure.net:4711\","
	                                       "\"akv_endpoint\":\"contoso.vault.azure.net\",\"kid\":\"www\"}");
	stage->key.version = "0123456789abcdef0123456789abcdef";
	assert_int_equal(release(stage, &versioned).failure, 0);
	assert_non_null(strstr(body_of(stage, 1), "\"kid\":\"www/0123456789abcdef0123456789abcdef\""));
	for (int i = 0; i < 2; i++) { /* I-11 */
		assert_null(strcasestr(stage->server->requests[i], "Authorization"));
		assert_null(strstr(stage->server->requests[i], "access_token"));
	}
	stage_close(stage);
	free(reply);
}

#define WORDS                                                                                                  \
	"secure key release failed...: releasing the key www failed: pulling AKV response body failed: "       \
	"{\\\"error\\\":{\\\"code\\\":\\\"Forbidden\\\"}}: http response status equal to 403 Forbidden\\nsee " \
	"\\u001bhttps://x\\ny"

static void its_refusal_is_told_in_its_own_words(void **state)
{
	(void)state;
	char *twice = json_reply(403, "", "{\"error\":\"" WORDS "\"}{\"report\":\"\"}"),
	     *bad = json_reply(400, "", "{\"error\":{}}"), *gone = json_reply(404, "", "404 page not found");
	int requests;

	expect_failure(play(&(struct scene){.reply = twice}, 1, &requests), 161,
	               "key www: the SKR sidecar answers 403: secure key release failed...: releasing the key www "
	               "failed: pulling AKV response body failed: {\"error\":{\"code\":\"Forbidden\"}}: http response "
	               "status equal to 403 Forbidden see ?https://x y");
	assert_int_equal(requests, 1);
	assert_string_equal(status_last()->step, "release");
	assert_string_equal(status_last()->svc_code, "");
	assert_int_equal(status_last()->http, 403);
	expect_failure(play(&(struct scene){.reply = bad}, 1, &requests), 161, "answers 400 without saying why");
	expect_failure(play(&(struct scene){.reply = gone}, 1, &requests), 161, "answers 404");
	free(twice);
	free(bad);
	free(gone);
}

static void endless_words_are_cut(void **state)
{
	(void)state;
	auto_buf body = BUF(64 * 1024);
	int requests;

	MUST(!buf_append_text(&body, "{\"error\":\"").failure);
	for (int i = 0; i < 5000; i++)
		MUST(!buf_append_text(&body, "no ").failure);
	MUST(!buf_append_text(&body, "\"}").failure);
	char *reply = json_reply(403, "", buf_text(&body));
	expect_failure(play(&(struct scene){.reply = reply}, 1, &requests), 161, "answers 403: no no no");
	assert_true(strlen(status_message()) < 500);
	free(reply);
}

static void its_own_trouble_is_waited_for(void **state)
{
	(void)state;
	char *broken = json_reply(500, "", "{\"error\":\"no device fetcher\"}"), *fine = json_reply(200, "", KEY(RSA)),
	     *busy = json_reply(429, "Retry-After: 100\r\n", "{}"),
	     *down = json_reply(503, "Retry-After: 100\r\n", "{\"error\":\"no device fetcher\"}");
	struct scene scenes[] = {{.reply = broken}, {.reply = fine}};
	int requests;

	assert_int_equal(play(scenes, 2, &requests).failure, 0);
	assert_int_equal(requests, 2);
	expect_failure(play(&(struct scene){.reply = down}, 1, &requests), 240, "503: no device fetcher");
	expect_failure(play(&(struct scene){.reply = busy}, 1, &requests), 241, "answers 429");
	free(broken);
	free(fine);
	free(busy);
	free(down);
}

static void another_key_or_page_in_its_place_is_not_taken(void **state)
{
	(void)state;
	char *public = json_reply(200, "", KEY(T("kty") ":" T("oct"))), *big = NULL;
	int requests;

	expect_failure(play(&(struct scene){.reply = public}, 1, &requests), 162, "key www: k: there is none");
	assert_string_equal(status_last()->step, "release");
	assert_true(strncmp(status_last()->host, "127.0.0.1:", 10) == 0);
	MUST(asprintf(&big, "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: 70000\r\n\r\n") > 0);
	expect_failure(play(&(struct scene){.reply = big}, 1, &requests), 208, NULL);
	static const char page[] = "HTTP/1.1 200 X\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n<>";
	expect_failure(play(&(struct scene){.reply = page}, 1, &requests), 212, NULL);
	free(public);
	free(big);
}

static void an_absent_sidecar_is_given_up_soon(void **state)
{
	(void)state;
	struct stage *stage = stage_open(NULL, 0, false, 8000);
	auto_json *key = NULL;
	int64_t began = monotonic_ms();

	snprintf(stage->url, sizeof(stage->url), "http://127.0.0.1:1");
	expect_failure(release(stage, &key), 160, "refused");
	assert_true(monotonic_ms() - began < 3000);
	assert_int_equal(status_last()->attempts, 2);
	stage_close(stage);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(answers_hold_a_whole_private_key_or_nothing),
	    cmocka_unit_test(each_rsa_number_must_be_there),
	    cmocka_unit_test(a_key_is_asked_for_by_hosts_and_name),
	    cmocka_unit_test(its_refusal_is_told_in_its_own_words),
	    cmocka_unit_test(endless_words_are_cut),
	    cmocka_unit_test(its_own_trouble_is_waited_for),
	    cmocka_unit_test(another_key_or_page_in_its_place_is_not_taken),
	    cmocka_unit_test(an_absent_sidecar_is_given_up_soon),
	};
	return cmocka_run_group_tests(tests, surroundings_set_up, surroundings_tear_down);
}
