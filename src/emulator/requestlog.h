/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_REQUESTLOG_H
#define SKR_EMULATOR_REQUESTLOG_H

#include "emulator/exchange.h"

/*
 * DIR/requests.jsonl: one line per request, for people and for the oracle of tests. Time, service, op, method, host,
 * path, status, fault, audience of the bearer, ms. Never a token, a secret or a body. Opening begins the file anew.
 */
skr_status requestlog_open(struct emulator *e) MUST_CHECK;
void requestlog_close(struct emulator *e);
void requestlog_add(struct emulator *e, const struct exchange *x, int64_t ms);
/* The lines so far as a JSON array, appended. */
skr_status requestlog_read(struct emulator *e, struct buf *out) MUST_CHECK;
/* Forgets them, in the file too. */
skr_status requestlog_clear(struct emulator *e) MUST_CHECK;

#endif
