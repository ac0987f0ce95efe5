/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include "cli/certificate.h"

#include <openssl/x509v3.h>

#define SOON_DAYS 30

/* The first certificate of a file is the one that counts: authorities stand behind it, or alone in files of theirs. */
static bool fits_a_key(X509 *certificate, EVP_PKEY *const *keys, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (keys[i] && EVP_PKEY_eq(X509_get0_pubkey(certificate), keys[i]) == 1)
			return true;
	return false;
}

static void check_time(struct visit *v, const char *path, X509 *certificate)
{
	static const char fix[] = "skr-pkcs11 csr    # a request for a new one; then have it signed";
	int days = certificate_days_left(certificate);
	auto_buf until = BUF(64);

	if (certificate_date(X509_get0_notAfter(certificate), &until).failure)
		return;
	if (!certificate_has_begun(certificate))
		visit_found(v, VERDICT_WARNING, "certificate", NULL, "%s is not valid yet", path);
	else if (days < 0)
		visit_found(v, VERDICT_BAD, "certificate", fix, "%s expired on %s", path, buf_text(&until));
	else if (days < SOON_DAYS)
		visit_found(v, VERDICT_WARNING, "certificate", fix, "%s expires on %s, in %d day%s", path,
		            buf_text(&until), days, days == 1 ? "" : "s");
	else
		visit_found(v, VERDICT_GOOD, "certificate", NULL, "%s is valid until %s, %d days", path,
		            buf_text(&until), days);
}

static void check_file(struct visit *v, const char *path, EVP_PKEY *const *keys, size_t count)
{
	auto_x509s *certificates = NULL;

	if (certificates_of_file(path, &certificates).failure) {
		const struct status_record record = *status_last();
		const struct ailment ailment = {.config = v->config, .token = v->token};
		char fix[512];
		fix_for(&record, &ailment, fix, sizeof(fix));
		visit_failed(v, VERDICT_BAD, "certificate", -1, &record, fix);
		return;
	}
	X509 *first = sk_X509_value(certificates, 0);
	check_time(v, path, first);
	if (count > 0 && X509_check_ca(first) == 0 && !fits_a_key(first, keys, count))
		visit_found(v, VERDICT_WARNING, "certificate", "skr-pkcs11 csr    # a request for one that does fit",
		            "%s is for none of this token's keys: programs will not find a key for it", path);
}

void doctor_certificates(struct visit *v, EVP_PKEY *const *keys, size_t count)
{
	for (size_t i = 0; i < v->token->certificate_count; i++)
		check_file(v, v->token->certificates[i], keys, count);
}
