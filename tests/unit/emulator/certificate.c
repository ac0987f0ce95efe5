/* SPDX-License-Identifier: Apache-2.0 */
#include "surroundings.h"

#include "emulator/certificate.h"

#include <time.h>

#define ARC "1.3.6.1.4.1.3704.1."

static int open_library(void **state)
{
	(void)state;
	return ossl_open().failure ? -1 : 0;
}

/* A certificate with extensions written as "SUFFIX HEX SUFFIX HEX …". */
static X509 *certificate_with(const char *text)
{
	static const struct certificate_name subject[] = {{"CN", "SEV-VCEK"}, {NULL, NULL}};
	struct certificate_extension extensions[20] = {0};
	char oids[20][32], suffix[16], digits[160];
	struct buf values[20] = {0};
	int used, count = 0;
	for (; sscanf(text, "%15s %159s %n", suffix, digits, &used) == 2; text += used, count++) {
		snprintf(oids[count], sizeof(oids[count]), ARC "%s", suffix);
		values[count] = BUF(80);
		if (strcmp(digits, "-") != 0)
			assert_ok(hex_decode(digits, strlen(digits), &values[count]));
		extensions[count] = (struct certificate_extension){
		    oids[count], NULL, values[count].data ? values[count].data : (const uint8_t *)"",
		    values[count].len};
	}
	auto_pkey *key = NULL;
	assert_ok(key_generate("P-256", &key));
	const struct certificate_plan plan = {.subject = subject,
	                                      .key = key,
	                                      .not_before = time(NULL) - 1000,
	                                      .not_after = time(NULL) + 1000,
	                                      .extensions = extensions};
	X509 *certificate = NULL;
	assert_ok(certificate_issue(&plan, &certificate));
	for (int i = 0; i < count; i++)
		buf_done(&values[i]);
	return certificate;
}

#define PRODUCT     "2 16084d696c616e2d4230 " /* IA5String Milan-B0 */
#define LEVELS      "3.1 020103 3.2 020100 3.3 020108 3.8 020200db "
#define HARDWARE_8  "4 0102030405060708 "
#define TAGGED_8    "4 04080102030405060708 "
#define WITHOUT_3_8 "3.1 020103 3.2 020100 3.3 020108 "

static void levels_of_128_and_more_are_read_whole(void **state)
{
	(void)state;
	auto_x509 *vcek = certificate_with(PRODUCT LEVELS HARDWARE_8);
	struct vcek_extensions read;
	assert_ok(vcek_extensions_read(vcek, &read));
	assert_int_equal(read.microcode, 0xdb);
	assert_int_equal(read.bootloader, 3);
	assert_int_equal(read.snp, 8);
	assert_false(read.has_fmc);
	assert_string_equal(read.product, "Milan");
	assert_int_equal(read.hardware_id_len, 8);
}

static void a_hardware_id_may_have_a_tag(void **state)
{
	(void)state;
	auto_x509 *bare = certificate_with(PRODUCT LEVELS HARDWARE_8),
	          *tagged = certificate_with(PRODUCT LEVELS TAGGED_8);
	struct vcek_extensions read[2];
	assert_ok(vcek_extensions_read(bare, &read[0]));
	assert_ok(vcek_extensions_read(tagged, &read[1]));
	assert_int_equal(read[1].hardware_id_len, 8);
	assert_memory_equal(read[0].hardware_id, read[1].hardware_id, 8);
}

