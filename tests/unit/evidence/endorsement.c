/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/endorsement.h"
#include "played_hardware.h"

#define CHAIN_PEM "milan-v2-aci/chain-vcek-ask-ark.pem"

static struct snp_report aci_report(void)
{
	auto_buf bytes = BUF(4096);
	struct snp_report report;

	read_vector("milan-v2-aci/report.bin", &bytes);
	assert_ok(snp_report_parse(bytes.data, bytes.len, &report));
	return report;
}

static skr_status thim(const char *text, struct endorsement *ret)
{
	auto_json *answer = NULL;

	TRY(json_parse(text, strlen(text), &answer));
	return endorsement_from_thim(answer, "thim", ret);
}

static void a_genuine_thim_answer_is_understood(void **state)
{
	(void)state;
	struct snp_report report = aci_report();
	auto_buf text = BUF(64 * 1024), pem = BUF(64 * 1024), expected = BUF(64 * 1024);
	auto_endorsement found = {0};

	read_vector("milan-v2-aci/host-amd-cert.json", &text);
	assert_ok(thim(buf_text(&text), &found));
	assert_true(found.has_tcbm && found.tcbm == 0x7308000000000003);
	assert_ok(endorsement_matches(&found, &report));
	assert_ok(snp_report_verify(&report, found.chain, 1795000000));
	assert_ok(endorsement_print(&found, &pem));
	read_vector(CHAIN_PEM, &expected);
	assert_string_equal(buf_text(&pem), buf_text(&expected));
}

static void tcbm_is_compared_as_a_number(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;
	plan.tcb[7] = 0; /* so that leading zeros may be missing */
	plan.tcb[6] = 0x0d;
	auto_hardware hw = make_hardware(&plan);
	uint8_t bytes[SNP_REPORT_SIZE], report_data[64] = {0};
	struct snp_report report;
	const char *good[] = {"000d000000000003", "d000000000003", "D000000000003"};
	const char *bad[] = {"", "0x0d000000000003", "d00000000000g", "000d0000000000030", " d000000000003", "-1"};

	make_report(&hw, report_data, bytes);
	assert_ok(snp_report_parse(bytes, sizeof(bytes), &report));
	for (size_t i = 0; i < 3; i++) {
		auto_buf text = BUF(64 * 1024);
		auto_endorsement found = {0};
		make_thim(&hw, good[i], &text);
		assert_ok(thim(buf_text(&text), &found));
		assert_ok(endorsement_matches(&found, &report));
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		auto_buf text = BUF(64 * 1024);
		auto_endorsement found = {0};
		make_thim(&hw, bad[i], &text);
		assert_fails(thim(buf_text(&text), &found), 143, "tcbm");
		assert_null(found.chain);
	}
}

static void a_higher_tcb_is_not_an_equal_one(void **state)
{
	(void)state;
	struct snp_report report = aci_report();
	auto_buf text = BUF(64 * 1024);
	auto_endorsement found = {0};

	read_vector("milan-v2-aci/host-amd-cert.json", &text);
	assert_ok(thim(buf_text(&text), &found));
	report.reported_tcb++;
	assert_fails(endorsement_matches(&found, &report), 142,
	             "endorsements (thim) are for TCB 7308000000000003, the report has 7308000000000004");
	found.has_tcbm = false; /* without it the certificate's own TCB counts */
	assert_fails(endorsement_matches(&found, &report), 142,
	             "the certificate (thim) is for TCB 7308000000000003, the report has 7308000000000004");
}

static void thim_answers_that_are_not_whole_are_refused(void **state)
{
	(void)state;
	auto_endorsement found = {0};
	auto_buf one = BUF(8192), all = BUF(64 * 1024), text = BUF(64 * 1024);

	assert_fails(thim("{}", &found), 143, "missing");
	assert_fails(thim("{\"vcekCert\":1,\"certificateChain\":\"\",\"tcbm\":\"1\"}", &found), 143, "missing");
	assert_fails(thim("[]", &found), 143, "missing");
	assert_fails(thim("{\"vcekCert\":\"\",\"certificateChain\":\"\"}", &found), 143, "no PEM certificate");
	assert_fails(thim("{\"vcekCert\":\"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\","
	                  "\"certificateChain\":\"\"}",
	                  &found),
	             143, "broken");

	read_vector("milan-v2-aci/vcek.pem", &one);
	for (size_t i = 0; i < one.len; i++)
		assert_ok(buf_printf(&text, one.data[i] == '\n' ? "\\n" : "%c", one.data[i]));
	assert_ok(buf_printf(&all, "{\"vcekCert\":\"%s\",\"certificateChain\":\"\"}", buf_text(&text)));
	assert_fails(thim(buf_text(&all), &found), 143, "1 certificates");
	assert_null(found.chain);
}

/* --- Certificate tables --- */

static struct snp_report any_report(bool vlek)
{
	return (struct snp_report){.signing_key = vlek ? SNP_SIGNED_BY_VLEK : SNP_SIGNED_BY_VCEK};
}

static void a_whole_table_gives_the_chain_of_the_reports_key(void **state)
{
	(void)state;
	static uint8_t table[16384];
	struct hardware_plan plan = milan;

	for (int vlek = 0; vlek < 2; vlek++) {
		plan.vlek = vlek;
		auto_hardware hw = make_hardware(&plan);
		size_t len = make_table(&hw, 3, table, sizeof(table));
		struct snp_report report = any_report(vlek), other = any_report(!vlek);
		auto_endorsement found = {0}, none = {0};

		assert_ok(endorsement_from_table(table, len, &report, &found));
		assert_int_equal(sk_X509_num(found.chain), 3);
		assert_string_equal(found.source, "report");
		assert_int_equal(X509_cmp(sk_X509_value(found.chain, 0), hw.vcek), 0);
		assert_int_equal(X509_cmp(sk_X509_value(found.chain, 2), hw.ark), 0);
		assert_ok(endorsement_from_table(table, len, &other, &none));
		assert_null(none.chain);
	}
}

