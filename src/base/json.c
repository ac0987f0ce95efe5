/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <cjson/cJSON.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Two readers. The strict one below goes over the text once and decides whether it is acceptable; cJSON then builds
 * the tree. Duplicate names are looked for in the tree, where escapes are resolved.
 */

enum { DEPTH_LIMIT = 16, MEMBERS_LIMIT = 512, STRING_LIMIT = 64 * 1024, DIGITS_LIMIT = 16 };
enum { LARGE_STRING_LIMIT = 1024 * 1024 };
static const int64_t integer_limit = INT64_C(1) << 53;

struct reader {
	const uint8_t *text;
	size_t len, at;
	size_t members, members_limit, string_limit;
	unsigned depth;
};

static skr_status refuse(const struct reader *r, const char *what)
{
	return FAIL(213, "%s at offset %zu of %zu bytes of JSON", what, r->at, r->len);
}

static int peek(const struct reader *r)
{
	return r->at < r->len ? r->text[r->at] : -1;
}

static void skip_blanks(struct reader *r)
{
	while (r->at < r->len &&
	       (r->text[r->at] == ' ' || r->text[r->at] == '\t' || r->text[r->at] == '\n' || r->text[r->at] == '\r'))
		r->at++;
}

static int hex4(const struct reader *r, size_t at)
{
	int value = 0;

	if (r->len - at < 4)
		return -1;
	for (size_t i = at; i < at + 4; i++) {
		int c = r->text[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
		            : c >= 'a' && c <= 'f' ? c - 'a' + 10
		            : c >= 'A' && c <= 'F' ? c - 'A' + 10
		                                   : -1;
		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* After "\u": four digits, and the second half of a surrogate pair. NUL would end cJSON's strings early. */
static skr_status scan_unicode_escape(struct reader *r)
{
	int unit = hex4(r, r->at);

	if (unit <= 0)
		return refuse(r, unit == 0 ? "NUL in a string" : "bad \\u escape");
	r->at += 4;
	if (unit < 0xd800 || unit > 0xdfff)
		return OK;
	if (unit > 0xdbff || r->len - r->at < 6 || r->text[r->at] != '\\' || r->text[r->at + 1] != 'u')
		return refuse(r, "half a surrogate pair");
	int low = hex4(r, r->at + 2);
	if (low < 0xdc00 || low > 0xdfff)
		return refuse(r, "half a surrogate pair");
	r->at += 6;
	return OK;
}

/* One character of more than one byte; overlong forms, surrogates and values above U+10FFFF are refused. */
static skr_status scan_utf8(struct reader *r)
{
	uint8_t first = r->text[r->at];
	size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
	uint32_t c = first & (0x3fU >> more);

	if (first < 0xc2 || first > 0xf4 || r->len - r->at <= more)
		return refuse(r, "bad UTF-8");
	for (size_t i = 1; i <= more; i++) {
		if ((r->text[r->at + i] & 0xc0) != 0x80)
			return refuse(r, "bad UTF-8");
		c = c << 6 | (r->text[r->at + i] & 0x3fU);
	}
	if ((more == 2 && c < 0x800) || (more == 3 && c < 0x10000) || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
		return refuse(r, "bad UTF-8");
	r->at += more + 1;
	return OK;
}

static skr_status scan_string(struct reader *r)
{
	size_t start = r->at;

	if (peek(r) != '"')
		return refuse(r, "no string");
	r->at++;
	for (;;) {
		int c = peek(r);
		if (c < 0x20)
			return refuse(r, c < 0 ? "string without end" : "control character in a string");
		if (r->at - start > r->string_limit)
			return refuse(r,
			              r->string_limit == STRING_LIMIT ? "string above 64 KiB" : "string above 1 MiB");
		if (c == '"') {
			r->at++;
			return OK;
		}
		if (c >= 0x80) {
			TRY(scan_utf8(r));
			continue;
		}
		r->at++;
		if (c != '\\')
			continue;
		c = peek(r);
		if (c <= 0 || !strchr("\"\\/bfnrtu", c))
			return refuse(r, "bad escape");
		r->at++;
		if (c == 'u')
			TRY(scan_unicode_escape(r));
	}
}

static size_t scan_digits(struct reader *r)
{
	size_t start = r->at;

	while (r->at < r->len && r->text[r->at] >= '0' && r->text[r->at] <= '9')
		r->at++;
	return r->at - start;
}

/* Integers within +-2^53. No service we talk to sends fractions or exponents, and cJSON would read them by locale. */
static skr_status scan_number(struct reader *r)
{
	if (peek(r) == '-')
		r->at++;
	size_t start = r->at;
	size_t digits = scan_digits(r);
	if (digits == 0 || (digits > 1 && r->text[start] == '0'))
		return refuse(r, "bad number");
	if (peek(r) == '.' || peek(r) == 'e' || peek(r) == 'E')
		return refuse(r, "number with fraction or exponent");
	if (digits > DIGITS_LIMIT)
		return refuse(r, "number beyond 2^53");
	int64_t value = 0;
	for (size_t i = start; i < r->at; i++)
		value = value * 10 + (r->text[i] - '0');
	return value <= integer_limit ? OK : refuse(r, "number beyond 2^53");
}

static skr_status scan_word(struct reader *r, const char *word)
{
	size_t len = strlen(word);

	if (r->len - r->at < len || memcmp(r->text + r->at, word, len) != 0)
		return refuse(r, "no JSON value");
	r->at += len;
	return OK;
}

static skr_status scan_value(struct reader *r);

static skr_status scan_members(struct reader *r, int end)
{
	r->at++;
	skip_blanks(r);
	if (peek(r) == end) {
		r->at++;
		return OK;
	}
	for (;;) {
		if (++r->members > r->members_limit)
			return refuse(r, "too many members");
		if (end == '}') {
			TRY(scan_string(r));
			skip_blanks(r);
			if (peek(r) != ':')
				return refuse(r, "no colon");
			r->at++;
			skip_blanks(r);
		}
		TRY(scan_value(r));
		skip_blanks(r);
		if (peek(r) == end) {
			r->at++;
			return OK;
		}
		if (peek(r) != ',')
			return refuse(r, "neither comma nor end");
		r->at++;
		skip_blanks(r);
	}
}

static skr_status scan_value(struct reader *r)
{
	int c = peek(r);

	if (c == '"')
		return scan_string(r);
	if (c == '{' || c == '[') {
		if (++r->depth > DEPTH_LIMIT)
			return refuse(r, "nested too deep");
		TRY(scan_members(r, c == '{' ? '}' : ']'));
		r->depth--;
		return OK;
	}
	if (c == '-' || (c >= '0' && c <= '9'))
		return scan_number(r);
	return scan_word(r, c == 't' ? "true" : c == 'f' ? "false" : "null");
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* cJSON prints what has more than 15 digits with an exponent. Such a number is kept as its text, beside its value. */
static void keep_digits(cJSON *number)
{
	static const double exact = 1e15;

	if (number->valuedouble > -exact && number->valuedouble < exact)
		return;
	char digits[24];
	snprintf(digits, sizeof(digits), "%lld", (long long)number->valuedouble);
	cJSON *raw = cJSON_CreateRaw(digits);
	if (!raw) {
		number->type = cJSON_Invalid;
		return;
	}
	number->type = (number->type & ~0xff) | cJSON_Raw;
	number->valuestring = raw->valuestring;
	raw->valuestring = NULL;
	cJSON_Delete(raw);
}

static skr_status settle(cJSON *node)
{
	size_t count = json_count(node);

	if (cJSON_IsObject(node) && count > 1) {
		const char **names = calloc(count, sizeof(*names));
		size_t i = 0;
		if (!names)
			return FAIL(14, "%zu member names", count);
		for (const cJSON *child = node->child; child; child = child->next)
			names[i++] = child->string;
		qsort(names, count, sizeof(*names), compare_names);
		for (i = 1; i < count && strcmp(names[i - 1], names[i]) != 0; i++)
			;
		skr_status status = i < count ? FAIL(213, "member \"%.64s\" twice", names[i]) : OK;
		free(names);
		TRY(status);
	}
	for (cJSON *child = node->child; child; child = child->next)
		TRY(settle(child));
	if (cJSON_IsNumber(node))
		keep_digits(node);
	return OK;
}

static skr_status build(const struct reader *r, json **ret)
{
	auto_json *tree = cJSON_ParseWithLength((const char *)r->text, r->at);

	if (!tree)
		return FAIL(14, "%zu bytes of JSON", r->at);
	TRY(settle(tree));
	*ret = TAKE(tree);
	return OK;
}

static skr_status parse_whole(struct reader *r, json **ret)
{
	skip_blanks(r);
	TRY(scan_value(r));
	skip_blanks(r);
	if (r->at != r->len)
		return refuse(r, "something after the value");
	return build(r, ret);
}

skr_status json_parse_large(const void *text, size_t len, size_t members, json **ret)
{
	struct reader r = {.text = text, .len = len, .members_limit = members, .string_limit = LARGE_STRING_LIMIT};
	return parse_whole(&r, ret);
}

skr_status json_parse_first(const void *text, size_t len, json **ret)
{
	struct reader r = {.text = text, .len = len, .members_limit = MEMBERS_LIMIT, .string_limit = STRING_LIMIT};

	skip_blanks(&r);
	TRY(scan_value(&r));
	return build(&r, ret);
}

skr_status json_parse(const void *text, size_t len, json **ret)
{
	struct reader r = {.text = text, .len = len, .members_limit = MEMBERS_LIMIT, .string_limit = STRING_LIMIT};
	return parse_whole(&r, ret);
}

/* Texts of documents may be keys and tokens. Trees are as deep as the reader lets them be. */
static void wipe_texts(cJSON *node)
{
	for (; node; node = node->next) {
		if (node->valuestring)
			explicit_bzero(node->valuestring, strlen(node->valuestring));
		wipe_texts(node->child);
	}
}

void json_free(json *j)
{
	wipe_texts(j);
	cJSON_Delete(j);
}

enum json_kind json_kind(const json *j)
{
	if (!j)
		return JSON_NONE;
	switch (j->type & 0xff) {
	case cJSON_NULL:
		return JSON_NULL;
	case cJSON_False:
	case cJSON_True:
		return JSON_BOOL;
	case cJSON_Number:
	case cJSON_Raw: /* keep_digits */
		return JSON_NUMBER;
	case cJSON_String:
		return JSON_STRING;
	case cJSON_Array:
		return JSON_ARRAY;
	case cJSON_Object:
		return JSON_OBJECT;
	default:
		return JSON_NONE;
	}
}

const json *json_get(const json *object, const char *name)
{
	return json_kind(object) == JSON_OBJECT ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

const char *json_text(const json *j)
{
	return json_kind(j) == JSON_STRING ? j->valuestring : NULL;
}

const char *json_string_or_null(const json *object, const char *name)
{
	return json_text(json_get(object, name));
}

skr_status json_string(const json *object, const char *name, const char **ret)
{
	const json *member = json_get(object, name);

	if (!member)
		return FAIL(213, "no member \"%s\"", name);
	if (json_kind(member) != JSON_STRING)
		return FAIL(213, "member \"%s\" is no string", name);
	*ret = member->valuestring;
	return OK;
}

skr_status json_number(const json *j, int64_t *ret)
{
	if (json_kind(j) != JSON_NUMBER)
		return FAIL(213, "no number");
	/* Exact: the strict reader let nothing pass that a double does not hold. */
	*ret = (int64_t)j->valuedouble;
	return OK;
}

const char *json_scalar_text(const json *j, char room[24])
{
	int64_t number = 0;

	switch (json_kind(j)) {
	case JSON_STRING:
		return json_text(j);
	case JSON_BOOL:
		return json_is_true(j) ? "true" : "false";
	case JSON_NUMBER:
		if (json_number(j, &number).failure)
			return NULL;
		snprintf(room, 24, "%lld", (long long)number);
		return room;
	default:
		return NULL;
	}
}

static skr_status number_of_text(const char *text, int64_t *ret)
{
	int64_t value = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > DIGITS_LIMIT || text[digits])
		return FAIL(213, "no decimal number");
	for (size_t i = 0; i < digits; i++)
		value = value * 10 + (text[i] - '0');
	*ret = value;
	return OK;
}

skr_status json_integer(const json *object, const char *name, bool or_text, int64_t *ret)
{
	const json *member = json_get(object, name);

	if (!member)
		return FAIL(213, "no member \"%s\"", name);
	skr_status status = or_text && json_kind(member) == JSON_STRING ? number_of_text(member->valuestring, ret)
	                                                                : json_number(member, ret);
	return status.failure ? FAIL(213, "member \"%s\" is no integer", name) : OK;
}

bool json_is_true(const json *j)
{
	return cJSON_IsTrue(j);
}

bool json_bool(const json *object, const char *name, bool otherwise)
{
	const json *member = json_get(object, name);

	return json_kind(member) == JSON_BOOL ? json_is_true(member) : otherwise;
}

const json *json_first(const json *j)
{
	enum json_kind kind = json_kind(j);

	return kind == JSON_ARRAY || kind == JSON_OBJECT ? j->child : NULL;
}

const json *json_next(const json *item)
{
	return item->next;
}

const char *json_name(const json *member)
{
	return member->string;
}

size_t json_count(const json *j)
{
	size_t count = 0;

	for (const json *item = json_first(j); item; item = item->next)
		count++;
	return count;
}

json *json_object(void)
{
	return cJSON_CreateObject();
}

json *json_array(void)
{
	return cJSON_CreateArray();
}

json *json_of_string(const char *value)
{
	return cJSON_CreateString(value);
}

json *json_of_number(int64_t value)
{
	json *number = cJSON_CreateNumber((double)value);

	if (number)
		keep_digits(number);
	return number;
}

json *json_copy(const json *j)
{
	return cJSON_Duplicate(j, 1);
}

/* A member that could not be made leaves a mark that cJSON cannot print, so that the caller's one check is enough. */
static void add(json *parent, const char *name, json *value)
{
	if (!parent)
		return json_free(value);
	if (value && (name ? cJSON_AddItemToObject(parent, name, value) : cJSON_AddItemToArray(parent, value)))
		return;
	json_free(value);
	parent->type = cJSON_Invalid;
}

void json_set(json *object, const char *name, json *value)
{
	json_remove(object, name);
	add(object, name, value);
}

void json_push(json *array, json *value)
{
	add(array, NULL, value);
}

void json_set_string(json *object, const char *name, const char *value)
{
	json_set(object, name, json_of_string(value));
}

void json_set_number(json *object, const char *name, int64_t value)
{
	json_set(object, name, json_of_number(value));
}

void json_set_bool(json *object, const char *name, bool value)
{
	json_set(object, name, cJSON_CreateBool(value));
}

void json_set_null(json *object, const char *name)
{
	json_set(object, name, cJSON_CreateNull());
}

void json_remove(json *object, const char *name)
{
	cJSON_DeleteItemFromObjectCaseSensitive(object, name);
}

static int compare_members(const void *a, const void *b)
{
	return strcmp((*(json *const *)a)->string, (*(json *const *)b)->string);
}

void json_sort(json *object)
{
	size_t count = json_kind(object) == JSON_OBJECT ? json_count(object) : 0;
	json **members = count > 1 ? calloc(count, sizeof(json *)) : NULL;

	if (count > 1 && !members) {
		object->type = cJSON_Invalid; /* printing will fail, rather than print unsorted */
		return;
	}
	if (members) {
		for (size_t i = 0; i < count; i++)
			members[i] = cJSON_DetachItemFromArray(object, 0);
		qsort(members, count, sizeof(json *), compare_members);
		for (size_t i = 0; i < count; i++)
			cJSON_AddItemToArray(object, members[i]);
		free(members);
	}
	for (json *child = object ? object->child : NULL; child; child = child->next)
		if (child->child)
			json_sort(child);
}

skr_status json_print(const json *j, struct buf *out)
{
	char *text = cJSON_PrintUnformatted(j);

	if (!text)
		return FAIL(14, "printing JSON");
	size_t len = strlen(text);
	skr_status status = buf_append(out, text, len);
	explicit_bzero(text, len);
	cJSON_free(text);
	return status;
}
