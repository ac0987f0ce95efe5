/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"
#include "emulator/ak_certificate.h"
#include "emulator/entra.h"
#include "emulator/intel.h"
#include "emulator/machine.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/*
 * The metadata service of the played machine: identity, THIM, instance, renewal of the attestation key's certificate,
 * TD quotes; and the identity endpoints of App Service's kind.
 */

#define LIFETIME 86400

static skr_status refuse(struct exchange *x, int status, const char *error, const char *text)
{
	json *body = json_object();

	json_set_string(body, "error", error);
	json_set_string(body, "error_description", text);
	return reply_json(x, status, body);
}

/* True if the request may not be answered; the answer is set then. */
static bool refused_headers(struct exchange *x, skr_status *ret)
{
	const char *metadata = exchange_header(x, "Metadata");

	if (!metadata || strcasecmp(metadata, "true") != 0)
		*ret = refuse(x, 400, "bad_request_102", "Required metadata header not specified");
	else if (exchange_header(x, "X-Forwarded-For"))
		*ret = refuse(x, 400, "invalid_request", "X-Forwarded-For is not accepted");
	else
		return false;
	return true;
}

static const char *selector(const struct exchange *x)
{
	static const char *const names[] = {"client_id", "object_id", "principal_id", "msi_res_id", "mi_res_id"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (exchange_query(x, names[i]))
			return exchange_query(x, names[i]);
	return NULL;
}

static const struct identity *asked_identity(struct emulator *e, const struct exchange *x)
{
	const char *word = selector(x);
	const struct identity *identity = entra_find(e, word ? word : "system");

	return identity && identity->on_machine ? identity : NULL;
}

static void set_text_number(json *body, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)value);
	json_set_string(body, name, text);
}

/* The part of the answer that both kinds share. `resource` loses a slash at its end in the token, as Key Vault wants
 * it. */
static skr_status issue(struct emulator *e, struct exchange *x, const struct identity *identity, json *body)
{
	auto_text *audience = strdup(exchange_query(x, "resource"));
	auto_buf token = BUF(64 * 1024);

	if (!audience)
		return FAIL(14, "a token");
	size_t len = strlen(audience);
	if (len > 0 && audience[len - 1] == '/')
		audience[len - 1] = '\0';
	TRY(entra_issue(e, x, identity, audience, LIFETIME, &token));
	json_set_string(body, "access_token", buf_text(&token));
	json_set_string(body, "client_id", identity->client);
	set_text_number(body, "expires_on", emulator_now(e) + LIFETIME);
	json_set_string(body, "resource", exchange_query(x, "resource"));
	json_set_string(body, "token_type", "Bearer");
	return OK;
}

static skr_status imds_identity(struct emulator *e, struct exchange *x)
{
	skr_status refused;

	if (refused_headers(x, &refused))
		return refused;
	if (!exchange_query(x, "api-version"))
		return refuse(x, 400, "invalid_request", "Required query variable 'api-version' is missing");
	const char *resource = exchange_query(x, "resource");
	if (!resource || !*resource)
		return refuse(x, 400, "invalid_resource", "AADSTS500011: The resource principal named is missing.");
	const struct identity *identity = asked_identity(e, x);
	if (!identity)
		return refuse(x, 400, "invalid_request", "Identity not found");

	auto_json *body = json_object();
	TRY(issue(e, x, identity, body));
	json_set_string(body, "refresh_token", "");
	set_text_number(body, "expires_in", LIFETIME);
	set_text_number(body, "ext_expires_in", LIFETIME);
	set_text_number(body, "not_before", emulator_now(e));
	return reply_json(x, 200, TAKE(body));
}

static skr_status app_service_refuse(struct exchange *x, int status, const char *message)
{
	json *body = json_object();
	char guid[37];

	emulator_guid(guid);
	json_set_number(body, "statusCode", status);
	json_set_string(body, "message", message);
	json_set_string(body, "correlationId", guid);
	return reply_json(x, status, body);
}

