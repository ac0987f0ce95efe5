/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_TRAIL_H
#define SKR_CLI_TRAIL_H

#include "base/audit_chain.h"

/* One line of an audit file, as it stands there. */
struct trail_line {
	const char *path;
	size_t number;    /* in its file, from 1 */
	const char *text; /* borrowed; without the newline */
	size_t len;
	bool whole;         /* it ends as lines do, and is no longer than one may be */
	const json *record; /* borrowed; NULL: it is no JSON object */
};

/* False: no further line is wanted. */
typedef bool trail_line_fn(const struct trail_line *line, void *with);

/*
 * Hands every line of the file to `take`, in order; "-" is the standard input. SKR-001, 002 as file_read says, a folder
 * among them. OK too where `take` wanted no more.
 */
skr_status trail_read(const char *path, trail_line_fn *take, void *with) MUST_CHECK;

#endif
