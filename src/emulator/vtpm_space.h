/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_SPACE_H
#define SKR_EMULATOR_VTPM_SPACE_H

#include "emulator/vtpm_frame.h"

/*
 * A client of the resource manager, as a descriptor of Linux' /dev/tpmrm0 is one (drivers/char/tpm/tpm2-space.c): it
 * has transient objects and sessions for itself, under handles of its own, and what it leaves is flushed when it
 * closes. When another client's turn comes they are saved and flushed, so every client has all of the TPM's slots. A
 * session that the client saved itself (TPM2_ContextSave) is no longer the client's, and outlives it.
 */
#define SPACE_OBJECTS  3  /* as in the kernel, and as many as swtpm has */
#define SPACE_SESSIONS 64 /* the TPM's handles of sessions end in 0 to 63 */

struct saved_context {
	size_t len; /* 0: it is in the TPM */
	uint8_t data[TPM_FRAME_LIMIT];
};
struct vtpm_space {
	struct {
		uint32_t real; /* handle in the TPM; 0: free slot. The client knows it by its slot */
		struct saved_context context;
	} objects[SPACE_OBJECTS];
	struct {
		uint32_t handle; /* 0: free slot */
		struct saved_context context;
	} sessions[SPACE_SESSIONS];
};

/* TPMA_CC of each command, by its code: how many handles it has. */
struct vtpm_commands {
	uint32_t attributes[0x200];
};
skr_status vtpm_commands_read(struct vtpm_wire *wire, struct vtpm_commands *ret) MUST_CHECK;
/* The handles of a command; TPM2_FlushContext has one too. */
size_t vtpm_command_handles(const struct vtpm_commands *commands, const struct frame *command);

/* Puts what the client has into the TPM; takes it out. What the TPM does not know any more is forgotten. */
skr_status space_enter(struct vtpm_space *space, struct vtpm_wire *wire) MUST_CHECK;
skr_status space_leave(struct vtpm_space *space, struct vtpm_wire *wire) MUST_CHECK;

/* Of a client that entered: its handles become the TPM's. False: the command has one that is not the client's. */
bool space_map_command(struct vtpm_space *space, const struct vtpm_commands *commands, struct frame *command);
/* The TPM's become the client's, in the answer to the mapped command; new ones are noted, flushed ones forgotten. */
void space_map_answer(struct vtpm_space *space, const struct vtpm_commands *commands, const struct frame *command,
                      struct frame *answer);

/* The client has gone: what it left is flushed. */
skr_status space_flush(struct vtpm_space *space, struct vtpm_wire *wire) MUST_CHECK;
/* The session has ended. */
void space_forget_session(struct vtpm_space *space, uint32_t handle);
/* The TPM has lost all of it. */
void space_forget(struct vtpm_space *space);

/* How much of it is saved just now, outside of the TPM. */
void space_count_saved(const struct vtpm_space *space, size_t *objects, size_t *sessions);

skr_status vtpm_flush(struct vtpm_wire *wire, uint32_t handle) MUST_CHECK;

#endif
