/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/intel.h"

#include "emulator/authority.h"
#include "emulator/certificate.h"
#include "emulator/hardware.h"
#include "emulator/quote.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DAY         (24 * 60 * 60)
#define YEAR        (365LL * DAY)
#define PEM_LIMIT   (16 * 1024)
#define AZURE_BYTES 5006 /* what Azure's quote service answers with, whatever the quote's own length */

struct intel {
	EVP_PKEY *pck_key, *attestation_key;
	X509 *root;
	struct buf chain; /* PEM: leaf, intermediate, root */
	uint8_t mac_key[32];
};

/* ---- the authority ---- */

/* The distinguished name as Intel writes it. */
/* clang-format off */
#define INTEL_NAME(common) { \
	{"CN", common}, {"O", "Intel Corporation"}, {"L", "Santa Clara"}, {"ST", "CA"}, {"C", "US"}, {NULL, NULL}}
/* clang-format on */

static const struct certificate_name root_name[] = INTEL_NAME("Intel SGX Root CA");
static const struct certificate_name platform_name[] = INTEL_NAME("Intel SGX PCK Platform CA");
static const struct certificate_name pck_name[] = INTEL_NAME("Intel SGX PCK Certificate");

static const struct certificate_extension root_extensions[] = {
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {.oid = "keyUsage", .text = "critical,keyCertSign,cRLSign"},
    {.oid = "basicConstraints", .text = "critical,CA:TRUE,pathlen:1"},
    {0},
};
static const struct certificate_extension platform_extensions[] = {
    {.oid = "authorityKeyIdentifier", .text = "keyid:always"},
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {.oid = "keyUsage", .text = "critical,keyCertSign,cRLSign"},
    {.oid = "basicConstraints", .text = "critical,CA:TRUE,pathlen:0"},
    {0},
};
static const struct certificate_extension pck_extensions[] = {
    {.oid = "authorityKeyIdentifier", .text = "keyid:always"},
    {.oid = "subjectKeyIdentifier", .text = "hash"},
    {.oid = "keyUsage", .text = "critical,digitalSignature,nonRepudiation"},
    {.oid = "basicConstraints", .text = "critical,CA:FALSE"},
    {0},
};

static struct certificate_plan intel_plan(const struct certificate_name *subject, EVP_PKEY *key,
                                          const struct certificate_extension *extensions, int years)
{
	return (struct certificate_plan){
	    .subject = subject,
	    .key = key,
	    .extensions = extensions,
	    .not_before = time(NULL) - DAY,
	    .not_after = time(NULL) + years * YEAR,
	};
}

/* The certificate kept in DIR/name; made again if another issuer's is there. */
static skr_status issued(struct emulator *e, const char *name, const struct certificate_plan *plan, X509 **ret)
{
	auto_x509 *kept = NULL;
	auto_buf pem = BUF(PEM_LIMIT);
	TRY(authority_kept_certificate(e, name, plan, &kept));
	if (!certificate_signed_by(kept, plan->issuer, time(NULL)).failure) {
		*ret = TAKE(kept);
		return OK;
	}
	auto_x509 *fresh = NULL;
	TRY(certificate_issue(plan, &fresh));
	TRY(certificate_to_pem(fresh, &pem));
	TRY(emulator_write(e, name, pem.data, pem.len));
	*ret = TAKE(fresh);
	return OK;
}

static skr_status open_authority(struct emulator *e, struct intel *intel)
{
	auto_pkey *root_key = NULL, *platform_key = NULL;
	auto_x509 *platform = NULL, *pck = NULL;
	TRY(emulator_key(e, "intel-root.key", 0, "P-256", &root_key));
	TRY(emulator_key(e, "intel-platform.key", 0, "P-256", &platform_key));
	TRY(emulator_key(e, "intel-pck.key", 0, "P-256", &intel->pck_key));
	TRY(emulator_key(e, "intel-attestation.key", 0, "P-256", &intel->attestation_key));

	struct certificate_plan plan = intel_plan(root_name, root_key, root_extensions, 25);
	TRY(authority_kept_certificate(e, "intel-root.pem", &plan, &intel->root));
	plan = intel_plan(platform_name, platform_key, platform_extensions, 15);
	plan.issuer = intel->root;
	plan.issuer_key = root_key;
	TRY(issued(e, "intel-platform.pem", &plan, &platform));
	plan = intel_plan(pck_name, intel->pck_key, pck_extensions, 7);
	plan.issuer = platform;
	plan.issuer_key = platform_key;
	TRY(issued(e, "intel-pck.pem", &plan, &pck));

	intel->chain = BUF(PEM_LIMIT);
	TRY(certificate_to_pem(pck, &intel->chain));
	TRY(certificate_to_pem(platform, &intel->chain));
	return certificate_to_pem(intel->root, &intel->chain);
}

