/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_PIN_H
#define SKR_TOKEN_PIN_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Wrong PINs of one token in this process: five free, then a wait that doubles from 1 s to 300 s (threat model section
 * 7). */
struct pin_guard {
	int wrong;            /* in a row */
	int64_t locked_until; /* monotonic ms */
};

/*
 * Compares a PIN with "scrypt:N:r:p:SALT:HASH" (salt and hash base64url), in constant time. A right one clears the
 * guard. SKR-410 a wrong one, SKR-412 nothing was compared because the guard is locked, SKR-004 the text is not as
 * described.
 */
skr_status pin_check(const char *pin_hash, const void *pin, size_t len, struct pin_guard *guard) MUST_CHECK;

#endif
