/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/facts.h"

#include "base/base64.h"
#include "base/ossl.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- values ---- */

static void set_hex(json *object, const char *name, const void *data, size_t len)
{
	auto_buf text = BUF(2 * len);

	if (!hex_encode(data, len, &text).failure)
		json_set_string(object, name, buf_text(&text));
}

static void set_text(json *object, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void set_text(json *object, const char *name, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_set_string(object, name, text);
}

static uint64_t little_endian(const uint8_t *at, size_t bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | at[bytes];
	return value;
}

/* Bits by name; what has no name is not shown, the number has it. */
struct bit {
	unsigned at;
	const char *name;
};

static json *bits_of(uint64_t value, const struct bit *bits)
{
	char number[24];
	json *object = json_object();

	snprintf(number, sizeof(number), "0x%" PRIx64, value);
	json_set_string(object, "value", number);
	for (; bits->name; bits++)
		json_set_bool(object, bits->name, value >> bits->at & 1);
	return object;
}

/* ---- SNP ---- */

static const struct bit policy_bits[] = {
    {16, "smt_allowed"}, {18, "migration_agent_allowed"}, {19, "debug_allowed"}, {20, "single_socket_only"}, {0, NULL},
};
static const struct bit platform_bits[] = {
    {0, "smt_enabled"},
    {1, "tsme_enabled"},
    {2, "ecc_memory"},
    {0, NULL},
};

static json *policy_of(const uint8_t *at, const struct snp_report *report)
{
	json *policy = bits_of(report->policy, policy_bits);
	char abi[16];

	snprintf(abi, sizeof(abi), "%u.%u", at[1], at[0]);
	json_set_string(policy, "abi", abi);
	return policy;
}

static json *platform_of(const uint8_t *at, const struct snp_report *report)
{
	(void)report;
	return bits_of(little_endian(at, 8), platform_bits);
}

/* AMD 56860, TCB_VERSION: the parts lie differently in Turin, which has no reports of version 2. */
static json *tcb_of(const uint8_t *at, const struct snp_report *report)
{
	char number[24];
	json *tcb = json_object();
	bool turin = report->product == SNP_TURIN;

	snprintf(number, sizeof(number), "%016" PRIx64, little_endian(at, 8));
	json_set_string(tcb, "value", number);
	if (turin)
		json_set_number(tcb, "fmc", at[0]);
	json_set_number(tcb, "boot_loader", at[turin ? 1 : 0]);
	json_set_number(tcb, "tee", at[turin ? 2 : 1]);
	json_set_number(tcb, "snp", at[turin ? 3 : 6]);
	json_set_number(tcb, "microcode", at[7]);
	return tcb;
}

static json *version_of(const uint8_t *at, const struct snp_report *report)
{
	char text[24];

	(void)report;
	snprintf(text, sizeof(text), "%u.%u.%u", at[2], at[1], at[0]);
	return json_of_string(text);
}

static json *signer_of(const uint8_t *at, const struct snp_report *report)
{
	static const char *const names[8] = {[SNP_SIGNED_BY_VCEK] = "VCEK (this chip's key)",
	                                     [SNP_SIGNED_BY_VLEK] = "VLEK (a key of the cloud)",
	                                     [SNP_SIGNED_BY_NONE] = "nobody"};

	(void)at;
	return json_of_string(report->signing_key < 8 && names[report->signing_key] ? names[report->signing_key]
	                                                                            : "an unknown key");
}

static json *cpu_of(const uint8_t *at, const struct snp_report *report)
{
	static const char *const products[] = {
	    [SNP_PRODUCT_UNKNOWN] = "unknown", [SNP_MILAN] = "Milan", [SNP_GENOA] = "Genoa", [SNP_TURIN] = "Turin"};
	char text[80];

	if (report->version < 3)
		return json_of_string("not said by reports of version 2");
	snprintf(text, sizeof(text), "%s (family 0x%x, model 0x%x, stepping %u)", products[report->product], at[0],
	         at[1], at[2]);
	return json_of_string(text);
}

static json *number_of(const uint8_t *at, const struct snp_report *report)
{
	(void)report;
	return json_of_number((int64_t)little_endian(at, 4));
}

/* In the order in which people ask; without `read` it is `size` bytes. */
static const struct field {
	const char *name;
	uint16_t at, size;
	json *(*read)(const uint8_t *at, const struct snp_report *report);
} fields[] = {
    {"version", 0x000, 4, number_of},
    {"processor", 0x188, 3, cpu_of},
    {"vmpl", 0x030, 4, number_of},
    {"guest_svn", 0x004, 4, number_of},
    {"policy", 0x008, 8, policy_of},
    {"platform", 0x040, 8, platform_of},
    {"measurement", 0x090, 48, NULL},
    {"host_data", 0x0c0, 32, NULL},
    {"report_data", 0x050, 64, NULL},
    {"reported_tcb", 0x180, 8, tcb_of},
    {"current_tcb", 0x038, 8, tcb_of},
    {"committed_tcb", 0x1e0, 8, tcb_of},
    {"launch_tcb", 0x1f0, 8, tcb_of},
    {"current_firmware", 0x1e8, 3, version_of},
    {"committed_firmware", 0x1ec, 3, version_of},
    {"signed_by", 0x048, 4, signer_of},
    {"family_id", 0x010, 16, NULL},
    {"image_id", 0x020, 16, NULL},
    {"id_key_digest", 0x0e0, 48, NULL},
    {"author_key_digest", 0x110, 48, NULL},
    {"report_id", 0x140, 32, NULL},
    {"report_id_ma", 0x160, 32, NULL},
    {"chip_id", 0x1a0, 64, NULL},
};

json *facts_of_snp_report(const struct snp_report *report)
{
	json *object = json_object();

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		const uint8_t *at = report->bytes + fields[i].at;

		if (fields[i].read)
			json_set(object, fields[i].name, fields[i].read(at, report));
		else
			set_hex(object, fields[i].name, at, fields[i].size);
	}
	return object;
}

