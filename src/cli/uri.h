/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_URI_H
#define SKR_CLI_URI_H

#include "base/buf.h"

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

/* PKCS#11 URIs as RFC 7512 has them; everything but letters, digits and - . _ ~ is percent-encoded. Each appends to
 * `out`. */
skr_status uri_of_token(const CK_TOKEN_INFO *token, struct buf *out) MUST_CHECK;

/* The token's URI, then id, object and type. An empty label or id is left out; so is the type of other classes. */
struct uri_object {
	CK_OBJECT_CLASS class;
	const uint8_t *id, *label;
	size_t id_len, label_len;
};
skr_status uri_of_object(const CK_TOKEN_INFO *token, const struct uri_object *object, struct buf *out) MUST_CHECK;

/* Length of a text field of PKCS#11, which is filled up with blanks. */
size_t uri_field_length(const CK_UTF8CHAR *field, size_t size);

#endif
