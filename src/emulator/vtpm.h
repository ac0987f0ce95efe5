/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_H
#define SKR_EMULATOR_VTPM_H

#include "emulator/emulator.h"

/*
 * The vTPM of the played machine: a swtpm process of our own, provisioned as an Azure machine's is, behind a relay that
 * answers for the NV indices that swtpm cannot hold and plays the paravisor (new report when the guest reads at offset
 * 0 and the last one is 2 s old). Nothing of it runs for machines without a TPM.
 */

/*
 * Starts swtpm (found in PATH) with state in DIR/tpm (Trusted Launch: DIR/tpm-trusted-launch), provisions it (AK at
 * 0x81000003, SRK, EK, NV indices, PCRs by the event log that is written to DIR/binary_bios_measurements) and the relay
 * on two neighbouring loopback ports; sets e->tpm_port (the lower). A second start in the directory takes the seeds
 * that are there. SKR-130 with swtpm's words.
 */
skr_status vtpm_open(struct emulator *e) MUST_CHECK;
void vtpm_close(struct emulator *e); /* ends swtpm and waits for it */

/* POST /tpm of the control port (docs/emulator.md): extend, restart, certificate, faults. SKR-213. */
skr_status vtpm_change(struct emulator *e, const json *request) MUST_CHECK;
/* GET /tpm: commands, connections, handles, faults. `ret` owned by the caller. SKR-213: there is no vTPM. */
skr_status vtpm_describe(struct emulator *e, json **ret) MUST_CHECK;

/*
 * The authority of AK certificates, DIR/vtpm-ca.pem: what the attestation instances trust for Trusted Launch. Borrowed;
 * NULL: the machine has no vTPM.
 */
skr_status vtpm_authority(struct emulator *e, X509 **ret) MUST_CHECK;

#endif
