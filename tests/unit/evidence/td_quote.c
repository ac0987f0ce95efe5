/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/td_quote.h"
#include "cvm_vectors.h"

#define MOMENT 1795000000 /* 2026-11-18: within the dates of both captures' PCK certificates */

static const char *const captures[] = {"tdx-with-quote/td-quote.bin", "tdquote/td_quote_v4.dat"};

/* --- A quoting enclave of our own --- */

struct plan {
	unsigned version, body_type; /* body_type of version 5 */
	bool two_certificates, swapped, no_terminator;
	bool rogue_root;    /* the platform CA is signed by another root of the same name */
	bool no_ca;         /* the platform CA is none */
	bool root_not_self; /* the last certificate is signed by somebody else */
	bool other_curve;   /* the PCK is on P-384 */
	size_t auth_data_len;
};

static const struct plan v4 = {.version = 4, .auth_data_len = 32};

static EVP_PKEY *p256(void)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-256");

	assert_non_null(key);
	return key;
}

static X509 *certificate(const char *name, EVP_PKEY *key, const char *issuer, EVP_PKEY *issuer_key, bool ca)
{
	X509 *made = X509_new_ex(ossl, NULL);
	X509_NAME *subject = X509_get_subject_name(made);
	X509_EXTENSION *extension =
	    X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE");

	X509_set_version(made, X509_VERSION_3);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
	X509_NAME_add_entry_by_txt(X509_get_issuer_name(made), "CN", MBSTRING_ASC, (const uint8_t *)issuer, -1, -1, 0);
	ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
	X509_gmtime_adj(X509_getm_notBefore(made), -3600);
	X509_gmtime_adj(X509_getm_notAfter(made), 86400);
	X509_set_pubkey(made, key);
	assert_int_equal(X509_add_ext(made, extension, -1), 1);
	X509_EXTENSION_free(extension);
	assert_true(X509_sign(made, issuer_key, EVP_sha256()) > 0);
	return made;
}

static void append_pem(X509 *made, struct buf *out)
{
	auto_bio *bio = BIO_new(BIO_s_mem());
	char *text;

	PEM_write_bio_X509(bio, made);
	long len = BIO_get_mem_data(bio, &text);
	assert_ok(buf_append(out, text, (size_t)len));
}

static void append_chain(const struct plan *plan, EVP_PKEY *pck_key, struct buf *out)
{
	auto_pkey *root_key = p256(), *platform_key = p256(), *other_key = p256();
	auto_x509 *root = certificate("Root", root_key, plan->root_not_self ? "Elsewhere" : "Root",
	                              plan->root_not_self ? other_key : root_key, true);
	auto_x509 *platform =
	    certificate("Platform", platform_key, "Root", plan->rogue_root ? other_key : root_key, !plan->no_ca);
	auto_x509 *pck = certificate("PCK", pck_key, "Platform", platform_key, false);

	append_pem(pck, out);
	append_pem(plan->swapped ? root : platform, out);
	if (!plan->two_certificates)
		append_pem(plan->swapped ? platform : root, out);
	if (!plan->no_terminator)
		assert_ok(buf_append(out, "", 1));
}

static void append_number(struct buf *out, uint64_t value, size_t bytes)
{
	for (; bytes-- > 0; value >>= 8)
		assert_ok(buf_append(out, &(uint8_t){(uint8_t)value}, 1));
}

static void append_signature(EVP_PKEY *key, const void *data, size_t len, struct buf *out)
{
	uint8_t der[160], raw[64];
	size_t der_len = sizeof(der);
	auto_md_ctx *ctx = EVP_MD_CTX_new();

	assert_int_equal(EVP_DigestSignInit_ex(ctx, NULL, "SHA256", ossl, NULL, key, NULL), 1);
	assert_int_equal(EVP_DigestSign(ctx, der, &der_len, data, len), 1);
	const uint8_t *at = der;
	ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der_len);
	memset(raw, 1, sizeof(raw)); /* of a larger curve: something */
	BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32);
	ECDSA_SIG_free(signature);
	assert_ok(buf_append(out, raw, sizeof(raw)));
}

