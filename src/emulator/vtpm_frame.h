/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_FRAME_H
#define SKR_EMULATOR_VTPM_FRAME_H

#include "emulator/vtpm_wire.h"

#include <stdbool.h>
#include <string.h>

/* Commands and answers of a TPM as bytes, big-endian (TPM 2.0 part 1, section 18 "Command/Response Structure"). */
enum { TPM_HEADER = 10, TPM_ST_NO_SESSIONS = 0x8001, TPM_ST_SESSIONS = 0x8002, TPM_RS_PW = 0x40000009 };

struct frame {
	uint8_t data[TPM_FRAME_LIMIT];
	size_t len;
};

static inline uint32_t frame_get(const uint8_t *at, size_t bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

static inline void frame_set(uint8_t *at, uint32_t value, size_t bytes)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

/* What does not fit is left out: frames of our own are short. */
static inline void frame_put(struct frame *frame, uint32_t value, size_t bytes)
{
	if (frame->len + bytes > sizeof(frame->data))
		return;
	frame_set(frame->data + frame->len, value, bytes);
	frame->len += bytes;
}

static inline void frame_append(struct frame *frame, const void *data, size_t len)
{
	if (len > sizeof(frame->data) - frame->len)
		return;
	memcpy(frame->data + frame->len, data, len);
	frame->len += len;
}

/* Header with room for the size, which frame_end fills in. `code`: of the command, or of the answer. */
static inline void frame_begin(struct frame *frame, uint32_t tag, uint32_t code)
{
	frame->len = 0;
	frame_put(frame, tag, 2);
	frame_put(frame, 0, 4);
	frame_put(frame, code, 4);
}

static inline void frame_end(struct frame *frame)
{
	frame_set(frame->data + 2, (uint32_t)frame->len, 4);
}

/* The code of a command or an answer; 0xffffffff if the frame has no header. */
static inline uint32_t frame_code(const struct frame *frame)
{
	return frame->len < TPM_HEADER ? 0xffffffff : frame_get(frame->data + 6, 4);
}

static inline void frame_refuse(struct frame *answer, uint32_t code)
{
	frame_begin(answer, TPM_ST_NO_SESSIONS, code);
	frame_end(answer);
}

static inline skr_status frame_transact(struct vtpm_wire *wire, const struct frame *command, struct frame *answer)
{
	return wire_transact(wire, command->data, command->len, answer->data, &answer->len);
}

/* The one password session, empty. */
static inline void frame_put_password(struct frame *command)
{
	frame_put(command, 9, 4);
	frame_put(command, TPM_RS_PW, 4);
	frame_put(command, 0, 2);
	frame_put(command, 0, 1);
	frame_put(command, 0, 2);
}

#endif
