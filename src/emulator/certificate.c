/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/certificate.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DER_LIMIT (64 * 1024)

skr_status key_generate(const char *kind, EVP_PKEY **ret)
{
	auto_pkey *key = NULL;

	if (strncmp(kind, "RSA-", 4) == 0)
		key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)strtoul(kind + 4, NULL, 10));
	else
		key = EVP_PKEY_Q_keygen(ossl, NULL, "EC", kind);
	if (!key)
		return ossl_fail(599, kind);
	*ret = TAKE(key);
	return OK;
}

static skr_status add_names(X509 *certificate, const struct certificate_name *names)
{
	X509_NAME *subject = X509_get_subject_name(certificate);
	for (; names->type; names++)
		if (X509_NAME_add_entry_by_txt(subject, names->type, MBSTRING_ASC, (const uint8_t *)names->value, -1,
		                               -1, 0) != 1)
			return ossl_fail(599, names->value);
	return OK;
}

static skr_status add_raw_extension(X509 *certificate, const struct certificate_extension *extension)
{
	ASN1_OBJECT *oid = OBJ_txt2obj(extension->oid, 0);
	ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
	X509_EXTENSION *made = NULL;

	if (oid && value && ASN1_OCTET_STRING_set(value, extension->der, (int)extension->der_len) == 1)
		made = X509_EXTENSION_create_by_OBJ(NULL, oid, 0, value);
	int added = made ? X509_add_ext(certificate, made, -1) : 0;
	X509_EXTENSION_free(made);
	ASN1_OCTET_STRING_free(value);
	ASN1_OBJECT_free(oid);
	return added ? OK : ossl_fail(599, extension->oid);
}

static skr_status add_text_extension(X509 *certificate, X509 *issuer, const struct certificate_extension *extension)
{
	X509V3_CTX context;
	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *made = X509V3_EXT_nconf(NULL, &context, extension->oid, extension->text);
	int added = made ? X509_add_ext(certificate, made, -1) : 0;
	X509_EXTENSION_free(made);
	return added ? OK : ossl_fail(599, extension->text);
}

static skr_status add_extensions(X509 *certificate, X509 *issuer, const struct certificate_extension *extensions)
{
	for (; extensions && extensions->oid; extensions++) {
		if (extensions->text)
			TRY(add_text_extension(certificate, issuer, extensions));
		else
			TRY(add_raw_extension(certificate, extensions));
	}
	return OK;
}

static skr_status set_serial(X509 *certificate, bool zero)
{
	uint64_t serial = 0;
	if (!zero)
		TRY(random_bytes(&serial, sizeof(serial)));
	if (ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) != 1)
		return ossl_fail(599, "serial number");
	return OK;
}

static skr_status sign_certificate(X509 *certificate, const struct certificate_plan *plan)
{
	auto_md_ctx *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = NULL; /* md's */
	EVP_PKEY *key = plan->issuer ? plan->issuer_key : plan->key;

	if (!md || EVP_DigestSignInit_ex(md, &ctx, plan->digest ? plan->digest : "SHA256", ossl, NULL, key, NULL) != 1)
		return ossl_fail(599, "signing a certificate");
	if (plan->pss && (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) != 1 ||
	                  EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) != 1))
		return ossl_fail(599, "signing a certificate with PSS");
	if (X509_sign_ctx(certificate, md) <= 0)
		return ossl_fail(599, "signing a certificate");
	return OK;
}

static skr_status bio_drain(BIO *bio, struct buf *out)
{
	char *text;
	long len = BIO_get_mem_data(bio, &text);
	return buf_append(out, text, len > 0 ? (size_t)len : 0);
}

skr_status certificate_to_pem(X509 *certificate, struct buf *out)
{
	auto_bio *bio = BIO_new(BIO_s_mem());
	if (!bio || PEM_write_bio_X509(bio, certificate) != 1)
		return ossl_fail(599, "printing a certificate");
	return bio_drain(bio, out);
}

