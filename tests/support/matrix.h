/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_SUPPORT_MATRIX_H
#define SKR_TESTS_SUPPORT_MATRIX_H

#include "support/module.h"

/*
 * Rows of the failure matrix against the whole product: a fault, a login on a token, and everything that must be so
 * after it. Each row ends with a login without faults, which must work at once.
 */
struct row {
	const char *id;    /* of the failure matrix or the invariants, and what is special */
	const char *token; /* label; the token has one private key */
	const char *rules; /* of the emulator */
	CK_RV rv;
	unsigned long failure; /* SKR number; 0: the login succeeds */
	const char *counted;   /* operation whose requests are counted; NULL: not */
	int least, most;
	double seconds;     /* at most */
	double and_no_less; /* seconds: the delays between attempts; 0: not looked at */
};

/* Configuration of this test alone: what surroundings.sh wrote, without the [skr-pkcs11] settings that `globals` names
 * again, plus `globals` there and `sections` behind. Takes effect with a C_Finalize and C_Initialize of its own. */
void matrix_configure(const char *globals, const char *sections);

/* Takes the standard for leaks: descriptors and threads after a clean login on each token named. */
void matrix_begin(const char *const tokens[], size_t count);

/* The number of wrong rows, each printed with what is wrong. */
int matrix_run(const struct row *rows, size_t count);

/* One login on a token, from a state without key and without memory of failures, and back to it. `line` may be NULL. */
CK_RV matrix_login(const char *token, unsigned long *ret_failure, char *line, size_t size);
/* A signature with the only private key that a session sees. */
CK_RV matrix_sign(CK_SESSION_HANDLE session);

/* Expands $NAME of the environment; static memory, good for as long as the process. */
const char *expand(const char *text);

#endif
