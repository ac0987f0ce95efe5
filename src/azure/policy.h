/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_POLICY_H
#define SKR_AZURE_POLICY_H

#include "base/json.h"

/*
 * Key release policies (reference/akv-release section 11), evaluated against an attestation token's claims in order to
 * explain a refusal. Key Vault is the judge; nothing is granted by what is said here.
 *
 * An authority is the token's issuer, but for one trailing slash and the case of letters. Values are compared as text:
 * "true" of a policy is the claim true, "0" the number 0. A claim that is missing, a list or an object meets nothing.
 * The depth that json_parse allows bounds all recursion.
 */

/*
 * The policy in `text`: JSON, base64url of it (the "data" of a key's release_policy), a whole key as a vault or az
 * gives it, or its release_policy alone. SKR-213. `ret` is owned by the caller and may be no policy: policy_check says.
 */
skr_status policy_parse(const void *text, size_t len, json **ret) MUST_CHECK;
/* The policy of a key that GET gave. SKR-213. `ret` as above. */
skr_status policy_of_bundle(const json *bundle, json **ret) MUST_CHECK;

/*
 * SKR-213 if Key Vault would not take `policy`: where ("anyOf[0].allOf[2]") and why. A missing "version" passes, which
 * a vault may have taken and a Managed HSM does not take.
 */
skr_status policy_check(const json *policy) MUST_CHECK;

enum policy_kind { POLICY_AUTHORITY, POLICY_GROUP, POLICY_CONDITION };

/* What a part of a policy comes to when it is held against claims. Texts and values are borrowed from both. */
struct policy_line {
	enum policy_kind kind;
	int depth;        /* 0: an authority */
	bool any;         /* of authorities and groups: one of those below is enough */
	const char *name; /* the authority's address, the claim; NULL: a group */
	const char *sign; /* of conditions: "=", "other than", "<", …; NULL: an operator that is not known */
	const json *wanted, *found; /* of conditions, and `found` the issuer of authorities; NULL: missing */
	bool issuer;                /* of authorities: it is the token's */
	bool met;
	bool counts; /* not met, and among those that are nearest to being met: of anyOf one branch alone */
};
typedef skr_status policy_visit_fn(const struct policy_line *line, void *with);

/* Visits authorities, groups and conditions in the policy's order; ends with the visitor's failure. */
skr_status policy_walk(const json *policy, const json *claims, policy_visit_fn *visit, void *with) MUST_CHECK;

/*
 * How many conditions of `policy` the claims do not satisfy; 0: it holds. Appends to `text` what is missing, the
 * nearest authority's conditions alone: "needs x-ms-sevsnpvm-hostdata = AB, this machine has CD; needs …". SKR-213 if
 * it is no policy.
 */
skr_status policy_explain(const json *policy, const json *claims, struct buf *text, size_t *ret_unmet) MUST_CHECK;

/* The claims that policies usually ask for, as they are here: "x-ms-compliance-status = azure-compliant-uvm, …". */
skr_status policy_summary(const json *claims, struct buf *text) MUST_CHECK;

bool policy_trusts(const json *authority, const json *claims); /* it is their issuer */

/* "a.b.c" among the claims: as one name, else member by member. Borrowed; NULL: missing. */
const json *policy_claim(const json *claims, const char *name);

/* True if both compare as equal; false if one is missing, a list or an object. */
bool policy_same_value(const json *a, const json *b);

/* A value as it is compared, at most `shown` characters of it; in quotes where blanks would deceive; "none". */
skr_status policy_print_value(const json *value, size_t shown, struct buf *text) MUST_CHECK;

bool policy_knows_operator(const char *name); /* "equals", … */

/* "=" and so on of a condition, with its value; NULL if there is no operator that is known. */
const char *policy_operator(const json *condition, const json **ret_wanted);

#endif