/* ---- TDX ---- */

json *facts_of_td_quote(const struct td_quote *quote)
{
	json *object = json_object();
	char name[8];

#define HEX(field) set_hex(object, #field, quote->field, sizeof(quote->field))
	json_set_number(object, "version", quote->version);
	json_set_bool(object, "debug", quote->debug);
	HEX(td_attributes);
	HEX(xfam);
	HEX(mrtd);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "rtmr%d", i);
		set_hex(object, name, quote->rtmr[i], sizeof(quote->rtmr[i]));
	}
	HEX(report_data);
	HEX(mrconfigid);
	HEX(mrowner);
	HEX(mrownerconfig);
	HEX(tee_tcb_svn);
	HEX(mrseam);
	HEX(mrsignerseam);
	HEX(seam_attributes);
#undef HEX
	return object;
}

/* ---- certificates ---- */

/* SHA-256 of the SubjectPublicKeyInfo: AMD's key server (kdsintf.amd.com), Intel's SGX root (trustedservices). */
static const struct vendor_root {
	const char *name, *spki_sha256;
} vendor_roots[] = {
    {"AMD's own for Milan", "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"},
    {"AMD's own for Genoa", "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"},
    {"AMD's own for Turin", "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"},
    {"Intel's own", "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"},
};

static const char *vendor_of(const char *spki_sha256)
{
	for (size_t i = 0; i < sizeof(vendor_roots) / sizeof(vendor_roots[0]); i++)
		if (strcmp(vendor_roots[i].spki_sha256, spki_sha256) == 0)
			return vendor_roots[i].name;
	return NULL;
}

static bool spki_sha256(X509 *certificate, struct buf *hex)
{
	uint8_t digest[32], *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	bool good =
	    len > 0 && !sha256(der, (size_t)len, digest).failure && !hex_encode(digest, sizeof(digest), hex).failure;

	OPENSSL_free(der);
	return good;
}

static void common_name(X509 *certificate, char out[96])
{
	if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, out, 96) <= 0)
		snprintf(out, 96, "(no name)");
}

