/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/imds.h"

#include "azure/encoded.h"
#include "http/http.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TOKEN_ANSWER_LIMIT (32 * 1024)
#define THIM_ANSWER_LIMIT  (64 * 1024)
#define QUOTE_ANSWER_LIMIT (32 * 1024)
#define QUOTE_LIMIT        (16 * 1024)
#define CLOCK_SKEW_S       300

static int token_refusal(const struct service_error *error)
{
	switch (error->http) {
	case 400:
		return 301;
	case 401:
	case 403:
		return 302;
	case 404: /* starting */
	case 410: /* being upgraded */
		return 303;
	default:
		return 242;
	}
}

static const struct service metadata_tokens = {
    .name = "the metadata service",
    .step = "identity",
    .throttled = 303,
    .down = 303,
    .unreachable = 300,
    .refusal = token_refusal,
    .transient = {404, 410},
};

static const struct service app_service_tokens = {
    .name = "the identity endpoint",
    .step = "identity",
    .throttled = 303,
    .down = 303,
    .unreachable = 300,
    .refusal = token_refusal,
    .transient = {404},
};

static const struct service thim = {
    .name = "the metadata service (THIM)",
    .step = "evidence",
    .throttled = 141,
    .down = 141,
    .unreachable = 141,
    .refused = 141,
    .transient = {404, 410},
};

static const struct service quotes = {
    .name = "the host's quote service",
    .step = "evidence",
    .throttled = 241,
    .down = 240,
    .unreachable = 240,
    .refused = 140,
    .steady = 5,
};

/* The record's failure under another number, for answers that are not what they should be. */
static skr_status renumber(int failure)
{
	struct status_record record = *status_last();

	record.failure = failure;
	return status_adopt(&record);
}

/* Answers that came and are nothing: above the limit, of another type, no JSON. */
static bool is_garbage(skr_status status)
{
	return status.failure == 208 || status.failure == 212 || status.failure == 213;
}

/* ---- certificates ---- */

skr_status imds_amd_certification(struct azure *azure, json **ret)
{
	static const char *const members[] = {"vcekCert", "tcbm", "certificateChain"};
	auto_buf url = BUF(512);
	auto_json *answer = NULL;

	TRY(buf_printf(&url, "%s/metadata/THIM/amd/certification", azure->config->imds));
	skr_status status = service_call_json(azure, &thim,
	                                      &(struct http_request){.method = "GET",
	                                                             .url = buf_text(&url),
	                                                             .headers = {"Metadata: true"},
	                                                             .answer_limit = THIM_ANSWER_LIMIT,
	                                                             .limits = &http_limits_metadata,
	                                                             .direct = true},
	                                      &answer, NULL);
	if (is_garbage(status))
		return renumber(143);
	TRY(status);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (!json_string_or_null(answer, members[i]))
			return service_blame(FAIL(143, "no %s in it", members[i]), &thim, buf_text(&url));
	*ret = TAKE(answer);
	return OK;
}

/* ---- quotes ---- */

skr_status imds_td_quote_parse(const json *answer, struct buf *ret_quote)
{
	auto_buf quote = BUF(QUOTE_LIMIT);
	const char *text = json_string_or_null(answer, "quote");

	if (!text)
		return FAIL(140, "quote: there is none in it");
	if (base64_decode_any(text, strlen(text), &quote).failure || quote.len == 0)
		return FAIL(140, "quote: %zu characters that are no base64 of 1 byte to 16 KiB", strlen(text));
	return buf_append(ret_quote, quote.data, quote.len);
}

skr_status imds_td_quote(struct azure *azure, const uint8_t *report, size_t len, struct buf *ret_quote)
{
	auto_buf url = BUF(512), printed = BUF(QUOTE_LIMIT);
	auto_json *body = json_object(), *answer = NULL;

	TRY(buf_printf(&url, "%s/acc/tdquote", azure->config->imds));
	TRY(set_encoded(body, "report", report, len, base64url_encode));
	TRY(json_print(body, &printed));
	skr_status status = service_call_json(azure, &quotes,
	                                      &(struct http_request){.method = "POST",
	                                                             .url = buf_text(&url),
	                                                             .headers = {"Metadata: true"},
	                                                             .content_type = "application/json",
	                                                             .body = printed.data,
	                                                             .body_len = printed.len,
	                                                             .answer_limit = QUOTE_ANSWER_LIMIT,
	                                                             .limits = &http_limits_metadata,
	                                                             .direct = true},
	                                      &answer, NULL);
	if (is_garbage(status))
		return renumber(140);
	TRY(status);
	status = imds_td_quote_parse(answer, ret_quote);
	return status.failure ? service_blame(status, &quotes, buf_text(&url)) : OK;
}

/* ---- tokens ---- */

bool endpoint_is_local(const char *url)
{
	char host[64];
	struct in_addr v4;

	if (strncmp(url, "http://", 7) != 0)
		return false;
	url += 7;
	size_t authority = strcspn(url, "/?#"), len = url[0] == '[' ? strcspn(url, "]/") + 1 : strcspn(url, ":/?#");
	if (len >= sizeof(host) || len > authority || memchr(url, '@', authority) ||
	    (len < authority && url[len] != ':'))
		return false;
	memcpy(host, url, len);
	host[len] = '\0';
	if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) != 1)
		return false;
	uint32_t address = ntohl(v4.s_addr);
	return address >> 24 == 127 || address >> 16 == 0xa9fe; /* 127/8, 169.254/16 */
}

