/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/endorsement.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <inttypes.h>
#include <string.h>

void endorsement_done(struct endorsement *endorsement)
{
	sk_X509_pop_free(endorsement->chain, X509_free);
	*endorsement = (struct endorsement){0};
}

/* The table: entries of GUID, offset, length, ended by one of zeros; the certificates follow. */
enum { ENTRY_SIZE = 24, ENTRY_AT_OFFSET = 16, ENTRY_AT_LENGTH = 20, CERTIFICATE_LIMIT = 8 * 1024 };

/* GUIDs in the order of their text. */
static const uint8_t guid_vcek[16] = {0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64,
                                      0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd};
static const uint8_t guid_vlek[16] = {0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e,
                                      0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1};
static const uint8_t guid_ask[16] = {0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4,
                                     0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82};
static const uint8_t guid_ark[16] = {0xc0, 0xb4, 0x06, 0xa4, 0xa8, 0x03, 0x49, 0x52,
                                     0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae};

struct span {
	const uint8_t *at; /* NULL: not there */
	size_t len;
};

static uint32_t little_endian_32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* How many bytes the entries take, the one of zeros included. */
static skr_status table_entries(const uint8_t *table, size_t len, size_t *ret_end)
{
	static const uint8_t last[16];

	for (size_t at = 0; len - at >= ENTRY_SIZE; at += ENTRY_SIZE) {
		if (memcmp(table + at, last, sizeof(last)) == 0) {
			*ret_end = at + ENTRY_SIZE;
			return OK;
		}
	}
	return FAIL(143, "the certificate table of %zu bytes has no last entry", len);
}

/* The blob of one GUID. Every bound is one of ours, none is computed from what the table says. */
static skr_status table_find(const uint8_t *table, size_t len, size_t entries, const uint8_t guid[16], struct span *ret)
{
	struct span found = {0};

	for (size_t at = 0; at + ENTRY_SIZE < entries; at += ENTRY_SIZE) {
		uint32_t offset = little_endian_32(table + at + ENTRY_AT_OFFSET);
		uint32_t length = little_endian_32(table + at + ENTRY_AT_LENGTH);
		if (offset < entries || offset > len || length > len - offset)
			return FAIL(143,
			            "entry %zu of the certificate table points to %" PRIu32 "+%" PRIu32
			            ", outside its %zu bytes",
			            at / ENTRY_SIZE, offset, length, len);
		if (memcmp(table + at, guid, 16) == 0 && !found.at)
			found = (struct span){table + offset, length};
	}
	*ret = found;
	return OK;
}

static skr_status certificate_from_der(struct span der, X509 **ret)
{
	const unsigned char *at = der.at;

	if (der.len > CERTIFICATE_LIMIT)
		return FAIL(143, "a certificate of %zu bytes in the certificate table", der.len);
	X509 *certificate = X509_new_ex(ossl, NULL);
	if (!certificate)
		return FAIL(14, "a certificate");
	/* d2i frees what it was given when it fails, and leaves NULL. */
	if (!d2i_X509(&certificate, &at, (long)der.len) || at != der.at + der.len) {
		X509_free(certificate);
		return ossl_fail(143, "a certificate of the certificate table");
	}
	*ret = certificate;
	return OK;
}

skr_status endorsement_from_table(const void *table, size_t len, const struct snp_report *report,
                                  struct endorsement *ret)
{
	const uint8_t *leaf = report->signing_key == SNP_SIGNED_BY_VLEK ? guid_vlek : guid_vcek;
	const uint8_t *const guids[3] = {leaf, guid_ask, guid_ark};
	struct span ders[3];
	size_t entries;

	*ret = (struct endorsement){0};
	if (len == 0)
		return OK;
	if (len > CERTIFICATE_TABLE_LIMIT)
		return FAIL(113, "a certificate table of %zu bytes", len);
	TRY(table_entries(table, len, &entries));
	for (int i = 0; i < 3; i++)
		TRY(table_find(table, len, entries, guids[i], &ders[i]));
	if (!ders[0].at || !ders[1].at || !ders[2].at)
		return OK; /* the machine's host gave only a part; the other sources have all */

