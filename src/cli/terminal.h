/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_TERMINAL_H
#define SKR_CLI_TERMINAL_H

#include "base/json.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Where a command writes. Colour repeats what the words say, and is used on a terminal only. */
struct terminal {
	FILE *out, *err;
	bool colour; /* of out */
	bool live;   /* out is a terminal: a line in progress may be rewritten */
	bool begun;  /* something was printed: the next heading keeps its distance */
};

/* For the standard streams: colour only on a terminal, and not where NO_COLOR is set or TERM is dumb. */
struct terminal terminal_standard(void);

/* Text as it is, but what services and files supply must not steer a terminal: control characters become "?". */
void terminal_print(FILE *out, const char *text);

/* A note is worth knowing, a warning worth acting on; neither stops a login. */
enum verdict { VERDICT_GOOD, VERDICT_NOTE, VERDICT_WARNING, VERDICT_BAD };

/* "ok", "note", "WARN", "FAILED". */
const char *verdict_word(enum verdict verdict);

/*
 * One line of a list of checks: "  ok    NAME   12 ms  detail". `ms` below 0: no time. Detail may be empty; bytes that
 * are not printable are replaced.
 */
void terminal_check(struct terminal *t, enum verdict verdict, const char *name, int64_t ms, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/*
 * On a terminal, once `name` takes longer than half a second, that it is under way; the next terminal_check or
 * terminal_waited takes its place. Nothing otherwise. A thread does it: nobody else may write to t->out meanwhile.
 */
void terminal_waiting(struct terminal *t, const char *name);
void terminal_waited(struct terminal *t);

/* Lines indented below a check. */
void terminal_below(struct terminal *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "try: COMMAND" below a check, never folded: it is there to be copied. */
void terminal_command(struct terminal *t, const char *command);

/* Number, sentence of the row, what was seen, hint: three lines below a check. */
void terminal_failure(struct terminal *t, const struct status_record *record);

/* The same as {"number","sentence","step","host","http","service_code","request_id","seen","what_to_do"}; owned. */
json *terminal_failure_json(const struct status_record *record);

/* A heading on a line of its own, after an empty line unless it is the first. */
void terminal_heading(struct terminal *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same three lines on t->err, not indented, for commands that say nothing but this. */
void terminal_error(struct terminal *t, const struct status_record *record);

/* One document, on a line of its own, for `--json`. False without memory. */
bool terminal_json(struct terminal *t, const json *document);

#endif
