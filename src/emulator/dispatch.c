/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/dispatch.h"

#include "base/deadline.h"
#include "emulator/requestlog.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

void call_free(struct call *call)
{
	if (!call)
		return;
	exchange_done(&call->exchange);
	fault_plan_done(&call->plan);
	free(call);
}

/* ---- which service, which route ---- */

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

bool host_is_hsm(const char *host)
{
	return strstr(host, ".managedhsm.") != NULL;
}

enum service service_of_host(const char *host)
{
	static const struct {
		const char *suffix;
		enum service service;
	} suffixes[] = {
	    {".vault.localhost", SERVICE_VAULT},        {".vault.azure.net", SERVICE_VAULT},
	    {".managedhsm.localhost", SERVICE_VAULT},   {".managedhsm.azure.net", SERVICE_VAULT},
	    {".attest.localhost", SERVICE_ATTESTATION}, {".attest.azure.net", SERVICE_ATTESTATION},
	    {"login.localhost", SERVICE_LOGIN},         {"login.microsoftonline.com", SERVICE_LOGIN},
	    {"login.windows.net", SERVICE_LOGIN},
	};

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++)
		if (ends_with(host, suffixes[i].suffix))
			return suffixes[i].service;
	if (strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0)
		return SERVICE_VAULT;
	return SERVICE_NONE;
}

static bool path_fits(const struct exchange *x, const char *path)
{
	size_t i = 0;

	if (strcmp(path, "*") == 0)
		return true;
	for (; *path == '/' && path[1]; i++) {
		size_t len = strcspn(++path, "/");
		if (i == x->segment_count)
			return false;
		const char *segment = x->segments[i];
		if (*path != '{' && (strlen(segment) != len || strncasecmp(segment, path, len) != 0))
			return false;
		path += len;
	}
	return i == x->segment_count;
}

static const struct route *find_route(const struct exchange *x, bool *ret_other_method)
{
	static const struct route *const tables[] = {vault_routes, maa_routes,     entra_routes,
	                                             imds_routes,  control_routes, sidecar_routes};

	*ret_other_method = false;
	for (size_t t = 0; t < sizeof(tables) / sizeof(*tables); t++) {
		for (const struct route *route = tables[t]; route->path; route++) {
			if (route->service != x->service || !path_fits(x, route->path))
				continue;
			if (strcmp(route->method, "*") == 0 || strcmp(route->method, x->method) == 0)
				return route;
			*ret_other_method = true;
		}
	}
	return NULL;
}

skr_status dispatch_head(struct emulator *e, struct call *call)
{
	struct exchange *x = &call->exchange;
	bool other_method;

	call->began = monotonic_ms();
	if (x->service == SERVICE_NONE)
		x->service = service_of_host(x->host);
	x->route = find_route(x, &other_method);
	TRY(faults_plan(e, x->route ? x->route->operation : "none.none", &call->plan));
	x->mutations = call->plan.mutations;
	x->signer = call->plan.signer;
	memcpy(x->fault, call->plan.text, sizeof(x->fault));
	if (x->route)
		return OK;
	if (x->service == SERVICE_SIDECAR)
		return reply_text(x, 404, "text/plain", "404 page not found");
	if (other_method)
		return reply_error(x, 405, "MethodNotAllowed", NULL, "%s is not allowed here", x->method);
	return reply_error(x, 404, "NotFound", NULL, "nothing is served at this path of host %s", x->host);
}

/* ---- what faults answer ---- */

static const char *default_code(int status)
{
	switch (status) {
	case 400:
		return "BadParameter";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "NotFound";
	case 409:
		return "Conflict";
	case 429:
		return "Throttled";
	case 500:
		return "InternalServerError";
	default:
		return status >= 500 ? "ServiceUnavailable" : "Error";
	}
}