/* ---- the processor: TDREPORT ---- */

static skr_status open_mac_key(struct emulator *e, uint8_t key[32])
{
	auto_buf stored = BUF(32);
	if (!emulator_read(e, "intel-mac.key", &stored).failure && stored.len == 32) {
		memcpy(key, stored.data, 32);
		return OK;
	}
	TRY(random_bytes(key, 32));
	return emulator_write(e, "intel-mac.key", key, 32);
}

static skr_status report_mac(const struct intel *intel, const uint8_t *report, uint8_t mac[32])
{
	size_t len = 0;
	if (!EVP_Q_mac(ossl, "HMAC", NULL, "SHA256", NULL, intel->mac_key, sizeof(intel->mac_key), report,
	               TD_REPORT_MAC, mac, 32, &len) ||
	    len != 32)
		return ossl_fail(599, "the MAC of a TD report");
	return OK;
}

static skr_status sha384(const void *data, size_t len, uint8_t out[48])
{
	return EVP_Q_digest(ossl, "SHA384", NULL, data, len, out, NULL) == 1 ? OK : ossl_fail(599, "SHA-384");
}

static void put_td(const struct td *td, uint8_t *report)
{
	static const uint8_t valid[3] = {0xff, 0x01, 0x03};
	memcpy(report + TD_REPORT_TCB_INFO, valid, sizeof(valid));
	memcpy(report + TD_REPORT_TEE_TCB_SVN, td->tee_tcb_svn, sizeof(td->tee_tcb_svn));
	memcpy(report + TD_REPORT_MRSEAM, td->mrseam, sizeof(td->mrseam));
	memcpy(report + TD_REPORT_MRSIGNERSEAM, td->mrsignerseam, sizeof(td->mrsignerseam));
	memcpy(report + TD_REPORT_TEE_TCB_SVN2, td->tee_tcb_svn, sizeof(td->tee_tcb_svn));

	memcpy(report + TD_REPORT_ATTRIBUTES, td->attributes, sizeof(td->attributes));
	report[TD_REPORT_ATTRIBUTES] |= td->debug;
	memcpy(report + TD_REPORT_XFAM, td->xfam, sizeof(td->xfam));
	memcpy(report + TD_REPORT_MRTD, td->mrtd, sizeof(td->mrtd));
	memcpy(report + TD_REPORT_MRCONFIGID, td->mrconfigid, sizeof(td->mrconfigid));
	memcpy(report + TD_REPORT_MROWNER, td->mrowner, sizeof(td->mrowner));
	memcpy(report + TD_REPORT_MROWNERCONFIG, td->mrownerconfig, sizeof(td->mrownerconfig));
	memcpy(report + TD_REPORT_RTMRS, td->rtmr, sizeof(td->rtmr));
}

skr_status intel_td_report(struct emulator *e, const uint8_t report_data[64], uint8_t ret[TD_REPORT_BYTES])
{
	static const uint8_t cpu_svn[16] = {0x06, 0x06, 0x13, 0x15, 0x03, 0xff, 0x00, 0x03};
	uint8_t report[TD_REPORT_BYTES] = {TD_REPORT_TYPE};
	struct machine machine;
	hardware_settings(e, &machine);
	memcpy(report + TD_REPORT_CPU_SVN, cpu_svn, sizeof(cpu_svn));
	memcpy(report + TD_REPORT_DATA, report_data, 64);
	put_td(&machine.td, report);
	TRY(sha384(report + TD_REPORT_TCB_INFO, TD_REPORT_TCB_INFO_BYTES, report + TD_REPORT_TCB_INFO_HASH));
	TRY(sha384(report + TD_REPORT_INFO, TD_REPORT_INFO_BYTES, report + TD_REPORT_INFO_HASH));
	TRY(report_mac(e->intel, report, report + TD_REPORT_MAC));
	memcpy(ret, report, sizeof(report));
	return OK;
}

