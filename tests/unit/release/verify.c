/* SPDX-License-Identifier: Apache-2.0 */
#include "release/answer.h"

#include "unit/release/vault.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct signer signer;
static EVP_PKEY *transport, *other_transport, *rsa, *other_rsa, *ec;
static struct config config;
static struct key_config key = {
    .url = "https://" VAULT_HOST "/keys/www", .host = VAULT_HOST, .name = "www", .label = "www"};
static struct token_config token = {.label = "web", .keys = &key, .key_count = 1, .enc = VAULT_ENC};

static int make_all(void **state)
{
	(void)state;
	MUST_OK(ossl_open());
	signer_make(&signer, VAULT_SAN, NULL);
	transport = make_rsa(2048);
	other_transport = make_rsa(2048);
	rsa = make_rsa(2048);
	other_rsa = make_rsa(2048);
	ec = make_ec("P-256");
	return 0;
}

static int free_all(void **state)
{
	(void)state;
	signer_done(&signer);
	EVP_PKEY_free(transport);
	EVP_PKEY_free(other_transport);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(other_rsa);
	EVP_PKEY_free(ec);
	return 0;
}

static struct release_expectation expectation(void)
{
	return (struct release_expectation){.config = &config,
	                                    .token = &token,
	                                    .key = &key,
	                                    .nonce = "the-nonce",
	                                    .transport_kid = "the-kid",
	                                    .transport = transport,
	                                    .anchors = signer.anchors,
	                                    .now = TEST_NOW};
}

static struct vault_answer answer_for(EVP_PKEY *of)
{
	return (struct vault_answer){
	    .name = "www", .nonce = "the-nonce", .kid = "the-kid", .transport = transport, .key = of};
}

static void released_done(struct released_key *released)
{
	EVP_PKEY_free(released->key);
	buf_done(&released->secret);
}
#define auto_released __attribute__((cleanup(released_done))) struct released_key

static skr_status verify_signed(const struct release_expectation *expected, const json *payload,
                                struct released_key *ret)
{
	auto_buf jws = BUF(VAULT_LIMIT);

	vault_sign(&signer, payload, &jws);
	return release_verify(expected, buf_text(&jws), jws.len, ret);
}

/* Verifies a payload of the case's making; a failure must hand nothing out. */
static int verify_payload(const json *payload)
{
	struct release_expectation expected = expectation();
	auto_released released = {.config = NULL};

	int failure = verify_signed(&expected, payload, &released).failure;
	if (failure) {
		assert_null(released.key);
		assert_null(released.secret.data);
		assert_null(released.config);
	}
	return failure;
}

static int verify_answer(const struct vault_answer *answer)
{
	auto_json *payload = vault_payload(answer);
	return verify_payload(payload);
}

static void a_good_answer_gives_the_key(void **state)
{
	(void)state;
	EVP_PKEY *keys[] = {rsa, ec, make_ec("P-384"), make_ec("P-521"), make_ec("secp256k1"), make_rsa(3072)};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		struct vault_answer answer = answer_for(keys[i]);
		struct release_expectation expected = expectation();
		auto_json *payload = vault_payload(&answer);
		auto_released released = {.config = NULL};
		if (verify_signed(&expected, payload, &released).failure)
			fail_msg("key %zu: %s", i, status_message());
		assert_int_equal(EVP_PKEY_eq(released.key, keys[i]), 1);
		assert_string_equal(released.kid, "https://" VAULT_HOST "/keys/www/" VAULT_VERSION);
		assert_string_equal(released.version, VAULT_VERSION);
		assert_int_equal(released.ops, KEY_OP_SIGN | KEY_OP_VERIFY);
		assert_ptr_equal(released.config, &key);
		assert_true(released.nonce_echoed);
		if (i > 1)
			EVP_PKEY_free(keys[i]);
	}
}

static void kty_is_taken_with_and_without_hsm(void **state)
{
	(void)state;
	struct vault_answer answer = answer_for(rsa);

	answer.kty = "RSA";
	assert_int_equal(verify_answer(&answer), 0);
	answer = answer_for(ec);
	answer.kty = "EC";
	assert_int_equal(verify_answer(&answer), 0);
	answer.kty = "RSA";
	assert_int_equal(verify_answer(&answer), 342);
	answer.kty = "OKP";
	assert_int_equal(verify_answer(&answer), 342);
}

