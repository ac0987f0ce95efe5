/* SPDX-License-Identifier: Apache-2.0 */
#include "surroundings.h"

#include "emulator/certificate.h"
#include "emulator/cose.h"

#include <time.h>

#define EKU       "1.3.6.1.4.1.311.76.59.1.2"
#define REAL_ROOT "I__iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9s"
#define YEAR      (365LL * 24 * 60 * 60)

static int open_library(void **state)
{
	(void)state;
	return ossl_open().failure ? -1 : 0;
}

/* ---- signers ---- */

struct signer {
	EVP_PKEY *key;
	STACK_OF(X509) *chain;
	uint8_t root[1][32];
};

/* How a signer is made; all zero: as it should be. */
struct signer_plan {
	const char *kind, *eku;
	bool issuer_is_no_authority;
	int64_t leaf_from, leaf_until;
};

static void issue(EVP_PKEY *key, const char *common, X509 *issuer, EVP_PKEY *issuer_key,
                  const struct certificate_extension *extensions, int64_t from, int64_t until, X509 **ret)
{
	const struct certificate_name subject[] = {{"CN", common}, {NULL, NULL}};
	struct certificate_plan plan = {.subject = subject,
	                                .key = key,
	                                .issuer = issuer,
	                                .issuer_key = issuer_key,
	                                .not_before = from ? from : time(NULL) - YEAR,
	                                .not_after = until ? until : time(NULL) + YEAR,
	                                .extensions = extensions};
	assert_ok(certificate_issue(&plan, ret));
}

static struct signer make_signer(struct signer_plan plan)
{
	const struct certificate_extension authority[] = {{.oid = "basicConstraints", .text = "critical,CA:TRUE"}, {0}};
	const struct certificate_extension no_authority[] = {{.oid = "basicConstraints", .text = "CA:FALSE"}, {0}};
	const struct certificate_extension leaf[] = {{.oid = "extendedKeyUsage", .text = plan.eku ? plan.eku : EKU},
	                                             {0}};
	struct signer signer = {.chain = sk_X509_new_null()};
	auto_pkey *root_key = NULL, *issuer_key = NULL;
	X509 *certificates[3];
	assert_ok(key_generate("P-384", &root_key));
	assert_ok(key_generate("P-384", &issuer_key));
	assert_ok(key_generate(plan.kind ? plan.kind : "P-256", &signer.key));
	issue(root_key, "root", NULL, NULL, authority, 0, 0, &certificates[2]);
	issue(issuer_key, "issuer", certificates[2], root_key, plan.issuer_is_no_authority ? no_authority : authority,
	      0, 0, &certificates[1]);
	issue(signer.key, "signer", certificates[1], issuer_key, leaf, plan.leaf_from, plan.leaf_until,
	      &certificates[0]);
	for (int i = 0; i < 3; i++)
		sk_X509_push(signer.chain, certificates[i]);
	assert_ok(certificate_sha256(certificates[2], signer.root[0]));
	return signer;
}

static void signer_done(struct signer *signer)
{
	EVP_PKEY_free(signer->key);
	sk_X509_pop_free(signer->chain, X509_free);
}
#define auto_signer __attribute__((cleanup(signer_done))) struct signer

static void sign(const struct signer *signer, enum cose_algorithm algorithm, int64_t when, struct buf *out)
{
	const struct cose_plan plan = {.key = signer->key,
	                               .algorithm = algorithm,
	                               .chain = signer->chain,
	                               .eku = EKU,
	                               .feed = "ContainerPlat-AMD-UVM",
	                               .payload = "{\"a\":1}",
	                               .signing_time = when};
	assert_ok(cose_sign(&plan, out));
}

static skr_status verify(const struct buf *document, const uint8_t (*root)[32])
{
	auto_cose parsed = {0};
	const struct cose_trust trust = {.roots = root, .root_count = 1, .now = time(NULL)};
	TRY(cose_parse(document->data, document->len, &parsed));
	return cose_verify(&parsed, &trust);
}

/* ---- real endorsements ---- */

static void read_real(const char *name, struct buf *out)
{
	auto_buf text = BUF(COSE_LIMIT);
	if (strstr(name, ".cose")) {
		read_data(name, out);
		return;
	}
	read_data(name, &text);
	assert_ok(base64_decode_any(buf_text(&text), text.len, out));
}