/* What the processor checks before the quoting enclave believes a report: it is of this processor and whole. */
static skr_status check_report(const struct intel *intel, const uint8_t *report)
{
	uint8_t mac[32], tcb_info[48], info[48];
	TRY(report_mac(intel, report, mac));
	if (report[0] != TD_REPORT_TYPE || !equal_secret(mac, report + TD_REPORT_MAC, sizeof(mac)))
		return FAIL(117, "the TD report is not of this processor: its MAC is wrong");
	TRY(sha384(report + TD_REPORT_TCB_INFO, TD_REPORT_TCB_INFO_BYTES, tcb_info));
	TRY(sha384(report + TD_REPORT_INFO, TD_REPORT_INFO_BYTES, info));
	if (memcmp(tcb_info, report + TD_REPORT_TCB_INFO_HASH, sizeof(tcb_info)) != 0 ||
	    memcmp(info, report + TD_REPORT_INFO_HASH, sizeof(info)) != 0)
		return FAIL(117, "the TD report's hashes are not those of its contents");
	return OK;
}

/* ---- the quoting enclave ---- */

static skr_status append_number(struct buf *out, uint32_t value, size_t bytes)
{
	const uint8_t little[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
	                           (uint8_t)(value >> 24)};
	return buf_append(out, little, bytes);
}

/* r and s, 32 bytes each, appended. */
static skr_status append_signature(EVP_PKEY *key, const void *data, size_t len, struct buf *out)
{
	uint8_t der[80], raw[64];
	size_t der_len = sizeof(der);
	auto_md_ctx *md = EVP_MD_CTX_new();
	if (!md || EVP_DigestSignInit_ex(md, NULL, "SHA256", ossl, NULL, key, NULL) != 1 ||
	    EVP_DigestSign(md, der, &der_len, data, len) != 1)
		return ossl_fail(599, "signing a quote");

	const uint8_t *p = der;
	ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
	bool whole = signature && BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32) == 32 &&
	             BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32) == 32;
	ECDSA_SIG_free(signature);
	return whole ? buf_append(out, raw, sizeof(raw)) : ossl_fail(599, "signing a quote");
}

/* x and y of a key on P-256, 32 bytes each. */
static skr_status public_point(EVP_PKEY *key, uint8_t out[64])
{
	uint8_t point[65];
	size_t len = 0;
	if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point), &len) != 1 ||
	    len != sizeof(point))
		return ossl_fail(599, "the attestation key");
	memcpy(out, point + 1, 64);
	return OK;
}

static skr_status append_body(const uint8_t *report, unsigned version, struct buf *out)
{
	TRY(buf_append(out, report + TD_REPORT_TEE_TCB_SVN, 16 + 48 + 48 + 8));
	TRY(buf_append(out, report + TD_REPORT_INFO, 8 + 8 + 8 * 48));
	TRY(buf_append(out, report + TD_REPORT_DATA, 64));
	if (version == 4)
		return OK;
	TRY(buf_append(out, report + TD_REPORT_TEE_TCB_SVN2, 16));
	return buf_append(out, report + TD_REPORT_SERVTD_HASH, 48);
}

static skr_status append_header_and_body(const struct intel *intel, const uint8_t *report, unsigned version,
                                         struct buf *out)
{
	uint8_t platform[32], user_data[20] = {0};
	TRY(sha256(intel->chain.data, intel->chain.len, platform));
	memcpy(user_data, platform, 16);

	TRY(append_number(out, version, 2));
	TRY(append_number(out, QUOTE_KEY_ECDSA_P256, 2));
	TRY(append_number(out, QUOTE_TEE_TDX, 4));
	TRY(append_number(out, 0, 4));
	TRY(buf_append(out, quote_vendor, sizeof(quote_vendor)));
	TRY(buf_append(out, user_data, sizeof(user_data)));
	if (version == 5) {
		TRY(append_number(out, QUOTE_BODY_TDX_15, 2));
		TRY(append_number(out, QUOTE_BODY_TDX_15_BYTES, 4));
	}
	return append_body(report, version, out);
}