static skr_status oauth_error(struct exchange *x, const struct fault_plan *plan)
{
	json *body = json_object(), *codes = json_array();
	const char *number = plan->inner ? plan->inner : "90000";
	char text[512];

	snprintf(text, sizeof(text), "AADSTS%s: %s", number, plan->message ? plan->message : "As the fault rule says.");
	json_set_string(body, "error", plan->code ? plan->code : "invalid_client");
	json_set_string(body, "error_description", text);
	json_push(codes, json_of_number(strtol(number, NULL, 10)));
	json_set(body, "error_codes", codes);
	return reply_json(x, plan->status, body);
}

static skr_status metadata_error(struct exchange *x, const struct fault_plan *plan)
{
	json *body = json_object();

	json_set_string(body, "error", plan->code ? plan->code : plan->inner ? plan->inner : "invalid_request");
	json_set_string(body, "error_description", plan->message ? plan->message : "As the fault rule says.");
	return reply_json(x, plan->status, body);
}

static skr_status sidecar_error(struct exchange *x, const struct fault_plan *plan)
{
	json *body = json_object();

	json_set_string(body, "error", plan->message ? plan->message : "As the fault rule says.");
	return reply_json(x, plan->status, body);
}

static skr_status fault_reply(struct exchange *x, const struct fault_plan *plan)
{
	x->mutations = NULL;
	if (x->service == SERVICE_LOGIN)
		return oauth_error(x, plan);
	if (x->service == SERVICE_METADATA)
		return metadata_error(x, plan);
	if (x->service == SERVICE_SIDECAR)
		return sidecar_error(x, plan);
	return reply_error(x, plan->status, plan->code ? plan->code : default_code(plan->status), plan->inner, "%s",
	                   plan->message ? plan->message : "As the fault rule says.");
}

static skr_status redirect_reply(struct exchange *x, const char *url)
{
	TRY(reply_text(x, 307, "text/html", "<html><body>Moved</body></html>"));
	return reply_header(x, "Location", url);
}

/* ---- answers that change places ---- */

static pthread_mutex_t swap_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t swap_changed = PTHREAD_COND_INITIALIZER;
static struct buf previous, waiting;
static bool somebody_waits;

static skr_status replay(struct exchange *x)
{
	auto_buf own = BUF(x->reply.limit);

	buf_move(&own, &x->reply);
	TRY(buf_append(&x->reply, previous.len ? previous.data : own.data, previous.len ? previous.len : own.len));
	previous.limit = own.limit;
	buf_move(&previous, &own);
	return OK;
}

/* The first waits up to ten seconds for a second; then each goes away with the other's answer. */
static void exchange_answers(struct exchange *x)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	if (somebody_waits) {
		struct buf other = waiting;
		waiting = x->reply;
		x->reply = other;
		somebody_waits = false;
		pthread_cond_broadcast(&swap_changed);
		return;
	}
	waiting = x->reply;
	somebody_waits = true;
	while (somebody_waits && pthread_cond_timedwait(&swap_changed, &swap_lock, &until) != ETIMEDOUT)
		;
	x->reply = waiting;
	waiting = (struct buf){0};
	somebody_waits = false;
}

static skr_status swap(struct exchange *x, enum swap how)
{
	skr_status status = OK;

	if (how == SWAP_NONE || x->status != 200)
		return OK;
	pthread_mutex_lock(&swap_lock);
	if (how == SWAP_REPLAY)
		status = replay(x);
	else
		exchange_answers(x);
	pthread_mutex_unlock(&swap_lock);
	return status;
}

/* ---- the way of an answer ---- */

static skr_status handle(struct emulator *e, struct exchange *x, const struct fault_plan *plan)
{
	if (plan->redirect)
		return redirect_reply(x, plan->redirect);
	if (plan->status >= 300)
		return fault_reply(x, plan);
	bool alone = x->service != SERVICE_SIDECAR;
	if (alone)
		pthread_mutex_lock(&e->lock);
	skr_status status = x->route->handle(e, x);
	if (alone)
		pthread_mutex_unlock(&e->lock);
	if (!status.failure && plan->status)
		x->status = plan->status;
	return status;
}

