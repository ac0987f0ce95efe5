/* SPDX-License-Identifier: Apache-2.0 */
#include "surroundings.h"

#include "emulator/certificate.h"
#include "emulator/intel.h"
#include "emulator/quote.h"

#include <openssl/ecdsa.h>

#include <time.h>

/* Quotes as the attestation service verifies them: ours, Intel's own of tests/data/cvm, and damaged ones. */

static const uint8_t question[64] = {'q', 'u', 'e', 's', 't', 'i', 'o', 'n'};
static struct buf played[6]; /* by version */
static EVP_PKEY *stranger;

static int open_quotes(void **state)
{
	uint8_t report[TD_REPORT_BYTES];
	(void)state;
	if (make_directory() || hardware_open(&emulator).failure || intel_open(&emulator).failure ||
	    intel_td_report(&emulator, question, report).failure)
		return -1;
	for (unsigned version = 4; version <= 5; version++) {
		played[version] = BUF(TD_QUOTE_ROOM);
		if (intel_quote(&emulator, report, version, &played[version]).failure)
			return -1;
	}
	return key_generate("P-256", &stranger).failure ? -1 : 0;
}

static int close_quotes(void **state)
{
	(void)state;
	EVP_PKEY_free(stranger);
	for (unsigned version = 4; version <= 5; version++)
		buf_done(&played[version]);
	intel_close(&emulator);
	hardware_close(&emulator);
	remove_files(test_directory);
	return 0;
}

static struct quote_trust trust(bool accept_real_intel)
{
	struct quote_trust ret;
	assert_ok(intel_trust(&emulator, &ret));
	ret.accept_real_intel = accept_real_intel;
	return ret;
}

static skr_status verify(const void *data, size_t len, bool accept_real_intel)
{
	uint8_t report_data[64];
	auto_json *claims = json_object();
	const struct quote_trust by = trust(accept_real_intel);
	return quote_verify(data, len, &by, report_data, claims);
}

static unsigned little(const uint8_t *data, size_t bytes)
{
	unsigned value = 0;
	while (bytes-- > 0)
		value = value << 8 | data[bytes];
	return value;
}

/* Where the quote's length, and so its signature data, stands. */
static size_t head_of(unsigned version)
{
	return version == 4 ? 632 : 48 + 6 + 648;
}

static size_t end_of(unsigned version)
{
	size_t head = head_of(version);
	return head + 4 + little(played[version].data + head, 4);
}

static void copy_played(struct buf *out)
{
	assert_ok(buf_append(out, played[4].data, played[4].len));
}

/* ---- what holds ---- */

static void assert_claim(const json *claims, const char *name, const char *value)
{
	const char *found = json_string_or_null(claims, name);
	if (!found || strcmp(found, value) != 0)
		fail_msg("%s is %s, not %s", name, found ? found : "no text", value);
}

