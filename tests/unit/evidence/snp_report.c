/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/snp_report.h"
#include "played_hardware.h"

#define MOMENT 1795000000 /* 2026-11-18: within the dates of every certificate of tests/data/snp */

/* --- Reports and endorsements of real machines (tests/data/snp/README.md) --- */

static STACK_OF(X509) *chain_from_files(const char *const *names)
{
	auto_buf pem = BUF(64 * 1024);
	STACK_OF(X509) *chain = NULL;

	for (; *names; names++)
		read_vector(*names, &pem);
	assert_ok(certificates_from_pem(pem.data, pem.len, &chain));
	return chain;
}

static STACK_OF(X509) *aci_chain(void)
{
	return chain_from_files((const char *const[]){"milan-v2-aci/chain-vcek-ask-ark.pem", NULL});
}

static STACK_OF(X509) *turin_chain(void)
{
	return chain_from_files(
	    (const char *const[]){"turin-v5-aci/vcek.pem", "turin-v5-aci/ask.pem", "turin-v5-aci/ark.pem", NULL});
}

static STACK_OF(X509) *bare_chain(void)
{
	auto_buf der = BUF(8192);
	STACK_OF(X509) *chain = chain_from_files((const char *const[]){"milan-v2-bare/ask-ark.pem", NULL});
	read_vector("milan-v2-bare/vcek.der", &der);
	const uint8_t *at = der.data;
	X509 *vcek = X509_new_ex(ossl, NULL);

	assert_non_null(d2i_X509(&vcek, &at, (long)der.len));
	sk_X509_unshift(chain, vcek);
	return chain;
}

static struct snp_report report_from_file(const char *name)
{
	auto_buf bytes = BUF(4096);
	struct snp_report report;

	read_vector(name, &bytes);
	assert_ok(snp_report_parse(bytes.data, bytes.len, &report));
	return report;
}

static void genuine_reports_verify_with_their_own_endorsements_only(void **state)
{
	(void)state;
	const char *reports[] = {"milan-v2-aci/report.bin", "milan-v2-bare/report.bin", "turin-v5-aci/report.bin"};
	STACK_OF(X509) *chains[] = {aci_chain(), bare_chain(), turin_chain()};

	for (int r = 0; r < 3; r++) {
		struct snp_report report = report_from_file(reports[r]);
		for (int c = 0; c < 3; c++) {
			if (r == c)
				assert_ok(snp_report_verify(&report, chains[c], MOMENT));
			else
				assert_fails(snp_report_verify(&report, chains[c], MOMENT), 117, "");
		}
	}
	for (int c = 0; c < 3; c++)
		sk_X509_pop_free(chains[c], X509_free);
}

static void what_a_genuine_report_says_is_read(void **state)
{
	(void)state;
	struct snp_report aci = report_from_file("milan-v2-aci/report.bin");
	struct snp_report new = report_from_file("turin-v5-aci/report.bin");
	struct snp_report bare = report_from_file("milan-v2-bare/report.bin");
	auto_buf runtime = BUF(64);
	uint8_t digest[32];

	assert_int_equal(aci.version, 2);
	assert_true(aci.reported_tcb == 0x7308000000000003);
	assert_true(aci.product == SNP_PRODUCT_UNKNOWN);
	read_vector("milan-v2-aci/runtime-data.json", &runtime);
	assert_ok(sha256(runtime.data, runtime.len, digest));
	assert_memory_equal(aci.report_data, digest, 32);
	assert_true(aci.policy == 0x3001f);

	assert_int_equal(new.version, 5);
	assert_true(new.product == SNP_TURIN);
	assert_true(new.reported_tcb == 0x5100000004010101);
	assert_true(bare.policy & SNP_POLICY_DEBUG);
}

static void the_certificate_of_a_genuine_report_has_its_tcb(void **state)
{
	(void)state;
	struct snp_report aci = report_from_file("milan-v2-aci/report.bin");
	struct snp_report new = report_from_file("turin-v5-aci/report.bin");
	auto_x509s *aci_certificates = aci_chain(), *new_certificates = turin_chain();
	uint64_t tcb;

	assert_ok(snp_chain_tcb(&aci, aci_certificates, &tcb));
	assert_true(tcb == aci.reported_tcb);
	assert_ok(snp_chain_tcb(&new, new_certificates, &tcb));
	assert_true(tcb == new.reported_tcb);
}

