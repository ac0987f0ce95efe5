/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static skr_status write_all(int fd, const struct buf *content)
{
	for (size_t at = 0; at < content->len;) {
		ssize_t put = write(fd, content->data + at, content->len - at);
		if (put < 0 && errno != EINTR)
			return FAIL(2, "%s", strerror(errno));
		at += put > 0 ? (size_t)put : 0;
	}
	return OK;
}

static skr_status fill(int fd, const struct buf *content)
{
	mode_t mask = umask(0);

	umask(mask);
	TRY(write_all(fd, content));
	if (fchmod(fd, 0644 & ~mask) != 0 || fsync(fd) != 0)
		return FAIL(2, "%s", strerror(errno));
	return OK;
}

static skr_status replace(const char *path, char *fresh, const struct buf *content)
{
	auto_fd fd = mkostemp(fresh, O_CLOEXEC);

	if (fd < 0)
		return FAIL(2, "%s", strerror(errno));
	skr_status status = fill(fd, content);
	if (!status.failure && rename(fresh, path) != 0)
		status = FAIL(2, "%s", strerror(errno));
	if (status.failure)
		unlink(fresh);
	return status;
}

skr_status output_write(const char *path, const struct buf *content)
{
	auto_buf fresh = BUF(8 * 1024);

	TRY(buf_printf(&fresh, "%s.XXXXXX", path));
	skr_status status = replace(path, (char *)fresh.data, content);
	return status.failure ? status_prefix(status, "%s cannot be written", path) : OK;
}
