/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/maa.h"

#include "base/base64.h"
#include "emulator/authority.h"
#include "emulator/certificate.h"
#include "emulator/exchange.h"
#include "emulator/guest_attestation.h"
#include "emulator/hardware.h"
#include "emulator/vtpm.h"
#include "jose/jwk.h"
#include "jose/jws.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define YEAR (365LL * 24 * 60 * 60)

/* One of an instance's two signing keys; the second is published and never used. */
struct signer {
	EVP_PKEY *key;
	X509 *certificate;
	struct buf kid; /* standard base64 of SHA-256 of the public key */
};

struct instance {
	struct instance *next;
	char *host;
	struct signer signers[2];
};

/* Touched by route handlers alone, which run one at a time. */
struct maa {
	struct instance *instances;
	EVP_PKEY *stranger; /* a key that no instance publishes, for faults; made when first asked for */
};

/* ---- policy ---- */

static const char default_policy[] = "version= 1.0;\n"
                                     "authorizationrules\n{\n\t=> permit();\n};\n"
                                     "issuancerules\n{\n};\n";

/* x-ms-policy-hash: SHA-256 of the base64url text of the policy. */
static skr_status policy_hash(const char *policy, json *claims)
{
	uint8_t digest[32];
	auto_buf encoded = BUF(2 * MAA_REQUEST_LIMIT), hash = BUF(64);
	TRY(base64url_encode(policy, strlen(policy), &encoded));
	TRY(sha256(encoded.data, encoded.len, digest));
	TRY(base64url_encode(digest, sizeof(digest), &hash));
	json_set_string(claims, "x-ms-policy-hash", buf_text(&hash));
	return OK;
}

/*
 * Of the policy language only this much is played: a policy says its version, and a rule without a condition that
 * denies is a refusal. SKR-320 with the service's code.
 */
static skr_status check_draft(const char *policy)
{
	auto_buf dense = BUF(MAA_REQUEST_LIMIT);
	for (const char *at = policy; *at; at++)
		if (!isspace((unsigned char)*at))
			TRY(buf_append(&dense, at, 1));

	skr_status status = OK;
	const char *code = "PolicyParsingError";
	if (strncmp(buf_text(&dense), "version=", 8) != 0) {
		status = FAIL(320, "The draft policy does not begin with its version.");
	} else if (strstr(buf_text(&dense), "{=>deny();") || strstr(buf_text(&dense), ";=>deny();")) {
		code = "PolicyEvaluationError";
		status =
		    FAIL(320, "Native operation failed with 65518: A Deny claim was issued, authorization failed.");
	}
	if (status.failure)
		snprintf(status_amend()->svc_code, sizeof(status_amend()->svc_code), "%s", code);
	return status;
}

/* ---- instances ---- */

static void signer_done(struct signer *signer)
{
	EVP_PKEY_free(signer->key);
	X509_free(signer->certificate);
	buf_done(&signer->kid);
}

static void instance_free(struct instance *instance)
{
	for (int i = 0; i < 2; i++)
		signer_done(&instance->signers[i]);
	free(instance->host);
	free(instance);
}

/* The service signs its own certificate, named by the instance's address. */
static skr_status signer_certificate(struct emulator *e, const char *host, int number, struct signer *signer)
{
	char address[80], name[96];
	snprintf(address, sizeof(address), "https://%s", host);
	snprintf(name, sizeof(name), "maa-%s-%d.pem", host, number);
	const struct certificate_name subject[] = {{"CN", address}, {NULL, NULL}};
	struct certificate_plan plan = {
	    .subject = subject,
	    .key = signer->key,
	    .not_before = time(NULL) - 24 * 60 * 60,
	    .not_after = time(NULL) + 5 * YEAR,
	};
	return authority_kept_certificate(e, name, &plan, &signer->certificate);
}