static const char *const real_documents[] = {"snp/milan-v2-aci/reference-info.cose",
                                             "snp/security-context-sample/reference-info-base64"};

static void real_endorsements_verify_under_their_root_alone(void **state)
{
	(void)state;
	auto_buf root = BUF(32);
	auto_signer other = make_signer((struct signer_plan){0});
	assert_ok(base64url_decode(REAL_ROOT, strlen(REAL_ROOT), &root));
	for (size_t i = 0; i < 2; i++) {
		auto_buf document = BUF(COSE_LIMIT);
		read_real(real_documents[i], &document);
		assert_ok(verify(&document, (const uint8_t(*)[32])root.data));
		assert_refused(verify(&document, (const uint8_t(*)[32])other.root), 117, "not trusted");
	}
}

static void real_endorsements_say_what_the_vectors_readme_says(void **state)
{
	static const char *const svn[] = {"\"22\"", "\"100\""};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		auto_buf document = BUF(COSE_LIMIT);
		auto_cose parsed = {0};
		read_real(real_documents[i], &document);
		assert_ok(cose_parse(document.data, document.len, &parsed));
		assert_int_equal(parsed.algorithm, COSE_PS384);
		assert_int_equal(sk_X509_num(parsed.chain), 3);
		assert_memory_equal(parsed.feed.data, "ContainerPlat-AMD-UVM", parsed.feed.len);
		assert_true(parsed.has_signing_time);
		assert_non_null(memmem(parsed.payload.data, parsed.payload.len, svn[i], strlen(svn[i])));
	}
}

/* The last 384 bytes are the signature, and what precedes them within 400 is the payload. */
static void a_flipped_bit_in_a_real_endorsement_is_noticed(void **state)
{
	(void)state;
	auto_buf document = BUF(COSE_LIMIT), root = BUF(32);
	auto_cose whole = {0};
	read_real(real_documents[0], &document);
	assert_ok(base64url_decode(REAL_ROOT, strlen(REAL_ROOT), &root));
	assert_ok(cose_parse(document.data, document.len, &whole));
	const struct cose_bytes parts[] = {whole.protected_header, whole.payload, whole.signature};
	for (size_t p = 0; p < 3; p++)
		for (size_t at = 0; at < parts[p].len; at += 1 + parts[p].len / 40) {
			uint8_t *byte = document.data + (parts[p].data - document.data) + at;
			*byte ^= 0x10;
			if (!verify(&document, (const uint8_t(*)[32])root.data).failure)
				fail_msg("part %zu, byte %zu: not noticed", p, at);
			*byte ^= 0x10;
		}
	assert_ok(verify(&document, (const uint8_t(*)[32])root.data));
}

/* ---- our own ---- */

static void every_algorithm_signs_and_verifies(void **state)
{
	static const struct {
		enum cose_algorithm algorithm;
		const char *kind;
	} rows[] = {{COSE_ES256, "P-256"},    {COSE_ES384, "P-384"},    {COSE_ES512, "P-521"},
	            {COSE_PS256, "RSA-2048"}, {COSE_PS384, "RSA-2048"}, {COSE_PS512, "RSA-2048"}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_signer signer = make_signer((struct signer_plan){.kind = rows[i].kind});
		auto_buf document = BUF(COSE_LIMIT);
		sign(&signer, rows[i].algorithm, time(NULL), &document);
		assert_ok(verify(&document, (const uint8_t(*)[32])signer.root));
		document.data[document.len - 1] ^= 1;
		assert_refused(verify(&document, (const uint8_t(*)[32])signer.root), 117, "does not verify");
	}
}

static void a_key_that_does_not_fit_the_algorithm_is_refused(void **state)
{
	(void)state;
	auto_signer signer = make_signer((struct signer_plan){0});
	auto_buf document = BUF(COSE_LIMIT);
	sign(&signer, COSE_ES256, time(NULL), &document);
	auto_cose parsed = {0};
	const struct cose_trust trust = {.roots = (const uint8_t(*)[32])signer.root, .root_count = 1};
	assert_ok(cose_parse(document.data, document.len, &parsed));
	parsed.algorithm = COSE_PS256;
	assert_refused(cose_verify(&parsed, &trust), 117, "does not fit");
	parsed.algorithm = COSE_ES384;
	assert_refused(cose_verify(&parsed, &trust), 117, "does not fit");
	parsed.algorithm = -257; /* RS256 */
	assert_refused(cose_verify(&parsed, &trust), 117, "not accepted");
}

