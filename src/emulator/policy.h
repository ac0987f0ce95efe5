/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_POLICY_H
#define SKR_EMULATOR_POLICY_H

#include "base/json.h"

/*
 * Key release policies (reference: "Azure Key Vault keys: policy grammar"):
 *
 *     policy    := {"version": TEXT, "anyOf"|"allOf": [authority, …]}
 *     authority := {"authority": "https://ISSUER", "anyOf"|"allOf": [condition, …]}
 *     condition := {"claim": NAME, OPERATOR: VALUE} | {"anyOf"|"allOf": [condition, …]}
 *
 * OPERATOR is equals, notEquals, less, lessOrEquals, greater, greaterOrEquals or exists; VALUE text, integer or
 * boolean.
 */

/* SKR-213 with the sentence that a vault tells its client. */
skr_status policy_check(const json *policy) MUST_CHECK;

/*
 * True if the claims of a verified attestation token satisfy a policy that policy_check passed; the token's "iss" is
 * the authority. Else `reason` says in one sentence which condition was the first that did not hold.
 */
bool policy_holds(const json *policy, const json *claims, char *reason, size_t size);

/* The claim a policy names: a member of that very name, else one inside objects, "a.b.c". NULL: absent. Borrowed. */
const json *policy_claim(const json *claims, const char *name);

#endif
