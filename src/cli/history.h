/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_HISTORY_H
#define SKR_CLI_HISTORY_H

#include "config/config.h"

#include <time.h>

/* What the audit trail tells of the keys and tokens of a configuration. Times are seconds since 1970; 0: never. */
#define HISTORY_FAILURES 600 /* SKR-numbers are smaller */

struct key_history {
	const struct key_config *config; /* borrowed */
	char version[65];                /* of the last release; empty: none is on record */
	char public_key_sha256[65];
	time_t released;  /* the last time */
	time_t since;     /* the first release of this version that is on record */
	unsigned changes; /* how often the version changed */
};

struct token_history {
	const struct token_config *config; /* borrowed */
	unsigned released, kept, failed;   /* logins: with a release, with keys that were there, without success */
	unsigned security, erased;         /* security events; keys erased, by logouts or by age */
	unsigned failures[HISTORY_FAILURES];
	time_t last_failures[HISTORY_FAILURES];
	time_t last_good, last_bad;
	int last_failure;
	int64_t last_ms; /* that the last release took */
	struct key_history keys[CONFIG_KEYS_MAX];
	size_t key_count;
};

struct history {
	struct token_history *tokens; /* owned; as many as the configuration has, in its order */
	size_t token_count;
	size_t lines, unread; /* of the trail; those that are no record */
	time_t from, to;
};
#define auto_history __attribute__((cleanup(history_done))) struct history
void history_done(struct history *history); /* takes an all-zero one */

/* Nothing known yet. `config` must outlive it. SKR-014. */
skr_status history_open(const struct config *config, struct history *ret) MUST_CHECK;

/* Adds a file, older ones first; "-" is the standard input. As trail_read. Tokens and keys that the configuration does
 * not have are passed over. */
skr_status history_read(struct history *history, const char *path) MUST_CHECK;

#endif