static void a_signer_without_the_dids_key_usage_is_refused(void **state)
{
	(void)state;
	auto_signer signer = make_signer((struct signer_plan){.eku = "1.3.6.1.4.1.311.76.59.1.1"});
	auto_buf document = BUF(COSE_LIMIT);
	sign(&signer, COSE_ES256, time(NULL), &document);
	assert_refused(verify(&document, (const uint8_t(*)[32])signer.root), 117, "lacks the key usage");
}

static void a_chain_through_a_certificate_that_is_no_authority_is_refused(void **state)
{
	(void)state;
	auto_signer signer = make_signer((struct signer_plan){.issuer_is_no_authority = true});
	auto_buf document = BUF(COSE_LIMIT);
	sign(&signer, COSE_ES256, time(NULL), &document);
	assert_refused(verify(&document, (const uint8_t(*)[32])signer.root), 117, "not an authority");
}

static void dates_go_by_the_signing_time_not_by_now(void **state)
{
	(void)state;
	int64_t now = time(NULL);
	auto_signer signer = make_signer((struct signer_plan){.leaf_from = now - 3000, .leaf_until = now - 1000});
	auto_buf in_time = BUF(COSE_LIMIT), late = BUF(COSE_LIMIT), early = BUF(COSE_LIMIT);
	sign(&signer, COSE_ES256, now - 2000, &in_time);
	assert_ok(verify(&in_time, (const uint8_t(*)[32])signer.root));
	sign(&signer, COSE_ES256, now, &late);
	assert_refused(verify(&late, (const uint8_t(*)[32])signer.root), 117, "expired");
	sign(&signer, COSE_ES256, now - 4000, &early);
	assert_refused(verify(&early, (const uint8_t(*)[32])signer.root), 117, "not valid yet");
}

static void without_a_signing_time_dates_go_by_now(void **state)
{
	(void)state;
	int64_t now = time(NULL);
	auto_signer signer = make_signer((struct signer_plan){.leaf_from = now - 3000, .leaf_until = now - 1000});
	auto_buf document = BUF(COSE_LIMIT);
	auto_cose parsed = {0};
	const struct cose_trust trust = {.roots = (const uint8_t(*)[32])signer.root, .root_count = 1, .now = now};
	sign(&signer, COSE_ES256, now - 2000, &document);
	assert_ok(cose_parse(document.data, document.len, &parsed));
	parsed.has_signing_time = false;
	assert_refused(cose_verify(&parsed, &trust), 117, "expired");
}

static void a_trusted_roots_name_does_not_help_another_chain(void **state)
{
	(void)state;
	auto_signer good = make_signer((struct signer_plan){0}), bad = make_signer((struct signer_plan){0});
	auto_buf document = BUF(COSE_LIMIT), theirs = BUF(COSE_LIMIT);
	auto_cose forged = {0}, honest = {0};
	const struct cose_trust trust = {.roots = (const uint8_t(*)[32])good.root, .root_count = 1, .now = time(NULL)};
	sign(&bad, COSE_ES256, time(NULL), &document);
	sign(&good, COSE_ES256, time(NULL), &theirs);
	assert_ok(cose_parse(document.data, document.len, &forged));
	assert_ok(cose_parse(theirs.data, theirs.len, &honest));
	forged.issuer = honest.issuer;
	assert_refused(cose_verify(&forged, &trust), 117, "is the one in its DID");
	sk_X509_push(forged.chain, X509_dup(sk_X509_value(good.chain, 2)));
	assert_refused(cose_verify(&forged, &trust), 117, "did not sign");
}