static void day_of(const ASN1_TIME *when, char out[16])
{
	struct tm day;

	snprintf(out, 16, "?");
	if (ASN1_TIME_to_tm(when, &day) == 1)
		strftime(out, 16, "%Y-%m-%d", &day);
}

json *facts_of_chain(STACK_OF(X509) *chain)
{
	json *object = json_object(), *list = json_array();
	auto_buf hex = BUF(64);
	int count = sk_X509_num(chain);

	for (int i = 0; i < count; i++) {
		char name[96], until[16], line[160];
		common_name(sk_X509_value(chain, i), name);
		day_of(X509_get0_notAfter(sk_X509_value(chain, i)), until);
		snprintf(line, sizeof(line), "%s (until %s)", name, until);
		json_push(list, json_of_string(line));
	}
	json_set(object, "certificates", list);
	if (count == 0 || !spki_sha256(sk_X509_value(chain, count - 1), &hex))
		return object;
	const char *vendor = vendor_of(buf_text(&hex));
	json *root = json_object();
	json_set_string(root, "value", vendor ? vendor : "not a vendor's (whoever has its key can make such evidence)");
	json_set_bool(root, "genuine", vendor != NULL);
	json_set_string(root, "spki_sha256", buf_text(&hex));
	json_set(object, "root", root);
	return object;
}

/* ---- the vTPM ---- */

json *facts_of_vtpm(const struct vtpm_machine *vtpm)
{
	static const char *const states[] = {
	    [AK_CERTIFICATE_GOOD] = "good",
	    [AK_CERTIFICATE_EXPIRES_SOON] = "expires soon",
	    [AK_CERTIFICATE_EXPIRED] = "expired",
	};
	const struct guest_evidence *guest = &vtpm->evidence;
	json *object = json_object();
	char name[8];

	if (vtpm->ak_certificate_issuer[0]) {
		json_set_string(object, "ak_certificate", states[vtpm->ak_certificate_state]);
		json_set_number(object, "ak_certificate_days_left", vtpm->ak_certificate_days);
		json_set_string(object, "ak_certificate_issuer", vtpm->ak_certificate_issuer);
	}
	for (int i = 0; i < GUEST_PCRS; i++) {
		snprintf(name, sizeof(name), "pcr%d", i);
		set_hex(object, name, guest->pcrs[i], sizeof(guest->pcrs[i]));
	}
	if (guest->event_log.len)
		set_text(object, "boot_log", "%zu bytes", guest->event_log.len);
	else
		json_set_string(object, "boot_log",
		                "not readable by this user: without it secure boot may not be known");
	return object;
}

/* ---- the whole ---- */

/* The hardware's word: in the evidence itself, or in what goes to AzureGuest. */
static const struct buf *hardware_of(const struct evidence *evidence)
{
	return evidence->form == EVIDENCE_GUEST ? &evidence->vtpm.evidence.hardware : &evidence->report;
}

static const struct buf *chain_of(const struct evidence *evidence)
{
	return evidence->form == EVIDENCE_GUEST ? &evidence->vtpm.evidence.chain_pem : &evidence->chain_pem;
}

enum hardware { HARDWARE_NONE, HARDWARE_SNP, HARDWARE_TDX };
static enum hardware kind_of(const struct evidence *evidence)
{
	static const enum hardware of_isolation[] = {
	    [ISOLATION_TRUSTED_LAUNCH] = HARDWARE_NONE, [ISOLATION_SNP] = HARDWARE_SNP, [ISOLATION_TDX] = HARDWARE_TDX};

	switch (evidence->form) {
	case EVIDENCE_SNP:
	case EVIDENCE_DIRECT_SNP:
		return HARDWARE_SNP;
	case EVIDENCE_TDX:
	case EVIDENCE_DIRECT_TDX:
		return HARDWARE_TDX;
	case EVIDENCE_GUEST:
		return of_isolation[evidence->vtpm.evidence.isolation];
	case EVIDENCE_NONE:
		break;
	}
	return HARDWARE_NONE;
}

