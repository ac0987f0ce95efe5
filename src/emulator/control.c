/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/control.h"

#include "base/base64.h"
#include "emulator/dispatch.h"
#include "emulator/entra.h"
#include "emulator/hardware.h"
#include "emulator/machine.h"
#include "emulator/programs.h"
#include "emulator/release_policy.h"
#include "emulator/requestlog.h"
#include "emulator/vtpm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- where everything is ---- */

#define ENDPOINTS 18

struct endpoint {
	const char *name;
	char value[4200];
};

static size_t list_endpoints(const struct emulator *e, const char *listen, struct endpoint out[ENDPOINTS])
{
	char shown[64];
	size_t i = 0;

	snprintf(shown, sizeof(shown), strchr(listen, ':') ? "[%s]" : "%s", listen);
#define ENDPOINT(name_, ...)                                               \
	do {                                                               \
		out[i].name = name_;                                       \
		snprintf(out[i].value, sizeof(out[i].value), __VA_ARGS__); \
		i++;                                                       \
	} while (0)
	ENDPOINT("SKR_EMULATOR_PID", "%d", (int)getpid());
	ENDPOINT("SKR_EMULATOR_DIR", "%s", e->dir);
	ENDPOINT("SKR_EMULATOR_CA", "%s/ca.pem", e->dir);
	ENDPOINT("SKR_EMULATOR_VAULT", "https://contoso.vault.localhost:%u", e->https_port);
	ENDPOINT("SKR_EMULATOR_HSM", "https://contoso.managedhsm.localhost:%u", e->https_port);
	ENDPOINT("SKR_EMULATOR_ATTESTATION", "https://sharedemu.attest.localhost:%u", e->https_port);
	ENDPOINT("SKR_EMULATOR_LOGIN", "https://login.localhost:%u", e->https_port);
	ENDPOINT("SKR_EMULATOR_IMDS", "http://%s:%u", shown, e->imds_port);
	ENDPOINT("SKR_EMULATOR_CONTROL", "http://%s:%u", shown, e->control_port);
	ENDPOINT("SKR_EMULATOR_TENANT", "%s", e->tenant);
	ENDPOINT("SKR_EMULATOR_CLIENT", "%s", e->client);
	ENDPOINT("SKR_EMULATOR_CLIENT_SECRET", "%s", e->secret);
	ENDPOINT("SKR_EMULATOR_MACHINE", "%s", machine_traits(e->kind)->name);
	ENDPOINT("SKR_EMULATOR_EVIDENCE", "%s", machine_traits(e->kind)->evidence);
	ENDPOINT("SKR_EMULATOR_MODULE", "%s", program_path(PROGRAM_MODULE));
	if (e->tpm_port) {
		ENDPOINT("SKR_EMULATOR_TPM", "swtpm:host=127.0.0.1,port=%u", e->tpm_port);
		ENDPOINT("SKR_EMULATOR_TPM_PORT", "%u", e->tpm_port);
	}
	if (e->sidecar_port)
		ENDPOINT("SKR_EMULATOR_SIDECAR", "http://localhost:%u", e->sidecar_port);
#undef ENDPOINT
	return i;
}

skr_status control_write_endpoints(const struct emulator *e, const char *listen)
{
	struct endpoint *endpoints = calloc(ENDPOINTS, sizeof(*endpoints));
	auto_buf text = BUF(64 * 1024);
	skr_status status = OK;

	if (!endpoints)
		return FAIL(14, "endpoints");
	size_t count = list_endpoints(e, listen, endpoints);
	for (size_t i = 0; i < count && !status.failure; i++)
		status = buf_printf(&text, "%s=%s\n", endpoints[i].name, endpoints[i].value);
	free(endpoints);
	TRY(status);
	return emulator_write(e, "endpoints", text.data, text.len);
}

