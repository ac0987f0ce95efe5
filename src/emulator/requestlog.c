/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/requestlog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct requestlog {
	pthread_mutex_t lock;
	int fd;
	struct buf lines; /* as in the file; above its limit only the file goes on */
};

skr_status requestlog_open(struct emulator *e)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/requests.jsonl", e->dir);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return FAIL(17, "open %s: %s", path, strerror(errno));
	struct requestlog *log = calloc(1, sizeof(*log));
	if (!log) {
		close(fd);
		return FAIL(14, "the request log");
	}
	pthread_mutex_init(&log->lock, NULL);
	log->fd = fd;
	log->lines = BUF(32 * 1024 * 1024);
	e->log = log;
	return OK;
}

void requestlog_close(struct emulator *e)
{
	if (!e->log)
		return;
	close(e->log->fd);
	buf_done(&e->log->lines);
	pthread_mutex_destroy(&e->log->lock);
	free(TAKE(e->log));
}

static void now_text(const struct emulator *e, char *out, size_t size)
{
	struct timespec now;
	struct tm tm;
	char seconds[32];

	clock_gettime(CLOCK_REALTIME, &now);
	time_t t = (time_t)emulator_now(e);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
	snprintf(out, size, "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
}

static json *line_of(const struct emulator *e, const struct exchange *x, int64_t ms)
{
	const char *operation = x->route ? x->route->operation : "";
	char service[16];
	json *line = json_object();
	char time[48];

	now_text(e, time, sizeof(time));
	json_set_string(line, "time", time);
	snprintf(service, sizeof(service), "%.*s", (int)strcspn(operation, "."), operation);
	json_set_string(line, "service", service);
	json_set_string(line, "op", operation);
	json_set_string(line, "method", x->method ? x->method : "");
	json_set_string(line, "host", x->authority ? x->authority : "");
	json_set_string(line, "path", x->path ? x->path : "");
	json_set_number(line, "status", x->status);
	json_set_string(line, "fault", x->fault);
	json_set_string(line, "audience", x->audience);
	json_set_number(line, "ms", ms);
	return line;
}

void requestlog_add(struct emulator *e, const struct exchange *x, int64_t ms)
{
	auto_json *line = line_of(e, x, ms);
	auto_buf text = BUF(64 * 1024);

	if (json_print(line, &text).failure || buf_append(&text, "\n", 1).failure)
		return;
	pthread_mutex_lock(&e->log->lock);
	if (write(e->log->fd, text.data, text.len) != (ssize_t)text.len)
		fprintf(stderr, "skr-emulator: request log: %s\n", strerror(errno));
	if (buf_append(&e->log->lines, text.data, text.len).failure)
		status_clear();
	pthread_mutex_unlock(&e->log->lock);
}

skr_status requestlog_read(struct emulator *e, struct buf *out)
{
	pthread_mutex_lock(&e->log->lock);
	skr_status status = buf_append(out, "[", 1);
	size_t at = out->len;
	if (!status.failure)
		status = buf_append(out, e->log->lines.data, e->log->lines.len);
	pthread_mutex_unlock(&e->log->lock);
	TRY(status);
	for (size_t i = at; i < out->len; i++)
		if (out->data[i] == '\n')
			out->data[i] = i + 1 < out->len ? ',' : ' ';
	return buf_append(out, "]", 1);
}

skr_status requestlog_clear(struct emulator *e)
{
	pthread_mutex_lock(&e->log->lock);
	buf_clear(&e->log->lines);
	int failed = ftruncate(e->log->fd, 0);
	pthread_mutex_unlock(&e->log->lock);
	return failed ? FAIL(17, "requests.jsonl: %s", strerror(errno)) : OK;
}
