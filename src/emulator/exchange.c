/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/exchange.h"

#include "base/base64.h"
#include "emulator/faults.h"
#include "jose/jws.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static void pairs_done(struct pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		free(pairs->items[i].name);
		free(pairs->items[i].value);
	}
	free(pairs->items);
	*pairs = (struct pairs){0};
}

/* Takes both texts, also when it fails. */
static skr_status pairs_add(struct pairs *pairs, char *name, char *value)
{
	struct pair *items = name && value ? realloc(pairs->items, (pairs->count + 1) * sizeof(*items)) : NULL;

	if (!items) {
		free(name);
		free(value);
		return FAIL(14, "one more name and value");
	}
	pairs->items = items;
	pairs->items[pairs->count++] = (struct pair){name, value};
	return OK;
}

static const char *pairs_find(const struct pairs *pairs, const char *name)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (strcasecmp(pairs->items[i].name, name) == 0)
			return pairs->items[i].value;
	return NULL;
}

void exchange_done(struct exchange *x)
{
	free(x->method);
	free(x->host);
	free(x->authority);
	free(x->path);
	for (size_t i = 0; i < x->segment_count; i++)
		free(x->segments[i]);
	pairs_done(&x->query);
	pairs_done(&x->headers);
	pairs_done(&x->reply_headers);
	buf_done(&x->body);
	buf_done(&x->reply);
	json_free(x->json);
	*x = (struct exchange){0};
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A new text with %XX decoded (%00 and what is not hexadecimal stay as they are), and + as blank if `plus`. */
static char *percent_decode(const char *text, size_t len, bool plus)
{
	char *out = malloc(len + 1), *to = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		int high = text[i] == '%' && i + 2 < len ? hex_digit(text[i + 1]) : -1;
		int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
		if (low >= 0 && (high || low)) {
			*to++ = (char)(high * 16 + low);
			i += 2;
		} else {
			*to++ = plus && text[i] == '+' ? ' ' : text[i];
		}
	}
	*to = '\0';
	return out;
}

static skr_status parse_query(struct pairs *pairs, const char *text, bool plus)
{
	while (*text) {
		size_t len = strcspn(text, "&");
		size_t name_len = strcspn(text, "=&");
		size_t value_at = name_len < len ? name_len + 1 : len;
		if (len > 0)
			TRY(pairs_add(pairs, percent_decode(text, name_len, plus),
			              percent_decode(text + value_at, len - value_at, plus)));
		text += len + (text[len] == '&');
	}
	return OK;
}

static skr_status parse_path(struct exchange *x, const char *path, size_t len)
{
	for (size_t at = 0; at < len;) {
		size_t end = at;
		while (end < len && path[end] != '/')
			end++;
		if (end > at) {
			if (x->segment_count == sizeof(x->segments) / sizeof(*x->segments))
				return FAIL(209, "more than %zu path segments", x->segment_count);
			char *segment = percent_decode(path + at, end - at, false);
			if (!segment)
				return FAIL(14, "a path segment");
			x->segments[x->segment_count++] = segment;
		}
		at = end + 1;
	}
	return OK;
}

