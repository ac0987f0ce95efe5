/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_AZURE_CVM_H
#define SKR_EVIDENCE_AZURE_CVM_H

#include "azure/guest.h"
#include "evidence/ak_certificate.h"
#include "evidence/hcl.h"

/*
 * Evidence from the vTPM of an Azure confidential VM or Trusted Launch VM (tpm.h talks to it).
 *
 * The transport key is one of the TPM: an RSA-2048 primary of the NULL hierarchy, usable only by a policy on PCR 0
 * to 7. It is made anew for each login, by random bytes in the template's `unique` (TPM 2.0 Part 1, "Primary Object
 * Derivation"); its context is saved, so that it is made once.
 */
struct vtpm_transport {
	struct buf template;    /* TPM2B_PUBLIC as given to CreatePrimary, for making it again */
	struct buf public_area; /* TPM2B_PUBLIC as it came back */
	struct buf context;     /* TPMS_CONTEXT of TPM2_ContextSave: encrypted by the TPM */
	uint8_t name[34];
	unsigned commands;  /* TPM commands so far, for the step's detail */
	unsigned primaries; /* CreatePrimary among them: at most 2 in a login */
};
#define auto_vtpm_transport __attribute__((cleanup(vtpm_transport_done))) struct vtpm_transport
void vtpm_transport_done(struct vtpm_transport *transport); /* takes an all-zero one */

struct vtpm_machine {
	struct hcl_report hcl;          /* all zero for Trusted Launch */
	struct guest_evidence evidence; /* `hardware` of a TD and `chain_pem` are the caller's to fill */
	struct vtpm_transport transport;
	enum ak_certificate_state ak_certificate_state; /* not for VTPM_REPORT_ALONE, nor the two below */
	int ak_certificate_days;                        /* left; negative: expired so long ago */
	char ak_certificate_issuer[96];
};
#define auto_vtpm_machine __attribute__((cleanup(vtpm_machine_done))) struct vtpm_machine
void vtpm_machine_done(struct vtpm_machine *machine); /* takes an all-zero one */

enum vtpm_want {
	VTPM_CONFIDENTIAL,   /* an HCL report must be there: SKR-134 without, never a step down */
	VTPM_TRUSTED_LAUNCH, /* no HCL report is looked for */
	VTPM_REPORT_ALONE,   /* the direct form: HCL report and nothing else */
};

/*
 * Collects what the vTPM has: writes `user_data` into the guest's input, waits until the paravisor's report carries it,
 * reads AK, AK certificate, PCRs, makes the transport key, has it certified and the PCRs quoted by the AK, and checks
 * all of it: the AK is the one of the claims (of the certificate on Trusted Launch), both signatures, the PCR digest,
 * the certified name. Leaves nothing in the TPM, whatever happens. SKR-130 to 139, 146 to 149, 150; 021, 101.
 */
skr_status vtpm_collect(const char *tcti, enum vtpm_want want, const uint8_t user_data[64], struct deadline deadline,
                        struct vtpm_machine *ret) MUST_CHECK;

/*
 * One RSA decryption in the TPM: `digest` NULL: PKCS#1 v1.5; else OAEP with that digest ("SHA256") and an empty label.
 * SKR-138 the attested PCRs changed since, SKR-139 the TPM was restarted since, SKR-341 what is given does not open.
 */
skr_status vtpm_transport_open(const char *tcti, struct vtpm_transport *transport, const char *digest,
                               const void *sealed, size_t len, struct deadline deadline, struct buf *ret) MUST_CHECK;

#endif
