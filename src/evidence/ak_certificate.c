/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/ak_certificate.h"

#include <openssl/asn1.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* How the issuer of what stands there at first is called (Microsoft's guest attestation library). */
#define PLACEHOLDER "MICROSOFT AZURE TRUSTED VM RSA"

#define SEQUENCE    0x30
#define LONG_FORM   0x82 /* two bytes of length follow: no certificate is below 256 bytes, no NV index above 64 KiB */
#define HEADER      4

void ak_certificate_done(struct ak_certificate *certificate)
{
	EVP_PKEY_free(certificate->key);
	*certificate = (struct ak_certificate){0};
}

skr_status ak_certificate_length(const uint8_t *der, size_t len, size_t room, size_t *ret)
{
	static const uint8_t nothing[HEADER];

	if (len >= HEADER && memcmp(der, nothing, HEADER) == 0)
		return FAIL(146, "the attestation key's certificate: the TPM's index for it holds zeros");
	if (len < HEADER || der[0] != SEQUENCE || der[1] != LONG_FORM)
		return FAIL(137, "the attestation key's certificate does not begin as one");
	size_t whole = HEADER + ((size_t)der[2] << 8 | der[3]);
	if (whole > room)
		return FAIL(137, "the attestation key's certificate says it has %zu bytes, there are %zu", whole, room);
	*ret = whole;
	return OK;
}

static skr_status read_issuer(X509 *certificate, char *out, size_t size)
{
	auto_bio *text = BIO_new(BIO_s_mem());
	char *at;

	if (!text || X509_NAME_print_ex(text, X509_get_issuer_name(certificate), 0, XN_FLAG_RFC2253) < 0)
		return ossl_fail(137, "the issuer of the attestation key's certificate");
	long len = BIO_get_mem_data(text, &at);
	snprintf(out, size, "%.*s", (int)len, at);
	return OK;
}

static bool is_placeholder(X509 *certificate)
{
	const X509_NAME *issuer = X509_get_issuer_name(certificate);
	int at = X509_NAME_get_index_by_NID(issuer, NID_commonName, -1);

	if (at < 0)
		return false;
	const ASN1_STRING *name = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(issuer, at));
	size_t len = sizeof(PLACEHOLDER) - 1;
	return (size_t)ASN1_STRING_length(name) >= len && memcmp(ASN1_STRING_get0_data(name), PLACEHOLDER, len) == 0;
}

static skr_status read_days(X509 *certificate, time_t now, struct ak_certificate *ret)
{
	ASN1_TIME *today = ASN1_TIME_set(NULL, now);
	int days, seconds;

	int differs = today ? ASN1_TIME_diff(&days, &seconds, today, X509_get0_notAfter(certificate)) : 0;
	ASN1_TIME_free(today);
	if (!differs)
		return ossl_fail(137, "the end of the attestation key's certificate");
	ret->days = days;
	ret->state = days < 0 || seconds < 0           ? AK_CERTIFICATE_EXPIRED
	             : days < AK_CERTIFICATE_SOON_DAYS ? AK_CERTIFICATE_EXPIRES_SOON
	                                               : AK_CERTIFICATE_GOOD;
	return OK;
}

skr_status ak_certificate_read(const uint8_t *der, size_t len, time_t now, struct ak_certificate *ret)
{
	auto_ak_certificate read = {0};
	const uint8_t *at = der;
	auto_x509 *certificate = X509_new_ex(ossl, NULL);

	if (!certificate)
		return FAIL(14, "the attestation key's certificate");
	if (!d2i_X509(&certificate, &at, (long)len) || at != der + len)
		return ossl_fail(137, "the attestation key's certificate is not one");
	TRY(read_issuer(certificate, read.issuer, sizeof(read.issuer)));
	if (is_placeholder(certificate))
		return FAIL(146, "the attestation key's certificate is the one of before, by %s", read.issuer);
	TRY(read_days(certificate, now, &read));
	read.key = X509_get_pubkey(certificate);
	if (!read.key)
		return ossl_fail(137, "the key of the attestation key's certificate");
	*ret = read;
	read.key = NULL;
	return OK;
}
