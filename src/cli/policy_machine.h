/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_POLICY_MACHINE_H
#define SKR_CLI_POLICY_MACHINE_H

#include "cli/command.h"
#include "cli/look.h"

/* What `skr-pkcs11 policy` asks of this machine and its vaults, by a token of the configuration. */
struct policy_machine {
	struct terminal *t; /* says what is under way where it takes long */
	struct config *config;
	const struct token_config *token;
	struct config *key_config; /* with nothing but the key asked for, as the reader of configurations sees it */
	struct look look;
};
#define auto_policy_machine __attribute__((cleanup(policy_machine_close))) struct policy_machine
void policy_machine_close(struct policy_machine *machine); /* takes an all-zero one */

/*
 * `path`: NULL for what programs read. The token is the one of that label, else the one with the key `url`, else the
 * first. SKR-001 to 005, and those of look_open. Call it before anything else allocates: it opens the arena.
 */
skr_status policy_machine_open(struct terminal *t, const char *path, const char *label, const char *url,
                               struct policy_machine *ret) MUST_CHECK;

/* The claims of a new attestation token. Keys are neither asked for nor released. */
skr_status policy_machine_claims(struct policy_machine *machine, json **ret_claims) MUST_CHECK;

/* The release policy of the key `url`, read by the token's identity, which needs the permission "get". */
skr_status policy_machine_key(struct policy_machine *machine, const char *url, json **ret_policy) MUST_CHECK;

#endif
