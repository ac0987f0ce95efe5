/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/maa.h"

#include "base/base64.h"
#include "emulator/cose.h"
#include "emulator/hardware.h"
#include "emulator/intel.h"

#include <string.h>

static skr_status set_hex(json *claims, const char *name, const uint8_t *data, size_t len)
{
	auto_buf text = BUF(256);
	TRY(hex_encode(data, len, &text));
	json_set_string(claims, name, buf_text(&text));
	return OK;
}

#define SNP(name) "x-ms-sevsnpvm-" name

static skr_status report_digests(const uint8_t *report, json *claims)
{
	static const struct {
		const char *name;
		enum report_offset at;
		size_t len;
	} rows[] = {
	    {SNP("authorkeydigest"), REPORT_AUTHOR_KEY_DIGEST, 48},
	    {SNP("familyId"), REPORT_FAMILY_ID, 16},
	    {SNP("hostdata"), REPORT_HOST_DATA, 32},
	    {SNP("idkeydigest"), REPORT_ID_KEY_DIGEST, 48},
	    {SNP("imageId"), REPORT_IMAGE_ID, 16},
	    {SNP("launchmeasurement"), REPORT_MEASUREMENT, 48},
	    {SNP("reportdata"), REPORT_REPORT_DATA, 64},
	    {SNP("reportid"), REPORT_REPORT_ID, 32},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		TRY(set_hex(claims, rows[i].name, report + rows[i].at, rows[i].len));
	return OK;
}

static void report_numbers(const uint8_t *report, enum product product, json *claims)
{
	struct tcb tcb = tcb_read(product, report + REPORT_REPORTED_TCB);
	uint64_t policy = report_u64(report, REPORT_POLICY);

	json_set_number(claims, SNP("bootloader-svn"), tcb.bootloader);
	json_set_number(claims, SNP("microcode-svn"), tcb.microcode);
	json_set_number(claims, SNP("snpfw-svn"), tcb.snp);
	json_set_number(claims, SNP("tee-svn"), tcb.tee);
	json_set_number(claims, SNP("guestsvn"), report_u32(report, REPORT_GUEST_SVN));
	json_set_number(claims, SNP("vmpl"), report_u32(report, REPORT_VMPL));
	json_set_bool(claims, SNP("is-debuggable"), policy & REPORT_POLICY_DEBUG);
	json_set_bool(claims, SNP("migration-allowed"), policy & REPORT_POLICY_MIGRATION);
	json_set_bool(claims, SNP("smt-allowed"), policy & REPORT_POLICY_SMT);
}

skr_status maa_report_claims(const uint8_t *report, enum product product, json *claims)
{
	report_numbers(report, product, claims);
	return report_digests(report, claims);
}

/* What an endorsement's feed says of the machine, and the key usage that goes with it. */
static const char *compliance(const struct cose_sign1 *endorsement)
{
	static const struct {
		const char *feed, *eku, *status;
	} rows[] = {
	    {"ContainerPlat-AMD-UVM", ".2", "azure-compliant-uvm"},
	    {"ConfAKS-AMD-UVM", ".5", "azure-signed-katacc-uvm"},
	};
	const struct cose_bytes feed = endorsement->feed, issuer = endorsement->issuer;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (feed.len == strlen(rows[i].feed) && memcmp(feed.data, rows[i].feed, feed.len) == 0 &&
		    memcmp(issuer.data + issuer.len - 2, rows[i].eku, 2) == 0)
			return rows[i].status;
	return NULL;
}

static skr_status check_endorsed_measurement(const uint8_t *report, const json *payload)
{
	const char *text;
	auto_buf measurement = BUF(64);
	TRY(json_string(payload, SNP("launchmeasurement"), &text));
	TRY(hex_decode(text, strlen(text), &measurement));
	if (measurement.len != 48 || memcmp(measurement.data, report + REPORT_MEASUREMENT, 48) != 0)
		return FAIL(117, "the UVM endorsement is for another launch measurement than the report's");
	return OK;
}

static skr_status evaluate_endorsement(const struct maa_request *request, const struct attestation_rules *rules,
                                       int64_t now, json *claims)
{
	const struct cose_trust trust = {
	    .roots = (const uint8_t(*)[32])rules->uvm_roots, .root_count = rules->uvm_root_count, .now = now};
	auto_cose endorsement = {0};
	auto_json *payload = NULL;
	int64_t svn;
	if (request->endorsement.len == 0)
		return OK;

	TRY(cose_parse(request->endorsement.data, request->endorsement.len, &endorsement));
	TRY(cose_verify(&endorsement, &trust));
	TRY(json_parse(endorsement.payload.data, endorsement.payload.len, &payload));
	TRY(json_integer(payload, SNP("guestsvn"), true, &svn));
	TRY(check_endorsed_measurement(request->report.data, payload));
	if (compliance(&endorsement))
		json_set_string(claims, "x-ms-compliance-status", compliance(&endorsement));
	json_set(claims, SNP("uvm-endorsement"), TAKE(payload));
	return OK;
}

static bool has_key(const json *runtime, const char *kid)
{
	for (const json *key = json_first(json_get(runtime, "keys")); key; key = json_next(key)) {
		const char *found = json_string_or_null(key, "kid");
		if (found && strcmp(found, kid) == 0)
			return true;
	}
	return false;
}

/*
 * How the service recognises Azure's paravisor is not published. Here: by runtime claims of its form, which the
 * hardware's report binds.
 */
static bool is_of_paravisor(const json *runtime)
{
	return has_key(runtime, "HCLAkPub") && json_kind(json_get(runtime, "vm-configuration")) == JSON_OBJECT;
}

static skr_status bind_runtime(const struct maa_request *request, const uint8_t report_data[64], json *claims)
{
	const struct maa_data *runtime = &request->runtime;
	if (runtime->there)
		TRY(report_data_binds(report_data, runtime->bytes.data, runtime->bytes.len));
	if (runtime->object)
		json_set(claims, "x-ms-runtime", json_copy(runtime->object));
	return OK;
}

static skr_status bind_init_time(const struct maa_request *request, json *claims)
{
	const struct maa_data *init_time = &request->init_time;
	if (init_time->there)
		TRY(report_launched_with(request->report.data, init_time->bytes.data, init_time->bytes.len));
	if (init_time->object)
		json_set(claims, "x-ms-inittime", json_copy(init_time->object));
	return OK;
}

bool maa_paravisor_report(const uint8_t *report)
{
	static const uint8_t none[48];
	return memcmp(report + REPORT_ID_KEY_DIGEST, none, sizeof(none)) != 0 &&
	       !(report_u64(report, REPORT_POLICY) & REPORT_POLICY_DEBUG);
}

static void evaluate_paravisor(const struct maa_request *request, json *claims)
{
	if (request->endorsement.len == 0 && is_of_paravisor(request->runtime.object) &&
	    maa_paravisor_report(request->report.data))
		json_set_string(claims, "x-ms-compliance-status", "azure-compliant-cvm");
}

skr_status maa_evaluate(struct emulator *e, const struct maa_request *request, json *claims)
{
	auto_rules rules = {0};
	auto_x509s *chain = NULL;
	enum product product;
	TRY(hardware_attestation_rules(e, &rules));
	const struct report_trust trust = {
	    .ark = rules.ark, .accept_real_amd = rules.accept_real_amd, .now = emulator_now(e)};

	skr_status status = certificates_from_pem(request->chain_pem.data, request->chain_pem.len, &chain);
	if (status.failure)
		return FAIL(213, "VcekCertChain: no PEM certificates");
	TRY(report_verify(request->report.data, request->report.len, chain, &trust, &product));
	TRY(bind_runtime(request, request->report.data + REPORT_REPORT_DATA, claims));
	TRY(bind_init_time(request, claims));
	evaluate_paravisor(request, claims);
	TRY(evaluate_endorsement(request, &rules, trust.now, claims));
	json_set_string(claims, "x-ms-attestation-type", "sevsnpvm");
	return maa_report_claims(request->report.data, product, claims);
}

skr_status maa_evaluate_td(struct emulator *e, const struct maa_request *request, json *claims)
{
	struct quote_trust trust;
	uint8_t report_data[64];
	if (request->init_time.there)
		return FAIL(213, "initTimeData of a TD is not played");
	TRY(intel_trust(e, &trust));
	TRY(quote_verify(request->quote.data, request->quote.len, &trust, report_data, claims));
	TRY(bind_runtime(request, report_data, claims));
	if (is_of_paravisor(request->runtime.object) && !json_bool(claims, "tdx_td_attributes_debug", true))
		json_set_string(claims, "x-ms-compliance-status", "azure-compliant-cvm");
	return OK;
}
