/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/snp_report.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/x509v3.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Offsets of table 22. */
enum {
	AT_VERSION = 0x000,
	AT_POLICY = 0x008,
	AT_VMPL = 0x030,
	AT_SIGNATURE_ALGO = 0x034,
	AT_FLAGS = 0x048, /* bits 4:2 SIGNING_KEY */
	AT_REPORT_DATA = 0x050,
	AT_MEASUREMENT = 0x090,
	AT_HOST_DATA = 0x0c0,
	AT_REPORTED_TCB = 0x180,
	AT_CPUID_FAMILY = 0x188,
	AT_CPUID_MODEL = 0x189,
	AT_CHIP_ID = 0x1a0,
	AT_SIGNATURE_R = 0x2a0, /* what stands before is signed */
	AT_SIGNATURE_S = 0x2e8,
	SIGNATURE_PART = 72,
};

#define ECDSA_P384_SHA384 1

static uint64_t little_endian(const uint8_t *at, int bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0)
		value = value << 8 | at[bytes];
	return value;
}

static enum snp_product product_of_cpu(unsigned family, unsigned model)
{
	if (family == 0x19 && model <= 0x0f)
		return SNP_MILAN;
	if (family == 0x19 && ((model >= 0x10 && model <= 0x1f) || (model >= 0xa0 && model <= 0xaf)))
		return SNP_GENOA; /* Bergamo and Siena too */
	if (family == 0x1a && model <= 0x11)
		return SNP_TURIN;
	return SNP_PRODUCT_UNKNOWN;
}

skr_status snp_report_parse(const void *data, size_t len, struct snp_report *ret)
{
	const uint8_t *in = data;

	if (len != SNP_REPORT_SIZE)
		return FAIL(116, "a report of %zu bytes instead of %d", len, SNP_REPORT_SIZE);
	uint32_t version = (uint32_t)little_endian(in + AT_VERSION, 4);
	if (version < 2 || version > 5)
		return FAIL(116, "a report of version %" PRIu32 ", not of 2 to 5", version);
	uint32_t algorithm = (uint32_t)little_endian(in + AT_SIGNATURE_ALGO, 4);
	if (algorithm != ECDSA_P384_SHA384)
		return FAIL(116, "a report with signature algorithm %" PRIu32 " instead of 1", algorithm);

	struct snp_report report = {
	    .version = version,
	    .vmpl = (uint32_t)little_endian(in + AT_VMPL, 4),
	    .signing_key = in[AT_FLAGS] >> 2 & 7,
	    .policy = little_endian(in + AT_POLICY, 8),
	    .reported_tcb = little_endian(in + AT_REPORTED_TCB, 8),
	};
	if (version >= 3)
		report.product = product_of_cpu(in[AT_CPUID_FAMILY], in[AT_CPUID_MODEL]);
	memcpy(report.bytes, in, sizeof(report.bytes));
	memcpy(report.report_data, in + AT_REPORT_DATA, sizeof(report.report_data));
	memcpy(report.measurement, in + AT_MEASUREMENT, sizeof(report.measurement));
	memcpy(report.host_data, in + AT_HOST_DATA, sizeof(report.host_data));
	memcpy(report.chip_id, in + AT_CHIP_ID, sizeof(report.chip_id));
	*ret = report;
	return OK;
}

/*
 * What differs between the products: the names in their certificates, the length of the chip's number, and which
 * extension below 1.3.6.1.4.1.3704.1.3 holds which byte of the TCB (AMD 57230 "VCEK Certificate and KDS Interface",
 * table 8).
 */
static const struct product {
	enum snp_product product;
	const char *name;
	size_t chip_id_len;
	int extension_of_byte[8]; /* 0: reserved, zero */
	unsigned required;        /* bit i: byte i must be in the certificate */
} products[] = {
    {SNP_MILAN, "Milan", 64, {1, 2, 4, 5, 6, 7, 3, 8}, 0xc3},
    {SNP_GENOA, "Genoa", 64, {1, 2, 4, 5, 6, 7, 3, 8}, 0xc3},
    {SNP_TURIN, "Turin", 8, {9, 1, 2, 3, 0, 0, 0, 8}, 0x8f},
};
#define PRODUCTS (sizeof(products) / sizeof(products[0]))

