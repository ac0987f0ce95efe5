/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_RELEASE_POLICY_H
#define SKR_EMULATOR_RELEASE_POLICY_H

#include "emulator/emulator.h"

/*
 * The release policy that fits the played machine, as one would write it for such a machine in Azure, appended.
 * `value`: what tells the machine that is meant from others of its kind, in place of the played one's own: HOST_DATA of
 * a container group, the launch measurement of a confidential VM, the id of a Trusted Launch VM; NULL: this machine.
 */
skr_status release_policy_print(struct emulator *e, const char *value, struct buf *out) MUST_CHECK;

#endif