skr_status certificate_to_der(X509 *certificate, struct buf *out)
{
	uint8_t *place;
	int len = i2d_X509(certificate, NULL);
	if (len <= 0)
		return ossl_fail(599, "encoding a certificate");
	TRY(buf_reserve(out, (size_t)len, &place));
	i2d_X509(certificate, &place);
	out->len += (size_t)len;
	return OK;
}

skr_status certificate_from_der(const void *der, size_t len, X509 **ret)
{
	const uint8_t *p = der;
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	if (!certificate)
		return FAIL(14, "no memory for a certificate");
	if (len > 64 * 1024 || !d2i_X509(&certificate, &p, (long)len))
		return ossl_fail(213, "not a certificate");
	if (p != (const uint8_t *)der + len)
		return FAIL(213, "%zu bytes follow the certificate", (size_t)((const uint8_t *)der + len - p));
	*ret = TAKE(certificate);
	return OK;
}

skr_status certificate_issue(const struct certificate_plan *plan, X509 **ret)
{
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	if (!certificate || X509_set_version(certificate, X509_VERSION_3) != 1 ||
	    X509_set_pubkey(certificate, plan->key) != 1)
		return ossl_fail(599, "new certificate");
	TRY(set_serial(certificate, plan->serial_zero));
	TRY(add_names(certificate, plan->subject));

	X509 *issuer = plan->issuer ? plan->issuer : certificate;
	if (X509_set_issuer_name(certificate, X509_get_subject_name(issuer)) != 1 ||
	    !ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)plan->not_before) ||
	    !ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)plan->not_after))
		return ossl_fail(599, "names and dates of a certificate");
	TRY(add_extensions(certificate, issuer, plan->extensions));
	TRY(sign_certificate(certificate, plan));

	*ret = TAKE(certificate);
	return OK;
}

skr_status certificate_sha256(X509 *certificate, uint8_t out[32])
{
	auto_buf der = BUF(DER_LIMIT);
	TRY(certificate_to_der(certificate, &der));
	return sha256(der.data, der.len, out);
}

skr_status certificate_spki_sha256(X509 *certificate, uint8_t out[32])
{
	uint8_t *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	if (len <= 0)
		return ossl_fail(599, "encoding a public key");
	skr_status status = sha256(der, (size_t)len, out);
	OPENSSL_free(der);
	return status;
}

void certificate_common_name(const X509_NAME *name, char *out, size_t size)
{
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	const ASN1_STRING *value = at < 0 ? NULL : X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
	int len = value ? ASN1_STRING_length(value) : 0;
	snprintf(out, size, "%.*s", len, value ? (const char *)ASN1_STRING_get0_data(value) : "");
}

static skr_status valid_at(X509 *certificate, int64_t when)
{
	time_t at = (time_t)when;
	char name[64];
	certificate_common_name(X509_get_subject_name(certificate), name, sizeof(name));
	/* X509_cmp_time says -1 for "earlier or the same second", 0 for a date it cannot read. */
	if (X509_cmp_time(X509_get0_notBefore(certificate), &at) != -1)
		return FAIL(117, "the certificate of %s is not valid yet", name);
	if (X509_cmp_time(X509_get0_notAfter(certificate), &at) != 1)
		return FAIL(117, "the certificate of %s has expired", name);
	return OK;
}

skr_status certificate_signed_by(X509 *certificate, X509 *issuer, int64_t when)
{
	char name[64], by[64];
	certificate_common_name(X509_get_subject_name(certificate), name, sizeof(name));
	certificate_common_name(X509_get_subject_name(issuer), by, sizeof(by));
	if (X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(issuer)) != 0)
		return FAIL(117, "the certificate of %s does not name %s as its issuer", name, by);

	EVP_PKEY *key = X509_get0_pubkey(issuer);
	int good = key ? X509_verify(certificate, key) : 0;
	ERR_clear_error();
	if (good != 1)
		return FAIL(117, "%s did not sign the certificate of %s", by, name);
	TRY(valid_at(certificate, when));
	return valid_at(issuer, when);
}

