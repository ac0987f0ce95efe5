/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_NV_H
#define SKR_EMULATOR_VTPM_NV_H

#include "emulator/vtpm_frame.h"

/*
 * An NV index of the paravisor's, larger than swtpm can hold: the answers to TPM2_NV_ReadPublic and TPM2_NV_Read.
 * Sessions: password, and HMAC sessions that are neither bound nor salted and encrypt nothing (what tpm2-tools use for
 * an empty password). After an answer of ours such a session is good for our indices only, since swtpm does not know
 * its new nonce.
 */
struct vtpm_nv {
	uint32_t index; /* 0: none */
	uint16_t size;
	bool written;
	uint8_t data[4096];
};

/* The index that the command is about, if it is one of these two; else 0. `ret_offset`: of a read, else 0xffff. */
uint32_t vtpm_nv_target(const struct frame *command, uint16_t *ret_offset);

/*
 * Answers a command that vtpm_nv_target gave this index for. `ret_session`: the HMAC session that ends with this
 * command, which the caller has to flush; else 0.
 */
skr_status vtpm_nv_answer(const struct vtpm_nv *nv, const struct frame *command, struct frame *answer,
                          uint32_t *ret_session) MUST_CHECK;

#endif
