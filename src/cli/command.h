/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_COMMAND_H
#define SKR_CLI_COMMAND_H

#include "cli/terminal.h"

#include "config/config.h"

#include <stdlib.h>

/* What commands hold to the end of a scope. */
#define auto_config __attribute__((cleanup(free_config))) struct config
#define auto_text   __attribute__((cleanup(free_text))) char
static inline void free_config(struct config **config)
{
	config_free(*config);
}
static inline void free_text(char **text)
{
	free(*text);
}

enum exit_code { EXIT_GOOD = 0, EXIT_BAD = 1, EXIT_USAGE = 2 };

/*
 * One thing that skr-pkcs11 does. `run` gets the arguments behind the command's words and writes results to t->out,
 * what went wrong to t->err.
 */
struct command {
	const char *words;     /* "config check" */
	const char *arguments; /* "[FILE]" */
	const char *summary;   /* one line */
	enum exit_code (*run)(struct terminal *t, int argc, char **argv);
	const char *help; /* what `skr-pkcs11 WORDS --help` says below usage and summary: options, an example */
};
extern const struct command commands[]; /* ends with NULL words */

enum exit_code config_check(struct terminal *t, int argc, char **argv);
enum exit_code config_settings_list(struct terminal *t, int argc, char **argv);
enum exit_code tokens_show(struct terminal *t, int argc, char **argv);
enum exit_code attest(struct terminal *t, int argc, char **argv);
enum exit_code doctor(struct terminal *t, int argc, char **argv);
enum exit_code print_config(struct terminal *t, int argc, char **argv);
enum exit_code csr(struct terminal *t, int argc, char **argv);
enum exit_code cert(struct terminal *t, int argc, char **argv);
enum exit_code policy_explain_run(struct terminal *t, int argc, char **argv);
enum exit_code policy_generate_run(struct terminal *t, int argc, char **argv);
enum exit_code policy_diff(struct terminal *t, int argc, char **argv);
enum exit_code status_show(struct terminal *t, int argc, char **argv);
enum exit_code audit_verify(struct terminal *t, int argc, char **argv);

/* Each stands beside the options that it explains. */
extern const char print_config_help[], csr_help[], cert_help[];
extern const char config_check_help[], config_settings_help[], tokens_help[], attest_help[], doctor_help[];
extern const char status_help[], audit_verify_help[];
extern const char policy_explain_help[], policy_generate_help[], policy_diff_help[];

/*
 * Finds the command that the arguments (without the program's name) begin with and runs it, or prints its help where
 * --help is among them; --help and --version too.
 */
enum exit_code command_run(struct terminal *t, int argc, char **argv);

/* "skr-pkcs11 WORDS: PROBLEM" and where to read on; EXIT_USAGE. */
enum exit_code command_misused(struct terminal *t, const struct command *command, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The configuration that a command works with: `given` by --config (NULL: what programs would read). As config_read. */
skr_status command_config(const char *given, struct config **ret) MUST_CHECK;

/* The row of a command by its words, for its own messages. */
const struct command *command_find(const char *words);

#endif
