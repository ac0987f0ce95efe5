/* SPDX-License-Identifier: Apache-2.0 */
#include "base/audit_chain.h"

#include "base/base64.h"
#include "base/deadline.h"
#include "base/file.h"
#include "base/ossl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NO_LINE "0000000000000000000000000000000000000000000000000000000000000000"

/* ---- links ---- */

bool audit_link_read(const json *record, struct audit_link *ret)
{
	const char *prev = json_string_or_null(record, "prev");
	int64_t seq;

	if (json_number(json_get(record, "seq"), &seq).failure || seq < 1)
		return false;
	if (!prev || strlen(prev) != AUDIT_HASH_SIZE - 1 || prev[strspn(prev, "0123456789abcdef")])
		return false;
	*ret = (struct audit_link){.seq = seq};
	memcpy(ret->prev, prev, AUDIT_HASH_SIZE);
	return true;
}

skr_status audit_line_hash(const void *line, size_t len, char ret_hash[AUDIT_HASH_SIZE])
{
	uint8_t digest[32];
	auto_buf text = BUF(AUDIT_HASH_SIZE);

	TRY(sha256(line, len, digest));
	TRY(hex_encode(digest, sizeof(digest), &text));
	memcpy(ret_hash, buf_text(&text), AUDIT_HASH_SIZE);
	return OK;
}

/* The link of the line that follows this one. */
static skr_status link_after(const struct buf *line, struct audit_link *ret)
{
	auto_json *record = NULL;
	struct audit_link own = {.seq = 0};

	if (json_parse_large(line->data, line->len, AUDIT_MEMBERS, &record).failure || !audit_link_read(record, &own))
		own.seq = 0;
	ret->seq = own.seq + 1;
	return audit_line_hash(line->data, line->len, ret->prev);
}

/* ---- one file, open and locked ---- */

struct chained_file {
	int fd;
	const char *path;
	int failure; /* the number that what goes wrong gets */
	off_t size;
};
#define auto_chained_file __attribute__((cleanup(chained_file_done))) struct chained_file
static void chained_file_done(const struct chained_file *file)
{
	fd_done(&file->fd); /* and with it the lock */
}

static skr_status lock(const struct chained_file *file, short kind, struct deadline deadline)
{
	const struct timespec nap = {.tv_nsec = 2 * 1000 * 1000};

	for (;;) {
		struct flock whole = {.l_type = kind, .l_whence = SEEK_SET};

		if (fcntl(file->fd, F_OFD_SETLK, &whole) == 0)
			return OK;
		if (errno != EAGAIN && errno != EACCES && errno != EINTR)
			return FAIL(file->failure, "locking %s: %s", file->path, strerror(errno));
		if (!deadline_left(deadline))
			return FAIL(file->failure, "%s: somebody else held the lock for %d ms", file->path,
			            AUDIT_LOCK_WAIT_MS);
		nanosleep(&nap, NULL);
	}
}

static skr_status open_and_lock(struct chained_file *file, int flags, struct deadline deadline)
{
	struct stat about;

	file->fd = fd_above_stdio(open(file->path, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600));
	if (file->fd < 0)
		return FAIL(file->failure, "%s: %s", file->path, strerror(errno));
	TRY(lock(file, (flags & O_ACCMODE) == O_RDONLY ? F_RDLCK : F_WRLCK, deadline));
	if (fstat(file->fd, &about) != 0 || !S_ISREG(about.st_mode))
		return FAIL(file->failure, "%s is not a regular file", file->path);
	file->size = about.st_size;
	return OK;
}

static bool is_still_at(const struct chained_file *file)
{
	struct stat opened, there;

	return fstat(file->fd, &opened) == 0 && stat(file->path, &there) == 0 && opened.st_dev == there.st_dev &&
	       opened.st_ino == there.st_ino;
}

