/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/hcl.h"
#include "cvm_vectors.h"
#include "evidence/snp_report.h"

#define MOMENT 1795000000 /* 2026-11-18: within the dates of every certificate of tests/data/cvm */

static const struct capture {
	const char *name; /* NULL: snp-evidence-nonce */
	enum isolation isolation;
	size_t claims_len;
	bool has_user_data, has_ek;
} captures[] = {
    {"snp-hdr1-2023/hcl-report.bin", ISOLATION_SNP, 583, false, false},
    {"snp-hdr1-vcek/hcl-report.bin", ISOLATION_SNP, 1110, true, true},
    {NULL, ISOLATION_SNP, 1110, true, true},
    {"tdx-hdr2/hcl-report.bin", ISOLATION_TDX, 1202, true, true},
    {"tdx-with-quote/hcl-report.bin", ISOLATION_TDX, 1201, true, true},
};
#define CAPTURES    (sizeof(captures) / sizeof(captures[0]))
#define SNP_OF_2024 (&captures[1])
#define TD_OF_2025  (&captures[4])

static void read_capture(const struct capture *capture, struct buf *out)
{
	if (capture->name)
		read_cvm(capture->name, out);
	else
		read_nonce_evidence("hcl_report", out);
}

static skr_status parse_capture(const struct capture *capture, struct hcl_report *ret)
{
	auto_buf bytes = BUF(4096);

	read_capture(capture, &bytes);
	return hcl_report_parse(bytes.data, bytes.len, ret);
}

