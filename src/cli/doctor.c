/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 doctor`: what a login needs, looked at one by one, and then the login itself, with its own code. */
#include "cli/doctor.h"

#include "cli/arguments.h"

#include <stdarg.h>
#include <string.h>

const char doctor_help[] =
    "Goes the way of a login and says of each step how long it took and what was found: configuration, files, memory,\n"
    "the machine's devices; then the login itself, by the agent that programs would use and with the module's own\n"
    "code: transport key, agent, evidence, attestation, identity, release, verification, unwrapping, one signature\n"
    "with each key. Behind that, by this user's own rights: clock, debugging, each key and its release policy in the\n"
    "vault, certificates. Where a step fails: number, what happened, what to do, the command that does it; and the\n"
    "checks that are still possible. The released keys are wiped at once, nothing secret is printed.\n"
    "\n"
    "  TOKEN          of the configuration; default: all, one after the other\n"
    "  --config FILE  in place of SKR_PKCS11_CONF, else " CONFIG_PATH_DEFAULT "\n"
    "  --json         one document: exit, failed, warnings, checks (token, name, verdict, ms, found, failure, fix)\n"
    "\n"
    "Marks: ok; note, worth knowing; WARN, works and should not stay so; FAILED, a login would not work, or a program\n"
    "would not work with the key.\n"
    "\n"
    "Run it as the user that the program runs as: a check that this user has no rights for is a note, and says which.\n"
    "\n"
    "Exit status: 0 nothing FAILED (warnings change nothing: --json counts them), 1 something FAILED, 2 the command "
    "or\n"
    "the configuration was not understood.\n"
    "\n"
    "Example, why nginx has no key:\n"
    "  sudo -u www-data skr-pkcs11 doctor web";

/* ---- findings ---- */

static json *add_check(struct visit *v, enum verdict verdict, const char *name, int64_t ms)
{
	static const char *const words[] = {
	    [VERDICT_GOOD] = "ok", [VERDICT_NOTE] = "note", [VERDICT_WARNING] = "warning", [VERDICT_BAD] = "failed"};
	json *check = json_object();

	if (v->token)
		json_set_string(check, "token", v->token->label);
	json_set_string(check, "name", name);
	json_set_string(check, "verdict", words[verdict]);
	if (ms >= 0)
		json_set_number(check, "ms", ms);
	json_push(v->checks, check);
	return check;
}

static void count(struct visit *v, enum verdict verdict)
{
	v->failed += verdict == VERDICT_BAD;
	v->warned += verdict == VERDICT_WARNING;
}

static void show(struct visit *v, enum verdict verdict, const char *name, int64_t ms, const char *found)
{
	count(v, verdict);
	if (!v->checks) {
		terminal_check(v->t, verdict, name, ms, "%s", found);
		return;
	}
	json *check = add_check(v, verdict, name, ms);
	if (*found)
		json_set_string(check, "found", found);
	v->last = check;
}

static void show_fix(struct visit *v, const char *fix)
{
	if (!fix || !*fix)
		return;
	if (v->checks)
		json_set_string(v->last, "fix", fix);
	else
		terminal_command(v->t, fix);
}

void visit_found(struct visit *v, enum verdict verdict, const char *name, const char *fix, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	show(v, verdict, name, -1, text);
	show_fix(v, fix);
}

void visit_timed(struct visit *v, enum verdict verdict, const char *name, int64_t ms, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	show(v, verdict, name, ms, text);
}

void visit_failed(struct visit *v, enum verdict verdict, const char *name, int64_t ms,
                  const struct status_record *record, const char *fix)
{
	show(v, verdict, name, ms, "");
	if (verdict == VERDICT_BAD)
		v->last_failure = record->failure;
	if (v->checks)
		json_set(v->last, "failure", terminal_failure_json(record));
	else
		terminal_failure(v->t, record);
	show_fix(v, fix);
}

void visit_waiting(struct visit *v, const char *name)
{
	if (!v->checks)
		terminal_waiting(v->t, name);
}

void visit_heading(struct visit *v, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (!v->checks)
		terminal_heading(v->t, "%s", text);
}

void visit_more(struct visit *v, const char *name, const char *value)
{
	if (v->checks)
		json_set_string(v->last, name, value);
	else
		terminal_below(v->t, "%s=%s", name, value);
}

/* ---- the visit ---- */

/* What has no configuration yet: file and first mistake are in the sentence. */
static void show_early_failure(struct visit *v, const char *name)
{
	const struct status_record record = *status_last();
	const struct ailment ailment = {.config = NULL};
	char fix[512];

	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(v, VERDICT_BAD, name, -1, &record, fix);
}

/* Arena and libcrypto as a login needs them; before anything else allocates by libcrypto. */
static bool prepare_memory(struct visit *v)
{
	skr_status status = arena_open(ARENA_LOCK_AUTO);

	if (!status.failure)
		status = ossl_open();
	if (status.failure)
		show_early_failure(v, "memory");
	return !status.failure;
}

static void visit_token(struct visit *v, const struct token_config *token)
{
	auto_outcome outcome = {.failure = 0};

	v->token = token;
	visit_heading(v, "token %s", token->label);
	doctor_token_files(v);
	if (v->surroundings_failure) {
		outcome.failure = v->surroundings_failure;
		visit_found(v, VERDICT_NOTE, "login", NULL, "no login was tried: put right what FAILED first");
	} else {
		doctor_login(v, &outcome);
	}
	doctor_beyond(v, &outcome);
	v->token = NULL;
}

static void visit_tokens(struct visit *v, const char *label)
{
	const struct config *config = v->config;

	for (size_t i = 0; i < config->token_count; i++)
		if (!label || strcmp(label, config->tokens[i].label) == 0)
			visit_token(v, &config->tokens[i]);
}

static enum exit_code look_around(struct visit *v, const char *label)
{
	const struct config *config = v->config;

	visit_found(v, VERDICT_GOOD, "configuration", NULL, "%s", config->path);
	if (label && !config_token(config, label)) {
		visit_found(v, VERDICT_BAD, "token", "skr-pkcs11 config check    # lists them", "%s is not in %s",
		            label, config->path);
		return EXIT_USAGE;
	}
	if (config->token_count == 0)
		visit_found(v, VERDICT_WARNING, "tokens", NULL, "none: every line of the configuration is a comment?");
	doctor_surroundings(v);
	if (v->failed)
		v->surroundings_failure = v->last_failure;
	doctor_machine(v);
	release_capture_environment(config->path);
	visit_tokens(v, label);
	return v->failed ? EXIT_BAD : EXIT_GOOD;
}

static enum exit_code visit(struct visit *v, const char *path, const char *label)
{
	auto_config *config = NULL;

	bool memory = prepare_memory(v);
	if (command_config(path, &config).failure) {
		show_early_failure(v, "configuration");
		return EXIT_USAGE;
	}
	if (!memory)
		return EXIT_BAD;
	v->config = config;
	return look_around(v, label);
}

static bool print_document(struct visit *v, enum exit_code code)
{
	auto_json *document = json_object();

	json_set_number(document, "exit", code);
	json_set_number(document, "failed", v->failed);
	json_set_number(document, "warnings", v->warned);
	json_set(document, "checks", TAKE(v->checks));
	return terminal_json(v->t, document);
}

enum exit_code doctor(struct terminal *t, int argc, char **argv)
{
	const char *path = NULL, *label = NULL;
	bool document = false;
	const struct argument known[] = {
	    {.name = "--config", .value = &path},
	    {.name = "--json", .flag = &document},
	    {.name = "", .value = &label},
	    {.name = NULL},
	};

	if (arguments_read(t, "doctor", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	struct visit v = {.t = t, .checks = document ? json_array() : NULL};
	enum exit_code code = visit(&v, path, label);
	if (document && !print_document(&v, code))
		return EXIT_BAD;
	if (!document)
		terminal_heading(t, "%d failed, %d warning%s", v.failed, v.warned, v.warned == 1 ? "" : "s");
	return code;
}