/* "Contoso.vault.localhost:8443" → "contoso.vault.localhost"; "[::1]:8443" → "[::1]" */
static char *host_of_authority(const char *authority)
{
	const char *end = authority[0] == '[' ? strchr(authority, ']') : NULL;
	size_t len = end ? (size_t)(end - authority) + 1 : strcspn(authority, ":");
	char *host = strndup(authority, len);

	for (char *c = host; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return host;
}

skr_status exchange_open(struct exchange *x, const char *method, const char *authority, const char *target)
{
	size_t path_len = strcspn(target, "?#");

	x->method = strdup(method);
	x->authority = strdup(authority);
	x->host = host_of_authority(authority);
	x->path = strdup(target);
	x->body = BUF(EXCHANGE_BODY_LIMIT);
	x->reply = BUF(64 * EXCHANGE_BODY_LIMIT);
	if (!x->method || !x->authority || !x->host || !x->path)
		return FAIL(14, "a request");
	TRY(parse_path(x, target, path_len));
	return target[path_len] == '?' ? parse_query(&x->query, target + path_len + 1, true) : OK;
}

skr_status exchange_add_header(struct exchange *x, const char *name, const char *value)
{
	return pairs_add(&x->headers, strdup(name), strdup(value));
}

const char *exchange_segment(const struct exchange *x, const char *word)
{
	const char *at = x->route ? x->route->path : "";

	for (size_t i = 0; i < x->segment_count && *at == '/'; i++) {
		size_t len = strcspn(++at, "/");
		if (at[0] == '{' && strlen(word) == len - 2 && strncmp(at + 1, word, len - 2) == 0)
			return x->segments[i];
		at += len;
	}
	return NULL;
}

const char *exchange_query(const struct exchange *x, const char *name)
{
	return pairs_find(&x->query, name);
}

const char *exchange_header(const struct exchange *x, const char *name)
{
	return pairs_find(&x->headers, name);
}

skr_status exchange_json(struct exchange *x, const json **ret)
{
	if (!x->json && x->body.len == 0)
		x->json = json_object();
	if (!x->json)
		TRY(json_parse_large(x->body.data, x->body.len, 4096, &x->json));
	if (json_kind(x->json) != JSON_OBJECT)
		return FAIL(213, "the body is no JSON object");
	*ret = x->json;
	return OK;
}

char *exchange_body_text(const struct exchange *x)
{
	return percent_decode(buf_text(&x->body), x->body.len, false);
}

char *exchange_form(const struct exchange *x, const char *name)
{
	struct pairs form = {0};
	char *value = NULL;

	if (!parse_query(&form, buf_text(&x->body), true).failure && pairs_find(&form, name))
		value = strdup(pairs_find(&form, name));
	pairs_done(&form);
	return value;
}

skr_status exchange_origin(const struct exchange *x, struct buf *out)
{
	return buf_printf(out, "%s://%s", x->tls ? "https" : "http", x->authority);
}

/* ---- answers ---- */

skr_status reply_text(struct exchange *x, int status, const char *content_type, const char *text)
{
	buf_clear(&x->reply);
	x->status = status;
	x->content_type = content_type;
	return buf_append_text(&x->reply, text);
}

skr_status reply_json(struct exchange *x, int status, json *body)
{
	auto_json *tree = body;

	buf_clear(&x->reply);
	x->status = status;
	x->content_type = "application/json; charset=utf-8";
	TRY(exchange_mutate(x, NULL, tree));
	return json_print(tree, &x->reply);
}

skr_status reply_error(struct exchange *x, int status, const char *code, const char *inner, const char *message, ...)
{
	json *body = json_object(), *error = json_object();
	char text[2048];
	va_list args;

	va_start(args, message);
	vsnprintf(text, sizeof(text), message, args);
	va_end(args);
	json_set_string(error, "code", code);
	json_set_string(error, "message", text);
	if (inner) {
		json *innererror = json_object();
		json_set_string(innererror, "code", inner);
		json_set(error, "innererror", innererror);
	}
	json_set(body, "error", error);
	return reply_json(x, status, body);
}

skr_status reply_header(struct exchange *x, const char *name, const char *value)
{
	return pairs_add(&x->reply_headers, strdup(name), strdup(value));
}

/* ---- mutate(…) ---- */

/* One character in the middle becomes another one of the base64url alphabet, so that the text still decodes. */
static void flip(char *text)
{
	size_t len = strlen(text);

	if (len > 0)
		text[len / 2] = text[len / 2] == 'A' ? 'B' : 'A';
}

static json *child(json *parent, const char *name, size_t len)
{
	char word[128];

	if (len >= sizeof(word))
		return NULL;
	memcpy(word, name, len);
	word[len] = '\0';
	if (json_kind(parent) == JSON_OBJECT)
		return (json *)json_get(parent, word);
	json *item = (json *)json_first(parent);
	for (long i = strtol(word, NULL, 10); item && i > 0; i--)
		item = (json *)json_next(item);
	return item;
}

static skr_status mutated_value(const json *old, const char *text, json **ret)
{
	json *value = NULL;

	if (strcmp(text, "flip") == 0 && json_text(old)) {
		auto_text *copy = strdup(json_text(old));
		if (!copy)
			return FAIL(14, "a text");
		flip(copy);
		value = json_of_string(copy);
	} else if (json_parse(text, strlen(text), &value).failure) {
		value = json_of_string(text);
	}
	*ret = value;
	return OK;
}

static skr_status mutate_one(json *tree, const char *path, const char *value)
{
	const char *dot = strchr(path, '.');

	/* A claim's name has no dots; a path that does not lead anywhere is left alone. */
	for (; dot && tree; dot = strchr(path, '.')) {
		tree = child(tree, path, (size_t)(dot - path));
		path = dot + 1;
	}
	if (json_kind(tree) != JSON_OBJECT)
		return OK;
	if (!value) {
		json_remove(tree, path);
		return OK;
	}
	json *fresh;
	TRY(mutated_value(json_get(tree, path), value, &fresh));
	json_set(tree, path, fresh);
	return OK;
}

/* The rest of a mutation's path behind "NAME."; NULL if it is not about NAME. Without NAME: what no name claims. */
static const char *path_within(const char *path, const char *name)
{
	static const char *const claimed[] = {"jws.", "jwt.", "key_hsm.", "header."};
	size_t len = name ? strlen(name) : 0;

	if (name)
		return strncmp(path, name, len) == 0 && path[len] == '.' ? path + len + 1 : NULL;
	for (size_t i = 0; i < sizeof(claimed) / sizeof(*claimed); i++)
		if (strncmp(path, claimed[i], strlen(claimed[i])) == 0)
			return NULL;
	return path;
}

skr_status exchange_mutate(struct exchange *x, const char *name, json *tree)
{
	for (const struct mutation *m = x->mutations; m; m = m->next) {
		const char *path = path_within(m->path, name);
		if (path)
			TRY(mutate_one(tree, path, m->value));
	}
	return OK;
}

/* Changes part `which` (0 header, 1 payload, 2 signature) of a finished token. */
static skr_status mutate_part(struct buf *token, int which, const char *value)
{
	auto_text *text = strdup(buf_text(token));
	char *parts[3] = {text, NULL, NULL};

	for (int i = 1; i < 3 && parts[i - 1]; i++)
		if ((parts[i] = strchr(parts[i - 1], '.')))
			*parts[i]++ = '\0';
	if (!text || !parts[2])
		return FAIL(599, "a token that is none");
	const char *shown[3] = {parts[0], parts[1], parts[2]};
	if (value && strcmp(value, "flip") == 0)
		flip(parts[which]);
	else
		shown[which] = value ? value : "";
	buf_clear(token);
	return buf_printf(token, "%s.%s.%s", shown[0], shown[1], shown[2]);
}

static skr_status mutate_raw(struct exchange *x, const char *name, struct buf *token)
{
	static const char *const parts[] = {"raw.header", "raw.payload", "raw.signature"};

	for (const struct mutation *m = x->mutations; m; m = m->next) {
		const char *path = path_within(m->path, name);
		for (int i = 0; path && i < 3; i++)
			if (strcmp(path, parts[i]) == 0)
				TRY(mutate_part(token, i, m->value));
	}
	return OK;
}

/* The header as the faults want it in place of the one that was signed: jws_sign refuses to sign "none" and its like.
 */
static skr_status replace_header(const json *header, struct buf *token)
{
	auto_buf text = BUF(64 * 1024), encoded = BUF(128 * 1024);

	TRY(json_print(header, &text));
	TRY(base64url_encode(text.data, text.len, &encoded));
	return mutate_part(token, 0, buf_text(&encoded));
}

skr_status exchange_sign(struct exchange *x, const char *name, json *header, json *payload, EVP_PKEY *key,
                         struct buf *out)
{
	char header_name[24], payload_name[24];
	auto_json *signed_header = json_copy(header);
	auto_buf text = BUF(256 * 1024), token = BUF(512 * 1024);

	snprintf(header_name, sizeof(header_name), "%s.header", name);
	snprintf(payload_name, sizeof(payload_name), "%s.payload", name);
	TRY(exchange_mutate(x, payload_name, payload));
	TRY(json_print(payload, &text));

	const char *alg = json_string_or_null(header, "alg");
	TRY(exchange_mutate(x, header_name, signed_header));
	const char *wanted = json_string_or_null(signed_header, "alg");
	bool signable = alg && wanted && strcmp(alg, wanted) == 0;
	TRY(jws_sign(signable ? signed_header : header, text.data, text.len, key, &token));
	if (!signable)
		TRY(replace_header(signed_header, &token));
	TRY(mutate_raw(x, name, &token));
	return buf_append(out, token.data, token.len);
}
