/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/vault.h"

#include "azure/attestation.h"
#include "azure/policy.h"
#include "http/http.h"
#include "jose/jws.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define API_VERSION       "7.4"
#define ANSWER_LIMIT      (128 * 1024)
#define REQUEST_LIMIT     (80 * 1024)
#define EXPLANATION_MS    5000 /* spent at most on finding out why */
#define EXPLANATION_LIMIT (8 * 1024)

skr_status vault_audience(const struct key_config *key, struct buf *ret_audience)
{
	size_t len = strcspn(key->host, ":"), label = strcspn(key->host, ".:");
	bool numeric = strspn(key->host, "0123456789.") == len || key->host[0] == '[';

	if (numeric || label == len)
		return buf_append_text(ret_audience,
		                       key->managed_hsm ? "https://managedhsm.azure.net" : "https://vault.azure.net");
	return buf_printf(ret_audience, "https://%.*s", (int)(len - label - 1), key->host + label + 1);
}

/* ---- refusals ---- */

/* Key Vault tells its 403s apart by innererror, or by words alone (reference/akv-release section 9). */
static const struct {
	const char *words; /* in innererror.code, code or message, any case */
	int failure;
} forbidden[] = {
    {"ForbiddenByRbac", 331},     {"ForbiddenByPolicy", 331}, /* an access policy, not the release policy */
    {"ForbiddenByFirewall", 331}, {"ForbiddenByConnection", 331}, {"not authorized", 331}, {"release permission", 331},
    {"standard vault", 336},      {"not exportable", 336},        {"KeyDisabled", 333},    {"KeyExpired", 333},
    {"KeyNotYetValid", 333},      {"key is disabled", 333},       {"disabled key", 333},   {"key is not enabled", 333},
    {"is expired", 333},          {"has expired", 333},           {"not yet valid", 333},  {"not before", 333},
};

static int forbidden_kind(const struct service_error *error)
{
	bool about_token = strcasestr(error->message, "attestation") != NULL;

	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		if (!(about_token && forbidden[i].failure == 333) &&
		    (strcasestr(error->inner, forbidden[i].words) || strcasestr(error->code, forbidden[i].words) ||
		     strcasestr(error->message, forbidden[i].words)))
			return forbidden[i].failure;
	return 332;
}

int vault_refusal(const struct service_error *error)
{
	switch (error->http) {
	case 401:
		return 330;
	case 403:
		return forbidden_kind(error);
	case 404:
		return 334;
	case 409:
		return 335;
	default:
		return 336;
	}
}

/* Reading a key has no release policy: a 403 that says nothing better is about the permission "get". */
static int read_refusal(const struct service_error *error)
{
	int failure = vault_refusal(error);

	return failure == 332 ? 331 : failure;
}

/* clang-format off */
static const struct service vault_service = {
    .name = "Key Vault", .step = "release", .throttled = 337, .down = 338, .refusal = vault_refusal,
    .transient = {409}, .doubling = true,
};
static const struct service hsm_service = {
    .name = "Managed HSM", .step = "release", .throttled = 337, .down = 338, .refusal = vault_refusal,
    .transient = {409}, .doubling = true,
};
static const struct service key_service = {
    .name = "the vault", .step = "release", .throttled = 337, .down = 338, .refusal = read_refusal,
    .transient = {409}, .doubling = true,
};
/* clang-format on */

/* The quoted value behind `name=`, where `name` stands alone. */
static void challenge_value(const char *header, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	out[0] = '\0';
	for (const char *at = header; (at = strstr(at, name)) != NULL; at += len) {
		bool alone = at == header || at[-1] == ' ' || at[-1] == ',';

		if (alone && at[len] == '=' && at[len + 1] == '"') {
			snprintf(out, size, "%.*s", (int)strcspn(at + len + 2, "\""), at + len + 2);
			return;
		}
	}
}

void vault_challenge_parse(const char *header, struct vault_challenge *ret)
{
	challenge_value(header, "authorization", ret->authorization, sizeof(ret->authorization));
	if (!ret->authorization[0])
		challenge_value(header, "authorization_uri", ret->authorization, sizeof(ret->authorization));
	challenge_value(header, "resource", ret->resource, sizeof(ret->resource));
}

