/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_ENDORSEMENT_H
#define SKR_EVIDENCE_ENDORSEMENT_H

#include "base/json.h"
#include "evidence/snp_report.h"

#define CERTIFICATE_TABLE_LIMIT (64 * 1024)

/* The certificates that vouch for a chip's report key. All zero: none. */
struct endorsement {
	const char *source;    /* "report", "security-context", "thim"; static */
	STACK_OF(X509) *chain; /* VCEK, ASK, ARK; owned */
	bool has_tcbm;
	uint64_t tcbm; /* what THIM says it is for */
};
#define auto_endorsement __attribute__((cleanup(endorsement_done))) struct endorsement
void endorsement_done(struct endorsement *endorsement); /* takes an all-zero one */

/*
 * Reads the certificate table of an extended report or of configfs' auxblob (reference/snp-evidence section 4.4; GHCB
 * section 4.1.8.1): the chain of the key kind that `report` is signed by. A table without it (an empty one, or one that
 * holds only a part) leaves `ret` all zero and is no failure. SKR-143 for a table that is not well-formed.
 */
skr_status endorsement_from_table(const void *table, size_t len, const struct snp_report *report,
                                  struct endorsement *ret) MUST_CHECK;

/*
 * Reads THIM's answer {vcekCert, tcbm, certificateChain}, which is also what host-amd-cert-base64 holds. SKR-143.
 * `source` is static.
 */
skr_status endorsement_from_thim(const json *answer, const char *source, struct endorsement *ret) MUST_CHECK;

/* Whether it is for the report's TCB, by tcbm and by the certificate: SKR-142 with both TCBs. */
skr_status endorsement_matches(const struct endorsement *endorsement, const struct snp_report *report) MUST_CHECK;

/* The chain as PEM, leaf first, appended to `out`. */
skr_status endorsement_print(const struct endorsement *endorsement, struct buf *out) MUST_CHECK;

#endif
