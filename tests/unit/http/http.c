/* SPDX-License-Identifier: Apache-2.0 */
/* http_call() against a scripted server: rows H-04 to H-18 of the failure matrix, rules of threat model section 10. */
#include "http/http.h"

#include "support/http_server.h"

#include <setjmp.h>
#include <cmocka.h>
#include <sys/stat.h>

/* Small, so that a stall is noticed in a fraction of a second. */
static const struct http_limits quick = {
    .connect_ms = 1000, .tls_ms = 1000, .first_byte_ms = 500, .whole_ms = 5000, .window_ms = 250, .window_bytes = 64};

#define ANSWER_LIMIT 256

static struct test_certificate good, other;
static char good_ca[] = "/tmp/skr-http-good-XXXXXX", other_ca[] = "/tmp/skr-http-other-XXXXXX";

static int set_up(void **state)
{
	(void)state;
	if (ossl_open().failure)
		return -1;
	test_certificate_make(&good);
	test_certificate_make(&other);
	test_certificate_write(&good, good_ca);
	test_certificate_write(&other, other_ca);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	unlink(good_ca);
	unlink(other_ca);
	test_certificate_free(&good);
	test_certificate_free(&other);
	return 0;
}

struct call {
	struct config config;
	bool direct;
	const char *path, *host;
	const char *body;
	const char *header;
	int port; /* instead of the server's */
};

/* One call to the server, with a client of its own. */
static skr_status call_once(struct http_server *server, struct call call, struct http_answer *answer)
{
	auto_http *http = NULL;
	char url[256];

	if (!call.config.ca_file)
		call.config.ca_file = good_ca;
	snprintf(url, sizeof(url), "%s://%s:%d%s", call.direct ? "http" : "https", call.host ? call.host : "localhost",
	         call.port ? call.port : server->port, call.path ? call.path : "/x");
	TRY(http_open(&call.config, &http));
	return http_call(http,
	                 &(struct http_request){.method = call.body ? "POST" : "GET",
	                                        .url = url,
	                                        .headers = {call.header ? call.header : "X-Test: 1"},
	                                        .content_type = "application/json",
	                                        .body = call.body,
	                                        .body_len = call.body ? strlen(call.body) : 0,
	                                        .answer_limit = ANSWER_LIMIT,
	                                        .limits = &quick,
	                                        .direct = call.direct},
	                 deadline_in(5000), answer);
}

static skr_status play(struct scene scene, const struct test_certificate *certificate, struct call call,
                       struct http_answer *answer)
{
	struct http_server *server = server_start(&scene, 1, certificate, 0);
	skr_status status = call_once(server, call, answer);

	server_stop(server);
	return status;
}

/* ---- what works ---- */

static void an_answer_comes_with_its_headers(void **state)
{
	(void)state;
	auto_http_answer answer = {0};
	char *reply =
	    json_reply(429, "Retry-After: 7\r\nx-ms-request-id: abc-1\r\nWWW-Authenticate: Bearer x=\"y\"\r\n", "{}");
	struct scene scene = {.reply = reply};

	assert_int_equal(play(scene, &good, (struct call){0}, &answer).failure, 0);
	assert_int_equal(answer.status, 429);
	assert_int_equal(answer.retry_after_s, 7);
	assert_string_equal(answer.request_id, "abc-1");
	assert_string_equal(answer.challenge, "Bearer x=\"y\"");
	assert_string_equal(buf_text(&answer.body), "{}");
	free(reply);
}