static void symmetric_keys_come_as_bytes(void **state)
{
	(void)state;
	uint8_t bytes[80];
	static const size_t good[] = {16, 24, 32, 64}, bad[] = {1, 8, 15, 65, 80};

	MUST_OK(random_bytes(bytes, sizeof(bytes)));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct vault_answer answer = answer_for(NULL);
		struct release_expectation expected = expectation();
		auto_released released = {.config = NULL};
		answer.wrapped = bytes;
		answer.wrapped_len = good[i];
		auto_json *payload = vault_payload(&answer);
		assert_int_equal(verify_signed(&expected, payload, &released).failure, 0);
		assert_null(released.key);
		assert_int_equal(released.secret.len, good[i]);
		assert_memory_equal(released.secret.data, bytes, good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vault_answer answer = answer_for(NULL);
		answer.wrapped = bytes;
		answer.wrapped_len = bad[i];
		assert_int_equal(verify_answer(&answer), 342);
	}
}

/* ---- I-07, K-10, K-15: each field, one at a time, under a signature that stands ---- */

struct change {
	const char *path;  /* members, separated by blanks; the last is changed */
	const char *value; /* JSON; NULL: removed */
	int failure;
};

#define JWK        "response key key "
#define ATTRIBUTES "response key attributes "
static const struct change changes[] = {
    {"request", NULL, 340},
    {"request", "{}", 340},
    {"request kid", NULL, 340},
    {"request kid", "7", 340},
    {"request kid", "\"http://contoso.vault.azure.net/keys/www\"", 343},
    {"request kid", "\"https://other.vault.azure.net/keys/www\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net.evil.example/keys/www\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net:444/keys/www\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net/keys/ww\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net/keys/WWW\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net/secrets/www\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net/keys/www/0123456789abcdef0123456789abcdef\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net/keys/www?a\"", 343},
    {"request kid", "\"https://contoso.vault.azure.net:443/keys/www\"", 0},
    {"request kid", "\"https://CONTOSO.vault.azure.net/keys/www/\"", 0},
    {"request enc", NULL, 340},
    {"request enc", "\"CKM_RSA_AES_KEY_WRAP\"", 340},
    {"request enc", "\"RSA_AES_KEY_WRAP_384\"", 340},
    {"request enc", "1", 340},
    {"request nonce", "\"another\"", 343},
    {"request nonce", "\"\"", 343},
    {"request nonce", "null", 340},
    {"request nonce", "[\"the-nonce\"]", 340},
    {"request nonce", NULL, 0}, /* vaults: not confirmed; freshness is the transport key's */
    {"request api-version", NULL, 340},
    {"request api-version", "\"7.3\"", 340},
    {"response", NULL, 340},
    {"response key", NULL, 340},
    {"response key key", NULL, 340},
    {JWK "kid", NULL, 340},
    {JWK "kid", "\"https://other.vault.azure.net/keys/www/0123456789abcdef0123456789abcdef\"", 343},
    {JWK "kid", "\"https://contoso.vault.azure.net/keys/other/0123456789abcdef0123456789abcdef\"", 343},
    {JWK "kid", "\"https://contoso.vault.azure.net/keys/www\"", 343},
    {JWK "kid", "\"https://contoso.vault.azure.net/keys/www/\"", 343},
    {JWK "kid", "\"https://contoso.vault.azure.net/keys/www/a/b\"", 343},
    {JWK "kid", "\"https://contoso.vault.azure.net/keys/www/-\"", 343},
    {JWK "kty", NULL, 340},
    {JWK "kty", "\"EC-HSM\"", 342},
    {JWK "kty", "\"oct-HSM\"", 342},
    {JWK "n", NULL, 342},
    {JWK "n", "\"AQAB\"", 342},
    {JWK "e", "\"Aw\"", 342},
    {JWK "e", NULL, 342},
    {JWK "key_hsm", NULL, 340},
    {JWK "key_hsm", "\"\"", 340},
    {JWK "key_hsm", "\"e30\"", 340},
    {JWK "key_hsm", "\"AAAA\"", 340},
    {JWK "key_hsm", "{}", 340},
    {"response key attributes", NULL, 340},
    {"response key attributes", "[]", 340},
    {ATTRIBUTES "enabled", "false", 333},
    {ATTRIBUTES "enabled", "\"true\"", 333},
    {ATTRIBUTES "enabled", NULL, 333},
    {ATTRIBUTES "nbf", "1900000300", 0},
    {ATTRIBUTES "nbf", "1900000301", 333},
    {ATTRIBUTES "nbf", "\"0\"", 340},
    {ATTRIBUTES "nbf", "null", 0},
    {ATTRIBUTES "exp", "1900000001", 0},
    {ATTRIBUTES "exp", "1900000000", 333},
    {ATTRIBUTES "exp", "true", 340},
};

