/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int fd_above_stdio(int fd)
{
	if (fd < 0 || fd > STDERR_FILENO) {
		if (fd >= 0)
			fcntl(fd, F_SETFD, FD_CLOEXEC);
		return fd;
	}
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int saved = errno;
	close(fd);
	errno = saved;
	return moved;
}

static skr_status open_failed(const char *path, int error)
{
	struct stat about;

	if (error == ENOENT || error == ENOTDIR)
		return FAIL(1, "%s: %s", path, strerror(error));
	if (error == ELOOP)
		return FAIL(3, "%s is a symbolic link", path);
	if (error == EMFILE || error == ENFILE)
		return FAIL(16, "opening %s: %s", path, strerror(error));
	if (stat(path, &about) == 0)
		return FAIL(2, "%s: %s (this is uid %ld; the file is uid %ld's with mode %04o)", path, strerror(error),
		            (long)geteuid(), (long)about.st_uid, (unsigned)about.st_mode & 07777);
	return FAIL(2, "%s: %s (this is uid %ld)", path, strerror(error), (long)geteuid());
}

static skr_status read_all(int fd, const char *path, struct buf *out)
{
	for (;;) {
		char piece[4096]; /* small files; what is secret in them is wiped below */
		ssize_t got = read(fd, piece, sizeof(piece));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return FAIL(2, "reading %s: %s", path, strerror(errno));
		if (got == 0)
			return OK;
		skr_status status = buf_append(out, piece, (size_t)got);
		explicit_bzero(piece, sizeof(piece));
		if (status.failure)
			return status_prefix(status, "%s", path);
	}
}

skr_status file_read(const char *path, struct buf *out)
{
	struct stat about;
	auto_fd fd = fd_above_stdio(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));

	if (fd < 0)
		return open_failed(path, errno);
	if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
		return FAIL(2, "%s is not a regular file", path);
	return read_all(fd, path, out);
}

skr_status file_read_named(const char *path, struct buf *out)
{
	skr_status status = file_read(path, out);

	if (status.failure == 1 || status.failure == 2)
		return FAIL(8, "%s", status_message());
	if (!status.failure && out->len == 0)
		return FAIL(8, "%s is empty", path);
	return status;
}

static skr_status check_owner_and_mode(const char *path, const struct stat *about)
{
	if (about->st_uid != 0 && about->st_uid != geteuid())
		return FAIL(3, "%s belongs to uid %ld, neither root nor this process (uid %ld)", path,
		            (long)about->st_uid, (long)geteuid());
	if (about->st_mode & (S_IWGRP | S_IWOTH))
		return FAIL(3, "%s (mode %04o, uid %ld) can be written by group or others", path,
		            (unsigned)about->st_mode & 07777, (long)about->st_uid);
	return OK;
}

static skr_status check_parents(const char *path)
{
	char parent[PATH_MAX];
	struct stat about;
	size_t len = strlen(path);

	if (path[0] != '/' || len >= sizeof(parent))
		return FAIL(3, "%s is not an absolute path", path);
	memcpy(parent, path, len + 1);
	for (;;) {
		char *slash = strrchr(parent, '/');
		if (slash == parent)
			slash[1] = '\0';
		else
			*slash = '\0';
		if (stat(parent, &about) != 0)
			return FAIL(2, "%s: %s", parent, strerror(errno));
		TRY(check_owner_and_mode(parent, &about));
		if (parent[1] == '\0')
			return OK;
	}
}

static skr_status check_resolved(const char *path)
{
	char resolved[PATH_MAX];

	/* Directories on the way may be links (/lib is); what they lead to is what is checked, as well as what is
	 * written. */
	TRY(check_parents(path));
	if (!realpath(path, resolved))
		return open_failed(path, errno);
	return strcmp(path, resolved) == 0 ? OK : check_parents(resolved);
}

skr_status file_read_trusted(const char *path, struct buf *out)
{
	struct stat about;
	auto_fd fd = fd_above_stdio(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW));

	if (fd < 0)
		return open_failed(path, errno);
	if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
		return FAIL(3, "%s is not a regular file", path);
	TRY(check_owner_and_mode(path, &about));
	TRY(check_resolved(path));
	return read_all(fd, path, out);
}

skr_status file_check_trusted(const char *path)
{
	struct stat about;

	if (lstat(path, &about) != 0)
		return open_failed(path, errno);
	if (S_ISLNK(about.st_mode))
		return FAIL(3, "%s is a symbolic link", path);
	TRY(check_owner_and_mode(path, &about));
	return check_resolved(path);
}
