/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/signature.h"

#include "unit/crypto/surroundings.h"

static void halves_become_der_and_back(void **state)
{
	static const struct {
		const char *raw, *der;
	} cases[] = {
	    {"0102030405060708", "300c020401020304020405060708"},
	    {"8102030405060708", "300d02050081020304020405060708"},
	    {"0000000405060708", "3009020104020405060708"},
	    {"0000008005060708", "300a02020080020405060708"},
	    {"0000000000000001", "3006020100020101"},
	    {"ffffffffffffffff", "300e020500ffffffff020500ffffffff"},
	};
	uint8_t raw[8], der[16], made[SIGNATURE_DER_MAX], back[8];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		from_hex(cases[i].raw, raw);
		size_t len = from_hex(cases[i].der, der);
		assert_int_equal(signature_to_der(raw, 4, made), len);
		assert_memory_equal(made, der, len);
		assert_true(signature_from_der(der, len, 4, back));
		assert_memory_equal(back, raw, 8);
	}
}

static void the_longest_has_a_length_of_two_bytes_and_fits(void **state)
{
	uint8_t raw[2 * SIGNATURE_HALF_MAX], der[SIGNATURE_DER_MAX], back[sizeof(raw)];

	(void)state;
	memset(raw, 0xff, sizeof(raw));
	size_t len = signature_to_der(raw, SIGNATURE_HALF_MAX, der);
	assert_int_equal(len, SIGNATURE_DER_MAX);
	assert_int_equal(der[1], 0x81);
	assert_true(signature_from_der(der, len, SIGNATURE_HALF_MAX, back));
	assert_memory_equal(back, raw, sizeof(raw));
}

static void anything_but_the_one_encoding_is_refused_and_writes_nothing(void **state)
{
	static const char *const bad[] = {
	    "",                           /* nothing */
	    "30",                         /* no length */
	    "3006020101020101ff",         /* something behind */
	    "3007020101020101ff",         /* something behind, inside */
	    "3006020101020201",           /* cut off */
	    "3106020101020101",           /* not a sequence */
	    "3006030101020101",           /* not a number */
	    "3006020181020101",           /* negative */
	    "300702020001020101",         /* a needless zero */
	    "3005020002020101",           /* a number without bytes */
	    "300a02050102030405020101",   /* longer than half */
	    "300b0206000102030405020101", /* the same with a zero */
	    "30810602010102010100",       /* long form for a short length */
	    "3080020101020101",           /* indefinite */
	    "308200060201010201",         /* two bytes of length */
	    "3003020101",                 /* one number */
	    "3009020101020101020101",     /* three */
	};
	uint8_t der[32], raw[8], before[8];

	(void)state;
	memset(raw, 0xa5, sizeof(raw));
	memset(before, 0xa5, sizeof(before));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		size_t len = from_hex(bad[i], der);
		if (signature_from_der(der, len, 4, raw))
			fail_msg("taken: %s", bad[i]);
		assert_memory_equal(raw, before, sizeof(raw));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(halves_become_der_and_back),
	    cmocka_unit_test(the_longest_has_a_length_of_two_bytes_and_fits),
	    cmocka_unit_test(anything_but_the_one_encoding_is_refused_and_writes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
