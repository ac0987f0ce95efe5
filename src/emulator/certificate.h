/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_CERTIFICATE_H
#define SKR_EMULATOR_CERTIFICATE_H

#include "base/ossl.h"

#include <stdbool.h>

/* Keys and certificates as the emulator's authorities make them, and the AMD extensions as its verifier reads them. */

/* A new key. `kind`: "RSA-2048" (any number of bits), "P-256", "P-384". SKR-599. */
skr_status key_generate(const char *kind, EVP_PKEY **ret) MUST_CHECK;

struct certificate_name {
	const char *type, *value; /* "CN", "contoso" */
};

struct certificate_extension {
	const char *oid;  /* name or dotted */
	const char *text; /* as openssl.cnf writes it: "critical,CA:TRUE"; NULL: `der` is the value */
	const uint8_t *der;
	size_t der_len;
};

struct certificate_plan {
	const struct certificate_name *subject; /* in order; ends with a NULL type */
	EVP_PKEY *key;                          /* the public half is certified */
	X509 *issuer;                           /* NULL: self-signed */
	EVP_PKEY *issuer_key;
	const char *digest; /* "SHA256"; NULL for it */
	bool pss;           /* RSASSA-PSS, salt as long as the digest */
	bool serial_zero;   /* as AMD's; else 63 random bits */
	int64_t not_before, not_after;
	const struct certificate_extension *extensions; /* ends with a NULL oid; may be NULL */
};
skr_status certificate_issue(const struct certificate_plan *plan, X509 **ret) MUST_CHECK;

/* Appended to `out`. */
skr_status certificate_to_pem(X509 *certificate, struct buf *out) MUST_CHECK;
skr_status certificate_to_der(X509 *certificate, struct buf *out) MUST_CHECK;
/* Nothing may follow the certificate. SKR-213. */
skr_status certificate_from_der(const void *der, size_t len, X509 **ret) MUST_CHECK;

/* SHA-256 of the certificate, of its SubjectPublicKeyInfo. SKR-599. */
skr_status certificate_sha256(X509 *certificate, uint8_t out[32]) MUST_CHECK;
skr_status certificate_spki_sha256(X509 *certificate, uint8_t out[32]) MUST_CHECK;

/* SKR-117 unless `issuer` names and signed `certificate`, and both are valid at `when`. */
skr_status certificate_signed_by(X509 *certificate, X509 *issuer, int64_t when) MUST_CHECK;

/* The value of the first common name; "" if there is none. Cut to the room. */
void certificate_common_name(const X509_NAME *name, char *out, size_t size);

/* What AMD writes into a VCEK: arc 1.3.6.1.4.1.3704.1 (reference: AMD 57230 "VCEK Certificate and KDS Interface"). */
struct vcek_extensions {
	uint8_t bootloader, tee, snp, microcode, fmc;
	bool has_fmc;
	uint8_t hardware_id[64];
	size_t hardware_id_len; /* 8 or 64 */
	char product[32];       /* before the "-": Milan */
};
/* SKR-117 with the OID that is missing, doubled or not as published. */
skr_status vcek_extensions_read(const X509 *vcek, struct vcek_extensions *ret) MUST_CHECK;

#endif