static void set_number(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* A capture whose claims are others, bound as the paravisor binds them: sizes and report data fit. */
static size_t with_claims(const struct capture *capture, const void *claims, size_t len, uint8_t out[4096])
{
	auto_buf bytes = BUF(4096);
	uint8_t *report_data = out + 32 + (capture->isolation == ISOLATION_TDX ? 128 : 0x50);

	read_capture(capture, &bytes);
	memcpy(out, bytes.data, 1236);
	memcpy(out + 1236, claims, len);
	set_number(out + 8, (uint32_t)(1236 + len));
	set_number(out + 1216, (uint32_t)(20 + len));
	set_number(out + 1232, (uint32_t)len);
	assert_ok(sha256(claims, len, report_data));
	return 1236 + len;
}

static skr_status parse_claims(const char *claims, struct hcl_report *ret)
{
	uint8_t bytes[4096];
	size_t len = with_claims(SNP_OF_2024, claims, strlen(claims), bytes);

	return hcl_report_parse(bytes, len, ret);
}

static void reports_of_real_machines_are_read(void **state)
{
	(void)state;

	for (size_t i = 0; i < CAPTURES; i++) {
		auto_buf bytes = BUF(4096);
		auto_hcl_report report = {0};
		auto_pkey *ak = NULL, *ek = NULL;

		read_capture(&captures[i], &bytes);
		assert_ok(hcl_report_parse(bytes.data, bytes.len, &report));
		assert_int_equal(report.isolation, captures[i].isolation);
		assert_int_equal(report.claims.len, captures[i].claims_len);
		assert_memory_equal(report.claims.data, bytes.data + 1236, report.claims.len);
		assert_memory_equal(report.hardware, bytes.data + 32, sizeof(report.hardware));
		assert_int_equal(report.has_user_data, captures[i].has_user_data);
		assert_ok(hcl_report_key(&report, "HCLAkPub", &ak));
		assert_int_equal(EVP_PKEY_get_bits(ak), 2048);
		if (captures[i].has_ek)
			assert_ok(hcl_report_key(&report, "HCLEkPub", &ek));
		else
			assert_fails(hcl_report_key(&report, "HCLEkPub", &ek), 149, "no key 'HCLEkPub'");
	}
}

static void user_data_of_a_real_machine_is_read(void **state)
{
	(void)state;
	static const uint8_t nonce[4] = {0x98, 0x2f, 0x5c, 0x6e}, end[4] = {0xf5, 0xf8, 0x19, 0xef}, zeros[64];
	auto_hcl_report report = {0}, empty = {0};

	assert_ok(parse_capture(&captures[2], &report));
	assert_memory_equal(report.user_data, nonce, 4);
	assert_memory_equal(report.user_data + 44, end, 4);
	assert_memory_equal(report.user_data + 48, zeros, 16);
	assert_ok(parse_capture(SNP_OF_2024, &empty)); /* never written: present, and zero */
	assert_true(empty.has_user_data);
	assert_memory_equal(empty.user_data, zeros, 64);
}

static void the_reports_of_the_processor_verify_with_their_own_endorsements_only(void **state)
{
	(void)state;
	static const char *const chains[] = {"snp-hdr1-2023/milan-vcek-chain-other-chip.pem", "snp-hdr1-vcek/vcek.pem"};
	auto_buf der = BUF(8192);
	auto_x509s *of_nonce = NULL;

	for (size_t r = 0; r < 3; r++) {
		auto_hcl_report report = {0};
		struct snp_report snp;
		assert_ok(parse_capture(&captures[r], &report));
		assert_ok(snp_report_parse(report.hardware, sizeof(report.hardware), &snp));
		for (size_t c = 0; c < 2; c++) {
			auto_buf pem = BUF(16 * 1024);
			auto_x509s *chain = NULL;
			read_cvm(chains[c], &pem);
			assert_ok(certificates_from_pem(pem.data, pem.len, &chain));
			if (r == 1 && c == 1)
				assert_ok(snp_report_verify(&snp, chain, MOMENT));
			else
				assert_fails(snp_report_verify(&snp, chain, MOMENT), 117, "");
		}
	}

	/* The third has its VCEK beside it, and ASK and ARK of Milan are those of the second. */
	auto_buf pem = BUF(16 * 1024);
	auto_hcl_report report = {0};
	struct snp_report snp;
	read_cvm(chains[1], &pem);
	assert_ok(certificates_from_pem(pem.data, pem.len, &of_nonce));
	read_nonce_evidence("vcek", &der);
	const uint8_t *at = der.data;
	X509 *vcek = d2i_X509(NULL, &at, (long)der.len);
	assert_non_null(vcek);
	X509_free(sk_X509_shift(of_nonce));
	sk_X509_unshift(of_nonce, vcek);
	assert_ok(parse_capture(&captures[2], &report));
	assert_ok(snp_report_parse(report.hardware, sizeof(report.hardware), &snp));
	assert_ok(snp_report_verify(&snp, of_nonce, MOMENT));
}

static void damaged_reports_are_refused_by_the_field_that_is_wrong(void **state)
{
	(void)state;
	static const struct {
		const char *name, *words;
	} damaged[] = {
	    {"bad-signature", "signature"},
	    {"report-type-9", "report type 9"},
	    {"claims-size-over-file", "claims size"},
	    {"truncated-1235", "1235 bytes"},
	    {"data-size-disagrees", "data size"},
	    {"claims-byte-changed", "not the SHA-256 of the claims"},
	    {"report-data-byte-changed", "not the SHA-256 of the claims"},
	};

	for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
		auto_buf bytes = BUF(4096);
		struct hcl_report report = {.isolation = 77};
		char name[128];
		snprintf(name, sizeof(name), "generated/hcl-malformed/%s.bin", damaged[i].name);
		read_cvm(name, &bytes);
		assert_fails(hcl_report_parse(bytes.data, bytes.len, &report), 149, damaged[i].words);
		assert_int_equal(report.isolation, 77); /* untouched on failure */
		assert_null(report.tree);
	}
}

static void every_length_but_those_with_the_whole_report_is_refused(void **state)
{
	(void)state;

	for (size_t i = 0; i < CAPTURES; i++) {
		uint8_t bytes[HCL_REPORT_LIMIT + 1] = {0};
		auto_buf capture = BUF(4096);
		read_capture(&captures[i], &capture);
		memcpy(bytes, capture.data, capture.len);
		for (size_t len = 0; len <= sizeof(bytes); len++) {
			auto_hcl_report report = {0};
			/* An exact copy, so that a sanitizer sees one byte too many. */
			uint8_t *copy = malloc(len ? len : 1);
			memcpy(copy, bytes, len);
			skr_status status = hcl_report_parse(copy, len, &report);
			free(copy);
			if (len >= 1236 + captures[i].claims_len && len <= HCL_REPORT_LIMIT)
				assert_ok(status);
			else
				assert_fails(status, 149, "");
		}
	}
}

