/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/jwk.h"

#include "unit/jose/chain.h"
#include "base/file.h"

#include <openssl/pem.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static int open_ossl(void **state)
{
	(void)state;
	MUST_OK(ossl_open());
	return 0;
}

static json *parse(const char *text)
{
	json *tree = NULL;
	MUST_OK(json_parse(text, strlen(text), &tree));
	return tree;
}

static json *copy_with(const json *jwk, const char *name, const char *value)
{
	json *copy = json_copy(jwk);

	if (value)
		json_set_string(copy, name, value);
	else
		json_remove(copy, name);
	return copy;
}

static const struct {
	const char *type, *crv, *curve;
} kinds[] = {
    {"RSA", NULL, NULL},      {"EC", "P-256", "P-256"},      {"EC", "P-384", "P-384"},
    {"EC", "P-521", "P-521"}, {"EC", "P-256K", "secp256k1"},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static EVP_PKEY *make_kind(size_t i)
{
	return kinds[i].curve ? make_ec(kinds[i].curve) : make_rsa(2048);
}

static void keys_come_back_as_they_went(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		auto_pkey *key = make_kind(i), *public_half = NULL, *whole = NULL;
		auto_json *jwk = NULL;

		assert_int_equal(jwk_from_key(key, &jwk).failure, 0);
		assert_null(json_get(jwk, "d"));
		if (kinds[i].crv)
			assert_string_equal(json_string_or_null(jwk, "crv"), kinds[i].crv);
		assert_int_equal(jwk_public_key(jwk, &public_half).failure, 0);
		assert_int_equal(EVP_PKEY_eq(key, public_half), 1);
		assert_int_equal(jwk_private_key(jwk, &whole).failure, 213);
		assert_null(whole);
		assert_int_equal(jwk_add_private(jwk, key).failure, 0);
		assert_int_equal(jwk_private_key(jwk, &whole).failure, 0);
		assert_int_equal(EVP_PKEY_eq(key, whole), 1);
	}
}

/* RFC 7638 section 3.1. */
static const char rfc7638[] =
    "{\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_"
    "BJEC"
    "PebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
    "FDW2QvzqY368QQMicAtaSqzs8KJZgnY"
    "b9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-"
    "csFC"
    "ur-kEgU8awapJzKnqDKgw\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}";

