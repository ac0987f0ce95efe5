/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/policy.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum operator{ EQUALS, NOT_EQUALS, LESS, LESS_OR_EQUALS, GREATER, GREATER_OR_EQUALS, EXISTS, OPERATORS };

static const char *const operators[OPERATORS] = {
    [EQUALS] = "equals",   [NOT_EQUALS] = "notEquals",
    [LESS] = "less",       [LESS_OR_EQUALS] = "lessOrEquals",
    [GREATER] = "greater", [GREATER_OR_EQUALS] = "greaterOrEquals",
    [EXISTS] = "exists",
};

/* ---- grammar ---- */

/* The list of an object that must have exactly one of anyOf and allOf, not empty. */
static skr_status group_of(const json *object, const json **ret, bool *ret_all)
{
	const json *any = json_get(object, "anyOf"), *all = json_get(object, "allOf");
	const json *list = any ? any : all;

	if (!list)
		return FAIL(213, "Key Release Policy: missing 'anyOf' or 'allOf' property");
	if (any && all)
		return FAIL(213, "Key Release Policy: both 'anyOf' and 'allOf' in one object");
	if (json_kind(list) != JSON_ARRAY || json_count(list) == 0)
		return FAIL(213, "Key Release Policy: '%s' is no list, or is empty", any ? "anyOf" : "allOf");
	*ret = list;
	*ret_all = all != NULL;
	return OK;
}

static int operator_of(const json *member)
{
	for (int i = 0; i < OPERATORS; i++)
		if (strcmp(json_name(member), operators[i]) == 0)
			return i;
	return -1;
}

static bool is_scalar(const json *value)
{
	enum json_kind kind = json_kind(value);

	return kind == JSON_STRING || kind == JSON_NUMBER || kind == JSON_BOOL;
}

static skr_status claim_check(const json *condition)
{
	const char *claim = json_string_or_null(condition, "claim");
	int found = 0;

	if (!claim || !*claim)
		return FAIL(213, "Key Release Policy: 'claim' is no text");
	for (const json *m = json_first(condition); m; m = json_next(m)) {
		if (strcmp(json_name(m), "claim") == 0)
			continue;
		if (operator_of(m) < 0)
			return FAIL(213, "Key Release Policy: unknown property '%s'", json_name(m));
		if (!is_scalar(m))
			return FAIL(213, "Key Release Policy: '%s' takes text, a number or a boolean", json_name(m));
		found++;
	}
	return found == 1 ? OK : FAIL(213, "Key Release Policy: claim '%s' needs exactly one operator", claim);
}

/* The depth of json_parse bounds the recursion. */
static skr_status condition_check(const json *condition)
{
	const json *list;
	bool all;

	if (json_kind(condition) != JSON_OBJECT)
		return FAIL(213, "Key Release Policy: a condition is no object");
	if (json_get(condition, "claim"))
		return claim_check(condition);
	TRY(group_of(condition, &list, &all));
	if (json_count(condition) != 1)
		return FAIL(213, "Key Release Policy: unknown property beside '%s'", all ? "allOf" : "anyOf");
	for (const json *i = json_first(list); i; i = json_next(i))
		TRY(condition_check(i));
	return OK;
}

static skr_status authority_check(const json *authority)
{
	const char *issuer = json_string_or_null(authority, "authority");
	const json *list;
	bool all;

	if (!issuer)
		return FAIL(213, "Key Release Policy: missing 'authority' property");
	if (strncasecmp(issuer, "https://", 8) != 0)
		return FAIL(213, "Key Release Policy: 'authority' is no https URL");
	TRY(group_of(authority, &list, &all));
	if (json_count(authority) != 2)
		return FAIL(213, "Key Release Policy: unknown property beside 'authority'");
	for (const json *i = json_first(list); i; i = json_next(i))
		TRY(condition_check(i));
	return OK;
}

skr_status policy_check(const json *policy)
{
	const json *list;
	bool all;

	if (json_kind(policy) != JSON_OBJECT)
		return FAIL(213, "Key Release Policy: no JSON object");
	if (!json_get(policy, "version"))
		return FAIL(213, "Key Release Policy: missing 'version' property");
	if (!json_string_or_null(policy, "version"))
		return FAIL(213, "Key Release Policy: 'version' is no text");
	TRY(group_of(policy, &list, &all));
	if (json_count(policy) != 2)
		return FAIL(213, "Key Release Policy: unknown property beside 'version' and '%s'",
		            all ? "allOf" : "anyOf");
	for (const json *i = json_first(list); i; i = json_next(i))
		TRY(authority_check(i));
	return OK;
}

/* ---- evaluation ---- */

const json *policy_claim(const json *claims, const char *name)
{
	const json *direct = json_get(claims, name);
	char word[256];

	if (direct)
		return direct;
	for (;;) {
		size_t len = strcspn(name, ".");
		if (len >= sizeof(word))
			return NULL;
		memcpy(word, name, len);
		word[len] = '\0';
		claims = json_get(claims, word);
		if (!claims || name[len] == '\0')
			return claims;
		name += len + 1;
	}
}

