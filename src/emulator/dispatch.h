/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_DISPATCH_H
#define SKR_EMULATOR_DISPATCH_H

#include "emulator/faults.h"

/* A request on its way through the emulator. */
struct call {
	struct exchange exchange;
	struct fault_plan plan;
	int64_t began; /* monotonic_ms */
};
void call_free(struct call *call); /* takes NULL */

/* Once the head of the request is known: chooses service (unless the port did) and route, and asks the faults. */
skr_status dispatch_head(struct emulator *e, struct call *call) MUST_CHECK;
/* Once the body is there: waits where a fault says so, calls the handler, lets the faults change the answer, logs.
 * Always leaves an answer. */
void dispatch_body(struct emulator *e, struct call *call);

/* True for names that Azure gives a Managed HSM rather than a vault. */
bool host_is_hsm(const char *host);

#endif