	auto_x509s *chain = sk_X509_new_null();
	for (int i = 0; i < 3; i++) {
		auto_x509 *certificate = NULL;
		TRY(certificate_from_der(ders[i], &certificate));
		if (!chain || !sk_X509_push(chain, certificate))
			return FAIL(14, "the certificate table");
		certificate = NULL;
	}
	*ret = (struct endorsement){.source = "report", .chain = TAKE(chain)};
	return OK;
}

/* "7308000000000003": 1 to 16 hexadecimal digits in either case; leading zeros may be missing. */
static skr_status parse_tcbm(const char *text, uint64_t *ret)
{
	uint64_t value = 0;
	size_t len = strlen(text);

	if (len < 1 || len > 16 || strspn(text, "0123456789abcdefABCDEF") != len)
		return FAIL(143, "tcbm '%.32s' is not a hexadecimal number of 64 bits", text);
	for (; *text; text++)
		value = value << 4 | (uint64_t)(*text <= '9' ? *text - '0' : (*text | 0x20) - 'a' + 10);
	*ret = value;
	return OK;
}

skr_status endorsement_from_thim(const json *answer, const char *source, struct endorsement *ret)
{
	const char *leaf = json_string_or_null(answer, "vcekCert");
	const char *above = json_string_or_null(answer, "certificateChain");
	const char *tcbm_text = json_string_or_null(answer, "tcbm");
	auto_buf pem = BUF(CERTIFICATE_TABLE_LIMIT);
	auto_x509s *chain = NULL;
	uint64_t tcbm = 0;

	if (!leaf || !above)
		return FAIL(143, "%s: vcekCert or certificateChain is missing", source);
	if (tcbm_text)
		TRY(parse_tcbm(tcbm_text, &tcbm));
	if (buf_printf(&pem, "%s\n%s", leaf, above).failure)
		return FAIL(143, "%s: more than %d bytes of certificates", source, CERTIFICATE_TABLE_LIMIT);
	if (certificates_from_pem(pem.data, pem.len, &chain).failure)
		return FAIL(143, "%s: %s", source, status_message());
	if (sk_X509_num(chain) != 3)
		return FAIL(143, "%s: %d certificates instead of VCEK, ASK, ARK", source, sk_X509_num(chain));
	*ret =
	    (struct endorsement){.source = source, .chain = TAKE(chain), .has_tcbm = tcbm_text != NULL, .tcbm = tcbm};
	return OK;
}

skr_status endorsement_matches(const struct endorsement *endorsement, const struct snp_report *report)
{
	uint64_t tcb;

	if (endorsement->has_tcbm && endorsement->tcbm != report->reported_tcb)
		return FAIL(142, "endorsements (%s) are for TCB %016" PRIx64 ", the report has %016" PRIx64,
		            endorsement->source, endorsement->tcbm, report->reported_tcb);
	TRY(snp_chain_tcb(report, endorsement->chain, &tcb));
	if (tcb != report->reported_tcb)
		return FAIL(142, "the certificate (%s) is for TCB %016" PRIx64 ", the report has %016" PRIx64,
		            endorsement->source, tcb, report->reported_tcb);
	return OK;
}

skr_status endorsement_print(const struct endorsement *endorsement, struct buf *out)
{
	auto_bio *bio = BIO_new(BIO_s_mem());
	char *text = NULL;

	for (int i = 0; i < sk_X509_num(endorsement->chain); i++)
		if (!bio || !PEM_write_bio_X509(bio, sk_X509_value(endorsement->chain, i)))
			return ossl_fail(14, "printing certificates");
	long len = bio ? BIO_get_mem_data(bio, &text) : 0;
	return buf_append(out, text, (size_t)len);
}
