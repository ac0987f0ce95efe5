/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_HTTP_ATTEMPT_H
#define SKR_HTTP_ATTEMPT_H

/* Inside http/ only: one request under way, as http.c drives it, receive.c reads it and explain.c judges its end. */
#include "base/deadline.h"
#include "http/http.h"

#include <curl/curl.h>

struct http {
	const struct config *config;
	const char *ca_file; /* borrowed: from the configuration or `bundles` */
	CURLM *multi;
	CURL *easy;
	bool clock_known;    /* a peer has said its Date */
	bool clock_differs;  /* known, and beyond the tolerance */
	int64_t clock_ahead; /* how far the last peer's Date was ahead of our clock, seconds */
};

enum phase { RESOLVING, CONNECTING, HANDSHAKING, WAITING, RECEIVING };

/* The certificate that the peer showed, kept for the message should it be refused. */
struct peer_certificate {
	bool seen;
	int error; /* X509_V_… */
	char subject[128], issuer[128];
	int64_t not_before, not_after; /* seconds since 1970 */
};

/* One attempt under way. */
struct attempt {
	const struct http_request *request;
	struct http_answer answer;
	char host[256]; /* with port */
	bool proxied;

	enum phase phase;
	int64_t began, phase_began, window_began;
	size_t window_bytes;

	int interim; /* 1xx answers seen */
	size_t header_bytes, header_lines;
	bool headers_done, chunked, length_known;
	size_t length, pieces;
	char content_type[96], location[256], date[48];

	struct peer_certificate peer;
	skr_status refused; /* what a callback of ours found; its sentence is this thread's record */
	char error[CURL_ERROR_SIZE];
};

/* A phase begins, and with it its limit. */
static inline void attempt_enter(struct attempt *a, enum phase phase)
{
	if (a->phase == phase)
		return;
	a->phase = phase;
	a->phase_began = a->window_began = monotonic_ms();
	a->window_bytes = 0;
}

/* receive.c: libcurl's callbacks for header lines and body bytes; `with` is the attempt. */
size_t attempt_on_header(char *line, size_t size, size_t len, void *with);
size_t attempt_on_body(char *bytes, size_t size, size_t len, void *with);

/* explain.c: the failure that a code of libcurl means here, or that a limit was reached. */
skr_status attempt_explain(struct http *http, const struct attempt *a, CURLcode code) MUST_CHECK;
skr_status attempt_timed_out(const struct http *http, const struct attempt *a) MUST_CHECK;

#endif
