/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/service.h"

#include "base/log.h"
#include "base/ossl.h"
#include "http/http.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Failure-matrix section 1, "Retry". */
#define ATTEMPTS           4
#define ATTEMPTS_NAME      2     /* a name that does not exist */
#define NAME_PATIENCE_MS   10000 /* for names, while a machine boots */
#define ATTEMPTS_NEAR      2     /* a service of this machine is there, or is not */
#define ATTEMPTS_DOUBLING  5
#define ATTEMPTS_UPGRADING 7 /* 410: the metadata service is being upgraded, up to 70 s */
#define UPGRADING_MS       10000
#define STEADY_MS          1000
#define DELAY_UNIT_MS      800
#define DELAY_MAX_MS       16000
#define ASKED_MAX_MS       60000

int64_t wall_clock(void)
{
	return (int64_t)time(NULL);
}

bool same_endpoint(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);

	if (la > 0 && a[la - 1] == '/')
		la--;
	if (lb > 0 && b[lb - 1] == '/')
		lb--;
	return la == lb && strncasecmp(a, b, la) == 0;
}

/* ---- what the service says ---- */

/* Copies text on one line: runs of white space become one blank, and what does not fit is cut. */
static void one_line(const char *text, char *out, size_t size)
{
	size_t at = 0;

	for (; text && *text && at + 1 < size; text++) {
		bool blank = *text == ' ' || *text == '\t' || *text == '\r' || *text == '\n';

		if (!blank)
			out[at++] = *text;
		else if (at > 0 && out[at - 1] != ' ')
			out[at++] = ' ';
	}
	while (at > 0 && out[at - 1] == ' ')
		at--;
	out[at] = '\0';
}

/* {"error":{"code","message","innererror":{"code","innererror":{…}}}} */
static void azure_error(const json *error, struct service_error *ret)
{
	one_line(json_string_or_null(error, "code"), ret->code, sizeof(ret->code));
	one_line(json_string_or_null(error, "message"), ret->message, sizeof(ret->message));
	const json *inner = json_get(error, "innererror");
	for (; json_kind(inner) == JSON_OBJECT; inner = json_get(inner, "innererror"))
		if (json_string_or_null(inner, "code"))
			one_line(json_string_or_null(inner, "code"), ret->inner, sizeof(ret->inner));
}

static int aadsts_number(const json *body, const char *message)
{
	int64_t number = 0;
	const char *text = strstr(message, "AADSTS");

	if (json_number(json_first(json_get(body, "error_codes")), &number).failure || number < 0 || number > 99999999)
		number = 0;
	if (number == 0 && text)
		for (text += 6; *text >= '0' && *text <= '9' && number < 10000000; text++)
			number = number * 10 + (*text - '0');
	return (int)number;
}

/*
 * {"error":"invalid_client","error_description":"AADSTS7000215: …","error_codes":[7000215],"trace_id"}, and the SKR
 * sidecar's {"error":"a whole sentence"}
 */
static void oauth_error(const json *body, struct service_error *ret)
{
	const char *error = json_string_or_null(body, "error"),
	           *description = json_string_or_null(body, "error_description");

	if (description || !strpbrk(error, " \t\r\n"))
		one_line(error, ret->code, sizeof(ret->code));
	one_line(description ? description : error, ret->message, sizeof(ret->message));
	ret->aadsts = aadsts_number(body, ret->message);
	one_line(json_string_or_null(body, "trace_id"), ret->reqid, sizeof(ret->reqid));
}

/* {"statusCode":400,"message":"…","correlationId":"…"} */
static void app_service_error(const json *body, struct service_error *ret)
{
	one_line(json_string_or_null(body, "message"), ret->message, sizeof(ret->message));
	one_line(json_string_or_null(body, "correlationId"), ret->reqid, sizeof(ret->reqid));
}

void service_error_parse(int http, const void *body, size_t len, struct service_error *ret)
{
	auto_json *parsed = NULL;
	struct service_error error = {.http = http};
	const char *text = body;

	while (len > 0 && (*text == ' ' || *text == '\r' || *text == '\n' || *text == '\t')) {
		text++;
		len--;
	}
	error.html = len > 0 && *text == '<';
	if (!error.html && len > 0 && !json_parse_first(text, len, &parsed).failure) {
		if (json_kind(json_get(parsed, "error")) == JSON_OBJECT)
			azure_error(json_get(parsed, "error"), &error);
		else if (json_kind(json_get(parsed, "error")) == JSON_STRING)
			oauth_error(parsed, &error);
		else
			app_service_error(parsed, &error);
	}
	*ret = error;
}

/* ---- one attempt ---- */

struct outcome {
	skr_status status;
	struct service_error error;
	int64_t asked_ms; /* Retry-After; -1: none */
	char reqid[80];
};

