/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_SUPPORT_VTPM_H
#define SKR_TESTS_SUPPORT_VTPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The emulated vTPM: what is asked of its control port, and another process of the guest that uses it too. */

/* POST /tpm; {"faults":[…]} with the quotes as ' for the sake of C. */
void vtpm_control(const char *request);
void vtpm_faults(const char *rules); /* replaces them; "" for none */

/* GET /tpm. */
struct vtpm_look {
	int handles;           /* transient objects, loaded and saved sessions, of anybody */
	int open, connections; /* now; since the counters were cleared */
	int total;             /* commands */
	int unmet;             /* faults that hit nothing */
	char text[8192];       /* all of it */
};
void vtpm_look(struct vtpm_look *ret);
int vtpm_count(const struct vtpm_look *look, const char *command);
void vtpm_clear_counters(void);

/* A command of another process, by a device of its own; the TPM's code. `command` in hexadecimal. */
struct vtpm_user {
	int fd;
};
void vtpm_user_open(struct vtpm_user *user);
void vtpm_user_close(struct vtpm_user *user);
/* Repeated while the TPM says TPM_RC_RETRY. -1: the connection ended. */
int64_t vtpm_user_command(struct vtpm_user *user, const char *command);

/* The guest's input for the report, NV index 0x01400002. */
#define TPM_UNDEFINE_INPUT "80020000001f00000122400000010140000200000009400000090000000000"
#define TPM_DEFINE_SHORT_INPUT \
	"80020000002d0000012a400000010000000940000009000000000000000e01400002000b0006000600000020"
#define TPM_EXTEND_PCR_10                    \
	"80020000004100000182"               \
	"0000000a00000009400000090000000000" \
	"00000001000b"                       \
	"5555555555555555555555555555555555555555555555555555555555555555"
#define TPM_GET_RANDOM "80010000000c0000017b0020"
#define TPM_QUOTE                                                            \
	"800200000029000001588100000300000009400000090000000000000000100000" \
	"0001000b03ff0000"
/* 64 bytes of 0xee. */
#define TPM_WRITE_INPUT                                                    \
	"80020000006300000137"                                             \
	"400000010140000200000009400000090000000000"                       \
	"0040"                                                             \
	"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee" \
	"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee" \
	"0000"

#endif