/* The value of AMD's extension `suffix`, borrowed; NULL if it is not there. SKR-117 if it is there twice. */
static skr_status amd_extension(const X509 *vcek, const char *suffix, const ASN1_OCTET_STRING **ret)
{
	char oid[48];
	snprintf(oid, sizeof(oid), "1.3.6.1.4.1.3704.1.%s", suffix);
	ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
	if (!object)
		return ossl_fail(599, oid);

	int at = X509_get_ext_by_OBJ(vcek, object, -1);
	int again = at < 0 ? -1 : X509_get_ext_by_OBJ(vcek, object, at);
	ASN1_OBJECT_free(object);
	if (again >= 0)
		return FAIL(117, "the VCEK has the extension %s twice", oid);
	*ret = at < 0 ? NULL : X509_EXTENSION_get_data(X509_get_ext(vcek, at));
	return OK;
}

/* A security patch level: DER INTEGER 0..255. One of 128 or more is two bytes long. */
static skr_status patch_level(const X509 *vcek, const char *suffix, bool *ret_there, uint8_t *ret)
{
	const ASN1_OCTET_STRING *value;
	TRY(amd_extension(vcek, suffix, &value));
	*ret_there = value != NULL;
	if (!value)
		return OK;

	const uint8_t *p = ASN1_STRING_get0_data(value), *end = p + ASN1_STRING_length(value);
	ASN1_INTEGER *integer = d2i_ASN1_INTEGER(NULL, &p, end - p);
	uint64_t number = 0;
	int fits = integer && p == end && ASN1_INTEGER_get_uint64(&number, integer) == 1 && number <= 255;
	ASN1_INTEGER_free(integer);
	ERR_clear_error();
	if (!fits)
		return FAIL(117, "the VCEK's extension .%s is not an INTEGER 0..255", suffix);
	*ret = (uint8_t)number;
	return OK;
}

static skr_status required_level(const X509 *vcek, const char *suffix, uint8_t *ret)
{
	bool there;
	TRY(patch_level(vcek, suffix, &there, ret));
	return there ? OK : FAIL(117, "the VCEK has no extension .%s", suffix);
}

/* AMD writes the bytes with no DER tag; an OCTET STRING around them is understood too. */
static skr_status hardware_id(const X509 *vcek, struct vcek_extensions *out)
{
	const ASN1_OCTET_STRING *value;
	TRY(amd_extension(vcek, "4", &value));
	if (!value)
		return FAIL(117, "the VCEK has no extension .4");

	const uint8_t *id = ASN1_STRING_get0_data(value);
	size_t len = (size_t)ASN1_STRING_length(value);
	if ((len == 10 || len == 66) && id[0] == V_ASN1_OCTET_STRING && id[1] == len - 2) {
		id += 2;
		len -= 2;
	}
	if (len != 8 && len != sizeof(out->hardware_id))
		return FAIL(117, "the VCEK's hardware id has %zu bytes", len);
	memcpy(out->hardware_id, id, len);
	out->hardware_id_len = len;
	return OK;
}

static skr_status product_extension(const X509 *vcek, struct vcek_extensions *out)
{
	const ASN1_OCTET_STRING *value;
	TRY(amd_extension(vcek, "2", &value));
	if (!value)
		return FAIL(117, "the VCEK has no extension .2");

	const uint8_t *text = ASN1_STRING_get0_data(value);
	size_t len = (size_t)ASN1_STRING_length(value);
	if (len < 2 || text[0] != V_ASN1_IA5STRING || text[1] != len - 2 || len - 2 >= sizeof(out->product))
		return FAIL(117, "the VCEK's product name is not an IA5String");
	memcpy(out->product, text + 2, len - 2);
	out->product[strcspn(out->product, "-")] = '\0';
	return OK;
}

skr_status vcek_extensions_read(const X509 *vcek, struct vcek_extensions *ret)
{
	struct vcek_extensions read = {0};

	TRY(product_extension(vcek, &read));
	TRY(required_level(vcek, "3.1", &read.bootloader));
	TRY(required_level(vcek, "3.2", &read.tee));
	TRY(required_level(vcek, "3.3", &read.snp));
	TRY(required_level(vcek, "3.8", &read.microcode));
	TRY(patch_level(vcek, "3.9", &read.has_fmc, &read.fmc));
	TRY(hardware_id(vcek, &read));
	*ret = read;
	return OK;
}
