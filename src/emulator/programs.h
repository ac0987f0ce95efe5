/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_PROGRAMS_H
#define SKR_EMULATOR_PROGRAMS_H

#include "emulator/emulator.h"

/* What belongs to the product beside the emulator: in the same folder if that is where it was built, else installed. */
enum program { PROGRAM_MODULE, PROGRAM_AGENT, PROGRAM_PRELOAD };
const char *program_path(enum program program);

/*
 * Writes DIR/inside, a command that runs its arguments inside the played machine, and DIR/skr-agent, which runs the
 * agent so. Tests may put files beside them: `devices` (in place of the machine's), `device-fault` (SKR_GUEST_FAULT),
 * `agent-preload` (a library that is loaded before the played hardware).
 */
skr_status program_write_commands(const struct emulator *e) MUST_CHECK;

/* The first program of this name in PATH; NULL: there is none. `room` has `size` bytes. */
const char *program_find(const char *name, char *room, size_t size);

#endif