/* Every field of the body has bytes of its own: the first 16 are 1, the next 48 are 2, and so on. */
static void append_body(struct buf *out, size_t size)
{
	static const uint8_t sizes[] = {16, 48, 48, 8, 8, 8, 48, 48, 48, 48, 48, 48, 48, 48, 64, 16, 48};
	uint8_t field[64];

	for (size_t i = 0, done = 0; done < size; done += sizes[i++]) {
		memset(field, (int)(2 * i + 2), sizeof(field));
		assert_ok(buf_append(out, field, sizes[i]));
	}
}

static void append_certification(const struct plan *plan, const uint8_t point[64], struct buf *out)
{
	auto_pkey *pck_key = plan->other_curve ? EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-384") : p256();
	uint8_t auth_data[4096], report[384] = {0}, bound[64 + sizeof(auth_data)];
	auto_buf chain = BUF(8192);

	memset(auth_data, 0xad, sizeof(auth_data));
	memcpy(bound, point, 64);
	memcpy(bound + 64, auth_data, plan->auth_data_len);
	assert_ok(sha256(bound, 64 + plan->auth_data_len, report + 320));
	assert_ok(buf_append(out, report, sizeof(report)));
	append_signature(pck_key, report, sizeof(report), out);
	append_number(out, plan->auth_data_len, 2);
	assert_ok(buf_append(out, auth_data, plan->auth_data_len));
	append_chain(plan, pck_key, &chain);
	append_number(out, 5, 2);
	append_number(out, chain.len, 4);
	assert_ok(buf_append(out, chain.data, chain.len));
}

static void make_quote(const struct plan *plan, struct buf *out)
{
	static const uint8_t vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
	                                   0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};
	size_t body = plan->version == 5 && plan->body_type == 3 ? 648 : 584;
	auto_pkey *attestation_key = p256();
	auto_buf certification = BUF(TD_QUOTE_LIMIT);
	uint8_t point[65], user_data[20] = "platform";
	size_t point_len;

	append_number(out, plan->version, 2);
	append_number(out, 2, 2);
	append_number(out, 0x81, 4);
	append_number(out, 0, 4);
	assert_ok(buf_append(out, vendor, sizeof(vendor)));
	assert_ok(buf_append(out, user_data, sizeof(user_data)));
	if (plan->version == 5) {
		append_number(out, plan->body_type, 2);
		append_number(out, body, 4);
	}
	append_body(out, body);

	auto_buf signature = BUF(64);
	append_signature(attestation_key, out->data, out->len, &signature);
	assert_int_equal(EVP_PKEY_get_octet_string_param(attestation_key, "pub", point, sizeof(point), &point_len), 1);
	append_certification(plan, point + 1, &certification);
	append_number(out, 64 + 64 + 6 + certification.len, 4);
	assert_ok(buf_append(out, signature.data, signature.len));
	assert_ok(buf_append(out, point + 1, 64));
	append_number(out, 6, 2);
	append_number(out, certification.len, 4);
	assert_ok(buf_append(out, certification.data, certification.len));
}

static skr_status verify_plan(const struct plan *plan)
{
	auto_buf quote = BUF(TD_QUOTE_LIMIT);

	make_quote(plan, &quote);
	return td_quote_verify(quote.data, quote.len, time(NULL));
}

static void assert_all(const uint8_t *bytes, size_t len, int value)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], value);
}

/* --- Quotes of real machines --- */

static void quotes_of_real_machines_verify(void **state)
{
	(void)state;

	for (size_t i = 0; i < 2; i++) {
		auto_buf bytes = BUF(TD_QUOTE_LIMIT);
		struct td_quote quote;
		read_cvm(captures[i], &bytes);
		assert_ok(td_quote_parse(bytes.data, bytes.len, &quote));
		assert_int_equal(quote.version, 4);
		assert_ptr_equal(quote.signed_bytes, bytes.data);
		assert_int_equal(quote.signed_len, 632);
		assert_false(quote.debug);
		assert_ok(td_quote_verify(bytes.data, bytes.len, MOMENT));
		assert_fails(td_quote_verify(bytes.data, bytes.len, 1500000000), 117, "not yet valid");
		assert_fails(td_quote_verify(bytes.data, bytes.len, 2000000000), 117, "expired");
	}
}

