/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/mechanism.h"

#include "unit/crypto/surroundings.h"

#include <openssl/rsa.h>

static bool can(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy, CK_FLAGS flag)
{
	CK_MECHANISM_INFO info;
	CK_RV rv = mechanism_info(type, policy, &info);
	return rv == CKR_OK && (info.flags & flag) == flag;
}

static void everything_promised_is_offered(void **state)
{
	static const struct {
		CK_MECHANISM_TYPE type;
		CK_FLAGS flags;
		CK_ULONG min;
	} promised[] = {
	    {CKM_RSA_PKCS, CKF_SIGN | CKF_VERIFY | CKF_ENCRYPT | CKF_DECRYPT, 2048},
	    {CKM_SHA224_RSA_PKCS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_SHA256_RSA_PKCS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_SHA384_RSA_PKCS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_SHA512_RSA_PKCS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_RSA_PKCS_PSS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_SHA256_RSA_PKCS_PSS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_SHA384_RSA_PKCS_PSS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_SHA512_RSA_PKCS_PSS, CKF_SIGN | CKF_VERIFY, 2048},
	    {CKM_RSA_PKCS_OAEP, CKF_ENCRYPT | CKF_DECRYPT, 2048},
	    {CKM_ECDSA, CKF_SIGN | CKF_VERIFY | CKF_EC_F_P | CKF_EC_NAMEDCURVE, 256},
	    {CKM_ECDSA_SHA224, CKF_SIGN | CKF_VERIFY, 256},
	    {CKM_ECDSA_SHA256, CKF_SIGN | CKF_VERIFY, 256},
	    {CKM_ECDSA_SHA384, CKF_SIGN | CKF_VERIFY, 256},
	    {CKM_ECDSA_SHA512, CKF_SIGN | CKF_VERIFY, 256},
	    {CKM_SHA_1, CKF_DIGEST, 0},
	    {CKM_SHA224, CKF_DIGEST, 0},
	    {CKM_SHA256, CKF_DIGEST, 0},
	    {CKM_SHA384, CKF_DIGEST, 0},
	    {CKM_SHA512, CKF_DIGEST, 0},
	};
	CK_MECHANISM_INFO info;

	(void)state;
	for (size_t i = 0; i < sizeof(promised) / sizeof(promised[0]); i++) {
		assert_int_equal(mechanism_info(promised[i].type, &by_default, &info), CKR_OK);
		assert_int_equal(info.flags & promised[i].flags, promised[i].flags);
		assert_int_equal(info.flags & CKF_HW, 0);
		assert_int_equal(info.ulMinKeySize, promised[i].min);
	}
}

/* Each mechanism has one purpose, but for those by which keys are wrapped as data are encrypted. */
static void only_these_wrap_derive_or_make_keys(void **state)
{
	static const struct {
		CK_MECHANISM_TYPE type;
		CK_FLAGS flags;
		CK_ULONG min, max;
	} making[] = {
	    {CKM_RSA_PKCS, CKF_WRAP | CKF_UNWRAP, 2048, 8192},
	    {CKM_RSA_PKCS_OAEP, CKF_WRAP | CKF_UNWRAP, 2048, 8192},
	    {CKM_RSA_AES_KEY_WRAP, CKF_WRAP | CKF_UNWRAP, 2048, 8192},
	    {CKM_AES_CBC_PAD, CKF_WRAP | CKF_UNWRAP, 16, 32},
	    {CKM_AES_KEY_WRAP, CKF_WRAP | CKF_UNWRAP, 16, 32},
	    {CKM_AES_KEY_WRAP_PAD, CKF_WRAP | CKF_UNWRAP, 16, 32},
	    {CKM_AES_KEY_WRAP_KWP, CKF_WRAP | CKF_UNWRAP, 16, 32},
	    {CKM_ECDH1_DERIVE, CKF_DERIVE, 256, 521},
	    {CKM_ECDH1_COFACTOR_DERIVE, CKF_DERIVE, 256, 521},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR, 2048, 4096},
	    {CKM_EC_KEY_PAIR_GEN, CKF_GENERATE_KEY_PAIR, 256, 521},
	    {CKM_AES_KEY_GEN, CKF_GENERATE, 16, 32},
	    {CKM_GENERIC_SECRET_KEY_GEN, CKF_GENERATE, 8, 8192},
	};
	const CK_FLAGS makes = CKF_WRAP | CKF_UNWRAP | CKF_DERIVE | CKF_GENERATE | CKF_GENERATE_KEY_PAIR;
	CK_MECHANISM_TYPE list[128];
	CK_ULONG count = 128, found = 0;
	CK_MECHANISM_INFO info;

	(void)state;
	for (size_t i = 0; i < sizeof(making) / sizeof(making[0]); i++) {
		assert_int_equal(mechanism_info(making[i].type, &by_default, &info), CKR_OK);
		assert_int_equal(info.flags & makes, making[i].flags);
		assert_int_equal(info.ulMinKeySize, making[i].min);
		assert_int_equal(info.ulMaxKeySize, making[i].max);
	}
	assert_int_equal(mechanism_list(&everything, list, &count), CKR_OK);
	for (CK_ULONG i = 0; i < count; i++) {
		assert_int_equal(mechanism_info(list[i], &everything, &info), CKR_OK);
		found += (info.flags & makes) != 0;
	}
	assert_int_equal(found, sizeof(making) / sizeof(making[0]));
}

