/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_AUDIT_H
#define SKR_BASE_AUDIT_H

#include "base/json.h"

/*
 * The audit trail (threat model section 11): one JSON object per line, to a file, syslog or journald. Never in a
 * record: tokens, assertions, PINs, evidence, key bytes, plaintext, signatures, raw answers.
 *
 * The file is opened for each line (O_APPEND|O_CREAT|O_NOFOLLOW|O_CLOEXEC, mode 0600), gets it in one write, and is
 * closed again, so that no descriptor of ours lives in the host and a rotated file is followed. base/audit_chain.h says
 * what a chained file is, base/audit_socket.h how the other two are reached.
 */
enum audit_to { AUDIT_TO_FILE, AUDIT_TO_SYSLOG, AUDIT_TO_JOURNALD };

struct audit_trail {
	enum audit_to to;
	const char *file;   /* NULL: nobody keeps a trail in a file */
	const char *socket; /* of syslog or journald */
	bool chained;       /* the file's lines are linked by their hashes */
};

/*
 * Starts a record: time (UTC, RFC 3339), monotonic (ms), pid, uid, the program's name and the event's. NULL without
 * memory, which audit_write reports. Owned by the caller until audit_write takes it.
 */
json *audit_record(const char *event);

/* True if what is written goes somewhere. */
bool audit_is_kept(const struct audit_trail *trail);

/*
 * Adds `record` to the trail and frees it. Fails with `failure` (17 or 18) and what the system said: no space, no
 * permission, a line written in part, nobody at the socket, a wait of more than 100 ms for either. There is no second
 * place that it would go to instead. OK without a trail.
 */
skr_status audit_write(const struct audit_trail *trail, json *record, int failure) MUST_CHECK;

/*
 * The same where a lost record stops nothing: counts what was dropped, logs SKR-017 at most once a minute with the
 * count, and leaves this thread's failure record alone.
 */
void audit_note(const struct audit_trail *trail, json *record);

#endif