static skr_status signer_open(struct emulator *e, const char *host, int number, struct signer *signer)
{
	uint8_t digest[32];
	char name[96];
	snprintf(name, sizeof(name), "maa-%s-%d.key", host, number);
	TRY(emulator_key(e, name, 2048, NULL, &signer->key));
	TRY(signer_certificate(e, host, number, signer));
	TRY(certificate_spki_sha256(signer->certificate, digest));
	signer->kid = BUF(64);
	return base64_encode(digest, sizeof(digest), &signer->kid);
}

/* The host becomes a file's name and a common name, which have 64 characters. */
static skr_status check_host(const char *host)
{
	size_t len = strlen(host);
	if (len == 0 || len > 64 - strlen("https://") ||
	    strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") != len ||
	    service_of_host(host) != SERVICE_ATTESTATION)
		return FAIL(340, "%s is no attestation instance", host);
	return OK;
}

static skr_status instance_open(struct emulator *e, const char *host, struct instance **ret)
{
	struct instance *instance = calloc(1, sizeof(*instance));
	if (!instance || !(instance->host = strdup(host))) {
		free(instance);
		return FAIL(14, "no memory for an attestation instance");
	}
	for (int i = 0; i < 2; i++) {
		skr_status status = signer_open(e, host, i + 1, &instance->signers[i]);
		if (status.failure) {
			instance_free(instance);
			return status;
		}
	}
	*ret = instance;
	return OK;
}

/* Any name is an instance; it comes to be when it is first asked. */
static skr_status instance_get(struct emulator *e, const char *host, const struct instance **ret)
{
	struct instance *found = e->maa->instances;
	while (found && strcmp(found->host, host) != 0)
		found = found->next;
	if (!found) {
		TRY(check_host(host));
		TRY(instance_open(e, host, &found));
		found->next = e->maa->instances;
		e->maa->instances = found;
	}
	*ret = found;
	return OK;
}

/* ---- tokens ---- */

static skr_status random_jti(json *claims)
{
	uint8_t id[32];
	auto_buf text = BUF(64);
	TRY(random_bytes(id, sizeof(id)));
	TRY(hex_encode(id, sizeof(id), &text));
	json_set_string(claims, "jti", buf_text(&text));
	return OK;
}

static skr_status common_claims(struct emulator *e, struct exchange *x, const struct maa_verdict *verdict)
{
	json *claims = verdict->claims;
	auto_rules rules = {0};
	auto_buf issuer = BUF(512);
	int64_t now = emulator_now(e);
	TRY(hardware_attestation_rules(e, &rules));
	TRY(exchange_origin(x, &issuer));

	json_set_number(claims, "exp", now + rules.token_lifetime);
	json_set_number(claims, "iat", now);
	json_set_number(claims, "nbf", now);
	json_set_string(claims, "iss", buf_text(&issuer));
	json_set_string(claims, "x-ms-ver", "1.0");
	if (verdict->nonce.len)
		json_set_string(claims, "nonce", buf_text(&verdict->nonce));
	TRY(policy_hash(verdict->draft_policy.len ? buf_text(&verdict->draft_policy) : default_policy, claims));
	return random_jti(claims);
}

/* What tells a token for a draft policy from a real one: nobody signed it. */
static skr_status unsigned_token(const json *claims, struct buf *out)
{
	static const char header[] = "{\"alg\":\"none\",\"typ\":\"JWT\"}";
	auto_buf text = BUF(MAA_REQUEST_LIMIT);
	TRY(json_print(claims, &text));
	TRY(base64url_encode(header, strlen(header), out));
	TRY(buf_append_text(out, "."));
	TRY(base64url_encode(text.data, text.len, out));
	return buf_append_text(out, ".");
}

static skr_status signing_key(struct emulator *e, const struct exchange *x, const struct signer *signer, EVP_PKEY **ret)
{
	if (x->signer == LEAF_GOOD) {
		*ret = signer->key;
		return OK;
	}
	if (!e->maa->stranger)
		TRY(key_generate("RSA-2048", &e->maa->stranger));
	*ret = e->maa->stranger;
	return OK;
}

