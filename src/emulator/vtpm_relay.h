/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_RELAY_H
#define SKR_EMULATOR_VTPM_RELAY_H

#include "base/json.h"
#include "emulator/vtpm_wire.h"

/*
 * What stands before swtpm: TCP on loopback, data and control port as swtpm's own, for any number of clients, whose
 * commands go one after the other. It answers itself for the paravisor's NV indices (vtpm_nv.h) and does what the
 * faults say (vtpm_faults.h).
 *
 * A connection that greets as a device (guest_protocol.h, the preloaded library) is a client of a resource manager, as
 * the kernel's /dev/tpmrm0 has it (vtpm_space.h). The others are tpm2-tss' TCTI for swtpm, which connects anew for
 * every command: nothing of them can end with a connection, so they share what is in the TPM, and have to flush it.
 */
struct relay;

/* What the relay asks of the machine around it; called with the relay's lock held. */
struct relay_machine {
	void *context;
	/* A new report for this content of the guest's index; `other_ak`: its claims name another key. */
	skr_status (*report)(void *context, const uint8_t user_data[64], bool other_ak, struct buf *out);
	skr_status (*restart)(void *context);
	skr_status (*replace_ak)(void *context);
};

/* Opens the ports and serves them in a thread of its own. `wire` is borrowed. SKR-017. */
skr_status relay_open(struct vtpm_wire *wire, const struct relay_machine *machine, struct relay **ret,
                      uint16_t *ret_port) MUST_CHECK;
void relay_close(struct relay *relay); /* takes NULL */

/* While it is held no client's command runs, no client's objects are in the TPM, and the wire is the caller's. */
skr_status relay_lock(struct relay *relay) MUST_CHECK; /* SKR-130; then it is not held */
void relay_unlock(struct relay *relay);

/* The rest with the lock held. */

/* An index of the paravisor's. `data` NULL: defined but never written. `size` 0: no such index. */
void relay_set_index(struct relay *relay, uint32_t index, size_t size, const struct buf *data);
/* The TPM was switched off and on: what clients had in it is gone. */
void relay_forget(struct relay *relay);
/* In place of the rules there are. SKR-213. */
skr_status relay_set_faults(struct relay *relay, const json *rules) MUST_CHECK;
void relay_clear_counters(struct relay *relay);

/* Without the lock. GET /tpm of the control port (docs/emulator.md). SKR-130. */
skr_status relay_describe(struct relay *relay, json **ret) MUST_CHECK;

#endif
