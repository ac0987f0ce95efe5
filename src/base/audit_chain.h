/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_AUDIT_CHAIN_H
#define SKR_BASE_AUDIT_CHAIN_H

#include "base/json.h"

/*
 * An audit file whose lines are linked: each has `seq`, the number of the line, and `prev`, the SHA-256 of the line
 * before it (its bytes without the newline, in hexadecimal). A line that is changed, taken out, put in or moved no
 * longer fits its neighbour. What the chain cannot show: that lines are missing at the end, or that all was written
 * anew by somebody who may write the file. For both, the hash of the last line (the head) has to be kept elsewhere.
 *
 * Several processes write one file: from reading the last line to writing the next the file is locked (an open file
 * description lock, which no close elsewhere in the program drops).
 */
#define AUDIT_LINE_LIMIT   (128 * 1024)
#define AUDIT_MEMBERS      2048 /* of one line: keys, steps, what the agent told */
#define AUDIT_LOCK_WAIT_MS 100
#define AUDIT_HASH_SIZE    65 /* as text */

struct audit_link {
	int64_t seq;
	char prev[AUDIT_HASH_SIZE]; /* "0…0": there was no line before */
};

/* The link in a record. False: it has none, or one that is no link. */
bool audit_link_read(const json *record, struct audit_link *ret);

/* SHA-256 of a line without its newline, in hexadecimal. */
skr_status audit_line_hash(const void *line, size_t len, char ret_hash[AUDIT_HASH_SIZE]) MUST_CHECK;

/*
 * Links `record` to the last line of `path` and appends it. A new file is linked to the last line of PATH.1, where
 * logrotate leaves the old one. After a line that is not chained the numbers begin at 1 again, which
 * `skr-pkcs11 audit verify` reports.
 *
 * Fails with `failure`: as the system says, or after AUDIT_LOCK_WAIT_MS of waiting for the lock. A line written in part
 * is taken back.
 */
skr_status audit_chain_append(const char *path, json *record, int failure) MUST_CHECK;

#endif