static skr_status signed_token(struct emulator *e, struct exchange *x, json *claims, struct buf *out)
{
	const struct instance *instance;
	EVP_PKEY *key;
	auto_buf jku = BUF(512);
	auto_json *header = json_object();
	TRY(instance_get(e, x->host, &instance));
	TRY(signing_key(e, x, &instance->signers[0], &key));
	TRY(exchange_origin(x, &jku));
	TRY(buf_append_text(&jku, "/certs"));

	json_set_string(header, "alg", "RS256");
	json_set_string(header, "jku", buf_text(&jku));
	json_set_string(header, "kid", buf_text(&instance->signers[0].kid));
	json_set_string(header, "typ", "JWT");
	return exchange_sign(x, "jwt", header, claims, key, out);
}

/* ---- routes ---- */

/* A refusal in the service's own envelope; what is our own trouble stays a failure. */
static skr_status refuse(struct exchange *x, skr_status why)
{
	char sentence[640], code[64];
	snprintf(sentence, sizeof(sentence), "%s", status_message());
	snprintf(code, sizeof(code), "%.63s", status_last()->svc_code);
	switch (why.failure) {
	case 116:
	case 117:
	case 208:
	case 213:
		return reply_error(x, 400, "InvalidParameter", NULL, "%s", sentence);
	case 320:
		return reply_error(x, 400, code, NULL, "%s", sentence);
	default:
		return why;
	}
}

/* ---- kinds of evidence ---- */

static skr_status evaluate_request(struct emulator *e, struct exchange *x, enum maa_evidence evidence,
                                   struct maa_verdict *verdict)
{
	auto_maa_request request = {0};
	TRY(maa_request_parse(evidence, x->body.data, x->body.len, &request));
	TRY((evidence == MAA_TD_QUOTE ? maa_evaluate_td : maa_evaluate)(e, &request, verdict->claims));
	buf_move(&verdict->nonce, &request.nonce);
	buf_move(&verdict->draft_policy, &request.draft_policy);
	return OK;
}

static skr_status evaluate_snp(struct emulator *e, struct exchange *x, struct maa_verdict *verdict)
{
	return evaluate_request(e, x, MAA_SNP_REPORT, verdict);
}

static skr_status evaluate_td(struct emulator *e, struct exchange *x, struct maa_verdict *verdict)
{
	return evaluate_request(e, x, MAA_TD_QUOTE, verdict);
}

static skr_status evaluate_guest(struct emulator *e, struct exchange *x, struct maa_verdict *verdict)
{
	auto_rules rules = {0};
	struct guest_trust trust = {.now = emulator_now(e)};
	TRY(hardware_attestation_rules(e, &rules));
	TRY(intel_trust(e, &trust.intel));
	TRY(vtpm_authority(e, &trust.vtpm_authority));
	trust.amd = (struct report_trust){rules.ark, rules.accept_real_amd, trust.now};
	trust.secure_boot_without_log = rules.secure_boot_without_log;
	return guest_evaluate(x->body.data, x->body.len, &trust, verdict->claims, &verdict->transport);
}

static skr_status seal_guest(struct exchange *x, EVP_PKEY *transport, const struct buf *token, struct buf *out)
{
	auto_json *envelope = NULL;
	auto_buf text = BUF(2 * MAA_REQUEST_LIMIT);
	TRY(guest_seal(transport, buf_text(token), token->len, &envelope));
	TRY(exchange_mutate(x, "sealed", envelope));
	TRY(json_print(envelope, &text));
	return base64url_encode(text.data, text.len, out);
}

