/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/policy.h"

#include "azure/service.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define VALUE_SHOWN 100 /* characters; a SHA-384 digest has 96 */
#define IMPOSSIBLE  ((size_t)1000)
#define NESTING_MAX 16
#define SHOWN_MAX   4

/* ---- values ---- */

/* A claim's or a condition's value as both sides are compared: text as it is, true and false, integers in decimal. */
static const char *canonical(const json *value, char room[24])
{
	int64_t number = 0;

	switch (json_kind(value)) {
	case JSON_STRING:
		return json_text(value);
	case JSON_BOOL:
		return json_is_true(value) ? "true" : "false";
	case JSON_NUMBER:
		if (json_number(value, &number).failure)
			return NULL;
		snprintf(room, 24, "%lld", (long long)number);
		return room;
	default:
		return NULL;
	}
}

static bool integer_of(const json *value, long long *ret)
{
	char room[24], rest;
	const char *text = canonical(value, room);

	return text && strlen(text) <= 16 && sscanf(text, "%lld%c", ret, &rest) == 1;
}

/* "a.b.c": first as one name, then member by member; names of claims hold no dots. */
static const json *claim_find(const json *claims, const char *name)
{
	const json *found = json_get(claims, name);

	for (int i = 0; !found && i < NESTING_MAX; i++) {
		char part[256];
		size_t len = strcspn(name, ".");

		if (name[len] == '\0')
			return json_get(claims, name);
		if (len >= sizeof(part))
			return NULL;
		memcpy(part, name, len);
		part[len] = '\0';
		claims = json_get(claims, part);
		name += len + 1;
	}
	return found;
}

/* ---- conditions ---- */

static bool same_value(const json *a, const json *b)
{
	char room_a[24], room_b[24];
	const char *of_a = canonical(a, room_a), *of_b = canonical(b, room_b);

	return of_a && of_b && strcmp(of_a, of_b) == 0;
}

static int order(const json *a, const json *b)
{
	long long of_a, of_b;

	if (!integer_of(a, &of_a) || !integer_of(b, &of_b))
		return 2; /* not to be compared */
	return of_a < of_b ? -1 : of_a > of_b;
}

static bool op_equals(const json *claim, const json *wanted)
{
	return same_value(claim, wanted);
}
static bool op_not_equals(const json *claim, const json *wanted)
{
	return claim && !same_value(claim, wanted);
}
static bool op_less(const json *claim, const json *wanted)
{
	return order(claim, wanted) == -1;
}
static bool op_less_or_equals(const json *claim, const json *wanted)
{
	int o = order(claim, wanted);
	return o == -1 || o == 0;
}
static bool op_greater(const json *claim, const json *wanted)
{
	return order(claim, wanted) == 1;
}
static bool op_greater_or_equals(const json *claim, const json *wanted)
{
	int o = order(claim, wanted);
	return o == 0 || o == 1;
}
static bool op_exists(const json *claim, const json *wanted)
{
	char room[24];
	const char *text = canonical(wanted, room);
	return (claim != NULL) == !(text && strcmp(text, "false") == 0);
}

static const struct operator
{
	const char *name, *sign;
	bool (*holds)(const json *claim, const json *wanted);
}
operators[] = {
    {"equals", "=", op_equals},
    {"notEquals", "other than", op_not_equals},
    {"less", "<", op_less},
    {"lessOrEquals", "<=", op_less_or_equals},
    {"greater", ">", op_greater},
    {"greaterOrEquals", ">=", op_greater_or_equals},
    {"exists", "present:", op_exists},
};

static const struct operator* operator_of(const json *condition)
{
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
		if (json_get(condition, operators[i].name))
			return &operators[i];
	return NULL;
}

/* How many conditions below `node` do not hold; of an anyOf, those of its nearest branch. */
static size_t unmet(const json *node, const json *claims, int depth)
{
	const json *all = json_get(node, "allOf"), *any = json_get(node, "anyOf");
	const char *claim = json_string_or_null(node, "claim");
	size_t count = 0, nearest = IMPOSSIBLE;

	if (depth > NESTING_MAX)
		return IMPOSSIBLE;
	if (claim) {
		const struct operator* operator= operator_of(node);
		return operator&& operator->holds(claim_find(claims, claim), json_get(node, operator->name)) ? 0 : 1;
	}
	for (const json *child = json_first(all); child; child = json_next(child))
		count += unmet(child, claims, depth + 1);
	for (const json *child = json_first(any); child; child = json_next(child)) {
		size_t below = unmet(child, claims, depth + 1);
		nearest = below < nearest ? below : nearest;
	}
	if (!all && !any)
		return 1;
	return count + (any ? nearest : 0);
}

