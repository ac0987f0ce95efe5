/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TEST_PLAYED_HARDWARE_H
#define SKR_TEST_PLAYED_HARDWARE_H

/*
 * An AMD-like authority and reports signed by it, for tests: written apart from both the product's verifier and the
 * emulator's signer, so that neither is tested with itself.
 */
#include "base/file.h"
#include "base/ossl.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

struct hardware_plan {
	const char *product; /* Milan, Genoa, Turin */
	uint32_t version;
	uint8_t family, model;
	uint8_t tcb[8];        /* of the report, as it lies in memory */
	uint8_t vcek_tcb[8];   /* of the certificate; all zero: as `tcb` */
	bool vlek;             /* signed by a VLEK */
	bool mask_chip;        /* CHIP_ID is zero */
	bool tagged_chip;      /* the certificate's chip number has an OCTET STRING's tag */
	bool other_chip;       /* the certificate is of another chip */
	bool pkcs1;            /* ASK signed with PKCS#1 v1.5 */
	bool second_extension; /* the certificate has the extension 3.8 twice */
	const char *leaf_name; /* NULL: SEV-VCEK or SEV-VLEK */
	const char *ask_name;  /* NULL: SEV-PRODUCT or SEV-VLEK-PRODUCT */
	const char *missing;   /* an extension to leave out: "3.8" */
	const char *curve;     /* NULL: P-384 */
	uint64_t policy;       /* 0: 0x3001f */
};

static const struct hardware_plan milan = {
    .product = "Milan", .version = 3, .family = 0x19, .model = 0x01, .tcb = {3, 0, 0, 0, 0, 0, 8, 0x73}};
static const struct hardware_plan turin = {
    .product = "Turin", .version = 5, .family = 0x1a, .model = 0x02, .tcb = {1, 1, 1, 4, 0, 0, 0, 0x51}};

struct hardware {
	struct hardware_plan plan;
	EVP_PKEY *ark_key, *ask_key, *vcek_key;
	X509 *ark, *ask, *vcek;
};

static inline void check(bool condition, const char *what)
{
	if (!condition)
		fail_msg("%s", what);
}

static inline void sign_certificate(X509 *certificate, EVP_PKEY *key, bool pkcs1)
{
	auto_md_ctx *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pss;

	check(EVP_DigestSignInit_ex(ctx, &pss, "SHA384", ossl, NULL, key, NULL) == 1, "sign init");
	if (!pkcs1) {
		check(EVP_PKEY_CTX_set_rsa_padding(pss, RSA_PKCS1_PSS_PADDING) == 1, "padding");
		check(EVP_PKEY_CTX_set_rsa_pss_saltlen(pss, 48) == 1, "salt");
	}
	check(X509_sign_ctx(certificate, ctx) > 0, "sign");
}

static inline X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *issuer, bool leaf)
{
	X509 *certificate = X509_new_ex(ossl, NULL);
	X509_NAME *subject = X509_NAME_new();

	X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_ASC, (const uint8_t *)"Advanced Micro Devices", -1, -1, 0);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), leaf ? 0 : 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 7 * 365 * 86400L);
	X509_set_subject_name(certificate, subject);
	X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject);
	X509_set_pubkey(certificate, key);
	if (!leaf) { /* AMD's leaves have no basic constraints */
		X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
		check(ca && X509_add_ext(certificate, ca, -1) == 1, "basic constraints");
		X509_EXTENSION_free(ca);
	}
	X509_NAME_free(subject);
	return certificate;
}

static inline void add_extension(X509 *certificate, const char *suffix, const void *content, size_t len)
{
	char oid[64];
	snprintf(oid, sizeof(oid), "1.3.6.1.4.1.3704.1.%s", suffix);
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	ASN1_OCTET_STRING_set(value, content, (int)len);
	X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, object, 0, value);
	check(X509_add_ext(certificate, extension, -1) == 1, "extension");
	X509_EXTENSION_free(extension);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(object);
}

static inline void add_number(X509 *certificate, const struct hardware_plan *plan, const char *suffix, uint8_t number)
{
	const uint8_t small[] = {2, 1, number}, large[] = {2, 2, 0, number};

	if (plan->missing && strcmp(plan->missing, suffix) == 0)
		return;
	add_extension(certificate, suffix, number < 128 ? small : large, number < 128 ? sizeof(small) : sizeof(large));
}

static inline void chip_of(const struct hardware_plan *plan, uint8_t out[64])
{
	memset(out, 0, 64);
	for (int i = 0; i < (strcmp(plan->product, "Turin") == 0 ? 8 : 64); i++)
		out[i] = (uint8_t)(0xc0 + i);
}

