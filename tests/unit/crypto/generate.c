/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/generate.h"

#include "crypto/components.h"
#include "unit/crypto/surroundings.h"

#include <openssl/core_names.h>

static const CK_BYTE p256[] = {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7};
static const CK_BYTE p224[] = {6, 5, 0x2b, 0x81, 4, 0, 0x21};

static CK_RV generate(CK_MECHANISM_TYPE type, CK_KEY_TYPE key_type, size_t len, struct key **ret)
{
	CK_MECHANISM mechanism = {type, NULL, 0};
	struct key_wanted wanted = {CKO_SECRET_KEY, key_type, len, KEY_USE_ENCRYPT | KEY_USE_LEAVE};
	return key_generate(&mechanism, &wanted, ret);
}

static void secret_keys_are_as_wanted_and_never_the_same(void **state)
{
	static const struct {
		CK_MECHANISM_TYPE mechanism;
		CK_KEY_TYPE type;
		size_t len;
	} cases[] = {{CKM_AES_KEY_GEN, CKK_AES, 16},
	             {CKM_AES_KEY_GEN, CKK_AES, 24},
	             {CKM_AES_KEY_GEN, CKK_AES, 32},
	             {CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET, 48},
	             {CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET, KEY_SECRET_MAX},
	             {CKM_GENERIC_SECRET_KEY_GEN, CKK_SHA256_HMAC, 32}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct key *one, *other;
		assert_int_equal(generate(cases[i].mechanism, cases[i].type, cases[i].len, &one), CKR_OK);
		assert_int_equal(generate(cases[i].mechanism, cases[i].type, cases[i].len, &other), CKR_OK);
		assert_int_equal(key_type(one), cases[i].type);
		assert_int_equal(key_size(one), cases[i].len);
		assert_int_equal(key_uses(one), KEY_USE_ENCRYPT | KEY_USE_LEAVE);
		assert_true(key_is_secret(one));
		assert_memory_not_equal(key_secret(one), key_secret(other), cases[i].len);
		key_drop(one);
		key_drop(other);
	}
}

static void secret_keys_that_cannot_be_are_not_made(void **state)
{
	struct key *key = (struct key *)state;
	CK_BYTE x = 0;
	CK_MECHANISM needless = {CKM_AES_KEY_GEN, &x, 1};
	struct key_wanted wanted = {CKO_SECRET_KEY, CKK_AES, 16, 0};

	assert_int_equal(generate(CKM_AES_KEY_GEN, CKK_AES, 0, &key), CKR_TEMPLATE_INCOMPLETE);
	assert_int_equal(generate(CKM_AES_KEY_GEN, CKK_AES, 17, &key), CKR_KEY_SIZE_RANGE);
	assert_int_equal(generate(CKM_AES_KEY_GEN, CKK_GENERIC_SECRET, 16, &key), CKR_TEMPLATE_INCONSISTENT);
	assert_int_equal(generate(CKM_GENERIC_SECRET_KEY_GEN, CKK_AES, 16, &key), CKR_TEMPLATE_INCONSISTENT);
	assert_int_equal(generate(CKM_GENERIC_SECRET_KEY_GEN, CKK_RSA, 16, &key), CKR_TEMPLATE_INCONSISTENT);
	assert_int_equal(generate(CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET, KEY_SECRET_MAX + 1, &key),
	                 CKR_KEY_SIZE_RANGE);
	assert_int_equal(generate(CKM_EC_KEY_PAIR_GEN, CKK_AES, 16, &key), CKR_MECHANISM_INVALID);
	assert_int_equal(generate(CKM_AES_ECB, CKK_AES, 16, &key), CKR_MECHANISM_INVALID);
	assert_int_equal(key_generate(&needless, &wanted, &key), CKR_MECHANISM_PARAM_INVALID);
	assert_ptr_equal(key, state); /* untouched */
}

static CK_RV pair(CK_MECHANISM_TYPE type, struct pair_wanted wanted, struct pair *ret)
{
	CK_MECHANISM mechanism = {type, NULL, 0};
	wanted.public_uses = KEY_USE_VERIFY;
	wanted.private_uses = KEY_USE_SIGN | KEY_USE_DERIVE;
	return key_pair_generate(&mechanism, &wanted, &ret->public, &ret->private);
}

/* The halves belong together, and the public one has nothing of the private one. */
static void check_halves(struct pair made, CK_KEY_TYPE type)
{
	const char *secret = type == CKK_RSA ? OSSL_PKEY_PARAM_RSA_D : OSSL_PKEY_PARAM_PRIV_KEY;
	BIGNUM *number = NULL;

	assert_int_equal(key_type(made.private), type);
	assert_int_equal(key_uses(made.public), KEY_USE_VERIFY);
	assert_int_equal(key_uses(made.private), KEY_USE_SIGN | KEY_USE_DERIVE);
	assert_true(key_is_private(made.private));
	assert_false(key_is_private(made.public));
	assert_false(key_is_secret(made.private));
	assert_int_equal(EVP_PKEY_eq(key_pkey(made.private), key_pkey(made.public)), 1);
	ERR_set_mark();
	assert_int_equal(EVP_PKEY_get_bn_param(key_pkey(made.public), secret, &number), 0);
	ERR_pop_to_mark();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key_pkey(made.private), NULL);
	assert_int_equal(EVP_PKEY_check(ctx), 1);
	EVP_PKEY_CTX_free(ctx);
}