static void the_request_says_what_it_should_and_no_more(void **state)
{
	(void)state;
	auto_http_answer answer = {0};
	char *reply = json_reply(200, "", "{\"a\":1}");
	struct scene scene = {.reply = reply};
	struct http_server *server = server_start(&scene, 1, &good, 0);

	setenv("http_proxy", "http://127.0.0.1:1", 1); /* H-18 */
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("HTTPS_PROXY", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	setenv("SSL_CERT_FILE", "/nonexistent", 1);
	setenv("SSLKEYLOGFILE", "/tmp/skr-http-keylog", 1);
	unlink("/tmp/skr-http-keylog");
	struct call call = {.body = "{\"b\":2}", .header = "Authorization: Bearer tkn", .path = "/keys/../a?b=c"};
	assert_int_equal(call_once(server, call, &answer).failure, 0);
	assert_string_equal(buf_text(&answer.body), "{\"a\":1}");
	const char *request = server->requests[0];
	assert_non_null(strstr(request, "POST /keys/../a?b=c HTTP/1.1\r\n"));
	assert_non_null(strstr(request, "\r\nUser-Agent: skr-pkcs11/" SKR_VERSION "\r\n"));
	assert_non_null(strstr(request, "\r\nAuthorization: Bearer tkn\r\n"));
	assert_non_null(strstr(request, "\r\nContent-Type: application/json\r\n"));
	assert_null(strcasestr(request, "\r\nAccept-Encoding:"));
	assert_null(strcasestr(request, "\r\nCookie:"));
	assert_null(strcasestr(request, "\r\nExpect:"));
	assert_int_equal(access("/tmp/skr-http-keylog", F_OK), -1);
	server_stop(server);
	free(reply);
}

static void connections_are_reused(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", "{}");
	struct scene scenes[] = {{.reply = reply}, {.reply = reply}};
	struct http_server *server = server_start(scenes, 2, &good, 0);
	struct config config = {.ca_file = good_ca};
	auto_http *http = NULL;
	char url[64];

	snprintf(url, sizeof(url), "https://localhost:%d/", server->port);
	assert_int_equal(http_open(&config, &http).failure, 0);
	for (int i = 0; i < 2; i++) {
		auto_http_answer answer = {0};
		struct http_request request = {.method = "GET", .url = url, .answer_limit = 64, .limits = &quick};
		assert_int_equal(http_call(http, &request, deadline_in(2000), &answer).failure, 0);
	}
	assert_int_equal(server->connections, 1);
	server_stop(server);
	free(reply);
}

/* ---- answers that are refused ---- */

#define HEAD    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define LONG_16 "aaaaaaaaaaaaaaaa"
#define LONG_256                                                                                                \
	LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 \
	    LONG_16 LONG_16 LONG_16

static const struct refused {
	const char *name; /* begins with the row of the failure matrix */
	const char *reply;
	enum scene_end end;
	int failure;
	const char *said; /* part of the sentence; NULL: anything */
} refused[] = {
    {"H-05 reset before the answer", NULL, RESET, 204, NULL},
    {"H-05 reset inside the answer", HEAD "Content-Length: 20\r\n\r\n{\"a\":", RESET, 204, "inside the answer"},
    {"H-06 close before the answer", NULL, CLOSE, 205, NULL},
    {"H-06 close inside the headers", "HTTP/1.1 200 OK\r\nContent-Ty", CLOSE, 205, NULL},
    {"H-06 close inside the body", HEAD "Content-Length: 20\r\n\r\n{\"a\":", CLOSE, 205, "after 5 of 20 bytes"},
    {"H-06 close inside the chunks", HEAD "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":", CLOSE, 205, NULL},
    {"H-07 nothing after the first bytes", HEAD "Content-Length: 20\r\n\r\n{", STALL, 206, NULL},
    {"H-08 silence", NULL, STALL, 207, "nothing in"},
    {"H-09 body above the limit", HEAD "\r\n" LONG_256 "a", CLOSE, 208, "limit of 256"},
    {"H-09 length above the limit", HEAD "Content-Length: 257\r\n\r\n", STALL, 208, "limit of 256"},
    {"H-09 huge length", HEAD "Content-Length: 99999999999999999999999999\r\n\r\n", STALL, 208, NULL},
    {"H-09 negative length", HEAD "Content-Length: -1\r\n\r\n", STALL, 208, NULL},
    {"H-09 two lengths", HEAD "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", KEEP, 208, "twice"},
    {"H-09 length and chunks", HEAD "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", KEEP,
     208, "both"},
    {"H-09 chunks above the limit", HEAD "Transfer-Encoding: chunked\r\n\r\n100\r\n" LONG_256 "\r\n1\r\na\r\n", STALL,
     208, "limit of 256"},
    {"H-10 no HTTP at all", "SSH-2.0-OpenSSH_9.2p1 Debian\r\n", CLOSE, 209, NULL},
    {"H-10 HTTP of another major version", "HTTP/3.0 200 OK\r\n\r\n", CLOSE, 209, NULL},
    {"H-10 status of two digits", "HTTP/1.1 20 OK\r\n\r\n", CLOSE, 209, NULL},
    {"H-10 header without colon", HEAD "nothing here\r\n\r\n{}", CLOSE, 209, "colon"},
    {"H-10 folded header", HEAD "X-A: 1\r\n  2\r\n\r\n{}", CLOSE, 209, "header line 4"},
    {"H-10 bare line feed", "HTTP/1.1 200 OK\r\nContent-Type: application/json\n\r\n{}", CLOSE, 209, "CR LF"},
    {"H-10 chunk size that is none", HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", STALL, 209, NULL},
    {"H-11 interim answers without end",
     "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 103 "
     "E\r\n\r\n" HEAD "Content-Length: 2\r\n\r\n{}",
     STALL, 210, "interim"},
    {"H-11 204", "HTTP/1.1 204 No\r\n\r\n", STALL, 210, "204"},
    {"H-11 206", "HTTP/1.1 206 Part\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", STALL, 210,
     "206"},
    {"H-11 999", "HTTP/1.1 999 X\r\nContent-Length: 2\r\n\r\n{}", STALL, 210, "999"},
    {"H-12 redirect", "HTTP/1.1 302 F\r\nLocation: https://127.0.0.1:1/\x01stolen\r\nContent-Length: 0\r\n\r\n", STALL,
     211, "https://127.0.0.1:1/?stolen"},
    {"H-12 307", "HTTP/1.1 307 F\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n", STALL, 211, "/elsewhere"},
    {"H-13 a web page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", STALL, 212,
     "web page"},
    {"H-13 octets", "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 2\r\n\r\n{}", STALL,
     212, NULL},
    {"H-13 compressed", HEAD "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", STALL, 212, "gzip"},
    {"H-13 compressed on the way", HEAD "Transfer-Encoding: gzip\r\n\r\n{}", CLOSE, 212, "gzip"},
};

static void bad_answers_are_refused_by_their_number(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct http_answer answer = {.status = -1};
		struct scene scene = {.reply = refused[i].reply, .end = refused[i].end};
		int failure = play(scene, &good, (struct call){0}, &answer).failure;

		if (failure != refused[i].failure)
			fail_msg("%s: SKR-%d (%s)", refused[i].name, failure, status_message());
		if (refused[i].said && !strstr(status_message(), refused[i].said))
			fail_msg("%s: says \"%s\"", refused[i].name, status_message());
		if (strncmp(status_last()->host, "localhost:", 10) != 0)
			fail_msg("%s: host is \"%s\"", refused[i].name, status_last()->host);
		assert_int_equal(answer.status, -1); /* untouched */
	}
}

/* H-10, I-25: a thousand headers, a header of 5 KiB, and one without end. */
static void headers_have_limits(void **state)
{
	(void)state;
	static char reply[400 * 1024];
	struct http_answer answer = {0};
	size_t at = (size_t)snprintf(reply, sizeof(reply), HEAD);

	for (int i = 0; i < 1000; i++)
		at += (size_t)snprintf(reply + at, sizeof(reply) - at, "X-%d: y\r\n", i);
	assert_int_equal(play((struct scene){.reply = reply, .end = STALL}, &good, (struct call){0}, &answer).failure,
	                 208);

	snprintf(reply, sizeof(reply), HEAD "X: %0*d\r\n\r\n", 5000, 7);
	assert_int_equal(play((struct scene){.reply = reply, .end = STALL}, &good, (struct call){0}, &answer).failure,
	                 208);

	snprintf(reply, sizeof(reply), HEAD "X: %0*d", 390000, 7);
	int failure = play((struct scene){.reply = reply, .end = STALL}, &good, (struct call){0}, &answer).failure;
	if (failure != 208 && failure != 209)
		fail_msg("a header line without end: SKR-%d (%s)", failure, status_message());
}

static void four_interim_answers_are_skipped(void **state)
{
	(void)state;
	auto_http_answer answer = {0};
	struct scene scene = {
	    .reply = "HTTP/1.1 103 E\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 103 E\r\n\r\nHTTP/1.1 103 E\r\n\r\n" HEAD
	             "Content-Length: 2\r\n\r\n{}"};

	assert_int_equal(play(scene, &good, (struct call){0}, &answer).failure, 0);
	assert_int_equal(answer.status, 200);
}

/* H-07: the rule is a rate, not a pause. */
static void a_dripping_answer_is_given_up(void **state)
{
	(void)state;
	struct http_answer answer = {0};
	struct scene scene = {
	    .reply = HEAD "Content-Length: 200\r\n\r\n" LONG_256, .drip_ms = 15, .drip_from = strlen(HEAD) + 30};
	int64_t began = monotonic_ms();

	assert_int_equal(play(scene, &good, (struct call){0}, &answer).failure, 206);
	assert_true(monotonic_ms() - began < 2000);
}

static void the_deadline_ends_an_attempt(void **state)
{
	(void)state;
	struct scene scene = {.end = STALL};
	struct http_server *server = server_start(&scene, 1, &good, 0);
	struct config config = {.ca_file = good_ca};
	auto_http *http = NULL;
	struct http_answer answer = {0};
	char url[64];

	snprintf(url, sizeof(url), "https://localhost:%d/", server->port);
	assert_int_equal(http_open(&config, &http).failure, 0);
	int64_t began = monotonic_ms();
	struct http_request request = {.method = "GET", .url = url, .answer_limit = 64, .limits = &http_limits_service};
	assert_int_equal(http_call(http, &request, deadline_in(150), &answer).failure, 207);
	assert_true(monotonic_ms() - began < 2000);
	server_stop(server);
}

static void a_closed_port_is_named(void **state)
{
	(void)state;
	struct http_answer answer = {0};
	struct call call = {.port = 1};

	assert_int_equal(call_once(NULL, call, &answer).failure, 203); /* H-04 */
	assert_non_null(strstr(status_message(), "refused"));
	assert_string_equal(status_last()->host, "localhost:1");
}

static void a_name_without_address_is_a_name_problem(void **state)
{
	(void)state;
	struct http_answer answer = {0};
	struct call call = {.port = 443, .host = "no-such-name.invalid"};
	int failure = call_once(NULL, call, &answer).failure;

	assert_true(failure == 200 || failure == 201); /* H-01, H-02: as the resolver of this machine says */
}

/* ---- TLS: H-15, H-16 ---- */

static void expect_tls(struct test_certificate certificate, const char *trusted, int failure, const char *said)
{
	struct http_answer answer = {0};
	char *reply = json_reply(200, "", "{}");
	char path[] = "/tmp/skr-http-case-XXXXXX";

	test_certificate_make(&certificate);
	test_certificate_write(&certificate, path);
	struct call call = {.config.ca_file = trusted ? trusted : path};
	int got = play((struct scene){.reply = reply}, &certificate, call, &answer).failure;
	if (got != failure || (said && !strstr(status_message(), said)))
		fail_msg("expected SKR-%d with \"%s\", got SKR-%d: %s", failure, said ? said : "", got,
		         status_message());
	http_answer_done(&answer);
	unlink(path);
	test_certificate_free(&certificate);
	free(reply);
}

static void certificates_must_verify(void **state)
{
	(void)state;
	expect_tls((struct test_certificate){0}, NULL, 0, NULL);
	expect_tls((struct test_certificate){0}, other_ca, 220,
	           "subject CN=a scripted server, issuer CN=a scripted server");
	expect_tls((struct test_certificate){.name = "elsewhere.example"}, NULL, 220, "not for this host name");
	expect_tls((struct test_certificate){.from = -7200, .until = -3600}, NULL, 220, "expired");
	expect_tls((struct test_certificate){.from = -7200, .until = -3600}, NULL, 220, "the clock here says 20");
	expect_tls((struct test_certificate){.from = 3600, .until = 7200}, NULL, 220, "not yet valid");
	expect_tls((struct test_certificate){.bits = 1024}, NULL, 220, "too weak");
}

/* E-16: an earlier peer's Date says that it is our clock that is wrong. */
static void a_wrong_clock_is_told_from_a_bad_certificate(void **state)
{
	(void)state;
	struct test_certificate future = {.from = 3600, .until = 10800};
	struct config config = {0};
	char path[] = "/tmp/skr-http-case-XXXXXX", url[64], date[64], *reply = NULL;
	struct http_answer answer = {0};
	auto_http *http = NULL;
	time_t later = time(NULL) + 7200;
	struct tm tm;

	strftime(date, sizeof(date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&later, &tm));
	reply = json_reply(200, date, "{}");
	test_certificate_make(&future);
	test_certificate_write(&future, path);
	config.ca_file = path;
	struct scene scene = {.reply = reply};
	struct http_server *plain = server_start(&scene, 1, NULL, 0), *tls = server_start(&scene, 1, &future, 0);

	assert_int_equal(http_open(&config, &http).failure, 0);
	struct http_request request = {
	    .method = "GET", .url = url, .answer_limit = 64, .limits = &quick, .direct = true};
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", plain->port);
	assert_int_equal(http_call(http, &request, deadline_in(2000), &answer).failure, 0);
	http_answer_done(&answer);
	snprintf(url, sizeof(url), "https://localhost:%d/", tls->port);
	assert_int_equal(http_call(http, &request, deadline_in(2000), &answer).failure, 19);
	assert_non_null(strstr(status_message(), "s ahead of ours"));
	server_stop(plain);
	server_stop(tls);
	unlink(path);
	test_certificate_free(&future);
	free(reply);
}

static void old_tls_is_refused(void **state)
{
	(void)state;
	struct scene scene = {.end = CLOSE};
	struct http_server *server = server_start(&scene, 1, &good, TLS1_1_VERSION);
	struct http_answer answer = {0};

	assert_int_equal(call_once(server, (struct call){0}, &answer).failure, 221);
	server_stop(server);
}

static void what_is_no_tls_is_refused(void **state)
{
	(void)state;
	struct http_answer answer = {0};

	assert_int_equal(play((struct scene){.reply = "HTTP/1.1 400 Bad\r\n\r\n", .at_accept = true, .end = STALL},
	                      NULL, (struct call){0}, &answer)
	                     .failure,
	                 221);
	/* What a cut before the first byte is called depends on how far each side had come; all of it is tried again.
	 */
	for (enum scene_end end = CLOSE; end <= RESET; end++) {
		int cut = play((struct scene){.at_accept = true, .end = end}, NULL, (struct call){0}, &answer).failure;
		assert_in_range(cut, 203, 205);
	}
	assert_int_equal(play((struct scene){.at_accept = true, .end = STALL}, NULL, (struct call){0}, &answer).failure,
	                 207);
	assert_non_null(strstr(status_message(), "handshake"));
}

static void pins_hold_per_host(void **state)
{
	(void)state;
	char wrong[] = "localhost sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	char elsewhere[] = "example.org sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
	const char *pins[] = {elsewhere, wrong};
	char *reply = json_reply(200, "", "{}");
	auto_http_answer answer = {0};

	struct call call = {.config = {.pins = pins, .pin_count = 2}};
	assert_int_equal(play((struct scene){.reply = reply}, &good, call, &answer).failure, 222);
	call.config.pin_count = 1;
	assert_int_equal(play((struct scene){.reply = reply}, &good, call, &answer).failure, 0);
	free(reply);
}

static void without_authorities_there_is_no_client(void **state)
{
	(void)state;
	struct config config = {.ca_file = "/nonexistent/ca.pem"};
	struct http *http = NULL;
	char empty[] = "/tmp/skr-http-empty-XXXXXX";

	assert_int_equal(http_open(&config, &http).failure, 7); /* E-07 */
	assert_null(http);
	assert_non_null(strstr(status_message(), "/nonexistent/ca.pem"));
	close(mkstemp(empty));
	config.ca_file = empty;
	assert_int_equal(http_open(&config, &http).failure, 7);
	unlink(empty);
}

/* ---- plain http and the proxy ---- */

static void plain_http_is_for_this_machine_alone(void **state)
{
	(void)state;
	char *reply = json_reply(200, "", "{}");
	struct scene scene = {.reply = reply};
	struct http_server *server = server_start(&scene, 1, NULL, 0);
	auto_http_answer answer = {0};
	struct config config = {.ca_file = good_ca, .https_proxy = "127.0.0.1:1"};
	auto_http *http = NULL;
	char url[64];

	/* I-10: a configured proxy is not for the metadata service. */
	struct call call = {.direct = true, .host = "127.0.0.1", .config.https_proxy = "127.0.0.1:1"};
	assert_int_equal(call_once(server, call, &answer).failure, 0);
	config.https_proxy = NULL;
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", server->port);
	assert_int_equal(http_open(&config, &http).failure, 0);
	struct http_request request = {.method = "GET", .url = url, .answer_limit = 64, .limits = &quick};
	assert_true(http_call(http, &request, deadline_in(1000), &answer).failure != 0);
	assert_int_equal(server->request_count, 1);
	server_stop(server);
	free(reply);
}

static const struct {
	const char *reply;
	enum scene_end end;
	int failure;
} proxies[] = {
    {"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", CLOSE, 231},
    {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", CLOSE, 231},
    {"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", CLOSE, 230},
    {NULL, CLOSE, 230},
    {NULL, STALL, 230},
};

static void proxies_fail_by_their_own_numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++) { /* H-17 */
		struct scene scene = {.reply = proxies[i].reply, .end = proxies[i].end};
		struct http_server *proxy = server_start(&scene, 1, NULL, 0);
		struct http_answer answer = {0};
		char at[32];

		snprintf(at, sizeof(at), "127.0.0.1:%d", proxy->port);
		struct call call = {.host = "vault.example", .port = 443, .config.https_proxy = at};
		int failure = call_once(proxy, call, &answer).failure;
		if (failure != proxies[i].failure)
			fail_msg("proxy %zu: SKR-%d (%s)", i, failure, status_message());
		assert_int_equal(strncmp(proxy->requests[0], "CONNECT vault.example:443 HTTP/1.1\r\n", 36), 0);
		assert_null(strcasestr(proxy->requests[0], "Proxy-Authorization"));
		server_stop(proxy);
	}
	struct http_answer answer = {0};
	struct call call = {.host = "vault.example", .port = 443, .config.https_proxy = "127.0.0.1:1"};
	assert_int_equal(call_once(NULL, call, &answer).failure, 230);
}

static void control_characters_in_a_header_are_refused(void **state)
{
	(void)state;
	struct http_answer answer = {0};
	struct call call = {.port = 1, .header = "Authorization: Bearer a\r\nX-Evil: 1"};

	assert_int_equal(call_once(NULL, call, &answer).failure, 599);
}

/* ---- small functions ---- */

static void retry_after_is_seconds_or_a_date(void **state)
{
	(void)state;
	assert_int_equal(http_retry_after("5", 0), 5);
	assert_int_equal(http_retry_after("0", 0), 0);
	assert_int_equal(http_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 40), 60);
	assert_int_equal(http_retry_after("Thu, 01 Jan 1970 00:01:40 GMT", 400), 0);
	assert_int_equal(http_retry_after("-5", 0), -1);
	assert_int_equal(http_retry_after("1.5", 0), -1);
	assert_int_equal(http_retry_after("99999999999999999999", 0), -1);
	assert_int_equal(http_retry_after("soon", 0), -1);
	assert_int_equal(http_retry_after("", 0), -1);
}

