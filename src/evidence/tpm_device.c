/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/tpm_device.h"

#include "base/file.h"
#include "evidence/device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_SYSFS      "/sys/class/tpm/tpm0" /* the driver is there, whatever /dev shows */
#define OPEN_ATTEMPTS 4
#define OPEN_PAUSE_MS 100
#define REST_MS       2000 /* for the rest of a reply that has begun: the kernel gives it in one piece */

/* Tags of replies, TPM 2.0 Part 2 section 6.9; the last is how a TPM says that it did not understand a tag. */
enum { TAG_NO_SESSIONS = 0x8001, TAG_SESSIONS = 0x8002, TAG_RSP_COMMAND = 0x00c4 };

/* --- Opening --- */

skr_status tpm_device_open(const char *path, struct deadline deadline, int *ret_fd)
{
	for (int attempt = 1;; attempt++) {
		/*
		 * O_NONBLOCK: the kernel takes the command and goes on; poll() says when the reply is there. (While a
		 * driver talks to the hardware it holds poll() and close() up, by limits of its own: minutes for a TPM
		 * that is dead. The module does not wait for the agent so long.)
		 */
		int fd = fd_above_stdio(open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
		if (fd >= 0) {
			*ret_fd = fd;
			return OK;
		}
		int error = errno;
		if (error == EINTR && deadline_left(deadline) > 0)
			continue;
		if (error != EBUSY || attempt == OPEN_ATTEMPTS ||
		    !deadline_pause(OPEN_PAUSE_MS << (attempt - 1), deadline))
			return device_refused(
			    &(struct device){.path = path,
			                     .in_sysfs = IN_SYSFS,
			                     .busy = 130,
			                     .advice = "tpm2-tss's udev rule gives it to the group tss"},
			    error);
	}
}

/* --- Talking --- */

static skr_status broken(const char *verb, int error)
{
	return FAIL(130, "%s the TPM: %s", verb, strerror(error));
}

/* True if the descriptor is ready; false: the deadline came. */
static skr_status wait_for(int fd, short events, struct deadline deadline, bool *ret_ready)
{
	struct pollfd waiting = {.fd = fd, .events = events};

	for (;;) {
		int64_t left = deadline_left(deadline);
		int ready = poll(&waiting, 1, left > INT16_MAX ? INT16_MAX : (int)left);
		if (ready < 0 && errno != EINTR)
			return broken("waiting for", errno);
		if (ready > 0 || left == 0) {
			*ret_ready = ready > 0;
			return OK;
		}
	}
}

static bool read_address(const char *where, struct sockaddr_in *ret)
{
	char host[INET_ADDRSTRLEN], rest;
	uint16_t port;

	if (sscanf(where, "host=%15[0-9.],port=%5" SCNu16 "%c", host, &port, &rest) != 2)
		return false;
	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	return inet_pton(AF_INET, host, &ret->sin_addr) == 1;
}

bool tpm_socket_understands(const char *where)
{
	struct sockaddr_in address;

	return read_address(where, &address);
}

skr_status tpm_socket_open(const char *where, struct deadline deadline, int *ret_fd)
{
	auto_fd fd = fd_above_stdio(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	struct sockaddr_in address = {0};
	int error = 0;
	socklen_t size = sizeof(error);
	bool ready = false;

	if (fd < 0)
		return FAIL(16, "a socket to the TPM: %s", strerror(errno));
	if (!read_address(where, &address))
		return FAIL(130, "swtpm:%s: not understood", where);
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 && errno != EINPROGRESS)
		return FAIL(130, "swtpm:%s: %s", where, strerror(errno));
	TRY(wait_for(fd, POLLOUT, deadline, &ready));
	if (!ready || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error)
		return FAIL(130, "swtpm:%s: %s", where, strerror(ready ? error : ETIMEDOUT));
	*ret_fd = fd;
	fd = -1;
	return OK;
}

skr_status tpm_device_send(int fd, const uint8_t *command, size_t len, struct deadline deadline)
{
	for (size_t sent = 0; sent < len;) {
		ssize_t now = write(fd, command + sent, len - sent);
		bool ready;
		if (now >= 0) {
			sent += (size_t)now;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return broken("writing to", errno);
		TRY(wait_for(fd, POLLOUT, deadline, &ready));
		if (!ready)
			return FAIL(130, "the TPM takes no command until the deadline");
	}
	return OK;
}

static uint32_t number_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static skr_status check_size(const uint8_t *reply, size_t len)
{
	uint32_t size = number_at(reply + 2);

	if (size < TPM_MESSAGE_HEADER || size > TPM_MESSAGE_LIMIT || size < len)
		return FAIL(137, "the reply's size field, at offset 2, says %" PRIu32 "; %zu bytes came", size, len);
	return OK;
}

skr_status tpm_reply_check(const uint8_t *reply, size_t len)
{
	if (len < TPM_MESSAGE_HEADER)
		return FAIL(137, "the reply has %zu bytes, its header alone has %d", len, TPM_MESSAGE_HEADER);
	TRY(check_size(reply, len));
	if (number_at(reply + 2) != len)
		return FAIL(137, "the reply's size field, at offset 2, says %" PRIu32 "; %zu bytes came",
		            number_at(reply + 2), len);
	if (number_at(reply + 6) != 0 && len != TPM_MESSAGE_HEADER)
		return FAIL(137, "the reply refuses, by code 0x%03" PRIx32 " at offset 6, and still has %zu bytes",
		            number_at(reply + 6), len);
	unsigned tag = (unsigned)reply[0] << 8 | reply[1];
	if (tag != TAG_NO_SESSIONS && tag != TAG_SESSIONS && tag != TAG_RSP_COMMAND)
		return FAIL(137, "the reply's tag, at offset 0, is %04x", tag);
	return OK;
}

/* Whether all of it is there, as far as its size field can be read. */
static skr_status is_whole(const uint8_t *reply, size_t len, bool *ret)
{
	*ret = false;
	if (len < TPM_MESSAGE_HEADER)
		return OK;
	TRY(check_size(reply, len));
	*ret = number_at(reply + 2) == len;
	return OK;
}

skr_status tpm_device_receive(int fd, struct deadline deadline, uint8_t *reply, size_t *ret_len)
{
	int64_t start = monotonic_ms();
	size_t len = 0;

	for (bool whole = false, ready; !whole;) {
		TRY(wait_for(fd, POLLIN, len ? deadline_within(deadline, REST_MS) : deadline, &ready));
		if (!ready && len)
			return FAIL(137, "the reply ended after %zu bytes", len);
		if (!ready)
			return FAIL(130, "the TPM does not answer: %" PRId64 " ms until the deadline",
			            monotonic_ms() - start);
		ssize_t now = read(fd, reply + len, TPM_MESSAGE_LIMIT - len);
		if (now < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (now < 0)
			return broken("reading from", errno);
		if (now == 0)
			return FAIL(len ? 137 : 130, "the TPM's device ended after %zu bytes of the reply", len);
		len += (size_t)now;
		TRY(is_whole(reply, len, &whole));
	}
	TRY(tpm_reply_check(reply, len));
	*ret_len = len;
	return OK;
}
