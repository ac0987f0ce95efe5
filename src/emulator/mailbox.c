/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/mailbox.h"

#include "emulator/guest_protocol.h"
#include "emulator/hardware.h"
#include "emulator/intel.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct mailbox {
	struct emulator *emulator;
	struct sockaddr_un address;
	int listener, stop; /* -1: not there */
	bool bound, serving;
	pthread_t thread;
};

static bool receive_all(int fd, void *data, size_t len)
{
	for (uint8_t *at = data; len > 0;) {
		ssize_t n = recv(fd, at, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

static bool send_all(int fd, const void *data, size_t len)
{
	for (const uint8_t *at = data; len > 0;) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

#define FIRMWARE_INVALID_PARAMETER 0x16

static skr_status snp_report(struct emulator *e, const struct guest_request *request, struct buf *report,
                             struct buf *table)
{
	uint8_t *place;
	TRY(buf_reserve(report, REPORT_SIZE, &place));
	TRY(hardware_report(e, request->report_data, request->vmpl, place));
	report->len += REPORT_SIZE;
	return hardware_certificate_table(e, table);
}

static skr_status td_quote(struct emulator *e, const struct guest_request *request, struct buf *quote)
{
	uint8_t report[TD_REPORT_BYTES];
	TRY(intel_td_report(e, request->report_data, report));
	return intel_quote(e, report, 4, quote);
}

static void answer(struct emulator *e, int fd, const struct guest_request *request)
{
	struct guest_answer answer = {.magic = GUEST_PROTOCOL_MAGIC, .status = FIRMWARE_INVALID_PARAMETER};
	auto_buf report = BUF(GUEST_QUOTE_LIMIT), table = BUF(GUEST_TABLE_LIMIT);

	bool done = false;
	if (request->kind == GUEST_REPORT && request->vmpl <= 3)
		done = !snp_report(e, request, &report, &table).failure;
	else if (request->kind == GUEST_QUOTE && request->vmpl == 0)
		done = !td_quote(e, request, &report).failure;
	if (done) {
		answer.status = 0;
		answer.report_len = (uint32_t)report.len;
		answer.table_len = (uint32_t)table.len;
	}
	if (send_all(fd, &answer, sizeof(answer)) && send_all(fd, report.data, answer.report_len))
		send_all(fd, table.data, answer.table_len);
}

static void serve_one(struct emulator *e, int fd)
{
	const struct timeval patience = {.tv_sec = 5};
	struct guest_request request;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (receive_all(fd, &request, sizeof(request)) && request.magic == GUEST_PROTOCOL_MAGIC)
		answer(e, fd, &request);
}

/* One guest at a time, as the secure processor has one mailbox. */
static void *serve(void *argument)
{
	const struct mailbox *mailbox = argument;
	struct pollfd watched[2] = {{.fd = mailbox->listener, .events = POLLIN},
	                            {.fd = mailbox->stop, .events = POLLIN}};

	for (;;) {
		if (poll(watched, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return NULL;
		}
		if (watched[1].revents)
			return NULL;
		int fd = accept4(mailbox->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		serve_one(mailbox->emulator, fd);
		close(fd);
	}
}

static skr_status set_address(struct mailbox *mailbox)
{
	struct sockaddr_un *address = &mailbox->address;
	address->sun_family = AF_UNIX;
	int len = snprintf(address->sun_path, sizeof(address->sun_path), "%s/hardware.sock", mailbox->emulator->dir);
	if (len < 0 || (size_t)len >= sizeof(address->sun_path))
		return FAIL(17, "%s/hardware.sock is longer than a unix socket's name may be, %zu bytes",
		            mailbox->emulator->dir, sizeof(address->sun_path) - 1);
	return OK;
}

static skr_status start(struct mailbox *mailbox)
{
	TRY(set_address(mailbox));
	unlink(mailbox->address.sun_path);
	mailbox->stop = eventfd(0, EFD_CLOEXEC);
	mailbox->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mailbox->bound =
	    mailbox->stop >= 0 && mailbox->listener >= 0 &&
	    bind(mailbox->listener, (const struct sockaddr *)&mailbox->address, sizeof(mailbox->address)) == 0;
	if (!mailbox->bound || listen(mailbox->listener, 64) != 0)
		return FAIL(17, "listen on %s: %s", mailbox->address.sun_path, strerror(errno));

	int error = pthread_create(&mailbox->thread, NULL, serve, mailbox);
	if (error)
		return FAIL(599, "a thread for %s: %s", mailbox->address.sun_path, strerror(error));
	mailbox->serving = true;
	return OK;
}

skr_status mailbox_open(struct emulator *e, struct mailbox **ret)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	if (!mailbox)
		return FAIL(14, "no memory for the mailbox");
	mailbox->emulator = e;
	mailbox->listener = mailbox->stop = -1;

	skr_status status = start(mailbox);
	if (status.failure) {
		mailbox_close(mailbox);
		return status;
	}
	*ret = mailbox;
	return OK;
}

void mailbox_close(struct mailbox *mailbox)
{
	if (!mailbox)
		return;
	if (mailbox->serving) {
		eventfd_write(mailbox->stop, 1);
		pthread_join(mailbox->thread, NULL);
	}
	if (mailbox->bound)
		unlink(mailbox->address.sun_path);
	if (mailbox->listener >= 0)
		close(mailbox->listener);
	if (mailbox->stop >= 0)
		close(mailbox->stop);
	free(mailbox);
}
