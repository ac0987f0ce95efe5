/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_JOSE_JWS_H
#define SKR_JOSE_JWS_H

#include "base/json.h"
#include "base/ossl.h"

#define JWS_LIMIT (96 * 1024) /* bytes of a compact JWS (threat model 10) */
#define JWT_LIMIT (64 * 1024)

/* A compact JWS taken apart (RFC 7515 section 7.1). Nothing in it is verified by parsing. */
struct jws {
	json *header, *payload; /* payload is NULL if it is not JSON, or was not asked for */
	struct buf payload_bytes, signature;
	const char *signed_part; /* borrowed from the text given */
	size_t signed_len;
};
#define auto_jws __attribute__((cleanup(jws_done))) struct jws
void jws_done(struct jws *jws); /* takes an all-zero one */

/*
 * Three base64url parts without padding, blanks or stray bits; a strict JSON header with a string "alg"; "crit"
 * refused. `text` must live as long as `ret`. SKR-340 with what is wrong; `ret` all zero on failure. The payload is
 * decoded, but parsed as JSON only by jws_payload.
 */
skr_status jws_parse(const char *text, size_t len, struct jws *ret) MUST_CHECK;
/* Parses the payload into jws->payload; called once the signature stands. SKR-340. */
skr_status jws_payload(struct jws *jws) MUST_CHECK;

/* Verifies the signature with `key`: RS256/384/512, PS256/384/512, ES256/384/512; alg must fit the key. SKR-340. */
skr_status jws_verify_with_key(const struct jws *jws, EVP_PKEY *key) MUST_CHECK;

struct jws_trust {
	const char *alg;         /* the only algorithm accepted, "RS256" */
	const char *host;        /* the name that the leaf certificate must cover, without port */
	STACK_OF(X509) *anchors; /* roots; a self-signed certificate inside x5c is never one of them */
	int64_t now;             /* wall clock, seconds since 1970 */
};
/*
 * Verifies as threat model section 9 steps 2 to 4 say: header, x5c of 1..6 certificates of at most 8 KiB, built to the
 * anchors only, leaf RSA >= 2048 bits, name, dates, x5t#S256 if there, signature over the received bytes. jku, jwk, x5u
 * are never looked at. SKR-340; the sentence says which check failed.
 */
skr_status jws_verify_with_chain(const struct jws *jws, const struct jws_trust *trust) MUST_CHECK;

/*
 * Signs `payload` with `key` (RS256, PS256 or ES256 by header.alg) and appends the compact form to `out`.
 * `header` is printed as it stands.
 */
skr_status jws_sign(const json *header, const void *payload, size_t len, EVP_PKEY *key, struct buf *out) MUST_CHECK;

#endif