static void rsa_pairs_have_the_wanted_size_and_exponent(void **state)
{
	static const CK_BYTE odd[] = {0, 0, 1, 0, 3};
	struct pair made;
	BIGNUM *e = NULL;

	(void)state;
	assert_int_equal(pair(CKM_RSA_PKCS_KEY_PAIR_GEN, (struct pair_wanted){.modulus_bits = 2048}, &made), CKR_OK);
	check_halves(made, CKK_RSA);
	assert_int_equal(key_bits(made.private), 2048);
	pair_drop(made);
	assert_int_equal(pair(CKM_RSA_PKCS_KEY_PAIR_GEN,
	                      (struct pair_wanted){.modulus_bits = 2056, .exponent = odd, .exponent_len = 5}, &made),
	                 CKR_OK);
	check_halves(made, CKK_RSA);
	assert_int_equal(key_bits(made.public), 2056);
	assert_int_equal(EVP_PKEY_get_bn_param(key_pkey(made.public), OSSL_PKEY_PARAM_RSA_E, &e), 1);
	assert_true(BN_is_word(e, 65539));
	BN_free(e);
	pair_drop(made);
}

static void ec_pairs_lie_on_the_four_curves(void **state)
{
	static const char *const names[] = {"prime256v1", "secp384r1", "secp521r1", "secp256k1"};
	struct pair made;

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct component params = ec_curve_params(names[i]);
		char name[32];
		assert_string_equal(ec_curve_name(params), names[i]);
		assert_int_equal(pair(CKM_EC_KEY_PAIR_GEN,
		                      (struct pair_wanted){.ec_params = params.data, .ec_params_len = params.len},
		                      &made),
		                 CKR_OK);
		check_halves(made, CKK_EC);
		assert_int_equal(EVP_PKEY_get_group_name(key_pkey(made.public), name, sizeof(name), NULL), 1);
		assert_string_equal(name, names[i]);
		pair_drop(made);
	}
}

static void pairs_that_cannot_be_are_not_made(void **state)
{
	static const CK_BYTE even[] = {1, 0, 0}, three[] = {3}, zeros[] = {0, 0}, nine[] = {1, 0, 0, 0, 0, 0, 0, 0, 1};
	const struct {
		CK_MECHANISM_TYPE type;
		struct pair_wanted wanted;
		CK_RV rv;
	} cases[] = {
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {.modulus_bits = 0}, CKR_TEMPLATE_INCOMPLETE},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {.modulus_bits = 1024}, CKR_KEY_SIZE_RANGE},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {.modulus_bits = 2049}, CKR_KEY_SIZE_RANGE},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {.modulus_bits = 4104}, CKR_KEY_SIZE_RANGE},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {2048, even, 3, NULL, 0, 0, 0}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {2048, three, 1, NULL, 0, 0, 0}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {2048, zeros, 2, NULL, 0, 0, 0}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {CKM_RSA_PKCS_KEY_PAIR_GEN, {2048, nine, 9, NULL, 0, 0, 0}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {CKM_EC_KEY_PAIR_GEN, {.modulus_bits = 0}, CKR_TEMPLATE_INCOMPLETE},
	    {CKM_EC_KEY_PAIR_GEN, {.ec_params = p224, .ec_params_len = sizeof(p224)}, CKR_CURVE_NOT_SUPPORTED},
	    {CKM_EC_KEY_PAIR_GEN, {.ec_params = p256, .ec_params_len = 9}, CKR_CURVE_NOT_SUPPORTED},
	    {CKM_AES_KEY_GEN, {.modulus_bits = 2048}, CKR_MECHANISM_INVALID},
	    {CKM_RSA_PKCS, {.modulus_bits = 2048}, CKR_MECHANISM_INVALID},
	};
	struct pair made = {NULL, NULL};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(pair(cases[i].type, cases[i].wanted, &made), cases[i].rv);
		assert_null(made.private);
		assert_null(made.public);
	}
	assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(secret_keys_are_as_wanted_and_never_the_same),
	    cmocka_unit_test(secret_keys_that_cannot_be_are_not_made),
	    cmocka_unit_test(rsa_pairs_have_the_wanted_size_and_exponent),
	    cmocka_unit_test(ec_pairs_lie_on_the_four_curves),
	    cmocka_unit_test(pairs_that_cannot_be_are_not_made),
	};
	return cmocka_run_group_tests(tests, open_libcrypto, NULL);
}
