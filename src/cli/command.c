/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdarg.h>
#include <string.h>

const struct command commands[] = {
    {"config check", "[FILE]", "read a configuration and say what is wrong with it", config_check},
    {"config settings", "", "list every setting with its default and meaning", config_settings_list},
    {"tokens", "[--module FILE] [--login]", "show tokens and objects as programs see them, with their URIs",
     tokens_show},
    {"doctor", "[--config FILE] [TOKEN]", "make a login step by step and say what to do where it fails", doctor},
    {NULL, NULL, NULL, NULL},
};

const struct command *command_find(const char *words)
{
	const struct command *command = commands;

	while (command->words && strcmp(command->words, words) != 0)
		command++;
	return command->words ? command : NULL;
}

static enum exit_code print_help(FILE *out)
{
	fputs("usage: skr-pkcs11 COMMAND\n\n", out);
	for (const struct command *c = commands; c->words; c++) {
		char line[80];
		snprintf(line, sizeof(line), "%s %s", c->words, c->arguments);
		fprintf(out, "  %-34s %s\n", line, c->summary);
	}
	fputs("\n  --help                             this text\n"
	      "  --version                          the version of this program\n\n"
	      "Exit status: 0 all is well, 1 something is wrong, 2 the command was not understood.\n"
	      "Manual: skr-pkcs11(1), skr-pkcs11.conf(5), skr-agent(8).\n",
	      out);
	return EXIT_GOOD;
}

enum exit_code command_misused(struct terminal *t, const struct command *command, const char *format, ...)
{
	va_list args;

	fprintf(t->err, "skr-pkcs11%s%s: ", command ? " " : "", command ? command->words : "");
	va_start(args, format);
	vfprintf(t->err, format, args);
	va_end(args);
	if (command)
		fprintf(t->err, "\nusage: skr-pkcs11 %s %s\n", command->words, command->arguments);
	else
		fputs("\nskr-pkcs11 --help lists the commands\n", t->err);
	return EXIT_USAGE;
}

/* How many arguments the command's words take; 0: it is another command. */
static int count_matching_words(const struct command *command, int argc, char **argv)
{
	const char *rest = command->words;

	for (int i = 0; i < argc; i++) {
		size_t len = strcspn(rest, " ");
		if (strlen(argv[i]) != len || strncmp(argv[i], rest, len) != 0)
			return 0;
		if (rest[len] == '\0')
			return i + 1;
		rest += len + 1;
	}
	return 0;
}

enum exit_code command_run(struct terminal *t, int argc, char **argv)
{
	if (argc == 0) {
		print_help(t->err);
		return EXIT_USAGE;
	}
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0 || strcmp(argv[0], "help") == 0)
		return print_help(t->out);
	if (strcmp(argv[0], "--version") == 0) {
		fprintf(t->out, "skr-pkcs11 %s\n", SKR_VERSION);
		return EXIT_GOOD;
	}
	for (const struct command *c = commands; c->words; c++) {
		int words = count_matching_words(c, argc, argv);
		if (words)
			return c->run(t, argc - words, argv + words);
	}
	return command_misused(t, NULL, "no command \"%s%s%s\"", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
}
