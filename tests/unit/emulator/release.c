/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/jws.h"
#include "jose/keywrap.h"
#include "unit/emulator/client.h"

/* Which key of an attestation token the vault wraps to: the first of the top-level x-ms-runtime that is for encryption,
 * as the real one; so that of a paravisor's endorsement key, which no guest can use. */

#define ANY_AZURE_GUEST                                                                \
	"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" ISSUER "\",\"allOf\":[{" \
	"\"claim\":\"x-ms-ver\",\"equals\":\"1.0\"}]}]}"

static int open_with_key(void **state)
{
	auto_buf data = BUF(4096), body = BUF(4096);
	if (open_emulator(state))
		return -1;
	assert_ok(base64url_encode(ANY_AZURE_GUEST, strlen(ANY_AZURE_GUEST), &data));
	assert_ok(buf_printf(
	    &body, "{\"kty\":\"RSA-HSM\",\"attributes\":{\"exportable\":true},\"release_policy\":{\"data\":\"%s\"}}",
	    buf_text(&data)));
	auto_call *call = ask("POST", VAULT, "/keys/mine/create?api-version=7.4", vault_token, buf_text(&body));
	assert_status(call, 200);
	return 0;
}

static struct call *release(const char *token)
{
	auto_buf body = BUF(64 * 1024);
	assert_ok(buf_printf(&body, "{\"target\":\"%s\"}", token));
	return ask("POST", VAULT, "/keys/mine/release?api-version=7.4", vault_token, buf_text(&body));
}

/* The key under `kid`, for `purpose`; NULL: it says nothing of it. */
static json *jwk_for(EVP_PKEY *key, const char *kid, const char *purpose)
{
	json *jwk = NULL, *ops = json_array();
	assert_ok(jwk_from_key(key, &jwk));
	json_set_string(jwk, "kid", kid);
	if (purpose)
		json_push(ops, json_of_string(purpose));
	json_set(jwk, "key_ops", ops);
	return jwk;
}

/* The runtime claims of a paravisor: a key that signs, and the endorsement key. */
static json *paravisor_claims(EVP_PKEY *signing, const char *signing_purpose)
{
	json *claims = json_object(), *keys = json_array();
	json_push(keys, jwk_for(signing, "HCLAkPub", signing_purpose));
	json_push(keys, jwk_for(transport_key, "HCLEkPub", "encrypt"));
	json_set(claims, "keys", keys);
	json_set(claims, "vm-configuration", json_object());
	return claims;
}

static char *attest_claims(const json *claims)
{
	auto_buf runtime = BUF(16 * 1024), body = BUF(256 * 1024);
	assert_ok(json_print(claims, &runtime));
	evidence(&runtime, &body);
	auto_call *call = ask("POST", MAA_HOST, "/attest/SevSnpVm?api-version=2022-08-01", NULL, buf_text(&body));
	assert_status(call, 200);
	auto_json *answer = answer_of(call);
	char *token = strdup(json_string_or_null(answer, "token"));
	assert_non_null(token);
	return token;
}

/* The kid of the released key's envelope, and whether `key` opens it. */
static void assert_wrapped_to(const struct call *call, const char *kid, EVP_PKEY *key)
{
	auto_jws jws = {0};
	auto_buf text = BUF(64 * 1024), wrapped = BUF(32 * 1024), opened = BUF(32 * 1024);
	auto_json *key_hsm = NULL;
	assert_status(call, 200);
	auto_json *body = answer_of(call);
	const char *value = json_string_or_null(body, "value");
	assert_ok(jws_parse(value, strlen(value), &jws));
	assert_ok(jws_payload(&jws));
	const json *released = json_get(json_get(json_get(jws.payload, "response"), "key"), "key");
	const char *encoded = json_string_or_null(released, "key_hsm");
	assert_ok(base64url_decode(encoded, strlen(encoded), &text));
	assert_ok(json_parse(text.data, text.len, &key_hsm));
	assert_string_equal(json_string_or_null(json_get(key_hsm, "header"), "kid"), kid);
	const char *ciphertext = json_string_or_null(key_hsm, "ciphertext");
	assert_ok(base64url_decode(ciphertext, strlen(ciphertext), &wrapped));
	assert_ok(keywrap_open("CKM_RSA_AES_KEY_WRAP", key, wrapped.data, wrapped.len, &opened));
}

