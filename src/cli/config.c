/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include "config/config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char config_check_help[] =
    "Reads FILE, or the configuration that programs would read, exactly as the module does, and names the first\n"
    "mistake with file, line and setting. Nothing is asked of anybody: skr-pkcs11 doctor does that.\n"
    "\n"
    "  FILE    default: SKR_PKCS11_CONF, else " CONFIG_PATH_DEFAULT "\n"
    "\n"
    "Exit status: 0 it is good, 1 it is not.\n"
    "\n"
    "Example, before a new file is put in place:\n"
    "  skr-pkcs11 config check ./new.conf";

const char config_settings_help[] = "Prints each setting as it would be written, with its default, and what it means.\n"
                                    "\n"
                                    "Example:\n"
                                    "  skr-pkcs11 config settings | grep -A1 '^identity'";

/* The file to check: as given, made absolute, since what programs read is always absolute; else what they would read.
 */
static skr_status chosen_path(const char *given, char **ret)
{
	char folder[PATH_MAX], *path = NULL;

	if (!given)
		return config_path(NULL, ret);
	if (given[0] == '/')
		path = strdup(given);
	else if (!getcwd(folder, sizeof(folder)) || asprintf(&path, "%s/%s", folder, given) < 0)
		path = NULL;
	if (!path)
		return FAIL(14, "a path");
	*ret = path;
	return OK;
}

skr_status command_config(const char *given, struct config **ret)
{
	auto_text *path = NULL;

	TRY(chosen_path(given, &path));
	return config_read(path, ret);
}

static void print_token(struct terminal *t, const struct token_config *token)
{
	fprintf(t->out, "\ntoken %s\n  attestation  %s\n", token->label, token->attestation);
	for (size_t i = 0; i < token->key_count; i++) {
		const struct key_config *key = &token->keys[i];
		fprintf(t->out, "  key          %s%s%s%s\n", key->url, strcmp(key->label, key->name) ? "  label " : "",
		        strcmp(key->label, key->name) ? key->label : "", key->pinned ? "  public key pinned" : "");
	}
	for (size_t i = 0; i < token->certificate_count; i++)
		fprintf(t->out, "  certificate  %s\n", token->certificates[i]);
	for (size_t i = 0; i < token->public_key_count; i++)
		fprintf(t->out, "  public key   %s\n", token->public_keys[i]);
}

enum exit_code config_check(struct terminal *t, int argc, char **argv)
{
	auto_text *path = NULL;
	auto_config *config = NULL;

	if (argc > 1 || (argc == 1 && argv[0][0] == '-'))
		return command_misused(t, command_find("config check"), "one file at most");
	if (chosen_path(argc == 1 ? argv[0] : NULL, &path).failure || config_read(path, &config).failure) {
		terminal_error(t, status_last());
		return EXIT_BAD;
	}

	size_t keys = 0;
	for (size_t i = 0; i < config->token_count; i++)
		keys += config->tokens[i].key_count;
	fprintf(t->out, "%s is good: %zu token%s, %zu key%s\n", path, config->token_count,
	        config->token_count == 1 ? "" : "s", keys, keys == 1 ? "" : "s");
	for (size_t i = 0; i < config->token_count; i++)
		print_token(t, &config->tokens[i]);
	return EXIT_GOOD;
}

enum exit_code config_settings_list(struct terminal *t, int argc, char **argv)
{
	const char *section = "";

	(void)argv;
	if (argc > 0)
		return command_misused(t, command_find("config settings"), "no arguments");
	for (const struct setting *s = config_settings; s->name; s++) {
		if (strcmp(section, s->section) != 0)
			fprintf(t->out, "%s[%s]\n", *section ? "\n" : "",
			        strcmp(s->section, "token") == 0 ? "token LABEL" : s->section);
		section = s->section;
		fprintf(t->out, "%s = %s\n    %s%s\n", s->name, s->fallback ? s->fallback : "", s->meaning,
		        s->repeats ? " May be repeated." : "");
	}
	return EXIT_GOOD;
}
