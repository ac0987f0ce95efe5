/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_UNIT_RELEASE_VAULT_H
#define SKR_TESTS_UNIT_RELEASE_VAULT_H

/* A vault that answers a release request as reference akv-release sections 6 to 8 describe. */

#include "unit/jose/chain.h"
#include "jose/jwk.h"
#include "jose/jws.h"
#include "jose/keywrap.h"
#include "release/answer.h"

#define VAULT_HOST    "contoso.vault.azure.net"
#define VAULT_SAN     "DNS:vault.azure.net,DNS:*.vault.azure.net"
#define VAULT_VERSION "0123456789abcdef0123456789abcdef"
#define VAULT_ENC     "RSA_AES_KEY_WRAP_256"
#define VAULT_LIMIT   (256 * 1024)

struct vault_answer {
	const char *name;        /* of the key */
	const char *requested;   /* version asked for; NULL: none */
	const char *nonce, *kid; /* kid of the transport key */
	EVP_PKEY *transport;     /* the public half is used */
	EVP_PKEY *key;           /* announced and wrapped; NULL: `oct` */
	const void *wrapped;     /* in place of the key's PKCS#8; NULL: that */
	size_t wrapped_len;
	const char *kty; /* NULL: by the key */
};

static inline void pkcs8_of(EVP_PKEY *key, struct buf *out)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	unsigned char *der = NULL;

	MUST(info);
	int len = i2d_PKCS8_PRIV_KEY_INFO(info, &der);
	MUST(len > 0);
	MUST_OK(buf_append(out, der, (size_t)len));
	OPENSSL_clear_free(der, (size_t)len);
	PKCS8_PRIV_KEY_INFO_free(info);
}

static inline void set_encoded(json *object, const char *name, const json *value)
{
	auto_buf text = BUF(VAULT_LIMIT), encoded = BUF(VAULT_LIMIT);

	MUST_OK(json_print(value, &text));
	MUST_OK(base64url_encode(text.data, text.len, &encoded));
	json_set_string(object, name, buf_text(&encoded));
}

static inline void set_key_hsm(json *jwk, const struct vault_answer *answer)
{
	auto_json *key_hsm = json_object();
	json *header = json_object();
	auto_buf target = BUF(16 * 1024), sealed = BUF(32 * 1024), text = BUF(64 * 1024);

	if (answer->wrapped)
		MUST_OK(buf_append(&target, answer->wrapped, answer->wrapped_len));
	else
		pkcs8_of(answer->key, &target);
	MUST_OK(keywrap_seal(VAULT_ENC, answer->transport, target.data, target.len, &sealed));
	MUST_OK(base64url_encode(sealed.data, sealed.len, &text));
	json_set_string(key_hsm, "schema_version", "1.0");
	json_set_string(header, "kid", answer->kid);
	json_set_string(header, "alg", "dir");
	json_set_string(header, "enc", VAULT_ENC);
	json_set(key_hsm, "header", header);
	json_set_string(key_hsm, "ciphertext", buf_text(&text));
	set_encoded(jwk, "key_hsm", key_hsm);
}

static inline json *vault_jwk(const struct vault_answer *answer)
{
	json *jwk = NULL;
	char kid[512];

	if (answer->key)
		MUST_OK(jwk_from_key(answer->key, &jwk));
	else
		jwk = json_object();
	snprintf(kid, sizeof(kid), "https://" VAULT_HOST "/keys/%s/" VAULT_VERSION, answer->name);
	json_set_string(jwk, "kid", kid);
	json_set_string(jwk, "kty",
	                answer->kty                        ? answer->kty
	                : !answer->key                     ? "oct-HSM"
	                : EVP_PKEY_is_a(answer->key, "EC") ? "EC-HSM"
	                                                   : "RSA-HSM");
	key_ops_to_json(jwk, KEY_OP_SIGN | KEY_OP_VERIFY);
	set_key_hsm(jwk, answer);
	return jwk;
}

static inline json *vault_payload(const struct vault_answer *answer)
{
	json *payload = json_object(), *request = json_object(), *response = json_object(), *bundle = json_object();
	json *attributes = json_object();
	char kid[512];

	snprintf(kid, sizeof(kid), "https://" VAULT_HOST "/keys/%s%s%s", answer->name, answer->requested ? "/" : "",
	         answer->requested ? answer->requested : "");
	json_set_string(request, "api-version", "7.4");
	json_set_string(request, "enc", VAULT_ENC);
	json_set_string(request, "kid", kid);
	json_set_string(request, "nonce", answer->nonce);
	json_set_bool(attributes, "enabled", true);
	json_set_number(attributes, "created", TEST_NOW - 1000);
	json_set_bool(attributes, "exportable", true);
	json_set(bundle, "key", vault_jwk(answer));
	json_set(bundle, "attributes", attributes);
	json_set(response, "key", bundle);
	json_set(payload, "request", request);
	json_set(payload, "response", response);
	return payload;
}

static inline void vault_sign(const struct signer *signer, const json *payload, struct buf *out)
{
	auto_json *header = signer_header(signer);
	auto_buf text = BUF(VAULT_LIMIT);

	MUST_OK(json_print(payload, &text));
	MUST_OK(jws_sign(header, text.data, text.len, signer->key, out));
}

#endif
