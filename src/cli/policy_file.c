/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy.h"

#include "azure/policy.h"
#include "azure/service.h"
#include "base/file.h"
#include "jose/jws.h"

#include <ctype.h>
#include <string.h>

#define FILE_LIMIT (256 * 1024)

enum exit_code policy_bad_input(struct terminal *t, const char *word)
{
	fprintf(t->err, "skr-pkcs11 policy %s: ", word);
	terminal_print(t->err, status_message());
	fputc('\n', t->err);
	return EXIT_USAGE;
}

skr_status policy_file_read(const char *path, json **ret_policy)
{
	auto_buf text = BUF(FILE_LIMIT);
	auto_json *policy = NULL;

	TRY(file_read(path, &text));
	skr_status status = policy_parse(text.data, text.len, &policy);
	if (!status.failure)
		status = policy_check(policy);
	if (status.failure)
		return status_prefix(status, "%s", path);
	*ret_policy = TAKE(policy);
	return OK;
}

/* A signature that was cut off still decodes: its length tells. */
static skr_status check_signature_length(const struct jws *jws)
{
	const char *alg = json_string_or_null(jws->header, "alg");
	size_t len = jws->signature.len;
	bool rsa = alg && (strncmp(alg, "RS", 2) == 0 || strncmp(alg, "PS", 2) == 0);
	bool ec = alg && strncmp(alg, "ES", 2) == 0;

	if (!rsa && !ec)
		return FAIL(340, "the token is not signed (alg %s); no vault takes it", alg ? alg : "missing");
	if (rsa ? len != 256 && len != 384 && len != 512 : len != 64 && len != 96 && len != 132)
		return FAIL(340, "the token is cut short: its signature has %zu bytes", len);
	return OK;
}

static skr_status check_dates(const json *claims)
{
	int64_t now = wall_clock(), from = 0, until = 0;

	if (json_integer(claims, "exp", false, &until).failure)
		return FAIL(340, "the token does not say when it ends (exp)");
	if (until <= now)
		return FAIL(
		    340,
		    "the token expired %lld min ago, and a vault would refuse it whatever it says; attest again, "
		    "or give the claims alone as JSON",
		    (long long)(now - until) / 60);
	if (!json_integer(claims, "nbf", false, &from).failure && from > now)
		return FAIL(340, "the token is valid only in %lld s: is the clock right?", (long long)(from - now));
	return OK;
}

static skr_status claims_of_token(const char *text, size_t len, json **ret_claims)
{
	auto_jws jws = {0};

	if (jws_parse(text, len, &jws).failure || jws_payload(&jws).failure)
		return status_prefix((skr_status){340}, "neither a JSON object of claims nor a whole token");
	TRY(check_signature_length(&jws));
	if (json_kind(jws.payload) != JSON_OBJECT)
		return FAIL(340, "the token holds no claims");
	TRY(check_dates(jws.payload));
	*ret_claims = TAKE(jws.payload);
	return OK;
}

static skr_status claims_parse(const char *text, size_t len, json **ret_claims, bool *ret_token)
{
	auto_json *claims = NULL;

	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	while (len > 0 && isspace((unsigned char)*text)) {
		text++;
		len--;
	}
	if (len == 0)
		return FAIL(213, "it is empty");
	*ret_token = *text != '{' && *text != '[';
	if (*ret_token)
		return claims_of_token(text, len, ret_claims);
	TRY(json_parse(text, len, &claims));
	if (json_kind(claims) != JSON_OBJECT)
		return FAIL(213, "claims are a JSON object");
	*ret_claims = TAKE(claims);
	return OK;
}

skr_status claims_file_read(const char *path, json **ret_claims, bool *ret_token)
{
	auto_buf text = BUF(FILE_LIMIT);

	TRY(file_read(path, &text));
	skr_status status = claims_parse(buf_text(&text), text.len, ret_claims, ret_token);
	return status.failure ? status_prefix(status, "%s", path) : OK;
}