/* From the file, so that both ways tell the same. */
static skr_status get_endpoints(struct emulator *e, struct exchange *x)
{
	auto_buf text = BUF(64 * 1024);
	auto_json *body = json_object();
	char *rest = NULL;

	TRY(emulator_read(e, "endpoints", &text));
	for (char *line = strtok_r((char *)text.data, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *value = strchr(line, '=');
		*value++ = '\0';
		json_set_string(body, line, value);
	}
	return reply_json(x, 200, TAKE(body));
}

/* ---- log, faults, clock, rights, machine ---- */

static skr_status done(struct exchange *x)
{
	return reply_text(x, 204, NULL, "");
}

static skr_status bad(struct exchange *x)
{
	return reply_error(x, 400, "BadRequest", NULL, "%s", status_message());
}

static skr_status get_requests(struct emulator *e, struct exchange *x)
{
	auto_buf text = BUF(40 * 1024 * 1024);

	TRY(requestlog_read(e, &text));
	return reply_text(x, 200, "application/json", buf_text(&text));
}

static skr_status delete_requests(struct emulator *e, struct exchange *x)
{
	TRY(requestlog_clear(e));
	return done(x);
}

static skr_status get_faults(struct emulator *e, struct exchange *x)
{
	return reply_json(x, 200, faults_list(e));
}

static skr_status post_faults(struct emulator *e, struct exchange *x)
{
	return faults_add(e, buf_text(&x->body)).failure ? bad(x) : done(x);
}

static skr_status delete_faults(struct emulator *e, struct exchange *x)
{
	faults_clear(e);
	return done(x);
}

static skr_status post_hardware(struct emulator *e, struct exchange *x)
{
	const json *request;

	if (exchange_json(x, &request).failure || hardware_change(e, request).failure)
		return bad(x);
	return done(x);
}

static skr_status set_hex(json *body, const char *name, const uint8_t *data, size_t len)
{
	auto_buf text = BUF(256);

	TRY(hex_encode(data, len, &text));
	json_set_string(body, name, buf_text(&text));
	return OK;
}

static skr_status get_machine(struct emulator *e, struct exchange *x)
{
	const struct machine_traits *traits = machine_traits(e->kind);
	auto_json *body = json_object();
	struct machine machine;

	hardware_settings(e, &machine);
	json_set_string(body, "machine", traits->name);
	json_set_string(body, "devices", traits->devices);
	json_set_string(body, "evidence", traits->evidence);
	json_set_string(body, "vm_size", traits->vm_size);
	TRY(set_hex(body, "measurement", machine.measurement, sizeof(machine.measurement)));
	TRY(set_hex(body, "host_data", machine.host_data, sizeof(machine.host_data)));
	return reply_json(x, 200, TAKE(body));
}

/* ?value=TEXT: the policy that a machine with this measurement, policy or id would satisfy. */
static skr_status get_release_policy(struct emulator *e, struct exchange *x)
{
	auto_buf text = BUF(64 * 1024);

	TRY(release_policy_print(e, exchange_query(x, "value"), &text));
	return reply_text(x, 200, "application/json", buf_text(&text));
}

static skr_status get_tpm(struct emulator *e, struct exchange *x)
{
	json *shown;

	return vtpm_describe(e, &shown).failure ? bad(x) : reply_json(x, 200, shown);
}

static skr_status post_tpm(struct emulator *e, struct exchange *x)
{
	const json *request;

	if (exchange_json(x, &request).failure || vtpm_change(e, request).failure)
		return bad(x);
	return done(x);
}

static skr_status post_access(struct emulator *e, struct exchange *x)
{
	const json *request;
	const char *word;

	if (exchange_json(x, &request).failure || json_string(request, "identity", &word).failure)
		return bad(x);
	struct identity *identity = entra_find(e, word);
	if (!identity)
		return reply_error(x, 404, "NotFound", NULL, "no such identity: %s", word);
	identity->may_release = json_bool(request, "allow", true);
	return done(x);
}

static skr_status post_clock(struct emulator *e, struct exchange *x)
{
	const json *request;
	int64_t offset;

	if (exchange_json(x, &request).failure || json_integer(request, "offset", false, &offset).failure)
		return bad(x);
	atomic_store(&e->clock_offset, offset);
	return done(x);
}

/* A fresh service-account token, also written to DIR/federated-token: {"lifetime": SECONDS}, which may be negative. */
static skr_status post_federated_token(struct emulator *e, struct exchange *x)
{
	auto_buf token = BUF(16 * 1024);
	const json *request;
	int64_t lifetime = 86400;

	if (exchange_json(x, &request).failure)
		return bad(x);
	if (json_get(request, "lifetime") && json_integer(request, "lifetime", false, &lifetime).failure)
		return bad(x);
	TRY(entra_federated_token(e, lifetime, &token));
	TRY(emulator_write(e, "federated-token", token.data, token.len));
	return reply_text(x, 200, "text/plain", buf_text(&token));
}

const struct route control_routes[] = {
    {SERVICE_CONTROL, "GET", "/endpoints", "control.endpoints", get_endpoints},
    {SERVICE_CONTROL, "GET", "/requests", "control.requests", get_requests},
    {SERVICE_CONTROL, "DELETE", "/requests", "control.requests", delete_requests},
    {SERVICE_CONTROL, "GET", "/faults", "control.faults", get_faults},
    {SERVICE_CONTROL, "POST", "/faults", "control.faults", post_faults},
    {SERVICE_CONTROL, "DELETE", "/faults", "control.faults", delete_faults},
    {SERVICE_CONTROL, "GET", "/machine", "control.machine", get_machine},
    {SERVICE_CONTROL, "GET", "/machine/policy", "control.machine", get_release_policy},
    {SERVICE_CONTROL, "POST", "/hardware", "control.hardware", post_hardware},
    {SERVICE_CONTROL, "GET", "/tpm", "control.tpm", get_tpm},
    {SERVICE_CONTROL, "POST", "/tpm", "control.tpm", post_tpm},
    {SERVICE_CONTROL, "POST", "/access", "control.access", post_access},
    {SERVICE_CONTROL, "POST", "/clock", "control.clock", post_clock},
    {SERVICE_CONTROL, "POST", "/federated-token", "control.token", post_federated_token},
    {0},
};