/* Each field of the quote is the field of the TD report it was made from. */
static void a_quote_says_what_its_td_report_says(void **state)
{
	(void)state;
	auto_buf bytes = BUF(TD_QUOTE_LIMIT), report = BUF(4096);
	struct td_quote quote;

	read_cvm("tdx-with-quote/td-quote.bin", &bytes);
	read_cvm("tdx-with-quote/hcl-report.bin", &report);
	assert_ok(td_quote_parse(bytes.data, bytes.len, &quote));
	const uint8_t *td_report = report.data + 32, *info = td_report + 512;
	assert_memory_equal(quote.report_data, td_report + 128, 64);
	assert_memory_equal(quote.tee_tcb_svn, td_report + 264, 16);
	assert_memory_equal(quote.mrseam, td_report + 280, 48);
	assert_memory_equal(quote.mrsignerseam, td_report + 328, 48);
	assert_memory_equal(quote.seam_attributes, td_report + 376, 8);
	assert_memory_equal(quote.td_attributes, info, 8);
	assert_memory_equal(quote.xfam, info + 8, 8);
	assert_memory_equal(quote.mrtd, info + 16, 48);
	assert_memory_equal(quote.mrconfigid, info + 64, 48);
	assert_memory_equal(quote.mrowner, info + 112, 48);
	assert_memory_equal(quote.mrownerconfig, info + 160, 48);
	assert_memory_equal(quote.rtmr, info + 208, 192);
}

/* Which part of a captured quote is at `at`, in the words of the refusal; NULL: nothing depends on it. */
static const char *guarded_by(size_t at)
{
	static const struct {
		size_t end;
		const char *words;
	} parts[] = {
	    {2, "version"},
	    {4, "attestation key type"},
	    {8, "TEE type"},
	    {12, "not signed by its attestation key"},
	    {28, "vendor"},
	    {632, "not signed by its attestation key"},
	    {636, ""}, /* another size moves everything */
	    {700, "not signed by its attestation key"},
	    {764, "attestation key"}, /* off the curve, or another key */
	    {770, "certification data"},
	    {1090, "not signed by the PCK"},
	    {1154, "not about the quote's attestation key"},
	    {1218, "not signed by the PCK"},
	    {1220, ""},
	    {1252, "not about the quote's attestation key"},
	    {1258, "PCK certification data"},
	    {4935, "certificate"},
	};

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (at < parts[i].end)
			return parts[i].words;
	return NULL;
}

static void a_changed_bit_anywhere_in_a_quote_is_noticed(void **state)
{
	(void)state;
	auto_buf bytes = BUF(TD_QUOTE_LIMIT);
	size_t step = 1;

	read_cvm(captures[0], &bytes);
	for (size_t at = 0; at < bytes.len; at += step) {
		const char *words = guarded_by(at);
		/* Line ends of PEM are the one place where a byte may be another. */
		bool line_end = at >= 1258 && at < 4935 && bytes.data[at] == '\n';
		if (at >= 1258)
			step = 7;
		if (line_end)
			continue;
		bytes.data[at] ^= 2;
		skr_status status = td_quote_verify(bytes.data, bytes.len, MOMENT);
		bytes.data[at] ^= 2;
		if (!words)
			assert_ok(status);
		else if (status.failure != 116 && status.failure != 117)
			fail_msg("byte %zu: SKR-%03d %s", at, status.failure, status_message());
		else if (!strstr(status_message(), words))
			fail_msg("byte %zu: no '%s' in: %s", at, words, status_message());
	}
}

static void a_cut_quote_is_refused_at_every_length(void **state)
{
	(void)state;

	for (size_t i = 0; i < 2; i++) {
		auto_buf bytes = BUF(TD_QUOTE_LIMIT);
		struct td_quote quote = {.version = 77};
		read_cvm(captures[i], &bytes);
		for (size_t len = 0; len < 4936; len++) {
			/* An exact copy, so that a sanitizer sees one byte too many. */
			uint8_t *copy = malloc(len ? len : 1);
			memcpy(copy, bytes.data, len);
			assert_fails(td_quote_parse(copy, len, &quote), 116, "");
			assert_fails(td_quote_verify(copy, len, MOMENT), 116, "");
			free(copy);
		}
		assert_int_equal(quote.version, 77);                  /* untouched on failure */
		assert_ok(td_quote_verify(bytes.data, 4936, MOMENT)); /* without Azure's zero bytes */
	}
}

/* --- Quotes of our own --- */