/* IDENTITY_ENDPOINT=http://127.0.0.1:PORT/msi/token, IDENTITY_HEADER is the client secret of the emulator. */
static skr_status app_service_identity(struct emulator *e, struct exchange *x)
{
	const char *header = exchange_header(x, "X-IDENTITY-HEADER");

	if (!header || strcmp(header, e->secret) != 0)
		return app_service_refuse(x, 401, "X-IDENTITY-HEADER is missing or wrong");
	if (!exchange_query(x, "resource") || !exchange_query(x, "api-version"))
		return app_service_refuse(x, 400, "resource or api-version is missing");
	const struct identity *identity = asked_identity(e, x);
	if (!identity)
		return app_service_refuse(x, 400,
		                          "No managed identity found for the given client, object or resource id");

	auto_json *body = json_object();
	TRY(issue(e, x, identity, body));
	return reply_json(x, 200, TAKE(body));
}

static skr_status thim(struct emulator *e, struct exchange *x)
{
	skr_status refused;
	json *body;

	if (refused_headers(x, &refused))
		return refused;
	TRY(hardware_thim(e, &body));
	return reply_json(x, 200, body);
}

static json *compute(const struct emulator *e)
{
	json *compute = json_object();

	json_set_string(compute, "azEnvironment", "AzurePublicCloud");
	json_set_string(compute, "location", "localhost");
	json_set_string(compute, "name", "skr-emulator");
	json_set_string(compute, "osType", "Linux");
	json_set_string(compute, "subscriptionId", e->tenant);
	json_set_string(compute, "vmId", e->client);
	json_set_string(compute, "vmSize", machine_traits(e->kind)->vm_size);
	return compute;
}

static skr_status instance(struct emulator *e, struct exchange *x)
{
	skr_status refused;

	if (refused_headers(x, &refused))
		return refused;
	json *body = json_object();
	json_set(body, "compute", compute(e));
	return reply_json(x, 200, body);
}

static skr_status instance_vm_id(struct emulator *e, struct exchange *x)
{
	skr_status refused;

	if (refused_headers(x, &refused))
		return refused;
	return reply_text(x, 200, "text/plain; charset=utf-8", e->client);
}

/* ---- TD quotes ---- */

static skr_status report_of_request(struct exchange *x, struct buf *report)
{
	const json *body;
	const char *text;
	TRY(exchange_json(x, &body));
	TRY(json_string(body, "report", &text));
	TRY(base64_decode_any(text, strlen(text), report));
	if (report->len != TD_REPORT_BYTES)
		return FAIL(213, "report: %zu bytes, not %d", report->len, TD_REPORT_BYTES);
	return OK;
}

/* Stands outside /metadata and asks for no header. */
static skr_status td_quote(struct emulator *e, struct exchange *x)
{
	auto_buf report = BUF(2 * TD_REPORT_BYTES), quote = BUF(TD_QUOTE_ROOM), text = BUF(2 * TD_QUOTE_ROOM);
	skr_status status = report_of_request(x, &report);
	if (!status.failure)
		status = intel_quote(e, report.data, 4, &quote);
	if (status.failure == 117 || status.failure == 208 || status.failure == 213)
		return refuse(x, 400, "invalid_request", status_message());
	TRY(status);
	TRY(base64url_encode(quote.data, quote.len, &text));
	json *body = json_object();
	json_set_string(body, "quote", buf_text(&text));
	return reply_json(x, 200, body);
}

/* ---- renewal of the attestation key's certificate ---- */

#define OLD_VERSION "2021-12-01" /* answers with a query's id, and with the certificate when that is asked for */
#define NEW_VERSION "2023-07-01"

