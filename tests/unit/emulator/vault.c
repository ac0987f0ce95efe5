/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/jws.h"
#include "jose/keywrap.h"
#include "unit/emulator/client.h"

static const char policy_text[] =
    "{\"anyOf\":[{\"authority\":\"" ISSUER "/\",\"allOf\":[{\"claim\":\"x-ms-attestation-type\","
    "\"equals\":\"sevsnpvm\"}]}],\"version\":\"1.0.0\"}";
static const char strict_policy[] =
    "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" ISSUER "\",\"allOf\":[{\"claim\":"
    "\"x-ms-sevsnpvm-hostdata\",\"equals\":\"00\"}]}]}";

static bool is_hsm(const char *host)
{
	return strcmp(host, HSM) == 0;
}

static struct call *vault_ask(const char *method, const char *host, const char *target, const char *body)
{
	return ask(method, host, target, is_hsm(host) ? hsm_token : vault_token, body);
}

/* Creates a key; `extra` are more members, with a comma in front. */
static struct call *create(const char *host, const char *name, const char *kty, const char *policy, const char *extra)
{
	auto_buf body = BUF(64 * 1024), data = BUF(64 * 1024), target = BUF(256);

	assert_ok(buf_printf(&body, "{\"kty\":\"%s\"%s", kty, extra));
	if (policy) {
		assert_ok(base64url_encode(policy, strlen(policy), &data));
		assert_ok(buf_printf(&body,
		                     ",\"attributes\":{\"exportable\":true},\"release_policy\":{\"data\":\"%s\"}",
		                     buf_text(&data)));
	}
	assert_ok(buf_append(&body, "}", 1));
	assert_ok(buf_printf(&target, "/keys/%s/create?api%%2Dversion=7.4", name));
	return vault_ask("POST", host, buf_text(&target), buf_text(&body));
}

static struct call *release(const char *host, const char *target, const char *token, const char *extra)
{
	auto_buf body = BUF(64 * 1024);

	assert_ok(buf_printf(&body, "{\"target\":\"%s\"%s}", token, extra));
	return vault_ask("POST", host, target, buf_text(&body));
}

static void without_a_token_there_is_a_challenge_whatever_is_asked(void **state)
{
	(void)state;
	static const char *const targets[] = {"/keys/a/create?api-version=7.4", "/keys/a//release", "/keys/a/release?x",
	                                      "/nothing/here"};

	for (int i = 0; i < 4; i++) {
		auto_call *call = ask("POST", VAULT, targets[i], NULL, NULL),
		          *hsm = ask("POST", HSM, targets[i], NULL, NULL);
		assert_error(call, 401, "Unauthorized", "AKV10000");
		assert_string_equal(call->exchange.reply_headers.items[0].name, "WWW-Authenticate");
		char wanted[256];
		snprintf(
		    wanted, sizeof(wanted),
		    "Bearer authorization=\"https://login.localhost:4711/%s\", resource=\"https://vault.localhost\"",
		    emulator.tenant);
		assert_string_equal(call->exchange.reply_headers.items[0].value, wanted);
		assert_status(hsm, 401);
		assert_int_equal(hsm->exchange.reply.len, 0);
	}
}

static void tokens_of_others_for_others_or_expired_are_refused(void **state)
{
	(void)state;
	auto_call *wrong = ask("GET", VAULT, "/keys?api-version=7.4", hsm_token, NULL);
	assert_error(wrong, 401, "Unauthorized", "AKV10022");

	char forged[8192];
	strcpy(forged, vault_token);
	char *signature = strrchr(forged, '.') + 1;
	signature[20] = signature[20] == 'A' ? 'B' : 'A';
	auto_call *tampered = ask("GET", VAULT, "/keys?api-version=7.4", forged, NULL);
	assert_error(tampered, 401, "Unauthorized", "AKV10032");

	atomic_store(&emulator.clock_offset, 90000);
	auto_call *late = ask("GET", VAULT, "/keys?api-version=7.4", vault_token, NULL);
	atomic_store(&emulator.clock_offset, 0);
	assert_error(late, 401, "Unauthorized", "expired");
}

