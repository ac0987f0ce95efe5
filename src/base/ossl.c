/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ossl.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

OSSL_LIB_CTX *ossl;

skr_status ossl_renew(void)
{
	OSSL_LIB_CTX *fresh = OSSL_LIB_CTX_new();

	if (!fresh || !OSSL_PROVIDER_load(fresh, "default"))
		return ossl_fail(14, "libcrypto's library context");
	ossl = fresh;
	return OK;
}

skr_status ossl_open(void)
{
	if (ossl)
		return OK;
	/* Not NO_ADD_ALL_DIGESTS: X509_verify finds a certificate's digest by that table, even in a context of our own.
	 */
	if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT |
	                             OPENSSL_INIT_NO_ADD_ALL_CIPHERS | OPENSSL_INIT_LOAD_CRYPTO_STRINGS,
	                         NULL))
		return FAIL(14, "libcrypto does not start");
	return ossl_renew();
}

skr_status ossl_fail(int failure, const char *what)
{
	char reason[160] = "no reason given";
	unsigned long code = ERR_peek_last_error();

	if (code)
		ERR_error_string_n(code, reason, sizeof(reason));
	ERR_clear_error();
	return FAIL(failure, "%s: %s", what, reason);
}

skr_status sha256(const void *data, size_t len, uint8_t out[32])
{
	if (!EVP_Q_digest(ossl, "SHA2-256", NULL, data, len, out, NULL))
		return ossl_fail(599, "SHA-256");
	return OK;
}

skr_status random_bytes(void *out, size_t len)
{
	if (RAND_priv_bytes_ex(ossl, out, len, 0) != 1)
		return ossl_fail(15, "random bytes");
	return OK;
}

skr_status certificates_from_pem(const void *pem, size_t len, STACK_OF(X509) **ret)
{
	auto_bio *bio = BIO_new_mem_buf(pem, (int)len);
	auto_x509s *certificates = sk_X509_new_null();

	if (!bio || !certificates)
		return FAIL(14, "certificates");
	for (;;) {
		auto_x509 *certificate = X509_new_ex(ossl, NULL);
		if (!certificate)
			return FAIL(14, "certificates");
		if (!PEM_read_bio_X509(bio, &certificate, NULL, NULL)) {
			/* PEM_read frees what it was given when it fails half-way. */
			unsigned long code = ERR_peek_last_error();
			ERR_clear_error();
			if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE)
				break;
			return FAIL(4, "certificate %d in the PEM text is broken", sk_X509_num(certificates) + 1);
		}
		if (!sk_X509_push(certificates, certificate))
			return FAIL(14, "certificates");
		certificate = NULL;
	}
	if (sk_X509_num(certificates) == 0)
		return FAIL(4, "no PEM certificate in it");
	*ret = TAKE(certificates);
	return OK;
}

int equal_secret(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
