/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/guest_request.h"

#include "base/base64.h"

#include <string.h>

static skr_status decode(const json *object, const char *name, struct buf *out)
{
	const char *text;
	TRY(json_string(object, name, &text));
	out->limit = GUEST_REQUEST_LIMIT;
	skr_status status = base64_decode_any(text, strlen(text), out);
	return status.failure ? status_prefix(status, "%s", name) : OK;
}

/* The same, and it may not be empty. */
static skr_status decode_some(const json *object, const char *name, struct buf *out)
{
	TRY(decode(object, name, out));
	return out->len ? OK : FAIL(213, "%s is empty", name);
}

/* Text that becomes a claim: no NUL, which would end it. Whether it is UTF-8 the token's reader would find out late. */
static skr_status decode_text(const json *object, const char *name, struct buf *out)
{
	TRY(decode_some(object, name, out));
	for (size_t i = 0; i < out->len; i++)
		if (out->data[i] < 0x20 || out->data[i] > 0x7E)
			return FAIL(213, "%s has a byte that is not printable ASCII", name);
	return OK;
}

static skr_status parse_layer(const char *name, const struct buf *text, json **ret)
{
	skr_status status = json_parse_large(text->data, text->len, 1024, ret);
	if (status.failure)
		return status_prefix(status, "%s", name);
	return json_kind(*ret) == JSON_OBJECT ? OK : FAIL(213, "%s is not a JSON object", name);
}

static skr_status object_member(const json *object, const char *name, const json **ret)
{
	*ret = json_get(object, name);
	return json_kind(*ret) == JSON_OBJECT ? OK : FAIL(213, "%s is missing or no object", name);
}

/* ---- the machine's own words ---- */

static skr_status parse_machine(struct guest_request *out)
{
	const json *payload = json_get(out->info, "ClientPayload");
	enum json_kind kind = json_kind(payload);

	TRY(json_string(out->info, "AttestationProtocolVersion", &out->protocol));
	TRY(decode_text(out->info, "OSType", &out->os_type));
	TRY(decode_text(out->info, "OSDistro", &out->os_distro));
	TRY(decode_text(out->info, "OSBuild", &out->os_build));
	TRY(json_integer(out->info, "OSVersionMajor", true, &out->os_major));
	TRY(json_integer(out->info, "OSVersionMinor", true, &out->os_minor));
	TRY(decode(out->info, "TcgLogs", &out->log));
	if (kind != JSON_NONE && kind != JSON_NULL && kind != JSON_OBJECT)
		return FAIL(213, "ClientPayload is neither an object nor null");
	out->client_payload = kind == JSON_OBJECT ? payload : NULL;
	return OK;
}

/* ---- what the TPM says ---- */

static skr_status parse_pcr_set(const json *tpm, uint32_t *ret)
{
	const json *set = json_get(tpm, "PcrSet");
	uint32_t pcrs = 0;
	int64_t index, last = -1;

	if (json_kind(set) != JSON_ARRAY || json_count(set) == 0)
		return FAIL(213, "PcrSet is missing, empty or no array");
	for (const json *item = json_first(set); item; item = json_next(item), last = index) {
		if (json_number(item, &index).failure || index < 0 || index >= TPM_PCRS)
			return FAIL(213, "PcrSet has what is no number of a PCR");
		if (index <= last)
			return FAIL(213, "PcrSet does not ascend: %d stands behind %d", (int)index, (int)last);
		pcrs |= 1U << index;
	}
	*ret = pcrs;
	return OK;
}

static skr_status parse_pcr(const json *item, int64_t *last, struct guest_request *out)
{
	auto_buf value = BUF(0);
	int64_t index;
	TRY(json_integer(item, "Index", false, &index));
	if (index <= *last)
		return FAIL(213, "PCRs are not in the order of PcrSet");
	if (index >= TPM_PCRS || !(out->pcrs >> index & 1))
		return FAIL(213, "PCRs has an index %lld that PcrSet has not", (long long)index);
	TRY(decode(item, "Digest", &value));
	if (value.len != TPM_DIGEST)
		return FAIL(213, "PCRs: the digest of PCR %d has %zu bytes, not %d", (int)index, value.len, TPM_DIGEST);
	memcpy(out->pcr_values[index], value.data, TPM_DIGEST);
	*last = index;
	return OK;
}

