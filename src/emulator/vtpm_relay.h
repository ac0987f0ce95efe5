/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_RELAY_H
#define SKR_EMULATOR_VTPM_RELAY_H

#include "base/json.h"
#include "emulator/vtpm_wire.h"

/*
 * What stands before swtpm: TCP on loopback, data and control port as swtpm's own, for any number of clients, whose
 * commands go one after the other. Every connection is a client of a resource manager as the kernel's /dev/tpmrm0
 * (vtpm_space.h). It answers itself for the paravisor's NV indices (vtpm_nv.h) and does what the faults say
 * (vtpm_faults.h).
 */
struct relay;

/* What the relay asks of the machine around it; called with the relay's lock held. */
struct relay_machine {
	void *context;
	/* A new report for this content of the guest's index. */
	skr_status (*report)(void *context, const uint8_t user_data[64], struct buf *out);
	skr_status (*restart)(void *context);
	skr_status (*replace_ak)(void *context);
};

/* Opens the ports and serves them in a thread of its own. `wire` is borrowed. SKR-017. */
skr_status relay_open(struct vtpm_wire *wire, const struct relay_machine *machine, struct relay **ret,
                      uint16_t *ret_port) MUST_CHECK;
void relay_close(struct relay *relay); /* takes NULL */

/* While it is held no client's command runs and the wire is the caller's. */
void relay_lock(struct relay *relay);
void relay_unlock(struct relay *relay);

/* The paravisor's indices, with the lock held. `data` NULL: defined but never written. `size` 0: no such index. */
void relay_set_index(struct relay *relay, uint32_t index, size_t size, const struct buf *data);

#endif
