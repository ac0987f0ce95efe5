/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/tls.h"

#include <ctype.h>
#include <stdlib.h>

#define LEAVES (LEAF_SHA1 + 1)

struct tls {
	struct emulator *e;
	SSL_client_hello_cb_fn hello;
	pthread_mutex_t lock;
	SSL_CTX *contexts[LEAVES];
};

skr_status tls_open(struct emulator *e, SSL_client_hello_cb_fn hello, struct tls **ret)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	SSL_CTX *unused;

	if (!tls)
		return FAIL(14, "TLS");
	tls->e = e;
	tls->hello = hello;
	pthread_mutex_init(&tls->lock, NULL);
	skr_status status = tls_context(tls, LEAF_GOOD, &unused);
	if (status.failure) {
		tls_close(tls);
		return status;
	}
	*ret = tls;
	return OK;
}

void tls_close(struct tls *tls)
{
	if (!tls)
		return;
	for (int i = 0; i < LEAVES; i++)
		SSL_CTX_free(tls->contexts[i]);
	pthread_mutex_destroy(&tls->lock);
	free(tls);
}

/* The chain as servers send it: without the root. */
static int use_credential(SSL_CTX *context, const struct credential *credential)
{
	int count = sk_X509_num(credential->chain);

	if (SSL_CTX_use_certificate(context, sk_X509_value(credential->chain, 0)) != 1 ||
	    SSL_CTX_use_PrivateKey(context, credential->key) != 1)
		return 0;
	for (int i = 1; i < count - 1; i++)
		if (SSL_CTX_add1_chain_cert(context, sk_X509_value(credential->chain, i)) != 1)
			return 0;
	return 1;
}

static skr_status make_context(struct tls *tls, enum leaf leaf, SSL_CTX **ret)
{
	const struct credential *credential;

	TRY(authority_tls(tls->e, leaf, &credential));
	SSL_CTX *context = SSL_CTX_new_ex(ossl, NULL, TLS_server_method());
	if (!context)
		return ossl_fail(599, "a TLS context");
	if (leaf != LEAF_GOOD)
		SSL_CTX_set_security_level(context, 0);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(context, 0);
	SSL_CTX_set_client_hello_cb(context, tls->hello, NULL);
	if (use_credential(context, credential) != 1) {
		SSL_CTX_free(context);
		return ossl_fail(599, "the certificate of the https port");
	}
	*ret = context;
	return OK;
}

skr_status tls_context(struct tls *tls, enum leaf leaf, SSL_CTX **ret)
{
	skr_status status = OK;

	pthread_mutex_lock(&tls->lock);
	if (!tls->contexts[leaf])
		status = make_context(tls, leaf, &tls->contexts[leaf]);
	if (!status.failure)
		*ret = tls->contexts[leaf];
	pthread_mutex_unlock(&tls->lock);
	return status;
}

/* RFC 6066 section 3: list length (2 bytes), type 0 (1), name length (2), name. */
void tls_asked_name(SSL *ssl, char *out, size_t size)
{
	const unsigned char *data;
	size_t len, name_len;

	out[0] = '\0';
	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &len) != 1 || len < 5 || data[2] != 0)
		return;
	name_len = (size_t)data[3] << 8 | data[4];
	if (name_len > len - 5 || name_len >= size)
		return;
	for (size_t i = 0; i < name_len; i++)
		out[i] = (char)tolower(data[5 + i]);
	out[name_len] = '\0';
}
