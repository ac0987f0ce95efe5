/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/components.h"

#include "crypto/operation.h"
#include "unit/crypto/surroundings.h"

#include <openssl/core_names.h>

enum { N, E, D, P, Q, DP, DQ, QI, NUMBERS };

static const char *const names[NUMBERS] = {
    OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
    OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
    OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
    OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

/* The numbers of the published key, as a template has them. */
static uint8_t numbers[NUMBERS][257];
static size_t lengths[NUMBERS];
static EVP_PKEY *published;

static struct component part(int i)
{
	return (struct component){numbers[i], lengths[i]};
}

static struct rsa_components all_parts(void)
{
	return (struct rsa_components){part(N), part(E), part(D), part(P), part(Q), part(DP), part(DQ), part(QI)};
}

static CK_RV sign_and_verify(struct key *private, struct key *public)
{
	CK_MECHANISM mechanism = {key_type(private) == CKK_RSA ? CKM_SHA256_RSA_PKCS : CKM_ECDSA_SHA256, NULL, 0};
	uint8_t signature[512];
	CK_ULONG len = sizeof(signature);
	struct operation *o;

	assert_int_equal(operation_begin(OPERATION_SIGN, &mechanism, private, &by_default, NULL, &o), CKR_OK);
	assert_int_equal(operation_single(o, (const CK_BYTE *)"text", 4, signature, &len), CKR_OK);
	operation_free(o);
	assert_int_equal(operation_begin(OPERATION_VERIFY, &mechanism, public, &by_default, NULL, &o), CKR_OK);
	CK_RV rv = operation_verify(o, (const CK_BYTE *)"text", 4, signature, len);
	operation_free(o);
	return rv;
}

static void an_rsa_key_is_made_of_all_its_numbers_or_of_three(void **state)
{
	struct rsa_components parts = all_parts();
	struct key *public, *private;

	(void)state;
	assert_int_equal(key_from_rsa_public(&parts, KEY_USE_VERIFY, &public), CKR_OK);
	assert_false(key_is_private(public));
	assert_int_equal(key_uses(public), KEY_USE_VERIFY);
	assert_int_equal(EVP_PKEY_eq(key_pkey(public), published), 1);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(key_from_rsa_private(&parts, KEY_USE_SIGN, &private), CKR_OK);
		assert_true(key_is_private(private));
		assert_int_equal(key_bits(private), 2048);
		assert_int_equal(sign_and_verify(private, public), CKR_OK);
		key_drop(private);
		parts.p = parts.q = parts.dp = parts.dq = parts.qi = (struct component){NULL, 0};
	}
	key_drop(public);
}

static void rsa_numbers_that_do_not_fit_together_are_refused(void **state)
{
	struct key *key = (struct key *)state;

	for (int with_primes = 0; with_primes < 2; with_primes++) {
		for (int i = 0; i < (with_primes ? NUMBERS : P); i++) {
			struct rsa_components parts = all_parts();
			if (!with_primes)
				parts.p = parts.q = parts.dp = parts.dq = parts.qi = (struct component){NULL, 0};
			numbers[i][lengths[i] - 1] ^= 4;
			assert_int_equal(key_from_rsa_private(&parts, 0, &key), CKR_ATTRIBUTE_VALUE_INVALID);
			numbers[i][lengths[i] - 1] ^= 4;
		}
	}
	assert_ptr_equal(key, state); /* untouched */
	assert_int_equal(ERR_peek_error(), 0);
}

static void missing_rsa_numbers_are_named(void **state)
{
	struct key *key;

	(void)state;
	for (int i = 0; i < NUMBERS; i++) {
		struct rsa_components parts = all_parts();
		*(&parts.n + i) = (struct component){NULL, 0};
		assert_int_equal(key_from_rsa_private(&parts, 0, &key), CKR_TEMPLATE_INCOMPLETE);
		if (i <= E)
			assert_int_equal(key_from_rsa_public(&parts, 0, &key), CKR_TEMPLATE_INCOMPLETE);
	}
}

