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

/*
 * As a person would write it: pkcs11:token=TOKEN;object=LABEL;type=…, where `label` and `token` are text. What the
 * configurations of programs name a key or a certificate by.
 */
skr_status uri_of_label(const char *token, const char *label, CK_OBJECT_CLASS class, struct buf *out) MUST_CHECK;

/*
 * The PEM text of a file that only says where a key is (pkcs11-provider's "PKCS#11 Provider URI v1.0"): programs that
 * read PEM through OpenSSL 3 take it for the key itself.
 */
skr_status uri_to_pem(const char *uri, struct buf *out) MUST_CHECK;

/* Length of a text field of PKCS#11, which is filled up with blanks. */
size_t uri_field_length(const CK_UTF8CHAR *field, size_t size);

#endif
