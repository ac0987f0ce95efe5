/* SPDX-License-Identifier: Apache-2.0 */
#include "base/audit_socket.h"

#include "base/audit_chain.h"
#include "base/deadline.h"
#include "base/file.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define IDENTIFIER    "skr-pkcs11"
#define MESSAGE_LIMIT (AUDIT_LINE_LIMIT + 1024)

/* ---- one message to a socket ---- */

static skr_status connect_to(const char *path, int type, int failure, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	auto_fd fd = fd_above_stdio(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

	if (fd < 0)
		return FAIL(failure, "a socket for %s: %s", path, strerror(errno));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return FAIL(failure, "connecting to %s: %s", path, strerror(errno));
	*ret_fd = fd;
	fd = -1;
	return OK;
}

static skr_status send_whole(int fd, const char *path, const struct buf *message, int failure)
{
	struct deadline deadline = deadline_in(AUDIT_SOCKET_WAIT_MS);

	for (;;) {
		ssize_t sent = send(fd, message->data, message->len, MSG_NOSIGNAL);
		if (sent == (ssize_t)message->len)
			return OK;
		if (sent >= 0)
			return FAIL(failure, "%s: only %zd of %zu bytes sent", path, sent, message->len);
		if (errno != EAGAIN && errno != EINTR)
			return FAIL(failure, "sending to %s: %s", path, strerror(errno));
		if (!deadline_left(deadline))
			return FAIL(failure, "%s takes nothing for %d ms", path, AUDIT_SOCKET_WAIT_MS);
		poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, (int)deadline_left(deadline));
	}
}

/* ---- syslog ---- */

/* Names of months as the format has them, whatever the host's locale. */
static skr_status print_syslog_head(struct buf *out)
{
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t now = time(NULL);
	struct tm local;

	localtime_r(&now, &local);
	return buf_printf(out, "<%d>%s %2d %02d:%02d:%02d " IDENTIFIER "[%ld]: ", LOG_AUTHPRIV | LOG_NOTICE,
	                  months[local.tm_mon], local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec,
	                  (long)getpid());
}

skr_status audit_to_syslog(const char *socket, const json *record, int failure)
{
	auto_buf message = BUF(MESSAGE_LIMIT);
	auto_fd fd = -1;

	TRY(print_syslog_head(&message));
	TRY(json_print(record, &message));
	skr_status status = connect_to(socket, SOCK_DGRAM, failure, &fd);
	if (status.failure && errno == EPROTOTYPE) {
		status = connect_to(socket, SOCK_STREAM, failure, &fd);
		TRY(buf_append(&message, "\0", 1)); /* what ends a message in a stream */
	}
	TRY(status);
	return send_whole(fd, socket, &message, failure);
}

/* ---- journald ---- */

/* Name, newline, 64 bits length, little-endian, value, newline: the form that takes any value. */
static skr_status add_field(struct buf *out, const char *name, const char *value)
{
	uint64_t len = strlen(value);
	uint8_t size[8];

	for (int i = 0; i < 8; i++)
		size[i] = (uint8_t)(len >> 8 * i);
	TRY(buf_printf(out, "%s\n", name));
	TRY(buf_append(out, size, sizeof(size)));
	TRY(buf_append_text(out, value));
	return buf_append(out, "\n", 1);
}

static skr_status add_member(struct buf *out, const char *name, const json *record, const char *member)
{
	const char *text = json_string_or_null(record, member);
	char digits[24];
	int64_t number;

	if (json_kind(json_get(record, member)) == JSON_NUMBER) {
		TRY(json_integer(record, member, false, &number));
		snprintf(digits, sizeof(digits), "%" PRId64, number);
		text = digits;
	}
	return text ? add_field(out, name, text) : OK;
}

static skr_status print_journal_entry(const json *record, struct buf *out)
{
	auto_buf line = BUF(AUDIT_LINE_LIMIT);
	char number[16];

	TRY(json_print(record, &line));
	TRY(add_field(out, "MESSAGE", buf_text(&line)));
	snprintf(number, sizeof(number), "%d", LOG_NOTICE);
	TRY(add_field(out, "PRIORITY", number));
	snprintf(number, sizeof(number), "%d", LOG_FAC(LOG_AUTHPRIV));
	TRY(add_field(out, "SYSLOG_FACILITY", number));
	TRY(add_field(out, "SYSLOG_IDENTIFIER", IDENTIFIER));
	TRY(add_member(out, "SKR_EVENT", record, "event"));
	TRY(add_member(out, "SKR_TOKEN", record, "token"));
	TRY(add_member(out, "SKR_RESULT", record, "result"));
	return add_member(out, "SKR_FAILURE", record, "failure");
}

skr_status audit_to_journald(const char *socket, const json *record, int failure)
{
	auto_buf message = BUF(MESSAGE_LIMIT);
	auto_fd fd = -1;

	TRY(print_journal_entry(record, &message));
	TRY(connect_to(socket, SOCK_DGRAM, failure, &fd));
	return send_whole(fd, socket, &message, failure);
}
