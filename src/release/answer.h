/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_RELEASE_ANSWER_H
#define SKR_RELEASE_ANSWER_H

#include "base/json.h"
#include "release/release.h"

/* One key's answer: checks 1 to 7 of threat model section 9, between the agent's bytes and a key that may be used. */

#define VERSION_MOST 64

/* What the answer must say. All borrowed. */
struct release_expectation {
	const struct config *config;
	const struct token_config *token;
	const struct key_config *key;
	const char *nonce;
	const char *transport_kid;
	EVP_PKEY *transport;
	STACK_OF(X509) *anchors;
	int64_t now; /* wall clock, seconds */
};

/* What the signature vouches for, taken out of the payload; nothing of it is opened yet. */
struct announced_key {
	char kid[512];
	char version[VERSION_MOST + 1];
	unsigned ops;
	bool oct, nonce_echoed;
	EVP_PKEY *public_key; /* NULL for oct */
	struct buf
	    ciphertext; /* AES key under the transport key, key under the AES key; empty if it was no base64url */
};
#define auto_announced_key __attribute__((cleanup(announced_key_done))) struct announced_key
void announced_key_done(struct announced_key *announced); /* takes an all-zero one */

/* Checks 1 to 5: form, header, chain, signature, payload. SKR-340, 342, 343, 333. */
skr_status answer_check(const struct release_expectation *expected, const char *jws, size_t len,
                        struct announced_key *ret) MUST_CHECK;

/*
 * The same for a key that a sidecar handed over: nobody signed it for us, so what is left are the checks against
 * `bundle`, the vault's own public view of the key: key identifier, dates, public half. Takes the bytes of `wrapped`.
 */
skr_status answer_check_handed(const struct release_expectation *expected, const json *bundle, struct buf *wrapped,
                               struct announced_key *ret) MUST_CHECK;

/* Checks 6 and 7: opens it, and compares. The key itself is made in the key arena. SKR-341, 342. */
skr_status answer_open(const struct release_expectation *expected, const struct announced_key *announced,
                       struct released_key *ret) MUST_CHECK;

/* All seven in one, for a key that is wrapped to our own transport key. What tests and fuzzing aim at. */
skr_status release_verify(const struct release_expectation *expected, const char *jws, size_t len,
                          struct released_key *ret) MUST_CHECK;

void released_key_done(struct released_key *key); /* wipes; takes an all-zero one */
#define auto_released_key __attribute__((cleanup(released_key_done))) struct released_key

#endif
