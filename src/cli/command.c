/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdarg.h>
#include <string.h>

const struct command commands[] = {
    {"config check", "[FILE]", "read a configuration and say what is wrong with it", config_check, config_check_help},
    {"config settings", "", "list every setting with its default and meaning", config_settings_list,
     config_settings_help},
    {"tokens", "[--module FILE] [--login]", "show tokens and objects as programs see them, with their URIs",
     tokens_show, tokens_help},
    {"attest", "[--config FILE] [--direct] [--no-service] [--json | --token] [TOKEN]",
     "show what the hardware and the attestation service say of this machine", attest, attest_help},
    {"doctor", "[--config FILE] [--json] [TOKEN]", "make a login step by step and say what to do where it fails",
     doctor, doctor_help},
    {"policy explain", "(--policy FILE | --key URL) [--token FILE] [--config FILE] [TOKEN]",
     "hold a release policy against claims and name what is not met", policy_explain_run, policy_explain_help},
    {"policy generate",
     "[--strictness LIST] [--token FILE] [--output FILE [--commands]] [--quiet] [--config FILE] [TOKEN]",
     "write a release policy that this machine satisfies", policy_generate_run, policy_generate_help},
    {"policy diff", "OLD NEW", "compare what two release policies ask for", policy_diff, policy_diff_help},
    {"print-config",
     "CONSUMER [TOKEN] [--key LABEL] [--engine | --provider] [--certificate FILE] [--key-file FILE] [--module FILE]",
     "print the lines that make a program use a key", print_config, print_config_help},
    {"csr", "[TOKEN] [--key LABEL] --subject NAME [--san LIST] [--digest NAME] [--pss] [--output FILE] [--module FILE]",
     "make a certificate request, signed by a key of the token", csr, csr_help},
    {"cert", "[TOKEN] [--login] [--export LABEL [--chain] [--output FILE]] [--module FILE]",
     "show which certificate belongs to which key, and export chains", cert, cert_help},
    {"status", "[--audit FILE]... [--json | --prometheus FILE] [--config FILE] [TOKEN]",
     "show keys, logins, failures and certificates, without a login", status_show, status_help},
    {"audit verify", "[--head HASH] FILE...", "check the links of a chained audit trail", audit_verify,
     audit_verify_help},
    {NULL, NULL, NULL, NULL, NULL},
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
	for (const struct command *c = commands; c->words; c++)
		fprintf(out, "  %-18s %s\n", c->words, c->summary);
	fputs("\n  COMMAND --help     what it takes and prints, with an example\n"
	      "  --help             this text\n"
	      "  --version          the version of this program\n\n"
	      "Exit status: 0 all is well, 1 something is wrong, 2 the command was not understood.\n"
	      "Manual: skr-pkcs11(1), skr-pkcs11.conf(5), skr-pkcs11(7), skr-agent(8).\n",
	      out);
	return EXIT_GOOD;
}

static enum exit_code print_command_help(FILE *out, const struct command *command)
{
	fprintf(out, "usage: skr-pkcs11 %s%s%s\n\n%s\n", command->words, *command->arguments ? " " : "",
	        command->arguments, command->help);
	return EXIT_GOOD;
}

/* The commands whose first word is `word` and not their only one; how many there are. */
static int print_family(FILE *out, const char *word)
{
	size_t len = strlen(word);
	int count = 0;

	for (const struct command *c = commands; c->words; c++)
		if (strncmp(c->words, word, len) == 0 && c->words[len] == ' ' && ++count)
			fprintf(out, "  %-18s %s\n", c->words, c->summary);
	return count;
}

/* `skr-pkcs11 policy` alone is half a command, with --help a question. */
static enum exit_code first_word_alone(struct terminal *t, const char *word, bool help)
{
	if (print_family(help ? t->out : t->err, word) == 0)
		return command_misused(t, NULL, "no command \"%s\"", word);
	fputs("\nskr-pkcs11 COMMAND --help says what each takes\n", help ? t->out : t->err);
	return help ? EXIT_GOOD : EXIT_USAGE;
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 0; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

enum exit_code command_misused(struct terminal *t, const struct command *command, const char *format, ...)
{
	va_list args;

	fprintf(t->err, "skr-pkcs11%s%s: ", command ? " " : "", command ? command->words : "");
	va_start(args, format);
	vfprintf(t->err, format, args);
	va_end(args);
	if (command)
		fprintf(t->err, "\nusage: skr-pkcs11 %s%s%s\n", command->words, *command->arguments ? " " : "",
		        command->arguments);
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
		if (words && wants_help(argc - words, argv + words))
			return print_command_help(t->out, c);
		if (words)
			return c->run(t, argc - words, argv + words);
	}
	if (argc == 1 || (argc == 2 && wants_help(1, argv + 1)))
		return first_word_alone(t, argv[0], argc > 1);
	return command_misused(t, NULL, "no command \"%s%s%s\"", argv[0], argc > 1 ? " " : "", argc > 1 ? argv[1] : "");
}
