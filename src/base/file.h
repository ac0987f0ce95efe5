/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_FILE_H
#define SKR_BASE_FILE_H

#include "base/buf.h"

#include <unistd.h>

/* A descriptor that is closed at the end of its scope; -1: none. */
#define auto_fd __attribute__((cleanup(fd_done))) int
static inline void fd_done(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/*
 * Reads a whole regular file (or what a sysfs or procfs file gives) into `out`, at most its limit. O_CLOEXEC,
 * descriptor >= 3. SKR-001 not there, SKR-002 not readable, SKR-208 above the limit; the sentence names path, errno
 * and, for 002, uid and mode.
 */
skr_status file_read(const char *path, struct buf *out) MUST_CHECK;

/* The same for a file that a setting names: missing, empty or unreadable, it is SKR-008, and no matter of rights to
 * the configuration. */
skr_status file_read_named(const char *path, struct buf *out) MUST_CHECK;

/*
 * The same for files that steer us (threat model D-14): O_NOFOLLOW, regular, owner root or the effective uid, not
 * writable by group or others, and the same for each parent directory up to the root (a sticky world-writable one
 * counts as unsafe). SKR-003 names the element, its owner and mode.
 */
skr_status file_read_trusted(const char *path, struct buf *out) MUST_CHECK;

/* The same test of an executable or directory without reading it. */
skr_status file_check_trusted(const char *path) MUST_CHECK;

/*
 * Moves a descriptor out of 0..2, where the host (started with them closed) would print into it (D-7), and sets
 * FD_CLOEXEC. Returns the new descriptor, or -1 with errno (the old one is closed in any case). Takes -1 and gives it
 * back.
 */
int fd_above_stdio(int fd);

#endif
