/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_OUTPUT_H
#define SKR_CLI_OUTPUT_H

#include "base/buf.h"

/*
 * Writes a file that others see whole or not at all: a new one beside it, then renamed. Mode 0644 less the umask; what
 * was there is replaced. SKR-002 names path and errno, and then nothing is left behind.
 */
skr_status output_write(const char *path, const struct buf *content) MUST_CHECK;

#endif
