/* SPDX-License-Identifier: Apache-2.0 */
/* The retry loop (failure-matrix section 1; H-14, H-19 to H-21) and the shapes of error bodies. */
#include "surroundings.h"

static int refusal(const struct service_error *error)
{
	return error->http == 403 ? 331 : 242;
}
static const struct service plain = {
    .name = "the service", .step = "release", .throttled = 241, .down = 240, .refusal = refusal};

static skr_status ask(struct stage *stage, const struct service *service, json **ret, struct service_error *error)
{
	char url[128];

	snprintf(url, sizeof(url), "%s/thing", stage->url);
	return service_call_json(
	    &stage->azure, service,
	    &(struct http_request){.method = "GET", .url = url, .answer_limit = 4096, .limits = &http_limits_service},
	    ret, error);
}

static skr_status play(const struct scene *scenes, size_t count, int64_t deadline_ms, int *ret_requests,
                       int64_t *ret_ms)
{
	struct stage *stage = stage_open(scenes, count, true, deadline_ms);
	auto_json *answer = NULL;
	int64_t began = monotonic_ms();
	skr_status status = ask(stage, &plain, &answer, NULL);

	*ret_ms = monotonic_ms() - began;
	*ret_requests = stage->server->request_count;
	assert_int_equal(status.failure == 0, answer != NULL);
	stage_close(stage);
	return status;
}

static void a_busy_service_is_asked_again(void **state)
{
	(void)state;
	char *busy = json_reply(503, "", "{}"), *fine = json_reply(200, "", "{\"a\":1}");
	struct scene scenes[] = {{.reply = busy}, {.reply = fine}};
	int requests;
	int64_t ms;

	assert_int_equal(play(scenes, 2, 10000, &requests, &ms).failure, 0);
	assert_int_equal(requests, 2);
	assert_in_range(ms, 600, 1600); /* 0.8 s x U[0.8, 1.3) */
	free(busy);
	free(fine);
}

static void retry_after_is_honoured_if_it_fits(void **state)
{
	(void)state;
	char *slow = json_reply(429, "Retry-After: 2\r\n", "{}"), *fine = json_reply(200, "", "{}");
	char *never = json_reply(429, "Retry-After: 9999\r\n", "{}");
	struct scene waits[] = {{.reply = slow}, {.reply = fine}}, stops[] = {{.reply = never}, {.reply = fine}};
	int requests;
	int64_t ms;

	assert_int_equal(play(waits, 2, 10000, &requests, &ms).failure, 0);
	assert_in_range(ms, 2000, 2600);

	expect_failure(play(stops, 2, 10000, &requests, &ms), 241, "asks to wait 9999 s");
	assert_int_equal(requests, 1);
	assert_true(ms < 500);
	expect_failure(play(waits, 2, 1500, &requests, &ms), 241, "asks to wait 2 s");
	free(slow);
	free(fine);
	free(never);
}

static void attempts_end_with_the_time(void **state)
{
	(void)state;
	char *busy = json_reply(500, "x-ms-request-id: r-77\r\n",
	                        "{\"error\":{\"code\":\"InternalServerError\",\"message\":\"oh\\r\\n\\tno\","
	                        "\"innererror\":{\"code\":\"Deep\"}}}");
	struct scene scenes[] = {{.reply = busy}, {.reply = busy}, {.reply = busy}, {.reply = busy}};
	int requests;
	int64_t ms;

	expect_failure(play(scenes, 4, 1800, &requests, &ms), 240, "answers 500: oh no; no time is left to try again");
	assert_in_range(requests, 2, 3);
	assert_true(ms < 1900);
	const struct status_record *record = status_last();
	assert_string_equal(record->step, "release");
	assert_string_equal(record->svc_code, "InternalServerError/Deep");
	assert_string_equal(record->reqid, "r-77");
	assert_int_equal(record->http, 500);
	assert_int_equal(record->attempt, requests);
	assert_int_equal(record->attempts, 4);
	assert_int_equal(strncmp(record->host, "localhost:", 10), 0);
	free(busy);
}

static void what_is_refused_is_not_asked_again(void **state)
{
	(void)state;
	static const int statuses[] = {400, 403, 404, 405, 413, 415, 451, 501};
	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		char *reply = json_reply(statuses[i], "", "<html>no</html>");
		struct scene scenes[] = {{.reply = reply}, {.reply = reply}};
		int requests;
		int64_t ms;

		expect_failure(play(scenes, 2, 10000, &requests, &ms),
		               statuses[i] == 403   ? 331
		               : statuses[i] == 501 ? 240
		                                    : 242,
		               "with a web page");
		assert_int_equal(requests, 1);
		free(reply);
	}
}

/* H-14: bad JSON is refused; but where the connection's end may have cut it, it is asked for again. */
static void cut_json_is_asked_again_and_bad_json_is_not(void **state)
{
	(void)state;
	char *bad = json_reply(200, "", "{\"a\":1,\"a\":2}"), *fine = json_reply(200, "", "{}");
	struct scene cut[] = {
	    {.reply = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":", .end = CLOSE},
	    {.reply = fine}};
	struct scene wrong[] = {{.reply = bad}, {.reply = fine}};
	int requests;
	int64_t ms;

	assert_int_equal(play(cut, 2, 10000, &requests, &ms).failure, 0);
	assert_int_equal(requests, 2);
	expect_failure(play(wrong, 2, 10000, &requests, &ms), 213, "the service");
	assert_int_equal(requests, 1);
	assert_int_equal(strncmp(status_last()->host, "localhost:", 10), 0);
	free(bad);
	free(fine);
}

