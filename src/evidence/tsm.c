/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/tsm.h"

#include "base/file.h"
#include "base/log.h"
#include "base/ossl.h"
#include "evidence/snp_report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REPORTS     "/sys/kernel/config/tsm/report"
#define ATTEMPTS    3
#define TABLE_LIMIT (64 * 1024)
/* No agent lives this long (login_deadline ends at 600 s), so an older entry is nobody's, whatever its namespace. */
#define ENTRY_AGE_LIMIT 1200

/* --- Who made an entry: its name says so. --- */

struct owner {
	long pid;
	uint64_t start;         /* of the process, in clock ticks since boot */
	uint64_t pid_namespace; /* a pid means something only there */
};

/* When the process started; 0 if there is none. Field 22 of /proc/PID/stat, counted behind the name's parenthesis. */
static uint64_t process_start(long pid)
{
	char path[64];
	auto_buf text = BUF(4096);
	uint64_t start = 0;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	if (file_read(path, &text).failure)
		return 0;
	const char *at = strrchr(buf_text(&text), ')');
	for (int field = 3; at && field <= 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		start = strtoull(at, NULL, 10);
	return start;
}

static uint64_t own_pid_namespace(void)
{
	struct stat about;

	return stat("/proc/self/ns/pid", &about) == 0 ? about.st_ino : 0;
}

static struct owner this_process(void)
{
	return (struct owner){getpid(), process_start(getpid()), own_pid_namespace()};
}

static bool is_dead(const struct owner *owner, const struct owner *self)
{
	struct timespec boot;

	clock_gettime(CLOCK_BOOTTIME, &boot);
	if (owner->start / (uint64_t)sysconf(_SC_CLK_TCK) + ENTRY_AGE_LIMIT < (uint64_t)boot.tv_sec)
		return owner->pid != self->pid || owner->start != self->start;
	return owner->pid_namespace == self->pid_namespace && process_start(owner->pid) != owner->start;
}

static bool parse_name(const char *name, struct owner *ret)
{
	char rest;

	return sscanf(name, "skr-%ld-%" SCNu64 "-%" SCNu64 "-%*16[0-9a-f]%c", &ret->pid, &ret->start,
	              &ret->pid_namespace, &rest) == 3;
}

/* What a killed process left behind would stay until the machine is restarted. */
static void remove_dead_entries(const struct owner *self)
{
	DIR *reports = opendir(REPORTS);
	int removed = 0;

	for (struct dirent *entry; reports && (entry = readdir(reports));) {
		struct owner owner;
		char path[PATH_MAX];
		if (!parse_name(entry->d_name, &owner) || !is_dead(&owner, self))
			continue;
		snprintf(path, sizeof(path), "%s/%s", REPORTS, entry->d_name);
		removed += rmdir(path) == 0;
	}
	if (reports)
		closedir(reports);
	if (removed)
		log_line(LOG_LEVEL_INFO, "SKR-121 %d entries of dead processes removed from %s", removed, REPORTS);
}

/* --- One entry --- */

struct entry {
	const struct tsm_provider *provider;
	char path[PATH_MAX]; /* empty: not made */
};

static void remove_entry(const struct entry *entry)
{
	if (entry->path[0] && rmdir(entry->path) != 0)
		log_line(LOG_LEVEL_WARNING, "%s cannot be removed: %s", entry->path, strerror(errno));
}
#define auto_entry __attribute__((cleanup(remove_entry))) struct entry

static skr_status mkdir_refused(const char *path, int error)
{
	switch (error) {
	case ENOENT:
		return FAIL(100, "%s: %s", REPORTS, strerror(error));
	case EACCES:
		return FAIL(101, "mkdir %s: %s (this is uid %ld)", path, strerror(error), (long)geteuid());
	case EPERM:
	case EROFS:
		return FAIL(21, "mkdir %s: %s", path, strerror(error));
	case EEXIST:
	case EBUSY:
	case EINTR:
	case EAGAIN:
		return FAIL(120, "mkdir %s: %s", path, strerror(error));
	default: /* ENXIO: no provider is registered */
		return FAIL(122, "mkdir %s: %s", path, strerror(error));
	}
}

static skr_status make_entry(const struct owner *self, struct entry *entry)
{
	uint64_t random;
	char path[sizeof(entry->path)];

	TRY(random_bytes(&random, sizeof(random)));
	snprintf(path, sizeof(path), "%s/skr-%ld-%" PRIu64 "-%" PRIu64 "-%016" PRIx64, REPORTS, self->pid, self->start,
	         self->pid_namespace, random);
	if (mkdir(path, 0700) != 0)
		return mkdir_refused(path, errno);
	memcpy(entry->path, path, sizeof(path));
	return OK;
}

static skr_status attribute_failed(const struct entry *entry, const char *verb, const char *attribute, int error)
{
	switch (error) {
	case EBUSY:
	case EAGAIN: /* EWOULDBLOCK: the state is of an older generation */
	case ENOENT: /* somebody removed our entry */
		return FAIL(120, "%s %s: %s", verb, attribute, strerror(error));
	case EIO:
		return FAIL(entry->provider->no_report, "%s %s: %s", verb, attribute, strerror(error));
	case ETIMEDOUT:
		return FAIL(entry->provider->no_answer, "%s %s: %s", verb, attribute, strerror(error));
	case ENOTTY:
		return FAIL(112, "%s %s: %s", verb, attribute, strerror(error));
	default:
		return FAIL(122, "%s %s: %s", verb, attribute, strerror(error));
	}
}

static skr_status open_attribute(const struct entry *entry, const char *attribute, int flags, int *ret_fd)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", entry->path, attribute);
	int fd = fd_above_stdio(open(path, flags | O_CLOEXEC));
	if (fd < 0)
		return attribute_failed(entry, "open", attribute, errno);
	*ret_fd = fd;
	return OK;
}