static void common_name(const X509_NAME *name, char out[64])
{
	if (X509_NAME_get_text_by_NID((X509_NAME *)name, NID_commonName, out, 64) <= 0)
		out[0] = '\0';
}

/* The chain's product by the intermediate's name, "SEV-Milan" or "SEV-VLEK-Milan"; NULL: none we know. */
static const struct product *product_of_chain(const struct snp_report *report, STACK_OF(X509) *chain)
{
	char name[64], expected[64];

	common_name(X509_get_issuer_name(sk_X509_value(chain, 0)), name);
	for (size_t i = 0; i < PRODUCTS; i++) {
		snprintf(expected, sizeof(expected), "SEV-%s%s",
		         report->signing_key == SNP_SIGNED_BY_VLEK ? "VLEK-" : "", products[i].name);
		if (strcmp(name, expected) == 0)
			return &products[i];
	}
	return NULL;
}

/* The content of the only extension 1.3.6.1.4.1.3704.1.`suffix`; NULL: there is none, or more than one. */
static const ASN1_OCTET_STRING *amd_extension(X509 *certificate, const char *suffix)
{
	char oid[48];

	snprintf(oid, sizeof(oid), "1.3.6.1.4.1.3704.1.%s", suffix);
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	if (!object)
		return NULL;
	int at = X509_get_ext_by_OBJ(certificate, object, -1);
	int again = at < 0 ? -1 : X509_get_ext_by_OBJ(certificate, object, at);
	ASN1_OBJECT_free(object);
	if (at < 0 || again >= 0)
		return NULL;
	return X509_EXTENSION_get_data(X509_get_ext(certificate, at));
}

/* One byte of the TCB: a DER INTEGER of 0 to 255, and from 128 on its encoding is two bytes long. */
static skr_status amd_extension_byte(X509 *certificate, int number, bool required, uint8_t *ret)
{
	char suffix[8];

	snprintf(suffix, sizeof(suffix), "3.%d", number);
	const ASN1_OCTET_STRING *content = amd_extension(certificate, suffix);
	if (!content) {
		if (required)
			return FAIL(117, "the endorsement certificate lacks the extension 1.%s of its TCB", suffix);
		*ret = 0;
		return OK;
	}

	const unsigned char *at = ASN1_STRING_get0_data(content);
	const unsigned char *end = at + ASN1_STRING_length(content);
	ASN1_INTEGER *integer = d2i_ASN1_INTEGER(NULL, &at, ASN1_STRING_length(content));
	int64_t value = -1;
	int understood = integer && at == end && ASN1_INTEGER_get_int64(&value, integer);
	ASN1_INTEGER_free(integer);
	if (!understood || value < 0 || value > 255)
		return FAIL(117, "the endorsement certificate's extension 1.%s is not a number of 0 to 255", suffix);
	*ret = (uint8_t)value;
	return OK;
}

static skr_status certificate_tcb(X509 *leaf, const struct product *product, uint64_t *ret_tcb)
{
	uint8_t bytes[8] = {0};

	for (int i = 0; i < 8; i++) {
		if (product->extension_of_byte[i] == 0)
			continue;
		TRY(amd_extension_byte(leaf, product->extension_of_byte[i], product->required >> i & 1, &bytes[i]));
	}
	*ret_tcb = little_endian(bytes, 8);
	return OK;
}

