/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static char target[4096] = "none";
static enum log_level threshold = LOG_LEVEL_WARNING;
static const char *program = "skr-pkcs11";

void log_open(const char *where, enum log_level level, const char *who)
{
	snprintf(target, sizeof(target), "%s", where);
	threshold = level;
	program = who;
}

int log_wants(enum log_level level)
{
	return level <= threshold && strcmp(target, "none") != 0;
}

static void write_whole(int fd, const char *line, size_t len)
{
	/* One write, so that lines of several processes do not mix; a log that cannot be written stops nobody. */
	ssize_t written = write(fd, line, len);
	(void)written;
}

static void to_file(const char *line, size_t len)
{
	int fd = fd_above_stdio(open(target, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
	if (fd < 0)
		return;
	write_whole(fd, line, len);
	close(fd);
}

void log_line(enum log_level level, const char *format, ...)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
	char text[2048], line[2304], stamp[32];
	int saved = errno;
	va_list args;

	if (!log_wants(level))
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';

	if (strcmp(target, "syslog") == 0) {
		syslog(LOG_AUTHPRIV | priorities[level], "%s[%ld]: %s", program, (long)getpid(), text);
		errno = saved;
		return;
	}
	time_t now = time(NULL);
	struct tm utc;
	gmtime_r(&now, &utc);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", &utc);
	int len =
	    snprintf(line, sizeof(line), "%s %s[%ld] %s: %s\n", stamp, program, (long)getpid(), names[level], text);
	if (len >= (int)sizeof(line))
		len = (int)sizeof(line) - 1;
	if (strcmp(target, "stderr") == 0)
		write_whole(STDERR_FILENO, line, (size_t)len);
	else
		to_file(line, (size_t)len);
	errno = saved;
}

void log_failure(void)
{
	static const enum log_level levels[] = {
	    [FAMILY_NONE] = LOG_LEVEL_DEBUG,    [FAMILY_TRANSIENT] = LOG_LEVEL_ERROR,
	    [FAMILY_REFUSED] = LOG_LEVEL_ERROR, [FAMILY_UNTRUSTED] = LOG_LEVEL_ERROR,
	    [FAMILY_LOCAL] = LOG_LEVEL_ERROR,   [FAMILY_NOTE] = LOG_LEVEL_WARNING};
	const struct status_record *record = status_last();
	char line[2048];

	status_line(record, line, sizeof(line));
	log_line(levels[failure_row(record->failure)->family], "%s", line);
	if (record->origin[0])
		log_line(LOG_LEVEL_DEBUG, "SKR-%03d from %s", record->failure, record->origin);
}
