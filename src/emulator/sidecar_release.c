/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/sidecar_release.h"

#include "base/base64.h"
#include "jose/jwk.h"
#include "jose/jws.h"
#include "jose/keywrap.h"

#include <stdio.h>
#include <string.h>

/* ---- the transport key ---- */

static skr_status make_transport(EVP_PKEY **ret)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);

	if (!key)
		return ossl_fail(599, "rsa key pair generation failed");
	*ret = key;
	return OK;
}

/* {"keys":[JWK]}, the kid being the thumbprint. */
static skr_status key_set(const EVP_PKEY *transport, struct buf *out)
{
	auto_json *set = json_object(), *jwk = NULL;
	auto_buf thumbprint = BUF(64);
	json *keys = json_array(), *ops = json_array();

	json_set(set, "keys", keys);
	TRY(jwk_from_key(transport, &jwk));
	TRY(jwk_thumbprint(jwk, &thumbprint));
	json_push(ops, json_of_string("encrypt"));
	json_set(jwk, "key_ops", ops);
	json_set_string(jwk, "kid", buf_text(&thumbprint));
	json_sort(jwk);
	json_push(keys, TAKE(jwk));
	return json_print(set, out);
}

/* ---- whom the machine is ---- */

/* The vault's host without its first label is whom the token is for. */
static skr_status access_token(struct errand *errand, const struct sidecar_wish *wish, struct buf *out)
{
	auto_buf target = BUF(1024);
	auto_json *answer = NULL;
	const char *token, *domain = strchr(wish->vault, '.');

	TRY(buf_printf(&target, "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%%3A%%2F%%2F%.*s",
	               domain ? (int)strcspn(domain + 1, ":") : 0, domain ? domain + 1 : ""));
	const struct inner_request request = {
	    .service = SERVICE_METADATA, .method = "GET", .authority = "169.254.169.254", .target = buf_text(&target)};
	TRY(sidecar_ask(errand, &request, SERVICE_METADATA, &answer));
	TRY(json_string(answer, "access_token", &token));
	return buf_append_text(out, token);
}

/* ---- the vault's answer ---- */

static skr_status ask_vault(struct errand *errand, const struct sidecar_wish *wish, const char *bearer,
                            const char *token, struct buf *ret_jws)
{
	auto_buf target = BUF(4096), body = BUF(EXCHANGE_BODY_LIMIT);
	auto_json *request_body = json_object(), *answer = NULL;
	const char *value;

	TRY(buf_printf(&target, "/keys/%s/release?api-version=7.4", wish->kid));
	json_set_string(request_body, "target", token);
	TRY(json_print(request_body, &body));
	const struct inner_request request = {.method = "POST",
	                                      .authority = wish->vault,
	                                      .target = buf_text(&target),
	                                      .bearer = bearer,
	                                      .body = buf_text(&body)};
	TRY(sidecar_wrap(errand, sidecar_ask(errand, &request, SERVICE_VAULT, &answer),
	                 "pulling AKV response body failed"));
	TRY(json_string(answer, "value", &value));
	return buf_append_text(ret_jws, value);
}

/* As a client that trusts the emulator's root: signature, chain, name, dates. */
static skr_status verify(struct errand *errand, const char *vault, struct jws *jws)
{
	const struct credential *signer;
	auto_text *host = strndup(vault, strcspn(vault, ":"));
	STACK_OF(X509) *anchors = sk_X509_new_null();

	skr_status status =
	    host && anchors ? authority_release(errand->e, host, LEAF_GOOD, &signer) : FAIL(14, "the vault's roots");
	if (!status.failure && !sk_X509_push(anchors, sk_X509_value(signer->chain, sk_X509_num(signer->chain) - 1)))
		status = FAIL(14, "the vault's roots");
	if (!status.failure) {
		const struct jws_trust trust = {
		    .alg = "RS256", .host = host, .anchors = anchors, .now = emulator_now(errand->e)};
		status = jws_verify_with_chain(jws, &trust);
	}
	sk_X509_free(anchors);
	TRY(status);
	return jws_payload(jws);
}