/* Both sides name a product where they can; they must not differ. */
static skr_status agreed_product(const struct snp_report *report, STACK_OF(X509) *chain, const struct product **ret)
{
	const struct product *product = product_of_chain(report, chain);

	if (!product) {
		char name[64];
		common_name(X509_get_issuer_name(sk_X509_value(chain, 0)), name);
		return FAIL(117, "the endorsement certificate is issued by '%s', which is no product's name for %s",
		            name, report->signing_key == SNP_SIGNED_BY_VLEK ? "VLEKs" : "VCEKs");
	}
	if (report->product != SNP_PRODUCT_UNKNOWN && report->product != product->product)
		return FAIL(117, "the endorsements are of a %s, the report is of another processor", product->name);
	if (report->version == 2 && product->product == SNP_TURIN)
		return FAIL(117, "the endorsements are of a Turin, which makes no reports of version 2");
	*ret = product;
	return OK;
}

skr_status snp_chain_tcb(const struct snp_report *report, STACK_OF(X509) *chain, uint64_t *ret_tcb)
{
	const struct product *product;

	if (sk_X509_num(chain) < 1)
		return FAIL(117, "no endorsement certificate");
	TRY(agreed_product(report, chain, &product));
	return certificate_tcb(sk_X509_value(chain, 0), product, ret_tcb);
}

/* A link of the chain: names, dates, RSASSA-PSS with SHA-384. */
static skr_status verify_link(X509 *subject, X509 *issuer, time_t now)
{
	char name[64];
	int digest = NID_undef, algorithm = NID_undef;

	common_name(X509_get_subject_name(subject), name);
	if (X509_NAME_cmp(X509_get_issuer_name(subject), X509_get_subject_name(issuer)) != 0)
		return FAIL(117, "certificate '%s' is not issued by the next one of the chain", name);
	if (X509_cmp_time(X509_get0_notBefore(subject), &now) >= 0)
		return FAIL(117, "certificate '%s' is not valid yet: look at the clock", name);
	if (X509_cmp_time(X509_get0_notAfter(subject), &now) <= 0)
		return FAIL(117, "certificate '%s' has expired: look at the clock", name);
	if (!X509_get_signature_info(subject, &digest, &algorithm, NULL, NULL) || digest != NID_sha384 ||
	    algorithm != NID_rsassaPss)
		return FAIL(117, "certificate '%s' is not signed with RSASSA-PSS and SHA-384", name);
	if (X509_verify(subject, X509_get0_pubkey(issuer)) != 1)
		return ossl_fail(117, "signature of an endorsement certificate");
	return OK;
}

static skr_status verify_chain(STACK_OF(X509) *chain, time_t now)
{
	if (sk_X509_num(chain) != 3)
		return FAIL(117, "%d endorsement certificates instead of VCEK, ASK, ARK", sk_X509_num(chain));
	TRY(verify_link(sk_X509_value(chain, 2), sk_X509_value(chain, 2), now));
	TRY(verify_link(sk_X509_value(chain, 1), sk_X509_value(chain, 2), now));
	return verify_link(sk_X509_value(chain, 0), sk_X509_value(chain, 1), now);
}