/* True if the request may not be answered; the answer is set then. */
static bool refused_renewal(const struct emulator *e, struct exchange *x, skr_status *ret)
{
	const char *version = exchange_query(x, "api-version"), *vm = exchange_query(x, "vmId");

	if (refused_headers(x, ret))
		return true;
	if (!version || (strcmp(version, OLD_VERSION) != 0 && strcmp(version, NEW_VERSION) != 0))
		*ret = refuse(x, 400, "invalid_request", "api-version is neither " OLD_VERSION " nor " NEW_VERSION);
	else if (!vm || strcasecmp(vm, e->client) != 0)
		*ret = refuse(x, 400, "invalid_request", "vmId is not this machine's");
	else if (!exchange_query(x, "requestId"))
		*ret = refuse(x, 400, "invalid_request", "requestId is missing");
	else
		return false;
	return true;
}

/* Where a certificate waits for its query. */
static void waiting_name(const char *query, char *out, size_t size)
{
	snprintf(out, size, "ak-renewed-%s.pem", query);
}

static skr_status answer_renewal(struct emulator *e, struct exchange *x, const struct buf *certificate)
{
	char query[37], name[64];

	emulator_guid(query);
	if (strcmp(exchange_query(x, "api-version"), OLD_VERSION) == 0) {
		waiting_name(query, name, sizeof(name));
		TRY(emulator_write(e, name, certificate->data, certificate->len));
		return reply_text(x, 200, "text/plain; charset=utf-8", query);
	}
	json *body = json_object();
	json_set_string(body, "AkCertPem", buf_text(certificate));
	json_set_string(body, "CertQueryId", query);
	return reply_json(x, 200, body);
}

static skr_status renew_certificate(struct emulator *e, struct exchange *x)
{
	skr_status refused;
	auto_buf fresh = BUF(64 * 1024);
	auto_text *pem = exchange_body_text(x);

	if (!pem)
		return FAIL(14, "a certificate");
	if (refused_renewal(e, x, &refused))
		return refused;
	skr_status status = ak_certificate_renew(e, pem, &fresh);
	if (status.failure == 1)
		return refuse(x, 404, "not_found", "this machine's attestation key has no certificate");
	if (status.failure == 117 || status.failure == 213)
		return refuse(x, 400, "invalid_request", status_message());
	TRY(status);
	return answer_renewal(e, x, &fresh);
}

static skr_status query_certificate(struct emulator *e, struct exchange *x)
{
	const char *query = exchange_query(x, "guid");
	skr_status refused;
	char name[64];
	auto_buf certificate = BUF(64 * 1024);

	if (refused_renewal(e, x, &refused))
		return refused;
	if (!query || strlen(query) != 36 || strspn(query, "0123456789abcdef-") != 36)
		return refuse(x, 400, "invalid_request", "guid is not a query's id");
	waiting_name(query, name, sizeof(name));
	skr_status status = emulator_read(e, name, &certificate);
	if (status.failure == 1)
		return refuse(x, 404, "not_found", "there is no such query");
	TRY(status);
	return reply_text(x, 200, "text/plain; charset=utf-8", buf_text(&certificate));
}

const struct route imds_routes[] = {
    {SERVICE_METADATA, "GET", "/metadata/identity/oauth2/token", "imds.token", imds_identity},
    {SERVICE_METADATA, "GET", "/msi/token", "imds.token", app_service_identity},
    {SERVICE_METADATA, "GET", "/metadata/THIM/amd/certification", "thim.certification", thim},
    {SERVICE_METADATA, "POST", "/metadata/THIM/tvm/certificate/renew", "thim.renew", renew_certificate},
    {SERVICE_METADATA, "GET", "/metadata/THIM/tvm/certificate/query", "thim.query", query_certificate},
    {SERVICE_METADATA, "POST", "/acc/tdquote", "imds.tdquote", td_quote},
    {SERVICE_METADATA, "GET", "/metadata/instance", "imds.instance", instance},
    {SERVICE_METADATA, "GET", "/metadata/instance/compute/vmId", "imds.instance", instance_vm_id},
    {0},
};
