/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vault.h"

#include "base/base64.h"
#include "emulator/policy.h"
#include "jose/jwk.h"
#include "jose/keywrap.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_ENC "CKM_RSA_AES_KEY_WRAP"

/* What a release is made of, once it is granted. */
struct release {
	const char *name, *enc, *nonce; /* nonce NULL: none was sent */
	const struct version *version;
	EVP_PKEY *transport;
	const char *transport_kid; /* of the attestation's claims */
	bool hsm;
};

/* ---- may it be released? ---- */

static skr_status forbidden_by_role(struct emulator *e, struct exchange *x, const struct vault *vault,
                                    const struct identity *caller)
{
	if (vault->hsm)
		return vault_error(
		    x, 403, "Forbidden", NULL,
		    "User is not authorized to perform operation Microsoft.KeyVault/managedHsm/keys/release/action");
	return vault_error(
	    x, 403, "Forbidden", "ForbiddenByRbac",
	    "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role "
	    "definitions were changed recently, please observe propagation time.\r\nCaller: "
	    "appid=%s;oid=%s;iss=https://sts.windows.net/%s/\r\nAction: "
	    "'Microsoft.KeyVault/vaults/keys/release/action'\r\nResource: "
	    "'/subscriptions/%s/resourcegroups/emulator/providers/microsoft.keyvault/vaults/%.*s/keys/"
	    "%s'\r\nAssignment: "
	    "(not found)\r\nDenyAssignmentId: null\r\nDecisionReason: 'DeniedWithNoValidRBAC' \r\nVault: "
	    "%.*s;location=localhost\r\n",
	    caller->client, caller->object, e->tenant, e->tenant, (int)strcspn(vault->host, "."), vault->host,
	    exchange_segment(x, "name"), (int)strcspn(vault->host, "."), vault->host);
}

/* True if the state of the key forbids its use; the answer is set then. */
static bool refused_by_state(struct emulator *e, struct exchange *x, const struct version *version, skr_status *ret)
{
	int64_t now = emulator_now(e), time;

	if (!json_bool(version->attributes, "enabled", true))
		*ret = vault_error(x, 403, "Forbidden", "KeyDisabled",
		                   "Operation release is not allowed on a disabled key.");
	else if (!json_integer(version->attributes, "nbf", false, &time).failure && now < time)
		*ret = vault_error(x, 403, "Forbidden", "KeyNotYetValid",
		                   "Operation release is not allowed on a key that is not yet valid.");
	else if (!json_integer(version->attributes, "exp", false, &time).failure && now >= time)
		*ret = vault_error(x, 403, "Forbidden", "KeyExpired",
		                   "Operation release is not allowed on an expired key.");
	else if (!json_bool(version->attributes, "exportable", false) || !version->policy)
		*ret = vault_error(x, 400, "BadParameter", NULL, "Key is not exportable and has no release policy.");
	else
		return false;
	return true;
}

/* ---- what does the attestation say? ---- */

static bool is_for_encryption(const json *jwk)
{
	const char *use = json_string_or_null(jwk, "use");

	if (use && strcmp(use, "enc") == 0)
		return true;
	for (const json *op = json_first(json_get(jwk, "key_ops")); op; op = json_next(op))
		if (json_text(op) && strcmp(json_text(op), "encrypt") == 0)
			return true;
	return false;
}

/* The first suitable RSA key of the top-level x-ms-runtime.keys. */
static bool find_transport(const json *claims, struct release *release)
{
	const json *keys = json_get(json_get(claims, "x-ms-runtime"), "keys");

	for (const json *jwk = json_first(keys); jwk; jwk = json_next(jwk)) {
		const char *kty = json_string_or_null(jwk, "kty"), *kid = json_string_or_null(jwk, "kid");
		if (!kty || strcmp(kty, "RSA") != 0 || !kid || !*kid || !is_for_encryption(jwk))
			continue;
		if (jwk_public_key(jwk, &release->transport).failure)
			continue;
		release->transport_kid = kid;
		return true;
	}
	return false;
}

static skr_status stored_policy(const struct version *version, json **ret)
{
	const char *data = json_string_or_null(version->policy, "data");
	auto_buf text = BUF(64 * 1024);

	TRY(base64url_decode(data, strlen(data), &text));
	return json_parse(text.data, text.len, ret);
}

static skr_status refuse_attestation(struct exchange *x, const char *reason)
{
	TRY(vault_error(x, 403, "Forbidden", "AccessDenied",
	                "Target environment attestation statement cannot be verified."));
	return reply_header(x, "x-skr-emulator-reason", reason);
}