/* https://HOST/keys/NAME[/VERSION]ACTION?api-version=… */
static skr_status key_url(const struct key_config *key, const char *action, struct buf *url)
{
	return buf_printf(url, "https://%s/keys/%s%s%s%s?api-version=" API_VERSION, key->host, key->name,
	                  key->version ? "/" : "", key->version ? key->version : "", action);
}

/* The key as GET gives it, if we may read it; one short try, since the release has failed already. */
static skr_status key_read(struct azure *azure, const struct key_config *key, const char *authorization, json **ret)
{
	auto_buf url = BUF(1024);
	auto_http_answer answer = {0};

	TRY(key_url(key, "", &url));
	TRY(http_call(azure->http,
	              &(struct http_request){.method = "GET",
	                                     .url = buf_text(&url),
	                                     .headers = {authorization},
	                                     .answer_limit = ANSWER_LIMIT,
	                                     .limits = &http_limits_service},
	              deadline_within(azure->deadline, EXPLANATION_MS), &answer));
	if (answer.status != 200)
		return FAIL(242, "the key cannot be read either: %d", answer.status);
	return json_parse(answer.body.data, answer.body.len, ret);
}

/* Why the key itself cannot be released now; false if its attributes do not say. */
static bool key_unusable(const json *bundle, struct buf *text)
{
	const json *attributes = json_get(bundle, "attributes");
	int64_t now = wall_clock(), from = 0, until = INT64_MAX;

	if (!json_bool(attributes, "enabled", true))
		return !buf_append_text(text, "it is disabled").failure;
	if (!json_integer(attributes, "exp", false, &until).failure && until <= now)
		return !buf_printf(text, "it expired %lld s ago", (long long)(now - until)).failure;
	if (!json_integer(attributes, "nbf", false, &from).failure && from > now)
		return !buf_printf(text, "it is valid only in %lld s", (long long)(from - now)).failure;
	return false;
}

/* What the policy asks for and the token does not give, or, if the policy cannot be read, what the token gives. */
static skr_status explain_policy(const json *bundle, const json *claims, struct buf *text)
{
	auto_json *policy = NULL;
	size_t unmet = 0;

	if (!bundle || policy_of_bundle(bundle, &policy).failure) {
		TRY(buf_append_text(text, "its policy cannot be read from here; this machine has "));
		return policy_summary(claims, text);
	}
	TRY(buf_append_text(text, "its policy "));
	TRY(policy_explain(policy, claims, text, &unmet));
	if (unmet > 0)
		return OK;
	TRY(buf_append_text(
	    text, "is satisfied by this machine, so the vault cannot verify the token itself (can it reach "));
	const char *iss = json_string_or_null(claims, "iss");
	return buf_printf(text, "%s? is the token expired?)", iss ? iss : "its issuer");
}

/* Replaces number and sentence of the record by the explanation; the service's own words go behind it. */
static skr_status restate(const struct status_record *was, int failure, const struct key_config *key,
                          const struct buf *why, const struct service_error *error)
{
	struct status_record record = *was;

	record.failure = failure;
	snprintf(record.sentence, sizeof(record.sentence), "key %s: %s; the vault says: %s", key->name, buf_text(why),
	         error->message[0] ? error->message : "nothing more");
	return status_adopt(&record);
}

/* Explains a 403 as well as it can be known; whatever fails on the way, the refusal stays. */
static skr_status explain_forbidden(struct azure *azure, const struct key_config *key, const char *authorization,
                                    const char *attestation_token, const struct service_error *error)
{
	struct status_record was = *status_last();
	auto_json *bundle = NULL, *claims = NULL;
	auto_buf why = BUF(EXPLANATION_LIMIT);

	if (key_read(azure, key, authorization, &bundle).failure)
		bundle = NULL;
	if (bundle && key_unusable(bundle, &why))
		return restate(&was, 333, key, &why, error);
	if (was.failure == 333 || attestation_claims(attestation_token, strlen(attestation_token), &claims).failure ||
	    explain_policy(bundle, claims, &why).failure)
		return status_prefix(status_adopt(&was), "key %s", key->name);
	return restate(&was, 332, key, &why, error);
}