static void a_key_is_found_with_trailing_and_double_slashes(void **state)
{
	(void)state;
	static const char *const targets[] = {"/keys/slashes/?api%2Dversion=7.4", "/keys//slashes?api-version=7.4",
	                                      "/KEYS/Slashes?api-version=7.4"};
	auto_call *made = create(VAULT, "slashes", "EC-HSM", NULL, ",\"crv\":\"P-384\"");
	assert_status(made, 200);
	for (int i = 0; i < 3; i++) {
		auto_call *call = vault_ask("GET", VAULT, targets[i], NULL);
		assert_status(call, 200);
	}
	auto_call *no_version = vault_ask("GET", VAULT, "/keys/slashes", NULL);
	assert_error(no_version, 400, "MissingApiVersionParameter", "api-version");
	auto_call *unknown = vault_ask("GET", VAULT, "/keys/none?api-version=7.4", NULL);
	assert_error(unknown, 404, "KeyNotFound", "none");
}

static void exportable_keys_have_policies_and_policies_exportable_keys(void **state)
{
	(void)state;
	auto_call *no_policy = create(VAULT, "r1", "RSA-HSM", NULL, ",\"attributes\":{\"exportable\":true}");
	assert_error(no_policy, 400, "BadParameter", "AKV.SKR.1004");
	auto_call *not_exportable = create(VAULT, "r2", "RSA-HSM", NULL, ",\"release_policy\":{\"data\":\"e30\"}");
	assert_error(not_exportable, 400, "BadParameter", "AKV.SKR.1005");
	auto_call *software = create(VAULT, "r3", "EC", policy_text, "");
	assert_error(software, 400, "BadParameter", "AKV.SKR.1006");
	auto_call *no_version = create(HSM, "r4", "EC-HSM", "{\"anyOf\":[]}", "");
	assert_error(no_version, 400, "BadParameter", "missing 'version' property (Activity ID: ");
	auto_call *oct = create(VAULT, "r5", "oct-HSM", policy_text, "");
	assert_error(oct, 400, "BadParameter", "kty");
	auto_call *size = create(VAULT, "r6", "RSA-HSM", policy_text, ",\"key_size\":1024");
	assert_error(size, 400, "BadParameter", "key_size");
	auto_call *curve = create(VAULT, "r7", "EC-HSM", policy_text, ",\"crv\":\"P-192\"");
	assert_error(curve, 400, "BadParameter", "crv");
	auto_call *name = create(VAULT, "r_8", "EC-HSM", policy_text, "");
	assert_error(name, 400, "BadParameter", "r_8");
}

static void the_stored_policy_says_the_same_with_its_version_first(void **state)
{
	(void)state;
	auto_call *made = create(VAULT, "policy", "EC-HSM", policy_text, "");
	assert_status(made, 200);
	auto_json *body = answer_of(made);
	const json *stored = json_get(body, "release_policy");
	auto_buf text = BUF(4096);
	const char *data = json_string_or_null(stored, "data");
	assert_ok(base64url_decode(data, strlen(data), &text));
	assert_non_null(strstr(buf_text(&text), "{\"version\":\"1.0.0\",\"anyOf\""));
	assert_string_equal(json_string_or_null(stored, "contentType"), "application/json; charset=utf-8");
}

static void policies_change_on_the_versionless_key_unless_immutable(void **state)
{
	(void)state;
	auto_call *made = create(VAULT, "patch", "EC-HSM", policy_text, "");
	assert_status(made, 200);
	auto_call *state_change =
	    vault_ask("PATCH", VAULT, "/keys/patch/?api-version=7.4", "{\"attributes\":{\"exportable\":false}}");
	assert_error(state_change, 400, "BadParameter", "AKV.SKR.1014");

	auto_buf data = BUF(4096), body = BUF(8192), target = BUF(256);
	assert_ok(base64url_encode(strict_policy, strlen(strict_policy), &data));
	assert_ok(buf_printf(&body, "{\"release_policy\":{\"data\":\"%s\",\"immutable\":true}}", buf_text(&data)));
	auto_json *bundle = answer_of(made);
	const char *kid = json_string_or_null(json_get(bundle, "key"), "kid");
	assert_ok(buf_printf(&target, "/keys/patch/%s?api-version=7.4", strrchr(kid, '/') + 1));
	auto_call *versioned = vault_ask("PATCH", VAULT, buf_text(&target), buf_text(&body));
	assert_error(versioned, 400, "BadParameter", "AKV.SKR.1016");
	auto_call *changed = vault_ask("PATCH", VAULT, "/keys/patch?api-version=7.4", buf_text(&body));
	assert_status(changed, 200);
	auto_call *again = vault_ask("PATCH", VAULT, "/keys/patch?api-version=7.4", buf_text(&body));
	assert_error(again, 400, "BadParameter", "AKV.SKR.1020");
}

