/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/entra.h"
#include "emulator/machine.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The metadata service of the played machine: identity, THIM, instance; and the identity endpoints of App Service's
 * kind. */

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

const struct route imds_routes[] = {
    {SERVICE_METADATA, "GET", "/metadata/identity/oauth2/token", "imds.token", imds_identity},
    {SERVICE_METADATA, "GET", "/msi/token", "imds.token", app_service_identity},
    {SERVICE_METADATA, "GET", "/metadata/THIM/amd/certification", "thim.certification", thim},
    {SERVICE_METADATA, "GET", "/metadata/instance", "imds.instance", instance},
    {SERVICE_METADATA, "GET", "/metadata/instance/compute/vmId", "imds.instance", instance_vm_id},
    {0},
};