static void the_thumbprint_is_the_rfcs(void **state)
{
	(void)state;
	auto_json *jwk = parse(rfc7638);
	auto_buf thumbprint = BUF(64);

	assert_int_equal(jwk_thumbprint(jwk, &thumbprint).failure, 0);
	assert_string_equal(buf_text(&thumbprint), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
}

/* The JWK set that the reference client makes of its test key, byte for byte its kid. */
static void the_thumbprint_is_the_reference_clients(void **state)
{
	(void)state;
	auto_buf text = BUF(1024 * 1024), thumbprint = BUF(64);
	auto_json *vectors = NULL;

	MUST_OK(file_read(SKR_TEST_DATA "/akv/keywrap-vectors.json", &text));
	MUST_OK(json_parse_large(text.data, text.len, 4096, &vectors));
	const json *vector = json_first(json_get(vectors, "runtime_jwks"));
	const char *pem =
	    json_string_or_null(json_first(json_get(vectors, "rsa_aes_key_wrap")), "transport_private_key_pkcs1_pem");
	auto_bio *bio = BIO_new_mem_buf(pem, -1);
	auto_pkey *key = PEM_read_bio_PrivateKey_ex(bio, NULL, NULL, NULL, ossl, NULL);
	auto_json *jwk = NULL, *set = parse(json_string_or_null(vector, "jwks_utf8"));
	const json *theirs = json_first(json_get(set, "keys"));

	MUST_OK(jwk_from_key(key, &jwk));
	assert_string_equal(json_string_or_null(jwk, "n"), json_string_or_null(theirs, "n"));
	assert_string_equal(json_string_or_null(jwk, "e"), json_string_or_null(theirs, "e"));
	MUST_OK(jwk_thumbprint(jwk, &thumbprint));
	assert_string_equal(buf_text(&thumbprint), json_string_or_null(vector, "kid_rfc7638"));
}

static void a_vaults_long_exponent_is_taken(void **state)
{
	(void)state;
	auto_json *jwk = parse(rfc7638), *longer = copy_with(jwk, "e", "AAEAAQ"),
	          *hsm = copy_with(jwk, "kty", "RSA-HSM");
	auto_pkey *plain = NULL, *padded = NULL, *from_hsm = NULL;

	MUST_OK(jwk_public_key(jwk, &plain));
	assert_int_equal(jwk_public_key(longer, &padded).failure, 0);
	assert_int_equal(EVP_PKEY_eq(plain, padded), 1);
	assert_int_equal(jwk_public_key(hsm, &from_hsm).failure, 0);
	assert_int_equal(EVP_PKEY_eq(plain, from_hsm), 1);
}

static void rsa_out_of_bounds_is_refused(void **state)
{
	(void)state;
	auto_json *jwk = parse(rfc7638);
	static const struct {
		const char *name, *value;
	} cases[] = {
	    {"kty", NULL},  {"kty", "oct"},
	    {"kty", "rsa"}, {"kty", "EC"},
	    {"n", NULL},    {"n", ""},
	    {"n", "AQAB"},  {"n", "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWh"},
	    {"n", "!"},     {"e", NULL},
	    {"e", "AQ"},    {"e", "AA"},
	    {"e", "Ag"},    {"e", "AQABAQABAQAB"},
	    {"e", "AQAB="}, {"e", ""},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		auto_json *bad = copy_with(jwk, cases[i].name, cases[i].value);
		EVP_PKEY *key = NULL;
		if (jwk_public_key(bad, &key).failure != 213 || key)
			fail_msg("%s = %s is taken", cases[i].name, cases[i].value ? cases[i].value : "(missing)");
	}
}

static void weak_rsa_is_refused(void **state)
{
	(void)state;
	auto_pkey *weak = make_rsa(1024), *key = NULL;
	auto_json *jwk = NULL;

	MUST_OK(jwk_from_key(weak, &jwk));
	assert_int_equal(jwk_public_key(jwk, &key).failure, 213);
	assert_non_null(strstr(status_message(), "1024"));
}

static void points_off_the_curve_are_refused(void **state)
{
	(void)state;
	for (size_t i = 1; i < KINDS; i++) {
		auto_pkey *key = make_kind(i), *other = make_kind(i), *got = NULL;
		auto_json *jwk = NULL, *foreign = NULL;

		MUST_OK(jwk_from_key(key, &jwk));
		MUST_OK(jwk_from_key(other, &foreign));
		auto_json *mixed = copy_with(jwk, "x", json_string_or_null(foreign, "x"));
		assert_int_equal(jwk_public_key(mixed, &got).failure, 213);
		auto_json *zero = copy_with(jwk, "y", "AA");
		assert_int_equal(jwk_public_key(zero, &got).failure, 213);
		auto_json *unknown = copy_with(jwk, "crv", "P-224");
		assert_int_equal(jwk_public_key(unknown, &got).failure, 213);
		auto_json *missing = copy_with(jwk, "crv", NULL);
		assert_int_equal(jwk_public_key(missing, &got).failure, 213);
		assert_null(got);
	}
}

static void private_parts_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		auto_pkey *key = make_kind(i), *other = make_kind(i), *got = NULL;
		auto_json *jwk = NULL;

		MUST_OK(jwk_from_key(key, &jwk));
		MUST_OK(jwk_add_private(jwk, other));
		assert_int_equal(jwk_private_key(jwk, &got).failure, 213);
		assert_null(got);
	}
}

static void key_ops_are_read_and_written(void **state)
{
	(void)state;
	auto_json *none = parse("{}"), *some = parse("{\"key_ops\":[\"sign\",\"fly\",\"unwrapKey\",7]}"),
	          *empty = parse("{\"key_ops\":[]}"), *odd = parse("{\"key_ops\":\"sign\"}"), *out = json_object();
	auto_buf text = BUF(256);

	assert_int_equal(key_ops_from_json(none), 0xff);
	assert_int_equal(key_ops_from_json(some), KEY_OP_SIGN | KEY_OP_UNWRAP);
	assert_int_equal(key_ops_from_json(empty), 0);
	assert_int_equal(key_ops_from_json(odd), 0);
	key_ops_to_json(out, KEY_OP_VERIFY | KEY_OP_SIGN | KEY_OP_EXPORT);
	MUST_OK(json_print(out, &text));
	assert_string_equal(buf_text(&text), "{\"key_ops\":[\"sign\",\"verify\",\"export\"]}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keys_come_back_as_they_went),
	    cmocka_unit_test(the_thumbprint_is_the_rfcs),
	    cmocka_unit_test(the_thumbprint_is_the_reference_clients),
	    cmocka_unit_test(a_vaults_long_exponent_is_taken),
	    cmocka_unit_test(rsa_out_of_bounds_is_refused),
	    cmocka_unit_test(weak_rsa_is_refused),
	    cmocka_unit_test(points_off_the_curve_are_refused),
	    cmocka_unit_test(private_parts_that_do_not_fit_are_refused),
	    cmocka_unit_test(key_ops_are_read_and_written),
	};
	return cmocka_run_group_tests(tests, open_ossl, NULL);
}