static void what_secret_keys_do_is_offered_and_measured_in_bytes(void **state)
{
	static const CK_MECHANISM_TYPE ciphers[] = {CKM_AES_ECB, CKM_AES_CBC, CKM_AES_CBC_PAD, CKM_AES_CTR,
	                                            CKM_AES_GCM};
	static const CK_MECHANISM_TYPE hmacs[] = {
	    CKM_SHA_1_HMAC,          CKM_SHA224_HMAC,        CKM_SHA256_HMAC,         CKM_SHA384_HMAC,
	    CKM_SHA512_HMAC,         CKM_SHA_1_HMAC_GENERAL, CKM_SHA224_HMAC_GENERAL, CKM_SHA256_HMAC_GENERAL,
	    CKM_SHA384_HMAC_GENERAL, CKM_SHA512_HMAC_GENERAL};
	static const struct mechanism_policy nothing = {.allow_sha1 = false};
	CK_MECHANISM_INFO info;

	(void)state;
	for (size_t i = 0; i < sizeof(ciphers) / sizeof(ciphers[0]); i++) {
		assert_int_equal(mechanism_info(ciphers[i], &nothing, &info), CKR_OK);
		assert_int_equal(info.flags & (CKF_ENCRYPT | CKF_DECRYPT), CKF_ENCRYPT | CKF_DECRYPT);
		assert_int_equal(info.ulMinKeySize, 16);
		assert_int_equal(info.ulMaxKeySize, 32);
	}
	for (size_t i = 0; i < sizeof(hmacs) / sizeof(hmacs[0]); i++) {
		assert_int_equal(mechanism_info(hmacs[i], &nothing, &info), CKR_OK);
		assert_int_equal(info.flags, CKF_SIGN | CKF_VERIFY); /* HMAC with SHA-1 is not what SHA-1 is weak in */
		assert_int_equal(info.ulMinKeySize, 1);
		assert_int_equal(info.ulMaxKeySize, KEY_SECRET_MAX);
	}
	assert_true(can(CKM_AES_CMAC, &nothing, CKF_SIGN | CKF_VERIFY));
	assert_true(can(CKM_AES_CMAC_GENERAL, &nothing, CKF_SIGN | CKF_VERIFY));
}

static void raw_rsa_is_absent_unless_allowed(void **state)
{
	CK_MECHANISM_INFO info;

	(void)state;
	assert_null(mechanism_find(CKM_RSA_X_509, &by_default));
	assert_int_equal(mechanism_info(CKM_RSA_X_509, &by_default, &info), CKR_MECHANISM_INVALID);
	assert_true(can(CKM_RSA_X_509, &everything, CKF_SIGN | CKF_DECRYPT));
}

static void sha1_verifies_but_signs_only_where_allowed(void **state)
{
	(void)state;
	assert_true(can(CKM_SHA1_RSA_PKCS, &by_default, CKF_VERIFY));
	assert_false(can(CKM_SHA1_RSA_PKCS, &by_default, CKF_SIGN));
	assert_false(can(CKM_ECDSA_SHA1, &by_default, CKF_SIGN));
	assert_true(can(CKM_SHA1_RSA_PKCS, &everything, CKF_SIGN));
	assert_true(can(CKM_ECDSA_SHA1, &everything, CKF_SIGN));
	assert_true(can(CKM_SHA_1, &by_default, CKF_DIGEST));
}

static void pkcs1_decryption_can_be_switched_off_alone(void **state)
{
	static const struct mechanism_policy off = {.rsa_pkcs1_decrypt = false};

	(void)state;
	assert_false(can(CKM_RSA_PKCS, &off, CKF_DECRYPT));
	assert_false(can(CKM_RSA_PKCS, &off, CKF_UNWRAP));
	assert_true(can(CKM_RSA_PKCS, &off, CKF_SIGN | CKF_VERIFY | CKF_ENCRYPT | CKF_WRAP));
	assert_true(can(CKM_RSA_PKCS_OAEP, &off, CKF_DECRYPT));
}

