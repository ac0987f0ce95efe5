/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm_space.h"

#include <tss2/tss2_tpm2_types.h>

#define TYPE_OF(handle)       ((handle) >> 24) /* TPM_HT */
#define VIRTUAL(slot)         (0x80FFFFFFU - (uint32_t)(slot))
#define ATTRIBUTE_HANDLES(cc) ((cc) >> 25 & 7)
#define ATTRIBUTE_FLUSHED     (1U << 24)
#define ATTRIBUTE_RHANDLE     (1U << 28)

/* ---- the TPM's table of commands ---- */

skr_status vtpm_commands_read(struct vtpm_wire *wire, struct vtpm_commands *ret)
{
	struct frame command, answer;
	struct vtpm_commands commands = {0};

	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_GetCapability);
	frame_put(&command, TPM2_CAP_COMMANDS, 4);
	frame_put(&command, TPM2_CC_FIRST, 4);
	frame_put(&command, 0x200, 4);
	frame_end(&command);
	TRY(frame_transact(wire, &command, &answer));
	if (frame_code(&answer) != 0 || answer.len < TPM_HEADER + 9)
		return FAIL(130, "swtpm: its list of commands: %#x", frame_code(&answer));
	for (const uint8_t *at = answer.data + TPM_HEADER + 9; at + 4 <= answer.data + answer.len; at += 4) {
		uint32_t attributes = frame_get(at, 4);
		commands.attributes[attributes & 0x1ff] = attributes;
	}
	/* The handle of this one stands among the parameters (part 3, section 28.4). */
	commands.attributes[TPM2_CC_FlushContext] |= 1U << 25;
	*ret = commands;
	return OK;
}

static uint32_t attributes_of(const struct vtpm_commands *commands, const struct frame *command)
{
	uint32_t code = frame_code(command);

	return code < sizeof(commands->attributes) / sizeof(commands->attributes[0]) ? commands->attributes[code] : 0;
}

size_t vtpm_command_handles(const struct vtpm_commands *commands, const struct frame *command)
{
	size_t count = ATTRIBUTE_HANDLES(attributes_of(commands, command));

	return command->len >= TPM_HEADER + 4 * count ? count : 0;
}

/* ---- contexts ---- */

static bool is_transient(uint32_t handle)
{
	return TYPE_OF(handle) == TPM2_HT_TRANSIENT;
}

static bool is_session(uint32_t handle)
{
	return TYPE_OF(handle) == TPM2_HT_HMAC_SESSION || TYPE_OF(handle) == TPM2_HT_POLICY_SESSION;
}

skr_status vtpm_flush(struct vtpm_wire *wire, uint32_t handle)
{
	struct frame command, answer;

	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_FlushContext);
	frame_put(&command, handle, 4);
	frame_end(&command);
	return frame_transact(wire, &command, &answer);
}

/* `ret_there` false: the TPM has no such thing any more. */
static skr_status save(struct vtpm_wire *wire, uint32_t handle, struct saved_context *context, bool *ret_there)
{
	struct frame command, answer;

	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_ContextSave);
	frame_put(&command, handle, 4);
	frame_end(&command);
	TRY(frame_transact(wire, &command, &answer));
	*ret_there = frame_code(&answer) == 0;
	if (!*ret_there)
		return OK;
	context->len = answer.len - TPM_HEADER;
	memcpy(context->data, answer.data + TPM_HEADER, context->len);
	return is_transient(handle) ? vtpm_flush(wire, handle) : OK;
}

/* `ret_handle` 0: the TPM does not take it. */
static skr_status load(struct vtpm_wire *wire, struct saved_context *context, uint32_t *ret_handle)
{
	struct frame command, answer;

	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_ContextLoad);
	frame_append(&command, context->data, context->len);
	frame_end(&command);
	context->len = 0;
	TRY(frame_transact(wire, &command, &answer));
	*ret_handle = frame_code(&answer) == 0 ? frame_get(answer.data + TPM_HEADER, 4) : 0;
	return OK;
}

skr_status space_enter(struct vtpm_space *space, struct vtpm_wire *wire)
{
	for (size_t i = 0; i < SPACE_OBJECTS; i++)
		if (space->objects[i].context.len)
			TRY(load(wire, &space->objects[i].context, &space->objects[i].real));
	for (size_t i = 0; i < SPACE_SESSIONS; i++)
		if (space->sessions[i].context.len)
			TRY(load(wire, &space->sessions[i].context, &space->sessions[i].handle));
	return OK;
}

skr_status space_leave(struct vtpm_space *space, struct vtpm_wire *wire)
{
	bool there;

	for (size_t i = 0; i < SPACE_OBJECTS; i++) {
		if (!space->objects[i].real || space->objects[i].context.len)
			continue;
		TRY(save(wire, space->objects[i].real, &space->objects[i].context, &there));
		if (!there)
			space->objects[i].real = 0;
	}
	for (size_t i = 0; i < SPACE_SESSIONS; i++) {
		if (!space->sessions[i].handle || space->sessions[i].context.len)
			continue;
		TRY(save(wire, space->sessions[i].handle, &space->sessions[i].context, &there));
		if (!there)
			space->sessions[i].handle = 0;
	}
	return OK;
}

