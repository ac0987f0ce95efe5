/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_BUF_H
#define SKR_BASE_BUF_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Bytes that grow up to a limit, and are wiped on release, so that nobody has to decide which ones were secret. The
 * memory is OPENSSL_malloc's: in the module that is the arena, never the host's heap. There is no printer.
 *
 *     auto_buf b = BUF(16 * 1024);
 *
 * data[len] is always 0 once something was appended, so text can be used as a string; `len` does not count it.
 */
struct buf {
	uint8_t *data; /* NULL while nothing was appended */
	size_t len;
	size_t room;  /* allocated */
	size_t limit; /* len never exceeds it */
};

#define BUF(limit_) ((struct buf){.limit = (limit_)})
#define auto_buf    __attribute__((cleanup(buf_done))) struct buf

/* Each refuses with SKR-208 above the limit and SKR-014 without memory, and then changes nothing. */
skr_status buf_append(struct buf *b, const void *data, size_t len) MUST_CHECK;
skr_status buf_append_text(struct buf *b, const char *text) MUST_CHECK;
skr_status buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3))) MUST_CHECK;
/* Makes room for `len` more bytes and gives their place; they count only after b->len is raised by the caller. */
skr_status buf_reserve(struct buf *b, size_t len, uint8_t **ret_place) MUST_CHECK;

/* Wipes and forgets the bytes; the limit and the memory stay. */
void buf_clear(struct buf *b);
/* Wipes and releases. Takes NULL and empty ones. */
void buf_done(struct buf *b);
/* Moves the bytes out: `to` (released first) owns them afterwards, and `from` is empty. */
void buf_move(struct buf *to, struct buf *from);
/* The text, "" if empty. Borrowed. */
const char *buf_text(const struct buf *b);

/*
 * A copy on the heap, for free(); NULL without memory. The module uses it in place of strdup(): a host with an
 * allocator of its own (jemalloc in BIND) may load the module by RTLD_DEEPBIND, and then what libc allocates in
 * strdup() comes from the host's allocator, while free() here is libc's.
 */
char *text_copy(const char *text, size_t len);

/* The value of the variable, which is cleared: the one place where ownership leaves a scope. */
#define TAKE(variable)                                    \
	({                                                \
		__typeof__(variable) taken_ = (variable); \
		(variable) = NULL;                        \
		taken_;                                   \
	})

#endif