static skr_status explain_unauthorized(const struct buf *audience, const struct service_error *error)
{
	skr_status status = {status_last()->failure};
	struct vault_challenge challenge;

	vault_challenge_parse(error->challenge, &challenge);
	if (!challenge.authorization[0] && !challenge.resource[0])
		return status;
	return status_prefix(status, "a token for %s was sent, one from %s for %s is wanted", buf_text(audience),
	                     challenge.authorization, challenge.resource);
}

/* ---- the errand ---- */

static skr_status body_print(const struct azure *azure, const char *attestation_token, const char *nonce,
                             struct buf *out)
{
	auto_json *body = json_object();

	json_set_string(body, "target", attestation_token);
	json_set_string(body, "enc", azure->token->enc);
	json_set_string(body, "nonce", nonce);
	return json_print(body, out);
}

static skr_status explain(struct azure *azure, const struct key_config *key, const char *authorization,
                          const char *attestation_token, const struct service_error *error, skr_status status)
{
	auto_buf audience = BUF(512);

	switch (status.failure) {
	case 330:
		TRY(vault_audience(key, &audience));
		return explain_unauthorized(&audience, error);
	case 332:
	case 333:
		return explain_forbidden(azure, key, authorization, attestation_token, error);
	default:
		return status_prefix(status, "key %s", key->name);
	}
}

skr_status vault_release(struct azure *azure, const struct key_config *key, const char *access_token,
                         const char *attestation_token, const char *nonce, struct buf *ret_jws)
{
	auto_buf url = BUF(1024), authorization = BUF(64 * 1024), body = BUF(REQUEST_LIMIT);
	auto_json *answer = NULL;
	struct service_error error = {0};

	TRY(key_url(key, "/release", &url));
	TRY(buf_printf(&authorization, "Authorization: Bearer %s", access_token));
	TRY(body_print(azure, attestation_token, nonce, &body));
	const struct service *service = key->managed_hsm ? &hsm_service : &vault_service;
	skr_status status = service_call_json(azure, service,
	                                      &(struct http_request){.method = "POST",
	                                                             .url = buf_text(&url),
	                                                             .headers = {buf_text(&authorization)},
	                                                             .content_type = "application/json",
	                                                             .body = body.data,
	                                                             .body_len = body.len,
	                                                             .answer_limit = ANSWER_LIMIT,
	                                                             .limits = &http_limits_service},
	                                      &answer, &error);
	if (status.failure)
		return explain(azure, key, buf_text(&authorization), attestation_token, &error, status);
	const char *jws = json_string_or_null(answer, "value");
	if (!jws || strlen(jws) > JWS_LIMIT)
		return service_blame(FAIL(340, "key %s: no release token in it", key->name), service, buf_text(&url));
	return buf_append_text(ret_jws, jws);
}

skr_status vault_key(struct azure *azure, const struct key_config *key, const char *access_token, json **ret)
{
	auto_buf url = BUF(1024), authorization = BUF(64 * 1024), audience = BUF(512);
	auto_json *bundle = NULL;
	struct service_error error = {0};

	TRY(key_url(key, "", &url));
	TRY(buf_printf(&authorization, "Authorization: Bearer %s", access_token));
	TRY(vault_audience(key, &audience));
	skr_status status = service_call_json(azure, &key_service,
	                                      &(struct http_request){.method = "GET",
	                                                             .url = buf_text(&url),
	                                                             .headers = {buf_text(&authorization)},
	                                                             .answer_limit = ANSWER_LIMIT,
	                                                             .limits = &http_limits_service},
	                                      &bundle, &error);
	if (status.failure == 330)
		return explain_unauthorized(&audience, &error);
	if (status.failure == 331)
		return status_prefix(status, "key %s, to be read (permission \"get\")", key->name);
	if (status.failure)
		return status_prefix(status, "key %s", key->name);
	if (json_kind(json_get(bundle, "key")) != JSON_OBJECT)
		return service_blame(FAIL(336, "key %s: no public key in it", key->name), &key_service, buf_text(&url));
	*ret = TAKE(bundle);
	return OK;
}
