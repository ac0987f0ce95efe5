/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_HARDWARE_H
#define SKR_EMULATOR_HARDWARE_H

#include "emulator/emulator.h"
#include "emulator/report_verify.h"

/*
 * The played machine: a secure processor that signs SNP reports under an AMD-like authority of its own, what Azure's
 * host says of it (THIM, security context), and DIR/hardware.sock, where the preloaded guest device asks
 * (guest_protocol.h).
 *
 * Settings, of --hardware and POST /hardware; a member that is not given stays as it was:
 *
 *   product               "Milan", "Genoa", "Turin"; sets version and tcb to what is usual for it
 *   version               of the report, 2 to 5, or any other for a fault
 *   tcb                   16 hex digits as THIM's tcbm, or {"fmc","bootloader","tee","snp","microcode"}
 *   host_data             64 hex digits; measurement, 96; family_id, image_id, 32
 *   guest_svn             number
 *   debug, migration, smt booleans of the guest policy
 *   mask_chip_id          true: the report hides its chip id
 *   certificate_table     true: extended reports carry VCEK, ASK, ARK; false, as on Azure: an empty table
 *   thim_tcb, context_tcb as tcb: THIM's answer, the security context, are for that other TCB; null: for the right one
 *   security_policy       text of the security context; HOST_DATA follows, unless host_data is given too
 *   feed, svn             of the utility VM's endorsement
 *   endorsed_measurement  96 hex digits: what the endorsement says; follows measurement unless it is given too
 *   accept_real_amd       true: attestation also accepts reports under AMD's own roots and Microsoft's own endorsements
 *   token_lifetime        of attestation tokens, seconds; 28800
 *   certs_with_numbers    true: /certs gives n and e beside x5c; false, as on Azure: x5c alone
 */

/* A signed report as the firmware gives it to a guest at `vmpl`. Thread-safe. */
skr_status hardware_report(struct emulator *e, const uint8_t report_data[64], uint32_t vmpl,
                           uint8_t ret[REPORT_SIZE]) MUST_CHECK;
/* The host's certificate table for extended reports, appended to `out`; nothing if the host offers none. Thread-safe.
 */
skr_status hardware_certificate_table(struct emulator *e, struct buf *out) MUST_CHECK;

/* What the attestation instances go by. */
struct attestation_rules {
	X509 *ark;                /* root of the played chips; owned by the caller */
	uint8_t uvm_roots[2][32]; /* SHA-256 of certificates, as cose_trust wants them */
	size_t uvm_root_count;
	bool accept_real_amd, certs_with_numbers;
	uint32_t token_lifetime;
};
#define auto_rules __attribute__((cleanup(attestation_rules_done))) struct attestation_rules
static inline void attestation_rules_done(struct attestation_rules *rules)
{
	X509_free(rules->ark);
}
skr_status hardware_attestation_rules(struct emulator *e, struct attestation_rules *ret) MUST_CHECK;

#endif