/* C1 || C2 of the key_hsm envelope. */
static skr_status wrapped_bytes(const json *jwk, struct buf *out)
{
	auto_buf text = BUF(EXCHANGE_BODY_LIMIT);
	auto_json *envelope = NULL;
	const char *key_hsm, *ciphertext;

	TRY(json_string(jwk, "key_hsm", &key_hsm));
	TRY(base64url_decode(key_hsm, strlen(key_hsm), &text));
	TRY(json_parse(text.data, text.len, &envelope));
	TRY(json_string(envelope, "ciphertext", &ciphertext));
	return base64url_decode(ciphertext, strlen(ciphertext), out);
}

static skr_status jwk_of_oct(const struct buf *bytes, json **ret)
{
	auto_buf text = BUF(1024);

	TRY(base64url_encode(bytes->data, bytes->len, &text));
	json *jwk = json_object();
	json_set_string(jwk, "kty", "oct");
	json_set_string(jwk, "k", buf_text(&text));
	*ret = jwk;
	return OK;
}

static skr_status jwk_of_pkcs8(const struct buf *bytes, json **ret)
{
	const uint8_t *at = bytes->data;
	auto_pkey *key = d2i_AutoPrivateKey_ex(NULL, &at, (long)bytes->len, ossl, NULL);
	auto_json *jwk = NULL;

	if (!key)
		return ossl_fail(341, "could not parse the released key");
	TRY(jwk_from_key(key, &jwk));
	TRY(jwk_add_private(jwk, key));
	*ret = TAKE(jwk);
	return OK;
}

static skr_status unwrap(const json *payload, EVP_PKEY *transport, json **ret)
{
	const json *released = json_get(json_get(json_get(payload, "response"), "key"), "key");
	const char *kty, *enc;
	auto_buf wrapped = BUF(64 * 1024), bytes = BUF(64 * 1024);
	auto_json *jwk = NULL;

	TRY(json_string(released, "kty", &kty));
	TRY(json_string(json_get(payload, "request"), "enc", &enc));
	TRY(wrapped_bytes(released, &wrapped));
	TRY(keywrap_open(enc, transport, wrapped.data, wrapped.len, &bytes));
	TRY(strncmp(kty, "oct", 3) == 0 ? jwk_of_oct(&bytes, &jwk) : jwk_of_pkcs8(&bytes, &jwk));
	if (json_get(released, "key_ops"))
		json_set(jwk, "key_ops", json_copy(json_get(released, "key_ops")));
	json_sort(jwk);
	*ret = TAKE(jwk);
	return OK;
}

static skr_status open_answer(struct errand *errand, const struct sidecar_wish *wish, const struct buf *text,
                              EVP_PKEY *transport, struct buf *ret_jwk)
{
	auto_jws jws = {0};
	auto_json *jwk = NULL;

	TRY(jws_parse(buf_text(text), text->len, &jws));
	TRY(sidecar_wrap(errand, verify(errand, wish->vault, &jws), "validating AKV jwsResponse failed"));
	TRY(sidecar_wrap(errand, unwrap(jws.payload, transport, &jwk), "unwrapping the released key failed"));
	return json_print(jwk, ret_jwk);
}

static skr_status release(struct errand *errand, const struct sidecar_wish *wish, const char *bearer, const char *token,
                          EVP_PKEY *transport, struct buf *ret_jwk)
{
	auto_buf jws = BUF(EXCHANGE_BODY_LIMIT);

	TRY(ask_vault(errand, wish, bearer, token, &jws));
	return open_answer(errand, wish, &jws, transport, ret_jwk);
}

skr_status sidecar_release(struct errand *errand, const struct sidecar_wish *wish, struct buf *ret_jwk)
{
	auto_pkey *transport = NULL;
	auto_buf runtime = BUF(16 * 1024), token = BUF(EXCHANGE_BODY_LIMIT), bearer = BUF(64 * 1024);

	TRY(make_transport(&transport));
	TRY(key_set(transport, &runtime));
	TRY(sidecar_wrap(errand, sidecar_attest(errand, wish->attestation, &runtime, &token), "attestation failed"));
	if (wish->access_token)
		TRY(buf_append_text(&bearer, wish->access_token));
	else
		TRY(sidecar_wrap(errand, access_token(errand, wish, &bearer),
		                 "retrieving authentication token failed"));
	return sidecar_wrap(errand, release(errand, wish, buf_text(&bearer), buf_text(&token), transport, ret_jwk),
	                    "releasing the key %s failed", wish->kid);
}