static void versions_are_listed_in_pages(void **state)
{
	(void)state;
	auto_call *made = create(VAULT, "pages", "EC-HSM", policy_text, "");
	assert_status(made, 200);
	for (int i = 0; i < 2; i++) {
		auto_call *call = vault_ask("POST", VAULT, "/keys/pages/rotate?api-version=7.4", NULL);
		assert_status(call, 200);
	}
	char target[512] = "/keys/pages/versions?api-version=7.4&maxresults=2";
	for (int page = 0; page < 2; page++) {
		auto_call *call = vault_ask("GET", VAULT, target, NULL);
		assert_status(call, 200);
		auto_json *body = answer_of(call);
		assert_int_equal(json_count(json_get(body, "value")), page == 0 ? 2 : 1);
		const char *next = json_string_or_null(body, "nextLink");
		assert_true((page == 0) == (next != NULL));
		if (next)
			snprintf(target, sizeof(target), "%s", strstr(next, "/keys/"));
	}
}

static void deleted_keys_can_be_recovered_or_purged_and_block_their_name(void **state)
{
	(void)state;
	auto_call *made = create(VAULT, "gone", "EC-HSM", NULL, "");
	assert_status(made, 200);
	auto_call *deleted = vault_ask("DELETE", VAULT, "/keys/gone?api-version=7.4", NULL);
	assert_status(deleted, 200);
	auto_call *got = vault_ask("GET", VAULT, "/keys/gone?api-version=7.4", NULL);
	assert_error(got, 404, "KeyNotFound", "gone");
	auto_call *blocked = create(VAULT, "gone", "EC-HSM", NULL, "");
	assert_error(blocked, 409, "Conflict", "gone");
	auto_call *recovered = vault_ask("POST", VAULT, "/deletedkeys/gone/recover?api-version=7.4", NULL);
	assert_status(recovered, 200);
	auto_call *live = vault_ask("GET", VAULT, "/keys/gone?api-version=7.4", NULL);
	assert_status(live, 200);
	auto_call *again = vault_ask("DELETE", VAULT, "/keys/gone?api-version=7.4", NULL);
	assert_status(again, 200);
	auto_call *purged = vault_ask("DELETE", VAULT, "/deletedkeys/gone?api-version=7.4", NULL);
	assert_status(purged, 204);
	auto_call *never = vault_ask("GET", VAULT, "/deletedkeys/gone?api-version=7.4", NULL);
	assert_error(never, 404, "KeyNotFound", "Deleted Key not found");
}

/* ---- release ---- */

static void open_release(const struct call *call, const char *host, struct jws *jws, const json **ret_key)
{
	const struct credential *signer;
	char name[64];

	assert_status(call, 200);
	auto_json *body = answer_of(call);
	const char *value = json_string_or_null(body, "value");
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(host, ":"), host);
	assert_ok(authority_release(&emulator, name, LEAF_GOOD, &signer));
	assert_ok(jws_parse(value, strlen(value), jws));
	assert_ok(jws_verify_with_key(jws, signer->key));
	assert_ok(jws_payload(jws));
	*ret_key = json_get(json_get(json_get(jws->payload, "response"), "key"), "key");
	assert_non_null(*ret_key);
}

static void unwrap(const json *key, const char *enc, struct buf *out)
{
	auto_buf text = BUF(64 * 1024), wrapped = BUF(32 * 1024);
	auto_json *key_hsm = NULL;
	const char *encoded = json_string_or_null(key, "key_hsm");

	assert_ok(base64url_decode(encoded, strlen(encoded), &text));
	assert_ok(json_parse(text.data, text.len, &key_hsm));
	assert_string_equal(json_string_or_null(json_get(key_hsm, "header"), "enc"), enc);
	assert_string_equal(json_string_or_null(json_get(key_hsm, "header"), "kid"), "transport");
	const char *ciphertext = json_string_or_null(key_hsm, "ciphertext");
	assert_ok(base64url_decode(ciphertext, strlen(ciphertext), &wrapped));
	assert_ok(keywrap_open(enc, transport_key, wrapped.data, wrapped.len, out));
}