static inline void add_vcek_extensions(X509 *vcek, const struct hardware_plan *plan)
{
	static const uint8_t zeros[8];
	bool is_turin = strcmp(plan->product, "Turin") == 0;
	const uint8_t *tcb = memcmp(plan->vcek_tcb, zeros, 8) ? plan->vcek_tcb : plan->tcb;
	uint8_t chip[66] = {4, is_turin ? 8 : 64};

	add_number(vcek, plan, "1", is_turin);
	if (is_turin) {
		add_number(vcek, plan, "3.9", tcb[0]);
		add_number(vcek, plan, "3.1", tcb[1]);
		add_number(vcek, plan, "3.2", tcb[2]);
		add_number(vcek, plan, "3.3", tcb[3]);
	} else {
		add_number(vcek, plan, "3.1", tcb[0]);
		add_number(vcek, plan, "3.2", tcb[1]);
		add_number(vcek, plan, "3.4", 0);
		add_number(vcek, plan, "3.5", 0);
		add_number(vcek, plan, "3.6", 0);
		add_number(vcek, plan, "3.7", 0);
		add_number(vcek, plan, "3.3", tcb[6]);
	}
	add_number(vcek, plan, "3.8", tcb[7]);
	if (plan->second_extension)
		add_number(vcek, plan, "3.8", tcb[7]);
	if (plan->vlek)
		return;
	chip_of(plan, chip + 2);
	chip[10 - 3] ^= plan->other_chip;
	size_t len = is_turin ? 8 : 64;
	add_extension(vcek, "4", plan->tagged_chip ? chip : chip + 2, plan->tagged_chip ? len + 2 : len);
}

static inline struct hardware make_hardware(const struct hardware_plan *plan)
{
	/* RSA keys are slow to make and may be shared. */
	static EVP_PKEY *ark_key, *ask_key;
	struct hardware hw = {.plan = *plan};
	char ark_name[64], ask_name[64];

	if (!ark_key) {
		ark_key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
		ask_key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	}
	check(ark_key && ask_key, "RSA keys");
	EVP_PKEY_up_ref(hw.ark_key = ark_key);
	EVP_PKEY_up_ref(hw.ask_key = ask_key);
	hw.vcek_key = EVP_PKEY_Q_keygen(ossl, NULL, "EC", plan->curve ? plan->curve : "P-384");
	check(hw.vcek_key != NULL, "EC key");

	snprintf(ark_name, sizeof(ark_name), "ARK-%s", plan->product);
	snprintf(ask_name, sizeof(ask_name), "SEV-%s%s", plan->vlek ? "VLEK-" : "", plan->product);
	hw.ark = make_certificate(ark_name, hw.ark_key, NULL, false);
	sign_certificate(hw.ark, hw.ark_key, false);
	hw.ask = make_certificate(plan->ask_name ? plan->ask_name : ask_name, hw.ask_key, hw.ark, false);
	sign_certificate(hw.ask, hw.ark_key, plan->pkcs1);
	const char *leaf = plan->vlek ? "SEV-VLEK" : "SEV-VCEK";
	hw.vcek = make_certificate(plan->leaf_name ? plan->leaf_name : leaf, hw.vcek_key, hw.ask, true);
	add_vcek_extensions(hw.vcek, plan);
	sign_certificate(hw.vcek, hw.ask_key, false);
	return hw;
}

static inline void hardware_done(struct hardware *hw)
{
	EVP_PKEY_free(hw->ark_key);
	EVP_PKEY_free(hw->ask_key);
	EVP_PKEY_free(hw->vcek_key);
	X509_free(hw->ark);
	X509_free(hw->ask);
	X509_free(hw->vcek);
}
#define auto_hardware __attribute__((cleanup(hardware_done))) struct hardware

static inline STACK_OF(X509) *chain_of(const struct hardware *hw)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509 *certificates[] = {hw->vcek, hw->ask, hw->ark};

	for (int i = 0; i < 3; i++) {
		X509_up_ref(certificates[i]);
		sk_X509_push(chain, certificates[i]);
	}
	return chain;
}

static inline void sign_report(const struct hardware *hw, uint8_t report[1184])
{
	uint8_t der[256];
	size_t der_len = sizeof(der);
	auto_md_ctx *ctx = EVP_MD_CTX_new();

	check(EVP_DigestSignInit_ex(ctx, NULL, "SHA384", ossl, NULL, hw->vcek_key, NULL) == 1, "report sign init");
	check(EVP_DigestSign(ctx, der, &der_len, report, 0x2a0) == 1, "report sign");
	const uint8_t *at = der;
	ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der_len);
	BN_bn2lebinpad(ECDSA_SIG_get0_r(signature), report + 0x2a0, 72);
	BN_bn2lebinpad(ECDSA_SIG_get0_s(signature), report + 0x2e8, 72);
	ECDSA_SIG_free(signature);
}

