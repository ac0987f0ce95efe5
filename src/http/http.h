/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_HTTP_HTTP_H
#define SKR_HTTP_HTTP_H

#include "base/buf.h"
#include "base/deadline.h"
#include "config/config.h"

#include <stdbool.h>

/*
 * The only door to libcurl: one request, one bounded answer, under the rules of threat model section 10. TLS 1.2 or
 * later with name check, authorities from one file, pins per host, no redirects, cookies, netrc, compression, HTTP
 * authentication, nor anything from the environment. Connections are reused within one `struct http`.
 * Not thread-safe; ossl_open() comes first, and SIGPIPE is ignored by the program (libssl may raise it).
 */
struct http;
#define auto_http __attribute__((cleanup(http_done))) struct http

/* `config` is borrowed. SKR-007 names the bundles tried, SKR-014 without memory. */
skr_status http_open(const struct config *config, struct http **ret_http) MUST_CHECK;
void http_close(struct http *http); /* takes NULL */
static inline void http_done(struct http **http)
{
	http_close(*http);
}

/* What one attempt may take (failure-matrix section 1), milliseconds. */
struct http_limits {
	int connect_ms;    /* TCP, all addresses together, and a proxy's consent; one address gets 3 s */
	int tls_ms;        /* handshake */
	int first_byte_ms; /* from the request to the first header */
	int whole_ms;      /* name resolution included, which has no limit of its own */
	int window_ms;     /* while receiving: at least window_bytes in any such time */
	size_t window_bytes;
};
extern const struct http_limits http_limits_metadata; /* the metadata service and its likes on this machine */
extern const struct http_limits http_limits_entra;
extern const struct http_limits http_limits_service; /* attestation service, vaults */

/* All borrowed. */
struct http_request {
	const char *method;       /* "GET" or "POST" */
	const char *url;          /* http or https; https alone unless `direct` */
	const char *headers[6];   /* "Name: value" lines, NULL behind the last; a token may be among them */
	const char *content_type; /* of the body; NULL: none */
	const void *body;
	size_t body_len;
	size_t answer_limit; /* bytes of the answer's body */
	const struct http_limits *limits;
	bool direct; /* a service of this machine: never through the proxy, plain http allowed */
};

struct http_answer {
	int status;            /* 200 or 400..599 */
	struct buf body;       /* JSON by its content type if status is 200; anything if not */
	bool until_close;      /* no length was announced, so the end may be a cut */
	int64_t retry_after_s; /* Retry-After; -1: none, or not understood */
	char request_id[80];   /* x-ms-request-id or request-id; empty: none */
	char challenge[512];   /* WWW-Authenticate; empty: none */
};
#define auto_http_answer __attribute__((cleanup(http_answer_done))) struct http_answer
void http_answer_done(struct http_answer *answer); /* takes an all-zero one */

/*
 * One attempt, no repeats, until `deadline` at most. OK means that a whole HTTP answer came, whatever its status.
 * `ret_answer` (all-zero before) is untouched on failure. SKR-200 to 231, SKR-016, SKR-019; host and http of the record
 * are filled.
 */
skr_status http_call(struct http *http, const struct http_request *request, struct deadline deadline,
                     struct http_answer *ret_answer) MUST_CHECK;

/* How many seconds the last peer's Date was ahead of our clock; false if none has said one. For messages alone. */
bool http_clock(const struct http *http, int64_t *ret_ahead);

/* Seconds that a Retry-After asks for: a number, or an HTTP date seen from `now` (seconds since 1970); -1 if it is
 * neither. */
int64_t http_retry_after(const char *text, int64_t now);

/* Appends `text` percent-encoded, for a query or a form: all but unreserved characters (RFC 3986 section 2.3). */
skr_status http_escape(const char *text, struct buf *out) MUST_CHECK;

#endif
