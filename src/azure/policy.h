/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_POLICY_H
#define SKR_AZURE_POLICY_H

#include "base/json.h"

/*
 * Key release policies (reference/akv-release section 11), evaluated against an attestation token's claims in order to
 * explain a refusal. Key Vault is the judge; nothing is granted by what is said here.
 */

/*
 * How many conditions of `policy` the claims do not satisfy; 0: it holds. Appends to `text` what is missing, the
 * nearest authority's conditions alone: "needs x-ms-sevsnpvm-hostdata = AB, this machine has CD; needs …". SKR-213 if
 * it is no policy.
 */
skr_status policy_explain(const json *policy, const json *claims, struct buf *text, size_t *ret_unmet) MUST_CHECK;

/* The claims that policies usually ask for, as they are here: "x-ms-compliance-status = azure-compliant-uvm, …". */
skr_status policy_summary(const json *claims, struct buf *text) MUST_CHECK;

#endif
