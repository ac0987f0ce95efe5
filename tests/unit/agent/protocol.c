/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/protocol.h"

#include "base/ossl.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static const char request_text[] = "{\"type\":\"request\",\"version\":2,\"token\":\"web\",\"transport_key\":{\"kty\":"
                                   "\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\","
                                   "\"kid\":\"k\"},\"nonce\":\"abc\",\"deadline_ms\":75000}";
static const char failure_text[] = "{\"type\":\"failure\",\"failure\":331,\"sentence\":\"no\",\"step\":\"release\","
                                   "\"host\":\"v.example\",\"attempt\":1,"
                                   "\"attempts\":4,\"http\":403,\"svc_code\":\"Forbidden\",\"reqid\":\"7f\"}";

static int open_ossl(void **state)
{
	(void)state;
	return ossl_open().failure;
}

static int parse_request(const char *text)
{
	auto_agent_request request = {.token = ""};
	return agent_request_parse(text, strlen(text), &request).failure;
}

static int parse_message(const char *text)
{
	auto_agent_message message = {.type = AGENT_END};
	return agent_message_parse(text, strlen(text), &message).failure;
}

static void a_request_comes_back_as_it_went(void **state)
{
	(void)state;
	auto_agent_request request = {.token = ""}, again = {.token = ""};
	auto_buf text = BUF(PROTOCOL_REQUEST_LIMIT);

	assert_int_equal(agent_request_parse(request_text, strlen(request_text), &request).failure, 0);
	assert_string_equal(request.token, "web");
	assert_string_equal(request.nonce, "abc");
	assert_int_equal(request.deadline_ms, 75000);
	assert_string_equal(json_string_or_null(request.transport_key, "kid"), "k");
	assert_int_equal(agent_request_print(&request, &text).failure, 0);
	assert_string_equal(buf_text(&text), request_text);
	assert_int_equal(agent_request_parse(text.data, text.len, &again).failure, 0);
}

static void messages_come_back_as_they_went(void **state)
{
	(void)state;
	const char *const texts[] = {
	    "{\"type\":\"step\",\"name\":\"evidence\"}",
	    "{\"type\":\"done\",\"name\":\"evidence\",\"ms\":12,\"detail\":\"snp-ioctl, 1184 bytes\"}",
	    "{\"type\":\"facts\",\"facts\":{\"tee\":\"AMD SEV-SNP\",\"request-release.www-1\":\"7f\"}}",
	    "{\"type\":\"transport\",\"kid\":\"k\",\"size\":256}",
	    "{\"type\":\"key\",\"index\":3,\"jws\":\"a.b.c\"}",
	    "{\"type\":\"opened\",\"index\":3,\"wrapped\":\"AAEC\"}",
	    "{\"type\":\"handed\",\"index\":3,\"bundle\":{\"key\":{\"kid\":\"u\"}},\"wrapped\":\"AAEC\"}",
	    failure_text,
	    "{\"type\":\"end\"}",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		auto_agent_message message = {.type = AGENT_END};
		auto_buf text = BUF(PROTOCOL_ANSWER_LIMIT);
		assert_int_equal(agent_message_parse(texts[i], strlen(texts[i]), &message).failure, 0);
		assert_int_equal(message.type, i);
		assert_int_equal(agent_message_print(&message, &text).failure, 0);
		assert_string_equal(buf_text(&text), texts[i]);
	}
}