struct attestation_type {
	const char *name;  /* in any case */
	const char *since; /* the first api-version that has it */
	/* Fills a verdict whose claims are an empty object. SKR-116, 117, 213 become a refusal. NULL: not played. */
	skr_status (*evaluate)(struct emulator *e, struct exchange *x, struct maa_verdict *verdict);
	/* What stands in the answer in place of the token itself; NULL: the token. */
	skr_status (*seal)(struct exchange *x, EVP_PKEY *transport, const struct buf *token, struct buf *out);
};
static const struct attestation_type attestation_types[] = {
    {"SevSnpVm", "2018-09-01", evaluate_snp, NULL},
    {"TdxVm", "2023-04-01", evaluate_td, NULL},
    {"AzureGuest", "2020-10-01", evaluate_guest, seal_guest},
    {"SgxEnclave", "2018-09-01", NULL, NULL},
    {"OpenEnclave", "2018-09-01", NULL, NULL},
    {"Tpm", "2018-09-01", NULL, NULL},
};

/* NULL: there is no such type. */
static const struct attestation_type *find_type(const char *name)
{
	for (size_t i = 0; i < sizeof(attestation_types) / sizeof(attestation_types[0]); i++)
		if (strcasecmp(name, attestation_types[i].name) == 0)
			return &attestation_types[i];
	return NULL;
}

static skr_status attest(struct emulator *e, struct exchange *x, const struct attestation_type *type, json **ret)
{
	auto_maa_verdict verdict = {.claims = json_object()};
	auto_json *answer = json_object();
	auto_buf token = BUF(MAA_REQUEST_LIMIT), sealed = BUF(4 * MAA_REQUEST_LIMIT);
	TRY(type->evaluate(e, x, &verdict));
	if (verdict.draft_policy.len)
		TRY(check_draft(buf_text(&verdict.draft_policy)));
	TRY(common_claims(e, x, &verdict));
	json_sort(verdict.claims);

	if (verdict.draft_policy.len)
		TRY(unsigned_token(verdict.claims, &token));
	else
		TRY(signed_token(e, x, verdict.claims, &token));
	if (type->seal)
		TRY(type->seal(x, verdict.transport, &token, &sealed));
	json_set_string(answer, "token", buf_text(type->seal ? &sealed : &token));
	*ret = TAKE(answer);
	return OK;
}

static bool known_version(const char *version)
{
	static const char *const versions[] = {"2018-09-01-preview", "2020-10-01",         "2022-08-01",
	                                       "2022-09-01-preview", "2023-04-01-preview", "2025-06-01",
	                                       "2026-03-11-preview"};
	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		if (strcmp(version, versions[i]) == 0)
			return true;
	return false;
}

/* Whether the request is of a kind that is answered at all; if not, the reply says so. */
static skr_status check_request(struct exchange *x, bool *ret_good)
{
	const char *version = exchange_query(x, "api-version"), *type = exchange_header(x, "Content-Type");
	*ret_good = false;
	if (!version)
		return reply_error(x, 400, "InvalidParameter", NULL, "The query parameter api-version is missing.");
	if (!known_version(version))
		return reply_error(x, 400, "InvalidParameter", NULL, "The api-version %s is not served.", version);
	if (strcmp(x->method, "POST") == 0 && (!type || strncasecmp(type, "application/json", 16) != 0))
		return reply_error(x, 415, "UnsupportedMediaType", NULL, "The body must be application/json.");
	*ret_good = true;
	return OK;
}

static skr_status post_attest(struct emulator *e, struct exchange *x)
{
	const char *name = exchange_segment(x, "type");
	const struct attestation_type *type = find_type(name);
	bool good;
	json *answer;

	TRY(check_request(x, &good));
	if (!good)
		return OK;
	if (!type)
		return reply_error(x, 404, "NotFound", NULL, "There is no attestation type %s.", name);
	if (!type->evaluate)
		return reply_error(x, 400, "InvalidParameter", NULL, "%s evidence is not played by this emulator.",
		                   type->name);
	/* Versions begin with their date. */
	if (strcmp(exchange_query(x, "api-version"), type->since) < 0)
		return reply_error(x, 400, "InvalidParameter", NULL, "The api-version %s does not have %s.",
		                   exchange_query(x, "api-version"), type->name);

	skr_status status = attest(e, x, type, &answer);
	if (status.failure)
		return refuse(x, status);
	return reply_json(x, 200, answer);
}