/* The enclave's own report, which binds the attestation key; then the PCK key's signature over it, and the chain. */
static skr_status append_certification(const struct intel *intel, const uint8_t point[64], struct buf *out)
{
	static const uint8_t auth[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
	                                 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
	static const char enclave[] = "skr-emulator quoting enclave";
	uint8_t bound[64 + sizeof(auth)], report[QE_REPORT_BYTES] = {6, 6, 0x13, 0x15, 3, 0xff, 0, 3};
	memcpy(bound, point, 64);
	memcpy(bound + 64, auth, sizeof(auth));
	report[QE_REPORT_ATTRIBUTES] = 0x15; /* initialised, 64 bit, provisioning key */
	report[QE_REPORT_ATTRIBUTES + 8] = 0xe7;
	report[QE_REPORT_PRODUCT] = 2;
	report[QE_REPORT_SVN] = 5;
	TRY(sha256(enclave, strlen(enclave), report + QE_REPORT_MRENCLAVE));
	TRY(sha256(quote_vendor, sizeof(quote_vendor), report + QE_REPORT_MRSIGNER));
	TRY(sha256(bound, sizeof(bound), report + QE_REPORT_DATA));

	TRY(buf_append(out, report, sizeof(report)));
	TRY(append_signature(intel->pck_key, report, sizeof(report), out));
	TRY(append_number(out, sizeof(auth), 2));
	TRY(buf_append(out, auth, sizeof(auth)));
	TRY(append_number(out, QUOTE_CERTIFICATION_CHAIN, 2));
	TRY(append_number(out, (uint32_t)intel->chain.len + 1, 4));
	return buf_append(out, intel->chain.data,
	                  intel->chain.len + 1); /* with the zero byte behind the text, as Intel's */
}

static skr_status make_quote(const struct intel *intel, const uint8_t *report, unsigned version, struct buf *quote)
{
	uint8_t point[64];
	auto_buf signature = BUF(TD_QUOTE_ROOM), certification = BUF(TD_QUOTE_ROOM);
	TRY(append_header_and_body(intel, report, version, quote));
	TRY(public_point(intel->attestation_key, point));
	TRY(append_signature(intel->attestation_key, quote->data, quote->len, &signature));
	TRY(buf_append(&signature, point, sizeof(point)));
	TRY(append_certification(intel, point, &certification));
	TRY(append_number(&signature, QUOTE_CERTIFICATION_QE_REPORT, 2));
	TRY(append_number(&signature, (uint32_t)certification.len, 4));
	TRY(buf_append(&signature, certification.data, certification.len));
	TRY(append_number(quote, (uint32_t)signature.len, 4));
	return buf_append(quote, signature.data, signature.len);
}

skr_status intel_quote(struct emulator *e, const uint8_t report[TD_REPORT_BYTES], unsigned version, struct buf *out)
{
	static const uint8_t zeros[AZURE_BYTES];
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	if (version != 4 && version != 5)
		return FAIL(599, "no quote has version %u", version);
	TRY(check_report(e->intel, report));
	TRY(make_quote(e->intel, report, version, &quote));
	if (quote.len < AZURE_BYTES)
		TRY(buf_append(&quote, zeros, AZURE_BYTES - quote.len));
	return buf_append(out, quote.data, quote.len);
}

/* ---- trust and life ---- */

skr_status intel_trust(struct emulator *e, struct quote_trust *ret)
{
	auto_rules rules = {0};
	TRY(hardware_attestation_rules(e, &rules));
	*ret = (struct quote_trust){
	    .root = e->intel->root,
	    .accept_real_intel = rules.accept_real_intel,
	    .now = emulator_now(e),
	};
	return OK;
}

skr_status intel_open(struct emulator *e)
{
	struct intel *intel = calloc(1, sizeof(*intel));
	if (!intel)
		return FAIL(14, "no memory for the processor");
	e->intel = intel;
	skr_status status = open_mac_key(e, intel->mac_key);
	if (!status.failure)
		status = open_authority(e, intel);
	if (status.failure)
		intel_close(e);
	return status;
}

void intel_close(struct emulator *e)
{
	struct intel *intel = e->intel;
	if (!intel)
		return;
	EVP_PKEY_free(intel->pck_key);
	EVP_PKEY_free(intel->attestation_key);
	X509_free(intel->root);
	buf_done(&intel->chain);
	free(intel);
	e->intel = NULL;
}