static void extensions_that_are_not_as_published_are_named(void **state)
{
	static const struct {
		const char *extensions, *words;
	} rows[] = {
	    {LEVELS HARDWARE_8, "no extension .2"},
	    {PRODUCT WITHOUT_3_8 HARDWARE_8, "no extension .3.8"},
	    {PRODUCT LEVELS, "no extension .4"},
	    {PRODUCT LEVELS HARDWARE_8 "3.8 020101", "twice"},
	    {PRODUCT LEVELS HARDWARE_8 HARDWARE_8, "twice"},
	    {PRODUCT WITHOUT_3_8 "3.8 02020100 " HARDWARE_8, "not an INTEGER 0..255"},
	    {PRODUCT WITHOUT_3_8 "3.8 0201ff " HARDWARE_8, "not an INTEGER 0..255"},
	    {PRODUCT WITHOUT_3_8 "3.8 040103 " HARDWARE_8, "not an INTEGER 0..255"},
	    {PRODUCT WITHOUT_3_8 "3.8 02010300 " HARDWARE_8, "not an INTEGER 0..255"},
	    {PRODUCT WITHOUT_3_8 "3.8 0202 " HARDWARE_8, "not an INTEGER 0..255"},
	    {PRODUCT WITHOUT_3_8 "3.8 - " HARDWARE_8, "not an INTEGER 0..255"},
	    {PRODUCT LEVELS "3.9 0500 " HARDWARE_8, "not an INTEGER 0..255"},
	    {PRODUCT LEVELS "4 01020304050607", "hardware id has 7 bytes"},
	    {PRODUCT LEVELS "4 -", "hardware id has 0 bytes"},
	    {PRODUCT LEVELS "4 04070102030405060708", "hardware id has 10 bytes"},
	    {"2 0c054d696c616e " LEVELS HARDWARE_8, "not an IA5String"},
	    {"2 16064d696c616e " LEVELS HARDWARE_8, "not an IA5String"},
	    {"2 - " LEVELS HARDWARE_8, "not an IA5String"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_x509 *vcek = certificate_with(rows[i].extensions);
		struct vcek_extensions read;
		assert_refused(vcek_extensions_read(vcek, &read), 117, rows[i].words);
	}
}

static void real_vceks_say_what_the_vectors_readme_says(void **state)
{
	static const struct {
		const char *file, *product;
		uint8_t bootloader, snp, microcode;
		bool fmc;
		size_t id_len;
	} rows[] = {
	    {"snp/milan-v2-aci/vcek.pem", "Milan", 3, 8, 0x73, false, 64},
	    {"snp/turin-v5-aci/vcek.pem", "Turin", 1, 4, 0x51, true, 8},
	};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		auto_x509s *chain = sk_X509_new_null();
		struct vcek_extensions read;
		read_chain(rows[i].file, chain);
		assert_ok(vcek_extensions_read(sk_X509_value(chain, 0), &read));
		assert_string_equal(read.product, rows[i].product);
		assert_int_equal(read.bootloader, rows[i].bootloader);
		assert_int_equal(read.snp, rows[i].snp);
		assert_int_equal(read.microcode, rows[i].microcode);
		assert_int_equal(read.has_fmc, rows[i].fmc);
		assert_int_equal(read.hardware_id_len, rows[i].id_len);
	}
}

static void bytes_behind_a_certificate_are_refused(void **state)
{
	(void)state;
	auto_x509 *vcek = certificate_with(PRODUCT LEVELS HARDWARE_8), *again = NULL;
	auto_buf der = BUF(PEM_LIMIT);
	assert_ok(certificate_to_der(vcek, &der));
	assert_ok(buf_append(&der, "", 1));
	assert_refused(certificate_from_der(der.data, der.len, &again), 213, "1 bytes follow");
	assert_refused(certificate_from_der(der.data, der.len - 2, &again), 213, "not a certificate");
	assert_refused(certificate_from_der("", 0, &again), 213, "not a certificate");
	assert_null(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(levels_of_128_and_more_are_read_whole),
	    cmocka_unit_test(a_hardware_id_may_have_a_tag),
	    cmocka_unit_test(extensions_that_are_not_as_published_are_named),
	    cmocka_unit_test(real_vceks_say_what_the_vectors_readme_says),
	    cmocka_unit_test(bytes_behind_a_certificate_are_refused),
	};
	return cmocka_run_group_tests(tests, open_library, NULL);
}
