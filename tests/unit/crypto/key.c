/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/key.h"

#include "unit/crypto/surroundings.h"

#include <openssl/core_names.h>
#include <pthread.h>

static void the_four_curves_are_taken_and_measured(void **state)
{
	static const struct {
		const char *curve;
		unsigned bits;
		size_t size;
	} cases[] = {{"P-256", 256, 32}, {"P-384", 384, 48}, {"P-521", 521, 66}, {"secp256k1", 256, 32}};
	struct key *key;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(key_new(ec_pkey(cases[i].curve), true, KEY_USE_SIGN, &key), CKR_OK);
		assert_int_equal(key_type(key), CKK_EC);
		assert_int_equal(key_bits(key), cases[i].bits);
		assert_int_equal(key_size(key), cases[i].size);
		assert_int_equal(key_uses(key), KEY_USE_SIGN);
		assert_true(key_is_private(key));
		key_drop(key);
	}
}

static void other_curves_and_kinds_are_refused(void **state)
{
	struct key *key = (struct key *)state;

	assert_int_equal(key_new(ec_pkey("P-224"), true, 0, &key), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_new(ec_pkey("brainpoolP256r1"), true, 0, &key), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_new(EVP_PKEY_Q_keygen(ossl, NULL, "ED25519"), true, 0, &key), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_new(EVP_PKEY_Q_keygen(ossl, NULL, "X25519"), true, 0, &key), CKR_KEY_TYPE_INCONSISTENT);
	assert_ptr_equal(key, state); /* untouched */
	assert_int_equal(ERR_peek_error(), 0);
}

static void rsa_below_2048_bits_is_refused(void **state)
{
	struct key *key;

	(void)state;
	assert_int_equal(key_new(rsa_pkey(1024), true, 0, &key), CKR_KEY_SIZE_RANGE);
	EVP_PKEY *small = rsa_pkey(2047);
	assert_int_equal(key_new(public_half(small), false, 0, &key), CKR_KEY_SIZE_RANGE);
	EVP_PKEY_free(small);
}

/* A public key of so many bits; nothing is done with it. */
static EVP_PKEY *rsa_public_of_bits(int bits)
{
	BIGNUM *n = BN_new();
	unsigned e = 65537;
	assert_true(BN_set_bit(n, bits - 1) && BN_set_bit(n, 0));
	uint8_t *bytes = OPENSSL_zalloc((size_t)BN_num_bytes(n));
	assert_true(BN_bn2nativepad(n, bytes, BN_num_bytes(n)) > 0);
	OSSL_PARAM params[] = {OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, bytes, (size_t)BN_num_bytes(n)),
	                       OSSL_PARAM_construct_uint(OSSL_PKEY_PARAM_RSA_E, &e), OSSL_PARAM_END};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);
	EVP_PKEY *pkey = NULL;
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params), 1);
	EVP_PKEY_CTX_free(ctx);
	OPENSSL_free(bytes);
	BN_free(n);
	return pkey;
}

static void public_rsa_is_taken_up_to_8192_bits(void **state)
{
	struct key *key;

	(void)state;
	assert_int_equal(key_new(rsa_public_of_bits(8192), false, 0, &key), CKR_OK);
	assert_int_equal(key_size(key), 1024);
	key_drop(key);
	assert_int_equal(key_new(rsa_public_of_bits(8193), false, 0, &key), CKR_KEY_SIZE_RANGE);
}

static void the_rejection_secret_is_the_hash_of_the_exponent(void **state)
{
	uint8_t padded[256], hash[32];
	EVP_PKEY *pkey = published_rsa_pkey();
	BIGNUM *d = NULL;
	struct key *key;

	(void)state;
	assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_D, &d), 1);
	assert_int_equal(BN_bn2binpad(d, padded, sizeof(padded)), sizeof(padded));
	assert_int_equal(sha256(padded, sizeof(padded), hash).failure, 0);
	BN_free(d);
	assert_int_equal(key_new(pkey, true, 0, &key), CKR_OK);
	assert_memory_equal(key_rejection_secret(key), hash, 32);
	key_drop(key);
}

static void *hold_and_drop(void *key)
{
	for (int i = 0; i < 100000; i++)
		key_drop(key_hold(key));
	return NULL;
}

static void references_are_counted_across_threads(void **state)
{
	pthread_t threads[4];
	struct key *key;

	(void)state;
	EVP_PKEY *pkey = ec_pkey("P-256");
	assert_int_equal(EVP_PKEY_up_ref(pkey), 1);
	assert_int_equal(key_new(pkey, true, 0, &key), CKR_OK);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hold_and_drop, key), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(key_bits(key), 256);
	key_drop(key);
	assert_int_equal(EVP_PKEY_get_bits(pkey), 256); /* ours alone now; a leak or a double free shows under ASan */
	EVP_PKEY_free(pkey);
}

static void nothing_is_held_and_dropped_without_harm(void **state)
{
	(void)state;
	assert_null(key_hold(NULL));
	key_drop(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_four_curves_are_taken_and_measured),
	    cmocka_unit_test(other_curves_and_kinds_are_refused),
	    cmocka_unit_test(rsa_below_2048_bits_is_refused),
	    cmocka_unit_test(public_rsa_is_taken_up_to_8192_bits),
	    cmocka_unit_test(the_rejection_secret_is_the_hash_of_the_exponent),
	    cmocka_unit_test(references_are_counted_across_threads),
	    cmocka_unit_test(nothing_is_held_and_dropped_without_harm),
	};
	return cmocka_run_group_tests(tests, open_libcrypto, NULL);
}