static void the_claims_are_those_of_the_reference(void **state)
{
	static const struct {
		const char *name;
		size_t digits;
	} hex[] = {{"tdx_mrconfigid", 96}, {"tdx_mrowner", 96},       {"tdx_mrownerconfig", 96},
	           {"tdx_mrseam", 96},     {"tdx_mrsignerseam", 96},  {"tdx_mrtd", 96},
	           {"tdx_rtmr0", 96},      {"tdx_rtmr1", 96},         {"tdx_rtmr2", 96},
	           {"tdx_rtmr3", 96},      {"tdx_report_data", 128},  {"tdx_seam_attributes", 16},
	           {"tdx_xfam", 16},       {"tdx_td_attributes", 16}, {"tdx_tee_tcb_svn", 32}};
	(void)state;
	for (unsigned version = 4; version <= 5; version++) {
		uint8_t report_data[64] = {0};
		auto_json *claims = json_object();
		const struct quote_trust by = trust(false);
		assert_ok(quote_verify(played[version].data, played[version].len, &by, report_data, claims));
		assert_memory_equal(report_data, question, sizeof(question));
		for (size_t i = 0; i < sizeof(hex) / sizeof(hex[0]); i++) {
			const char *text = json_string_or_null(claims, hex[i].name);
			assert_non_null(text);
			assert_int_equal(strlen(text), hex[i].digits);
			assert_int_equal(strspn(text, "0123456789abcdef"), hex[i].digits);
		}
		assert_claim(claims, "x-ms-attestation-type", "tdxvm");
		assert_claim(claims, "attester_tcb_status", "UpToDate");
		assert_claim(claims, "dbgstat", "disabled");
		assert_claim(claims, "eat_profile", "https://aka.ms/maa-eat-profile-tdxvm");
		assert_claim(claims, "intuse", "generic");
		assert_claim(claims, "tdx_xfam", "e718060000000000");
		assert_claim(claims, "tdx_td_attributes", "0000001000000000");
		assert_true(json_bool(claims, "tdx_td_attributes_septve_disable", false));
		assert_false(json_bool(claims, "tdx_td_attributes_debug", true));
		assert_false(json_bool(claims, "tdx_td_attributes_key_locker", true));
		assert_false(json_bool(claims, "tdx_td_attributes_perfmon", true));
		assert_false(json_bool(claims, "tdx_td_attributes_protection_keys", true));
		int64_t seamsvn = 0;
		assert_ok(json_integer(claims, "tdx_seamsvn", false, &seamsvn));
		assert_int_equal(seamsvn, 0x0107);
		/* 15 hexadecimal ones, 5 of attributes, seamsvn, and the 5 of all TDs: none more. */
		assert_int_equal(json_count(claims), 15 + 5 + 1 + 5);
	}
}

