/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/report_verify.h"

#include "emulator/certificate.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <string.h>

struct product_row {
	const char *name;
	const char *real_ark; /* SHA-256 of the SubjectPublicKeyInfo of AMD's root, as published on AMD's key server */
};

static const struct product_row products[] = {
    [PRODUCT_MILAN] = {"Milan", "9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"},
    [PRODUCT_GENOA] = {"Genoa", "429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"},
    [PRODUCT_TURIN] = {"Turin", "4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"},
};

const char *product_name(enum product product)
{
	return products[product].name;
}

bool product_of_name(const char *name, enum product *ret)
{
	for (size_t i = 0; i < sizeof(products) / sizeof(products[0]); i++)
		if (strcmp(products[i].name, name) == 0) {
			*ret = (enum product)i;
			return true;
		}
	return false;
}

struct tcb tcb_read(enum product product, const uint8_t b[8])
{
	if (product == PRODUCT_TURIN)
		return (struct tcb){.fmc = b[0], .bootloader = b[1], .tee = b[2], .snp = b[3], .microcode = b[7]};
	return (struct tcb){.bootloader = b[0], .tee = b[1], .snp = b[6], .microcode = b[7]};
}

void tcb_write(enum product product, struct tcb tcb, uint8_t bytes[8])
{
	const uint8_t turin[8] = {tcb.fmc, tcb.bootloader, tcb.tee, tcb.snp, 0, 0, 0, tcb.microcode};
	const uint8_t older[8] = {tcb.bootloader, tcb.tee, 0, 0, 0, 0, tcb.snp, tcb.microcode};
	memcpy(bytes, product == PRODUCT_TURIN ? turin : older, 8);
}

uint32_t report_u32(const uint8_t *report, enum report_offset at)
{
	const uint8_t *p = report + at;
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t report_u64(const uint8_t *report, enum report_offset at)
{
	return report_u32(report, at) | (uint64_t)report_u32(report, at + 4) << 32;
}

/* ---- what it says of itself ---- */

static skr_status check_form(const uint8_t *report, size_t len)
{
	if (len != REPORT_SIZE)
		return FAIL(116, "the SNP report has %zu bytes, not %d", len, REPORT_SIZE);
	uint32_t version = report_u32(report, REPORT_VERSION);
	if (version < 2 || version > 5)
		return FAIL(116, "SNP report version %u is not one of 2 to 5", version);
	if (report_u32(report, REPORT_SIGNATURE_ALGO) != 1)
		return FAIL(116, "SNP report signature algorithm %u is not 1, ECDSA P-384 with SHA-384",
		            report_u32(report, REPORT_SIGNATURE_ALGO));
	uint32_t signing_key = report_u32(report, REPORT_KEY_FLAGS) >> 2 & 7;
	if (signing_key != 0)
		return FAIL(117, "the SNP report was signed by key %u, not by the VCEK", signing_key);
	return OK;
}

/* AMD 57230 and the CPUID of the three lines; what has no CPUID in the report (version 2) is named by its VCEK's
 * issuer. */
static skr_status product_of_report(const uint8_t *report, X509 *vcek, enum product *ret)
{
	uint8_t family = report[REPORT_CPUID], model = report[REPORT_CPUID + 1];
	char issuer[64];

	if (report_u32(report, REPORT_VERSION) == 2) {
		certificate_common_name(X509_get_issuer_name(vcek), issuer, sizeof(issuer));
		if (strncmp(issuer, "SEV-", 4) == 0 && product_of_name(issuer + 4, ret) && *ret != PRODUCT_TURIN)
			return OK;
		return FAIL(117, "the issuer %s of the VCEK names no product that has version 2 reports", issuer);
	}
	if (family == 0x19 && model <= 0x0F)
		*ret = PRODUCT_MILAN;
	else if (family == 0x19 && (model >> 4 == 1 || model >> 4 == 0xA))
		*ret = PRODUCT_GENOA;
	else if (family == 0x1A && model <= 0x11)
		*ret = PRODUCT_TURIN;
	else
		return FAIL(117, "no product has the CPUID family 0x%02x, model 0x%02x", family, model);
	return OK;
}

/* ---- the chain ---- */

/* The certificate in `chain` that is named as issuer of `certificate`; NULL: there is none. */
static X509 *named_issuer(const STACK_OF(X509) *chain, X509 *certificate)
{
	for (int i = 0; i < sk_X509_num(chain); i++) {
		X509 *candidate = sk_X509_value(chain, i);
		if (candidate != certificate &&
		    X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(candidate)) == 0)
			return candidate;
	}
	return NULL;
}