static void every_kind_of_key_is_released_under_every_enc(void **state)
{
	(void)state;
	static const struct {
		const char *host, *kty, *extra;
	} kinds[] = {
	    {VAULT, "RSA-HSM", ",\"key_size\":2048"}, {VAULT, "EC-HSM", ",\"crv\":\"P-256\""},
	    {VAULT, "EC-HSM", ",\"crv\":\"P-521\""},  {VAULT, "EC-HSM", ",\"crv\":\"P-256K\""},
	    {HSM, "EC-HSM", ",\"crv\":\"P-384\""},    {HSM, "oct-HSM", ",\"key_size\":192"},
	};
	static const char *const encs[] = {"CKM_RSA_AES_KEY_WRAP", "RSA_AES_KEY_WRAP_256", "RSA_AES_KEY_WRAP_384"};
	auto_text *token = attest("transport");

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		char name[16], target[64], extra[128];
		snprintf(name, sizeof(name), "kind%zu", i);
		snprintf(target, sizeof(target), "/keys/%s//release?api-version=7.4", name);
		auto_call *made = create(kinds[i].host, name, kinds[i].kty, policy_text, kinds[i].extra);
		assert_status(made, 200);
		for (int n = 0; n < 3; n++) {
			auto_jws jws = {0};
			auto_buf bytes = BUF(16 * 1024);
			const json *key;
			snprintf(extra, sizeof(extra), ",\"enc\":\"%s\",\"nonce\":\"n-%d\"", encs[n], n);
			auto_call *call = release(kinds[i].host, target, token, n ? extra : "");
			open_release(call, kinds[i].host, &jws, &key);
			unwrap(key, encs[n], &bytes);
			const char *nonce = json_string_or_null(json_get(jws.payload, "request"), "nonce");
			assert_true(n ? nonce && strncmp(nonce, "n-", 2) == 0 && nonce[2] == '0' + n : nonce == NULL);
			if (strcmp(kinds[i].kty, "oct-HSM") == 0) {
				assert_int_equal(bytes.len, 24);
				continue;
			}
			const uint8_t *der = bytes.data;
			auto_pkey *private = d2i_AutoPrivateKey_ex(NULL, &der, (long)bytes.len, ossl, NULL);
			auto_pkey *public = NULL;
			assert_ok(jwk_public_key(key, &public));
			assert_non_null(private);
			assert_int_equal(EVP_PKEY_eq(private, public), 1);
		}
	}
}

static void vaults_and_managed_hsms_write_different_jws(void **state)
{
	(void)state;
	auto_text *token = attest("transport");
	auto_call *in_vault = create(VAULT, "dialect", "RSA-HSM", policy_text, ""),
	          *in_hsm = create(HSM, "dialect", "EC-HSM", policy_text, "");
	assert_status(in_vault, 200);
	assert_status(in_hsm, 200);
	auto_call *vault = release(VAULT, "/keys/dialect/release?api-version=7.4", token, "");
	auto_call *hsm = release(HSM, "/keys/dialect/release?api-version=7.4", token, "");
	auto_jws v = {0}, h = {0};
	const json *v_key, *h_key;
	open_release(vault, VAULT, &v, &v_key);
	open_release(hsm, HSM, &h, &h_key);

	assert_string_equal(json_string_or_null(v.header, "typ"), "JWT");
	assert_int_equal(strlen(json_string_or_null(v.header, "kid")), 40);
	assert_string_equal(json_string_or_null(v_key, "e"), "AAEAAQ");
	assert_string_equal(json_name(json_first(v_key)), "kid");
	assert_string_equal(json_string_or_null(json_get(v.payload, "request"), "kid"),
	                    "https://" VAULT "/keys/dialect");

	assert_null(json_get(h.header, "typ"));
	assert_null(json_get(h.header, "x5t"));
	assert_string_equal(json_string_or_null(h.header, "kid"), json_string_or_null(h.header, "x5t#S256"));
	assert_string_equal(json_name(json_first(h_key)), "crv");
	assert_int_equal(json_count(json_get(v.header, "x5c")), 3);
	assert_int_equal(json_count(json_get(h.header, "x5c")), 3);
}

