/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 doctor`: what a login needs, looked at one by one, and then the login itself, with its own code. */
#include "cli/command.h"

#include "base/base64.h"
#include "base/file.h"
#include "config/config.h"
#include "jose/jwk.h"
#include "release/release.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char doctor_help[] = "Example:\n  skr-pkcs11 doctor web";

/* One visit: what was found bad is counted, and the visit goes on. */
struct visit {
	struct terminal *t;
	const struct config *config;
	int bad;
	char step[24]; /* of the login, under way */
	int64_t began;
};

static void report(struct visit *v, skr_status status, const char *name, const char *good)
{
	if (!status.failure) {
		terminal_check(v->t, VERDICT_GOOD, name, -1, "%s", good);
		return;
	}
	v->bad++;
	terminal_check(v->t, VERDICT_BAD, name, -1, "%s", "");
	terminal_failure(v->t, status_last());
}

/* ---- surroundings ---- */

static skr_status check_socket(const char *path)
{
	struct stat about;

	if (stat(path, &about) != 0)
		return FAIL(502, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(about.st_mode))
		return FAIL(502, "%s is not a socket", path);
	if (access(path, W_OK) != 0)
		return FAIL(502, "%s: %s (mode %04o, uid %ld, gid %ld)", path, strerror(errno),
		            (unsigned)about.st_mode & 07777, (long)about.st_uid, (long)about.st_gid);
	return OK;
}

static skr_status check_program(const char *path)
{
	if (file_check_trusted(path).failure)
		return FAIL(500, "%s", status_message()[0] ? status_message() : path);
	if (access(path, X_OK) != 0)
		return FAIL(500, "%s: %s", path, strerror(errno));
	return OK;
}

static void check_agent(struct visit *v)
{
	const struct config *config = v->config;

	report(v, config->agent_is_socket ? check_socket(config->agent) : check_program(config->agent), "agent",
	       config->agent);
}

static bool swap_is_active(void)
{
	auto_buf text = BUF(64 * 1024);

	/* The first line is a heading. */
	return !file_read("/proc/swaps", &text).failure && strchr(buf_text(&text), '\n') &&
	       strchr(buf_text(&text), '\n')[1] != '\0';
}

/* 1 MiB and 64 KiB per key (threat model section 6). */
static size_t locked_memory_needed(const struct config *config)
{
	size_t kib = 1024;

	for (size_t i = 0; i < config->token_count; i++)
		kib += 64 * config->tokens[i].key_count;
	return kib;
}

/* Tries it: limits, capabilities and what is locked already all count. */
static bool can_lock(size_t kib)
{
	size_t size = kib * 1024;
	void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (place == MAP_FAILED)
		return false;
	bool locked = mlock(place, size) == 0;
	munmap(place, size);
	return locked;
}

static void check_memory_lock(struct visit *v)
{
	size_t needed = locked_memory_needed(v->config);

	if (v->config->memory_lock == ARENA_LOCK_OFF) {
		terminal_check(v->t, VERDICT_NOTE, "memory lock", -1, "memory_lock = off: keys may reach the swap");
		return;
	}
	if (can_lock(needed)) {
		terminal_check(v->t, VERDICT_GOOD, "memory lock", -1, "%zu KiB can be locked", needed);
		return;
	}
	bool swap = swap_is_active(), bad = swap || v->config->memory_lock == ARENA_LOCK_REQUIRE;
	terminal_check(v->t, bad ? VERDICT_BAD : VERDICT_NOTE, "memory lock", -1,
	               "%zu KiB cannot be locked, swap is %s", needed, swap ? "active" : "not active");
	terminal_below(v->t, "SKR-%03d what to do: %s", bad ? 11 : 10, failure_row(bad ? 11 : 10)->hint);
	v->bad += bad;
}

static void check_readable(struct visit *v, const char *setting, const char *path, size_t limit)
{
	auto_buf content = BUF(limit);

	if (path)
		report(v, file_read(path, &content), setting, path);
}

static void check_directory(struct visit *v, const char *setting, const char *path)
{
	struct stat about;
	skr_status status = OK;

	if (!path)
		return;
	if (stat(path, &about) != 0 || !S_ISDIR(about.st_mode) || access(path, W_OK | X_OK) != 0) {
		terminal_check(v->t, VERDICT_NOTE, setting, -1,
		               "%s cannot be used: logins of several processes are not kept apart", path);
		return;
	}
	report(v, status, setting, path);
}

static void check_token_files(struct visit *v, const struct token_config *token)
{
	for (size_t i = 0; i < token->certificate_count; i++)
		check_readable(v, "certificate", token->certificates[i], 256 * 1024);
	for (size_t i = 0; i < token->public_key_count; i++)
		check_readable(v, "public key", token->public_keys[i], 64 * 1024);
	if (token->identity == IDENTITY_SECRET || token->identity == IDENTITY_CERTIFICATE) {
		/* The agent reads it; where it is a service this user may not be able to. */
		if (!v->config->agent_is_socket)
			check_readable(v, "identity", token->identity_argument, 64 * 1024);
	}
}

/* ---- the login ---- */

static void show_progress(const struct release_step *step, void *with)
{
	struct visit *v = with;

	snprintf(v->step, sizeof(v->step), "%s", step->name);
	if (step->ms < 0) {
		v->began = monotonic_ms();
		terminal_waiting(v->t, step->name);
		return;
	}
	terminal_check(v->t, VERDICT_GOOD, step->name, step->ms, "%s", step->detail);
	v->step[0] = '\0';
}

static int64_t monotonic_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* One signature as a program would have it made, verified by the public half. `ret_us`: the signing alone. */
static skr_status sign_once(EVP_PKEY *key, int64_t *ret_us)
{
	static const uint8_t text[] = "skr-pkcs11 doctor";
	auto_md_ctx *signing = EVP_MD_CTX_new(), *verifying = EVP_MD_CTX_new();
	uint8_t signature[1024];
	size_t len = sizeof(signature);

	if (!signing || EVP_DigestSignInit_ex(signing, NULL, "SHA2-256", ossl, NULL, key, NULL) != 1)
		return ossl_fail(599, "preparing a signature");
	int64_t began = monotonic_us();
	if (EVP_DigestSign(signing, signature, &len, text, sizeof(text)) != 1)
		return ossl_fail(599, "a signature");
	*ret_us = monotonic_us() - began;
	if (!verifying || EVP_DigestVerifyInit_ex(verifying, NULL, "SHA2-256", ossl, NULL, key, NULL) != 1 ||
	    EVP_DigestVerify(verifying, signature, len, text, sizeof(text)) != 1)
		return ossl_fail(342, "its signature does not verify by its own public half");
	return OK;
}

static void show_signature(struct visit *v, const struct released_key *key)
{
	int64_t us = 0;

	if (!key->key || !(key->ops & KEY_OP_SIGN))
		return;
	skr_status status = sign_once(key->key, &us);
	if (status.failure)
		return report(v, status, "sign", "");
	terminal_check(v->t, VERDICT_GOOD, "sign", (us + 500) / 1000, "%s with SHA-256: %lld us, verified",
	               key->config->label, (long long)us);
}

static void show_keys(struct visit *v, const struct release *release)
{
	for (size_t i = 0; i < release->key_count; i++) {
		const struct released_key *key = &release->keys[i];
		auto_buf hash = BUF(2 * sizeof(key->public_key_sha256));
		terminal_check(v->t, VERDICT_GOOD, "key", -1, "%s", key->kid);
		if (key->key && !hex_encode(key->public_key_sha256, sizeof(key->public_key_sha256), &hash).failure)
			terminal_below(v->t, "public_key_sha256=%s", buf_text(&hash));
		show_signature(v, key);
	}
}

static void try_login(struct visit *v, const struct token_config *token)
{
	auto_release release = {.key_count = 0};
	struct release_options options = {
	    .deadline = deadline_in((int64_t)v->config->login_deadline * 1000), .progress = show_progress, .with = v};
	int64_t began = monotonic_ms();

	terminal_heading(v->t, "token %s", token->label);
	check_token_files(v, token);
	v->step[0] = '\0';
	skr_status status = release_run(v->config, token, &options, &release);
	if (status.failure) {
		const struct status_record *record = status_last();
		bool named = v->step[0] != '\0';
		v->bad++;
		terminal_check(v->t, VERDICT_BAD,
		               named             ? v->step
		               : record->step[0] ? record->step
		                                 : "login",
		               monotonic_ms() - (named ? v->began : began), "%s", "");
		terminal_failure(v->t, record);
		return;
	}
	show_keys(v, &release);
	terminal_check(v->t, VERDICT_GOOD, "login", monotonic_ms() - began, "%zu key%s", release.key_count,
	               release.key_count == 1 ? "" : "s");
}

/* ---- the visit ---- */

/* Arena and libcrypto as a login needs them; before anything else allocates by libcrypto. */
static void prepare_memory(struct visit *v)
{
	skr_status status = arena_open(ARENA_LOCK_AUTO);

	if (!status.failure)
		status = ossl_open();
	if (status.failure)
		report(v, status, "memory", "");
}

static skr_status read_config(const char *given, struct config **ret)
{
	auto_text *path = NULL;

	if (given)
		return config_read(given, ret);
	TRY(config_path(NULL, &path));
	return config_read(path, ret);
}

static enum exit_code visit(struct visit *v, const char *path, const char *label)
{
	auto_config *config = NULL;

	prepare_memory(v);
	skr_status status = read_config(path, &config);
	report(v, status, "configuration", config ? config->path : "");
	if (status.failure)
		return EXIT_BAD;
	v->config = config;
	if (label && !config_token(config, label)) {
		terminal_check(v->t, VERDICT_BAD, "token", -1, "%s is not in %s", label, config->path);
		return EXIT_BAD;
	}
	if (config->token_count == 0)
		terminal_check(v->t, VERDICT_NOTE, "tokens", -1, "none: every line of the configuration is a comment?");
	check_agent(v);
	check_memory_lock(v);
	check_readable(v, "ca_file", config->ca_file, 4 * 1024 * 1024);
	check_readable(v, "release_ca_file", config->release_ca_file, 4 * 1024 * 1024);
	check_directory(v, "runtime_dir", config->runtime_dir);

	if (v->bad) {
		terminal_below(v->t, "no login was tried: put right what FAILED first");
		return EXIT_BAD;
	}
	release_capture_environment(config->path);
	for (size_t i = 0; i < config->token_count; i++)
		if (!label || strcmp(label, config->tokens[i].label) == 0)
			try_login(v, &config->tokens[i]);
	return v->bad ? EXIT_BAD : EXIT_GOOD;
}

enum exit_code doctor(struct terminal *t, int argc, char **argv)
{
	struct visit v = {.t = t};
	const char *path = NULL, *label = NULL;

	for (int i = 0; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			path = argv[++i];
		else if (argv[i][0] != '-' && !label)
			label = argv[i];
		else
			return command_misused(t, command_find("doctor"), "\"%s\" is not understood", argv[i]);
	}
	return visit(&v, path, label);
}