/* True if policy and attestation forbid the release; the answer is set then. */
static bool refused_by_policy(struct exchange *x, const json *claims, const struct version *version, skr_status *ret)
{
	auto_json *policy = NULL;
	char reason[700];

	*ret = stored_policy(version, &policy);
	if (ret->failure)
		return true;
	if (policy_holds(policy, claims, reason, sizeof(reason)))
		return false;
	*ret = vault_error(x, 403, "Forbidden", "AccessDenied",
	                   "Target environment does not meet key release policy requirements.");
	if (!ret->failure)
		*ret = reply_header(x, "x-skr-emulator-reason", reason);
	return true;
}

/* ---- the answer ---- */

/* What is wrapped: PKCS#8, or the bytes of an oct key. */
static skr_status target_bytes(const struct version *version, struct buf *out)
{
	uint8_t *der = NULL;

	if (!version->key)
		return buf_append(out, version->oct.data, version->oct.len);
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(version->key);
	int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, &der) : -1;
	PKCS8_PRIV_KEY_INFO_free(info);
	if (len < 0)
		return ossl_fail(599, "writing a key as PKCS#8");
	skr_status status = buf_append(out, der, (size_t)len);
	OPENSSL_clear_free(der, (size_t)len);
	return status;
}

/* {"schema_version","header":{"kid","alg","enc"},"ciphertext"} as base64url. */
static skr_status wrapped_key(struct exchange *x, const struct release *release, struct buf *out)
{
	auto_buf target = BUF(16 * 1024), wrapped = BUF(32 * 1024), encoded = BUF(64 * 1024), text = BUF(64 * 1024);
	auto_json *outer = json_object();
	json *header = json_object();

	TRY(target_bytes(release->version, &target));
	TRY(keywrap_seal(release->enc, release->transport, target.data, target.len, &wrapped));
	TRY(base64url_encode(wrapped.data, wrapped.len, &encoded));
	json_set_string(outer, "schema_version", "1.0");
	json_set_string(header, "kid", release->transport_kid);
	json_set_string(header, "alg", "dir");
	json_set_string(header, "enc", release->enc);
	json_set(outer, "header", header);
	json_set_string(outer, "ciphertext", buf_text(&encoded));
	if (release->hsm)
		json_sort(outer);
	TRY(exchange_mutate(x, "key_hsm", outer));
	TRY(json_print(outer, &text));
	return base64url_encode(text.data, text.len, out);
}

static skr_status request_part(const struct exchange *x, const struct release *release, json **ret)
{
	auto_json *request = json_object();
	auto_buf kid = BUF(1024);

	TRY(object_id(x, "keys", release->name, exchange_segment(x, "version"), &kid));
	json_set_string(request, "api-version", exchange_query(x, "api-version"));
	json_set_string(request, "enc", release->enc);
	json_set_string(request, "kid", buf_text(&kid));
	if (release->nonce)
		json_set_string(request, "nonce", release->nonce);
	*ret = TAKE(request);
	return OK;
}

static skr_status response_part(struct exchange *x, const struct release *release, json **ret)
{
	const struct version *version = release->version;
	auto_buf key_hsm = BUF(128 * 1024);
	auto_json *response = json_object();
	json *outer = json_object(), *jwk;

	json_set(response, "key", outer);
	TRY(version_jwk(x, release->name, version, version->released_kty, &jwk));
	json_set(outer, "key", jwk);
	TRY(wrapped_key(x, release, &key_hsm));
	json_set_string(jwk, "key_hsm", buf_text(&key_hsm));
	json_set(outer, "attributes", json_copy(version->attributes));
	json_set(outer, "release_policy", json_copy(version->policy));
	*ret = TAKE(response);
	return OK;
}

static skr_status fingerprint(X509 *certificate, const EVP_MD *md, uint8_t out[32], size_t *ret_len)
{
	unsigned len = 0;

	if (X509_digest(certificate, md, out, &len) != 1)
		return ossl_fail(599, "the digest of a certificate");
	*ret_len = len;
	return OK;
}

static skr_status set_fingerprint(json *header, const char *name, X509 *certificate, const EVP_MD *md)
{
	uint8_t digest[32];
	auto_buf text = BUF(64);
	size_t len;

	TRY(fingerprint(certificate, md, digest, &len));
	TRY(base64url_encode(digest, len, &text));
	json_set_string(header, name, buf_text(&text));
	return OK;
}