static void a_direct_token_gets_a_key_for_the_endorsement_key(void **state)
{
	(void)state;
	auto_pkey *ak = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	auto_json *claims = paravisor_claims(ak, "sign");
	auto_text *token = attest_claims(claims);
	auto_call *call = release(token);
	assert_wrapped_to(call, "HCLEkPub", transport_key);
}

/* The machines of 2022 said "encrypt" of their signing key. */
static void the_first_key_for_encryption_is_taken(void **state)
{
	(void)state;
	auto_pkey *ak = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	auto_json *claims = paravisor_claims(ak, "encrypt");
	auto_text *token = attest_claims(claims);
	auto_call *call = release(token);
	assert_wrapped_to(call, "HCLAkPub", ak);
}

static void assert_no_suitable_key(const char *token)
{
	auto_call *call = release(token);
	assert_error(call, 403, "Forbidden", "Target environment attestation statement cannot be verified.");
}

static void without_a_key_for_encryption_nothing_is_released(void **state)
{
	(void)state;
	auto_json *signing = json_object(), *silent = json_object(), *none = json_object();
	json *first = json_array(), *second = json_array();
	json_push(first, jwk_for(transport_key, "HCLAkPub", "sign"));
	json_push(second, jwk_for(transport_key, "HCLAkPub", NULL));
	json_set(signing, "keys", first);
	json_set(silent, "keys", second);
	json_set(none, "vm-configuration", json_object());
	const json *const rows[] = {signing, silent, none};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_text *token = attest_claims(rows[i]);
		assert_no_suitable_key(token);
	}
}

/* A token as AzureGuest's, but without keys at the top: those of x-ms-isolation-tee do not count. */
static void nested_keys_do_not_count(void **state)
{
	(void)state;
	auto_pkey *signer = NULL;
	auto_buf text = BUF(64 * 1024), nested = BUF(64 * 1024), both = BUF(64 * 1024);
	auto_json *claims = paravisor_claims(transport_key, "sign");
	auto_text *token = attest_claims(claims);
	auto_jws jws = {0};
	assert_ok(jws_parse(token, strlen(token), &jws));
	assert_ok(jws_payload(&jws));
	assert_ok(emulator_key(&emulator, "maa-sharedemu.attest.localhost-1.key", 2048, NULL, &signer));
	json *tee = json_object(), *top = json_object(), *keys = json_array();
	json_set(tee, "x-ms-runtime", json_copy(json_get(jws.payload, "x-ms-runtime")));
	json_set(jws.payload, "x-ms-isolation-tee", tee);
	json_remove(jws.payload, "x-ms-runtime");
	assert_ok(json_print(jws.payload, &text));
	assert_ok(jws_sign(jws.header, text.data, text.len, signer, &nested));
	assert_no_suitable_key(buf_text(&nested));

	json_push(keys, jwk_for(transport_key, "TpmEphemeralEncryptionKey", "encrypt"));
	json_set(top, "keys", keys);
	json_set(jws.payload, "x-ms-runtime", top);
	buf_clear(&text);
	assert_ok(json_print(jws.payload, &text));
	assert_ok(jws_sign(jws.header, text.data, text.len, signer, &both));
	auto_call *call = release(buf_text(&both));
	assert_wrapped_to(call, "TpmEphemeralEncryptionKey", transport_key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_direct_token_gets_a_key_for_the_endorsement_key),
	    cmocka_unit_test(the_first_key_for_encryption_is_taken),
	    cmocka_unit_test(without_a_key_for_encryption_nothing_is_released),
	    cmocka_unit_test(nested_keys_do_not_count),
	};
	return cmocka_run_group_tests(tests, open_with_key, close_emulator);
}
