/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/ak_certificate.h"

#include "emulator/certificate.h"

#include <openssl/err.h>

#include <string.h>
#include <time.h>

#define PEM_LIMIT (64 * 1024)

struct ak_authority {
	STACK_OF(X509) *certificates;
	EVP_PKEY *key;
};

static void authority_done(struct ak_authority *authority)
{
	x509s_done(&authority->certificates);
	EVP_PKEY_free(authority->key);
}

static skr_status authority_read(struct emulator *e, struct ak_authority *ret)
{
	auto_buf pem = BUF(PEM_LIMIT);
	TRY(emulator_read(e, "vtpm-ca.pem", &pem));
	TRY(certificates_from_pem(pem.data, pem.len, &ret->certificates));
	TRY(emulator_key(e, "vtpm-ca.key", 2048, NULL, &ret->key));
	if (EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(ret->certificates, 0)), ret->key) != 1)
		return FAIL(599, "vtpm-ca.key is not the key of vtpm-ca.pem");
	return OK;
}

static skr_status check_issuer(X509 *certificate, EVP_PKEY *authority)
{
	int good = X509_verify(certificate, authority);
	ERR_clear_error();
	return good == 1 ? OK : FAIL(117, "the certificate is of another authority than this machine's");
}

static skr_status set_dates_and_serial(X509 *certificate)
{
	uint64_t serial;
	time_t now = time(NULL);
	TRY(random_bytes(&serial, sizeof(serial)));
	if (ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) != 1 ||
	    !X509_time_adj_ex(X509_getm_notBefore(certificate), -1, 0, &now) ||
	    !X509_time_adj_ex(X509_getm_notAfter(certificate), 365, 0, &now))
		return ossl_fail(599, "renewing a certificate");
	return OK;
}

static skr_status renewed(X509 *certificate, EVP_PKEY *key, struct buf *out)
{
	auto_x509 *fresh = X509_dup(certificate);
	auto_md_ctx *md = EVP_MD_CTX_new();
	if (!fresh || !md)
		return ossl_fail(14, "renewing a certificate");
	TRY(set_dates_and_serial(fresh));
	if (EVP_DigestSignInit_ex(md, NULL, "SHA256", ossl, NULL, key, NULL) != 1 || X509_sign_ctx(fresh, md) <= 0)
		return ossl_fail(599, "renewing a certificate");
	return certificate_to_pem(fresh, out);
}

skr_status ak_certificate_renew(struct emulator *e, const char *pem, struct buf *out)
{
	__attribute__((cleanup(authority_done))) struct ak_authority authority = {0};
	auto_x509s *sent = NULL;
	TRY(authority_read(e, &authority));
	if (certificates_from_pem(pem, strlen(pem), &sent).failure || sk_X509_num(sent) != 1)
		return FAIL(213, "the body is not one certificate");
	TRY(check_issuer(sk_X509_value(sent, 0), authority.key));
	return renewed(sk_X509_value(sent, 0), authority.key, out);
}