skr_status bearer_token_take(const char *text, struct buf *ret_token)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/=";
	size_t len = text ? strlen(text) : 0;

	if (len == 0)
		return FAIL(304, "access_token is missing or empty");
	if (len > TOKEN_ANSWER_LIMIT)
		return FAIL(304, "access_token has %zu bytes", len);
	if (strspn(text, allowed) != len)
		return FAIL(304, "access_token holds a character that no bearer token has");
	return buf_append(ret_token, text, len);
}

skr_status managed_token_parse(const json *answer, const char *audience, int64_t now, struct buf *ret_token,
                               bool *ret_expired)
{
	int64_t expires = 0, from = 0;
	const char *type = json_string_or_null(answer, "token_type");
	const char *resource = json_string_or_null(answer, "resource");

	*ret_expired = false;
	if (json_integer(answer, "expires_on", true, &expires).failure)
		return FAIL(304, "expires_on is missing or no number of seconds");
	if (expires <= now) {
		*ret_expired = true;
		return FAIL(304, "expires_on: the token expired %lld s ago", (long long)(now - expires));
	}
	if (json_get(answer, "not_before") &&
	    (json_integer(answer, "not_before", true, &from).failure || from > now + CLOCK_SKEW_S))
		return FAIL(304, "not_before: the token is not valid yet");
	if (resource && !same_endpoint(resource, audience))
		return FAIL(304, "resource: the token is for %s, not %s", resource, audience);
	if (type && strcasecmp(type, "Bearer") != 0)
		return FAIL(304, "token_type is %s, not Bearer", type);
	return bearer_token_take(json_string_or_null(answer, "access_token"), ret_token);
}

/* "&client_id=…", "&object_id=…", or the resource id under the name that this kind of endpoint wants. */
static skr_status append_selector(const char *selector, const char *resource_name, struct buf *url)
{
	if (!selector)
		return OK;
	if (strncmp(selector, "object:", 7) == 0) {
		TRY(buf_append_text(url, "&object_id="));
		return http_escape(selector + 7, url);
	}
	if (strncmp(selector, "resource:", 9) == 0) {
		TRY(buf_printf(url, "&%s=", resource_name));
		return http_escape(selector + 9, url);
	}
	TRY(buf_append_text(url, "&client_id="));
	return http_escape(selector, url);
}

/* Asks, and once more if the token that came had expired: such caches renew when they are asked. */
static skr_status managed_token(struct azure *azure, const struct service *service, const struct http_request *request,
                                const char *audience, const char *selector, struct buf *ret_token)
{
	auto_buf token = BUF(TOKEN_ANSWER_LIMIT);
	bool expired = true;
	skr_status status = OK;

	for (int i = 0; i < 2 && expired; i++) {
		auto_json *answer = NULL;

		status = service_call_json(azure, service, request, &answer, NULL);
		if (status.failure == 301)
			return status_prefix(status, "identity %s",
			                     selector ? selector : "(system-assigned, or the only one)");
		TRY(status);
		status = managed_token_parse(answer, audience, wall_clock(), &token, &expired);
	}
	if (status.failure)
		return service_blame(status, service, request->url);
	buf_move(ret_token, &token);
	return OK;
}

static skr_status token_base(const struct azure *azure, struct buf *url)
{
	const char *other = secure_getenv("AZURE_POD_IDENTITY_AUTHORITY_HOST");

	if (!other || !*other)
		return buf_append_text(url, azure->config->imds);
	if (!endpoint_is_local(other) && !azure->config->allow_custom_endpoint)
		return FAIL(5, "AZURE_POD_IDENTITY_AUTHORITY_HOST is no address of this machine");
	size_t len = strlen(other);
	return buf_append(url, other, other[len - 1] == '/' ? len - 1 : len);
}

skr_status imds_token(struct azure *azure, const char *audience, const char *selector, struct buf *ret_token)
{
	auto_buf url = BUF(2048);

	TRY(token_base(azure, &url));
	TRY(buf_append_text(&url, "/metadata/identity/oauth2/token?api-version=2018-02-01&resource="));
	TRY(http_escape(audience, &url));
	TRY(append_selector(selector, "msi_res_id", &url));
	return managed_token(azure, &metadata_tokens,
	                     &(struct http_request){.method = "GET",
	                                            .url = buf_text(&url),
	                                            .headers = {"Metadata: true"},
	                                            .answer_limit = TOKEN_ANSWER_LIMIT,
	                                            .limits = &http_limits_metadata,
	                                            .direct = true},
	                     audience, selector, ret_token);
}

skr_status app_service_token(struct azure *azure, const char *endpoint, const char *header, const char *audience,
                             const char *selector, struct buf *ret_token)
{
	auto_buf url = BUF(2048), secret = BUF(1024);

	if (!endpoint_is_local(endpoint) && !azure->config->allow_custom_endpoint)
		return FAIL(5, "IDENTITY_ENDPOINT is no address of this machine");
	TRY(buf_printf(&url, "%s?api-version=2019-08-01&resource=", endpoint));
	TRY(http_escape(audience, &url));
	TRY(append_selector(selector, "mi_res_id", &url));
	TRY(buf_printf(&secret, "X-IDENTITY-HEADER: %s", header));
	return managed_token(azure, &app_service_tokens,
	                     &(struct http_request){.method = "GET",
	                                            .url = buf_text(&url),
	                                            .headers = {buf_text(&secret)},
	                                            .answer_limit = TOKEN_ANSWER_LIMIT,
	                                            .limits = &http_limits_metadata,
	                                            .direct = true},
	                     audience, selector, ret_token);
}