static void every_header_field_counts(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint32_t value;
		int failure;
		const char *words;
	} fields[] = {
	    {0, 0x414c4349, 149, "signature 414c4349"},
	    {4, 0, 149, "version 0"},
	    {4, 1, 0, ""},
	    {4, 2, 0, ""},
	    {4, 3, 149, "version 3"},
	    {4, 0x101, 149, "version 257"},
	    {8, 0, 0, ""}, /* some count it another way; nothing depends on it */
	    {8, 0xffffffff, 0, ""},
	    {1216, 1110, 149, "data size 1110"},
	    {1216, 1131, 149, "data size 1131"},
	    {1216, 0xffffffff, 149, "data size"},
	    {1220, 0, 149, "data version 0"},
	    {1220, 2, 149, "data version 2"},
	    {1224, 0, 149, "report type 0"},
	    {1224, 1, 134, "VBS"},
	    {1224, 3, 134, "Trusted VM"},
	    {1224, 5, 149, "report type 5"},
	    {1224, 4, 149, "TD report: report type 0x03"}, /* an SNP report's version stands there */
	    {1228, 0, 149, "hash type 0"},
	    {1228, 2, 149, "hash type 2"},
	    {1232, 1109, 149, "data size"},
	    {1232, 1365, 149, "claims size 1365, only 1364"},
	    {1232, 0xffffffff, 149, "claims size"},
	    {1232, 0xfffffb2c, 149, "claims size"}, /* 1236 more are 0 */
	};
	auto_buf bytes = BUF(4096);

	read_capture(SNP_OF_2024, &bytes);
	bytes.data[32] = 3;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		auto_hcl_report report = {0};
		uint8_t before[4];
		memcpy(before, bytes.data + fields[i].at, 4);
		set_number(bytes.data + fields[i].at, fields[i].value);
		skr_status status = hcl_report_parse(bytes.data, bytes.len, &report);
		memcpy(bytes.data + fields[i].at, before, 4);
		if (fields[i].failure)
			assert_fails(status, fields[i].failure, fields[i].words);
		else
			assert_ok(status);
	}
}

static void a_changed_bit_of_claims_or_report_data_is_noticed(void **state)
{
	(void)state;

	for (size_t i = 0; i < CAPTURES; i++) {
		auto_buf bytes = BUF(4096);
		size_t report_data = 32 + (captures[i].isolation == ISOLATION_TDX ? 128 : 0x50);
		read_capture(&captures[i], &bytes);
		for (size_t at = report_data; at < 1236 + captures[i].claims_len; at++) {
			auto_hcl_report report = {0};
			if (at == report_data + 64)
				at = 1236;
			bytes.data[at] ^= (uint8_t)(1 << at % 8);
			assert_fails(hcl_report_parse(bytes.data, bytes.len, &report), 149,
			             at >= report_data + 32 && at < 1236 ? "second half" : "not the SHA-256");
			bytes.data[at] ^= (uint8_t)(1 << at % 8);
		}
	}
}

static void a_changed_bit_of_what_a_td_report_hashes_is_noticed(void **state)
{
	(void)state;
	auto_buf bytes = BUF(4096);

	read_capture(TD_OF_2025, &bytes);
	for (size_t at = 0; at < 1184; at++) {
		auto_hcl_report report = {0};
		const char *words = at == 0                         ? "report type 0x"
		                    : (at >= 32 && at < 80)         ? "TEE_TCB_INFO"
		                    : (at >= 80 && at < 128)        ? "TDINFO"
		                    : (at >= 128 && at < 160)       ? "not the SHA-256"
		                    : (at >= 160 && at < 192)       ? "second half"
		                    : (at >= 256 && at < 256 + 239) ? "TEE_TCB_INFO"
		                    : (at >= 512 && at < 1024)      ? "TDINFO"
		                                                    : NULL; /* the MAC's alone, or nobody's */
		bytes.data[32 + at] ^= (uint8_t)(1 << at % 8);
		skr_status status = hcl_report_parse(bytes.data, bytes.len, &report);
		bytes.data[32 + at] ^= (uint8_t)(1 << at % 8);
		if (words)
			assert_fails(status, 149, words);
		else
			assert_ok(status);
	}
}

