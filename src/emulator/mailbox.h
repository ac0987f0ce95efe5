/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_MAILBOX_H
#define SKR_EMULATOR_MAILBOX_H

#include "emulator/emulator.h"

/*
 * DIR/hardware.sock: where the preloaded guest device asks for reports (guest_protocol.h), answered by a thread of its
 * own, one guest at a time.
 */
struct mailbox;
/* SKR-017 if the socket cannot be had. */
skr_status mailbox_open(struct emulator *e, struct mailbox **ret) MUST_CHECK;
void mailbox_close(struct mailbox *mailbox); /* takes NULL; removes the socket */

#endif
