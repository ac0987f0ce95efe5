/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_SIDECAR_H
#define SKR_EMULATOR_SIDECAR_H

#include "emulator/dispatch.h"

/*
 * Microsoft's SKR sidecar as a program of the played container group: it asks the played hardware, the metadata
 * service, attestation and vault as any program there does, by requests from within (dispatch_inner). What is not
 * good enough for them is not good enough here.
 */

/* One request's errand: what went wrong stands in `why`, in the way that Go's errors nest. */
struct errand {
	struct emulator *e;
	struct buf why;
};
#define auto_errand __attribute__((cleanup(errand_done))) struct errand
static inline void errand_done(struct errand *errand)
{
	buf_done(&errand->why);
}

/* SKR-161 with these words, which are `why` then. */
skr_status sidecar_fail(struct errand *errand, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* After a failure: "FORMAT: " before the words; after none: nothing. Returns `status`. */
skr_status sidecar_wrap(struct errand *errand, skr_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4))) MUST_CHECK;

/* The JSON of a good answer, owned by the caller. `wanted`: the service that the authority must lead to. */
skr_status sidecar_ask(struct errand *errand, const struct inner_request *request, enum service wanted,
                       json **ret) MUST_CHECK;

/* An attestation token of `endpoint` (HOST or HOST:PORT) for this machine and `runtime`, appended. */
skr_status sidecar_attest(struct errand *errand, const char *endpoint, const struct buf *runtime,
                          struct buf *ret_token) MUST_CHECK;

#endif
