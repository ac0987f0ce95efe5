/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_TLS_H
#define SKR_EMULATOR_TLS_H

#include "emulator/emulator.h"

#include <openssl/ssl.h>

struct tls;

/* The server side of TLS: one context per kind of leaf, made when it is first asked for. */
skr_status tls_open(struct emulator *e, SSL_client_hello_cb_fn hello, struct tls **ret) MUST_CHECK;
void tls_close(struct tls *tls);
/* Borrowed; thread-safe. */
skr_status tls_context(struct tls *tls, enum leaf leaf, SSL_CTX **ret) MUST_CHECK;
/* The name a client asks for, lower case, in its first message; "" if it asks for none. For use in the hello callback.
 */
void tls_asked_name(SSL *ssl, char *out, size_t size);

#endif
