/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_UNIT_JOSE_CHAIN_H
#define SKR_TESTS_UNIT_JOSE_CHAIN_H

/* Keys, authorities and signers for tests of signatures: everything is made in the test, with OpenSSL alone. */

#include "base/base64.h"
#include "base/json.h"
#include "base/ossl.h"

#include <openssl/x509v3.h>

#include <stdlib.h>
#include <string.h>

#define MUST(condition)                                                                 \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)
#define MUST_OK(call) MUST((call).failure == 0)

#ifndef TEST_NOW
#define TEST_NOW INT64_C(1900000000) /* what the tests' clocks say */
#endif
#define DAY INT64_C(86400)

__attribute__((unused)) static EVP_PKEY *make_rsa(size_t bits)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", bits);
	MUST(key);
	return key;
}

__attribute__((unused)) static EVP_PKEY *make_ec(const char *curve)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(ossl, NULL, "EC", curve);
	MUST(key);
	return key;
}

struct certificate_spec {
	const char *name;
	const char *san;                            /* "DNS:a,DNS:b"; NULL: none */
	const char *constraints, *usage, *extended; /* extensions as OpenSSL writes them; NULL: none */
	const char *digest;                         /* NULL: SHA256 */
	int64_t begins, ends;
};

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;

	if (!value)
		return;
	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	MUST(extension);
	MUST(X509_add_ext(certificate, extension, -1));
	X509_EXTENSION_free(extension);
}

/* issuer NULL: self-signed. */
__attribute__((unused)) static X509 *make_certificate(const struct certificate_spec *spec, EVP_PKEY *key, X509 *issuer,
                                                      EVP_PKEY *issuer_key)
{
	static long serial = 1000;
	X509 *certificate = X509_new_ex(ossl, NULL);
	X509_NAME *name = X509_NAME_new();

	MUST(certificate && name);
	MUST(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)spec->name, -1, -1, 0));
	X509_set_version(certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
	X509_set_subject_name(certificate, name);
	X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : name);
	X509_NAME_free(name);
	ASN1_TIME_set(X509_getm_notBefore(certificate), spec->begins ? spec->begins : TEST_NOW - DAY);
	ASN1_TIME_set(X509_getm_notAfter(certificate), spec->ends ? spec->ends : TEST_NOW + 365 * DAY);
	MUST(X509_set_pubkey(certificate, key));
	add_extension(certificate, issuer ? issuer : certificate, NID_basic_constraints, spec->constraints);
	add_extension(certificate, issuer ? issuer : certificate, NID_key_usage, spec->usage);
	add_extension(certificate, issuer ? issuer : certificate, NID_ext_key_usage, spec->extended);
	add_extension(certificate, issuer ? issuer : certificate, NID_subject_alt_name, spec->san);

	auto_md_ctx *ctx = EVP_MD_CTX_new();
	MUST(EVP_DigestSignInit_ex(ctx, NULL, spec->digest ? spec->digest : "SHA256", ossl, NULL,
	                           issuer_key ? issuer_key : key, NULL) == 1);
	MUST(X509_sign_ctx(certificate, ctx) > 0);
	return certificate;
}

static const struct certificate_spec root_spec = {
    .name = "Test Root", .constraints = "critical,CA:TRUE", .usage = "critical,keyCertSign,cRLSign"};
static const struct certificate_spec intermediate_spec = {
    .name = "Test Issuing CA", .constraints = "critical,CA:TRUE", .usage = "critical,keyCertSign,cRLSign"};

/* An authority of two, and a signer below it. */
struct signer {
	EVP_PKEY *root_key, *issuer_key, *key;
	X509 *root, *issuer, *leaf;
	STACK_OF(X509) *anchors;
};

/* `keys` NULL: new ones; else those of another signer, since making them takes time. */
__attribute__((unused)) static void signer_make(struct signer *signer, const char *san, const struct signer *keys)
{
	const struct certificate_spec leaf = {
	    .name = "vault", .san = san, .usage = "critical,digitalSignature", .extended = "serverAuth"};

	*signer = (struct signer){.root_key = keys ? keys->root_key : make_rsa(2048),
	                          .issuer_key = keys ? keys->issuer_key : make_rsa(2048),
	                          .key = keys ? keys->key : make_rsa(2048)};
	if (keys) {
		EVP_PKEY_up_ref(signer->root_key);
		EVP_PKEY_up_ref(signer->issuer_key);
		EVP_PKEY_up_ref(signer->key);
	}
	signer->root = make_certificate(&root_spec, signer->root_key, NULL, NULL);
	signer->issuer = make_certificate(&intermediate_spec, signer->issuer_key, signer->root, signer->root_key);
	signer->leaf = make_certificate(&leaf, signer->key, signer->issuer, signer->issuer_key);
	signer->anchors = sk_X509_new_null();
	MUST(sk_X509_push(signer->anchors, signer->root));
}

__attribute__((unused)) static void signer_done(struct signer *signer)
{
	EVP_PKEY_free(signer->root_key);
	EVP_PKEY_free(signer->issuer_key);
	EVP_PKEY_free(signer->key);
	X509_free(signer->root);
	X509_free(signer->issuer);
	X509_free(signer->leaf);
	sk_X509_free(signer->anchors);
	memset(signer, 0, sizeof(*signer));
}

/* Appends a certificate to header.x5c. */
__attribute__((unused)) static void push_certificate(json *x5c, X509 *certificate)
{
	unsigned char *der = NULL;
	auto_buf text = BUF(64 * 1024);

	int len = i2d_X509(certificate, &der);
	MUST(len > 0);
	MUST_OK(base64_encode(der, (size_t)len, &text));
	json_push(x5c, json_of_string(buf_text(&text)));
	OPENSSL_free(der);
}

/* base64url of SHA-256 of a certificate, as in x5t#S256. */
__attribute__((unused)) static void thumbprint_of(X509 *certificate, struct buf *out)
{
	unsigned char *der = NULL;
	uint8_t digest[32];

	int len = i2d_X509(certificate, &der);
	MUST(len > 0);
	MUST_OK(sha256(der, (size_t)len, digest));
	MUST_OK(base64url_encode(digest, sizeof(digest), out));
	OPENSSL_free(der);
}

/* A vault's header: reference akv-release section 6.1. */
__attribute__((unused)) static json *signer_header(const struct signer *signer)
{
	json *header = json_object(), *x5c = json_array();
	auto_buf thumbprint = BUF(64);

	thumbprint_of(signer->leaf, &thumbprint);
	json_set_string(header, "alg", "RS256");
	json_set_string(header, "typ", "JWT");
	json_set_string(header, "kid", buf_text(&thumbprint));
	json_set_string(header, "x5t#S256", buf_text(&thumbprint));
	push_certificate(x5c, signer->leaf);
	push_certificate(x5c, signer->issuer);
	push_certificate(x5c, signer->root);
	json_set(header, "x5c", x5c);
	return header;
}

#endif
