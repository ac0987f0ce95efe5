/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_FACTS_H
#define SKR_CLI_FACTS_H

#include "evidence/evidence.h"
#include "evidence/snp_report.h"
#include "evidence/td_quote.h"

/*
 * What evidence says, field by field, as a document: `attest` prints it for people or as it is. Bytes are lower-case
 * hex. Each result is owned by the caller; without memory something is missing, and json_print fails.
 */

/* ATTESTATION_REPORT (AMD 56860 table 22): policy, platform and TCB taken apart. */
json *facts_of_snp_report(const struct snp_report *report);

json *facts_of_td_quote(const struct td_quote *quote);

/*
 * The certificates leaf first, and whether the root's key is the vendor's own: root.genuine, and root.value in words.
 * What Azure's machines have is; an emulator's is not.
 */
json *facts_of_chain(STACK_OF(X509) *chain);

/* AK certificate, PCR 0 to 7, boot log. */
json *facts_of_vtpm(const struct vtpm_machine *vtpm);

/*
 * Everything above that this evidence has, as members of `document`; a report without endorsements is said not to be
 * verified. SKR-116, 004: it cannot be taken apart; 117: it does not verify.
 */
skr_status facts_of_evidence(const struct evidence *evidence, json *document) MUST_CHECK;

/* True if the host may look into this guest by its policy. */
skr_status facts_debuggable(const struct evidence *evidence, bool *ret) MUST_CHECK;

#endif
