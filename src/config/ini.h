/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CONFIG_INI_H
#define SKR_CONFIG_INI_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

#define INI_FILE_LIMIT (64 * 1024)
#define INI_LINE_LIMIT (4 * 1024)

/*
 * One meaningful line. Strings are borrowed and hold only until the callback returns.
 *
 *   [SECTION]        name and value are NULL
 *   NAME = VALUE     section is that of the last [SECTION]
 */
struct ini_line {
	const char *path; /* for messages */
	int number;
	const char *section, *name, *value;
};

typedef skr_status ini_fn(const struct ini_line *line, void *with);

/*
 * Goes over the text once, line by line, and hands every section and setting to `each`, whose failure ends the reading.
 *
 * Strict, because a line that is silently not understood is a setting that silently does not hold: valid UTF-8 without
 * control characters, lines end with LF (CRLF is refused), no continuation lines, no includes, names of [a-z0-9_],
 * values never empty. A comment is a line that starts with # or ;, or what follows white space and one of them behind a
 * value.
 *
 * SKR-003 for more than INI_FILE_LIMIT bytes; SKR-004 "PATH:LINE: …".
 */
skr_status ini_read(const char *path, const char *text, size_t len, ini_fn *each, void *with) MUST_CHECK;

/* FAILs SKR-004 with "PATH:LINE: NAME: …", or "PATH:LINE: [SECTION]: …" for a section line. */
skr_status ini_fail(const struct ini_line *line, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* True if the text is valid UTF-8 (RFC 3629) without control characters other than tab. */
bool ini_text_is_clean(const char *text, size_t len);

#endif