static skr_status check_pss_sha384(X509 *certificate)
{
	int digest = NID_undef, key = NID_undef;
	char name[64];
	if (X509_get_signature_info(certificate, &digest, &key, NULL, NULL) == 1 && digest == NID_sha384 &&
	    key == EVP_PKEY_RSA_PSS)
		return OK;
	ERR_clear_error();
	certificate_common_name(X509_get_subject_name(certificate), name, sizeof(name));
	return FAIL(117, "the certificate of %s is not signed with RSASSA-PSS and SHA-384", name);
}

static skr_status check_name(const X509_NAME *name, const char *prefix, enum product product)
{
	char found[64], expected[64];
	certificate_common_name(name, found, sizeof(found));
	snprintf(expected, sizeof(expected), "%s-%s", prefix, product_name(product));
	if (strcmp(found, expected) != 0)
		return FAIL(117, "the chain has %s where a report of this product needs %s", found, expected);
	return OK;
}

static skr_status check_root(X509 *ark, enum product product, const struct report_trust *trust)
{
	uint8_t found[32], own[32], real[32];
	TRY(certificate_spki_sha256(ark, found));
	TRY(certificate_spki_sha256(trust->ark, own));
	if (memcmp(found, own, sizeof(found)) == 0)
		return OK;

	size_t len = 0;
	if (OPENSSL_hexstr2buf_ex(real, sizeof(real), &len, products[product].real_ark, '\0') != 1)
		return ossl_fail(599, "the pinned AMD root");
	if (memcmp(found, real, sizeof(found)) != 0)
		return FAIL(117, "the root of the VCEK's chain is not trusted");
	if (!trust->accept_real_amd)
		return FAIL(117, "the chain ends in AMD's own root, and this emulator was not told to accept it");
	return OK;
}

static skr_status check_chain(const STACK_OF(X509) *chain, enum product product, const struct report_trust *trust)
{
	X509 *vcek = sk_X509_value(chain, 0);
	X509 *ask = named_issuer(chain, vcek);
	X509 *ark = ask ? named_issuer(chain, ask) : NULL;
	if (!ark)
		return FAIL(117, "the certificates do not make a chain VCEK, ASK, ARK");

	TRY(check_name(X509_get_subject_name(ask), "SEV", product));
	TRY(check_name(X509_get_subject_name(ark), "ARK", product));
	TRY(check_root(ark, product, trust));
	if (X509_check_ca(ask) != 1)
		return FAIL(117, "the ASK is not the certificate of an authority");
	TRY(check_pss_sha384(vcek));
	TRY(check_pss_sha384(ask));
	TRY(check_pss_sha384(ark));
	TRY(certificate_signed_by(ark, ark, trust->now));
	TRY(certificate_signed_by(ask, ark, trust->now));
	return certificate_signed_by(vcek, ask, trust->now);
}

/* ---- the VCEK and the report ---- */

static skr_status check_level(const char *what, uint8_t in_report, uint8_t in_vcek)
{
	if (in_report != in_vcek)
		return FAIL(117, "the report's TCB has %s %u, the VCEK is for %u", what, in_report, in_vcek);
	return OK;
}

static skr_status check_tcb(const uint8_t *report, enum product product, const struct vcek_extensions *vcek)
{
	struct tcb tcb = tcb_read(product, report + REPORT_REPORTED_TCB);

	if (vcek->has_fmc != (product == PRODUCT_TURIN))
		return FAIL(117, "the VCEK %s an FMC level", vcek->has_fmc ? "has" : "lacks");
	if (vcek->has_fmc)
		TRY(check_level("FMC", tcb.fmc, vcek->fmc));
	TRY(check_level("boot loader", tcb.bootloader, vcek->bootloader));
	TRY(check_level("TEE", tcb.tee, vcek->tee));
	TRY(check_level("SNP", tcb.snp, vcek->snp));
	return check_level("microcode", tcb.microcode, vcek->microcode);
}