static void a_broken_connection_is_tried_again(void **state)
{
	(void)state;
	char *fine = json_reply(200, "", "{}");
	struct scene scenes[] = {{.end = RESET}, {.reply = fine}};
	int requests;
	int64_t ms;

	assert_int_equal(play(scenes, 2, 10000, &requests, &ms).failure, 0);
	assert_int_equal(requests, 2);
	free(fine);
}

static void the_unreachable_have_a_number_of_their_own(void **state)
{
	(void)state;
	struct service near = plain;
	struct stage *stage = stage_open(NULL, 0, true, 10000);
	auto_json *answer = NULL;

	near.unreachable = 300;
	snprintf(stage->url, sizeof(stage->url), "https://localhost:1");
	expect_failure(ask(stage, &near, &answer, NULL), 300, "refused");
	assert_int_equal(status_last()->attempts, 2);
	stage_close(stage);
}

static void delays_grow_and_scatter(void **state)
{
	(void)state;
	static const int64_t base[] = {0, 0, 800, 2400, 5600, 12000, 16000, 16000, 16000};
	for (int n = 2; n <= 8; n++) {
		assert_int_equal(service_delay_ms(n, 0), base[n] * 8 / 10);
		assert_true(service_delay_ms(n, 0xffff) < base[n] * 13 / 10);
		assert_true(service_delay_ms(n, 0xffff) > base[n] * 12 / 10);
	}
}

static struct service_error parse(const char *body)
{
	struct service_error error;
	service_error_parse(400, body, strlen(body), &error);
	return error;
}

static void every_shape_of_error_is_read(void **state)
{
	(void)state;
	struct service_error e = parse("{\"error\":{\"code\":\"Forbidden\",\"message\":\"a  "
	                               "b\\nc\",\"innererror\":{\"code\":\"X\",\"innererror\":{\"code\":"
	                               "\"Y\"}}}}");
	assert_string_equal(e.code, "Forbidden");
	assert_string_equal(e.inner, "Y");
	assert_string_equal(e.message, "a b c");

	e = parse(
	    "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000215: Invalid\",\"error_codes\":[7000215],"
	    "\"trace_id\":\"t-1\"}");
	assert_string_equal(e.code, "invalid_client");
	assert_int_equal(e.aadsts, 7000215);
	assert_string_equal(e.reqid, "t-1");
	assert_int_equal(parse("{\"error\":\"x\",\"error_description\":\"AADSTS70021: No\"}").aadsts, 70021);
	assert_int_equal(parse("{\"error\":\"x\",\"error_codes\":[-1]}").aadsts, 0);
	assert_int_equal(parse("{\"error\":\"x\",\"error_codes\":[\"1\"]}").aadsts, 0);

	e = parse("{\"statusCode\":400,\"message\":\"No such identity\",\"correlationId\":\"c-1\"}");
	assert_string_equal(e.message, "No such identity");
	assert_string_equal(e.reqid, "c-1");

	e = parse("{\"error\":\"a sentence\\nof the sidecar\"}{\"token\":\"\"}"); /* the first value counts */
	assert_string_equal(e.code, "");
	assert_string_equal(e.message, "a sentence of the sidecar");
	e = parse("{\"error\":\"invalid_request\"}");
	assert_string_equal(e.code, "invalid_request");
	assert_string_equal(e.message, "invalid_request");

	assert_true(parse("\r\n <!DOCTYPE html>").html);
	assert_string_equal(parse("[1,2]").message, "");
	assert_string_equal(parse("").message, "");
	assert_string_equal(parse("{\"error\":{\"code\":7,\"message\":[]}}").code, "");
	assert_int_equal(parse("{\"error\":{}}").http, 400);
}

static void endpoints_compare_without_slash_and_case(void **state)
{
	(void)state;
	assert_true(same_endpoint("https://A.example/", "https://a.example"));
	assert_false(same_endpoint("https://a.example", "https://a.example.org"));
	assert_false(same_endpoint("https://a.example//", "https://a.example"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_busy_service_is_asked_again),
	    cmocka_unit_test(retry_after_is_honoured_if_it_fits),
	    cmocka_unit_test(attempts_end_with_the_time),
	    cmocka_unit_test(what_is_refused_is_not_asked_again),
	    cmocka_unit_test(cut_json_is_asked_again_and_bad_json_is_not),
	    cmocka_unit_test(a_broken_connection_is_tried_again),
	    cmocka_unit_test(the_unreachable_have_a_number_of_their_own),
	    cmocka_unit_test(delays_grow_and_scatter),
	    cmocka_unit_test(every_shape_of_error_is_read),
	    cmocka_unit_test(endpoints_compare_without_slash_and_case),
	};
	return cmocka_run_group_tests(tests, surroundings_set_up, surroundings_tear_down);
}