static void issuers_that_are_no_did_of_this_form_are_refused(void **state)
{
	static const char *const dids[] = {"",
	                                   "did:x509:0:sha256:",
	                                   "did:web:example",
	                                   "did:x509:0:sha512:" REAL_ROOT "::eku:1.2",
	                                   "did:x509:0:sha256:" REAL_ROOT "::subject:CN:x",
	                                   "did:x509:0:sha256:" REAL_ROOT "::eku:",
	                                   "did:x509:0:sha256:@_iuL25oXEVFdTP_aBLx_eT1RPHbCQ_ECBQfYZpt9sI::eku:1.2"};
	(void)state;
	auto_signer signer = make_signer((struct signer_plan){0});
	auto_buf document = BUF(COSE_LIMIT);
	auto_cose parsed = {0};
	const struct cose_trust trust = {.roots = (const uint8_t(*)[32])signer.root, .root_count = 1};
	sign(&signer, COSE_ES256, time(NULL), &document);
	assert_ok(cose_parse(document.data, document.len, &parsed));
	for (size_t i = 0; i < sizeof(dids) / sizeof(dids[0]); i++) {
		parsed.issuer = (struct cose_bytes){(const uint8_t *)dids[i], strlen(dids[i])};
		assert_refused(cose_verify(&parsed, &trust), 117, "is not did:x509");
	}
}

/* ---- CBOR ---- */

static void every_truncation_and_one_byte_more_is_refused(void **state)
{
	(void)state;
	auto_signer signer = make_signer((struct signer_plan){0});
	auto_buf document = BUF(COSE_LIMIT);
	sign(&signer, COSE_ES256, time(NULL), &document);
	for (size_t len = 0; len < document.len; len++) {
		auto_cose parsed = {0};
		if (cose_parse(document.data, len, &parsed).failure != 213 || parsed.chain)
			fail_msg("%zu of %zu bytes: accepted, or something was handed out", len, document.len);
	}
	auto_cose parsed = {0};
	assert_ok(buf_append(&document, "", 1));
	assert_refused(cose_parse(document.data, document.len, &parsed), 213, "follow");
}

static void malformed_documents_are_named_by_what_is_wrong(void **state)
{
	static const struct {
		const char *hex, *words;
	} rows[] = {
	    {"", "CBOR ends"},
	    {"84", "where a tag was expected"},
	    {"d184", "not 18"},
	    {"d283", "has 4 parts"},
	    {"d28443a10126a0", "CBOR ends"},
	    {"d2844043a04040", "not a map"},
	    {"d28440a04040", "where an item was expected"},
	    {"d28441a0a04040", "names no algorithm"},
	    {"d28443a10126a0404000", "follow the COSE_Sign1"},
	    {"d28444a1012600a04040", "follow the map"},
	    {"d28445a201260126a04040", "a label twice"},
	    {"d28445a201260280a04040", "critical"},
	    {"d284580143a04040", "shortest form"},
	    {"d2845f41a0ffa04040", "indefinite"},
	    {"d2845bffffffffffffffff", "longer than what is there"},
	    {"d28443a10126a1005bffffffffffffffff", "longer than what is there"},
	    {"d28443a10126a1009bffffffffffffffff", "more items than bytes"},
	    {"d28443a10126a100818181818181818181818100", "nested too deep"},
	    {"d28443a10126a100f94000", "a float"},
	    {"d28443a10160a04040", "no integer"},
	    {"d28449a20126182143010203a04040", "not a certificate"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf document = BUF(256);
		auto_cose parsed = {0};
		assert_ok(hex_decode(rows[i].hex, strlen(rows[i].hex), &document));
		assert_refused(cose_parse(document.data, document.len, &parsed), 213, rows[i].words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(real_endorsements_verify_under_their_root_alone),
	    cmocka_unit_test(real_endorsements_say_what_the_vectors_readme_says),
	    cmocka_unit_test(a_flipped_bit_in_a_real_endorsement_is_noticed),
	    cmocka_unit_test(every_algorithm_signs_and_verifies),
	    cmocka_unit_test(a_key_that_does_not_fit_the_algorithm_is_refused),
	    cmocka_unit_test(a_signer_without_the_dids_key_usage_is_refused),
	    cmocka_unit_test(a_chain_through_a_certificate_that_is_no_authority_is_refused),
	    cmocka_unit_test(dates_go_by_the_signing_time_not_by_now),
	    cmocka_unit_test(without_a_signing_time_dates_go_by_now),
	    cmocka_unit_test(a_trusted_roots_name_does_not_help_another_chain),
	    cmocka_unit_test(issuers_that_are_no_did_of_this_form_are_refused),
	    cmocka_unit_test(every_truncation_and_one_byte_more_is_refused),
	    cmocka_unit_test(malformed_documents_are_named_by_what_is_wrong),
	};
	return cmocka_run_group_tests(tests, open_library, NULL);
}