static skr_status check_chip(const uint8_t *report, enum product product, const struct vcek_extensions *vcek)
{
	static const uint8_t zeros[64];
	const uint8_t *chip = report + REPORT_CHIP_ID;
	size_t len = vcek->hardware_id_len;

	if (memcmp(chip, zeros, sizeof(zeros)) == 0)
		return FAIL(117, "the report hides its chip id, so no VCEK can be matched to it");
	if ((len == 8) != (product == PRODUCT_TURIN))
		return FAIL(117, "a VCEK of this product has no hardware id of %zu bytes", len);
	if (memcmp(chip, vcek->hardware_id, len) != 0 || memcmp(chip + len, zeros, sizeof(zeros) - len) != 0)
		return FAIL(117, "the report comes from another chip than the VCEK");
	return OK;
}

static skr_status check_vcek(const uint8_t *report, enum product product, X509 *vcek)
{
	struct vcek_extensions extensions;
	TRY(vcek_extensions_read(vcek, &extensions));
	if (strcmp(extensions.product, product_name(product)) != 0)
		return FAIL(117, "the VCEK is for %s, the report from %s", extensions.product, product_name(product));
	TRY(check_tcb(report, product, &extensions));
	return check_chip(report, product, &extensions);
}

/* r and s are numbers below the curve's order; 72 little-endian bytes each. NULL without memory. */
static ECDSA_SIG *report_signature(const uint8_t *report)
{
	ECDSA_SIG *signature = ECDSA_SIG_new();
	BIGNUM *r = BN_lebin2bn(report + REPORT_SIGNATURE_R, 72, NULL);
	BIGNUM *s = BN_lebin2bn(report + REPORT_SIGNATURE_S, 72, NULL);
	if (signature && r && s && ECDSA_SIG_set0(signature, r, s) == 1)
		return signature;
	BN_free(r);
	BN_free(s);
	ECDSA_SIG_free(signature);
	return NULL;
}

static skr_status check_signature(const uint8_t *report, X509 *vcek)
{
	EVP_PKEY *key = X509_get0_pubkey(vcek);
	if (!key || !EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_bits(key) != 384)
		return FAIL(117, "the VCEK's key is not P-384");

	uint8_t *der = NULL;
	ECDSA_SIG *signature = report_signature(report);
	int len = signature ? i2d_ECDSA_SIG(signature, &der) : -1;
	ECDSA_SIG_free(signature);
	if (len <= 0)
		return ossl_fail(599, "the report's signature");

	auto_md_ctx *md = EVP_MD_CTX_new();
	int good = md && EVP_DigestVerifyInit_ex(md, NULL, "SHA384", ossl, NULL, key, NULL) == 1 &&
	           EVP_DigestVerify(md, der, (size_t)len, report, REPORT_SIGNED) == 1;
	OPENSSL_free(der);
	ERR_clear_error();
	return good ? OK : FAIL(117, "the signature of the SNP report does not verify");
}

skr_status report_verify(const uint8_t *report, size_t len, const STACK_OF(X509) *chain,
                         const struct report_trust *trust, enum product *ret_product)
{
	enum product product;
	X509 *vcek = sk_X509_value(chain, 0);
	if (!vcek)
		return FAIL(117, "no VCEK came with the report");

	TRY(check_form(report, len));
	TRY(product_of_report(report, vcek, &product));
	TRY(check_chain(chain, product, trust));
	TRY(check_vcek(report, product, vcek));
	TRY(check_signature(report, vcek));
	*ret_product = product;
	return OK;
}

skr_status report_data_binds(const uint8_t report_data[64], const void *data, size_t len)
{
	uint8_t expected[64] = {0};
	TRY(sha256(data, len, expected));
	if (memcmp(report_data, expected, 32) != 0)
		return FAIL(117, "the report data does not begin with SHA-256 of the runtime data");
	if (memcmp(report_data, expected, sizeof(expected)) != 0)
		return FAIL(117, "the report data does not end in 32 zero bytes");
	return OK;
}

skr_status report_binds(const uint8_t *report, const void *data, size_t len)
{
	return report_data_binds(report + REPORT_REPORT_DATA, data, len);
}

skr_status report_launched_with(const uint8_t *report, const void *data, size_t len)
{
	uint8_t expected[32];
	TRY(sha256(data, len, expected));
	if (memcmp(report + REPORT_HOST_DATA, expected, sizeof(expected)) != 0)
		return FAIL(117, "the host data is not SHA-256 of the init-time data");
	return OK;
}
