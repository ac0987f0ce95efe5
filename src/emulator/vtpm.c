/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm.h"

#include "emulator/authority.h"
#include "emulator/certificate.h"
#include "emulator/event_log.h"
#include "emulator/hardware.h"
#include "emulator/hcl_maker.h"
#include "emulator/intel.h"
#include "emulator/vtpm_provision.h"
#include "emulator/vtpm_relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define DAY              (24 * 60 * 60)
#define YEAR             (365 * DAY)
#define CERTIFICATE_SIZE 4096 /* of the paravisor's index */

struct vtpm {
	struct emulator *e;
	struct vtpm_wire wire;
	struct relay *relay;
	/* Under the relay's lock. */
	struct vtpm_keys keys;
	bool secure_boot;
	X509 *authority;
	EVP_PKEY *authority_key;
};

static bool is_trusted_launch(const struct vtpm *v)
{
	return v->e->kind == MACHINE_TRUSTED_LAUNCH;
}

/* ---- AK certificates (cvm-vtpm-evidence section 9) ---- */

static const struct certificate_name authority_name[] = {{"CN", "Global Virtual TPM CA - 01"}, {NULL, NULL}};
static const struct certificate_name placeholder_name[] = {{"CN", "MICROSOFT AZURE TRUSTED VM RSA"}, {NULL, NULL}};
static const struct certificate_name ak_name[] = {{"CN", "skr-emulator.TrustedVM.Azure.Microsoft"}, {NULL, NULL}};

static const struct certificate_extension authority_extensions[] = {
    {.oid = "basicConstraints", .text = "critical,CA:TRUE"},
    {.oid = "keyUsage", .text = "critical,keyCertSign,cRLSign"},
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {0},
};
static const struct certificate_extension ak_extensions[] = {
    {.oid = "keyUsage", .text = "critical,digitalSignature"},
    {.oid = "extendedKeyUsage", .text = "2.23.133.8.3,1.3.6.1.4.1.311.10.3.12"},
    {.oid = "authorityKeyIdentifier", .text = "keyid:always"},
    {0},
};

static skr_status open_authority(struct vtpm *v)
{
	TRY(emulator_key(v->e, "vtpm-ca.key", 2048, NULL, &v->authority_key));
	const struct certificate_plan plan = {
	    .subject = authority_name,
	    .key = v->authority_key,
	    .not_before = time(NULL) - DAY,
	    .not_after = time(NULL) + 10LL * YEAR,
	    .extensions = authority_extensions,
	};
	return authority_kept_certificate(v->e, "vtpm-ca.pem", &plan, &v->authority);
}

static skr_status issue(struct vtpm *v, int64_t from, int64_t to, struct buf *der)
{
	auto_x509 *certificate = NULL;
	const struct certificate_plan plan = {
	    .subject = ak_name,
	    .key = v->keys.ak,
	    .issuer = v->authority,
	    .issuer_key = v->authority_key,
	    .not_before = time(NULL) + from,
	    .not_after = time(NULL) + to,
	    .extensions = ak_extensions,
	};

	TRY(certificate_issue(&plan, &certificate));
	return certificate_to_der(certificate, der);
}

/* Stands there until the machine has been certified: a key and an issuer that nobody knows. */
static skr_status issue_placeholder(struct buf *der)
{
	auto_pkey *key = NULL;
	auto_x509 *certificate = NULL;

	TRY(key_generate("RSA-2048", &key));
	const struct certificate_plan plan = {
	    .subject = placeholder_name,
	    .key = key,
	    .not_before = time(NULL) - DAY,
	    .not_after = time(NULL) + YEAR,
	};
	TRY(certificate_issue(&plan, &certificate));
	return certificate_to_der(certificate, der);
}

static const struct {
	const char *word;
	int64_t from, to; /* seconds from now; both 0: none */
	bool placeholder;
} certificates[] = {
    {"good", -DAY, YEAR, false},
    {"renew", -DAY, YEAR, false},
    {"absent", 0, 0, false},
    {"placeholder", -DAY, YEAR, true},
    {"expiring", -300LL * DAY, 20LL * DAY, false},
    {"expired", -400LL * DAY, -DAY, false},
};