static void the_list_counts_then_fills_and_never_overruns(void **state)
{
	CK_MECHANISM_TYPE list[128];
	CK_ULONG count = 12345, shorter;

	(void)state;
	assert_int_equal(mechanism_list(&by_default, NULL, &count), CKR_OK);
	assert_in_range(count, 20, 127);

	shorter = count - 1;
	list[0] = 0xdead;
	assert_int_equal(mechanism_list(&by_default, list, &shorter), CKR_BUFFER_TOO_SMALL);
	assert_int_equal(shorter, count);
	assert_int_equal(list[0], 0xdead);

	list[count] = 0xdead;
	CK_ULONG room = 128;
	assert_int_equal(mechanism_list(&by_default, list, &room), CKR_OK);
	assert_int_equal(room, count);
	assert_int_equal(list[count], 0xdead);
	for (CK_ULONG i = 0; i < count; i++)
		for (CK_ULONG j = 0; j < i; j++)
			assert_int_not_equal(list[i], list[j]);
}

static CK_RV read_pss(CK_MECHANISM_TYPE type, CK_MECHANISM_TYPE hash, CK_RSA_PKCS_MGF_TYPE mgf, CK_ULONG salt)
{
	CK_RSA_PKCS_PSS_PARAMS pss = {hash, mgf, salt};
	CK_MECHANISM given = {type, &pss, sizeof(pss)};
	struct mechanism_params params;
	return mechanism_params(mechanism_find(type, &by_default), &given, 2048, &params);
}

static void pss_parameters_must_fit_each_other_and_the_key(void **state)
{
	const CK_ULONG room = 256 - 32 - 2;

	(void)state;
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32), CKR_OK);
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA1, 0), CKR_OK);
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA512, room), CKR_OK);
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, room + 1),
	                 CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, (CK_ULONG)-1),
	                 CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, CKM_MD5, CKG_MGF1_SHA256, 16), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, 0, CKG_MGF1_SHA256, 0), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_pss(CKM_RSA_PKCS_PSS, CKM_SHA256, 0, 32), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, 32), CKR_OK);
	assert_int_equal(read_pss(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA384, CKG_MGF1_SHA256, 32),
	                 CKR_MECHANISM_PARAM_INVALID);
}

static CK_RV read_oaep(CK_ULONG source, void *label, CK_ULONG len, CK_ULONG struct_len)
{
	CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA256, CKG_MGF1_SHA1, source, label, len};
	CK_MECHANISM given = {CKM_RSA_PKCS_OAEP, &oaep, struct_len};
	struct mechanism_params params;
	return mechanism_params(mechanism_find(given.mechanism, &by_default), &given, 2048, &params);
}

static void oaep_parameters_are_checked_before_they_are_used(void **state)
{
	const CK_ULONG size = sizeof(CK_RSA_PKCS_OAEP_PARAMS);
	char label[] = "label";

	(void)state;
	assert_int_equal(read_oaep(CKZ_DATA_SPECIFIED, label, 5, size), CKR_OK);
	assert_int_equal(read_oaep(CKZ_DATA_SPECIFIED, NULL, 0, size), CKR_OK);
	assert_int_equal(read_oaep(0, NULL, 0, size), CKR_OK);
	assert_int_equal(read_oaep(0, label, 5, size), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_oaep(7, NULL, 0, size), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_oaep(CKZ_DATA_SPECIFIED, NULL, 5, size), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_oaep(CKZ_DATA_SPECIFIED, label, (CK_ULONG)-1, size), CKR_MECHANISM_PARAM_INVALID);
	assert_int_equal(read_oaep(CKZ_DATA_SPECIFIED, label, 5, size - 1), CKR_MECHANISM_PARAM_INVALID);
}

static void missing_and_needless_parameters_are_refused(void **state)
{
	char x[] = "x";
	CK_MECHANISM no_pss = {CKM_RSA_PKCS_PSS, NULL, 0};
	CK_MECHANISM null_pss = {CKM_RSA_PKCS_PSS, NULL, sizeof(CK_RSA_PKCS_PSS_PARAMS)};
	CK_MECHANISM no_oaep = {CKM_RSA_PKCS_OAEP, NULL, sizeof(CK_RSA_PKCS_OAEP_PARAMS)};
	CK_MECHANISM needless = {CKM_ECDSA, x, 1};
	CK_MECHANISM *bad[] = {&no_pss, &null_pss, &no_oaep, &needless};
	struct mechanism_params params;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(
		    mechanism_params(mechanism_find(bad[i]->mechanism, &by_default), bad[i], 2048, &params),
		    CKR_MECHANISM_PARAM_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(everything_promised_is_offered),
	    cmocka_unit_test(only_these_wrap_derive_or_make_keys),
	    cmocka_unit_test(what_secret_keys_do_is_offered_and_measured_in_bytes),
	    cmocka_unit_test(raw_rsa_is_absent_unless_allowed),
	    cmocka_unit_test(sha1_verifies_but_signs_only_where_allowed),
	    cmocka_unit_test(pkcs1_decryption_can_be_switched_off_alone),
	    cmocka_unit_test(the_list_counts_then_fills_and_never_overruns),
	    cmocka_unit_test(pss_parameters_must_fit_each_other_and_the_key),
	    cmocka_unit_test(oaep_parameters_are_checked_before_they_are_used),
	    cmocka_unit_test(missing_and_needless_parameters_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