static bool listed(const int *statuses, size_t count, int status)
{
	for (size_t i = 0; i < count && statuses[i]; i++)
		if (statuses[i] == status)
			return true;
	return false;
}

static bool status_is_transient(const struct service *service, int http)
{
	static const int always[] = {408, 429, 500, 502, 503, 504};

	return listed(always, sizeof(always) / sizeof(always[0]), http) ||
	       listed(service->transient, sizeof(service->transient) / sizeof(service->transient[0]), http);
}

static int failure_of(const struct service *service, const struct service_error *error)
{
	if (error->http == 429)
		return service->throttled;
	if (error->http >= 500 || error->http == 408)
		return service->down;
	return service->refusal ? service->refusal(error) : service->refused;
}

static skr_status refused_by(const struct service *service, const struct service_error *error)
{
	const char *said = error->html ? "with a web page" : "without saying why";

	if (error->message[0])
		return FAIL(failure_of(service, error), "%s answers %d: %s", service->name, error->http,
		            error->message);
	if (error->code[0])
		return FAIL(failure_of(service, error), "%s answers %d: %s", service->name, error->http, error->code);
	return FAIL(failure_of(service, error), "%s answers %d %s", service->name, error->http, said);
}

/* "https://host:port/…" as "host:port", for records of answers that were whole. */
static void host_of(const char *url, char *out, size_t size)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	snprintf(out, size, "%.*s", (int)strcspn(host, "/?#"), host);
}

static void amend_refusal(const struct http_request *request, const struct outcome *outcome)
{
	struct status_record *record = status_amend();
	const struct service_error *error = &outcome->error;

	host_of(request->url, record->host, sizeof(record->host));
	record->http = error->http;
	snprintf(record->svc_code, sizeof(record->svc_code), "%s%s%s", error->code, error->inner[0] ? "/" : "",
	         error->inner);
	snprintf(record->reqid, sizeof(record->reqid), "%s", outcome->reqid[0] ? outcome->reqid : error->reqid);
}

/* Failures of the way to the service; those of its certificate or its HTTP keep their own number. */
static bool is_unreachable(int failure)
{
	return failure >= 200 && failure <= 207;
}

static skr_status unreachable(const struct service *service)
{
	struct status_record was = *status_last();

	if (!is_unreachable(was.failure) || service->unreachable == 0)
		return status_prefix((skr_status){was.failure}, "%s", service->name);
	was.failure = service->unreachable;
	return status_prefix(status_adopt(&was), "%s", service->name);
}

skr_status service_blame(skr_status status, const struct service *service, const char *url)
{
	struct status_record *record = status_amend();

	snprintf(record->step, sizeof(record->step), "%s", service->step);
	host_of(url, record->host, sizeof(record->host));
	return status_prefix(status, "the answer of %s", service->name);
}

static void attempt(struct azure *azure, const struct service *service, const struct http_request *request,
                    struct http_answer *answer, struct outcome *ret)
{
	struct outcome outcome = {.asked_ms = -1};

	outcome.status = http_call(azure->http, request, azure->deadline, answer);
	if (!outcome.status.failure)
		snprintf(azure->request_id, sizeof(azure->request_id), "%s", answer->request_id);
	if (!outcome.status.failure && answer->status != 200) {
		service_error_parse(answer->status, answer->body.data, answer->body.len, &outcome.error);
		if (answer->retry_after_s >= 0)
			outcome.asked_ms = answer->retry_after_s * 1000;
		snprintf(outcome.reqid, sizeof(outcome.reqid), "%s", answer->request_id);
		snprintf(outcome.error.challenge, sizeof(outcome.error.challenge), "%s", answer->challenge);
		outcome.status = refused_by(service, &outcome.error);
		amend_refusal(request, &outcome);
		http_answer_done(answer);
		*answer = (struct http_answer){0};
	}
	*ret = outcome;
}

/* ---- whether, and when, to try again ---- */

int64_t service_delay_ms(int attempt_number, uint16_t random)
{
	int64_t base = attempt_number > 6 ? DELAY_MAX_MS : DELAY_UNIT_MS * ((INT64_C(1) << (attempt_number - 1)) - 1);

	if (base > DELAY_MAX_MS)
		base = DELAY_MAX_MS;
	return base * (800 + 500 * (int64_t)random / 65536) / 1000;
}