static void every_attribute_has_its_own_claim(void **state)
{
	static const struct {
		const char *attributes, *claim;
	} rows[] = {
	    {"0100000000000000", "tdx_td_attributes_debug"},
	    {"0000001000000000", "tdx_td_attributes_septve_disable"},
	    {"0000004000000000", "tdx_td_attributes_protection_keys"},
	    {"0000008000000000", "tdx_td_attributes_key_locker"},
	    {"0000000000000080", "tdx_td_attributes_perfmon"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[64];
		uint8_t report[TD_REPORT_BYTES], report_data[64];
		auto_buf quote = BUF(TD_QUOTE_ROOM);
		auto_json *claims = json_object();
		snprintf(text, sizeof(text), "{\"td_attributes\":\"%s\"}", rows[i].attributes);
		auto_json *settings = json_of(text);
		const struct quote_trust by = trust(false);
		assert_ok(hardware_change(&emulator, settings));
		assert_ok(intel_td_report(&emulator, question, report));
		assert_ok(intel_quote(&emulator, report, 4, &quote));
		assert_ok(quote_verify(quote.data, quote.len, &by, report_data, claims));
		for (size_t j = 0; j < sizeof(rows) / sizeof(rows[0]); j++)
			assert_int_equal(json_bool(claims, rows[j].claim, i != j), i == j);
		assert_claim(claims, "tdx_td_attributes", rows[i].attributes);
		assert_claim(claims, "dbgstat", i == 0 ? "enabled" : "disabled");
	}
}

static void real_quotes_are_accepted_only_when_told(void **state)
{
	static const struct {
		const char *file, *mrtd, *attributes;
	} rows[] = {
	    {"cvm/tdx-with-quote/td-quote.bin",
	     "024a32b070383331181619fa387cb4d55d1e38879f989933055ccad5bc2db795d1737b66205949d15469dc8c1ba7ab7b",
	     "0000000000000000"},
	    {"cvm/tdquote/td_quote_v4.dat", NULL, "0000001000000000"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf quote = BUF(PEM_LIMIT);
		uint8_t report_data[64];
		auto_json *claims = json_object();
		struct quote_trust by = trust(true);
		read_data(rows[i].file, &quote);
		assert_refused(verify(quote.data, quote.len, false), 117, "was not told to accept it");
		assert_ok(quote_verify(quote.data, quote.len, &by, report_data, claims));
		assert_memory_equal(report_data, quote.data + 568, 64);
		assert_claim(claims, "tdx_td_attributes", rows[i].attributes);
		if (rows[i].mrtd)
			assert_claim(claims, "tdx_mrtd", rows[i].mrtd);
	}
}

static void certificates_outside_their_time_are_refused(void **state)
{
	(void)state;
	uint8_t report_data[64];
	auto_buf quote = BUF(PEM_LIMIT);
	auto_json *claims = json_object();
	struct quote_trust by = trust(true);
	read_data("cvm/tdx-with-quote/td-quote.bin", &quote);
	by.now = 4102444800; /* 2100 */
	assert_refused(quote_verify(quote.data, quote.len, &by, report_data, claims), 117, "expired");
	assert_refused(quote_verify(played[4].data, played[4].len, &by, report_data, claims), 117, "expired");
	by.now = 1500000000; /* 2017 */
	assert_refused(quote_verify(quote.data, quote.len, &by, report_data, claims), 117, "not valid yet");
	assert_int_equal(json_count(claims), 0);
}

/* ---- what does not ---- */

/* Each byte that is read, changed: but for the zero byte behind the chain and line ends inside it. */
static void every_changed_byte_is_refused(void **state)
{
	(void)state;
	for (unsigned version = 4; version <= 5; version++) {
		uint8_t *data = played[version].data;
		size_t signature = head_of(version) + 4, chain = signature + 128 + 6 + 384 + 64 + 34 + 6;
		for (size_t at = 0; at < chain; at++) {
			data[at] ^= 0x40;
			skr_status status = verify(data, played[version].len, false);
			data[at] ^= 0x40;
			if (status.failure != 116 && status.failure != 117)
				fail_msg("byte %zu of version %u changed: SKR-%d", at, version, status.failure);
		}
		assert_ok(verify(data, played[version].len, false));
	}
}

static void every_letter_of_the_chain_counts(void **state)
{
	(void)state;
	uint8_t *data = played[4].data;
	for (size_t at = 1258; at < end_of(4) - 1; at += 7) {
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", data[at]))
			continue;
		uint8_t was = data[at];
		data[at] = was == 'Q' ? 'w' : 'Q';
		skr_status status = verify(data, played[4].len, false);
		data[at] = was;
		if (status.failure != 116 && status.failure != 117)
			fail_msg("letter %zu changed: SKR-%d", at, status.failure);
	}
}

static void every_shorter_quote_is_refused(void **state)
{
	(void)state;
	for (unsigned version = 4; version <= 5; version++) {
		for (size_t len = 0; len < end_of(version); len++) {
			auto_buf cut = BUF(TD_QUOTE_ROOM);
			assert_ok(buf_append(&cut, played[version].data, len));
			assert_int_equal(verify(cut.data, cut.len, false).failure, 116);
		}
		assert_ok(verify(played[version].data, end_of(version), false));
	}
}

/* Each of the four sizes: one less, one more, and as much as its bytes can say. */
static void sizes_that_disagree_are_refused(void **state)
{
	static const struct {
		size_t at, bytes;
	} sizes[] = {{632, 4}, {766, 4}, {1218, 2}, {1254, 4}};
	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		auto_buf quote = BUF(TD_QUOTE_ROOM);
		copy_played(&quote);
		quote.data[sizes[i].at]++;
		assert_int_equal(verify(quote.data, quote.len, false).failure, 116);
		quote.data[sizes[i].at] -= 2;
		assert_int_equal(verify(quote.data, quote.len, false).failure, 116);
		memset(quote.data + sizes[i].at, 0xff, sizes[i].bytes);
		assert_refused(verify(quote.data, quote.len, false), 116, "the quote ends in its");
	}
}

static void too_long_a_quote_is_refused(void **state)
{
	(void)state;
	auto_buf quote = BUF(2 * TD_QUOTE_ROOM);
	static const uint8_t zeros[TD_QUOTE_ROOM];
	assert_ok(buf_append(&quote, played[4].data, played[4].len));
	assert_ok(buf_append(&quote, zeros, sizeof(zeros)));
	assert_refused(verify(quote.data, quote.len, false), 116, "more than");
}

static void fields_with_one_value_are_named(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		const char *words;
	} rows[] = {{0, 3, "version 3"},
	            {0, 6, "version 6"},
	            {2, 3, "key type is 3"},
	            {4, 0, "TEE type is 0"},
	            {12, 0, "vendor"},
	            {764, 5, "certification data type is 5"},
	            {1252, 6, "inner certification data type is 6"}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t *place = played[4].data + rows[i].at, was = *place;
		*place = rows[i].value;
		skr_status status = verify(played[4].data, played[4].len, false);
		*place = was;
		assert_int_equal(status.failure, 116);
		assert_non_null(strstr(status_message(), rows[i].words));
	}
	uint8_t *type = played[5].data + 48;
	*type = 1;
	assert_refused(verify(played[5].data, played[5].len, false), 116, "body type 1");
	*type = 2;
	assert_refused(verify(played[5].data, played[5].len, false), 116, "type 2 has 648 bytes");
	*type = 3;
}

