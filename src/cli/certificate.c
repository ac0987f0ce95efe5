/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/certificate.h"

#include "base/file.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#define FILE_LIMIT (256 * 1024) /* as the module reads them */

/* ---- of the token and of files ---- */

X509 *certificate_of_object(const struct module_token *token, const struct module_object *object)
{
	auto_buf der = BUF(64 * 1024);

	if (object->class != CKO_CERTIFICATE || !module_attribute(token, object->handle, CKA_VALUE, &der))
		return NULL;
	auto_x509 *certificate = X509_new_ex(ossl, NULL);
	const uint8_t *bytes = der.data;
	/* A failure frees what it was given. */
	if (certificate && !d2i_X509(&certificate, &bytes, (long)der.len))
		certificate = NULL;
	return TAKE(certificate);
}

X509 *certificate_of_key(const struct module_token *token, const char *label)
{
	struct module_object objects[MODULE_OBJECTS_MAX];
	size_t count = module_objects(token, objects);

	for (size_t i = 0; i < count; i++)
		if (objects[i].class == CKO_CERTIFICATE && strcmp(objects[i].label, label) == 0)
			return certificate_of_object(token, &objects[i]);
	return NULL;
}

skr_status certificates_of_file(const char *path, STACK_OF(X509) **ret)
{
	auto_buf pem = BUF(FILE_LIMIT);

	TRY(file_read_named(path, &pem));
	skr_status status = certificates_from_pem(pem.data, pem.len, ret);
	return status.failure ? status_prefix(status, "%s", path) : OK;
}

const char *certificate_file(const struct token_config *settings, const X509 *certificate)
{
	for (size_t i = 0; i < settings->certificate_count; i++) {
		auto_x509s *certificates = NULL;
		if (!certificates_of_file(settings->certificates[i], &certificates).failure &&
		    X509_cmp(sk_X509_value(certificates, 0), certificate) == 0)
			return settings->certificates[i];
	}
	return NULL;
}

/* ---- time ---- */

int certificate_days_left(const X509 *certificate)
{
	int days = 0, seconds = 0;

	if (!ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)))
		return -1;
	return days == 0 && seconds < 0 ? -1 : days;
}

bool certificate_has_begun(const X509 *certificate)
{
	return X509_cmp_current_time(X509_get0_notBefore(certificate)) < 0;
}

/* ---- in words ---- */

static skr_status take_text(BIO *bio, struct buf *out)
{
	char *text;
	long len = BIO_get_mem_data(bio, &text);

	return buf_append(out, text, (size_t)len);
}

skr_status certificate_name(const X509_NAME *name, struct buf *out)
{
	auto_bio *bio = BIO_new(BIO_s_mem());

	if (!bio || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
		return ossl_fail(14, "a name");
	return X509_NAME_entry_count(name) ? take_text(bio, out) : buf_append_text(out, "nobody");
}

static void names_done(GENERAL_NAMES **names)
{
	GENERAL_NAMES_free(*names);
}

skr_status certificate_alternative_names(const X509 *certificate, struct buf *out)
{
	__attribute__((cleanup(names_done))) GENERAL_NAMES *names =
	    X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	auto_bio *bio = BIO_new(BIO_s_mem());

	for (int i = 0; bio && i < sk_GENERAL_NAME_num(names); i++)
		if ((i && BIO_puts(bio, ", ") <= 0) || !GENERAL_NAME_print(bio, sk_GENERAL_NAME_value(names, i)))
			return ossl_fail(14, "alternative names");
	return bio ? take_text(bio, out) : ossl_fail(14, "alternative names");
}

skr_status certificate_date(const ASN1_TIME *time, struct buf *out)
{
	struct tm tm;
	char text[32];

	if (!ASN1_TIME_to_tm(time, &tm) || !strftime(text, sizeof(text), "%Y-%m-%d", &tm))
		return buf_append_text(out, "?");
	return buf_append_text(out, text);
}

skr_status certificates_to_pem(const STACK_OF(X509) *certificates, struct buf *out)
{
	auto_bio *bio = BIO_new(BIO_s_mem());

	for (int i = 0; bio && i < sk_X509_num(certificates); i++)
		if (!PEM_write_bio_X509(bio, sk_X509_value(certificates, i)))
			return ossl_fail(14, "PEM text");
	return bio ? take_text(bio, out) : ossl_fail(14, "PEM text");
}
