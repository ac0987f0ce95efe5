/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_BASE64_H
#define SKR_BASE_BASE64_H

#include "base/buf.h"

/* RFC 4648 section 5 without padding, as JOSE has it (RFC 7515 section 2). Appends to `out`. */
skr_status base64url_encode(const void *data, size_t len, struct buf *out) MUST_CHECK;
/* Strict: no padding, no blanks, no stray bits in the last character. SKR-213 names the offset. Appends to `out`. */
skr_status base64url_decode(const char *text, size_t len, struct buf *out) MUST_CHECK;

/* RFC 4648 section 4 with padding. */
skr_status base64_encode(const void *data, size_t len, struct buf *out) MUST_CHECK;
/* Strict: padding required, no blanks, no stray bits. */
skr_status base64_decode(const char *text, size_t len, struct buf *out) MUST_CHECK;

/* Either alphabet, padded or not, white space at the end allowed: what Azure's services and files mix. */
skr_status base64_decode_any(const char *text, size_t len, struct buf *out) MUST_CHECK;

/* Lower-case hexadecimal. */
skr_status hex_encode(const void *data, size_t len, struct buf *out) MUST_CHECK;
/* Either case; an even number of digits and nothing else, else SKR-213. */
skr_status hex_decode(const char *text, size_t len, struct buf *out) MUST_CHECK;

#endif
