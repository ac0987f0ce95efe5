/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_STATUS_H
#define SKR_CLI_STATUS_H

#include "cli/history.h"

#include "base/ossl.h"

/* A certificate of the configuration: the first of its file. */
struct certificate_status {
	const char *path; /* borrowed from the configuration */
	X509 *certificate;
	char subject[160];
	char public_key_sha256[65];
	struct status_record failure; /* of a file that cannot be read; then there is nothing else */
};

/* One token as trail and files tell of it. */
struct token_status {
	const struct token_history *history;
	struct certificate_status certificates[CONFIG_PATHS_MAX];
	size_t certificate_count;
};

/* The key whose last release on record has the certificate's public key; NULL: none. */
const struct key_history *status_key_of(const struct token_status *token, const struct certificate_status *certificate);

/* Seconds since 1970. */
time_t status_expiry(const struct certificate_status *certificate);

/*
 * Metrics in the text format of Prometheus (exposition format 0.0.4), appended to `out`: what node_exporter's textfile
 * collector takes. Times are points in time, so that a file that is no longer renewed grows old visibly.
 */
skr_status metrics_print(const struct history *history, const struct token_status *tokens, size_t count, time_t now,
                         struct buf *out) MUST_CHECK;

#endif
