/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_EVIDENCE_H
#define SKR_EVIDENCE_EVIDENCE_H

#include "azure/service.h"
#include "base/buf.h"

/* Evidence that commits to `runtime_data`, with the endorsements that vouch for it. */
struct evidence {
	const char *provider;           /* "snp-configfs", "snp-ioctl", "snp-ioctl-5"; static */
	const char *endorsement_source; /* "report", "security-context", "thim"; static */
	struct buf report;              /* SNP: 1184 bytes */
	struct buf chain_pem;           /* VCEK, ASK, ARK */
	struct buf uvm_endorsement;     /* COSE_Sign1 from the security context; empty: none */
};
#define auto_evidence __attribute__((cleanup(evidence_done))) struct evidence
void evidence_done(struct evidence *evidence); /* takes an all-zero one */

/*
 * Report data is SHA-256 of `runtime_data`, then 32 zero bytes (threat model: evidence binds our key). Chooses the
 * provider by the token's `evidence` setting, finds endorsements matched to the report's TCB by `endorsements`,
 * verifies that the report carries our report data and is signed by the VCEK found. SKR-100 to 144.
 */
skr_status evidence_collect(struct azure *azure, const void *runtime_data, size_t len, struct evidence *ret) MUST_CHECK;

#endif