static skr_status published_key(const struct signer *signer, bool with_numbers, json **ret)
{
	auto_json *key = NULL;
	auto_buf der = BUF(8 * 1024), text = BUF(16 * 1024);
	json *x5c = json_array();

	if (with_numbers)
		TRY(jwk_from_key(signer->key, &key));
	else
		key = json_object();
	json_set_string(key, "alg", "RS256");
	json_set_string(key, "kid", buf_text(&signer->kid));
	json_set_string(key, "kty", "RSA");
	json_set_string(key, "use", "sig");
	json_set(key, "x5c", x5c);
	TRY(certificate_to_der(signer->certificate, &der));
	TRY(base64_encode(der.data, der.len, &text));
	json_push(x5c, json_of_string(buf_text(&text)));
	json_sort(key);
	*ret = TAKE(key);
	return OK;
}

static skr_status get_certs(struct emulator *e, struct exchange *x)
{
	const struct instance *instance;
	auto_rules rules = {0};
	auto_json *answer = json_object();
	json *keys = json_array(), *key;
	json_set(answer, "keys", keys);
	TRY(instance_get(e, x->host, &instance));
	TRY(hardware_attestation_rules(e, &rules));
	for (int i = 0; i < 2; i++) {
		TRY(published_key(&instance->signers[i], rules.certs_with_numbers, &key));
		json_push(keys, key);
	}
	return reply_json(x, 200, TAKE(answer));
}

static json *texts(const char *const *names)
{
	json *list = json_array();
	for (; *names; names++)
		json_push(list, json_of_string(*names));
	return list;
}

static skr_status set_url(struct exchange *x, json *object, const char *name, const char *path)
{
	auto_buf url = BUF(512);
	TRY(exchange_origin(x, &url));
	TRY(buf_append_text(&url, path));
	json_set_string(object, name, buf_text(&url));
	return OK;
}

static skr_status get_metadata(struct emulator *e, struct exchange *x)
{
	static const char *const responses[] = {"token", "none", NULL}, *const algorithms[] = {"RS256", NULL};
	static const char *const claims[] = {
	    "is-debuggable", "sgx-mrsigner", "sgx-mrenclave",  "product-id",          "svn",
	    "tee",           "device_id",    "component_0_id", "expected_components", NULL};
	(void)e;
	auto_json *answer = json_object();
	TRY(set_url(x, answer, "issuer", ""));
	TRY(set_url(x, answer, "jwks_uri", "/certs"));
	json_set(answer, "response_types_supported", texts(responses));
	json_set(answer, "id_token_signing_alg_values_supported", texts(algorithms));
	TRY(set_url(x, answer, "revocation_endpoint", "/revoke"));
	json_set(answer, "claims_supported", texts(claims));
	return reply_json(x, 200, TAKE(answer));
}

/* The policy as the service stores it: an unsigned JWS around it. */
static skr_status stored_policy(struct buf *out)
{
	auto_json *policy = json_object();
	auto_buf encoded = BUF(8 * 1024);
	TRY(base64url_encode(default_policy, strlen(default_policy), &encoded));
	json_set_string(policy, "AttestationPolicy", buf_text(&encoded));
	return unsigned_token(policy, out);
}