static skr_status write_certificate(struct vtpm *v, const struct buf *der)
{
	if (is_trusted_launch(v))
		return vtpm_write_certificate(&v->wire, der->data, der->len);
	relay_set_index(v->relay, VTPM_CERTIFICATE, CERTIFICATE_SIZE, der->len ? der : NULL);
	return OK;
}

static skr_status set_certificate(struct vtpm *v, const char *word)
{
	auto_buf der = BUF(CERTIFICATE_SIZE);

	for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]); i++) {
		if (strcmp(certificates[i].word, word) != 0)
			continue;
		if (certificates[i].placeholder)
			TRY(issue_placeholder(&der));
		else if (certificates[i].to)
			TRY(issue(v, certificates[i].from, certificates[i].to, &der));
		return write_certificate(v, &der);
	}
	return FAIL(213, "ak_certificate: no such word: %s", word);
}

skr_status vtpm_authority(struct emulator *e, X509 **ret)
{
	*ret = e->vtpm ? e->vtpm->authority : NULL;
	return OK;
}

/* ---- the paravisor's report ---- */

static skr_status hardware_part(struct vtpm *v, const uint8_t report_data[64], uint8_t out[HCL_HARDWARE_AREA])
{
	if (v->e->kind == MACHINE_CVM_TDX)
		return intel_td_report(v->e, report_data, out);
	return hardware_report(v->e, report_data, 0, out);
}

static skr_status make_report(void *context, const uint8_t user_data[64], bool other_ak, struct buf *out)
{
	struct vtpm *v = context;
	struct hcl_claims claims = {.ak = other_ak ? v->keys.ek : v->keys.ak,
	                            .ek = v->keys.ek,
	                            .secure_boot = v->secure_boot,
	                            .vm_id = v->e->client};
	auto_buf text = BUF(HCL_INDEX_SIZE);
	uint8_t hardware[HCL_HARDWARE_AREA] = {0}, report_data[64];

	memcpy(claims.user_data, user_data, sizeof(claims.user_data));
	TRY(hcl_claims_make(&claims, &text, report_data));
	TRY(hardware_part(v, report_data, hardware));
	return hcl_report_make(v->e->kind == MACHINE_CVM_TDX ? HCL_TDX : HCL_SNP, hardware, sizeof(hardware), &text,
	                       out);
}

/* ---- boots ---- */

static skr_status boot(struct vtpm *v)
{
	auto_buf log = BUF(EVENT_LOG_LIMIT);

	TRY(event_log_make(v->secure_boot, &log));
	TRY(emulator_write(v->e, "binary_bios_measurements", log.data, log.len));
	return vtpm_provision(&v->wire, is_trusted_launch(v), &log, &v->keys);
}

static skr_status restart(void *context)
{
	struct vtpm *v = context;

	TRY(wire_power_cycle(&v->wire));
	relay_forget(v->relay);
	return boot(v);
}

static skr_status replace_ak(void *context)
{
	struct vtpm *v = context;

	return vtpm_replace_ak(&v->wire);
}

/* ---- life ---- */

static skr_status make_state_dir(const struct vtpm *v, char path[4096])
{
	/* The two kinds of machine have objects of the same names under different owners. */
	int len = snprintf(path, 4096, "%s/tpm%s", v->e->dir, is_trusted_launch(v) ? "-trusted-launch" : "");

	if (len >= 4096)
		return FAIL(17, "path too long: %s/tpm", v->e->dir);
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return FAIL(17, "mkdir %s: %s", path, strerror(errno));
	return OK;
}

static skr_status fill_indices(struct vtpm *v)
{
	if (!is_trusted_launch(v))
		relay_set_index(v->relay, VTPM_REPORT, HCL_INDEX_SIZE, NULL);
	return set_certificate(v, "good");
}

static skr_status open_parts(struct vtpm *v)
{
	char dir[4096];
	const struct relay_machine machine = {
	    .context = v, .report = make_report, .restart = restart, .replace_ak = replace_ak};

	TRY(open_authority(v));
	TRY(make_state_dir(v, dir));
	TRY(wire_open(&v->wire, dir));
	TRY(boot(v));
	TRY(relay_open(&v->wire, &machine, &v->relay, &v->e->tpm_port));
	TRY(relay_lock(v->relay));
	skr_status status = fill_indices(v);
	relay_unlock(v->relay);
	return status;
}

