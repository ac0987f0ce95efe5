/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/sidecar.h"

#include "base/base64.h"
#include "http/http.h"

#include <string.h>

#define ANSWER_LIMIT  (64 * 1024)
#define REQUEST_LIMIT 2048
#define MEMBER_LIMIT  2048 /* bytes of one number of a key */
#define MEMBERS       8

/* One request is an attestation and a release, of which the sidecar limits neither. */
static const struct http_limits limits = {
    .connect_ms = 1000,
    .tls_ms = 1000,
    .first_byte_ms = 60000,
    .whole_ms = 65000,
    .window_ms = 5000,
    .window_bytes = 1024,
};

static const struct service sidecar = {
    .name = "the SKR sidecar",
    .step = "release",
    .throttled = 241,
    .down = 240,
    .unreachable = 160,
    .refused = 161,
};

/* ---- the key ---- */

/* What a private key must have, as base64url (RFC 7518 section 6). */
static const struct {
	const char *kty;
	const char *members[MEMBERS + 1];
} kinds[] = {
    {"RSA", {"n", "e", "d", "p", "q", "dp", "dq", "qi"}},
    {"EC", {"x", "y", "d"}},
    {"oct", {"k"}},
};

static skr_status members_check(const json *jwk, const char *const *members)
{
	for (; *members; members++) {
		const char *text = json_string_or_null(jwk, *members);
		auto_buf bytes = BUF(MEMBER_LIMIT);

		if (!text || base64url_decode(text, strlen(text), &bytes).failure || bytes.len == 0)
			return FAIL(162, "%s: there is none, or no base64url", *members);
	}
	return OK;
}

static skr_status private_key_check(const json *jwk)
{
	const char *kty = json_string_or_null(jwk, "kty");

	if (kty && strcmp(kty, "EC") == 0 && !json_string_or_null(jwk, "crv"))
		return FAIL(162, "crv: there is none");
	for (size_t i = 0; kty && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kty, kinds[i].kty) == 0)
			return members_check(jwk, kinds[i].members);
	return FAIL(162, "kty: %s is none of RSA, EC, oct", kty ? kty : "nothing");
}

skr_status sidecar_answer_parse(const void *text, size_t len, json **ret_key)
{
	auto_json *answer = NULL, *key = NULL;

	if (json_parse_first(text, len, &answer).failure)
		return FAIL(162, "%zu bytes that are no JSON", len);
	const char *inner = json_string_or_null(answer, "key");
	if (!inner)
		return FAIL(162, "key: there is none");
	if (json_parse(inner, strlen(inner), &key).failure)
		return FAIL(162, "key: %zu characters that are no JSON", strlen(inner));
	TRY(private_key_check(key));
	*ret_key = TAKE(key);
	return OK;
}

/* ---- the errand ---- */

/* The sidecar wants hosts without their scheme; the attestation instance always has https. */
static skr_status body_print(const struct azure *azure, const struct key_config *key, struct buf *out)
{
	auto_json *body = json_object();
	auto_buf kid = BUF(256);

	TRY(buf_printf(&kid, "%s%s%s", key->name, key->version ? "/" : "", key->version ? key->version : ""));
	json_set_string(body, "maa_endpoint", azure->token->attestation + strlen("https://"));
	json_set_string(body, "akv_endpoint", key->host);
	json_set_string(body, "kid", buf_text(&kid));
	return json_print(body, out);
}

skr_status sidecar_release(struct azure *azure, const struct key_config *key, json **ret_key)
{
	auto_buf url = BUF(512), body = BUF(REQUEST_LIMIT);
	auto_http_answer answer = {0};

	TRY(buf_printf(&url, "%s/key/release", azure->token->sidecar));
	TRY(body_print(azure, key, &body));
	skr_status status = service_call(azure, &sidecar,
	                                 &(struct http_request){.method = "POST",
	                                                        .url = buf_text(&url),
	                                                        .content_type = "application/json",
	                                                        .body = body.data,
	                                                        .body_len = body.len,
	                                                        .answer_limit = ANSWER_LIMIT,
	                                                        .limits = &limits,
	                                                        .direct = true},
	                                 &answer, NULL);
	if (status.failure)
		return status_prefix(status, "key %s", key->name);
	status = sidecar_answer_parse(answer.body.data ? (const char *)answer.body.data : "", answer.body.len, ret_key);
	if (status.failure)
		return service_blame(status_prefix(status, "key %s", key->name), &sidecar, buf_text(&url));
	return OK;
}