/* ---- words ---- */

static skr_status print_value(const json *value, struct buf *text)
{
	char room[24];
	const char *shown = canonical(value, room);

	if (!value)
		return buf_append_text(text, "none");
	if (!shown)
		return buf_append_text(text, "something that is no text and no number");
	return buf_printf(text, "%.*s%s", VALUE_SHOWN, shown, strlen(shown) > VALUE_SHOWN ? ".." : "");
}

static skr_status print_condition(const json *condition, const json *claims, struct buf *text)
{
	const char *claim = json_string_or_null(condition, "claim");
	const struct operator* operator= operator_of(condition);

	if (!claim || !operator)
		return buf_append_text(text, "has a condition that is not understood");
	TRY(buf_printf(text, "needs %s %s ", claim, operator->sign));
	TRY(print_value(json_get(condition, operator->name), text));
	TRY(buf_append_text(text, ", this machine has "));
	return print_value(claim_find(claims, claim), text);
}

/* The conditions that unmet() counted, `*shown` of them printed so far. */
static skr_status print_unmet(const json *node, const json *claims, struct buf *text, size_t *shown, int depth)
{
	const json *all = json_get(node, "allOf"), *any = json_get(node, "anyOf"), *nearest = NULL;

	if (depth > NESTING_MAX || unmet(node, claims, depth) == 0)
		return OK;
	if (!all && !any) {
		if (++*shown > SHOWN_MAX)
			return OK;
		TRY(buf_append_text(text, *shown > 1 ? "; " : ""));
		return print_condition(node, claims, text);
	}
	for (const json *child = json_first(all); child; child = json_next(child))
		TRY(print_unmet(child, claims, text, shown, depth + 1));
	for (const json *child = json_first(any); child; child = json_next(child))
		if (!nearest || unmet(child, claims, depth + 1) < unmet(nearest, claims, depth + 1))
			nearest = child;
	return nearest ? print_unmet(nearest, claims, text, shown, depth + 1) : OK;
}

/* ---- the whole policy ---- */

static bool is_from(const json *authority, const json *claims)
{
	const char *trusted = json_string_or_null(authority, "authority"), *iss = json_string_or_null(claims, "iss");

	return trusted && iss && same_endpoint(trusted, iss);
}

static skr_status print_authorities(const json *list, const json *claims, struct buf *text)
{
	const char *iss = json_string_or_null(claims, "iss");
	const char *between = "";

	TRY(buf_append_text(text, "trusts "));
	for (const json *authority = json_first(list); authority; authority = json_next(authority)) {
		const char *trusted = json_string_or_null(authority, "authority");
		TRY(buf_printf(text, "%s%.*s", between, VALUE_SHOWN, trusted ? trusted : "nobody"));
		between = " or ";
	}
	return buf_printf(text, ", this machine's token is from %.*s", VALUE_SHOWN, iss ? iss : "nobody");
}

skr_status policy_explain(const json *policy, const json *claims, struct buf *text, size_t *ret_unmet)
{
	const json *any = json_get(policy, "anyOf"), *list = any ? any : json_get(policy, "allOf"), *nearest = NULL;
	size_t fewest = IMPOSSIBLE, shown = 0;

	if (json_kind(list) != JSON_ARRAY || json_count(list) == 0)
		return FAIL(213, "the release policy has neither anyOf nor allOf");
	for (const json *authority = json_first(list); authority; authority = json_next(authority)) {
		size_t count = is_from(authority, claims) ? unmet(authority, claims, 0) : IMPOSSIBLE;

		/* Of anyOf the nearest counts, of a top-level allOf the worst. */
		if (!nearest || (any ? count < fewest : count > fewest)) {
			nearest = authority;
			fewest = count;
		}
	}
	if (fewest >= IMPOSSIBLE)
		TRY(print_authorities(list, claims, text));
	else
		TRY(print_unmet(nearest, claims, text, &shown, 0));
	if (shown > SHOWN_MAX)
		TRY(buf_printf(text, "; and %zu more", shown - SHOWN_MAX));
	*ret_unmet = fewest;
	return OK;
}

skr_status policy_summary(const json *claims, struct buf *text)
{
	static const char *const usual[] = {"iss", "x-ms-attestation-type", "x-ms-compliance-status",
	                                    "x-ms-sevsnpvm-is-debuggable", "x-ms-sevsnpvm-hostdata"};

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		TRY(buf_printf(text, "%s%s = ", i ? ", " : "", usual[i]));
		TRY(print_value(claim_find(claims, usual[i]), text));
	}
	return OK;
}
