/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_TPM_CONNECTION_H
#define SKR_EVIDENCE_TPM_CONNECTION_H

/* What a connection is to the commands of tpm.c; nobody else includes this. */
#include "evidence/tpm.h"
#include "evidence/tpm_device.h"

#include <tss2/tss2_sys.h>

#define TPM_HELD_MOST 4 /* objects and sessions of one connection; we use two */

struct tpm {
	TSS2_TCTI_CONTEXT_COMMON_V2 tcti; /* what tpm2-tss sends by: the first member, so that it can be cast back */
	int fd;                           /* of device or socket; -1: */
	TSS2_TCTI_CONTEXT *other;         /* any other way to a TPM */
	TSS2_SYS_CONTEXT *sys;
	size_t sys_size;
	struct deadline deadline;
	unsigned commands;
	uint8_t command[TPM_MESSAGE_LIMIT]; /* kept, to be sent again */
	size_t command_len, reply_len;
	skr_status failed; /* why the last command has no reply; its words are in the thread's record */
	bool silent;       /* a reply is still to come: nothing can be sent */
	uint32_t held[TPM_HELD_MOST];
};

/* What the end of a command means: for its sentence `command`, "TPM2_Quote". */
skr_status tpm_finished(struct tpm *tpm, const char *command, TSS2_RC rc) MUST_CHECK;
/* The TPM refused, by a code that tells something of this command alone. */
bool tpm_refused(const struct tpm *tpm, TSS2_RC rc);
/* A handle that stood for something a moment ago: no other process can take it from us, a restart can. */
bool tpm_is_forgotten(TSS2_RC rc);
/* A code of format 1 says which handle, parameter or session is meant; without that. Part 2 section 6.6.2. */
TSS2_RC tpm_kind_of(TSS2_RC rc);

/* Every command through this, so that what an earlier one left is not taken for its own. */
#define CALL(tpm, name, ...) \
	((tpm)->failed = OK, tpm_finished((tpm), "TPM2_" #name, Tss2_Sys_##name((tpm)->sys, __VA_ARGS__)))
#define RAW(tpm, name, ...) ((tpm)->failed = OK, Tss2_Sys_##name((tpm)->sys, __VA_ARGS__))

#define SIZE_2B(sized)      (sizeof(UINT16) + (sized).size) /* of any TPM2B as it is sent */

/*
 * tpm2-tss does not look whether the reply ends where its last field does: `parameters` is what those that were
 * understood take, `auths` the sessions' part (NULL: none). SKR-137.
 */
skr_status tpm_consumed(struct tpm *tpm, const char *command, size_t parameters,
                        const TSS2L_SYS_AUTH_RESPONSE *auths) MUST_CHECK;

/* An object or session that is no longer there, and need not be flushed. */
void tpm_let_go(struct tpm *tpm, uint32_t handle);

#endif
