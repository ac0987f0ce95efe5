/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_DOCTOR_KEY_H
#define SKR_CLI_DOCTOR_KEY_H

#include "cli/doctor.h"
#include "cli/look.h"

/* What the doctor finds out by itself about one token, behind its login. */
struct inquiry {
	struct visit *visit;
	const struct outcome *outcome;
	struct look look;
	json *claims; /* of a token of our own; NULL: none was needed, or could be had */
	char object_id[64];
	bool identity_shown;
	EVP_PKEY *keys[CONFIG_KEYS_MAX]; /* public halves, as the vault has them */
	size_t key_count;
};

/* What a key's bundle (GET of the vault) says of its state and its release policy. */
void doctor_key(struct inquiry *inquiry, const struct key_config *key, const json *bundle);

/*
 * True if every authority of the policy asks for something that only some machines have: image, host data, registers,
 * the machine's id. Without it every machine of the kind, everybody's, satisfies it.
 */
bool policy_tells_machines_apart(const json *policy);

#endif
