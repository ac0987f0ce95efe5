/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <openssl/crypto.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

skr_status buf_reserve(struct buf *b, size_t len, uint8_t **ret_place)
{
	if (len > b->limit || b->len > b->limit - len)
		return FAIL(208, "%zu bytes more than the limit of %zu", len - (b->limit - b->len), b->limit);

	size_t need = b->len + len + 1;
	if (need > b->room) {
		size_t room = b->room * 2 > need ? b->room * 2 : need;
		if (room < 64)
			room = 64;
		if (room > b->limit + 1)
			room = b->limit + 1;
		/* Not realloc: the old place must be wiped. */
		uint8_t *place = OPENSSL_malloc(room);
		if (!place)
			return FAIL(14, "%zu bytes for a buffer", room);
		if (b->len)
			memcpy(place, b->data, b->len);
		OPENSSL_clear_free(b->data, b->room);
		b->data = place;
		b->room = room;
	}
	b->data[b->len + len] = 0;
	*ret_place = b->data + b->len;
	return OK;
}

skr_status buf_append(struct buf *b, const void *data, size_t len)
{
	uint8_t *place;

	TRY(buf_reserve(b, len, &place));
	if (len)
		memcpy(place, data, len);
	b->len += len;
	b->data[b->len] = 0;
	return OK;
}

skr_status buf_append_text(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

skr_status buf_printf(struct buf *b, const char *format, ...)
{
	va_list args;
	uint8_t *place;

	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return FAIL(599, "unprintable");
	TRY(buf_reserve(b, (size_t)len, &place));
	va_start(args, format);
	vsnprintf((char *)place, (size_t)len + 1, format, args);
	va_end(args);
	b->len += (size_t)len;
	return OK;
}

void buf_clear(struct buf *b)
{
	if (b->data)
		OPENSSL_cleanse(b->data, b->room);
	b->len = 0;
}

void buf_done(struct buf *b)
{
	if (!b)
		return;
	OPENSSL_clear_free(b->data, b->room);
	b->data = NULL;
	b->len = b->room = 0;
}

void buf_move(struct buf *to, struct buf *from)
{
	buf_done(to);
	to->data = from->data;
	to->len = from->len;
	to->room = from->room;
	if (to->limit < from->len)
		to->limit = from->len;
	from->data = NULL;
	from->len = from->room = 0;
}

const char *buf_text(const struct buf *b)
{
	return b->data ? (const char *)b->data : "";
}

char *text_copy(const char *text, size_t len)
{
	char *copy = malloc(len + 1);

	if (copy) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}
