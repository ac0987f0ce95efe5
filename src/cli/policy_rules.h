/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_POLICY_RULES_H
#define SKR_CLI_POLICY_RULES_H

#include "base/json.h"

/* Which claims a release policy asks for, by the kind of machine that the claims are of. */
enum machine_kind {
	MACHINE_CONTAINER, /* SEV-SNP, endorsed utility VM */
	MACHINE_SNP,       /* another SEV-SNP guest with its own report */
	MACHINE_TDX,
	MACHINE_CVM_SNP,
	MACHINE_CVM_TDX,
	MACHINE_TRUSTED_LAUNCH,
};

/* SKR-323 if the claims are of no kind that keys are released to. */
skr_status machine_kind_of(const json *claims, enum machine_kind *ret) MUST_CHECK;
const char *machine_kind_text(enum machine_kind kind); /* "a confidential container (AMD SEV-SNP)" */

/* How much a policy asks for; each is asked for beside the platform. */
enum strictness { STRICT_PLATFORM = 1, STRICT_IMAGE = 2, STRICT_WORKLOAD = 4 };

/* "workload", "image,workload": SKR-004 for other words. */
skr_status strictness_parse(const char *text, unsigned *ret) MUST_CHECK;

struct policy_rule {
	unsigned kinds; /* 1 << MACHINE_… */
	enum strictness strictness;
	const char *claim;
	const char *wanted; /* NULL: what this machine has */
	const char *buys, *breaks;
};
extern const struct policy_rule policy_rules[]; /* ends with a NULL claim */

/* True if a policy of these `levels` for machines of this kind has it. A rule for what the machine lacks is left out.
 */
bool policy_rule_applies(const struct policy_rule *rule, enum machine_kind kind, unsigned levels, const json *claims);

/* The policy. `ret` is owned by the caller. SKR-323 without an issuer, or if there is nothing to ask for. */
skr_status policy_generate(const json *claims, enum machine_kind kind, unsigned levels, json **ret) MUST_CHECK;

#endif
