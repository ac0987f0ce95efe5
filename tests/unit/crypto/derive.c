/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/derive.h"

#include "crypto/components.h"
#include "unit/crypto/surroundings.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

/* NIST CAVP, KAS_ECC_CDH_PrimitiveTest.txt, [P-256], COUNT = 0 */
static const char d_hex[] = "7d7dc5f71eb29ddaf80d6214632eeae03d9058af1fb6d22ed80badb62bc1a534";
static const char q_hex[] = "04"
                            "700c48f77f56584c5cc632ca65640db91b6bacce3a4df6b42ce7cc838833d287"
                            "db71e509e3fd9b060ddb20ba5c51dcc5948d46fbf640dfe0441782cab85fa4ac";
static const char z_hex[] = "46fc62106420ff012e54a434fbdd2d25ccc5852060561e68040dd7778997bd7b";

static const unsigned leaves = KEY_USE_LEAVE | KEY_USE_SIGN;
static struct key *ours;
static uint8_t peer[65], z[32], shared[5] = "info";

static CK_RV derive(CK_MECHANISM_TYPE type, const CK_ECDH1_DERIVE_PARAMS *params, CK_KEY_TYPE key_type, size_t len,
                    struct key **ret)
{
	CK_MECHANISM mechanism = {type, (void *)params, sizeof(*params)};
	struct key_wanted wanted = {CKO_SECRET_KEY, key_type, len, leaves};
	return key_derive(&mechanism, ours, &wanted, ret);
}

static CK_ECDH1_DERIVE_PARAMS plain(void)
{
	return (CK_ECDH1_DERIVE_PARAMS){CKD_NULL, 0, NULL, sizeof(peer), peer};
}

static void the_published_secret_comes_out_of_both_forms_of_the_point(void **state)
{
	uint8_t wrapped[67] = {4, 65};
	CK_ECDH1_DERIVE_PARAMS raw = plain(), octets = {CKD_NULL, 0, NULL, sizeof(wrapped), wrapped};
	const CK_ECDH1_DERIVE_PARAMS *forms[] = {&raw, &octets};

	(void)state;
	memcpy(wrapped + 2, peer, sizeof(peer));
	for (int i = 0; i < 2; i++) {
		for (CK_MECHANISM_TYPE type = CKM_ECDH1_DERIVE; type <= CKM_ECDH1_COFACTOR_DERIVE; type++) {
			struct key *key;
			assert_int_equal(derive(type, forms[i], CKK_GENERIC_SECRET, 0, &key), CKR_OK);
			assert_int_equal(key_size(key), 32);
			assert_int_equal(key_uses(key), leaves);
			assert_memory_equal(key_secret(key), z, 32);
			key_drop(key);
		}
	}
}

static void a_shorter_key_is_cut_in_front(void **state)
{
	CK_ECDH1_DERIVE_PARAMS params = plain();
	struct key *key;

	(void)state;
	assert_int_equal(derive(CKM_ECDH1_DERIVE, &params, CKK_AES, 16, &key), CKR_OK);
	assert_int_equal(key_type(key), CKK_AES);
	assert_memory_equal(key_secret(key), z + 16, 16);
	key_drop(key);
}

/* By libcrypto's own KDF. */
static void expected_of(char *digest, size_t shared_len, uint8_t *out, size_t len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(ossl, OSSL_KDF_NAME_X963KDF, NULL);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
	                       OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, z, sizeof(z)),
	                       OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, shared, shared_len),
	                       OSSL_PARAM_END};
	assert_int_equal(EVP_KDF_derive(ctx, out, len, params), 1);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
}

static void the_kdf_is_that_of_x9_63_with_every_digest(void **state)
{
	static struct {
		CK_ULONG kdf;
		char digest[8];
	} kdfs[] = {{CKD_SHA1_KDF, "SHA1"},
	            {CKD_SHA224_KDF, "SHA224"},
	            {CKD_SHA256_KDF, "SHA256"},
	            {CKD_SHA384_KDF, "SHA384"},
	            {CKD_SHA512_KDF, "SHA512"}};
	uint8_t expected[200];

	(void)state;
	for (size_t i = 0; i < sizeof(kdfs) / sizeof(kdfs[0]); i++) {
		for (size_t shared_len = 0; shared_len <= 5; shared_len += 5) {
			for (size_t len = 16; len <= 200; len += 92) {
				CK_ECDH1_DERIVE_PARAMS params = {kdfs[i].kdf, shared_len, shared_len ? shared : NULL,
				                                 65, peer};
				struct key *key;
				assert_int_equal(derive(CKM_ECDH1_DERIVE, &params, CKK_GENERIC_SECRET, len, &key),
				                 CKR_OK);
				assert_int_equal(key_size(key), len);
				expected_of(kdfs[i].digest, shared_len, expected, len);
				assert_memory_equal(key_secret(key), expected, len);
				key_drop(key);
			}
		}
	}
}

static void two_sides_agree_on_every_curve(void **state)
{
	static const char *const curves[] = {"P-256", "P-384", "P-521", "secp256k1"};

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct key *sides[2], *secrets[2];
		uint8_t points[2][133];
		size_t len;

		for (int s = 0; s < 2; s++) {
			EVP_PKEY *pkey = ec_pkey(curves[i]);
			assert_int_equal(
			    EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_PUB_KEY, points[s], 133, &len), 1);
			assert_int_equal(key_new(pkey, true, KEY_USE_DERIVE, &sides[s]), CKR_OK);
		}
		for (int s = 0; s < 2; s++) {
			CK_ECDH1_DERIVE_PARAMS params = {CKD_NULL, 0, NULL, len, points[1 - s]};
			CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &params, sizeof(params)};
			struct key_wanted wanted = {CKO_SECRET_KEY, CKK_GENERIC_SECRET, 0, 0};
			assert_int_equal(key_derive(&mechanism, sides[s], &wanted, &secrets[s]), CKR_OK);
		}
		assert_int_equal(key_size(secrets[0]), key_size(sides[0]));
		assert_memory_equal(key_secret(secrets[0]), key_secret(secrets[1]), key_size(secrets[0]));
		for (int s = 0; s < 2; s++) {
			key_drop(sides[s]);
			key_drop(secrets[s]);
		}
	}
}