static void every_version_and_body_verifies(void **state)
{
	(void)state;
	static const struct plan plans[] = {
	    {.version = 4, .auth_data_len = 32},
	    {.version = 4, .auth_data_len = 0},
	    {.version = 4, .auth_data_len = 4096, .no_terminator = true},
	    {.version = 5, .body_type = 2, .auth_data_len = 32},
	    {.version = 5, .body_type = 3, .auth_data_len = 32},
	};
	static const size_t signed_len[] = {632, 632, 632, 638, 702};

	for (size_t i = 0; i < sizeof(plans) / sizeof(plans[0]); i++) {
		auto_buf bytes = BUF(TD_QUOTE_LIMIT);
		struct td_quote quote;
		make_quote(&plans[i], &bytes);
		assert_ok(td_quote_verify(bytes.data, bytes.len, time(NULL)));
		assert_ok(td_quote_parse(bytes.data, bytes.len, &quote));
		assert_int_equal(quote.version, plans[i].version);
		assert_int_equal(quote.signed_len, signed_len[i]);
		assert_all(quote.tee_tcb_svn, 16, 2);
		assert_all(quote.mrseam, 48, 4);
		assert_all(quote.mrsignerseam, 48, 6);
		assert_all(quote.seam_attributes, 8, 8);
		assert_all(quote.td_attributes, 8, 10);
		assert_all(quote.xfam, 8, 12);
		assert_all(quote.mrtd, 48, 14);
		assert_all(quote.mrconfigid, 48, 16);
		assert_all(quote.mrowner, 48, 18);
		assert_all(quote.mrownerconfig, 48, 20);
		for (int r = 0; r < 4; r++)
			assert_all(quote.rtmr[r], 48, 22 + 2 * r);
		assert_all(quote.report_data, 64, 30);
		assert_false(quote.debug);
	}
}

static void a_changed_byte_of_the_larger_body_is_noticed(void **state)
{
	(void)state;
	struct plan plan = {.version = 5, .body_type = 3, .auth_data_len = 32};
	auto_buf bytes = BUF(TD_QUOTE_LIMIT);

	make_quote(&plan, &bytes);
	for (size_t at = 54; at < 702; at++) {
		bytes.data[at] ^= 0x80;
		assert_fails(td_quote_verify(bytes.data, bytes.len, time(NULL)), 117, "not signed by its attestation");
		bytes.data[at] ^= 0x80;
	}
}

static void a_debug_td_is_seen(void **state)
{
	(void)state;
	auto_buf bytes = BUF(TD_QUOTE_LIMIT);
	struct td_quote quote;

	make_quote(&v4, &bytes);
	bytes.data[48 + 16 + 48 + 48 + 8] |= 1;
	assert_ok(td_quote_parse(bytes.data, bytes.len, &quote));
	assert_true(quote.debug);
}

static void every_field_that_says_how_to_read_counts(void **state)
{
	(void)state;
	static const struct {
		unsigned version;
		size_t at;
		uint32_t value;
		size_t bytes;
		const char *words;
	} fields[] = {
	    {4, 0, 3, 2, "version is 3"},
	    {4, 0, 6, 2, "version is 6"},
	    {4, 0, 0x104, 2, "version is 260"},
	    {4, 2, 3, 2, "attestation key type is 3"},
	    {4, 4, 0, 4, "TEE type is 0"},
	    {4, 12, 0, 1, "vendor"},
	    {5, 48, 1, 2, "body type is 1"},
	    {5, 48, 4, 2, "body type is 4"},
	    {5, 48, 3, 2, "body size is 584 instead of 648"},
	    {5, 50, 583, 4, "body size is 583"},
	    {5, 50, 0xffffffff, 4, "body size is 4294967295"},
	    {4, 632, 0xffffffff, 4, "signature data"},
	    {4, 632, 0, 4, "signature"},
	    {4, 632, 127, 4, "attestation key"},
	    {4, 764, 5, 2, "certification data is 5"},
	    {4, 766, 0xffffffff, 4, "certification data"},
	    {4, 766, 0, 4, "stand behind it"},
	    {4, 1218, 0xffff, 2, "authentication data"},
	    {4, 1252, 6, 2, "PCK certification data is 6"},
	    {4, 1254, 0, 4, "stand behind it"},
	    {4, 1254, 0xffffffff, 4, "PCK certification data"},
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct plan plan = {.version = fields[i].version, .body_type = 2, .auth_data_len = 32};
		auto_buf bytes = BUF(TD_QUOTE_LIMIT);
		struct td_quote quote;
		make_quote(&plan, &bytes);
		for (size_t k = 0; k < fields[i].bytes; k++)
			bytes.data[fields[i].at + k] = (uint8_t)(fields[i].value >> 8 * k);
		assert_fails(td_quote_parse(bytes.data, bytes.len, &quote), 116, fields[i].words);
		assert_fails(td_quote_verify(bytes.data, bytes.len, time(NULL)), 116, fields[i].words);
	}
}

