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

/*
 * A request that a program of the played machine makes: route, faults, handler and log are those of any other request,
 * only there is no connection, so faults of connections and bytes do not act. Never from a handler that holds e->lock.
 */
struct inner_request {
	enum service service; /* SERVICE_NONE: by the host, as if over TLS */
	const char *method, *authority, *target;
	const char *bearer; /* NULL: none */
	const char *body;   /* JSON; NULL: none */
};
skr_status dispatch_inner(struct emulator *e, const struct inner_request *request, struct call **ret) MUST_CHECK;
#define auto_call __attribute__((cleanup(call_done))) struct call
static inline void call_done(struct call **call)
{
	call_free(*call);
}

/* True for names that Azure gives a Managed HSM rather than a vault. */
bool host_is_hsm(const char *host);

#endif
