/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_GUEST_PROTOCOL_H
#define SKR_EMULATOR_GUEST_PROTOCOL_H

#include <stdint.h>

/*
 * What the preloaded guest hardware (preload.c) and the emulator's secure processor (authority.c) say to each other
 * over DIR/hardware.sock: a unix stream socket, one request and one answer per connection, host byte order, no padding.
 * The preload connects, sends one guest_request, and reads one guest_answer, then `report_len` bytes, then `table_len`
 * bytes.
 */
#define GUEST_PROTOCOL_MAGIC 0x31524b53U /* "SKR1" */

enum guest_request_kind {
	GUEST_REPORT = 1, /* an attestation report with the certificate table the host offers */
	GUEST_QUOTE = 2,  /* a TD's quote of version 4, no table; vmpl 0 */
};

struct guest_request {
	uint32_t magic;
	uint32_t kind;
	uint32_t vmpl; /* 0..3 as the guest asked; the report carries it */
	uint8_t report_data[64];
};
_Static_assert(sizeof(struct guest_request) == 76, "no padding");

#define GUEST_REPORT_SIZE 1184
#define GUEST_QUOTE_LIMIT (16 * 1024)
#define GUEST_TABLE_LIMIT (64 * 1024)

struct guest_answer {
	uint32_t magic;
	uint32_t status;     /* of the firmware, as in MSG_REPORT_RSP: 0 done, 0x16 invalid parameters */
	uint32_t report_len; /* GUEST_REPORT_SIZE, or of a quote at most GUEST_QUOTE_LIMIT; 0 if status is not 0 */
	/* Entries of 24 bytes and DER certificates as the extended guest request has them (GHCB, section 4.1.8.1); 0:
	 * the host offers none, at most GUEST_TABLE_LIMIT. Need not be a whole number of pages: the preload pads with
	 * zeros. */
	uint32_t table_len;
};
_Static_assert(sizeof(struct guest_answer) == 16, "no padding");

/*
 * The vTPM's device is a TCP connection to the relay's data port (SKR_GUEST_TPM); this byte first says that it is one,
 * and commands and answers follow as the device has them.
 */
#define GUEST_TPM_GREETING 0x00

#endif