/* Sets or removes the member at the end of the path; the objects on the way are rebuilt, since reading gives const. */
static void change_member(json *object, const char *path, json *value)
{
	char name[64];
	size_t len = strcspn(path, " ");

	snprintf(name, sizeof(name), "%.*s", (int)len, path);
	if (path[len]) {
		json *inner = json_copy(json_get(object, name));
		change_member(inner, path + len + 1, value);
		json_set(object, name, inner);
	} else if (value) {
		json_set(object, name, value);
	} else {
		json_remove(object, name);
	}
}

static json *json_of(const char *text)
{
	char whole[512];
	auto_json *tree = NULL;

	int len = snprintf(whole, sizeof(whole), "{\"value\":%s}", text);
	MUST_OK(json_parse(whole, (size_t)len, &tree));
	return json_copy(json_get(tree, "value"));
}

static void each_field_changed_alone_is_refused(void **state)
{
	(void)state;
	struct vault_answer answer = answer_for(rsa);

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		const struct change *one = &changes[i];
		auto_json *payload = vault_payload(&answer);
		change_member(payload, one->path, one->value ? json_of(one->value) : NULL);
		int failure = verify_payload(payload);
		if (failure != one->failure)
			fail_msg("%s = %s: SKR-%d: %s", one->path, one->value ? one->value : "(removed)", failure,
			         status_message());
	}
}

/* In pairs, what is refused stays refused. */
static void fields_changed_in_pairs_are_refused(void **state)
{
	(void)state;
	const size_t count = sizeof(changes) / sizeof(changes[0]);
	struct vault_answer answer = answer_for(rsa);

	for (size_t i = 0; i < count; i++) {
		size_t j = (i * 17 + 5) % count;
		if (!changes[i].failure || strncmp(changes[i].path, changes[j].path, strlen(changes[j].path)) == 0 ||
		    strncmp(changes[i].path, changes[j].path, strlen(changes[i].path)) == 0)
			continue;
		auto_json *payload = vault_payload(&answer);
		change_member(payload, changes[i].path, changes[i].value ? json_of(changes[i].value) : NULL);
		change_member(payload, changes[j].path, changes[j].value ? json_of(changes[j].value) : NULL);
		assert_int_not_equal(verify_payload(payload), 0);
	}
}

static void change_key_hsm(json *payload, const char *path, const char *value)
{
	const json *jwk = json_get(json_get(json_get(payload, "response"), "key"), "key");
	auto_buf text = BUF(VAULT_LIMIT);
	json *key_hsm = NULL;
	auto_json *holder = json_object();
	const char *encoded = json_string_or_null(jwk, "key_hsm");

	MUST_OK(base64url_decode(encoded, strlen(encoded), &text));
	MUST_OK(json_parse(text.data, text.len, &key_hsm));
	change_member(key_hsm, path, value ? json_of(value) : NULL);
	set_encoded(holder, "key_hsm", key_hsm);
	json_free(key_hsm);
	change_member(payload, JWK "key_hsm", json_copy(json_get(holder, "key_hsm")));
}

static const struct change key_hsm_changes[] = {
    {"header", NULL, 340},
    {"header kid", NULL, 340},
    {"header kid", "\"another-kid\"", 343},
    {"header alg", "\"RSA-OAEP\"", 340},
    {"header alg", NULL, 340},
    {"header enc", "\"CKM_RSA_AES_KEY_WRAP\"", 340},
    {"header enc", NULL, 340},
    {"schema_version", "\"2.0\"", 340},
    {"schema_version", NULL, 340},
    {"ciphertext", NULL, 340},
    {"ciphertext", "7", 340},
    {"ciphertext", "\"\"", 341},
    {"ciphertext", "\"AAAA\"", 341},
    {"ciphertext", "\"A\"", 341},
    {"ciphertext", "\"not base64\"", 341},
};

