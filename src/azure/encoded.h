/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_ENCODED_H
#define SKR_AZURE_ENCODED_H

#include "base/base64.h"
#include "base/json.h"

/* Bytes as a member of a request: each service says which alphabet it wants. */
typedef skr_status encode_fn(const void *data, size_t len, struct buf *out);

/* Sets `name` to the bytes' text by base64_encode or base64url_encode. SKR-014. */
static inline skr_status set_encoded(json *object, const char *name, const void *data, size_t len, encode_fn *encode)
{
	auto_buf text = BUF(len * 4 / 3 + 4);

	TRY(encode(data, len, &text));
	json_set_string(object, name, buf_text(&text));
	return OK;
}

#endif
