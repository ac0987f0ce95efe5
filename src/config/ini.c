/* SPDX-License-Identifier: Apache-2.0 */
#include "config/ini.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

skr_status ini_fail(const struct ini_line *line, const char *format, ...)
{
	char what[400];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	if (line->name)
		return FAIL(4, "%s:%d: %s: %s", line->path, line->number, line->name, what);
	if (line->section)
		return FAIL(4, "%s:%d: [%s]: %s", line->path, line->number, line->section, what);
	return FAIL(4, "%s:%d: %s", line->path, line->number, what);
}

/* Length of the UTF-8 sequence at `p` of at most `left` bytes; 0 if it is none (overlong and surrogates included). */
static size_t utf8_length(const uint8_t *p, size_t left)
{
	static const struct {
		uint8_t mask, lead;
		size_t length;
		uint32_t least;
	} forms[] = {{0x80, 0x00, 1, 0}, {0xe0, 0xc0, 2, 0x80}, {0xf0, 0xe0, 3, 0x800}, {0xf8, 0xf0, 4, 0x10000}};

	for (size_t f = 0; f < sizeof(forms) / sizeof(*forms); f++) {
		if ((p[0] & forms[f].mask) != forms[f].lead || left < forms[f].length)
			continue;
		uint32_t code = p[0] & (uint8_t)~forms[f].mask;
		for (size_t i = 1; i < forms[f].length; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (p[i] & 0x3f);
		}
		if (code < forms[f].least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return 0;
		return forms[f].length;
	}
	return 0;
}

/* Offset of the first byte that may not stand in a line; `len` if there is none. */
static size_t first_stray_byte(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text;
	size_t at = 0;

	while (at < len) {
		size_t step = utf8_length(p + at, len - at);
		if (step == 0 || (p[at] < 0x20 && p[at] != '\t') || p[at] == 0x7f)
			return at;
		at += step;
	}
	return len;
}

bool ini_text_is_clean(const char *text, size_t len)
{
	return first_stray_byte(text, len) == len;
}

static skr_status check_bytes(const struct ini_line *line, const char *text, size_t len)
{
	size_t at = first_stray_byte(text, len);

	if (at == len)
		return OK;
	if (text[at] == '\r' && at + 1 == len)
		return ini_fail(line, "the line ends with CR LF: save the file with Unix line ends");
	return ini_fail(line, "byte 0x%02x in column %zu is not text", (unsigned)(uint8_t)text[at], at + 1);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool starts_comment(char c)
{
	return c == '#' || c == ';';
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *text)
{
	while (is_blank(*text))
		text++;
	size_t len = strlen(text);
	while (len > 0 && is_blank(text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

/* Cuts a comment off: at the start of the line, or behind white space. */
static void cut_comment(char *text)
{
	for (char *p = text; *p; p++)
		if (starts_comment(*p) && (p == text || is_blank(p[-1]))) {
			*p = '\0';
			return;
		}
}

/* `text` is "[…" without comment and blanks at its ends; the section's name replaces `section`. */
static skr_status take_section(struct ini_line *line, char *text, char section[INI_LINE_LIMIT + 1])
{
	char *end = strchr(text, ']');

	if (!end || end[1] != '\0')
		return ini_fail(line, "a section is [NAME] and nothing else");
	*end = '\0';
	char *name = trim(text + 1);
	if (*name == '\0' || strchr(name, '['))
		return ini_fail(line, "a section is [NAME] and nothing else");
	memcpy(section, name, strlen(name) + 1);
	line->section = section;
	return OK;
}

static skr_status take_setting(struct ini_line *line, char *text)
{
	char *equals = strchr(text, '=');

	if (!equals)
		return ini_fail(line, "neither a [section], nor NAME = VALUE, nor a comment");
	*equals = '\0';
	const char *name = trim(text), *value = trim(equals + 1);
	if (*name == '\0' || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
		return ini_fail(line, "the name of a setting is of a-z, 0-9 and _");
	line->name = name;
	line->value = value;
	if (*value == '\0')
		return ini_fail(line, "no value: leave the line out to get the default");
	return OK;
}

/* What the last [section] line said, and the line in hand. */
struct ini_reader {
	char section[INI_LINE_LIMIT + 1];
	char text[INI_LINE_LIMIT + 1];
	bool in_section;
};

static skr_status read_line(struct ini_reader *reader, struct ini_line *line, ini_fn *each, void *with)
{
	char *text = reader->text;

	line->section = line->name = line->value = NULL;
	cut_comment(text);
	text = trim(text);
	if (*text == '\0')
		return OK;
	if (*text == '[') {
		TRY(take_section(line, text, reader->section));
		reader->in_section = true;
		return each(line, with);
	}
	TRY(take_setting(line, text));
	if (!reader->in_section)
		return ini_fail(line, "stands before the first [section]");
	line->section = reader->section;
	return each(line, with);
}

skr_status ini_read(const char *path, const char *text, size_t len, ini_fn *each, void *with)
{
	struct ini_reader reader = {.in_section = false};
	struct ini_line line = {.path = path};

	if (len > INI_FILE_LIMIT)
		return FAIL(3, "%s: %zu bytes, more than the limit of %d", path, len, INI_FILE_LIMIT);
	for (size_t at = 0; at < len;) {
		const char *start = text + at, *end = memchr(start, '\n', len - at);
		size_t length = end ? (size_t)(end - start) : len - at;

		line.number++;
		line.section = line.name = line.value = NULL;
		if (length > INI_LINE_LIMIT)
			return ini_fail(&line, "%zu bytes, more than the limit of %d of a line", length,
			                INI_LINE_LIMIT);
		TRY(check_bytes(&line, start, length));
		memcpy(reader.text, start, length);
		reader.text[length] = '\0';
		TRY(read_line(&reader, &line, each, with));
		at += length + 1;
	}
	return OK;
}
