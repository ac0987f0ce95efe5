/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_CHIP_H
#define SKR_EMULATOR_CHIP_H

#include "emulator/emulator.h"
#include "emulator/report_verify.h"

/* The played chip's keys, and an authority like AMD's that vouches for them. All of it outlives a restart, in
 * DIR/amd-…. */

#define CHIP_ID_SIZE 64

/* The authority of one product line. */
struct amd {
	EVP_PKEY *ask_key;
	X509 *ark, *ask;
};
skr_status amd_open(struct emulator *e, enum product product, struct amd *ret) MUST_CHECK;
void amd_done(struct amd *amd); /* takes an all-zero one */

/* A chip's key for one TCB, and AMD's word for it. */
struct vcek {
	EVP_PKEY *key;
	X509 *certificate;
};
skr_status vcek_open(struct emulator *e, const struct amd *amd, enum product product,
                     const uint8_t chip_id[CHIP_ID_SIZE], struct tcb tcb, struct vcek *ret) MUST_CHECK;
void vcek_done(struct vcek *vcek); /* takes an all-zero one */

/* Turin's hardware id is the first eight bytes. */
size_t chip_id_len(enum product product);
/* THIM's spelling of a TCB: the eight bytes as a little-endian number. */
void tcbm_text(enum product product, struct tcb tcb, char out[17]);

#endif