static void a_refused_release_says_which_rule(void **state)
{
	(void)state;
	auto_text *token = attest("transport"), *nameless = attest(NULL);
	auto_call *made = create(VAULT, "rules", "EC-HSM", strict_policy, ""),
	          *open = create(VAULT, "open", "EC-HSM", policy_text, "");
	auto_call *plain = create(VAULT, "plain", "EC-HSM", NULL, "");
	assert_status(made, 200);
	assert_status(open, 200);
	assert_status(plain, 200);
#define REFUSED(status_, code_, words_, ...)                 \
	do {                                                 \
		auto_call *call_ = release(__VA_ARGS__);     \
		assert_error(call_, status_, code_, words_); \
	} while (0)
	REFUSED(403, "Forbidden", "does not meet key release policy", VAULT, "/keys/rules/release?api-version=7.4",
	        token, "");
	REFUSED(403, "Forbidden", "cannot be verified", VAULT, "/keys/open/release?api-version=7.4", "a.b.c", "");
	REFUSED(403, "Forbidden", "cannot be verified", VAULT, "/keys/open/release?api-version=7.4", nameless, "");
	REFUSED(400, "BadParameter", "enc", VAULT, "/keys/open/release?api-version=7.4", token,
	        ",\"enc\":\"RSA-OAEP\"");
	REFUSED(400, "BadParameter", "not exportable", VAULT, "/keys/plain/release?api-version=7.4", token, "");
	REFUSED(404, "KeyNotFound", "missing", VAULT, "/keys/missing/release?api-version=7.4", token, "");
	REFUSED(404, "KeyNotFound", "open", VAULT,
	        "/keys/open/00112233445566778899aabbccddeeff/release?api-version=7.4", token, "");
	auto_call *no_target = vault_ask("POST", VAULT, "/keys/open/release?api-version=7.4", "{}");
	assert_error(no_target, 400, "BadParameter", "target");

	auto_call *off =
	    vault_ask("PATCH", VAULT, "/keys/open?api-version=7.4", "{\"attributes\":{\"enabled\":false}}");
	assert_status(off, 200);
	REFUSED(403, "Forbidden", "disabled", VAULT, "/keys/open/release?api-version=7.4", token, "");
	auto_call *future = vault_ask("PATCH", VAULT, "/keys/open?api-version=7.4",
	                              "{\"attributes\":{\"enabled\":true,\"nbf\":4102444800}}");
	assert_status(future, 200);
	REFUSED(403, "Forbidden", "not yet valid", VAULT, "/keys/open/release?api-version=7.4", token, "");
	auto_call *past =
	    vault_ask("PATCH", VAULT, "/keys/open?api-version=7.4", "{\"attributes\":{\"nbf\":null,\"exp\":1}}");
	assert_status(past, 200);
	REFUSED(403, "Forbidden", "expired", VAULT, "/keys/open/release?api-version=7.4", token, "");
	auto_call *fine = vault_ask("PATCH", VAULT, "/keys/open?api-version=7.4", "{\"attributes\":{\"exp\":null}}");
	assert_status(fine, 200);

	entra_find(&emulator, "user")->may_release = false;
	REFUSED(403, "Forbidden", "Microsoft.KeyVault/vaults/keys/release/action", VAULT,
	        "/keys/open/release?api-version=7.4", token, "");
	entra_find(&emulator, "user")->may_release = true;
	atomic_store(&emulator.clock_offset, 3600 * 9);
	char later[8192];
	issue_token("https://vault.localhost", "user", later, sizeof(later));
	auto_buf body = BUF(64 * 1024);
	assert_ok(buf_printf(&body, "{\"target\":\"%s\"}", token));
	auto_call *expired = ask("POST", VAULT, "/keys/open/release?api-version=7.4", later, buf_text(&body));
	atomic_store(&emulator.clock_offset, 0);
	assert_error(expired, 403, "Forbidden", "cannot be verified");
	auto_call *granted = release(VAULT, "/keys/open/release?api-version=7.4", token, "");
	assert_status(granted, 200);
#undef REFUSED
}