static void a_flipped_bit_anywhere_in_what_is_signed_is_noticed(void **state)
{
	(void)state;
	struct snp_report report = report_from_file("milan-v2-aci/report.bin"), spoilt;
	auto_x509s *chain = aci_chain();

	for (size_t at = 0; at < 0x2a0; at += 7) {
		uint8_t bytes[SNP_REPORT_SIZE];
		memcpy(bytes, report.bytes, sizeof(bytes));
		bytes[at] ^= (uint8_t)(1 << at % 8);
		skr_status parsed = snp_report_parse(bytes, sizeof(bytes), &spoilt);
		if (parsed.failure)
			assert_int_equal(parsed.failure, 116);
		else
			assert_fails(snp_report_verify(&spoilt, chain, MOMENT), 117, "");
	}
}

static void a_changed_signature_is_noticed(void **state)
{
	(void)state;
	struct snp_report report = report_from_file("milan-v2-aci/report.bin");
	auto_x509s *chain = aci_chain();

	for (size_t at = 0x2a0; at < 0x330; at += 5) {
		report.bytes[at] ^= 0x10;
		assert_fails(snp_report_verify(&report, chain, MOMENT), 117, "");
		report.bytes[at] ^= 0x10;
	}
	/* What stands behind the signature is not signed, and no reason to refuse. */
	report.bytes[0x330] ^= 1;
	assert_ok(snp_report_verify(&report, chain, MOMENT));
}

static void signature_numbers_out_of_range_are_refused_as_such(void **state)
{
	(void)state;
	struct snp_report genuine = report_from_file("milan-v2-aci/report.bin");
	auto_x509s *chain = aci_chain();
	/* n - 1, n of P-384, least significant byte first, without the last 24 bytes that are zero */
	static const uint8_t order[] = {0x73, 0x29, 0xc5, 0xcc, 0x6a, 0x19, 0xec, 0xec, 0x7a, 0xa7, 0xb0, 0x48,
	                                0xb2, 0x0d, 0x1a, 0x58, 0xdf, 0x2d, 0x37, 0xf4, 0x81, 0x4d, 0x63, 0xc7};

	for (int part = 0x2a0; part <= 0x2e8; part += 72) {
		struct snp_report report = genuine;
		report.bytes[part + 48] = 1; /* padding: 2^384 and more */
		assert_fails(snp_report_verify(&report, chain, MOMENT), 117, "out of range");
		report = genuine;
		memset(report.bytes + part, 0, 72);
		assert_fails(snp_report_verify(&report, chain, MOMENT), 117, "out of range");
		memset(report.bytes + part, 0xff, 48);
		memcpy(report.bytes + part, order, sizeof(order));
		assert_fails(snp_report_verify(&report, chain, MOMENT), 117, "out of range"); /* n */
		report.bytes[part]--;
		assert_fails(snp_report_verify(&report, chain, MOMENT), 117, "not signed by"); /* n - 1 is in range */
	}
}

static void a_report_of_another_size_version_or_algorithm_is_malformed(void **state)
{
	(void)state;
	struct snp_report genuine = report_from_file("milan-v2-aci/report.bin"), report = {.version = 77};
	uint8_t bytes[SNP_REPORT_SIZE + 1] = {0};
	static const uint8_t versions[] = {0, 1, 6, 255};

	memcpy(bytes, genuine.bytes, SNP_REPORT_SIZE);
	assert_fails(snp_report_parse(bytes, SNP_REPORT_SIZE - 1, &report), 116, "1183 bytes");
	assert_fails(snp_report_parse(bytes, SNP_REPORT_SIZE + 1, &report), 116, "1185 bytes");
	assert_fails(snp_report_parse(bytes, 0, &report), 116, "0 bytes");
	for (size_t i = 0; i < sizeof(versions); i++) {
		bytes[0] = versions[i];
		assert_fails(snp_report_parse(bytes, SNP_REPORT_SIZE, &report), 116, "version");
	}
	for (uint8_t version = 2; version <= 5; version++) {
		struct snp_report read;
		bytes[0] = version;
		assert_ok(snp_report_parse(bytes, SNP_REPORT_SIZE, &read));
	}
	bytes[0x34] = 2;
	assert_fails(snp_report_parse(bytes, SNP_REPORT_SIZE, &report), 116, "algorithm 2");
	assert_int_equal(report.version, 77); /* untouched on failure */
}