/* ---- forgeries: everything is signed, by the wrong one ---- */

static void sign(EVP_PKEY *key, const void *data, size_t len, uint8_t raw[64])
{
	uint8_t der[80];
	size_t der_len = sizeof(der);
	auto_md_ctx *md = EVP_MD_CTX_new();
	assert_int_equal(EVP_DigestSignInit_ex(md, NULL, "SHA256", ossl, NULL, key, NULL), 1);
	assert_int_equal(EVP_DigestSign(md, der, &der_len, data, len), 1);
	const uint8_t *p = der;
	ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &p, (long)der_len);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32), 32);
	assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32), 32);
	ECDSA_SIG_free(signature);
}

static void put_point(EVP_PKEY *key, uint8_t out[64])
{
	uint8_t point[65];
	size_t len = 0;
	assert_int_equal(EVP_PKEY_get_octet_string_param(key, "pub", point, sizeof(point), &len), 1);
	assert_int_equal(len, sizeof(point));
	memcpy(out, point + 1, 64);
}

/* Who may sign the enclave's report decides, not who signed the quote. */
static void an_attestation_key_that_nobody_vouches_for_is_refused(void **state)
{
	(void)state;
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	copy_played(&quote);
	put_point(stranger, quote.data + 700);
	sign(stranger, quote.data, 632, quote.data + 636);
	assert_refused(verify(quote.data, quote.len, false), 117, "does not bind the attestation key");

	uint8_t bound[96];
	memcpy(bound, quote.data + 700, 64);
	memcpy(bound + 64, quote.data + 1220, 32);
	assert_ok(sha256(bound, sizeof(bound), quote.data + 770 + 320));
	assert_refused(verify(quote.data, quote.len, false), 117, "quoting enclave's report does not verify");
	sign(stranger, quote.data + 770, 384, quote.data + 1154);
	assert_refused(verify(quote.data, quote.len, false), 117, "quoting enclave's report does not verify");
}

static void a_body_that_another_key_signed_is_refused(void **state)
{
	(void)state;
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	copy_played(&quote);
	quote.data[48 + 136] ^= 1;
	sign(stranger, quote.data, 632, quote.data + 636);
	assert_refused(verify(quote.data, quote.len, false), 117, "the signature of the quote does not verify");
}

/* The bytes behind the hash in the enclave's report data are bound to zero too. */
static void the_enclaves_report_data_ends_in_zeros(void **state)
{
	(void)state;
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	auto_pkey *pck = NULL;
	copy_played(&quote);
	assert_ok(emulator_key(&emulator, "intel-pck.key", 0, "P-256", &pck));
	quote.data[770 + 383] = 1;
	sign(pck, quote.data + 770, 384, quote.data + 1154);
	assert_refused(verify(quote.data, quote.len, false), 117, "does not bind");
	quote.data[770 + 383] = 0;
	sign(pck, quote.data + 770, 384, quote.data + 1154);
	assert_ok(verify(quote.data, quote.len, false));
}