static skr_status grow(struct exchange *x, int64_t bytes)
{
	uint8_t *place;

	if (bytes == 0)
		return OK;
	TRY(buf_reserve(&x->reply, (size_t)bytes, &place));
	memset(place, ' ', (size_t)bytes);
	x->reply.len += (size_t)bytes;
	return OK;
}

static skr_status alter(struct exchange *x, const struct fault_plan *plan)
{
	TRY(swap(x, plan->swap));
	if (plan->body)
		TRY(reply_text(x, x->status, x->content_type, plan->body));
	TRY(grow(x, plan->grow));
	for (size_t i = 0; i < plan->headers.count; i++) {
		if (strcasecmp(plan->headers.items[i].name, "Content-Type") == 0)
			x->content_type = plan->headers.items[i].value;
		else
			TRY(reply_header(x, plan->headers.items[i].name, plan->headers.items[i].value));
	}
	return OK;
}

static skr_status service_headers(const struct emulator *e, struct exchange *x)
{
	char guid[37], date[64];
	struct tm tm;
	time_t now = (time_t)emulator_now(e);
	const char *client_id = exchange_header(x, "x-ms-client-request-id");

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	TRY(reply_header(x, "Date", date));
	if (x->service == SERVICE_SIDECAR)
		return OK;
	emulator_guid(guid);
	TRY(reply_header(x, "x-ms-request-id", guid));
	if (client_id)
		TRY(reply_header(x, "x-ms-client-request-id", client_id));
	if (x->service != SERVICE_VAULT)
		return OK;
	TRY(reply_header(x, "Cache-Control", "no-cache"));
	TRY(reply_header(x, "Strict-Transport-Security", "max-age=31536000;includeSubDomains"));
	TRY(reply_header(x, "X-Content-Type-Options", "nosniff"));
	return reply_header(x, "x-ms-keyvault-region", "localhost");
}

static skr_status answer(struct emulator *e, struct call *call)
{
	struct exchange *x = &call->exchange;

	/* There is an answer already if nothing is served there, or a fault answers early. */
	if (x->status == 0)
		TRY(handle(e, x, &call->plan));
	TRY(alter(x, &call->plan));
	return service_headers(e, x);
}

static void wait_ms(int64_t ms)
{
	struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

	while (nanosleep(&time, &time) != 0 && errno == EINTR)
		;
}

void dispatch_body(struct emulator *e, struct call *call)
{
	struct exchange *x = &call->exchange;

	wait_ms(call->plan.delay_ms);
	skr_status status = answer(e, call);
	if (status.failure || x->status == 0) {
		char line[1024];
		status_line(status_last(), line, sizeof(line));
		fprintf(stderr, "skr-emulator: %s %s: %s\n", x->method, x->path, line);
		if (reply_error(x, 500, "InternalServerError", NULL, "%s", status_message()).failure)
			x->status = 500;
	}
	if (x->service != SERVICE_CONTROL)
		requestlog_add(e, x, monotonic_ms() - call->began);
}

/* ---- requests from within ---- */

static skr_status inner_headers(const struct inner_request *request, struct exchange *x)
{
	auto_buf bearer = BUF(96 * 1024);

	if (request->service == SERVICE_METADATA)
		TRY(exchange_add_header(x, "Metadata", "true"));
	if (request->bearer) {
		TRY(buf_printf(&bearer, "Bearer %s", request->bearer));
		TRY(exchange_add_header(x, "Authorization", buf_text(&bearer)));
	}
	return request->body ? exchange_add_header(x, "Content-Type", "application/json") : OK;
}

skr_status dispatch_inner(struct emulator *e, const struct inner_request *request, struct call **ret)
{
	auto_call *call = calloc(1, sizeof(*call));
	if (!call)
		return FAIL(14, "a request");
	struct exchange *x = &call->exchange;

	x->service = request->service;
	x->tls = request->service == SERVICE_NONE;
	TRY(exchange_open(x, request->method, request->authority, request->target));
	TRY(inner_headers(request, x));
	if (request->body)
		TRY(buf_append_text(&x->body, request->body));
	TRY(dispatch_head(e, call));
	dispatch_body(e, call);
	*ret = TAKE(call);
	return OK;
}