static void each_field_of_key_hsm_changed_alone_is_refused(void **state)
{
	(void)state;
	struct vault_answer answer = answer_for(rsa);

	for (size_t i = 0; i < sizeof(key_hsm_changes) / sizeof(key_hsm_changes[0]); i++) {
		const struct change *one = &key_hsm_changes[i];
		auto_json *payload = vault_payload(&answer);
		change_key_hsm(payload, one->path, one->value);
		int failure = verify_payload(payload);
		if (failure != one->failure)
			fail_msg("%s = %s: SKR-%d: %s", one->path, one->value ? one->value : "(removed)", failure,
			         status_message());
	}
}

static void a_wrong_signature_is_refused_before_the_payload_is_looked_at(void **state)
{
	(void)state;
	struct signer stranger;
	struct vault_answer answer = answer_for(rsa);
	auto_json *payload = vault_payload(&answer);
	auto_buf jws = BUF(VAULT_LIMIT);
	struct release_expectation expected = expectation();
	auto_released released = {.config = NULL};

	signer_make(&stranger, VAULT_SAN, NULL);
	change_member(payload, "request nonce", json_of("\"another\"")); /* would be 343 */
	vault_sign(&stranger, payload, &jws);
	assert_int_equal(release_verify(&expected, buf_text(&jws), jws.len, &released).failure, 340);
	assert_non_null(strstr(status_message(), "check 3"));
	signer_done(&stranger);
}

/* A signer of another vault's host: right chain, wrong name. */
static void another_hosts_signer_is_refused(void **state)
{
	(void)state;
	struct signer other;
	struct vault_answer answer = answer_for(rsa);
	auto_json *payload = vault_payload(&answer);
	auto_buf jws = BUF(VAULT_LIMIT);
	auto_released released = {.config = NULL};

	signer_make(&other, "DNS:*.managedhsm.azure.net", &signer);
	struct release_expectation expected = expectation();
	expected.anchors = other.anchors;
	vault_sign(&other, payload, &jws);
	assert_int_equal(release_verify(&expected, buf_text(&jws), jws.len, &released).failure, 340);
	assert_non_null(strstr(status_message(), VAULT_HOST));
	signer_done(&other);
}

static void a_host_with_a_port_is_named_without_it(void **state)
{
	(void)state;
	struct key_config custom = key;
	struct release_expectation expected = expectation();
	struct vault_answer answer = answer_for(rsa);
	auto_json *payload = vault_payload(&answer);
	auto_released released = {.config = NULL}, second = {.config = NULL};

	custom.host = VAULT_HOST ":8443";
	custom.url = "https://" VAULT_HOST ":8443/keys/www";
	expected.key = &custom;
	assert_int_equal(verify_signed(&expected, payload, &released).failure, 343);
	change_member(payload, "request kid", json_of("\"https://" VAULT_HOST ":8443/keys/www\""));
	change_member(payload, JWK "kid", json_of("\"https://" VAULT_HOST ":8443/keys/www/" VAULT_VERSION "\""));
	assert_int_equal(verify_signed(&expected, payload, &second).failure, 0);
}

static void a_pinned_version_must_be_the_one(void **state)
{
	(void)state;
	struct key_config pinned = key;
	struct release_expectation expected = expectation();
	struct vault_answer answer = answer_for(rsa);
	auto_released first = {.config = NULL}, second = {.config = NULL};

	pinned.version = VAULT_VERSION;
	answer.requested = VAULT_VERSION;
	expected.key = &pinned;
	auto_json *payload = vault_payload(&answer);
	assert_int_equal(verify_signed(&expected, payload, &first).failure, 0);
	change_member(payload, JWK "kid",
	              json_of("\"https://" VAULT_HOST "/keys/www/ffffffffffffffffffffffffffffffff\""));
	assert_int_equal(verify_signed(&expected, payload, &second).failure, 343);
}

/* ---- I-12 ---- */

