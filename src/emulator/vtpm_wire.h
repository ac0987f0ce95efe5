/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_WIRE_H
#define SKR_EMULATOR_VTPM_WIRE_H

#include "base/status.h"

#include <stdint.h>
#include <sys/types.h>
#include <tss2/tss2_esys.h>

/*
 * A swtpm process of our own at the other end of two socket pairs, so there are no ports, no second client, and it ends
 * when we do, however that happens. One command at a time: the caller sees to it.
 */
#define TPM_FRAME_LIMIT 4096

struct vtpm_wire {
	int data, control; /* -1: closed */
	pid_t child;       /* 0: none */
	char log[4096];    /* what swtpm says */
};
#define VTPM_WIRE ((struct vtpm_wire){.data = -1, .control = -1})

/* Starts swtpm (by PATH) with its state in `dir`, which is there, and its log in DIR/log. SKR-130 with its words. */
skr_status wire_open(struct vtpm_wire *wire, const char *dir) MUST_CHECK;
void wire_close(struct vtpm_wire *wire); /* waits for its end */

/* One command, one answer. `answer` has room for TPM_FRAME_LIMIT. SKR-130. */
skr_status wire_transact(struct vtpm_wire *wire, const void *command, size_t len, uint8_t *answer,
                         size_t *ret_len) MUST_CHECK;

/* Power off and on, then TPM2_Startup(CLEAR): transient objects, sessions, PCRs and the NULL hierarchy's seed are new.
 */
skr_status wire_power_cycle(struct vtpm_wire *wire) MUST_CHECK;

/* ESYS over this wire. Nobody else may use it until wire_esys_done. */
struct wire_esys;
skr_status wire_esys_open(struct vtpm_wire *wire, struct wire_esys **ret, ESYS_CONTEXT **ret_esys) MUST_CHECK;
void wire_esys_close(struct wire_esys *esys); /* takes NULL */

#endif
