/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/trail.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define auto_stream __attribute__((cleanup(stream_done))) FILE
static void stream_done(FILE **stream)
{
	if (*stream && *stream != stdin)
		fclose(*stream);
}

static skr_status open_trail(const char *path, FILE **ret)
{
	struct stat about;
	auto_fd fd = -1;

	if (strcmp(path, "-") == 0) {
		*ret = stdin;
		return OK;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return FAIL(errno == ENOENT || errno == ENOTDIR ? 1 : 2, "%s: %s", path, strerror(errno));
	if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
		return FAIL(2, "%s is not a regular file", path);
	FILE *stream = fdopen(fd, "r");
	if (!stream)
		return FAIL(14, "%s: %s", path, strerror(errno));
	fd = -1;
	*ret = stream;
	return OK;
}

/* Up to and without the newline. Of a line that is longer than `text` may be the rest is passed over. False: none. */
static bool read_line(FILE *stream, struct buf *text, bool *ret_whole)
{
	bool fits = true;
	int c = getc_unlocked(stream);

	buf_clear(text);
	if (c == EOF)
		return false;
	for (; c != EOF && c != '\n'; c = getc_unlocked(stream)) {
		char byte = (char)c;
		fits = fits && !buf_append(text, &byte, 1).failure;
	}
	*ret_whole = fits && c == '\n';
	return true;
}

skr_status trail_read(const char *path, trail_line_fn *take, void *with)
{
	auto_stream *stream = NULL;
	auto_buf text = BUF(AUDIT_LINE_LIMIT);
	struct trail_line line = {.path = path};
	bool more = true;

	TRY(open_trail(path, &stream));
	while (more && read_line(stream, &text, &line.whole)) {
		auto_json *record = NULL;

		line.number++;
		line.text = buf_text(&text);
		line.len = text.len;
		bool parsed = line.whole && !json_parse_large(text.data, text.len, AUDIT_MEMBERS, &record).failure;
		line.record = parsed && json_kind(record) == JSON_OBJECT ? record : NULL;
		more = take(&line, with);
	}
	return ferror(stream) ? FAIL(2, "reading %s: %s", path, strerror(errno)) : OK;
}