skr_status space_flush(struct vtpm_space *space, struct vtpm_wire *wire)
{
	for (size_t i = 0; i < SPACE_OBJECTS; i++)
		if (space->objects[i].real && !space->objects[i].context.len)
			TRY(vtpm_flush(wire, space->objects[i].real));
	for (size_t i = 0; i < SPACE_SESSIONS; i++)
		if (space->sessions[i].handle) /* also one that is saved */
			TRY(vtpm_flush(wire, space->sessions[i].handle));
	space_forget(space);
	return OK;
}

void space_forget(struct vtpm_space *space)
{
	for (size_t i = 0; i < SPACE_OBJECTS; i++)
		space->objects[i].real = 0, space->objects[i].context.len = 0;
	for (size_t i = 0; i < SPACE_SESSIONS; i++)
		space->sessions[i].handle = 0, space->sessions[i].context.len = 0;
}

void space_count_saved(const struct vtpm_space *space, size_t *objects, size_t *sessions)
{
	for (size_t i = 0; i < SPACE_OBJECTS; i++)
		*objects += space->objects[i].context.len > 0;
	for (size_t i = 0; i < SPACE_SESSIONS; i++)
		*sessions += space->sessions[i].context.len > 0;
}

/* ---- handles ---- */

bool space_map_command(struct vtpm_space *space, const struct vtpm_commands *commands, struct frame *command)
{
	size_t count = vtpm_command_handles(commands, command);

	for (uint8_t *at = command->data + TPM_HEADER; count-- > 0; at += 4) {
		uint32_t slot = VIRTUAL(0) - frame_get(at, 4);
		if (!is_transient(frame_get(at, 4)))
			continue;
		if (slot >= SPACE_OBJECTS || !space->objects[slot].real)
			return false;
		frame_set(at, space->objects[slot].real, 4);
	}
	return true;
}

static void forget_object(struct vtpm_space *space, uint32_t real)
{
	for (size_t i = 0; i < SPACE_OBJECTS; i++)
		if (space->objects[i].real == real)
			space->objects[i].real = 0;
}

void space_forget_session(struct vtpm_space *space, uint32_t handle)
{
	if (space->sessions[handle % SPACE_SESSIONS].handle == handle)
		space->sessions[handle % SPACE_SESSIONS].handle = 0;
}

static uint32_t virtual_of(const struct vtpm_space *space, uint32_t real)
{
	for (size_t i = 0; i < SPACE_OBJECTS; i++)
		if (space->objects[i].real == real)
			return VIRTUAL(i);
	return real;
}

static void note(struct vtpm_space *space, uint8_t *handle)
{
	uint32_t real = frame_get(handle, 4);

	if (is_session(real))
		space->sessions[real % SPACE_SESSIONS].handle = real;
	if (!is_transient(real))
		return;
	forget_object(space, real); /* something else that the TPM has dropped by itself */
	for (size_t i = 0; i < SPACE_OBJECTS; i++)
		if (!space->objects[i].real) {
			space->objects[i].real = real;
			frame_set(handle, VIRTUAL(i), 4);
			return;
		}
}

/* TPM2_GetCapability of transient handles: moreData, capability, count, handles. */
static void map_list(const struct vtpm_space *space, struct frame *answer)
{
	uint8_t *at = answer->data + TPM_HEADER;

	if (answer->len < TPM_HEADER + 9 || frame_get(at + 1, 4) != TPM2_CAP_HANDLES)
		return;
	for (at += 9; at + 4 <= answer->data + answer->len; at += 4)
		if (is_transient(frame_get(at, 4)))
			frame_set(at, virtual_of(space, frame_get(at, 4)), 4);
}

void space_map_answer(struct vtpm_space *space, const struct vtpm_commands *commands, const struct frame *command,
                      struct frame *answer)
{
	uint32_t code = frame_code(command), attributes = attributes_of(commands, command);
	const uint8_t *handle = command->data + TPM_HEADER;
	bool ends = code == TPM2_CC_FlushContext || attributes & ATTRIBUTE_FLUSHED;

	if (frame_code(answer) != 0)
		return;
	for (size_t i = vtpm_command_handles(commands, command); i-- > 0; handle += 4) {
		if (ends && is_transient(frame_get(handle, 4)))
			forget_object(space, frame_get(handle, 4));
		if (is_session(frame_get(handle, 4)) && (ends || code == TPM2_CC_ContextSave))
			space_forget_session(space, frame_get(handle, 4));
	}
	if (attributes & ATTRIBUTE_RHANDLE && answer->len >= TPM_HEADER + 4)
		note(space, answer->data + TPM_HEADER);
	if (code == TPM2_CC_GetCapability)
		map_list(space, answer);
}