static void dates_count(void **state)
{
	(void)state;
	struct snp_report report = report_from_file("milan-v2-aci/report.bin");
	auto_x509s *chain = aci_chain();

	assert_fails(snp_report_verify(&report, chain, 1600000000), 117, "not valid yet");
	assert_fails(snp_report_verify(&report, chain, 1900000000), 117, "expired");
}

static void a_chain_of_another_order_or_length_is_refused(void **state)
{
	(void)state;
	struct snp_report report = report_from_file("milan-v2-aci/report.bin");
	auto_x509s *swapped = chain_from_files(
	    (const char *const[]){"milan-v2-aci/vcek.pem", "milan-v2-aci/ark.pem", "milan-v2-aci/ask.pem", NULL});
	auto_x509s *two =
	    chain_from_files((const char *const[]){"milan-v2-aci/vcek.pem", "milan-v2-aci/ask.pem", NULL});
	auto_x509s *genoa =
	    chain_from_files((const char *const[]){"milan-v2-aci/vcek.pem", "amd-roots/genoa-vcek-ask-ark.pem", NULL});
	auto_x509s *vlek =
	    chain_from_files((const char *const[]){"milan-v2-aci/vcek.pem", "amd-roots/milan-vlek-asvk-ark.pem", NULL});

	assert_fails(snp_report_verify(&report, swapped, MOMENT), 117, "not issued by");
	assert_fails(snp_report_verify(&report, two, MOMENT), 117, "2 endorsement certificates");
	assert_fails(snp_report_verify(&report, genoa, MOMENT), 117, "not issued by");
	assert_fails(snp_report_verify(&report, vlek, MOMENT), 117, "not issued by");
}

/* --- Machines of our own --- */

static skr_status verify_plan(const struct hardware_plan *plan)
{
	auto_hardware hw = make_hardware(plan);
	auto_x509s *chain = chain_of(&hw);
	uint8_t bytes[SNP_REPORT_SIZE], report_data[64] = "asked";
	struct snp_report report;

	make_report(&hw, report_data, bytes);
	TRY(snp_report_parse(bytes, sizeof(bytes), &report));
	return snp_report_verify(&report, chain, time(NULL));
}

static void every_product_and_version_verifies(void **state)
{
	(void)state;
	struct hardware_plan genoa = milan;

	assert_ok(verify_plan(&milan));
	assert_ok(verify_plan(&turin));
	genoa.product = "Genoa";
	genoa.model = 0x11;
	assert_ok(verify_plan(&genoa));
	genoa.model = 0xa0; /* Bergamo */
	assert_ok(verify_plan(&genoa));
	for (uint32_t version = 2; version <= 5; version++) {
		struct hardware_plan plan = milan;
		plan.version = version;
		assert_ok(verify_plan(&plan));
	}
}

/* The sidecar reads one fixed byte of the extension, which is 0 from 128 on. */
static void an_spl_of_128_or_more_is_read_as_the_integer_it_is(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;
	static const uint8_t values[] = {0, 127, 128, 0xdb, 255};

	for (size_t i = 0; i < sizeof(values); i++) {
		plan.tcb[7] = values[i];
		assert_ok(verify_plan(&plan));
	}
	plan.vcek_tcb[7] = 0;
	plan.vcek_tcb[0] = 3;
	plan.vcek_tcb[6] = 8;
	assert_fails(verify_plan(&plan), 117, "TCB");
}

static void each_part_of_the_tcb_counts(void **state)
{
	(void)state;
	static const int milan_parts[] = {0, 1, 6, 7}, turin_parts[] = {0, 1, 2, 3, 7};

	for (size_t i = 0; i < 4; i++) {
		struct hardware_plan plan = milan;
		memcpy(plan.vcek_tcb, plan.tcb, 8);
		plan.vcek_tcb[milan_parts[i]]++;
		assert_fails(verify_plan(&plan), 117, "the endorsement certificate is of TCB");
	}
	for (size_t i = 0; i < 5; i++) {
		struct hardware_plan plan = turin;
		memcpy(plan.vcek_tcb, plan.tcb, 8);
		plan.vcek_tcb[turin_parts[i]]++;
		assert_fails(verify_plan(&plan), 117, "the endorsement certificate is of TCB");
	}
}

