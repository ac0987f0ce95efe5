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

static void secret_keys_have_the_lengths_of_their_types(void **state)
{
	static const CK_KEY_TYPE hmacs[] = {CKK_GENERIC_SECRET, CKK_SHA_1_HMAC,  CKK_SHA224_HMAC,
	                                    CKK_SHA256_HMAC,    CKK_SHA384_HMAC, CKK_SHA512_HMAC};
	static const uint8_t bytes[KEY_SECRET_MAX + 1] = {1, 2};
	struct key *key = (struct key *)state;

	for (size_t len = 0; len <= 40; len++) {
		bool aes = len == 16 || len == 24 || len == 32;
		CK_RV rv = key_new_secret(bytes, len, CKK_AES, KEY_USE_WRAP, &key);
		assert_int_equal(rv, aes ? CKR_OK : CKR_KEY_SIZE_RANGE);
		if (rv != CKR_OK)
			continue;
		assert_int_equal(key_type(key), CKK_AES);
		assert_int_equal(key_size(key), len);
		assert_int_equal(key_bits(key), 8 * len);
		assert_int_equal(key_uses(key), KEY_USE_WRAP);
		assert_true(key_is_secret(key) && key_is_private(key));
		assert_null(key_pkey(key));
		assert_memory_equal(key_secret(key), bytes, len);
		assert_ptr_not_equal(key_secret(key), bytes);
		key_drop(key);
		key = (struct key *)state;
	}
	for (size_t i = 0; i < sizeof(hmacs) / sizeof(hmacs[0]); i++) {
		assert_int_equal(key_new_secret(bytes, 0, hmacs[i], 0, &key), CKR_KEY_SIZE_RANGE);
		assert_int_equal(key_new_secret(bytes, KEY_SECRET_MAX + 1, hmacs[i], 0, &key), CKR_KEY_SIZE_RANGE);
		assert_ptr_equal(key, state); /* untouched */
		assert_int_equal(key_new_secret(bytes, KEY_SECRET_MAX, hmacs[i], 0, &key), CKR_OK);
		key_drop(key);
		key = (struct key *)state;
	}
	assert_int_equal(key_new_secret(bytes, 16, CKK_RSA, 0, &key), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_new_secret(bytes, 16, CKK_DES3, 0, &key), CKR_KEY_TYPE_INCONSISTENT);
}

static void a_check_value_is_three_bytes_of_zeros_encrypted_or_of_sha1(void **state)
{
	static const uint8_t zeros[16];
	/* FIPS 197 with a key of zeros; FIPS 180-4, "abc" */
	static const CK_BYTE of_aes[3] = {0x66, 0xe9, 0x4b}, of_abc[3] = {0xa9, 0x99, 0x3e};
	struct key *aes = secret_of(zeros, 16, CKK_AES), *generic = secret_of("abc", 3, CKK_GENERIC_SECRET), *ec;
	CK_BYTE value[4] = {0, 0, 0, 0xa5};

	(void)state;
	assert_int_equal(key_check_value(aes, value), CKR_OK);
	assert_memory_equal(value, of_aes, 3);
	assert_int_equal(key_check_value(generic, value), CKR_OK);
	assert_memory_equal(value, of_abc, 3);
	assert_int_equal(value[3], 0xa5);
	assert_int_equal(key_new(ec_pkey("P-256"), true, 0, &ec), CKR_OK);
	assert_int_equal(key_check_value(ec, value), CKR_KEY_TYPE_INCONSISTENT);
	key_drop(aes);
	key_drop(generic);
	key_drop(ec);
}

static void a_key_with_other_uses_is_the_same_key(void **state)
{
	struct pair pair = pair_of(published_rsa_pkey());
	struct key *secret = secret_of("sixteen bytes...", 16, CKK_AES), *other;

	(void)state;
	assert_int_equal(key_with_uses(pair.private, KEY_USE_DECRYPT, &other), CKR_OK);
	assert_int_equal(key_uses(other), KEY_USE_DECRYPT);
	assert_int_equal(key_uses(pair.private), all_uses);
	assert_true(key_is_private(other));
	assert_int_equal(key_bits(other), 2048);
	assert_int_equal(EVP_PKEY_eq(key_pkey(other), key_pkey(pair.private)), 1);
	assert_memory_equal(key_rejection_secret(other), key_rejection_secret(pair.private), 32);
	pair_drop(pair); /* it lives on */
	assert_int_equal(EVP_PKEY_get_bits(key_pkey(other)), 2048);
	key_drop(other);

	assert_int_equal(key_with_uses(secret, KEY_USE_WRAP, &other), CKR_OK);
	assert_int_equal(key_uses(other), KEY_USE_WRAP);
	key_drop(secret);
	assert_memory_equal(key_secret(other), "sixteen bytes...", 16);
	assert_int_equal(key_public_half(other, 0, &secret), CKR_KEY_TYPE_INCONSISTENT);
	key_drop(other);
}

static void the_public_half_has_no_private_number(void **state)
{
	static const struct {
		const char *curve, *number;
	} cases[] = {{NULL, OSSL_PKEY_PARAM_RSA_D}, {"P-521", OSSL_PKEY_PARAM_PRIV_KEY}};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct key *private, *public;
		BIGNUM *number = NULL;
		EVP_PKEY *pkey = cases[i].curve ? ec_pkey(cases[i].curve) : published_rsa_pkey();
		assert_int_equal(key_new(pkey, true, 0, &private), CKR_OK);
		assert_int_equal(key_public_half(private, KEY_USE_VERIFY, &public), CKR_OK);
		assert_false(key_is_private(public));
		assert_int_equal(key_type(public), key_type(private));
		assert_int_equal(EVP_PKEY_eq(key_pkey(public), pkey), 1);
		assert_int_equal(EVP_PKEY_get_bn_param(key_pkey(public), cases[i].number, &number), 0);
		ERR_clear_error();
		key_drop(private);
		key_drop(public);
	}
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
	    cmocka_unit_test(secret_keys_have_the_lengths_of_their_types),
	    cmocka_unit_test(a_check_value_is_three_bytes_of_zeros_encrypted_or_of_sha1),
	    cmocka_unit_test(a_key_with_other_uses_is_the_same_key),
	    cmocka_unit_test(the_public_half_has_no_private_number),
	    cmocka_unit_test(references_are_counted_across_threads),
	    cmocka_unit_test(nothing_is_held_and_dropped_without_harm),
	};
	return cmocka_run_group_tests(tests, open_libcrypto, NULL);
}