skr_status vtpm_open(struct emulator *e)
{
	struct vtpm *v = calloc(1, sizeof(*v));

	if (!v)
		return FAIL(14, "no memory for the vTPM");
	v->e = e;
	v->wire = VTPM_WIRE;
	v->secure_boot = true;
	e->vtpm = v;
	skr_status status = open_parts(v);
	if (status.failure)
		vtpm_close(e);
	return status;
}

void vtpm_close(struct emulator *e)
{
	struct vtpm *v = e->vtpm;

	if (!v)
		return;
	relay_close(v->relay);
	wire_close(&v->wire);
	vtpm_keys_done(&v->keys);
	X509_free(v->authority);
	EVP_PKEY_free(v->authority_key);
	free(v);
	e->vtpm = NULL;
	e->tpm_port = 0;
}

/* ---- control ---- */

static skr_status change_secure_boot(struct vtpm *v, const json *value)
{
	if (json_kind(value) != JSON_BOOL)
		return FAIL(213, "secure_boot is neither true nor false");
	v->secure_boot = json_is_true(value);
	return restart(v);
}

static skr_status change_restart(struct vtpm *v, const json *value)
{
	return json_is_true(value) ? restart(v) : OK;
}

static skr_status change_certificate(struct vtpm *v, const json *value)
{
	return set_certificate(v, json_text(value) ? json_text(value) : "");
}

static skr_status change_ak(struct vtpm *v, const json *value)
{
	if (!json_text(value) || strcmp(json_text(value), "replace") != 0)
		return FAIL(213, "ak: the one word it knows is replace");
	return replace_ak(v);
}

static skr_status change_extend(struct vtpm *v, const json *value)
{
	int64_t pcr;

	if (json_number(value, &pcr).failure || pcr < 0 || pcr >= EVENT_LOG_PCRS)
		return FAIL(213, "extend is not the number of a PCR");
	return vtpm_extend(&v->wire, (uint32_t)pcr);
}

static skr_status change_faults(struct vtpm *v, const json *value)
{
	return relay_set_faults(v->relay, value);
}

static skr_status change_counters(struct vtpm *v, const json *value)
{
	if (json_number(value, &(int64_t){0}).failure)
		return FAIL(213, "counters is not a number");
	relay_clear_counters(v->relay);
	return OK;
}

/* In the order they are done in. */
static const struct {
	const char *name;
	skr_status (*change)(struct vtpm *v, const json *value);
} changes[] = {
    {"secure_boot", change_secure_boot},
    {"restart", change_restart},
    {"ak_certificate", change_certificate},
    {"ak", change_ak},
    {"extend", change_extend},
    {"faults", change_faults},
    {"counters", change_counters},
};
#define CHANGES (sizeof(changes) / sizeof(changes[0]))

static skr_status check_names(const json *request)
{
	for (const json *member = json_first(request); member; member = json_next(member)) {
		size_t i = 0;
		while (i < CHANGES && strcmp(changes[i].name, json_name(member)) != 0)
			i++;
		if (i == CHANGES)
			return FAIL(213, "the vTPM has no %s", json_name(member));
	}
	return OK;
}

static skr_status change(struct vtpm *v, const json *request)
{
	for (size_t i = 0; i < CHANGES; i++) {
		const json *value = json_get(request, changes[i].name);
		if (value)
			TRY(changes[i].change(v, value));
	}
	return OK;
}

static skr_status no_vtpm(void)
{
	return FAIL(213, "this machine has no vTPM");
}

skr_status vtpm_change(struct emulator *e, const json *request)
{
	if (!e->vtpm)
		return no_vtpm();
	if (json_kind(request) != JSON_OBJECT)
		return FAIL(213, "not an object");
	TRY(check_names(request));
	TRY(relay_lock(e->vtpm->relay));
	skr_status status = change(e->vtpm, request);
	relay_unlock(e->vtpm->relay);
	return status;
}

skr_status vtpm_describe(struct emulator *e, json **ret)
{
	return e->vtpm ? relay_describe(e->vtpm->relay, ret) : no_vtpm();
}
