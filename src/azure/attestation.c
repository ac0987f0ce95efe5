/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/attestation.h"

#include "azure/encoded.h"
#include "base/ossl.h"
#include "http/http.h"
#include "jose/jws.h"

#include <stdio.h>
#include <string.h>

#define REQUEST_LIMIT (512 * 1024)
#define ANSWER_LIMIT  (128 * 1024)
#define CLOCK_SKEW_S  300
#define SNP_ROUTE     "SevSnpVm?api-version=2022-08-01"
#define TDX_ROUTE     "TdxVm?api-version=2025-06-01"

static int refusal(const struct service_error *error)
{
	return error->http == 400 || error->http == 413 ? 320 : 321;
}

static const struct service attestation_service = {
    .name = "the attestation service",
    .step = "attestation",
    .throttled = 322,
    .down = 322,
    .refusal = refusal,
};

/* ---- the request ---- */

/* {"Uvm":["COSE_Sign1"]} */
static skr_status set_endorsements(json *inner, const struct buf *cose)
{
	auto_buf text = BUF(REQUEST_LIMIT), printed = BUF(REQUEST_LIMIT);
	auto_json *endorsements = json_object();
	json *uvm = json_array();

	json_set(endorsements, "Uvm", uvm);
	TRY(base64url_encode(cose->data, cose->len, &text));
	json_push(uvm, json_of_string(buf_text(&text)));
	TRY(json_print(endorsements, &printed));
	return set_encoded(inner, "Endorsements", printed.data, printed.len, base64url_encode);
}

static skr_status report_print(const struct attestation_evidence *evidence, struct buf *out)
{
	auto_json *inner = json_object();

	TRY(set_encoded(inner, "SnpReport", evidence->report->data, evidence->report->len, base64url_encode));
	TRY(set_encoded(inner, "VcekCertChain", evidence->chain_pem->data, evidence->chain_pem->len, base64url_encode));
	if (evidence->uvm_endorsement && evidence->uvm_endorsement->len > 0)
		TRY(set_endorsements(inner, evidence->uvm_endorsement));
	return json_print(inner, out);
}

/* {MEMBER: evidence, "runtimeData": {…}, "nonce"} */
static skr_status body_print(const char *member, const struct buf *bytes, const struct buf *runtime_data,
                             const char *nonce, struct buf *out)
{
	auto_json *body = json_object();
	json *runtime = json_object();

	json_set(body, "runtimeData", runtime);
	TRY(set_encoded(body, member, bytes->data, bytes->len, base64url_encode));
	TRY(set_encoded(runtime, "data", runtime_data->data, runtime_data->len, base64url_encode));
	json_set_string(runtime, "dataType", "JSON");
	json_set_string(body, "nonce", nonce);
	return json_print(body, out);
}

skr_status attestation_snp_print(const struct attestation_evidence *evidence, const char *nonce, struct buf *out)
{
	auto_buf report = BUF(REQUEST_LIMIT);

	TRY(report_print(evidence, &report));
	return body_print("report", &report, evidence->runtime_data, nonce, out);
}

skr_status attestation_tdx_print(const struct attestation_td *evidence, const char *nonce, struct buf *out)
{
	return body_print("quote", evidence->quote, evidence->runtime_data, nonce, out);
}

/* ---- the token ---- */

static skr_status token_open(const char *token, size_t len, struct jws *ret)
{
	if (len > JWT_LIMIT)
		return FAIL(323, "the token has %zu bytes, above the limit of %d", len, JWT_LIMIT);
	if (jws_parse(token, len, ret).failure || jws_payload(ret).failure) {
		struct status_record record = *status_last();
		record.failure = 323;
		return status_adopt(&record);
	}
	return OK;
}

skr_status attestation_claims(const char *token, size_t len, json **ret)
{
	auto_jws jws = {0};

	TRY(token_open(token, len, &jws));
	*ret = TAKE(jws.payload);
	return OK;
}