static void set_verdict(json *document, const char *signature, STACK_OF(X509) *chain)
{
	json *verification = facts_of_chain(chain);

	json_set_string(verification, "signature", signature);
	json_set(document, "verification", verification);
}

static skr_status set_unverified(json *document, const char *why)
{
	json *verification = json_object();

	json_set_string(verification, "signature", why);
	json_set(document, "verification", verification);
	return OK;
}

static skr_status add_snp(const struct evidence *evidence, json *document)
{
	const struct buf *bytes = hardware_of(evidence), *pem = chain_of(evidence);
	struct snp_report report;
	auto_x509s *chain = NULL;

	TRY(snp_report_parse(bytes->data, bytes->len, &report));
	json_set(document, "report", facts_of_snp_report(&report));
	if (pem->len == 0)
		return set_unverified(document, "NOT verified: no endorsements are at hand");
	TRY(certificates_from_pem(pem->data, pem->len, &chain));
	TRY(snp_report_verify(&report, chain, time(NULL)));
	set_verdict(document, "the report verifies: signed by this chip, for the reported TCB", chain);
	return OK;
}

/* A quote carries its chain as text; it is the only PEM in it, and zero bytes follow. */
static skr_status add_tdx(const struct evidence *evidence, json *document)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
	const struct buf *bytes = hardware_of(evidence);
	struct td_quote quote;
	auto_x509s *chain = NULL;

	if (bytes->len == 0)
		return set_unverified(document, "NOT verified: the host gives no quote");
	TRY(td_quote_parse(bytes->data, bytes->len, &quote));
	json_set(document, "quote", facts_of_td_quote(&quote));
	TRY(td_quote_verify(bytes->data, bytes->len, time(NULL)));
	const uint8_t *from = memmem(bytes->data, bytes->len, begin, sizeof(begin) - 1), *last = from, *next = from;
	while (next && (next = memmem(next, bytes->len - (size_t)(next - bytes->data), end, sizeof(end) - 1)))
		last = next += sizeof(end) - 1;
	if (!from)
		return FAIL(117, "the quote has no certificates in it");
	TRY(certificates_from_pem(from, (size_t)(last - from), &chain));
	set_verdict(document, "the quote verifies, by the certificates inside it", chain);
	return OK;
}

static void add_source(const struct evidence *evidence, json *document)
{
	char line[256];
	json *source = json_object();

	evidence_describe(evidence, line, sizeof(line));
	json_set_string(source, "provider", evidence->provider);
	json_set_string(source, "endorsements", evidence->endorsement_source);
	json_set_string(source, "summary", line);
	json_set(document, "evidence", source);
}

skr_status facts_of_evidence(const struct evidence *evidence, json *document)
{
	add_source(evidence, document);
	switch (kind_of(evidence)) {
	case HARDWARE_SNP:
		TRY(add_snp(evidence, document));
		break;
	case HARDWARE_TDX:
		TRY(add_tdx(evidence, document));
		break;
	case HARDWARE_NONE:
		break;
	}
	if (evidence->form == EVIDENCE_GUEST)
		json_set(document, "vtpm", facts_of_vtpm(&evidence->vtpm));
	if (evidence->vtpm.hcl.tree)
		json_set(document, "paravisor_claims", json_copy(evidence->vtpm.hcl.tree));
	return OK;
}

skr_status facts_debuggable(const struct evidence *evidence, bool *ret)
{
	const struct buf *bytes = hardware_of(evidence);
	struct snp_report report;
	struct td_quote quote;

	switch (kind_of(evidence)) {
	case HARDWARE_SNP:
		TRY(snp_report_parse(bytes->data, bytes->len, &report));
		*ret = report.policy & SNP_POLICY_DEBUG;
		return OK;
	case HARDWARE_TDX:
		TRY(td_quote_parse(bytes->data, bytes->len, &quote));
		*ret = quote.debug;
		return OK;
	case HARDWARE_NONE:
		break;
	}
	*ret = false;
	return OK;
}