/* Attempts allowed after this outcome; 1: none but the one made. */
static int attempts_allowed(const struct service *service, const struct outcome *outcome, int64_t began)
{
	int http = outcome->error.http;

	if (http != 0) {
		if (service->steady)
			return service->steady;
		if (!status_is_transient(service, http))
			return 1;
		if (http == 410)
			return ATTEMPTS_UPGRADING;
		return http == 429 && service->doubling ? ATTEMPTS_DOUBLING : ATTEMPTS;
	}
	switch (outcome->status.failure) {
	case 201:
		return monotonic_ms() - began < NAME_PATIENCE_MS ? ATTEMPTS_NAME : 1;
	case 200:
	case 203:
		return service->unreachable ? ATTEMPTS_NEAR : ATTEMPTS;
	case 204:
	case 205:
	case 206:
	case 207:
	case 230:
		return ATTEMPTS;
	default:
		return 1;
	}
}

static int64_t own_delay_ms(const struct service *service, const struct outcome *outcome, int next)
{
	uint16_t random = 0;

	if (outcome->error.http != 0 && service->steady)
		return STEADY_MS;
	if (outcome->error.http == 410)
		return UPGRADING_MS;
	if (outcome->error.http == 429 && service->doubling && outcome->asked_ms < 0)
		return INT64_C(1000) << (next - 2);
	if (random_bytes(&random, sizeof(random)).failure)
		return service_delay_ms(next, 0x8000);
	return service_delay_ms(next, random);
}

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Adds to this thread's sentence, behind. */
static void say(const char *format, ...)
{
	struct status_record *record = status_amend();
	size_t len = strlen(record->sentence);
	va_list args;

	va_start(args, format);
	vsnprintf(record->sentence + len, sizeof(record->sentence) - len, format, args);
	va_end(args);
}

/* Waits before attempt `next`; false if there is to be none, with the reason added to the sentence. */
static bool wait_for_next(struct azure *azure, const struct service *service, const struct outcome *outcome, int next)
{
	struct status_record record = *status_last();
	int64_t left = deadline_left(azure->deadline), asked = outcome->asked_ms;
	int64_t delay = own_delay_ms(service, outcome, next);
	char line[1024];

	*status_amend() = record;
	if (asked > delay) {
		if (asked > ASKED_MAX_MS || asked > left) {
			say("; it asks to wait %lld s, and %lld s are left of the login's time",
			    (long long)asked / 1000, (long long)left / 1000);
			return false;
		}
		delay = asked;
	}
	if (delay >= left) {
		say("; no time is left to try again");
		return false;
	}
	status_line(&record, line, sizeof(line));
	log_line(LOG_LEVEL_WARNING, "%s : tried again in %lld ms", line, (long long)delay);
	sleep_until(monotonic_ms() + delay);
	return true;
}

/* An answer taken for what it should be; a failure of it is an attempt's failure like any other. */
typedef skr_status accept_fn(const struct http_answer *answer, void *with);

static skr_status call(struct azure *azure, const struct service *service, const struct http_request *request,
                       accept_fn *accept, void *with, struct http_answer *answer, struct service_error *ret_error)
{
	int64_t began = monotonic_ms();
	struct outcome outcome;

	for (int n = 1;; n++) {
		attempt(azure, service, request, answer, &outcome);
		if (!outcome.status.failure && accept) {
			outcome.status = accept(answer, with);
			http_answer_done(answer);
			*answer = (struct http_answer){0};
		}
		if (!outcome.status.failure) {
			azure->attempts = n;
			return OK;
		}
		int allowed = attempts_allowed(service, &outcome, began);
		struct status_record *record = status_amend();
		snprintf(record->step, sizeof(record->step), "%s", service->step);
		if (!record->host[0])
			host_of(request->url, record->host, sizeof(record->host));
		record->attempt = n;
		record->attempts = allowed > n ? allowed : n;
		if (n >= allowed || !wait_for_next(azure, service, &outcome, n + 1))
			break;
	}
	if (ret_error)
		*ret_error = outcome.error;
	return outcome.error.http ? outcome.status : unreachable(service);
}

skr_status service_call(struct azure *azure, const struct service *service, const struct http_request *request,
                        struct http_answer *ret_answer, struct service_error *ret_error)
{
	auto_http_answer answer = {0};

	TRY(call(azure, service, request, NULL, NULL, &answer, ret_error));
	*ret_answer = answer;
	answer = (struct http_answer){0};
	return OK;
}

static skr_status parse_body(const struct http_answer *answer, void *with)
{
	skr_status status =
	    json_parse(answer->body.data ? (const char *)answer->body.data : "", answer->body.len, with);

	if (status.failure == 213 && answer->until_close)
		return FAIL(205, "the connection ends after %zu bytes, inside the answer", answer->body.len);
	return status;
}

skr_status service_call_json(struct azure *azure, const struct service *service, const struct http_request *request,
                             json **ret_json, struct service_error *ret_error)
{
	auto_http_answer answer = {0};

	return call(azure, service, request, parse_body, ret_json, &answer, ret_error);
}