int64_t attestation_expiry(const char *token, size_t len)
{
	auto_json *claims = NULL;
	int64_t expiry = 0;

	if (attestation_claims(token, len, &claims).failure || json_integer(claims, "exp", false, &expiry).failure)
		return 0;
	return expiry;
}

static bool same_member(const json *a, const json *b, const char *name)
{
	const char *of_a = json_string_or_null(a, name), *of_b = json_string_or_null(b, name);

	return of_a && of_b && strcmp(of_a, of_b) == 0;
}

static bool holds_our_key(const json *claims, const json *runtime_data)
{
	const json *ours = json_first(json_get(runtime_data, "keys"));
	const json *keys = json_get(json_get(claims, "x-ms-runtime"), "keys");

	for (const json *key = json_first(keys); key; key = json_next(key))
		if (same_member(key, ours, "kid") && same_member(key, ours, "n") && same_member(key, ours, "e"))
			return true;
	return false;
}

skr_status attestation_token_check(const char *token, size_t len, const struct attestation_expectation *expected)
{
	auto_jws jws = {0};
	int64_t exp = 0, nbf = 0;

	TRY(token_open(token, len, &jws));
	const char *alg = json_string_or_null(jws.header, "alg");
	const char *iss = json_string_or_null(jws.payload, "iss");
	const char *nonce = json_string_or_null(jws.payload, "nonce");
	if (!alg || !strchr("RPE", alg[0]) || alg[0] == '\0' || jws.signature.len == 0)
		return FAIL(323, "alg: the token is not signed (%s)", alg ? alg : "none");
	if (!iss || !same_endpoint(iss, expected->instance))
		return FAIL(323, "iss: the token is from %s, not from %s", iss ? iss : "nobody", expected->instance);
	if (expected->nonce && (!nonce || strcmp(nonce, expected->nonce) != 0))
		return FAIL(323, "nonce: the token does not answer our request");
	if (expected->runtime_data && !holds_our_key(jws.payload, expected->runtime_data))
		return FAIL(323, "x-ms-runtime: the token is not about our transport key");
	if (json_integer(jws.payload, "exp", false, &exp).failure || exp <= expected->now)
		return FAIL(323, "exp: the token %s",
		            exp ? "expired already; is the clock right?" : "does not say when it ends");
	if (json_get(jws.payload, "nbf") &&
	    (json_integer(jws.payload, "nbf", false, &nbf).failure || nbf > expected->now + CLOCK_SKEW_S))
		return FAIL(323, "nbf: the token is not valid yet; is the clock right?");
	return OK;
}

/* ---- the errand ---- */

/* What support will ask for: which evidence it was, without the evidence. */
static skr_status name_evidence(skr_status status, const struct buf *evidence)
{
	struct status_record record = *status_last();
	auto_buf hex = BUF(65);
	uint8_t digest[32];
	bool named = !sha256(evidence->data, evidence->len, digest).failure && !hex_encode(digest, 8, &hex).failure;

	(void)status_adopt(&record);
	return named ? status_prefix(status, "evidence with SHA-256 %s..", buf_text(&hex)) : status;
}

static skr_status post(struct azure *azure, const char *url, const struct buf *body, const struct buf *evidence,
                       json **ret_answer)
{
	skr_status status = service_call_json(azure, &attestation_service,
	                                      &(struct http_request){.method = "POST",
	                                                             .url = url,
	                                                             .content_type = "application/json",
	                                                             .body = body->data,
	                                                             .body_len = body->len,
	                                                             .answer_limit = ANSWER_LIMIT,
	                                                             .limits = &http_limits_service},
	                                      ret_answer, NULL);

	if (status.failure == 320)
		return name_evidence(status, evidence);
	if (status.failure == 321)
		return status_prefix(status, "%s", azure->token->attestation);
	return status;
}

