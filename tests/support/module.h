/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_SUPPORT_MODULE_H
#define SKR_TESTS_SUPPORT_MODULE_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

#include "skr_pkcs11.h"

/*
 * The built module (SKR_MODULE), loaded as any program loads it, and the emulator around it (SKR_EMULATOR_…).
 * Everything here ends the test with a message if it does not work.
 */
extern CK_FUNCTION_LIST_PTR p11;

void module_load(void);       /* dlopen and C_GetFunctionList; once */
void module_unload(void);     /* dlclose */
void module_initialize(void); /* C_Initialize with CKF_OS_LOCKING_OK */
CK_SLOT_ID module_slot(const char *token_label);
CK_SESSION_HANDLE module_session(const char *token_label); /* R/O */
void module_login(CK_SESSION_HANDLE session);
/* The object of a class with a label; 0 if there is none. */
CK_OBJECT_HANDLE module_find(CK_SESSION_HANDLE session, CK_OBJECT_CLASS class, const char *label);
const char *rv_name(CK_RV rv);
/* The number of the last failure of C_Login on the token, by the diagnostics interface; 0: none. `line` may be NULL. */
unsigned long module_failure(const char *token_label, char *line, size_t size);

#define assert_ok(call)                                          \
	do {                                                     \
		CK_RV rv_ = (call);                              \
		if (rv_ != CKR_OK)                               \
			fail_msg("%s: %s", #call, rv_name(rv_)); \
	} while (0)
#define assert_rv(call, expected)                                                           \
	do {                                                                                \
		CK_RV rv_ = (call);                                                         \
		if (rv_ != (expected))                                                      \
			fail_msg("%s: %s, not %s", #call, rv_name(rv_), rv_name(expected)); \
	} while (0)

/* The emulator. */
void emulator_faults(const char *rules); /* replaces all rules; "" for none */
void emulator_control(const char *method, const char *path, const char *body);
/* How many requests of "SERVICE.OPERATION" ("akv.release"; "" for any) the emulator answered since the last reset. */
int emulator_requests(const char *operation);
void emulator_requests_reset(void); /* from here on */

/* A monotonic stopwatch in milliseconds. */
double now_ms(void);

#endif