static void a_recorded_answer_fails_in_the_next_login(void **state)
{
	(void)state;
	struct vault_answer answer = answer_for(rsa);
	auto_json *payload = vault_payload(&answer), *quiet = vault_payload(&answer);
	auto_buf jws = BUF(VAULT_LIMIT);
	struct release_expectation expected = expectation();
	auto_released released = {.config = NULL};

	vault_sign(&signer, payload, &jws);
	MUST_OK(release_verify(&expected, buf_text(&jws), jws.len, &released));
	/* the next one: */
	expected.transport = other_transport;
	expected.transport_kid = "another-kid";
	expected.nonce = "another-nonce";
	assert_int_equal(release_verify(&expected, buf_text(&jws), jws.len, &released).failure, 343);
	/* without an echoed nonce, and even if the kid were the same: */
	change_member(quiet, "request nonce", NULL);
	assert_int_equal(verify_signed(&expected, quiet, &released).failure, 343);
	expected.transport_kid = "the-kid";
	assert_int_equal(verify_signed(&expected, quiet, &released).failure, 341);
}

/* ---- K-11, K-12, I-13 ---- */

static void what_is_not_pkcs8_does_not_open_and_says_no_more(void **state)
{
	(void)state;
	auto_buf pkcs8 = BUF(8192), sentence = BUF(640);
	struct vault_answer answer = answer_for(rsa);

	pkcs8_of(rsa, &pkcs8);
	answer.wrapped = pkcs8.data;
	answer.wrapped_len = pkcs8.len;
	assert_int_equal(verify_answer(&answer), 0);

	answer.transport = other_transport; /* the plain case of a blob that does not open */
	assert_int_equal(verify_answer(&answer), 341);
	MUST_OK(buf_append_text(&sentence, status_message()));
	answer.transport = transport;

	const struct {
		size_t from, len;
	} cases[] = {{0, pkcs8.len - 1}, {1, pkcs8.len - 1}, {0, 10}, {0, 1}, {26, pkcs8.len - 26}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		answer.wrapped = pkcs8.data + cases[i].from; /* the last is the RSAPrivateKey inside */
		answer.wrapped_len = cases[i].len;
		assert_int_equal(verify_answer(&answer), 341);
		assert_string_equal(status_message(), buf_text(&sentence));
	}
	MUST_OK(buf_append(&pkcs8, "\0", 1)); /* trailing data */
	answer.wrapped = pkcs8.data;
	answer.wrapped_len = pkcs8.len;
	assert_int_equal(verify_answer(&answer), 341);
	assert_string_equal(status_message(), buf_text(&sentence));
}

static void a_key_that_was_not_announced_is_refused(void **state)
{
	(void)state;
	EVP_PKEY *others[] = {other_rsa, ec, make_rsa(3072)};

	for (size_t i = 0; i < 3; i++) {
		auto_buf pkcs8 = BUF(8192);
		struct vault_answer answer = answer_for(rsa);
		pkcs8_of(others[i], &pkcs8);
		answer.wrapped = pkcs8.data;
		answer.wrapped_len = pkcs8.len;
		assert_int_equal(verify_answer(&answer), 342);
	}
	EVP_PKEY_free(others[2]);
}

/* A copy of a key with one number replaced; libcrypto takes it as it is. */
static EVP_PKEY *with_number(EVP_PKEY *of, const char *type, const char *name, BIGNUM *number)
{
	OSSL_PARAM *params = NULL, *merged, *replaced;
	OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	EVP_PKEY *changed = NULL;
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, type, NULL);

	MUST(EVP_PKEY_todata(of, EVP_PKEY_KEYPAIR, &params));
	MUST(OSSL_PARAM_BLD_push_BN(builder, name, number));
	replaced = OSSL_PARAM_BLD_to_param(builder);
	merged = OSSL_PARAM_merge(params, replaced);
	MUST(EVP_PKEY_fromdata_init(ctx) > 0);
	MUST(EVP_PKEY_fromdata(ctx, &changed, EVP_PKEY_KEYPAIR, merged) > 0);
	OPENSSL_free(merged);
	OSSL_PARAM_free(replaced);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(builder);
	return changed;
}

static int verify_wrapped(EVP_PKEY *announced, EVP_PKEY *wrapped)
{
	auto_buf pkcs8 = BUF(8192);
	struct vault_answer answer = answer_for(announced);

	pkcs8_of(wrapped, &pkcs8);
	answer.wrapped = pkcs8.data;
	answer.wrapped_len = pkcs8.len;
	return verify_answer(&answer);
}