static skr_status get_policy(struct emulator *e, struct exchange *x)
{
	auto_json *claims = json_object(), *answer = json_object();
	auto_buf policy = BUF(16 * 1024), token = BUF(64 * 1024);
	bool good;
	TRY(check_request(x, &good));
	if (!good)
		return OK;
	if (!find_type(exchange_segment(x, "type")))
		return reply_error(x, 404, "NotFound", NULL, "There is no attestation type of this name.");

	TRY(stored_policy(&policy));
	TRY(set_url(x, claims, "iss", ""));
	json_set_number(claims, "iat", emulator_now(e));
	json_set_number(claims, "nbf", emulator_now(e));
	json_set_string(claims, "x-ms-policy", buf_text(&policy));
	json_sort(claims);
	TRY(signed_token(e, x, claims, &token));
	json_set_string(answer, "token", buf_text(&token));
	return reply_json(x, 200, TAKE(answer));
}

const struct route maa_routes[] = {
    {SERVICE_ATTESTATION, "POST", "/attest/{type}", "maa.attest", post_attest},
    {SERVICE_ATTESTATION, "GET", "/certs", "maa.certs", get_certs},
    {SERVICE_ATTESTATION, "GET", "/.well-known/openid-configuration", "maa.metadata", get_metadata},
    {SERVICE_ATTESTATION, "GET", "/policies/{type}", "maa.policy", get_policy},
    {0},
};

/* ---- for the vaults ---- */

/* The host of "https://HOST[:PORT]", which is all that an issuer may be. */
static skr_status issuer_host(const char *issuer, char *out, size_t size)
{
	const char *host = strncmp(issuer, "https://", 8) == 0 ? issuer + 8 : NULL;
	size_t len = host ? strcspn(host, ":") : 0;
	const char *port = host && host[len] == ':' ? host + len + 1 : "";
	if (len == 0 || len >= size || port[strspn(port, "0123456789")])
		return FAIL(340, "the attestation token's issuer is %s, not an instance", issuer);
	memcpy(out, host, len);
	out[len] = '\0';
	return OK;
}

static skr_status verify_token(struct emulator *e, const struct jws *jws)
{
	const char *issuer, *kid = json_string_or_null(jws->header, "kid");
	const char *alg = json_string_or_null(jws->header, "alg");
	const struct instance *instance;
	char host[256];
	TRY(json_string(jws->payload, "iss", &issuer));
	TRY(issuer_host(issuer, host, sizeof(host)));
	TRY(instance_get(e, host, &instance));
	if (!alg || strcmp(alg, "RS256") != 0)
		return FAIL(340, "the attestation token's alg is not RS256");
	for (int i = 0; kid && i < 2; i++)
		if (strcmp(kid, buf_text(&instance->signers[i].kid)) == 0)
			return jws_verify_with_key(jws, instance->signers[i].key);
	return FAIL(340, "%s has no key of the kid in the attestation token", issuer);
}

static skr_status check_dates(struct emulator *e, const json *claims)
{
	int64_t from, until, now = emulator_now(e);
	TRY(json_integer(claims, "nbf", false, &from));
	TRY(json_integer(claims, "exp", false, &until));
	if (now < from)
		return FAIL(340, "the attestation token is not valid before %lld, it is %lld", (long long)from,
		            (long long)now);
	if (now >= until)
		return FAIL(340, "the attestation token expired at %lld, it is %lld", (long long)until, (long long)now);
	return OK;
}

skr_status maa_token_claims(struct emulator *e, const char *token, json **ret_claims)
{
	auto_jws jws = {0};
	TRY(jws_parse(token, strlen(token), &jws));
	TRY(jws_payload(&jws));
	TRY(verify_token(e, &jws));
	TRY(check_dates(e, jws.payload));
	*ret_claims = TAKE(jws.payload);
	return OK;
}

skr_status maa_open(struct emulator *e)
{
	e->maa = calloc(1, sizeof(*e->maa));
	return e->maa ? OK : FAIL(14, "no memory for the attestation instances");
}

void maa_close(struct emulator *e)
{
	if (!e->maa)
		return;
	while (e->maa->instances) {
		struct instance *next = e->maa->instances->next;
		instance_free(e->maa->instances);
		e->maa->instances = next;
	}
	EVP_PKEY_free(e->maa->stranger);
	free(e->maa);
	e->maa = NULL;
}
