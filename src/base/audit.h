/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_AUDIT_H
#define SKR_BASE_AUDIT_H

#include "base/json.h"

/*
 * The audit trail (threat model section 11): one JSON object per line, one write per line, appended. The file is opened
 * for each line (O_APPEND|O_CREAT|O_NOFOLLOW|O_CLOEXEC, mode 0600) and closed again, so that no descriptor of ours
 * lives in the host and a rotated file is followed. Never in a record: tokens, assertions, PINs, evidence, key bytes,
 * plaintext, signatures, raw answers.
 */

/*
 * Starts a record: time (UTC, RFC 3339), monotonic (ms), pid, uid and the event's name. NULL without memory, which
 * audit_write reports. Owned by the caller until audit_write takes it.
 */
json *audit_record(const char *event);

/*
 * Appends `record` to `path` and frees it. A NULL path means that nobody keeps a trail: OK. Fails with `failure` (17 or
 * 18) and what the system said: no space, no permission, a line written in part.
 */
skr_status audit_write(const char *path, json *record, int failure) MUST_CHECK;

/*
 * The same where a lost record stops nothing: counts what was dropped, logs SKR-017 at most once a minute with the
 * count, and leaves this thread's failure record alone.
 */
void audit_note(const char *path, json *record);

#endif
