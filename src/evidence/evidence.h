/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_EVIDENCE_H
#define SKR_EVIDENCE_EVIDENCE_H

#include "azure/service.h"
#include "base/buf.h"
#include "evidence/azure_cvm.h"

/* What the evidence is, and so which route of the attestation service takes it. */
enum evidence_form {
	EVIDENCE_SNP,        /* a report about our own runtime data */
	EVIDENCE_TDX,        /* a quote about our own runtime data */
	EVIDENCE_GUEST,      /* a vTPM, with a paravisor's report or (Trusted Launch) without */
	EVIDENCE_DIRECT_SNP, /* the paravisor's report alone: for looking at, not for releases */
	EVIDENCE_DIRECT_TDX,
	EVIDENCE_NONE, /* a sidecar attests */
};

/* Evidence that commits to runtime data, with the endorsements that vouch for it. */
struct evidence {
	enum evidence_form form;
	const char *provider;           /* "snp-configfs", "tdx-configfs", "azure-cvm", …; static */
	const char *endorsement_source; /* "report", "security-context", "thim", "quote", "none"; static */
	struct buf report;              /* SNP: 1184 bytes; TDX: the quote; EVIDENCE_GUEST has it in vtpm.evidence */
	struct buf chain_pem;           /* VCEK, ASK, ARK */
	struct buf uvm_endorsement;     /* COSE_Sign1 from the security context; empty: none */
	struct vtpm_machine vtpm;       /* EVIDENCE_GUEST and the direct forms */
};
#define auto_evidence __attribute__((cleanup(evidence_done))) struct evidence
void evidence_done(struct evidence *evidence); /* takes an all-zero one */

/*
 * The machine decides (`evidence = auto`), the configuration can insist. A machine that chooses its own runtime data
 * reports SHA-256 of `runtime_data`, then 32 zero bytes. On a machine behind a paravisor the vTPM's user data is
 * SHA-512 of it. Finds endorsements matched to the report's TCB by `endorsements`, verifies that the report carries our
 * data and is signed by the VCEK found, or that the quote holds in itself. SKR-100 to 151.
 *
 * Never a step down: `auto` takes no Trusted Launch machine, and a confidential VM whose evidence fails is a failure.
 */
skr_status evidence_collect(struct azure *azure, const void *runtime_data, size_t len, struct evidence *ret) MUST_CHECK;

/* "AMD SEV-SNP", "Intel TDX", "Trusted Launch"; NULL where a sidecar attests. Static. */
const char *evidence_tee(const struct evidence *evidence);

/* "azure-cvm (AMD SEV-SNP), endorsements from thim, 17 TPM commands": one line for people. */
void evidence_describe(const struct evidence *evidence, char *out, size_t size);

#endif
