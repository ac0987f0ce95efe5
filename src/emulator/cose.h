/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_COSE_H
#define SKR_EMULATOR_COSE_H

#include "base/ossl.h"

#include <stdbool.h>

/*
 * The endorsement of a utility VM ("reference info"): a COSE_Sign1 (RFC 9052 section 4.2) whose protected header
 * carries the signer's certificates (RFC 9360), a did:x509 as issuer, a feed and the signing time, and whose payload is
 * JSON. Only what such a document needs of CBOR (RFC 8949) is read, and only in its shortest form: definite lengths, no
 * floats.
 */
#define COSE_LIMIT (64 * 1024)

enum cose_algorithm {
	COSE_ES256 = -7,
	COSE_ES384 = -35,
	COSE_ES512 = -36,
	COSE_PS256 = -37,
	COSE_PS384 = -38,
	COSE_PS512 = -39,
};

struct cose_bytes {
	const uint8_t *data; /* borrowed from the document */
	size_t len;
};

struct cose_sign1 {
	struct cose_bytes protected_header, payload, signature;
	struct cose_bytes content_type, issuer, feed; /* text; empty: not there */
	int64_t algorithm;
	bool has_signing_time;
	int64_t signing_time;
	STACK_OF(X509) *chain; /* leaf first; may be empty */
};
#define auto_cose __attribute__((cleanup(cose_done))) struct cose_sign1
void cose_done(struct cose_sign1 *document); /* takes an all-zero one */

/*
 * Takes the document apart; nothing in it is verified. `data` must live as long as `ret`. SKR-213 with the offset and
 * what was expected there; `ret` all zero on failure.
 */
skr_status cose_parse(const void *data, size_t len, struct cose_sign1 *ret) MUST_CHECK;

/* Certificates that may stand at the end of a signer's chain, by their SHA-256. */
struct cose_trust {
	const uint8_t (*roots)[32];
	size_t root_count;
	int64_t now; /* for documents without a signing time */
};
/*
 * The chain, each certificate signed by the next and valid at the signing time (a leaf may have expired since), up to
 * one that is trusted and whose SHA-256 the DID names; the leaf has the DID's EKU; the signature. SKR-117 says which
 * failed.
 */
skr_status cose_verify(const struct cose_sign1 *document, const struct cose_trust *trust) MUST_CHECK;

/* What cose_sign puts together. */
struct cose_plan {
	EVP_PKEY *key;
	enum cose_algorithm algorithm;
	STACK_OF(X509) *chain; /* leaf first, root last: its SHA-256 goes into the DID */
	const char *eku;       /* dotted; goes into the DID */
	const char *feed;
	const char *payload;
	int64_t signing_time;
};
/* Appends the tagged document to `out`. SKR-599. */
skr_status cose_sign(const struct cose_plan *plan, struct buf *out) MUST_CHECK;

#endif
