/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_SERVICE_H
#define SKR_AZURE_SERVICE_H

#include "base/deadline.h"
#include "base/json.h"
#include "config/config.h"

struct http;
struct http_answer;
struct http_request;

/* What every errand to Azure shares: one agent, one token, one login. */
struct azure {
	const struct config *config;
	const struct token_config *token;
	struct http *http; /* connections are reused within it */
	struct deadline deadline;
	char request_id[80]; /* of the last answer that came well; empty: none */
	int attempts;        /* that this one took */
};

/*
 * What a service says when it does not say 200. Texts come from outside: bounded, one line, printable only in status
 * records. Shapes understood: {"error":{"code","message","innererror":{"code"}}},
 * {"error","error_description","error_codes"},
 * {"statusCode","message","correlationId"}; of anything else the texts stay empty. What stands behind the first JSON
 * value is not looked at.
 */
struct service_error {
	int http;
	int aadsts; /* Entra's number; 0: none */
	char code[64];
	char inner[64];      /* innermost innererror.code */
	char message[360];   /* white space collapsed */
	char reqid[80];      /* trace_id or correlationId of the body */
	char challenge[512]; /* WWW-Authenticate: for messages, it never steers us */
	bool html;           /* a web page: something answers in the service's place */
};
void service_error_parse(int http, const void *body, size_t len, struct service_error *ret);

/* A service as the retry loop sees it: one row per service. */
struct service {
	const char *name; /* in sentences: "the attestation service" */
	const char *step; /* of the status record */
	int throttled;    /* SKR-number of 429 */
	int down;         /* of 408 and 5xx */
	int unreachable;  /* in place of 200..207 when it cannot be reached at all; 0: those */
	int refused;      /* of other statuses, unless `refusal` knows better */
	/* May be NULL: the number that another 4xx means. */
	int (*refusal)(const struct service_error *error);
	int transient[3]; /* statuses that are tried again though others would not be; ends with 0 */
	int steady;       /* attempts a second apart, whatever status but 200 comes; 0: as the status says */
	bool doubling;    /* 429 without Retry-After: 1, 2, 4, 8 s, five attempts, as Key Vault advises */
};

/*
 * Sends `request` until an answer of 200 comes, as failure-matrix section 1 says: at most 4 attempts within the
 * deadline, growing random delays, Retry-After honoured if it fits into min(60 s, time left). Earlier attempts are
 * logged as warnings.
 *
 * Fails with the service's number, or with http's own (SKR-200 to 231); the record has step, host, attempt, http,
 * svc_code, reqid. `ret_error` (may be NULL) is what the service said, all-zero if it said nothing. `ret_answer` is
 * untouched on failure.
 */
skr_status service_call(struct azure *azure, const struct service *service, const struct http_request *request,
                        struct http_answer *ret_answer, struct service_error *ret_error) MUST_CHECK;

/* The same, and the answer's body as JSON: SKR-213, or SKR-205 (repeated) where the connection's end may have cut it.
 */
skr_status service_call_json(struct azure *azure, const struct service *service, const struct http_request *request,
                             json **ret_json, struct service_error *ret_error) MUST_CHECK;

/* For what is wrong inside an answer that came well: names service, step and host in this thread's record. */
skr_status service_blame(skr_status status, const struct service *service, const char *url);

/*
 * Milliseconds before attempt n (2..): min(16 s, 0.8 s x (2^(n-1) - 1)) x U[0.8, 1.3); `random` is any 16 bits.
 */
int64_t service_delay_ms(int attempt, uint16_t random);

/* Wall clock, seconds since 1970. Only for what others date: tokens, certificates. */
int64_t wall_clock(void);

/* True if both are the same address but for one trailing slash and the case of scheme and host. */
bool same_endpoint(const char *a, const char *b);

#endif
