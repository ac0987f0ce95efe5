/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_RELEASE_RELEASE_H
#define SKR_RELEASE_RELEASE_H

#include "base/deadline.h"
#include "base/json.h"
#include "base/ossl.h"
#include "config/config.h"

/* A key as Key Vault gave it and threat model section 9 verified it. */
struct released_key {
	const struct key_config *config; /* borrowed from the configuration */
	char kid[512];                   /* https://HOST/keys/NAME/VERSION as in the signed payload */
	char version[65];
	EVP_PKEY *key;                 /* RSA or EC with private part, made in `ossl`; NULL for oct */
	struct buf secret;             /* oct: the raw bytes */
	unsigned ops;                  /* KEY_OP_… of the verified payload */
	uint8_t public_key_sha256[32]; /* of the DER SubjectPublicKeyInfo; zero for oct */
	bool nonce_echoed;             /* Managed HSM does; for vaults nobody could confirm it */
};

struct release_step {
	char name[24]; /* transport-key, agent, evidence, attestation, identity, release, verify, unwrap */
	int64_t ms;
	char detail[256];
};

struct release {
	struct released_key *keys; /* as many as the token has, in its order; owned */
	size_t key_count;
	struct release_step steps[16];
	size_t step_count;
};
#define auto_release __attribute__((cleanup(release_done))) struct release
void release_done(struct release *release); /* wipes; takes an all-zero one */

struct release_options {
	struct deadline deadline;
	int (*cancelled)(void *with); /* may be NULL; true: end with SKR-403 within 200 ms */
	void *with;
	/* may be NULL: told when a step begins (ms < 0) and when it ended; for `skr-pkcs11 doctor` */
	void (*progress)(const struct release_step *step, void *with);
	/* may be NULL: an object that gets what the agent tells of machine and token (agent/protocol.h, `facts`),
	   however the login ends. For the audit trail; none of it is verified. */
	json *facts;
};

/*
 * One whole login: makes a fresh RSA transport key in the ephemeral arena, asks the agent, verifies, unwraps and
 * compares every key. All keys or none. Keys are allocated in the key arena. Never retries by itself, except one repeat
 * for G-04 (the agent died) and G-03 as failure-matrix section 6a says. No lock of the caller may be held. `config` and
 * `token` must outlive the result.
 *
 * Fails as failure-matrix sections 3 to 6a say; the agent's failure comes back as its own number and sentence.
 */
skr_status release_run(const struct config *config, const struct token_config *token,
                       const struct release_options *options, struct release *ret) MUST_CHECK;

/*
 * Environment for the agent, captured at the first C_Initialize (servers clear it for their workers): the variables of
 * the identity and security-context families, by secure_getenv. Not thread-safe; called under the module's
 * initialisation.
 */
void release_capture_environment(const char *config_path);

/* The roots configured for release signatures. SKR-007. */
skr_status release_anchors(const struct config *config, STACK_OF(X509) **ret) MUST_CHECK;

#endif
