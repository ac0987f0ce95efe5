/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_HARDWARE_H
#define SKR_EMULATOR_HARDWARE_H

#include "emulator/emulator.h"
#include "emulator/machine.h"
#include "emulator/report_verify.h"

/*
 * The played machine: a secure processor that signs SNP reports under an AMD-like authority of its own, what Azure's
 * host says of it (THIM, security context), and DIR/hardware.sock, where the preloaded guest device asks
 * (guest_protocol.h). machine.h has its settings.
 */

/* A signed report as the firmware gives it to a guest at `vmpl`. Thread-safe. */
skr_status hardware_report(struct emulator *e, const uint8_t report_data[64], uint32_t vmpl,
                           uint8_t ret[REPORT_SIZE]) MUST_CHECK;
/* The machine as it is set now, copied. Thread-safe. */
struct machine;
void hardware_settings(struct emulator *e, struct machine *ret);
/* The host's certificate table for extended reports, appended to `out`; nothing if the host offers none. Thread-safe.
 */
skr_status hardware_certificate_table(struct emulator *e, struct buf *out) MUST_CHECK;

/* What the attestation instances go by. */
struct attestation_rules {
	X509 *ark;                /* root of the played chips; owned by the caller */
	uint8_t uvm_roots[2][32]; /* SHA-256 of certificates, as cose_trust wants them */
	size_t uvm_root_count;
	bool accept_real_amd, accept_real_intel, certs_with_numbers, secure_boot_without_log;
	uint32_t token_lifetime;
};
#define auto_rules __attribute__((cleanup(attestation_rules_done))) struct attestation_rules
static inline void attestation_rules_done(struct attestation_rules *rules)
{
	X509_free(rules->ark);
}
skr_status hardware_attestation_rules(struct emulator *e, struct attestation_rules *ret) MUST_CHECK;

#endif