static void wrong_points_are_refused(void **state)
{
	struct key *key = (struct key *)state;
	uint8_t off[65], infinity[1] = {0}, compressed[33], octets[67] = {4, 64}, other[97] = {4};
	memcpy(off, peer, 65);
	off[64] ^= 1;
	memcpy(compressed, peer, 33);
	compressed[0] = 2;
	memcpy(octets + 2, peer, 65);
	const CK_ECDH1_DERIVE_PARAMS wrong[] = {
	    {CKD_NULL, 0, NULL, 65, off},        {CKD_NULL, 0, NULL, 1, infinity}, {CKD_NULL, 0, NULL, 33, compressed},
	    {CKD_NULL, 0, NULL, 67, octets},     {CKD_NULL, 0, NULL, 97, other},   {CKD_NULL, 0, NULL, 64, peer},
	    {CKD_NULL, 0, NULL, 0, peer},        {CKD_NULL, 0, NULL, 65, NULL},    {CKD_NULL, 4, shared, 65, peer},
	    {CKD_SHA256_KDF, 4, NULL, 65, peer}, {99, 0, NULL, 65, peer},          {0, 0, NULL, 65, peer},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(derive(CKM_ECDH1_DERIVE, &wrong[i], CKK_GENERIC_SECRET, 32, &key),
		                 CKR_MECHANISM_PARAM_INVALID);
	assert_ptr_equal(key, state); /* untouched */
	assert_int_equal(ERR_peek_error(), 0);
}

static void keys_that_cannot_be_are_not_derived(void **state)
{
	CK_ECDH1_DERIVE_PARAMS params = plain(), kdf = plain();
	struct key *key = (struct key *)state;

	kdf.kdf = CKD_SHA256_KDF;
	assert_int_equal(derive(CKM_ECDH1_DERIVE, &params, CKK_GENERIC_SECRET, 33, &key), CKR_KEY_SIZE_RANGE);
	assert_int_equal(derive(CKM_ECDH1_DERIVE, &params, CKK_AES, 20, &key), CKR_KEY_SIZE_RANGE);
	assert_int_equal(derive(CKM_ECDH1_DERIVE, &params, CKK_EC, 32, &key), CKR_TEMPLATE_INCONSISTENT);
	assert_int_equal(derive(CKM_ECDH1_DERIVE, &kdf, CKK_GENERIC_SECRET, 0, &key), CKR_TEMPLATE_INCOMPLETE);
	assert_int_equal(derive(CKM_ECDH1_DERIVE, &kdf, CKK_GENERIC_SECRET, KEY_SECRET_MAX + 1, &key),
	                 CKR_KEY_SIZE_RANGE);
	assert_int_equal(derive(CKM_ECDSA, &params, CKK_GENERIC_SECRET, 32, &key), CKR_MECHANISM_INVALID);
	assert_ptr_equal(key, state);
}

/* I-29 */
static void other_keys_do_not_derive(void **state)
{
	CK_ECDH1_DERIVE_PARAMS params = plain();
	CK_MECHANISM mechanism = {CKM_ECDH1_DERIVE, &params, sizeof(params)};
	struct key_wanted wanted = {CKO_SECRET_KEY, CKK_GENERIC_SECRET, 32, 0};
	struct pair rsa = pair_of(published_rsa_pkey());
	struct key *derived, *only_signs, *public, *secret = secret_of(z, 32, CKK_GENERIC_SECRET);

	(void)state;
	assert_int_equal(key_with_uses(ours, KEY_USE_SIGN, &only_signs), CKR_OK);
	assert_int_equal(key_public_half(ours, KEY_USE_DERIVE, &public), CKR_OK);
	assert_int_equal(key_derive(&mechanism, rsa.private, &wanted, &derived), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_derive(&mechanism, secret, &wanted, &derived), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_derive(&mechanism, public, &wanted, &derived), CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(key_derive(&mechanism, only_signs, &wanted, &derived), CKR_KEY_FUNCTION_NOT_PERMITTED);
	pair_drop(rsa);
	key_drop(only_signs);
	key_drop(public);
	key_drop(secret);
}

static int set_up(void **state)
{
	uint8_t d[32];

	if (open_libcrypto(state))
		return -1;
	from_hex(q_hex, peer);
	from_hex(z_hex, z);
	struct component value = {d, from_hex(d_hex, d)};
	return key_from_ec_private(ec_curve_params("prime256v1"), value, KEY_USE_DERIVE, &ours) == CKR_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	key_drop(ours);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_published_secret_comes_out_of_both_forms_of_the_point),
	    cmocka_unit_test(a_shorter_key_is_cut_in_front),
	    cmocka_unit_test(the_kdf_is_that_of_x9_63_with_every_digest),
	    cmocka_unit_test(two_sides_agree_on_every_curve),
	    cmocka_unit_test(wrong_points_are_refused),
	    cmocka_unit_test(keys_that_cannot_be_are_not_derived),
	    cmocka_unit_test(other_keys_do_not_derive),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
