/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/arguments.h"

#include <string.h>

static const struct argument *find_option(const struct argument *known, const char *word, size_t len)
{
	for (; known->name; known++)
		if (strlen(known->name) == len && memcmp(known->name, word, len) == 0)
			return known;
	return NULL;
}

/* The first row for a word that has not got one, or takes many. */
static const struct argument *find_free_word(const struct argument *known)
{
	for (; known->name; known++)
		if (!known->name[0] && (known->values || !*known->value))
			return known;
	return NULL;
}

/* False: it was given before, and may not be twice. */
static bool keep_value(const struct argument *argument, const char *value)
{
	if (argument->values) {
		if (argument->values->count == ARGUMENT_VALUES_MAX)
			return false;
		argument->values->text[argument->values->count++] = value;
		return true;
	}
	if (*argument->value)
		return false;
	*argument->value = value;
	return true;
}

static enum exit_code read_option(struct terminal *t, const char *command, int *at, int argc, char **argv,
                                  const struct argument *known)
{
	const char *word = argv[*at];
	size_t len = strcspn(word, "=");
	const struct argument *argument = find_option(known, word, len);

	if (!argument)
		return command_misused(t, command_find(command), "\"%s\" is not understood", word);
	if (argument->flag) {
		if (word[len] == '=')
			return command_misused(t, command_find(command), "%s takes no value", argument->name);
		*argument->flag = true;
		return EXIT_GOOD;
	}
	const char *value = word[len] == '=' ? word + len + 1 : *at + 1 < argc ? argv[++*at] : NULL;
	/* What looks like the next option is one: its value was forgotten. */
	if (!value || !*value || (word[len] != '=' && strncmp(value, "--", 2) == 0))
		return command_misused(t, command_find(command), "%s needs a value", argument->name);
	if (!keep_value(argument, value))
		return command_misused(t, command_find(command), "%s is given too often", argument->name);
	return EXIT_GOOD;
}

enum exit_code arguments_read(struct terminal *t, const char *command, int argc, char **argv,
                              const struct argument *known)
{
	for (int i = 0; i < argc; i++) {
		if (argv[i][0] == '-' && argv[i][1]) {
			if (read_option(t, command, &i, argc, argv, known) != EXIT_GOOD)
				return EXIT_USAGE;
			continue;
		}
		const struct argument *word = find_free_word(known);
		if (!word || !keep_value(word, argv[i]))
			return command_misused(t, command_find(command), "\"%s\" is one word too many", argv[i]);
	}
	return EXIT_GOOD;
}