/* A vault names its certificate by the SHA-1 in capitals. */
static skr_status set_vault_kid(json *header, X509 *certificate)
{
	char text[41];
	uint8_t digest[32];
	size_t len;

	TRY(fingerprint(certificate, EVP_sha1(), digest, &len));
	for (size_t i = 0; i < 20; i++)
		snprintf(text + 2 * i, 3, "%02X", digest[i]);
	json_set_string(header, "kid", text);
	return OK;
}

static skr_status set_chain(json *header, STACK_OF(X509) *chain)
{
	json *x5c = json_array();

	json_set(header, "x5c", x5c);
	for (int i = 0; i < sk_X509_num(chain); i++) {
		uint8_t *der = NULL;
		auto_buf text = BUF(16 * 1024);
		int len = i2d_X509(sk_X509_value(chain, i), &der);
		if (len < 0)
			return ossl_fail(599, "writing a certificate");
		skr_status status = base64_encode(der, (size_t)len, &text);
		OPENSSL_free(der);
		TRY(status);
		json_push(x5c, json_of_string(buf_text(&text)));
	}
	return OK;
}

/* The two services write different headers (reference: akv-release, section 6.1). */
static skr_status header_of(const struct credential *signer, bool hsm, json **ret)
{
	auto_json *header = json_object();
	X509 *leaf = sk_X509_value(signer->chain, 0);

	json_set_string(header, "alg", "RS256");
	if (hsm) {
		TRY(set_fingerprint(header, "kid", leaf, EVP_sha256()));
	} else {
		json_set_string(header, "typ", "JWT");
		TRY(set_vault_kid(header, leaf));
		TRY(set_fingerprint(header, "x5t", leaf, EVP_sha1()));
	}
	TRY(set_fingerprint(header, "x5t#S256", leaf, EVP_sha256()));
	TRY(set_chain(header, signer->chain));
	if (hsm)
		json_sort(header);
	*ret = TAKE(header);
	return OK;
}

static skr_status answer(struct emulator *e, struct exchange *x, const struct release *release)
{
	auto_json *payload = json_object(), *header = NULL;
	auto_buf jws = BUF(512 * 1024);
	const struct credential *signer;
	json *request, *response;

	TRY(request_part(x, release, &request));
	json_set(payload, "request", request);
	TRY(response_part(x, release, &response));
	json_set(payload, "response", response);
	if (release->hsm)
		json_sort(payload);
	TRY(authority_release(e, x->host, x->signer, &signer));
	TRY(header_of(signer, release->hsm, &header));
	TRY(exchange_sign(x, "jws", header, payload, signer->key, &jws));
	json *body = json_object();
	json_set_string(body, "value", buf_text(&jws));
	return reply_json(x, 200, body);
}

static skr_status attested(struct emulator *e, struct exchange *x, struct release *release, const char *target)
{
	auto_json *claims = NULL;
	skr_status status;

	if (maa_token_claims(e, target, &claims).failure)
		return refuse_attestation(x, status_message());
	if (refused_by_policy(x, claims, release->version, &status))
		return status;
	if (!find_transport(claims, release))
		return refuse_attestation(x, "x-ms-runtime.keys has no RSA key with a kid that is for encryption");
	status = answer(e, x, release);
	EVP_PKEY_free(release->transport);
	return status;
}

skr_status release_key(struct emulator *e, struct exchange *x)
{
	struct identity *caller;
	struct vault *vault;
	const json *request;
	skr_status status;

	if (!vault_enter(e, x, &vault, &caller, &status))
		return status;
	if (!caller->may_release)
		return forbidden_by_role(e, x, vault, caller);
	const struct version *version = vault_version(vault, x, &status);
	if (!version || refused_by_state(e, x, version, &status))
		return status;
	if (exchange_json(x, &request).failure)
		return vault_error(x, 400, "BadParameter", NULL, "The body is no JSON: %s", status_message());
	const char *target = json_string_or_null(request, "target"), *enc = json_string_or_null(request, "enc");
	if (!target)
		return vault_error(x, 400, "BadParameter", NULL, "Property target is required.");
	if (json_get(request, "enc") && (!enc || !keywrap_digest(enc)))
		return vault_error(x, 400, "BadParameter", NULL, "Property enc has invalid value.");
	struct release release = {
	    .name = exchange_segment(x, "name"),
	    .enc = enc ? enc : DEFAULT_ENC,
	    .nonce = json_string_or_null(request, "nonce"),
	    .version = version,
	    .hsm = vault->hsm,
	};
	return attested(e, x, &release, target);
}