/*
 * The text that values are compared by: "true" of a policy equals the boolean of a token, "0" the number. Published
 * policies write them either way. False for objects, arrays and null.
 */
static bool canonical(const json *value, struct buf *out)
{
	if (!is_scalar(value))
		return false;
	if (json_kind(value) == JSON_STRING)
		return !buf_append_text(out, json_text(value)).failure;
	return !json_print(value, out).failure;
}

static bool integer_of(const json *value, int64_t *ret)
{
	auto_buf text = BUF(64 * 1024);
	char *end;

	if (!canonical(value, &text) || text.len == 0 || isspace(text.data[0]))
		return false;
	errno = 0;
	*ret = strtoll(buf_text(&text), &end, 10);
	return errno == 0 && *end == '\0';
}

static bool same(const json *a, const json *b)
{
	auto_buf left = BUF(64 * 1024), right = BUF(64 * 1024);

	return canonical(a, &left) && canonical(b, &right) && strcmp(buf_text(&left), buf_text(&right)) == 0;
}

static bool is_text(const json *value, const char *text)
{
	auto_buf own = BUF(64 * 1024);

	return canonical(value, &own) && strcmp(buf_text(&own), text) == 0;
}

static bool ordered(enum operator op, const json *claim, const json *wanted)
{
	int64_t left, right;

	if (!integer_of(claim, &left) || !integer_of(wanted, &right))
		return false;
	switch (op) {
	case LESS:
		return left < right;
	case LESS_OR_EQUALS:
		return left <= right;
	case GREATER:
		return left > right;
	default:
		return left >= right;
	}
}

static bool compare(enum operator op, const json *claim, const json *wanted)
{
	if (op == EXISTS)
		return is_text(wanted, claim ? "true" : "false");
	if (!claim || !is_scalar(claim))
		return false;
	if (op == EQUALS)
		return same(claim, wanted);
	if (op == NOT_EQUALS)
		return !same(claim, wanted);
	return ordered(op, claim, wanted);
}

struct explanation {
	char *text; /* of the first condition that failed */
	size_t size;
};

static void explain(struct explanation *why, const char *name, const json *claim, const json *operand)
{
	auto_buf is = BUF(128 * 1024), wanted = BUF(128 * 1024);

	if (why->text[0])
		return;
	if (json_print(operand, &wanted).failure || (claim && json_print(claim, &is).failure))
		status_clear();
	snprintf(why->text, why->size, "claim %s is %.200s, the policy wants %s %.200s", name,
	         claim ? buf_text(&is) : "absent", json_name(operand), buf_text(&wanted));
}

static bool claim_holds(const json *condition, const json *claims, struct explanation *why)
{
	const char *name = json_string_or_null(condition, "claim");
	const json *claim = policy_claim(claims, name);

	for (const json *m = json_first(condition); m; m = json_next(m)) {
		int op = operator_of(m);
		if (op < 0 || compare((enum operator)op, claim, m))
			continue;
		explain(why, name, claim, m);
		return false;
	}
	return true;
}

typedef bool holds_fn(const json *item, const json *claims, struct explanation *why);

static bool group_holds(const json *object, const json *claims, holds_fn *holds, struct explanation *why)
{
	const json *all = json_get(object, "allOf"), *list = all ? all : json_get(object, "anyOf");

	for (const json *i = json_first(list); i; i = json_next(i))
		if (holds(i, claims, why) != (all != NULL))
			return all == NULL;
	return all != NULL;
}

static bool condition_holds(const json *condition, const json *claims, struct explanation *why)
{
	if (json_get(condition, "claim"))
		return claim_holds(condition, claims, why);
	return group_holds(condition, claims, condition_holds, why);
}

/* Issuers have no slash at the end, policies are published with and without one. */
static bool same_issuer(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);

	a_len -= a_len > 0 && a[a_len - 1] == '/';
	b_len -= b_len > 0 && b[b_len - 1] == '/';
	return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

static bool authority_holds(const json *authority, const json *claims, struct explanation *why)
{
	const char *wanted = json_string_or_null(authority, "authority"), *issuer = json_string_or_null(claims, "iss");

	if (wanted && issuer && same_issuer(wanted, issuer))
		return group_holds(authority, claims, condition_holds, why);
	if (!why->text[0])
		snprintf(why->text, why->size, "the token is of %.200s, the policy wants authority %.200s",
		         issuer ? issuer : "nobody", wanted ? wanted : "");
	return false;
}

bool policy_holds(const json *policy, const json *claims, char *reason, size_t size)
{
	struct explanation why = {reason, size};

	reason[0] = '\0';
	return group_holds(policy, claims, authority_holds, &why);
}
