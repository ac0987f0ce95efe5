/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_PKCS11_MODULE_H
#define SKR_PKCS11_MODULE_H

#include "base/status.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>

/*
 * The life of the library in this process, and who is inside it.
 *
 * Locks, in this order: life (below) → session->lock → state (token.h). A call is inside while it holds `life` for
 * reading; C_Initialize, C_Finalize and fork hold it for writing, so that nobody is inside then.
 */

/* One call of a C_ function: what must be as before when it returns. */
struct call {
	bool entered;
	int error;  /* errno */
	int cancel; /* the thread's cancel state: nothing of ours can be left half-done */
};
#define auto_call __attribute__((cleanup(call_leave))) struct call

/*
 * CKR_CRYPTOKI_NOT_INITIALIZED: before C_Initialize, after C_Finalize, in a child until its own C_Initialize.
 * CKR_FUNCTION_FAILED: this thread is inside already, that is, a signal handler or somebody we called calls us; never
 * waits for itself.
 */
CK_RV call_enter(struct call *call);
void call_leave(struct call *call); /* does nothing if it was not entered */
/* Between the two this thread holds no lock of ours, and the library may be finalized; it still counts as inside for
 * itself. */
void call_pause(struct call *call);
void call_resume(struct call *call);

CK_RV module_initialize(const CK_C_INITIALIZE_ARGS *args);
CK_RV module_finalize(void);

/* Why there are no slots; its `failure` is 0 if the configuration was read. */
void module_configuration_failure(struct status_record *ret);

#endif