/* G-05. */
static void what_is_not_exactly_a_message_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "",
	    "[]",
	    "{}",
	    "{\"type\":7}",
	    "{\"type\":\"start\"}",
	    "{\"type\":\"request\"}",
	    "{\"type\":\"end\",\"more\":1}",
	    "{\"type\":\"end\"} ,",
	    "{\"type\":\"end\",\"type\":\"end\"}",
	    "{\"type\":\"step\"}",
	    "{\"type\":\"step\",\"name\":\"\"}",
	    "{\"type\":\"step\",\"name\":\"Evidence\"}",
	    "{\"type\":\"step\",\"name\":\"abcdefghijklmnopqrstuvwx\"}",
	    "{\"type\":\"step\",\"name\":7}",
	    "{\"type\":\"done\",\"name\":\"a\",\"ms\":-1,\"detail\":\"\"}",
	    "{\"type\":\"done\",\"name\":\"a\",\"ms\":1.5,\"detail\":\"\"}",
	    "{\"type\":\"done\",\"name\":\"a\",\"ms\":\"1\",\"detail\":\"\"}",
	    "{\"type\":\"done\",\"name\":\"a\",\"ms\":1}",
	    "{\"type\":\"key\",\"index\":-1,\"jws\":\"a\"}",
	    "{\"type\":\"key\",\"index\":0}",
	    "{\"type\":\"key\",\"index\":0,\"jws\":7}",
	    "{\"type\":\"key\",\"index\":9007199254740992,\"jws\":\"\"}",
	    "{\"type\":\"transport\",\"kid\":\"k\",\"size\":0}",
	    "{\"type\":\"transport\",\"kid\":\"k\",\"size\":1025}",
	    "{\"type\":\"transport\",\"size\":256}",
	    "{\"type\":\"opened\",\"index\":0,\"wrapped\":\"\"}",
	    "{\"type\":\"opened\",\"index\":0,\"wrapped\":\"AAE=\"}",
	    "{\"type\":\"opened\",\"index\":0,\"wrapped\":\"A A\"}",
	    "{\"type\":\"handed\",\"index\":0,\"wrapped\":\"AAEC\"}",
	    "{\"type\":\"handed\",\"index\":0,\"bundle\":[],\"wrapped\":\"AAEC\"}",
	    "{\"type\":\"open\",\"index\":0,\"wrapped\":\"AAEC\"}",
	    "{\"type\":\"facts\",\"facts\":[]}",
	    "{\"type\":\"facts\",\"facts\":{\"tee\":7}}",
	    "{\"type\":\"facts\",\"facts\":{\"\":\"x\"}}",
	    "{\"type\":\"facts\",\"facts\":{\"a b\":\"x\"}}",
	    "{\"type\":\"facts\",\"facts\":{\"tee\":\"two\\nlines\"}}",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (parse_message(texts[i]) != 504)
			fail_msg("%s: %s", texts[i], status_message());
	}
}

static void what_is_to_be_opened_comes_back_as_it_went(void **state)
{
	(void)state;
	static const char text[] = "{\"type\":\"open\",\"index\":2,\"wrapped\":\"AAEC\"}";
	static const char *const bad[] = {
	    "{\"type\":\"open\",\"index\":2}",
	    "{\"type\":\"open\",\"index\":-1,\"wrapped\":\"AAEC\"}",
	    "{\"type\":\"open\",\"index\":2,\"wrapped\":\"\"}",
	    "{\"type\":\"open\",\"index\":2,\"wrapped\":\"AAEC\",\"more\":1}",
	    "{\"type\":\"opened\",\"index\":2,\"wrapped\":\"AAEC\"}",
	    "{\"index\":2,\"wrapped\":\"AAEC\"}",
	};
	auto_agent_open open = {.index = 0};
	auto_buf again = BUF(PROTOCOL_REQUEST_LIMIT);

	assert_int_equal(agent_open_parse(text, strlen(text), &open).failure, 0);
	assert_int_equal(open.index, 2);
	assert_int_equal(open.wrapped.len, 3);
	assert_int_equal(agent_open_print(&open, &again).failure, 0);
	assert_string_equal(buf_text(&again), text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		auto_agent_open refused = {.index = 0};
		if (agent_open_parse(bad[i], strlen(bad[i]), &refused).failure != 504 || refused.wrapped.data)
			fail_msg("%s: %s", bad[i], status_message());
	}
}

static void replace(char *text, const char *what, const char *with)
{
	char whole[2048];
	char *at = strstr(text, what);

	assert_non_null(at);
	snprintf(whole, sizeof(whole), "%.*s%s%s", (int)(at - text), text, with, at + strlen(what));
	strcpy(text, whole);
}