/* Ascending, none that is not in the set, and as many: so exactly the set. */
static skr_status parse_pcrs(const json *tpm, struct guest_request *out)
{
	const json *values = json_get(tpm, "PCRs");
	int64_t last = -1;

	TRY(parse_pcr_set(tpm, &out->pcrs));
	if (json_kind(values) != JSON_ARRAY)
		return FAIL(213, "PCRs is missing or no array");
	if (json_count(values) != json_count(json_get(tpm, "PcrSet")))
		return FAIL(213, "PCRs has %zu values, PcrSet %zu", json_count(values),
		            json_count(json_get(tpm, "PcrSet")));
	for (const json *item = json_first(values); item; item = json_next(item))
		TRY(parse_pcr(item, &last, out));
	return OK;
}

static skr_status parse_tpm(struct guest_request *out)
{
	const json *tpm;
	TRY(object_member(out->info, "TpmInfo", &tpm));
	TRY(decode_some(tpm, "AikCert", &out->ak_certificate));
	TRY(decode_some(tpm, "AikPub", &out->ak_public));
	TRY(decode_some(tpm, "PcrQuote", &out->quote));
	TRY(decode_some(tpm, "PcrSignature", &out->quote_signature));
	TRY(decode_some(tpm, "EncKeyPub", &out->key_public));
	TRY(decode_some(tpm, "EncKeyCertifyInfo", &out->certify));
	TRY(decode_some(tpm, "EncKeyCertifyInfoSignature", &out->certify_signature));
	return parse_pcrs(tpm, out);
}

/* ---- what the hardware says ---- */

static skr_status parse_snp_proof(const struct buf *proof, struct guest_request *out)
{
	auto_json *parts = NULL;
	TRY(parse_layer("Proof", proof, &parts));
	TRY(decode_some(parts, "SnpReport", &out->report));
	return decode_some(parts, "VcekCertChain", &out->chain_pem);
}

static skr_status parse_evidence(const json *isolation, struct guest_request *out)
{
	const json *evidence;
	auto_buf proof = BUF(0);
	TRY(object_member(isolation, "Evidence", &evidence));
	TRY(decode_some(evidence, "Proof", &proof));
	TRY(decode_some(evidence, "RunTimeData", &out->runtime_bytes));
	TRY(parse_layer("RunTimeData", &out->runtime_bytes, &out->runtime));
	if (out->isolation == ISOLATION_SNP)
		return parse_snp_proof(&proof, out);
	buf_move(&out->td_quote, &proof);
	return OK;
}

static skr_status parse_isolation(struct guest_request *out)
{
	static const struct {
		const char *type;
		enum isolation isolation;
	} rows[] = {{"TrustedLaunch", ISOLATION_NONE}, {"SevSnp", ISOLATION_SNP}, {"Tdx", ISOLATION_TDX}};
	const json *isolation;
	const char *type;

	/* Version 1.0 knows no other machines. */
	if (!json_get(out->info, "IsolationInfo") && strcmp(out->protocol, "1.0") == 0)
		return OK;
	TRY(object_member(out->info, "IsolationInfo", &isolation));
	TRY(json_string(isolation, "Type", &type));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(type, rows[i].type) != 0)
			continue;
		out->isolation = rows[i].isolation;
		return out->isolation == ISOLATION_NONE ? OK : parse_evidence(isolation, out);
	}
	return FAIL(213, "IsolationInfo: Type is none of TrustedLaunch, SevSnp, Tdx");
}

/* ---- the whole ---- */

void guest_request_done(struct guest_request *request)
{
	struct buf *buffers[] = {
	    &request->os_type,   &request->os_distro, &request->os_build,        &request->ak_certificate,
	    &request->ak_public, &request->quote,     &request->quote_signature, &request->key_public,
	    &request->certify,   &request->log,       &request->report,          &request->certify_signature,
	    &request->chain_pem, &request->td_quote,  &request->runtime_bytes};
	for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
		buf_done(buffers[i]);
	json_free(request->info);
	json_free(request->runtime);
	*request = (struct guest_request){0};
}

skr_status guest_request_parse(const void *body, size_t len, struct guest_request *ret)
{
	auto_guest_request request = {0};
	auto_buf text = BUF(0);
	auto_json *outer = NULL;

	TRY(parse_layer("the request", &(struct buf){.data = (uint8_t *)body, .len = len}, &outer));
	TRY(decode_some(outer, json_get(outer, "attestationInfo") ? "attestationInfo" : "AttestationInfo", &text));
	TRY(parse_layer("AttestationInfo", &text, &request.info));
	TRY(parse_machine(&request));
	TRY(parse_tpm(&request));
	TRY(parse_isolation(&request));
	*ret = request;
	request = (struct guest_request){0};
	return OK;
}