static skr_status read_attribute(const struct entry *entry, const char *attribute, struct deadline deadline,
                                 struct buf *out)
{
	auto_fd fd = -1;

	TRY(open_attribute(entry, attribute, O_RDONLY, &fd));
	for (;;) {
		uint8_t piece[4096];
		ssize_t got = read(fd, piece, sizeof(piece));
		if (got < 0 && errno == EINTR && deadline_left(deadline) > 0)
			continue;
		if (got < 0 && errno == EINTR)
			return FAIL(120, "read %s: interrupted until the deadline", attribute);
		if (got < 0)
			return attribute_failed(entry, "read", attribute, errno);
		if (got == 0)
			return OK;
		TRY(buf_append(out, piece, (size_t)got));
	}
}

/* The kernel takes a binary attribute when its descriptor is closed, so this closes it. */
static skr_status write_report_data(const struct entry *entry, const struct snp_question *question)
{
	ssize_t written;
	auto_fd fd = -1;

	TRY(open_attribute(entry, "inblob", O_WRONLY, &fd));
	do
		written = write(fd, question->report_data, sizeof(question->report_data));
	while (written < 0 && errno == EINTR && deadline_left(question->deadline) > 0);
	if (written < 0)
		return attribute_failed(entry, "write", "inblob", errno);
	if (written != (ssize_t)sizeof(question->report_data))
		return FAIL(122, "write inblob: %zd of %zu bytes", written, sizeof(question->report_data));
	int fd_now = fd;
	fd = -1;
	if (close(fd_now) != 0 && errno != EINTR)
		return attribute_failed(entry, "close", "inblob", errno);
	return OK;
}

static skr_status read_generation(const struct entry *entry, struct deadline deadline, uint64_t *ret)
{
	auto_buf text = BUF(32);

	TRY(read_attribute(entry, "generation", deadline, &text));
	const char *start = buf_text(&text);
	char *end;
	errno = 0;
	uint64_t value = strtoull(start, &end, 10);
	if (end == start || errno || (*end && strcmp(end, "\n") != 0))
		return FAIL(122, "generation is '%s'", start);
	*ret = value;
	return OK;
}

