/* SPDX-License-Identifier: Apache-2.0 */
#include "base/audit.h"

#include "base/audit_chain.h"
#include "base/audit_socket.h"
#include "base/deadline.h"
#include "base/file.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

json *audit_record(const char *event)
{
	char text[32];
	time_t now = time(NULL);
	struct tm utc;

	gmtime_r(&now, &utc);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);

	json *record = json_object();
	json_set_string(record, "time", text);
	json_set_number(record, "monotonic", monotonic_ms());
	json_set_number(record, "pid", getpid());
	json_set_number(record, "uid", geteuid());
	json_set_string(record, "program", program_invocation_short_name);
	json_set_string(record, "event", event);
	return record;
}

static skr_status append(const char *path, const struct buf *line, int failure)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	fd = fd_above_stdio(fd);
	if (fd < 0)
		return FAIL(failure, "%s: %s", path, strerror(errno));

	ssize_t written = write(fd, line->data, line->len);
	int error = errno;
	close(fd);
	if (written < 0)
		return FAIL(failure, "%s: %s", path, strerror(error));
	if ((size_t)written != line->len)
		return FAIL(failure, "%s: only %zd of %zu bytes written", path, written, line->len);
	return OK;
}

static skr_status to_file(const struct audit_trail *trail, json *record, int failure)
{
	auto_buf line = BUF(AUDIT_LINE_LIMIT);

	if (trail->chained)
		return audit_chain_append(trail->file, record, failure);
	TRY(json_print(record, &line));
	TRY(buf_append(&line, "\n", 1));
	return append(trail->file, &line, failure);
}

static skr_status deliver(const struct audit_trail *trail, json *record, int failure)
{
	switch (trail->to) {
	case AUDIT_TO_SYSLOG:
		return audit_to_syslog(trail->socket, record, failure);
	case AUDIT_TO_JOURNALD:
		return audit_to_journald(trail->socket, record, failure);
	case AUDIT_TO_FILE:
		break;
	}
	return to_file(trail, record, failure);
}

bool audit_is_kept(const struct audit_trail *trail)
{
	return trail->to != AUDIT_TO_FILE || trail->file;
}

skr_status audit_write(const struct audit_trail *trail, json *record, int failure)
{
	auto_json *owned = record;

	if (!audit_is_kept(trail))
		return OK;
	skr_status status = deliver(trail, owned, failure);
	/* A line too long, or no memory for it: it is the record that is missing. */
	if (status.failure && status.failure != failure)
		return FAIL(failure, "%s", status_message());
	return status;
}

static atomic_uint dropped;
static _Atomic int64_t next_complaint;

static void complain(void)
{
	unsigned count = atomic_fetch_add(&dropped, 1) + 1;
	int64_t now = monotonic_ms(), due = atomic_load(&next_complaint);

	if (now >= due && atomic_compare_exchange_strong(&next_complaint, &due, now + 60 * 1000))
		log_line(LOG_LEVEL_WARNING, "SKR-017 : audit record not written: %s (%u dropped so far)",
		         status_message(), count);
}

void audit_note(const struct audit_trail *trail, json *record)
{
	struct status_record before = *status_last();

	if (audit_write(trail, record, 17).failure)
		complain();
	*status_amend() = before;
}
