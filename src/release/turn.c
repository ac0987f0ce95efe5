/* SPDX-License-Identifier: Apache-2.0 */
#include "release/turn.h"

#include "base/file.h"
#include "base/log.h"
#include "base/ossl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TURNS     2
#define POLL_MS   100
#define SPREAD_MS 2000

static int open_lock(const char *directory, int number)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/login.%d.lock", directory, number) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return fd_above_stdio(open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0660));
}

/* One look at every lock. 0 with a descriptor, EAGAIN if all are held, another errno if none can be used. */
static int try_all(const char *directory, int *ret_fd)
{
	int unusable = 0;

	for (int number = 0; number < TURNS; number++) {
		struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int fd = open_lock(directory, number);
		if (fd < 0) {
			unusable = errno;
			continue;
		}
		if (fcntl(fd, F_SETLK, &whole) == 0) {
			*ret_fd = fd;
			return 0;
		}
		int error = errno;
		close(fd);
		if (error != EAGAIN && error != EACCES)
			unusable = error;
	}
	return unusable ? unusable : EAGAIN;
}

static skr_status pause_ms(int64_t ms, struct deadline deadline, int (*cancelled)(void *), void *with)
{
	for (int64_t end = monotonic_ms() + ms, left; (left = end - monotonic_ms()) > 0;) {
		if (cancelled && cancelled(with))
			return FAIL(403, "while waiting for other processes' logins");
		if (deadline_left(deadline) == 0)
			return FAIL(506, "the deadline came while other processes of this machine logged in");
		if (left > POLL_MS)
			left = POLL_MS;
		nanosleep(&(struct timespec){.tv_sec = 0, .tv_nsec = left * 1000000}, NULL);
	}
	return OK;
}

static int64_t some_delay(void)
{
	uint8_t r[2] = {0};

	if (random_bytes(r, sizeof(r)).failure)
		return SPREAD_MS / 2;
	return (r[0] << 8 | r[1]) * SPREAD_MS / 65536;
}

skr_status turn_take(const char *directory, struct deadline deadline, int (*cancelled)(void *), void *with,
                     struct turn *ret)
{
	int64_t began = monotonic_ms();
	int fd = -1, error = directory ? try_all(directory, &fd) : 0;

	while (error == EAGAIN) {
		TRY(pause_ms(POLL_MS, deadline, cancelled, with));
		error = try_all(directory, &fd);
	}
	if (error) {
		log_line(LOG_LEVEL_WARNING, "runtime_dir %s cannot be used: %s; logins are spread by chance", directory,
		         strerror(error));
		TRY(pause_ms(some_delay(), deadline, cancelled, with));
	}
	*ret = (struct turn){.fd = fd, .ms = monotonic_ms() - began};
	if (ret->ms >= POLL_MS)
		log_line(LOG_LEVEL_INFO, "SKR-401 : waited %lld ms for other processes' logins", (long long)ret->ms);
	return OK;
}

void turn_give(struct turn *turn)
{
	if (turn->fd >= 0)
		close(turn->fd); /* which lets go of the lock */
	turn->fd = -1;
}
