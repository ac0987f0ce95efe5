/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_CERTIFICATE_H
#define SKR_CLI_CERTIFICATE_H

#include "cli/module.h"

#include "base/ossl.h"

/* The certificate that an object of the token is; NULL: it is none, or broken. Owned by the caller. */
X509 *certificate_of_object(const struct module_token *token, const struct module_object *object) MUST_CHECK;

/* What the token shows as the certificate of the key with this label; NULL: none. Needs no login. The caller's. */
X509 *certificate_of_key(const struct module_token *token, const char *label) MUST_CHECK;

/* The certificates of a PEM file, in its order; what certificates_from_pem and file_read say of it. The caller's. */
skr_status certificates_of_file(const char *path, STACK_OF(X509) **ret) MUST_CHECK;

/*
 * The first file of the configuration that begins with this certificate; NULL: none. Borrowed from `settings`. Files
 * that cannot be read are passed over.
 */
const char *certificate_file(const struct token_config *settings, const X509 *certificate);

/* How long it is valid. Negative: no more; certificates that never expire have a great many days. */
int certificate_days_left(const X509 *certificate);
bool certificate_has_begun(const X509 *certificate);

/* In words, appended: "CN=www.example.com,O=Example", "DNS:www.example.com, IP Address:192.0.2.1", "2026-11-22". */
skr_status certificate_name(const X509_NAME *name, struct buf *out) MUST_CHECK;
skr_status certificate_alternative_names(const X509 *certificate, struct buf *out) MUST_CHECK;
skr_status certificate_date(const ASN1_TIME *time, struct buf *out) MUST_CHECK;

/* PEM text of all of them, appended. */
skr_status certificates_to_pem(const STACK_OF(X509) *certificates, struct buf *out) MUST_CHECK;

#endif