static void a_quote_above_its_limit_is_refused(void **state)
{
	(void)state;
	static uint8_t bytes[TD_QUOTE_LIMIT + 1];
	auto_buf capture = BUF(TD_QUOTE_LIMIT);
	struct td_quote quote;

	read_cvm(captures[0], &capture);
	memcpy(bytes, capture.data, capture.len);
	assert_ok(td_quote_parse(bytes, TD_QUOTE_LIMIT, &quote));
	assert_fails(td_quote_parse(bytes, TD_QUOTE_LIMIT + 1, &quote), 116, "16385 bytes");
}

static void a_chain_that_does_not_hold_is_refused(void **state)
{
	(void)state;
	struct plan plan = v4;

	plan.two_certificates = true;
	assert_fails(verify_plan(&plan), 117, "2 PCK certificates");
	plan = v4;
	plan.swapped = true;
	assert_fails(verify_plan(&plan), 117, "certificate 'Platform': unable to get issuer certificate");
	plan = v4;
	plan.rogue_root = true;
	assert_fails(verify_plan(&plan), 117, "certificate 'Platform': certificate signature failure");
	plan = v4;
	plan.no_ca = true;
	assert_fails(verify_plan(&plan), 117, "certificate 'Platform': invalid CA certificate");
	plan = v4;
	plan.root_not_self = true;
	assert_fails(verify_plan(&plan), 117, "certificate 'Root': unable to get issuer certificate");
	plan = v4;
	plan.other_curve = true;
	assert_fails(verify_plan(&plan), 117, "not on P-256");
}

static void what_is_no_certificate_is_refused(void **state)
{
	(void)state;
	auto_buf bytes = BUF(TD_QUOTE_LIMIT);

	make_quote(&v4, &bytes);
	memset(bytes.data + 1258, ' ', bytes.len - 1258);
	assert_fails(td_quote_verify(bytes.data, bytes.len, time(NULL)), 117, "no PEM certificate");
	memset(bytes.data + 1258, 0, bytes.len - 1258);
	assert_fails(td_quote_verify(bytes.data, bytes.len, time(NULL)), 117, "no PEM certificate");
}

static void a_signature_out_of_range_is_refused(void **state)
{
	(void)state;
	auto_buf bytes = BUF(TD_QUOTE_LIMIT);
	static const size_t signatures[] = {636, 668, 1154, 1186};

	make_quote(&v4, &bytes);
	for (size_t i = 0; i < 4; i++) {
		uint8_t before[32];
		memcpy(before, bytes.data + signatures[i], 32);
		for (int fill = 0; fill < 256; fill += 255) {
			memset(bytes.data + signatures[i], fill, 32);
			assert_fails(td_quote_verify(bytes.data, bytes.len, time(NULL)), 117, "not signed by");
		}
		memcpy(bytes.data + signatures[i], before, 32);
	}
	assert_ok(td_quote_verify(bytes.data, bytes.len, time(NULL)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(quotes_of_real_machines_verify),
	    cmocka_unit_test(a_quote_says_what_its_td_report_says),
	    cmocka_unit_test(a_changed_bit_anywhere_in_a_quote_is_noticed),
	    cmocka_unit_test(a_cut_quote_is_refused_at_every_length),
	    cmocka_unit_test(every_version_and_body_verifies),
	    cmocka_unit_test(a_changed_byte_of_the_larger_body_is_noticed),
	    cmocka_unit_test(a_debug_td_is_seen),
	    cmocka_unit_test(every_field_that_says_how_to_read_counts),
	    cmocka_unit_test(a_quote_above_its_limit_is_refused),
	    cmocka_unit_test(a_chain_that_does_not_hold_is_refused),
	    cmocka_unit_test(what_is_no_certificate_is_refused),
	    cmocka_unit_test(a_signature_out_of_range_is_refused),
	};

	if (ossl_open().failure)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