static void a_missing_or_double_tcb_extension_is_refused(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	plan.missing = "3.8";
	assert_fails(verify_plan(&plan), 117, "lacks the extension 1.3.8");
	plan.missing = NULL;
	plan.second_extension = true;
	assert_fails(verify_plan(&plan), 117, "lacks the extension 1.3.8");
	plan = turin;
	plan.missing = "3.9";
	assert_fails(verify_plan(&plan), 117, "lacks the extension 1.3.9");
	plan = milan;
	plan.missing = "3.5"; /* reserved ones may be absent */
	assert_ok(verify_plan(&plan));
}

static void a_certificate_of_another_chip_is_refused(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	plan.other_chip = true;
	assert_fails(verify_plan(&plan), 117, "another chip");
	plan = turin;
	plan.other_chip = true;
	assert_fails(verify_plan(&plan), 117, "another chip");
}

static void the_chip_number_may_be_tagged_or_masked(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	plan.tagged_chip = true;
	assert_ok(verify_plan(&plan));
	plan = turin;
	plan.tagged_chip = true;
	assert_ok(verify_plan(&plan));
	plan = milan;
	plan.mask_chip = true;
	assert_ok(verify_plan(&plan));
}

static void a_vlek_verifies_where_the_report_says_vlek(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	plan.vlek = true;
	assert_ok(verify_plan(&plan));
	plan.mask_chip = true;
	assert_ok(verify_plan(&plan));
	plan.leaf_name = "SEV-VCEK";
	assert_fails(verify_plan(&plan), 117, "signed by a SEV-VLEK");
	plan = milan;
	plan.leaf_name = "SEV-VLEK";
	assert_fails(verify_plan(&plan), 117, "signed by a SEV-VCEK");
	plan = milan;
	plan.ask_name = "SEV-VLEK-Milan";
	assert_fails(verify_plan(&plan), 117, "no product's name for VCEKs");
}

static void products_of_report_and_chain_must_agree(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	plan.model = 0x11;
	assert_fails(verify_plan(&plan), 117, "of a Milan, the report is of another");
	plan = turin;
	plan.version = 2;
	assert_fails(verify_plan(&plan), 117, "no reports of version 2");
	plan = milan;
	plan.ask_name = "SEV-Rome";
	assert_fails(verify_plan(&plan), 117, "'SEV-Rome'");
	plan = milan;
	plan.family = 0x1b; /* a processor of the future: the chain says how its TCB is laid out */
	assert_ok(verify_plan(&plan));
}

static void weak_signatures_and_other_curves_are_refused(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	plan.pkcs1 = true;
	assert_fails(verify_plan(&plan), 117, "not signed with RSASSA-PSS");
	plan = milan;
	plan.curve = "P-256";
	assert_fails(verify_plan(&plan), 117, "not on P-384");
}

static void a_certificate_signed_by_somebody_else_is_refused(void **state)
{
	(void)state;
	auto_hardware hw = make_hardware(&milan);
	auto_pkey *stranger = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	uint8_t bytes[SNP_REPORT_SIZE], report_data[64] = {0};
	struct snp_report report;

	make_report(&hw, report_data, bytes);
	assert_ok(snp_report_parse(bytes, sizeof(bytes), &report));
	X509 *certificates[] = {hw.vcek, hw.ask, hw.ark};
	EVP_PKEY *keys[] = {hw.ask_key, hw.ark_key, hw.ark_key};
	for (int i = 0; i < 3; i++) {
		auto_x509s *chain = chain_of(&hw);
		sign_certificate(certificates[i], stranger, false);
		assert_fails(snp_report_verify(&report, chain, time(NULL)), 117, "signature of an endorsement");
		sign_certificate(certificates[i], keys[i], false);
		assert_ok(snp_report_verify(&report, chain, time(NULL)));
	}
}

static void a_key_that_signs_nothing_is_refused(void **state)
{
	(void)state;
	auto_hardware hw = make_hardware(&milan);
	auto_x509s *chain = chain_of(&hw);
	uint8_t bytes[SNP_REPORT_SIZE], report_data[64] = {0};
	struct snp_report report;

	make_report(&hw, report_data, bytes);
	for (uint8_t kind = 2; kind <= 7; kind++) {
		bytes[0x48] = (uint8_t)(kind << 2);
		sign_report(&hw, bytes);
		assert_ok(snp_report_parse(bytes, sizeof(bytes), &report));
		assert_fails(snp_report_verify(&report, chain, time(NULL)), 117, "neither VCEK nor VLEK");
	}
}

