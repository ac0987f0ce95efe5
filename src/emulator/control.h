/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_CONTROL_H
#define SKR_EMULATOR_CONTROL_H

#include "emulator/emulator.h"

/* Writes DIR/endpoints: where everything is, one NAME=VALUE a line, for a shell to read. */
skr_status control_write_endpoints(const struct emulator *e, const char *listen) MUST_CHECK;

#endif
