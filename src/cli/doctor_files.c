/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/device.h"
#include "cli/doctor.h"

#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* A good line, or the failure with the command that helps. */
static void report(struct visit *v, skr_status status, const char *name, const char *good)
{
	const struct ailment ailment = {.config = v->config, .token = v->token};
	char fix[512];

	if (!status.failure) {
		visit_found(v, VERDICT_GOOD, name, NULL, "%s", good);
		return;
	}
	struct status_record record = *status_last();
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(v, VERDICT_BAD, name, -1, &record, fix);
}

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
	const struct ailment ailment = {.config = v->config};
	size_t needed = locked_memory_needed(v->config);
	char fix[256];

	if (v->config->memory_lock == ARENA_LOCK_OFF) {
		bool swap = swap_is_active();
		visit_found(v, swap ? VERDICT_WARNING : VERDICT_NOTE, "memory lock", swap ? "sudo swapoff -a" : NULL,
		            "memory_lock = off%s", swap ? ", and swap is active: keys may be written to it" : "");
		return;
	}
	if (can_lock(needed)) {
		visit_found(v, VERDICT_GOOD, "memory lock", NULL, "%zu KiB can be locked", needed);
		return;
	}
	bool swap = swap_is_active(), bad = swap || v->config->memory_lock == ARENA_LOCK_REQUIRE;
	(void)FAIL(bad ? 11 : 10, "%zu KiB cannot be locked, swap is %s", needed, swap ? "active" : "not active");
	struct status_record record = *status_last();
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(v, bad ? VERDICT_BAD : VERDICT_NOTE, "memory lock", -1, &record, fix);
}

static void check_readable(struct visit *v, const char *setting, const char *path, size_t limit)
{
	auto_buf content = BUF(limit);

	if (path)
		report(v, file_read_named(path, &content), setting, path);
}

static void check_directory(struct visit *v, const char *setting, const char *path)
{
	struct stat about;
	char fix[512], user[33];

	if (!path)
		return;
	if (stat(path, &about) == 0 && S_ISDIR(about.st_mode) && access(path, W_OK | X_OK) == 0) {
		visit_found(v, VERDICT_GOOD, setting, NULL, "%s", path);
		return;
	}
	user_name(user);
	snprintf(fix, sizeof(fix), "sudo install -d -m 700 -o %s %s", user, path);
	visit_found(v, VERDICT_NOTE, setting, fix, "%s cannot be used: logins of several processes are not kept apart",
	            path);
}

static skr_status check_trail_file(const char *path, int failure)
{
	struct stat about;
	char folder[PATH_MAX];

	if (lstat(path, &about) == 0) {
		if (!S_ISREG(about.st_mode))
			return FAIL(failure, "%s is not a regular file", path);
		return access(path, W_OK) == 0 ? OK : FAIL(failure, "%s: %s", path, strerror(errno));
	}
	snprintf(folder, sizeof(folder), "%s", path);
	folder[strrchr(folder, '/') - folder + 1] = '\0';
	return access(folder, W_OK | X_OK) == 0 ? OK : FAIL(failure, "%s: %s", folder, strerror(errno));
}

/* The login below is the doctor's own and is not on record; a program's would be, or would not be at all. */
static void check_trail(struct visit *v)
{
	const struct config *config = v->config;
	bool required = config->audit == AUDIT_REQUIRED;
	const char *file = config->trail.file;
	char fix[512], user[33];

	if (!file || config->trail.to != AUDIT_TO_FILE)
		return;
	if (!check_trail_file(file, required ? 18 : 17).failure) {
		visit_found(v, VERDICT_GOOD, "audit_file", NULL, "%s", file);
		return;
	}
	const struct status_record record = *status_last();
	user_name(user);
	/* A folder that is there already, such as /var/log, is not given to anybody. */
	if (strstr(record.sentence, strerror(ENOENT)))
		snprintf(fix, sizeof(fix), "sudo install -d -m 700 -o %s \"$(dirname %s)\"", user, file);
	else
		snprintf(fix, sizeof(fix), "ls -ld \"$(dirname %s)\" %s    # %s must be able to write there", file,
		         file, user);
	visit_failed(v, required ? VERDICT_BAD : VERDICT_WARNING, "audit_file", -1, &record, fix);
}

/* A secret that others can read is theirs too. */
static void check_private(struct visit *v, const char *path)
{
	struct stat about;
	char fix[512];

	if (stat(path, &about) != 0 || !(about.st_mode & 0077))
		return;
	snprintf(fix, sizeof(fix), "sudo chmod go= %s", path);
	visit_found(v, VERDICT_WARNING, "identity", fix, "%s has mode %04o: others can read the secret", path,
	            (unsigned)about.st_mode & 07777);
}

/* ---- all of them ---- */

void doctor_surroundings(struct visit *v)
{
	check_agent(v);
	check_memory_lock(v);
	check_readable(v, "ca_file", v->config->ca_file, 4 * 1024 * 1024);
	check_readable(v, "release_ca_file", v->config->release_ca_file, 4 * 1024 * 1024);
	check_directory(v, "runtime_dir", v->config->runtime_dir);
	check_trail(v);
}

void doctor_token_files(struct visit *v)
{
	const struct token_config *token = v->token;

	for (size_t i = 0; i < token->public_key_count; i++)
		check_readable(v, "public key", token->public_keys[i], 64 * 1024);
	/* The agent reads it; where it is a service this user may not be able to. */
	if ((token->identity == IDENTITY_SECRET || token->identity == IDENTITY_CERTIFICATE) &&
	    !v->config->agent_is_socket) {
		check_readable(v, "identity", token->identity_argument, 64 * 1024);
		check_private(v, token->identity_argument);
	}
}