static inline void make_report(const struct hardware *hw, const uint8_t report_data[64], uint8_t report[1184])
{
	uint64_t policy = hw->plan.policy ? hw->plan.policy : 0x3001f;

	memset(report, 0, 1184);
	report[0] = (uint8_t)hw->plan.version;
	memcpy(report + 0x08, &policy, 8);
	report[0x34] = 1;
	memcpy(report + 0x38, hw->plan.tcb, 8);
	report[0x40] = 0x65; /* bits that some parsers do not know */
	report[0x48] = hw->plan.vlek ? 1 << 2 : 0;
	memcpy(report + 0x50, report_data, 64);
	memset(report + 0x90, 0x4d, 48);
	memset(report + 0xc0, 0x48, 32);
	memset(report + 0x160, 0xff, 32);
	memcpy(report + 0x180, hw->plan.tcb, 8);
	if (hw->plan.version >= 3) {
		report[0x188] = hw->plan.family;
		report[0x189] = hw->plan.model;
	}
	if (!hw->plan.mask_chip)
		chip_of(&hw->plan, report + 0x1a0);
	sign_report(hw, report);
}

/* The certificate table that a host offers: VCEK or VLEK, ASK, ARK; `entries` of them. Returns its length. */
static inline size_t make_table(const struct hardware *hw, int entries, uint8_t *out, size_t room)
{
	static const uint8_t guids[4][16] = {
	    {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd},
	    {0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82},
	    {0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae},
	    {0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1}};
	X509 *certificates[] = {hw->vcek, hw->ask, hw->ark};
	size_t at = 24 * ((size_t)entries + 1);

	memset(out, 0, room);
	for (int i = 0; i < entries; i++) {
		uint8_t *der = NULL;
		uint32_t len = (uint32_t)i2d_X509(certificates[i], &der), offset = (uint32_t)at;
		check(at + len <= room, "room for the table");
		memcpy(out + 24 * i, guids[i == 0 && hw->plan.vlek ? 3 : i], 16);
		memcpy(out + 24 * i + 16, &offset, 4);
		memcpy(out + 24 * i + 20, &len, 4);
		memcpy(out + at, der, len);
		at += len;
		OPENSSL_free(der);
	}
	return at;
}

/* THIM's answer for this hardware, as JSON text. */
static inline void make_thim(const struct hardware *hw, const char *tcbm, struct buf *out)
{
	X509 *certificates[] = {hw->vcek, hw->ask, hw->ark};
	struct buf pems[2] = {BUF(8192), BUF(8192)};

	for (int i = 0; i < 3; i++) {
		auto_bio *bio = BIO_new(BIO_s_mem());
		char *text;
		PEM_write_bio_X509(bio, certificates[i]);
		long len = BIO_get_mem_data(bio, &text);
		for (long k = 0; k < len; k++)
			check(!buf_printf(&pems[i > 0], text[k] == '\n' ? "\\n" : "%c", text[k]).failure, "PEM");
	}
	check(!buf_printf(
	           out, "{\"vcekCert\":\"%s\",\"tcbm\":\"%s\",\"certificateChain\":\"%s\",\"cacheControl\":\"86400\"}",
	           buf_text(&pems[0]), tcbm, buf_text(&pems[1]))
	           .failure,
	      "THIM");
	buf_done(&pems[0]);
	buf_done(&pems[1]);
}

static inline void tcbm_of(const uint8_t tcb[8], char out[17])
{
	for (int i = 0; i < 8; i++)
		snprintf(out + 2 * i, 3, "%02x", tcb[7 - i]);
}

static inline void read_vector(const char *name, struct buf *out)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/snp/%s", SKR_TEST_DATA, name);
	if (file_read(path, out).failure)
		fail_msg("%s", status_message());
}

#define assert_ok(call)                                                                                    \
	do {                                                                                               \
		skr_status st_ = (call);                                                                   \
		if (st_.failure)                                                                           \
			fail_msg("%s:%d: SKR-%03d %s", __FILE__, __LINE__, st_.failure, status_message()); \
	} while (0)

/* It fails with this number, and the sentence contains `words`. */
#define assert_fails(call, number, words)                                                                          \
	do {                                                                                                       \
		skr_status st_ = (call);                                                                           \
		if (st_.failure != (number))                                                                       \
			fail_msg("%s:%d: SKR-%03d instead of %03d: %s", __FILE__, __LINE__, st_.failure, (number), \
			         status_message());                                                                \
		if (!strstr(status_message(), (words)))                                                            \
			fail_msg("%s:%d: no '%s' in: %s", __FILE__, __LINE__, (words), status_message());          \
	} while (0)

#endif
