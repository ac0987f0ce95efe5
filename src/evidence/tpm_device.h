/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_TPM_DEVICE_H
#define SKR_EVIDENCE_TPM_DEVICE_H

#include "base/buf.h"
#include "base/deadline.h"

#include <stdbool.h>

/*
 * The TPM's character device, or swtpm's socket, in bytes: one command written, one reply read. In place of tpm2-tss's
 * own transports, which wait for ever, and do not say why a device did not open.
 */

#define TPM_MESSAGE_LIMIT  4096 /* of a command or reply: TPM_BUFSIZE of the kernel */
#define TPM_MESSAGE_HEADER 10   /* tag, size, command or response code: TPM 2.0 Part 1 section 18 */

/*
 * Waits while another process holds a raw device, at most 4 tries: SKR-130. SKR-100 there is none, 101 no rights to it,
 * 021 hidden from this service, 016.
 */
skr_status tpm_device_open(const char *path, struct deadline deadline, int *ret_fd) MUST_CHECK;

/* "host=127.0.0.1,port=2321", an address and not a name: SKR-130. */
bool tpm_socket_understands(const char *where) MUST_CHECK;
skr_status tpm_socket_open(const char *where, struct deadline deadline, int *ret_fd) MUST_CHECK;

skr_status tpm_device_send(int fd, const uint8_t *command, size_t len, struct deadline deadline) MUST_CHECK;

/* `reply` has TPM_MESSAGE_LIMIT bytes. SKR-130 for a device that fails or is silent until the deadline, SKR-137. */
skr_status tpm_device_receive(int fd, struct deadline deadline, uint8_t *reply, size_t *ret_len) MUST_CHECK;

/* A reply is as long as its header says, has a tag that replies have, and nothing behind a refusal: SKR-137. */
skr_status tpm_reply_check(const uint8_t *reply, size_t len) MUST_CHECK;

#endif