#define HEX_0_TO_63                                                        \
	"000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F" \
	"202122232425262728292a2b2c2d2e2f303132333435363738393A3B3C3D3E3F"

static void user_data_is_128_hexadecimal_digits_of_either_case(void **state)
{
	(void)state;
	static const char *const wrong[] = {
	    "{\"user-data\":\"\"}",
	    "{\"user-data\":\"" HEX_0_TO_63 "0\"}",
	    "{\"user-data\":\"" HEX_0_TO_63 "00\"}",
	    "{\"user-data\":\" " HEX_0_TO_63 "\"}",
	    "{\"user-data\":\"0x" HEX_0_TO_63 "\"}",
	    "{\"user-data\":null}",
	    "{\"user-data\":0}",
	    "{\"user-data\":[\"" HEX_0_TO_63 "\"]}",
	};
	auto_hcl_report good = {0}, absent = {0};
	char claims[] = "{\"user-data\":\"" HEX_0_TO_63 "\"}";

	assert_ok(parse_claims(claims, &good));
	assert_true(good.has_user_data);
	for (int i = 0; i < 64; i++)
		assert_int_equal(good.user_data[i], i);
	assert_ok(parse_claims("{\"User-Data\":\"x\"}", &absent));
	assert_false(absent.has_user_data);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		auto_hcl_report report = {0};
		assert_fails(parse_claims(wrong[i], &report), 149, "user-data");
	}
	for (size_t at = 14; at < 14 + 128; at++) {
		auto_hcl_report report = {0};
		char before = claims[at];
		claims[at] = at % 2 ? 'g' : ' ';
		assert_fails(parse_claims(claims, &report), 149, "user-data");
		claims[at] = before;
	}
}

static void claims_that_are_no_object_are_refused(void **state)
{
	(void)state;
	static const char *const wrong[] = {
	    "", "[]", "\"text\"", "null", "{", "{}{}", "{\"a\":1,\"a\":2}", "{\"user-data\":\"" HEX_0_TO_63 "\",}",
	};
	uint8_t bytes[4096];
	auto_hcl_report with_zero = {0};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		auto_hcl_report report = {0};
		assert_fails(parse_claims(wrong[i], &report), 149, "claims");
	}
	/* The size counts, so a zero byte does not end them. */
	size_t len = with_claims(TD_OF_2025, "{}\0{\"a\":1}", 10, bytes);
	assert_fails(hcl_report_parse(bytes, len, &with_zero), 149, "claims");
	len = with_claims(TD_OF_2025, "{}", 2, bytes);
	assert_ok(hcl_report_parse(bytes, len, &with_zero));
}

/* The number of a 2048-bit RSA key in base64url, and that of a point. */
#define N_OF_RSA                                                                                 \
	"qR7LqAABDczZDIJxh4YuOOp_0EiqZ0TvLsy8ZoLd3OMHs-1mLF4rNkW4d5vHgF5UwOHcLIMWnrjHr5cPop_"    \
	"pvnapqYvv1hQVBwhfOV4EedT27Fp2N2Jr"                                                      \
	"j54JVc500a5s8ogiOTTm3bJ86VCoKGn3Ou2WMPWGYbIOTInVfJYsASUXeihOBO6r_DFDjzNP-XOW_YinXf7Xj_" \
	"Gbcp0Pngwz8OHqnQrb9cyMe-sSbc"                                                           \
	"UVdHoaj3CcAmjGvvhpyIzKxCjHg_LqUBmVx5xtKfZSreeerQvOsoDRKcx2_S-"                          \
	"oDt6eP1jsXFldIpqbSM34qA3gBkve6xy1jVEUrclNgxFtMI5PDQ"