/* The file may be moved away between opening and locking; what is appended to it then would start a second branch. */
static skr_status open_current(struct chained_file *file, struct deadline deadline)
{
	do {
		fd_done(&file->fd);
		TRY(open_and_lock(file, O_RDWR | O_APPEND | O_CREAT, deadline));
		if (is_still_at(file))
			return OK;
	} while (deadline_left(deadline));
	return FAIL(file->failure, "%s is moved away again and again", file->path);
}

/* The last line of a file that is not empty, and whether it ends as lines do. */
static skr_status last_line(const struct chained_file *file, struct buf *ret_line, bool *ret_ended)
{
	size_t want = file->size < AUDIT_LINE_LIMIT ? (size_t)file->size : AUDIT_LINE_LIMIT;
	auto_buf tail = BUF(AUDIT_LINE_LIMIT);
	uint8_t *place;

	TRY(buf_reserve(&tail, want, &place));
	ssize_t got = pread(file->fd, place, want, file->size - (off_t)want);
	if (got != (ssize_t)want)
		return FAIL(file->failure, "reading the last line of %s: %s", file->path,
		            got < 0 ? strerror(errno) : "it became shorter meanwhile");
	*ret_ended = place[want - 1] == '\n';
	size_t len = want - *ret_ended;
	const uint8_t *newline = memrchr(place, '\n', len);
	const uint8_t *start = newline ? newline + 1 : place;
	return buf_append(ret_line, start, len - (size_t)(start - place));
}

/* ---- appending ---- */

/* A new file goes on where the old one, which logrotate calls PATH.1, ended. */
static skr_status link_to_old_file(const struct chained_file *file, struct deadline deadline, struct audit_link *ret)
{
	char path[PATH_MAX];
	auto_chained_file old = {.fd = -1, .path = path, .failure = file->failure};
	auto_buf line = BUF(AUDIT_LINE_LIMIT);
	bool ended;

	*ret = (struct audit_link){.seq = 1, .prev = NO_LINE};
	if ((size_t)snprintf(path, sizeof(path), "%s.1", file->path) >= sizeof(path) || access(path, F_OK) != 0)
		return OK;
	/* Under its lock: who opened it before it was moved may still be writing. */
	TRY(open_and_lock(&old, O_RDONLY, deadline));
	if (old.size == 0)
		return OK;
	TRY(last_line(&old, &line, &ended));
	return link_after(&line, ret);
}

static skr_status link_for(const struct chained_file *file, struct deadline deadline, struct audit_link *ret,
                           bool *ret_ended)
{
	auto_buf line = BUF(AUDIT_LINE_LIMIT);

	*ret_ended = true;
	if (file->size == 0)
		return link_to_old_file(file, deadline, ret);
	TRY(last_line(file, &line, ret_ended));
	return link_after(&line, ret);
}

static skr_status write_line(const struct chained_file *file, const struct buf *line)
{
	ssize_t written = write(file->fd, line->data, line->len);
	int error = errno;

	if (written == (ssize_t)line->len)
		return OK;
	if (written <= 0)
		return FAIL(file->failure, "%s: %s", file->path, strerror(error));
	bool back = ftruncate(file->fd, file->size) == 0;
	return FAIL(file->failure, "%s: only %zd of %zu bytes written%s", file->path, written, line->len,
	            back ? ", and taken back" : "");
}

skr_status audit_chain_append(const char *path, json *record, int failure)
{
	struct deadline deadline = deadline_in(AUDIT_LOCK_WAIT_MS);
	auto_chained_file file = {.fd = -1, .path = path, .failure = failure};
	auto_buf line = BUF(AUDIT_LINE_LIMIT);
	struct audit_link link;
	bool ended;

	TRY(open_current(&file, deadline));
	TRY(link_for(&file, deadline, &link, &ended));
	json_set_number(record, "seq", link.seq);
	json_set_string(record, "prev", link.prev);
	if (!ended)
		TRY(buf_append(&line, "\n", 1));
	TRY(json_print(record, &line));
	TRY(buf_append(&line, "\n", 1));
	return write_line(&file, &line);
}