static void an_empty_or_partial_table_gives_nothing(void **state)
{
	(void)state;
	static uint8_t table[16384];
	auto_hardware hw = make_hardware(&milan);
	struct snp_report report = any_report(false);

	for (int entries = 0; entries < 3; entries++) {
		auto_endorsement found = {0};
		size_t len = make_table(&hw, entries, table, sizeof(table));
		assert_ok(endorsement_from_table(table, len, &report, &found));
		assert_null(found.chain);
	}
	auto_endorsement found = {0};
	assert_ok(endorsement_from_table(NULL, 0, &report, &found));
	assert_null(found.chain);
}

static void padding_behind_the_table_is_let_pass(void **state)
{
	(void)state;
	static uint8_t table[16384];
	auto_hardware hw = make_hardware(&milan);
	struct snp_report report = any_report(false);
	auto_endorsement found = {0};

	make_table(&hw, 3, table, sizeof(table));
	assert_ok(endorsement_from_table(table, sizeof(table), &report, &found));
	assert_non_null(found.chain);
}

/* Offsets and lengths that lie, one at a time. */
static void tables_that_point_outside_are_refused(void **state)
{
	(void)state;
	static uint8_t genuine[16384];
	auto_hardware hw = make_hardware(&milan);
	struct snp_report report = any_report(false);
	size_t len = make_table(&hw, 3, genuine, sizeof(genuine));
	const uint32_t offsets[] = {0, 24, 95, 0xffffffff, 0x80000000, (uint32_t)len + 1};
	const uint32_t lengths[] = {0xffffffff, 0xfffffff0, 0x80000000, (uint32_t)len};

	for (size_t entry = 0; entry < 3; entry++) {
		for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
			auto_endorsement found = {0};
			uint8_t *table = malloc(len); /* exact, for the sanitizer */
			memcpy(table, genuine, len);
			memcpy(table + 24 * entry + 16, &offsets[i], 4);
			assert_fails(endorsement_from_table(table, len, &report, &found), 143, "outside");
			free(table);
		}
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
			auto_endorsement found = {0};
			uint8_t *table = malloc(len);
			memcpy(table, genuine, len);
			memcpy(table + 24 * entry + 20, &lengths[i], 4);
			assert_fails(endorsement_from_table(table, len, &report, &found), 143, "outside");
			free(table);
		}
	}
}

static void broken_tables_are_refused(void **state)
{
	(void)state;
	static uint8_t table[16384];
	static const uint8_t endless[4096] = {1};
	auto_hardware hw = make_hardware(&milan);
	struct snp_report report = any_report(false);
	auto_endorsement found = {0};
	uint32_t shorter = 40;

	size_t len = make_table(&hw, 3, table, sizeof(table));
	assert_fails(endorsement_from_table(table, 23, &report, &found), 143, "no last entry");
	assert_fails(endorsement_from_table(table, 72, &report, &found), 143, "no last entry");
	assert_fails(endorsement_from_table(endless, 24, &report, &found), 143, "no last entry");
	assert_fails(endorsement_from_table(table, 65537, &report, &found), 113, "65537");
	table[96] ^= 0x10; /* the SEQUENCE of the first certificate */
	assert_fails(endorsement_from_table(table, len, &report, &found), 143,
	             "a certificate of the certificate table");
	table[96] ^= 0x10;
	memcpy(table + 20, &shorter, 4);
	assert_fails(endorsement_from_table(table, len, &report, &found), 143,
	             "a certificate of the certificate table");
	assert_null(found.chain);
}

/* Bytes behind a certificate, in a room that the entry claims for it. */
static void a_certificate_shorter_than_its_entry_says_is_refused(void **state)
{
	(void)state;
	static uint8_t table[16384];
	auto_hardware hw = make_hardware(&milan);
	struct snp_report report = any_report(false);
	auto_endorsement found = {0};
	uint32_t length;

	size_t len = make_table(&hw, 3, table, sizeof(table));
	memcpy(&length, table + 24 * 2 + 20, 4);
	length++;
	memcpy(table + 24 * 2 + 20, &length, 4);
	assert_fails(endorsement_from_table(table, len + 1, &report, &found), 143, "a certificate of");
	length = 9000;
	memcpy(table + 24 * 2 + 20, &length, 4);
	assert_fails(endorsement_from_table(table, sizeof(table), &report, &found), 143, "9000 bytes");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_genuine_thim_answer_is_understood),
	    cmocka_unit_test(tcbm_is_compared_as_a_number),
	    cmocka_unit_test(a_higher_tcb_is_not_an_equal_one),
	    cmocka_unit_test(thim_answers_that_are_not_whole_are_refused),
	    cmocka_unit_test(a_whole_table_gives_the_chain_of_the_reports_key),
	    cmocka_unit_test(an_empty_or_partial_table_gives_nothing),
	    cmocka_unit_test(padding_behind_the_table_is_let_pass),
	    cmocka_unit_test(tables_that_point_outside_are_refused),
	    cmocka_unit_test(broken_tables_are_refused),
	    cmocka_unit_test(a_certificate_shorter_than_its_entry_says_is_refused),
	};

	if (ossl_open().failure)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