/* SIGNING_KEY says which kind of key signed; the certificate must be of that kind. */
static skr_status verify_leaf_kind(const struct snp_report *report, X509 *leaf)
{
	static const char *const names[] = {[SNP_SIGNED_BY_VCEK] = "SEV-VCEK", [SNP_SIGNED_BY_VLEK] = "SEV-VLEK"};
	char name[64];

	if (report->signing_key > SNP_SIGNED_BY_VLEK)
		return FAIL(117, "the report is signed by key kind %" PRIu32 ", neither VCEK nor VLEK",
		            report->signing_key);
	common_name(X509_get_subject_name(leaf), name);
	if (strcmp(name, names[report->signing_key]) != 0)
		return FAIL(117, "the report is signed by a %s, the certificate is '%s'", names[report->signing_key],
		            name);
	return OK;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

/* The chip's number stands in the extension without a DER tag; one with the tag of an OCTET STRING is taken too. */
static skr_status verify_chip(const struct snp_report *report, X509 *leaf, const struct product *product)
{
	size_t len = product->chip_id_len;

	if (report->signing_key == SNP_SIGNED_BY_VLEK)
		return OK; /* a VLEK belongs to a provider, not to a chip */
	if (all_zero(report->chip_id, sizeof(report->chip_id)))
		return OK; /* masked by the host; the signature still ties report and certificate together */

	const ASN1_OCTET_STRING *content = amd_extension(leaf, "4");
	if (!content)
		return FAIL(117, "the endorsement certificate names no chip");
	const uint8_t *id = ASN1_STRING_get0_data(content);
	size_t id_len = (size_t)ASN1_STRING_length(content);
	if (id_len == len + 2 && id[0] == V_ASN1_OCTET_STRING && id[1] == len) {
		id += 2;
		id_len -= 2;
	}
	if (id_len != len || memcmp(id, report->chip_id, len) != 0 ||
	    !all_zero(report->chip_id + len, sizeof(report->chip_id) - len))
		return FAIL(117, "the endorsement certificate is of another chip than the report");
	return OK;
}

static skr_status verify_tcb(const struct snp_report *report, X509 *leaf, const struct product *product)
{
	uint64_t tcb;

	TRY(certificate_tcb(leaf, product, &tcb));
	if (tcb != report->reported_tcb)
		return FAIL(117, "the endorsement certificate is of TCB %016" PRIx64 ", the report of %016" PRIx64, tcb,
		            report->reported_tcb);
	return OK;
}

/* r and s are little-endian in 72 bytes each, and must be in 1..n-1; `ret_der` is the form libcrypto takes. */
static skr_status signature_to_der(const struct snp_report *report, EVP_PKEY *key, struct buf *ret_der)
{
	BIGNUM *order = NULL;
	if (!EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_ORDER, &order))
		return ossl_fail(117, "order of the VCEK's curve");
	auto_bn *n = order;
	auto_bn *r = BN_lebin2bn(report->bytes + AT_SIGNATURE_R, SIGNATURE_PART, NULL);
	auto_bn *s = BN_lebin2bn(report->bytes + AT_SIGNATURE_S, SIGNATURE_PART, NULL);
	if (!r || !s)
		return FAIL(14, "the report's signature");
	if (BN_is_zero(r) || BN_is_zero(s) || BN_cmp(r, n) >= 0 || BN_cmp(s, n) >= 0)
		return FAIL(117, "the report's signature is out of range");

	ECDSA_SIG *signature = ECDSA_SIG_new();
	if (!signature)
		return FAIL(14, "the report's signature");
	ECDSA_SIG_set0(signature, TAKE(r), TAKE(s));
	unsigned char *der = NULL;
	int len = i2d_ECDSA_SIG(signature, &der);
	ECDSA_SIG_free(signature);
	if (len <= 0)
		return FAIL(14, "the report's signature");
	skr_status appended = buf_append(ret_der, der, (size_t)len);
	OPENSSL_free(der);
	return appended;
}

static skr_status verify_signature(const struct snp_report *report, X509 *leaf)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);
	char curve[32] = "";
	auto_buf der = BUF(256);

	if (!key || !EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) || strcmp(curve, "secp384r1") != 0)
		return FAIL(117, "the endorsement certificate's key is not on P-384");
	TRY(signature_to_der(report, key, &der));

	auto_md_ctx *ctx = EVP_MD_CTX_new();
	if (!ctx || EVP_DigestVerifyInit_ex(ctx, NULL, "SHA384", ossl, NULL, key, NULL) != 1)
		return ossl_fail(117, "verifying a report");
	if (EVP_DigestVerify(ctx, der.data, der.len, report->bytes, AT_SIGNATURE_R) != 1)
		return ossl_fail(117, "the report is not signed by the endorsement certificate's key");
	return OK;
}

skr_status snp_report_verify(const struct snp_report *report, STACK_OF(X509) *chain, time_t now)
{
	const struct product *product;

	TRY(verify_chain(chain, now));
	X509 *leaf = sk_X509_value(chain, 0);
	TRY(verify_leaf_kind(report, leaf));
	TRY(agreed_product(report, chain, &product));
	TRY(verify_tcb(report, leaf, product));
	TRY(verify_chip(report, leaf, product));
	return verify_signature(report, leaf);
}
