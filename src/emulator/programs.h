/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_PROGRAMS_H
#define SKR_EMULATOR_PROGRAMS_H

#include "emulator/emulator.h"

/* What belongs to the product beside the emulator: in the same folder if that is where it was built, else installed. */
enum program { PROGRAM_MODULE, PROGRAM_AGENT, PROGRAM_PRELOAD };
const char *program_path(enum program program);

/*
 * Writes DIR/skr-agent: a command that starts the agent inside the played machine. Tests may put files beside it:
 * `devices` (in place of the machine's), `device-fault` (SKR_GUEST_FAULT), `agent-preload` (a library that is loaded
 * before the played hardware).
 */
skr_status program_write_agent(const struct emulator *e) MUST_CHECK;

/* The first program of this name in PATH; NULL: there is none. `room` has `size` bytes. */
const char *program_find(const char *name, char *room, size_t size);

#endif