static void imported_keys_come_back_and_managed_hsm_keeps_their_type(void **state)
{
	(void)state;
	auto_text *token = attest("transport");
	auto_pkey *own = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	json *jwk = NULL, *policy = json_object(), *attributes = json_object();
	auto_json *body = json_object();
	auto_buf text = BUF(64 * 1024);

	assert_ok(jwk_from_key(own, &jwk));
	assert_ok(jwk_add_private(jwk, own));
	json_set(jwk, "key_ops", json_array());
	json_set(body, "key", jwk);
	json_set_bool(body, "hsm", true);
	json_set_bool(attributes, "exportable", true);
	json_set(body, "attributes", attributes);
	set_base64url(policy, "data", policy_text, strlen(policy_text));
	json_set(body, "release_policy", policy);
	assert_ok(json_print(body, &text));
	static const char *const hosts[] = {VAULT, HSM}, *const released[] = {"RSA-HSM", "RSA"};
	for (int i = 0; i < 2; i++) {
		auto_call *put = vault_ask("PUT", hosts[i], "/keys/mine?api-version=7.4", buf_text(&text));
		assert_status(put, 200);
		auto_json *bundle = answer_of(put);
		assert_string_equal(json_string_or_null(json_get(bundle, "key"), "kty"), "RSA-HSM");
		assert_true(json_count(json_get(json_get(bundle, "key"), "key_ops")) > 0);
		assert_null(json_get(json_get(bundle, "key"), "d"));
		auto_call *call =
		    release(hosts[i], "/keys/mine/release?api-version=7.4", token, ",\"enc\":\"RSA_AES_KEY_WRAP_256\"");
		auto_jws jws = {0};
		auto_buf bytes = BUF(16 * 1024);
		const json *key;
		open_release(call, hosts[i], &jws, &key);
		assert_string_equal(json_string_or_null(key, "kty"), released[i]);
		unwrap(key, "RSA_AES_KEY_WRAP_256", &bytes);
		const uint8_t *der = bytes.data;
		auto_pkey *back = d2i_AutoPrivateKey_ex(NULL, &der, (long)bytes.len, ossl, NULL);
		assert_int_equal(EVP_PKEY_eq(own, back), 1);
	}
	auto_call *large =
	    vault_ask("PUT", HSM, "/keys/large?api-version=7.4",
	              "{\"key\":{\"kty\":\"oct-HSM\",\"k\":"
	              "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}");
	assert_error(large, 400, "BadParameter", "maximum size is 64 (Activity ID: ");
}

/* ---- faults inside the answer: K-10, K-11, K-15 ---- */

static void mutations_are_signed_again_and_raw_ones_are_not(void **state)
{
	(void)state;
	auto_text *token = attest("transport");
	auto_call *made = create(VAULT, "mutant", "EC-HSM", policy_text, "");
	assert_status(made, 200);
	const struct credential *signer;
	assert_ok(authority_release(&emulator, "contoso.vault.localhost", LEAF_GOOD, &signer));

	assert_ok(faults_add(
	    &emulator, "akv.release[1] mutate(jws.payload.request.nonce,other) mutate(key_hsm.header.kid,stranger)\n"
	               "akv.release[2] mutate(jws.raw.signature,flip)\n"
	               "akv.release[3] mutate(jws.header.alg,none)\n"
	               "akv.release[4] mutate(value)\n"));
	auto_jws mutated = {0}, broken = {0}, unsigned_ = {0};
	const json *key;
	auto_call *first = release(VAULT, "/keys/mutant/release?api-version=7.4", token, ",\"nonce\":\"mine\"");
	open_release(first, VAULT, &mutated, &key);
	assert_string_equal(json_string_or_null(json_get(mutated.payload, "request"), "nonce"), "other");

	auto_call *second = release(VAULT, "/keys/mutant/release?api-version=7.4", token, "");
	auto_json *body = answer_of(second);
	const char *value = json_string_or_null(body, "value");
	assert_ok(jws_parse(value, strlen(value), &broken));
	assert_int_equal(jws_verify_with_key(&broken, signer->key).failure, 340);

	auto_call *third = release(VAULT, "/keys/mutant/release?api-version=7.4", token, "");
	auto_json *none = answer_of(third);
	value = json_string_or_null(none, "value");
	assert_ok(jws_parse(value, strlen(value), &unsigned_));
	assert_string_equal(json_string_or_null(unsigned_.header, "alg"), "none");

	auto_call *fourth = release(VAULT, "/keys/mutant/release?api-version=7.4", token, "");
	assert_string_equal(buf_text(&fourth->exchange.reply), "{}");
	faults_clear(&emulator);
}

