/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_ARGUMENTS_H
#define SKR_CLI_ARGUMENTS_H

#include "cli/command.h"

/* Values of an option that may be repeated. */
#define ARGUMENT_VALUES_MAX 64
struct argument_values {
	const char *text[ARGUMENT_VALUES_MAX];
	size_t count;
};

/*
 * One thing that a command may be given, and where it goes: exactly one of value, flag, values. "--name VALUE" and
 * "--name=VALUE" are the same; a value that begins with -- needs the second. Rows with an empty name take the words
 * without dashes, in their order.
 */
struct argument {
	const char *name; /* "--output"; "": a word; NULL ends the table */
	const char **value;
	bool *flag;
	struct argument_values *values;
};

/* EXIT_GOOD, or EXIT_USAGE after the command (by its words) has said what is not understood. */
enum exit_code arguments_read(struct terminal *t, const char *command, int argc, char **argv,
                              const struct argument *known);

#endif