static void escaping_leaves_only_unreserved_characters(void **state)
{
	(void)state;
	auto_buf out = BUF(64);

	assert_int_equal(http_escape("https://a.b/~x &\xff", &out).failure, 0);
	assert_string_equal(buf_text(&out), "https%3A%2F%2Fa.b%2F~x%20%26%FF");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_answer_comes_with_its_headers),
	    cmocka_unit_test(the_request_says_what_it_should_and_no_more),
	    cmocka_unit_test(connections_are_reused),
	    cmocka_unit_test(bad_answers_are_refused_by_their_number),
	    cmocka_unit_test(headers_have_limits),
	    cmocka_unit_test(four_interim_answers_are_skipped),
	    cmocka_unit_test(a_dripping_answer_is_given_up),
	    cmocka_unit_test(the_deadline_ends_an_attempt),
	    cmocka_unit_test(a_closed_port_is_named),
	    cmocka_unit_test(a_name_without_address_is_a_name_problem),
	    cmocka_unit_test(certificates_must_verify),
	    cmocka_unit_test(a_wrong_clock_is_told_from_a_bad_certificate),
	    cmocka_unit_test(old_tls_is_refused),
	    cmocka_unit_test(what_is_no_tls_is_refused),
	    cmocka_unit_test(pins_hold_per_host),
	    cmocka_unit_test(without_authorities_there_is_no_client),
	    cmocka_unit_test(plain_http_is_for_this_machine_alone),
	    cmocka_unit_test(proxies_fail_by_their_own_numbers),
	    cmocka_unit_test(control_characters_in_a_header_are_refused),
	    cmocka_unit_test(retry_after_is_seconds_or_a_date),
	    cmocka_unit_test(escaping_leaves_only_unreserved_characters),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
