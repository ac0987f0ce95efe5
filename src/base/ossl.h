/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_OSSL_H
#define SKR_BASE_OSSL_H

#include "base/buf.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* Scoped OpenSSL objects: auto_pkey *key = …; hand over with TAKE(key). */
#define AUTO_OSSL(name, type, free_fn)                \
	static inline void name##_done(type **object) \
	{                                             \
		free_fn(*object);                     \
	}
AUTO_OSSL(pkey, EVP_PKEY, EVP_PKEY_free)
AUTO_OSSL(pkey_ctx, EVP_PKEY_CTX, EVP_PKEY_CTX_free)
AUTO_OSSL(md_ctx, EVP_MD_CTX, EVP_MD_CTX_free)
AUTO_OSSL(cipher_ctx, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
AUTO_OSSL(cipher, EVP_CIPHER, EVP_CIPHER_free)
AUTO_OSSL(x509, X509, X509_free)
AUTO_OSSL(bio, BIO, BIO_free_all)
AUTO_OSSL(bn, BIGNUM, BN_free)
AUTO_OSSL(pkcs8, PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free)
static inline void x509s_done(STACK_OF(X509) **certificates)
{
	sk_X509_pop_free(*certificates, X509_free);
}
#define auto_pkey       __attribute__((cleanup(pkey_done))) EVP_PKEY
#define auto_pkey_ctx   __attribute__((cleanup(pkey_ctx_done))) EVP_PKEY_CTX
#define auto_md_ctx     __attribute__((cleanup(md_ctx_done))) EVP_MD_CTX
#define auto_cipher_ctx __attribute__((cleanup(cipher_ctx_done))) EVP_CIPHER_CTX
#define auto_cipher     __attribute__((cleanup(cipher_done))) EVP_CIPHER
#define auto_x509       __attribute__((cleanup(x509_done))) X509
#define auto_x509s      __attribute__((cleanup(x509s_done))) STACK_OF(X509)
#define auto_pkcs8      __attribute__((cleanup(pkcs8_done))) PKCS8_PRIV_KEY_INFO
#define auto_bio        __attribute__((cleanup(bio_done))) BIO
#define auto_bn         __attribute__((cleanup(bn_done))) BIGNUM

/*
 * The library context all our cryptography runs in, never the default one: the default provider and no configuration
 * file. NULL before ossl_open and after a failure.
 */
extern OSSL_LIB_CTX *ossl;

/* Initialises libcrypto without configuration and atexit handlers and makes `ossl`. Again: does nothing. SKR-014. */
skr_status ossl_open(void) MUST_CHECK;

/*
 * A new `ossl` in place of one whose locks a dead thread may hold (a fork at a bad moment). The old one is left alone
 * and leaks, and so must everything made in it.
 */
skr_status ossl_renew(void) MUST_CHECK;

/* FAILs with number `failure` and "what: OpenSSL's own reason", and empties this thread's error queue. */
skr_status ossl_fail(int failure, const char *what);

/* Digests in one call. `out` has room for 32, 48, 64 bytes. SKR-599 if libcrypto fails. */
skr_status sha256(const void *data, size_t len, uint8_t out[32]) MUST_CHECK;

/* Random bytes from the private generator; SKR-015. */
skr_status random_bytes(void *out, size_t len) MUST_CHECK;

/* Reads every certificate of a PEM text, in order. SKR-004 if there is none or one is broken; `ret` owned by the
 * caller. */
skr_status certificates_from_pem(const void *pem, size_t len, STACK_OF(X509) **ret) MUST_CHECK;

/* Constant-time comparison. */
int equal_secret(const void *a, const void *b, size_t len);

#endif