static void a_failure_must_be_a_known_one_in_known_bounds(void **state)
{
	(void)state;
	static const struct {
		const char *what, *with;
	} cases[] = {
	    {"331", "0"},
	    {"331", "-5"},
	    {"331", "600"},
	    {"331", "330.5"},
	    {"331", "199"},
	    {"331", "null"},
	    {"331", "351"}, /* a note */
	    {"331", "403"}, /* CKR_FUNCTION_CANCELED */
	    {"331", "410"}, /* CKR_PIN_INCORRECT */
	    {"331", "412"}, /* CKR_PIN_LOCKED */
	    {"403", "1000"},
	    {"\"attempt\":1", "\"attempt\":-1"},
	    {"\"reqid\":\"7f\"", "\"reqid\":null"},
	    {"\"no\"", "7"},
	    {",\"http\":403", ""},
	    {"\"release\"", "\"a-step-of-more-than-23-bytes\""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[2048];
		strcpy(text, failure_text);
		replace(text, cases[i].what, cases[i].with);
		if (parse_message(text) != 504)
			fail_msg("%s", text);
	}
}

static void a_request_must_be_complete_and_nothing_more(void **state)
{
	(void)state;
	static const struct {
		const char *what, *with;
		int failure;
	} cases[] = {
	    {"\"version\":2", "\"version\":3", 505},
	    {"\"version\":2", "\"version\":0", 505},
	    {"\"version\":2,", "", 504},
	    {"\"version\":2", "\"version\":\"1\"", 504},
	    {"\"version\":2", "\"version\":3,\"new\":true", 505},
	    {"\"request\"", "\"end\"", 504},
	    {"\"web\"", "\"a-label-of-more-than-thirty-two-byt\"", 504},
	    {"\"nonce\":\"abc\",", "", 504},
	    {"75000", "-1", 504},
	    {"75000", "3600001", 504},
	    {"75000", "75000,\"more\":{}", 504},
	    {"\"kty\":\"RSA\",", "", 504},
	    {"\"kid\":\"k\"", "\"kid\":1", 504},
	    {"{\"kty\"", "[{\"kty\"", 504},
	    {"\"abc\"", "\"abc", 504},
	};
	assert_int_equal(parse_request(request_text), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char text[2048];
		strcpy(text, request_text);
		replace(text, cases[i].what, cases[i].with);
		if (parse_request(text) != cases[i].failure)
			fail_msg("%s: %s", text, status_message());
	}
}

/* G-06: both versions are in the sentence. */
static void another_version_is_named_with_ours(void **state)
{
	(void)state;
	char text[2048];

	strcpy(text, request_text);
	replace(text, "\"version\":2", "\"version\":7");
	assert_int_equal(parse_request(text), 505);
	assert_non_null(strstr(status_message(), "7"));
	assert_non_null(strstr(status_message(), "2"));
}

/* ---- frames ---- */

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void *send_slowly(void *with)
{
	const int *fd = with;
	const uint8_t bytes[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};

	for (size_t i = 0; i < sizeof(bytes); i++) {
		usleep(2000);
		if (send(*fd, bytes + i, 1, MSG_NOSIGNAL) != 1)
			return (void *)1;
	}
	return NULL;
}

static void a_frame_may_come_byte_by_byte(void **state)
{
	(void)state;
	int pair[2];
	pthread_t thread;
	auto_buf body = BUF(5);

	make_pair(pair);
	pthread_create(&thread, NULL, send_slowly, &pair[1]);
	assert_int_equal(frame_receive(pair[0], &body, deadline_in(5000), NULL, NULL).failure, 0);
	assert_string_equal(buf_text(&body), "hello");
	pthread_join(thread, NULL);
	close(pair[0]);
	close(pair[1]);
}

struct large {
	int fd;
	struct buf body;
	int failure;
};

static void *send_large(void *with)
{
	struct large *large = with;
	large->failure = frame_send(large->fd, &large->body, deadline_in(5000)).failure;
	return NULL;
}

static void a_frame_larger_than_the_sockets_buffer_arrives(void **state)
{
	(void)state;
	int pair[2];
	pthread_t thread;
	const size_t len = 3 * 1024 * 1024;
	struct large large = {.body = BUF(len)};
	auto_buf body = BUF(len);
	uint8_t *place;

	make_pair(pair);
	large.fd = pair[1];
	assert_int_equal(buf_reserve(&large.body, len, &place).failure, 0);
	for (size_t i = 0; i < len; i++)
		place[i] = (uint8_t)(i * 7 + i / 251);
	large.body.len = len;
	pthread_create(&thread, NULL, send_large, &large);
	assert_int_equal(frame_receive(pair[0], &body, deadline_in(5000), NULL, NULL).failure, 0);
	pthread_join(thread, NULL);
	assert_int_equal(large.failure, 0);
	assert_int_equal(body.len, len);
	assert_memory_equal(body.data, large.body.data, len);
	buf_done(&large.body);
	close(pair[0]);
	close(pair[1]);
}

static int receive_bytes(const void *bytes, size_t len, bool hang_up)
{
	int pair[2];
	auto_buf body = BUF(16);

	make_pair(pair);
	assert_int_equal(send(pair[1], bytes, len, 0), len);
	if (hang_up)
		close(pair[1]);
	int failure = frame_receive(pair[0], &body, deadline_in(100), NULL, NULL).failure;
	if (failure)
		assert_int_equal(body.len, 0);
	close(pair[0]);
	if (!hang_up)
		close(pair[1]);
	return failure;
}

static void lengths_are_checked_before_anything_is_allocated(void **state)
{
	(void)state;
	assert_int_equal(receive_bytes("\0\0\0\x11", 4, false), 504);
	assert_int_equal(receive_bytes("\xff\xff\xff\xff", 4, false), 504);
	assert_int_equal(receive_bytes("\0\0\0\0", 4, false), 504);
	assert_int_equal(receive_bytes("\0\0\0\x10"
	                               "0123456789abcdef",
	                               20, false),
	                 0);
}

static void an_end_is_told_from_silence(void **state)
{
	(void)state;
	assert_int_equal(receive_bytes("\0\0\0\4ab", 6, true), 503);
	assert_int_equal(receive_bytes("\0\0", 2, true), 503);
	assert_int_equal(receive_bytes("\0\0\0\4ab", 6, false), 506);
	assert_int_equal(receive_bytes("\0\0", 2, false), 506);
}

/* The disposition of SIGPIPE is the default here: it would end this program. */
static void sending_to_nobody_raises_no_signal(void **state)
{
	(void)state;
	int pair[2];
	auto_buf body = BUF(16);

	make_pair(pair);
	close(pair[1]);
	assert_int_equal(buf_append_text(&body, "hello").failure, 0);
	assert_int_equal(frame_send(pair[0], &body, deadline_in(1000)).failure, 503);
	close(pair[0]);
}

/* C-14: nothing is written into what has our number now. */
static void a_descriptor_that_is_no_socket_is_left_alone(void **state)
{
	(void)state;
	auto_buf body = BUF(16);
	FILE *file = tmpfile();

	assert_int_equal(buf_append_text(&body, "hello").failure, 0);
	assert_int_equal(frame_send(fileno(file), &body, deadline_in(1000)).failure, 405);
	assert_int_equal(lseek(fileno(file), 0, SEEK_END), 0);
	assert_int_equal(frame_receive(fileno(file), &body, deadline_in(1000), NULL, NULL).failure, 405);
	fclose(file);
	assert_int_equal(frame_receive(987, &body, deadline_in(1000), NULL, NULL).failure, 405);
}

static int say_yes_the_second_time(void *with)
{
	int *count = with;
	return ++*count >= 2;
}

static void a_cancellation_is_noticed_within_its_time(void **state)
{
	(void)state;
	int pair[2], asked = 0;
	auto_buf body = BUF(16);

	make_pair(pair);
	int64_t start = monotonic_ms();
	assert_int_equal(frame_receive(pair[0], &body, deadline_in(5000), say_yes_the_second_time, &asked).failure,
	                 403);
	assert_in_range(monotonic_ms() - start, 0, 400);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_request_comes_back_as_it_went),
	    cmocka_unit_test(messages_come_back_as_they_went),
	    cmocka_unit_test(what_is_not_exactly_a_message_is_refused),
	    cmocka_unit_test(what_is_to_be_opened_comes_back_as_it_went),
	    cmocka_unit_test(a_failure_must_be_a_known_one_in_known_bounds),
	    cmocka_unit_test(a_request_must_be_complete_and_nothing_more),
	    cmocka_unit_test(another_version_is_named_with_ours),
	    cmocka_unit_test(a_frame_may_come_byte_by_byte),
	    cmocka_unit_test(a_frame_larger_than_the_sockets_buffer_arrives),
	    cmocka_unit_test(lengths_are_checked_before_anything_is_allocated),
	    cmocka_unit_test(an_end_is_told_from_silence),
	    cmocka_unit_test(sending_to_nobody_raises_no_signal),
	    cmocka_unit_test(a_descriptor_that_is_no_socket_is_left_alone),
	    cmocka_unit_test(a_cancellation_is_noticed_within_its_time),
	};
	return cmocka_run_group_tests(tests, open_ossl, NULL);
}