static void a_point_off_the_curve_is_refused(void **state)
{
	(void)state;
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	auto_pkey *pck = NULL;
	uint8_t bound[96];
	copy_played(&quote);
	assert_ok(emulator_key(&emulator, "intel-pck.key", 0, "P-256", &pck));
	memset(quote.data + 700, 0x11, 64);
	memcpy(bound, quote.data + 700, 64);
	memcpy(bound + 64, quote.data + 1220, 32);
	assert_ok(sha256(bound, sizeof(bound), quote.data + 770 + 320));
	sign(pck, quote.data + 770, 384, quote.data + 1154);
	assert_refused(verify(quote.data, quote.len, false), 117, "no point of P-256");
}

/* A quote whose chain is replaced, with all sizes in step. */
static void with_chain(const struct buf *pem, struct buf *out)
{
	size_t certification = 384 + 64 + 2 + 32 + 6 + pem->len;
	const size_t sizes[][2] = {{632, 128 + 6 + certification}, {766, certification}, {1254, pem->len}};
	assert_ok(buf_append(out, played[4].data, 1258));
	assert_ok(buf_append(out, pem->data, pem->len));
	for (size_t i = 0; i < 3; i++)
		for (int byte = 0; byte < 4; byte++)
			out->data[sizes[i][0] + (size_t)byte] = (uint8_t)(sizes[i][1] >> 8 * byte);
}

/* The chain of the played processor, or of one that says the same of itself under a root of its own. */
static void chain_certificates(STACK_OF(X509) **ret)
{
	assert_ok(certificates_from_pem(played[4].data + 1258, little(played[4].data + 1254, 4), ret));
}

static void chains_of_another_length_or_order_are_refused(void **state)
{
	static const struct {
		int order[4], count;
		const char *words;
	} rows[] = {{{0, 1, 2}, 3, NULL},
	            {{0, 1}, 2, "has 2 certificates, not 3"},
	            {{0, 1, 2, 2}, 4, "has 4 certificates, not 3"},
	            {{1, 0, 2}, 3, "Intel SGX PCK Certificate belongs"},
	            {{0, 2, 1}, 3, "Intel SGX PCK Platform CA belongs"},
	            {{0, 1, 1}, 3, "Intel SGX Root CA belongs"}};
	(void)state;
	auto_x509s *chain = NULL;
	chain_certificates(&chain);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf pem = BUF(PEM_LIMIT), quote = BUF(TD_QUOTE_ROOM);
		for (int j = 0; j < rows[i].count; j++)
			assert_ok(certificate_to_pem(sk_X509_value(chain, rows[i].order[j]), &pem));
		with_chain(&pem, &quote);
		if (rows[i].words)
			assert_refused(verify(quote.data, quote.len, false), 117, rows[i].words);
		else
			assert_ok(verify(quote.data, quote.len, false));
	}
}

static void issue(const char *common, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, bool authority, X509 **ret)
{
	const struct certificate_name subject[] = {
	    {"CN", common}, {"O", "Intel Corporation"}, {"L", "Santa Clara"}, {"ST", "CA"}, {"C", "US"}, {NULL, NULL}};
	const struct certificate_extension extensions[] = {
	    {.oid = "basicConstraints", .text = authority ? "critical,CA:TRUE" : "critical,CA:FALSE"}, {0}};
	const struct certificate_plan plan = {.subject = subject,
	                                      .key = key,
	                                      .issuer = issuer,
	                                      .issuer_key = issuer_key,
	                                      .not_before = time(NULL) - 60,
	                                      .not_after = time(NULL) + 3600,
	                                      .extensions = extensions};
	assert_ok(certificate_issue(&plan, ret));
}

/* The names are Intel's, and every signature fits: only the root's key tells. */
static void a_root_of_the_same_name_is_not_trusted(void **state)
{
	(void)state;
	auto_x509 *root = NULL, *platform = NULL, *pck = NULL;
	auto_buf pem = BUF(PEM_LIMIT), quote = BUF(TD_QUOTE_ROOM);
	issue("Intel SGX Root CA", stranger, NULL, NULL, true, &root);
	issue("Intel SGX PCK Platform CA", stranger, root, stranger, true, &platform);
	issue("Intel SGX PCK Certificate", stranger, platform, stranger, false, &pck);
	assert_ok(certificate_to_pem(pck, &pem));
	assert_ok(certificate_to_pem(platform, &pem));
	assert_ok(certificate_to_pem(root, &pem));
	with_chain(&pem, &quote);
	sign(stranger, quote.data + 770, 384, quote.data + 1154);
	assert_refused(verify(quote.data, quote.len, true), 117, "is not trusted");
}