static void write_file(const char *directory, const char *name, const void *data, size_t len)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	fwrite(data, 1, len, file);
	fclose(file);
}

static void write_certificate(const char *directory, const char *name, X509 *certificate)
{
	auto_bio *bio = BIO_new(BIO_s_mem());
	char *text;

	PEM_write_bio_X509(bio, certificate);
	long len = BIO_get_mem_data(bio, &text);
	write_file(directory, name, text, (size_t)len);
}

static void write_signature(const char *directory, const uint8_t report[SNP_REPORT_SIZE])
{
	ECDSA_SIG *signature = ECDSA_SIG_new();
	uint8_t *der = NULL;

	ECDSA_SIG_set0(signature, BN_lebin2bn(report + 0x2a0, 72, NULL), BN_lebin2bn(report + 0x2e8, 72, NULL));
	int len = i2d_ECDSA_SIG(signature, &der);
	write_file(directory, "signature", der, (size_t)len);
	write_file(directory, "signed", report, 0x2a0);
	OPENSSL_free(der);
	ECDSA_SIG_free(signature);
}

/* Somebody else's reading of what these tests take for an authority and a report. */
static int by_the_openssl_program(const char *directory)
{
	char command[1024];

	snprintf(
	    command, sizeof(command),
	    "cd %s && openssl verify -CAfile ark -untrusted ask vcek && openssl x509 -in vcek -noout -pubkey >key && "
	    "openssl x509 -in vcek -noout -text | grep -q 1.3.6.1.4.1.3704.1.3.8 && "
	    "openssl dgst -sha384 -verify key -signature signature signed",
	    directory);
	return system(command);
}

static void the_openssl_program_verifies_the_same(void **state)
{
	(void)state;
	const struct hardware_plan *plans[] = {&milan, &turin};

	for (int i = 0; i < 2; i++) {
		auto_hardware hw = make_hardware(plans[i]);
		uint8_t bytes[SNP_REPORT_SIZE], report_data[64] = {0};
		char directory[] = "/tmp/skr-report-XXXXXX", command[64];

		make_report(&hw, report_data, bytes);
		assert_non_null(mkdtemp(directory));
		write_certificate(directory, "ark", hw.ark);
		write_certificate(directory, "ask", hw.ask);
		write_certificate(directory, "vcek", hw.vcek);
		write_signature(directory, bytes);
		int good = by_the_openssl_program(directory);
		bytes[0x90] ^= 1;
		write_signature(directory, bytes);
		int bad = by_the_openssl_program(directory);
		snprintf(command, sizeof(command), "rm -r %s", directory);
		assert_int_equal(system(command), 0);
		assert_int_equal(good, 0);
		assert_int_not_equal(bad, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(genuine_reports_verify_with_their_own_endorsements_only),
	    cmocka_unit_test(what_a_genuine_report_says_is_read),
	    cmocka_unit_test(the_certificate_of_a_genuine_report_has_its_tcb),
	    cmocka_unit_test(a_flipped_bit_anywhere_in_what_is_signed_is_noticed),
	    cmocka_unit_test(a_changed_signature_is_noticed),
	    cmocka_unit_test(signature_numbers_out_of_range_are_refused_as_such),
	    cmocka_unit_test(a_report_of_another_size_version_or_algorithm_is_malformed),
	    cmocka_unit_test(dates_count),
	    cmocka_unit_test(a_chain_of_another_order_or_length_is_refused),
	    cmocka_unit_test(every_product_and_version_verifies),
	    cmocka_unit_test(an_spl_of_128_or_more_is_read_as_the_integer_it_is),
	    cmocka_unit_test(each_part_of_the_tcb_counts),
	    cmocka_unit_test(a_missing_or_double_tcb_extension_is_refused),
	    cmocka_unit_test(a_certificate_of_another_chip_is_refused),
	    cmocka_unit_test(the_chip_number_may_be_tagged_or_masked),
	    cmocka_unit_test(a_vlek_verifies_where_the_report_says_vlek),
	    cmocka_unit_test(products_of_report_and_chain_must_agree),
	    cmocka_unit_test(weak_signatures_and_other_curves_are_refused),
	    cmocka_unit_test(a_certificate_signed_by_somebody_else_is_refused),
	    cmocka_unit_test(a_key_that_signs_nothing_is_refused),
	    cmocka_unit_test(the_openssl_program_verifies_the_same),
	};

	if (ossl_open().failure)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