skr_status attestation_request(struct azure *azure, const char *route, const struct buf *body,
                               const struct buf *evidence, struct buf *ret_token)
{
	auto_buf url = BUF(512);
	auto_json *answer = NULL;

	TRY(buf_printf(&url, "%s/attest/%s", azure->token->attestation, route));
	TRY(post(azure, buf_text(&url), body, evidence, &answer));
	const char *token = json_string_or_null(answer, "token");
	if (!token)
		return attestation_blame(FAIL(323, "token: there is none"), azure);
	return buf_append_text(ret_token, token);
}

skr_status attestation_blame(skr_status status, const struct azure *azure)
{
	return service_blame(status, &attestation_service, azure->token->attestation);
}

static skr_status nonce_make(struct buf *out)
{
	uint8_t random[16];

	TRY(random_bytes(random, sizeof(random)));
	return base64url_encode(random, sizeof(random), out);
}

/* One errand: where to, what is printed into its body, what its answer must hold. */
struct errand {
	const char *route;
	const struct buf *evidence; /* what a refusal names */
	const json *runtime_data;   /* NULL: no key of ours is in it */
	const char *nonce;
};

/* Asks, and once more for a token that has not expired if the first one had. */
static skr_status run(struct azure *azure, const struct errand *errand, const struct buf *body, struct buf *ret_token)
{
	auto_buf token = BUF(JWT_LIMIT);
	skr_status status = OK;

	for (int i = 0; i < 2; i++) {
		struct attestation_expectation expected = {.instance = azure->token->attestation,
		                                           .nonce = errand->nonce,
		                                           .runtime_data = errand->runtime_data};

		buf_clear(&token);
		TRY(attestation_request(azure, errand->route, body, errand->evidence, &token));
		expected.now = wall_clock();
		status = attestation_token_check(buf_text(&token), token.len, &expected);
		int64_t expiry = status.failure ? attestation_expiry(buf_text(&token), token.len) : 0;
		if (expiry == 0 || expiry > expected.now)
			break;
	}
	if (status.failure)
		return attestation_blame(status, azure);
	buf_move(ret_token, &token);
	return OK;
}

static skr_status snp(struct azure *azure, const struct attestation_evidence *evidence, const json *runtime,
                      struct buf *ret_token)
{
	auto_buf body = BUF(REQUEST_LIMIT), nonce = BUF(64);

	TRY(nonce_make(&nonce));
	TRY(attestation_snp_print(evidence, buf_text(&nonce), &body));
	struct errand errand = {SNP_ROUTE, evidence->report, runtime, buf_text(&nonce)};
	return run(azure, &errand, &body, ret_token);
}

static skr_status tdx(struct azure *azure, const struct attestation_td *evidence, const json *runtime,
                      struct buf *ret_token)
{
	auto_buf body = BUF(REQUEST_LIMIT), nonce = BUF(64);

	TRY(nonce_make(&nonce));
	TRY(attestation_tdx_print(evidence, buf_text(&nonce), &body));
	struct errand errand = {TDX_ROUTE, evidence->quote, runtime, buf_text(&nonce)};
	return run(azure, &errand, &body, ret_token);
}

skr_status attestation_snp(struct azure *azure, const struct attestation_evidence *evidence, struct buf *ret_token)
{
	auto_json *runtime = NULL;

	TRY(json_parse(evidence->runtime_data->data, evidence->runtime_data->len, &runtime));
	return snp(azure, evidence, runtime, ret_token);
}

skr_status attestation_tdx(struct azure *azure, const struct attestation_td *evidence, struct buf *ret_token)
{
	auto_json *runtime = NULL;

	TRY(json_parse(evidence->runtime_data->data, evidence->runtime_data->len, &runtime));
	return tdx(azure, evidence, runtime, ret_token);
}

skr_status attestation_snp_direct(struct azure *azure, const struct attestation_evidence *evidence,
                                  struct buf *ret_token)
{
	return snp(azure, evidence, NULL, ret_token);
}

skr_status attestation_tdx_direct(struct azure *azure, const struct attestation_td *evidence, struct buf *ret_token)
{
	return tdx(azure, evidence, NULL, ret_token);
}
