/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/maa.h"

#include "base/base64.h"

#include <ctype.h>
#include <string.h>

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && strchr(" \t\r\n", *at))
		at++;
	return at;
}

/* The end of the string that begins at `at`: behind its closing quote. */
static const char *skip_string(const char *at, const char *end)
{
	for (at++; at < end && *at != '"'; at++)
		if (*at == '\\')
			at++;
	return at < end ? at + 1 : end;
}

/*
 * The digits of a top-level member "nonce" that is a number; NULL: there is none. The sidecar sends up to 20 digits,
 * more than a JSON reader keeps.
 */
static const char *numeric_nonce(const char *text, const char *end)
{
	int depth = 0;

	for (const char *at = text; at < end;) {
		if (*at != '"') {
			depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
			at++;
			continue;
		}
		const char *name = at;
		at = skip_string(at, end);
		const char *colon = skip_blanks(at, end);
		if (depth != 1 || at - name != 7 || memcmp(name, "\"nonce\"", 7) != 0 || colon == end || *colon != ':')
			continue;
		at = skip_blanks(colon + 1, end);
		if (at < end && isdigit((unsigned char)*at))
			return at;
	}
	return NULL;
}

/* Copies a body, with quotes around a nonce that is a number. */
static skr_status quote_nonce(const char *text, size_t len, struct buf *out)
{
	const char *end = text + len, *digits = numeric_nonce(text, end);
	if (!digits)
		return buf_append(out, text, len);
	const char *behind = digits;
	while (behind < end && isdigit((unsigned char)*behind))
		behind++;
	TRY(buf_append(out, text, (size_t)(digits - text)));
	TRY(buf_append(out, "\"", 1));
	TRY(buf_append(out, digits, (size_t)(behind - digits)));
	TRY(buf_append(out, "\"", 1));
	return buf_append(out, behind, (size_t)(end - behind));
}

static skr_status decode(const char *name, const char *text, struct buf *out)
{
	out->limit = MAA_REQUEST_LIMIT;
	skr_status status = base64_decode_any(text, strlen(text), out);
	return status.failure ? status_prefix(status, "%s", name) : OK;
}

static skr_status decode_member(const json *object, const char *name, struct buf *out)
{
	const char *text;
	TRY(json_string(object, name, &text));
	return decode(name, text, out);
}

static skr_status parse_layer(const char *name, const struct buf *text, json **ret)
{
	skr_status status = json_parse(text->data, text->len, ret);
	if (status.failure)
		return status_prefix(status, "%s", name);
	return json_kind(*ret) == JSON_OBJECT ? OK : FAIL(213, "%s is not a JSON object", name);
}

/* {"Uvm":["…"]}: one endorsement in practice, so exactly one. */
static skr_status parse_endorsements(const json *evidence, struct buf *out)
{
	auto_buf text = BUF(0);
	auto_json *endorsements = NULL;
	if (!json_get(evidence, "Endorsements"))
		return OK;
	TRY(decode_member(evidence, "Endorsements", &text));
	TRY(parse_layer("Endorsements", &text, &endorsements));
	const json *list = json_get(endorsements, "Uvm");
	if (json_kind(list) != JSON_ARRAY || json_count(list) != 1 || !json_text(json_first(list)))
		return FAIL(213, "Endorsements: Uvm is not an array of one string");
	return decode("Uvm", json_text(json_first(list)), out);
}

static skr_status parse_report(const json *body, struct maa_request *out)
{
	auto_buf text = BUF(0);
	auto_json *evidence = NULL;
	TRY(decode_member(body, "report", &text));
	TRY(parse_layer("report", &text, &evidence));
	TRY(decode_member(evidence, "SnpReport", &out->report));
	TRY(decode_member(evidence, "VcekCertChain", &out->chain_pem));
	return parse_endorsements(evidence, &out->endorsement);
}

static skr_status parse_data(const json *body, const char *name, struct maa_data *out)
{
	const json *member = json_get(body, name);
	const char *type = json_string_or_null(member, "dataType");
	if (json_kind(member) == JSON_NONE || json_kind(member) == JSON_NULL)
		return OK;
	if (json_kind(member) != JSON_OBJECT)
		return FAIL(213, "%s is not an object", name);
	if (!json_string_or_null(member, "data") || !type)
		return FAIL(213, "%s lacks data or dataType", name);
	/* The sidecar sends both empty for "none", a client of confidential VMs the data alone. */
	bool empty = !*json_string_or_null(member, "data");
	if (!*type && empty)
		return OK;
	if (strcmp(type, "JSON") != 0 && strcmp(type, "Binary") != 0)
		return FAIL(213, "%s: dataType is neither JSON nor Binary", name);
	if (empty)
		return OK;
	TRY(decode(name, json_string_or_null(member, "data"), &out->bytes));
	out->there = true;
	return strcmp(type, "JSON") == 0 ? parse_layer(name, &out->bytes, &out->object) : OK;
}

static skr_status parse_text(const json *body, const char *name, struct buf *out)
{
	const json *member = json_get(body, name);
	if (json_kind(member) == JSON_NONE || json_kind(member) == JSON_NULL)
		return OK;
	if (!json_text(member))
		return FAIL(213, "%s is not a string", name);
	out->limit = MAA_REQUEST_LIMIT;
	return buf_append_text(out, json_text(member));
}

void maa_request_done(struct maa_request *request)
{
	struct buf *buffers[] = {&request->report,        &request->chain_pem,      &request->endorsement,
	                         &request->quote,         &request->nonce,          &request->draft_policy,
	                         &request->runtime.bytes, &request->init_time.bytes};
	for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++)
		buf_done(buffers[i]);
	json_free(request->runtime.object);
	json_free(request->init_time.object);
	*request = (struct maa_request){0};
}

skr_status maa_request_parse(enum maa_evidence evidence, const void *body, size_t len, struct maa_request *ret)
{
	auto_maa_request request = {0};
	auto_buf text = BUF(MAA_REQUEST_LIMIT);
	auto_json *tree = NULL;

	TRY(quote_nonce(body, len, &text));
	TRY(parse_layer("the request", &text, &tree));
	TRY(evidence == MAA_TD_QUOTE ? decode_member(tree, "quote", &request.quote) : parse_report(tree, &request));
	TRY(parse_data(tree, "runtimeData", &request.runtime));
	TRY(parse_data(tree, "initTimeData", &request.init_time));
	TRY(parse_text(tree, "nonce", &request.nonce));
	TRY(parse_text(tree, "draftPolicyForAttestation", &request.draft_policy));
	*ret = request;
	request = (struct maa_request){0};
	return OK;
}