static skr_status check_provider(const struct entry *entry, struct deadline deadline)
{
	auto_buf provider = BUF(64);

	TRY(read_attribute(entry, "provider", deadline, &provider));
	const char *text = buf_text(&provider), *expected = entry->provider->name;
	int len = (int)strcspn(text, "\n"); /* one line, as the kernel writes it */
	if ((size_t)len != strlen(expected) || strncmp(text, expected, (size_t)len) != 0)
		return FAIL(122, "the provider is '%.*s', not %s", len < 32 ? len : 32, text, expected);
	return OK;
}

/* The story of one entry: our write is the only one between the two readings of the generation. */
static skr_status use_entry(const struct entry *entry, const struct snp_question *question, struct snp_answer *answer)
{
	uint64_t before, after;

	TRY(check_provider(entry, question->deadline));
	TRY(read_generation(entry, question->deadline, &before));
	TRY(write_report_data(entry, question));
	TRY(read_attribute(entry, "outblob", question->deadline, &answer->report));
	if (question->want_table && entry->provider->has_table)
		TRY(read_attribute(entry, "auxblob", question->deadline, &answer->table));
	TRY(read_generation(entry, question->deadline, &after));
	if (after != before + 1)
		return FAIL(120, "generation went from %" PRIu64 " to %" PRIu64 ", our write counts one", before,
		            after);
	return OK;
}

/* A report above its size, or a table above its limit, is refused where the bytes are counted; say it in our words. */
static skr_status check_sizes(const struct tsm_provider *provider, skr_status used, const struct snp_answer *answer)
{
	if (used.failure == 208 && answer->table.len)
		return FAIL(113, "auxblob: %s", status_message());
	if (used.failure == 208)
		return FAIL(116, "outblob: %s", status_message());
	if (used.failure)
		return used;
	if (provider->report_size && answer->report.len != provider->report_size)
		return FAIL(116, "outblob has %zu bytes instead of %zu", answer->report.len, provider->report_size);
	if (answer->report.len == 0)
		return FAIL(provider->no_report, "outblob is empty");
	return OK;
}

static skr_status attempt(const struct tsm_provider *provider, const struct owner *self,
                          const struct snp_question *question, struct snp_answer *ret)
{
	auto_snp_answer answer = {.report = BUF(provider->report_limit), .table = BUF(TABLE_LIMIT)};
	auto_entry entry = {.provider = provider};
	int64_t start = monotonic_ms();

	TRY(make_entry(self, &entry));
	TRY(check_sizes(provider, use_entry(&entry, question, &answer), &answer));
	if (deadline_left(question->deadline) == 0) {
		int64_t ms = monotonic_ms() - start;
		log_line(LOG_LEVEL_WARNING, "SKR-110 configfs-tsm took %" PRId64 " ms, beyond the deadline", ms);
		return FAIL(110, "configfs-tsm: answered after %" PRId64 " ms, beyond the deadline", ms);
	}
	*ret = answer;
	answer = (struct snp_answer){0};
	return OK;
}

skr_status tsm_report(const struct tsm_provider *provider, const struct snp_question *question, struct snp_answer *ret)
{
	struct owner self = this_process();

	if (access(REPORTS, F_OK) != 0)
		return FAIL(100, "%s: %s", REPORTS, strerror(errno));
	remove_dead_entries(&self);
	for (int i = 1;; i++) {
		skr_status status = attempt(provider, &self, question, ret);
		if (status.failure != 120 || i == ATTEMPTS)
			return status;
		struct status_record why = *status_last();
		if (!snp_wait(i + 1, question->deadline))
			return status_adopt(&why);
	}
}

skr_status snp_from_tsm(const struct snp_question *question, struct snp_answer *ret)
{
	static const struct tsm_provider sev_guest = {
	    .name = "sev_guest",
	    .report_size = SNP_REPORT_SIZE,
	    .report_limit = SNP_REPORT_SIZE,
	    .has_table = true,
	    .no_report = 111,
	    .no_answer = 111,
	};

	return tsm_report(&sev_guest, question, ret);
}
