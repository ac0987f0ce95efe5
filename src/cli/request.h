/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_REQUEST_H
#define SKR_CLI_REQUEST_H

#include "base/ossl.h"

#include <stdbool.h>

#include <openssl/x509v3.h>

/* A certificate request (PKCS#10, RFC 2986) whose key somebody else has. */

AUTO_OSSL(x509_req, X509_REQ, X509_REQ_free)
AUTO_OSSL(x509_name, X509_NAME, X509_NAME_free)
#define auto_x509_req  __attribute__((cleanup(x509_req_done))) X509_REQ
#define auto_x509_name __attribute__((cleanup(x509_name_done))) X509_NAME
static inline void general_names_done(GENERAL_NAMES **names)
{
	GENERAL_NAMES_free(*names);
}
#define auto_general_names __attribute__((cleanup(general_names_done))) GENERAL_NAMES

/* Why what a person typed is not understood: one sentence without an end. */
struct request_problem {
	char text[256];
};

/*
 * "/C=DE/O=Example/CN=www.example.com", one attribute after the other, as `openssl req -subj` has it: \/ \\ and \+
 * stand for the character alone, and a + that joins attributes is refused. UTF-8. `ret` owned by the caller.
 */
bool request_subject(const char *text, X509_NAME **ret, struct request_problem *problem) MUST_CHECK;

/* "DNS:www.example.com,IP:192.0.2.1,email:a@example.com,URI:spiffe://example.com/a": adds them to `names`. */
bool request_names(const char *list, GENERAL_NAMES *names, struct request_problem *problem) MUST_CHECK;

struct request_digest {
	const char *name; /* as people and OpenSSL write it */
	int nid;
	size_t size;
};
extern const struct request_digest request_digests[]; /* ends with a NULL name */

const struct request_digest *request_digest_find(const char *name); /* NULL: none */
/* As strong as the key. */
const struct request_digest *request_digest_for(const EVP_PKEY *key);

enum request_padding { REQUEST_PKCS1, REQUEST_PSS }; /* of RSA */

/*
 * Whoever has the private key: signs `input`, which for PKCS#1 is a DigestInfo and else the hash itself. The signature
 * as PKCS#11 has it: of EC keys r and s, each as long as the order.
 */
struct request_signer {
	skr_status (*sign)(const struct buf *input, struct buf *ret_signature, void *with);
	void *with;
};

struct request {
	const X509_NAME *subject;
	const GENERAL_NAMES *names; /* NULL or empty: no extension for them */
	EVP_PKEY *key;              /* the public half */
	bool encipherment;          /* the key may decrypt: key usage says so */
	const struct request_digest *digest;
	enum request_padding padding;
};

/* Builds it, has it signed, verifies the signature by the public half, and appends it as PEM to `out`. SKR-599. */
skr_status request_make(const struct request *request, const struct request_signer *signer, struct buf *out) MUST_CHECK;

#endif