/* Our root, and below it what our root's key did not sign. */
static void certificates_must_be_signed_by_those_above(void **state)
{
	(void)state;
	auto_x509s *chain = NULL;
	auto_pkey *root_key = NULL;
	auto_x509 *platform = NULL, *plain = NULL, *pck = NULL, *under_plain = NULL;
	chain_certificates(&chain);
	X509 *root = sk_X509_value(chain, 2);
	assert_ok(emulator_key(&emulator, "intel-root.key", 0, "P-256", &root_key));
	issue("Intel SGX PCK Platform CA", stranger, root, stranger, true, &platform);
	issue("Intel SGX PCK Certificate", stranger, platform, stranger, false, &pck);
	issue("Intel SGX PCK Platform CA", stranger, root, root_key, false, &plain);
	issue("Intel SGX PCK Certificate", stranger, plain, stranger, false, &under_plain);

	X509 *const chains[][3] = {
	    {pck, sk_X509_value(chain, 1), root}, {pck, platform, root}, {under_plain, plain, root}};
	static const char *const words[] = {"did not sign the certificate of Intel SGX PCK Certificate",
	                                    "did not sign the certificate of Intel SGX PCK Platform CA",
	                                    "not an authority"};
	for (size_t i = 0; i < 3; i++) {
		auto_buf pem = BUF(PEM_LIMIT), quote = BUF(TD_QUOTE_ROOM);
		for (int j = 0; j < 3; j++)
			assert_ok(certificate_to_pem(chains[i][j], &pem));
		with_chain(&pem, &quote);
		sign(stranger, quote.data + 770, 384, quote.data + 1154);
		assert_refused(verify(quote.data, quote.len, false), 117, words[i]);
	}
}

static void a_refused_quote_leaves_no_claims(void **state)
{
	(void)state;
	uint8_t report_data[64] = {0};
	static const uint8_t zeros[64];
	auto_buf quote = BUF(TD_QUOTE_ROOM);
	auto_json *claims = json_object();
	const struct quote_trust by = trust(false);
	copy_played(&quote);
	quote.data[640] ^= 1;
	assert_refused(quote_verify(quote.data, quote.len, &by, report_data, claims), 117,
	               "the signature of the quote");
	assert_int_equal(json_count(claims), 0);
	assert_memory_equal(report_data, zeros, sizeof(zeros));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_claims_are_those_of_the_reference),
	    cmocka_unit_test(every_attribute_has_its_own_claim),
	    cmocka_unit_test(real_quotes_are_accepted_only_when_told),
	    cmocka_unit_test(certificates_outside_their_time_are_refused),
	    cmocka_unit_test(every_changed_byte_is_refused),
	    cmocka_unit_test(every_letter_of_the_chain_counts),
	    cmocka_unit_test(every_shorter_quote_is_refused),
	    cmocka_unit_test(sizes_that_disagree_are_refused),
	    cmocka_unit_test(too_long_a_quote_is_refused),
	    cmocka_unit_test(fields_with_one_value_are_named),
	    cmocka_unit_test(an_attestation_key_that_nobody_vouches_for_is_refused),
	    cmocka_unit_test(a_body_that_another_key_signed_is_refused),
	    cmocka_unit_test(the_enclaves_report_data_ends_in_zeros),
	    cmocka_unit_test(a_point_off_the_curve_is_refused),
	    cmocka_unit_test(chains_of_another_length_or_order_are_refused),
	    cmocka_unit_test(a_root_of_the_same_name_is_not_trusted),
	    cmocka_unit_test(certificates_must_be_signed_by_those_above),
	    cmocka_unit_test(a_refused_quote_leaves_no_claims),
	};
	return cmocka_run_group_tests(tests, open_quotes, close_quotes);
}