static void a_replayed_answer_is_that_of_the_request_before(void **state)
{
	(void)state;
	auto_text *token = attest("transport");
	auto_call *made = create(VAULT, "replay", "EC-HSM", policy_text, "");
	assert_status(made, 200);
	assert_ok(faults_add(&emulator, "akv.release replay"));
	for (int i = 0; i < 2; i++) {
		char extra[32];
		snprintf(extra, sizeof(extra), ",\"nonce\":\"%d\"", i);
		auto_call *call = release(VAULT, "/keys/replay/release?api-version=7.4", token, extra);
		auto_jws jws = {0};
		const json *key;
		open_release(call, VAULT, &jws, &key);
		assert_string_equal(json_string_or_null(json_get(jws.payload, "request"), "nonce"), "0");
	}
	faults_clear(&emulator);
}

/* ---- secrets and certificates ---- */

static void secrets_and_certificates_are_read_as_they_were_written(void **state)
{
	(void)state;
	auto_call *set = vault_ask("PUT", VAULT, "/secrets/s?api-version=7.4",
	                           "{\"value\":\"hello\",\"contentType\":\"text/plain\"}");
	assert_status(set, 200);
	auto_call *got = vault_ask("GET", VAULT, "/secrets/s/?api-version=7.4", NULL);
	auto_json *secret = answer_of(got);
	assert_string_equal(json_string_or_null(secret, "value"), "hello");
	auto_call *missing = vault_ask("GET", VAULT, "/secrets/none?api-version=7.4", NULL);
	assert_error(missing, 404, "SecretNotFound", "none");

	auto_buf pem = BUF(64 * 1024), body_text = BUF(128 * 1024);
	auto_json *body = json_object();
	assert_ok(emulator_read(&emulator, "client.pem", &pem));
	json_set_string(body, "value", buf_text(&pem));
	assert_ok(json_print(body, &body_text));
	auto_call *imported = vault_ask("POST", VAULT, "/certificates/c/import?api-version=7.4", buf_text(&body_text));
	assert_status(imported, 200);
	auto_json *certificate = answer_of(imported);
	assert_non_null(json_string_or_null(certificate, "cer"));
	const char *sid = json_string_or_null(certificate, "sid");
	auto_call *text = vault_ask("GET", VAULT, strstr(sid, "/secrets/"), NULL);
	assert_error(text, 400, "MissingApiVersionParameter", "api-version");
	auto_call *chain = vault_ask("GET", VAULT, "/secrets/c?api-version=7.4", NULL);
	auto_json *chain_body = answer_of(chain);
	assert_string_equal(json_string_or_null(chain_body, "value"), buf_text(&pem));
	auto_call *bad = vault_ask("POST", VAULT, "/certificates/d/import?api-version=7.4", "{\"value\":\"x\"}");
	assert_error(bad, 400, "BadParameter", "not PEM");
	auto_call *hsm = vault_ask("GET", HSM, "/secrets/s?api-version=7.4", NULL);
	assert_status(hsm, 404);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_a_token_there_is_a_challenge_whatever_is_asked),
	    cmocka_unit_test(tokens_of_others_for_others_or_expired_are_refused),
	    cmocka_unit_test(a_key_is_found_with_trailing_and_double_slashes),
	    cmocka_unit_test(exportable_keys_have_policies_and_policies_exportable_keys),
	    cmocka_unit_test(the_stored_policy_says_the_same_with_its_version_first),
	    cmocka_unit_test(policies_change_on_the_versionless_key_unless_immutable),
	    cmocka_unit_test(versions_are_listed_in_pages),
	    cmocka_unit_test(deleted_keys_can_be_recovered_or_purged_and_block_their_name),
	    cmocka_unit_test(every_kind_of_key_is_released_under_every_enc),
	    cmocka_unit_test(vaults_and_managed_hsms_write_different_jws),
	    cmocka_unit_test(a_refused_release_says_which_rule),
	    cmocka_unit_test(imported_keys_come_back_and_managed_hsm_keeps_their_type),
	    cmocka_unit_test(mutations_are_signed_again_and_raw_ones_are_not),
	    cmocka_unit_test(a_replayed_answer_is_that_of_the_request_before),
	    cmocka_unit_test(secrets_and_certificates_are_read_as_they_were_written),
	};
	return cmocka_run_group_tests(tests, open_emulator, close_emulator);
}