/* The public half is the announced one, but a part is not its: such a key would still sign, wrongly. */
static void a_key_whose_parts_do_not_fit_is_refused(void **state)
{
	(void)state;
	static const char *const rsa_parts[] = {OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_FACTOR1,
	                                        OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
	                                        OSSL_PKEY_PARAM_RSA_COEFFICIENT1};

	for (size_t i = 0; i < sizeof(rsa_parts) / sizeof(rsa_parts[0]); i++) {
		BIGNUM *part = NULL;
		MUST(EVP_PKEY_get_bn_param(rsa, rsa_parts[i], &part));
		BN_add_word(part, 2);
		auto_pkey *broken = with_number(rsa, "RSA", rsa_parts[i], part);
		BN_free(part);
		int failure = verify_wrapped(rsa, broken);
		if (failure != 342)
			fail_msg("%s: SKR-%d", rsa_parts[i], failure);
	}

	auto_pkey *other = make_ec("P-256");
	BIGNUM *d = NULL;
	MUST(EVP_PKEY_get_bn_param(other, OSSL_PKEY_PARAM_PRIV_KEY, &d));
	auto_pkey *mixed = with_number(ec, "EC", OSSL_PKEY_PARAM_PRIV_KEY, d);
	BN_free(d);
	assert_int_equal(verify_wrapped(ec, mixed), 342);
}

static void the_pin_decides(void **state)
{
	(void)state;
	struct key_config pinned = key;
	struct release_expectation expected = expectation();
	struct vault_answer answer = answer_for(rsa), oct = answer_for(NULL);
	auto_json *payload = vault_payload(&answer);
	auto_released released = {.config = NULL}, refused = {.config = NULL};
	unsigned char *der = NULL;

	expected.key = &pinned;
	pinned.pinned = true;
	int len = i2d_PUBKEY(rsa, &der);
	MUST_OK(sha256(der, (size_t)len, pinned.public_key_sha256));
	OPENSSL_free(der);
	assert_int_equal(verify_signed(&expected, payload, &released).failure, 0);
	assert_memory_equal(released.public_key_sha256, pinned.public_key_sha256, 32);

	pinned.public_key_sha256[31] ^= 1;
	assert_int_equal(verify_signed(&expected, payload, &refused).failure, 342);
	assert_null(refused.key);

	oct.wrapped = "0123456789abcdef";
	oct.wrapped_len = 16;
	auto_json *symmetric = vault_payload(&oct);
	assert_int_equal(verify_signed(&expected, symmetric, &refused).failure, 342);
	assert_null(refused.secret.data);
}

static void operations_are_those_of_the_signed_payload(void **state)
{
	(void)state;
	struct vault_answer answer = answer_for(rsa);
	struct release_expectation expected = expectation();
	auto_json *payload = vault_payload(&answer);
	auto_released some = {.config = NULL};

	change_member(payload, JWK "key_ops", json_of("[\"decrypt\",\"unknown\"]"));
	assert_int_equal(verify_signed(&expected, payload, &some).failure, 0);
	assert_int_equal(some.ops, KEY_OP_DECRYPT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_good_answer_gives_the_key),
	    cmocka_unit_test(kty_is_taken_with_and_without_hsm),
	    cmocka_unit_test(symmetric_keys_come_as_bytes),
	    cmocka_unit_test(each_field_changed_alone_is_refused),
	    cmocka_unit_test(fields_changed_in_pairs_are_refused),
	    cmocka_unit_test(each_field_of_key_hsm_changed_alone_is_refused),
	    cmocka_unit_test(a_wrong_signature_is_refused_before_the_payload_is_looked_at),
	    cmocka_unit_test(another_hosts_signer_is_refused),
	    cmocka_unit_test(a_host_with_a_port_is_named_without_it),
	    cmocka_unit_test(a_pinned_version_must_be_the_one),
	    cmocka_unit_test(a_recorded_answer_fails_in_the_next_login),
	    cmocka_unit_test(what_is_not_pkcs8_does_not_open_and_says_no_more),
	    cmocka_unit_test(a_key_that_was_not_announced_is_refused),
	    cmocka_unit_test(a_key_whose_parts_do_not_fit_is_refused),
	    cmocka_unit_test(the_pin_decides),
	    cmocka_unit_test(operations_are_those_of_the_signed_payload),
	};
	return cmocka_run_group_tests(tests, make_all, free_all);
}