static void public_rsa_numbers_are_checked(void **state)
{
	static const uint8_t even[] = {1, 0, 0}, one[] = {1}, three[] = {0, 3}, long_e[] = {1, 0, 0, 0, 0, 0, 0, 0, 1};
	static const uint8_t zeros[2000];
	const struct {
		struct component n, e;
		CK_RV rv;
	} cases[] = {
	    {part(N), {even, 3}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {part(N), {one, 1}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {part(N), {long_e, 9}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {part(N), {zeros, 4}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {part(N), {zeros, 2000}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {{zeros, 256}, {three, 2}, CKR_ATTRIBUTE_VALUE_INVALID},
	    {{zeros, 2000}, {three, 2}, CKR_KEY_SIZE_RANGE},
	    {part(P), {three, 2}, CKR_KEY_SIZE_RANGE},
	    {part(N), {three, 2}, CKR_OK},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rsa_components parts = {.n = cases[i].n, .e = cases[i].e};
		struct key *key = NULL;
		assert_int_equal(key_from_rsa_public(&parts, 0, &key), cases[i].rv);
		key_drop(key);
	}
}

static void ec_keys_are_made_of_a_number_or_a_point_on_every_curve(void **state)
{
	static const char *const curves[] = {"prime256v1", "secp384r1", "secp521r1", "secp256k1"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		EVP_PKEY *pkey = ec_pkey(curves[i]);
		uint8_t point[140] = {4}, value[66];
		struct component params = ec_curve_params(curves[i]);
		struct key *private, *raw, *octets;
		BIGNUM *d = NULL;
		size_t len;

		assert_int_equal(EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d), 1);
		int d_len = BN_bn2bin(d, value); /* shorter than the field, at times */
		BN_free(d);
		assert_int_equal(
		    key_from_ec_private(params, (struct component){value, (size_t)d_len}, all_uses, &private), CKR_OK);
		assert_int_equal(EVP_PKEY_eq(key_pkey(private), pkey), 1);

		size_t head = key_size(private) == 66 ? 3 : 2;
		assert_int_equal(
		    EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, point + head, 133, &len), 1);
		if (head == 3)
			point[1] = 0x81;
		point[head - 1] = (uint8_t)len;
		assert_int_equal(key_from_ec_public(params, (struct component){point + head, len}, all_uses, &raw),
		                 CKR_OK);
		assert_int_equal(key_from_ec_public(params, (struct component){point, len + head}, all_uses, &octets),
		                 CKR_OK);
		assert_int_equal(sign_and_verify(private, raw), CKR_OK);
		assert_int_equal(sign_and_verify(private, octets), CKR_OK);
		key_drop(private);
		key_drop(raw);
		key_drop(octets);

		point[head + len - 1] ^= 1; /* not on the curve */
		assert_int_equal(key_from_ec_public(params, (struct component){point, len + head}, 0, &raw),
		                 CKR_ATTRIBUTE_VALUE_INVALID);
		point[head + len - 1] ^= 1;
		point[head - 1]--;
		assert_int_equal(key_from_ec_public(params, (struct component){point, len + head}, 0, &raw),
		                 CKR_ATTRIBUTE_VALUE_INVALID);
		point[head - 1]++;
		point[head] = 6; /* hybrid */
		assert_int_equal(key_from_ec_public(params, (struct component){point, len + head}, 0, &octets),
		                 CKR_ATTRIBUTE_VALUE_INVALID);
		EVP_PKEY_free(pkey);
	}
}

static void ec_numbers_outside_the_group_are_refused(void **state)
{
	/* The order of P-256: FIPS 186-4, D.1.2.3. */
	static const char order_hex[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
	static const uint8_t zeros[2000], p224[] = {6, 5, 0x2b, 0x81, 4, 0, 0x21};
	struct component params = ec_curve_params("prime256v1"), none = {NULL, 0};
	uint8_t order[32];
	struct key *key = (struct key *)state;

	from_hex(order_hex, order);
	assert_int_equal(key_from_ec_private(params, (struct component){order, 32}, 0, &key),
	                 CKR_ATTRIBUTE_VALUE_INVALID);
	assert_int_equal(key_from_ec_private(params, (struct component){zeros, 32}, 0, &key),
	                 CKR_ATTRIBUTE_VALUE_INVALID);
	assert_int_equal(key_from_ec_private(params, (struct component){zeros, 2000}, 0, &key),
	                 CKR_ATTRIBUTE_VALUE_INVALID);
	assert_int_equal(key_from_ec_private(params, none, 0, &key), CKR_TEMPLATE_INCOMPLETE);
	assert_int_equal(key_from_ec_private(none, (struct component){order, 32}, 0, &key), CKR_TEMPLATE_INCOMPLETE);
	assert_int_equal(key_from_ec_public(params, none, 0, &key), CKR_TEMPLATE_INCOMPLETE);
	assert_int_equal(key_from_ec_public((struct component){p224, 7}, (struct component){zeros, 57}, 0, &key),
	                 CKR_CURVE_NOT_SUPPORTED);
	assert_ptr_equal(key, state);

	order[31]--; /* the largest that is one */
	assert_int_equal(key_from_ec_private(params, (struct component){order, 32}, 0, &key), CKR_OK);
	key_drop(key);
}

static int set_up(void **state)
{
	if (open_libcrypto(state))
		return -1;
	published = published_rsa_pkey();
	for (int i = 0; i < NUMBERS; i++) {
		BIGNUM *number = NULL;
		assert_int_equal(EVP_PKEY_get_bn_param(published, names[i], &number), 1);
		lengths[i] = (size_t)BN_bn2bin(number, numbers[i] + (i == N)) + (i == N); /* one with a zero in front */
		BN_free(number);
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(published);
	return ERR_peek_error() == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_rsa_key_is_made_of_all_its_numbers_or_of_three),
	    cmocka_unit_test(rsa_numbers_that_do_not_fit_together_are_refused),
	    cmocka_unit_test(missing_rsa_numbers_are_named),
	    cmocka_unit_test(public_rsa_numbers_are_checked),
	    cmocka_unit_test(ec_keys_are_made_of_a_number_or_a_point_on_every_curve),
	    cmocka_unit_test(ec_numbers_outside_the_group_are_refused),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
