/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_POLICY_COMMANDS_H
#define SKR_CLI_POLICY_COMMANDS_H

#include "cli/policy_rules.h"
#include "config/config.h"

/*
 * The lines of a shell that make identity, key and role with Azure's az, for machines of this kind. `key` may be NULL:
 * then the names are the reader's to fill in.
 */
skr_status policy_commands_print(enum machine_kind kind, const struct key_config *key, const char *policy_file,
                                 struct buf *out) MUST_CHECK;

#endif