#define RSA_KEY(kid) "{\"n\":\"" N_OF_RSA "\",\"kid\":\"" kid "\",\"e\":\"AQAB\",\"kty\":\"RSA\"}"
#define EC_KEY(kid)                                              \
	"{\"kid\":\"" kid "\",\"kty\":\"EC\",\"crv\":\"P-256\"," \
	"\"x\":\"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4\"," \
	"\"y\":\"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM\"}"

static void a_key_is_found_by_its_name_whatever_the_order(void **state)
{
	(void)state;
	auto_hcl_report report = {0};
	auto_pkey *key = NULL;

	assert_ok(parse_claims("{\"user-data\":\"" HEX_0_TO_63 "\",\"keys\":[7,{\"kid\":1},{}," EC_KEY(
	                           "HCLOther") "," RSA_KEY("HCLEkPub") "," RSA_KEY("HCLAkPub") "]}",
	                       &report));
	assert_ok(hcl_report_key(&report, "HCLAkPub", &key));
	assert_int_equal(EVP_PKEY_get_bits(key), 2048);
}

static void a_key_that_is_not_there_once_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *claims, *words;
	} wrong[] = {
	    {"{}", "no key 'HCLAkPub'"},
	    {"{\"keys\":null}", "no key"},
	    {"{\"keys\":\"HCLAkPub\"}", "no key"},
	    {"{\"keys\":[]}", "no key"},
	    {"{\"keys\":[" RSA_KEY("hclakpub") "]}", "no key"},
	    {"{\"keys\":[" RSA_KEY("HCLAkPub2") "]}", "no key"},
	    {"{\"keys\":[" RSA_KEY("HCLAkPub") "," RSA_KEY("HCLAkPub") "]}", "more than one key 'HCLAkPub'"},
	    {"{\"keys\":[{\"kid\":\"HCLAkPub\"}]}", "key 'HCLAkPub': "},
	    {"{\"keys\":[{\"kid\":\"HCLAkPub\",\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"AQAB\"}]}", "key 'HCLAkPub': "},
	    {"{\"keys\":[" EC_KEY("HCLAkPub") "]}", "no RSA key"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		auto_hcl_report report = {0};
		EVP_PKEY *key = NULL;
		assert_ok(parse_claims(wrong[i].claims, &report));
		assert_fails(hcl_report_key(&report, "HCLAkPub", &key), 149, wrong[i].words);
		assert_null(key);
	}
}

static void an_empty_report_has_no_keys_and_can_be_released(void **state)
{
	(void)state;
	struct hcl_report report = {0};
	EVP_PKEY *key = NULL;

	assert_fails(hcl_report_key(&report, "HCLAkPub", &key), 149, "no key");
	hcl_report_done(&report);
	assert_ok(parse_capture(SNP_OF_2024, &report));
	hcl_report_done(&report);
	assert_null(report.tree);
	assert_int_equal(report.claims.len, 0);
	hcl_report_done(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reports_of_real_machines_are_read),
	    cmocka_unit_test(user_data_of_a_real_machine_is_read),
	    cmocka_unit_test(the_reports_of_the_processor_verify_with_their_own_endorsements_only),
	    cmocka_unit_test(damaged_reports_are_refused_by_the_field_that_is_wrong),
	    cmocka_unit_test(every_length_but_those_with_the_whole_report_is_refused),
	    cmocka_unit_test(every_header_field_counts),
	    cmocka_unit_test(a_changed_bit_of_claims_or_report_data_is_noticed),
	    cmocka_unit_test(a_changed_bit_of_what_a_td_report_hashes_is_noticed),
	    cmocka_unit_test(user_data_is_128_hexadecimal_digits_of_either_case),
	    cmocka_unit_test(claims_that_are_no_object_are_refused),
	    cmocka_unit_test(a_key_is_found_by_its_name_whatever_the_order),
	    cmocka_unit_test(a_key_that_is_not_there_once_is_refused),
	    cmocka_unit_test(an_empty_report_has_no_keys_and_can_be_released),
	};

	if (ossl_open().failure)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
