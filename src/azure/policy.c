/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/policy.h"

#include "azure/service.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define VALUE_SHOWN 100 /* characters; a SHA-384 digest has 96 */
#define FOREIGN     ((size_t)1000)
#define SHOWN_MAX   4

/* ---- values ---- */

/* Both sides of a condition are compared as json_scalar_text writes them. */

static bool integer_of(const json *value, long long *ret)
{
	char room[24], rest;
	const char *text = json_scalar_text(value, room);

	return text && strlen(text) <= 16 && (isdigit((unsigned char)*text) || *text == '-') &&
	       sscanf(text, "%lld%c", ret, &rest) == 1;
}

/* Names of claims hold no dots, but if one did, it would be meant. */
const json *policy_claim(const json *claims, const char *name)
{
	const json *found = json_get(claims, name);

	while (!found && claims) {
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

bool policy_same_value(const json *a, const json *b)
{
	char room_a[24], room_b[24];
	const char *of_a = json_scalar_text(a, room_a), *of_b = json_scalar_text(b, room_b);

	return of_a && of_b && strcmp(of_a, of_b) == 0;
}

/* ---- operators ---- */

static int order(const json *a, const json *b)
{
	long long of_a, of_b;

	if (!integer_of(a, &of_a) || !integer_of(b, &of_b))
		return 2; /* not to be compared */
	return of_a < of_b ? -1 : of_a > of_b;
}

static bool op_not_equals(const json *claim, const json *wanted)
{
	char room[24];
	return json_scalar_text(claim, room) && !policy_same_value(claim, wanted);
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
	const char *text = json_scalar_text(wanted, room);
	return text && strcmp(text, claim ? "true" : "false") == 0;
}

static const struct operator
{
	const char *name, *sign;
	bool (*holds)(const json *claim, const json *wanted);
}
operators[] = {
    {"equals", "=", policy_same_value},
    {"notEquals", "other than", op_not_equals},
    {"less", "<", op_less},
    {"lessOrEquals", "<=", op_less_or_equals},
    {"greater", ">", op_greater},
    {"greaterOrEquals", ">=", op_greater_or_equals},
    {"exists", "present:", op_exists},
};
#define OPERATORS (sizeof(operators) / sizeof(operators[0]))

static const struct operator* operator_named(const char *name)
{
	for (size_t i = 0; i < OPERATORS; i++)
		if (strcmp(operators[i].name, name) == 0)
			return &operators[i];
	return NULL;
}

static const struct operator* operator_of(const json *condition, const json **ret_wanted)
{
	for (const json *m = json_first(condition); m; m = json_next(m)) {
		const struct operator* found = json_name(m) ? operator_named(json_name(m)) : NULL;
		if (found) {
			*ret_wanted = m;
			return found;
		}
	}
	*ret_wanted = NULL;
	return NULL;
}

bool policy_knows_operator(const char *name)
{
	return operator_named(name) != NULL;
}

const char *policy_operator(const json *condition, const json **ret_wanted)
{
	const struct operator* found = operator_of(condition, ret_wanted);

	return found ? found->sign : NULL;
}

/* ---- evaluation ---- */

static size_t unmet(const json *node, const json *claims);

/* The item of a list with the fewest unmet conditions, the first of equals; NULL: the list is empty. */
static const json *nearest_of(const json *list, const json *claims, size_t (*count)(const json *, const json *),
                              size_t *ret_unmet)
{
	const json *nearest = NULL;

	*ret_unmet = FOREIGN;
	for (const json *item = json_first(list); item; item = json_next(item)) {
		size_t here = count(item, claims);
		if (!nearest || here < *ret_unmet) {
			nearest = item;
			*ret_unmet = here;
		}
	}
	return nearest;
}

/* How many conditions below `node` do not hold; of an anyOf, those of its nearest branch. */
static size_t unmet(const json *node, const json *claims)
{
	const json *all = json_get(node, "allOf"), *any = json_get(node, "anyOf"), *wanted;
	const char *claim = json_string_or_null(node, "claim");
	size_t count = 0, nearest = 0;

	if (claim) {
		const struct operator* operator= operator_of(node, &wanted);
		return operator&& operator->holds(policy_claim(claims, claim), wanted) ? 0 : 1;
	}
	if (!all && !any)
		return 1;
	for (const json *child = json_first(all); child; child = json_next(child))
		count += unmet(child, claims);
	if (any)
		nearest_of(any, claims, unmet, &nearest);
	return count + nearest;
}

bool policy_trusts(const json *authority, const json *claims)
{
	const char *trusted = json_string_or_null(authority, "authority"), *iss = json_string_or_null(claims, "iss");

	return trusted && iss && same_endpoint(trusted, iss);
}

/* Whatever else it asks for, an authority that is not the token's is farther away than any that is. */
static size_t unmet_of_authority(const json *authority, const json *claims)
{
	return unmet(authority, claims) + (policy_trusts(authority, claims) ? 0 : FOREIGN);
}

/* ---- the walk ---- */

struct walk {
	const json *claims;
	policy_visit_fn *visit;
	void *with;
};

static skr_status walk_node(const struct walk *walk, const json *node, int depth, bool counts);

static skr_status walk_below(const struct walk *walk, const json *node, int depth, bool counts)
{
	const json *any = json_get(node, "anyOf");
	size_t fewest;
	const json *nearest = nearest_of(any, walk->claims, unmet, &fewest);

	for (const json *child = json_first(json_get(node, "allOf")); child; child = json_next(child))
		TRY(walk_node(walk, child, depth, counts));
	for (const json *child = json_first(any); child; child = json_next(child))
		TRY(walk_node(walk, child, depth, counts && child == nearest));
	return OK;
}

static skr_status walk_node(const struct walk *walk, const json *node, int depth, bool counts)
{
	const char *claim = json_string_or_null(node, "claim");
	bool group = !claim && (json_get(node, "allOf") || json_get(node, "anyOf"));
	struct policy_line line = {.kind = group ? POLICY_GROUP : POLICY_CONDITION,
	                           .depth = depth,
	                           .any = json_get(node, "anyOf") != NULL,
	                           .name = claim,
	                           .met = unmet(node, walk->claims) == 0};

	if (claim) {
		line.sign = policy_operator(node, &line.wanted);
		line.found = policy_claim(walk->claims, claim);
	}
	line.counts = counts && !line.met;
	TRY(walk->visit(&line, walk->with));
	return claim ? OK : walk_below(walk, node, depth + 1, line.counts);
}

static skr_status walk_authority(const struct walk *walk, const json *authority, bool counts)
{
	struct policy_line line = {.kind = POLICY_AUTHORITY,
	                           .any = json_get(authority, "anyOf") != NULL,
	                           .name = json_string_or_null(authority, "authority"),
	                           .found = json_get(walk->claims, "iss"),
	                           .issuer = policy_trusts(authority, walk->claims),
	                           .met = unmet_of_authority(authority, walk->claims) == 0};

	line.counts = counts && !line.met;
	TRY(walk->visit(&line, walk->with));
	return walk_below(walk, authority, 1, line.counts);
}

skr_status policy_walk(const json *policy, const json *claims, policy_visit_fn *visit, void *with)
{
	const struct walk walk = {claims, visit, with};
	const json *any = json_get(policy, "anyOf"), *list = any ? any : json_get(policy, "allOf");
	size_t fewest;
	const json *nearest = nearest_of(list, claims, unmet_of_authority, &fewest);

	for (const json *authority = json_first(list); authority; authority = json_next(authority))
		TRY(walk_authority(&walk, authority, !any || authority == nearest));
	return OK;
}

/* ---- words ---- */

skr_status policy_print_value(const json *value, size_t shown, struct buf *text)
{
	char room[24];
	const char *is = json_scalar_text(value, room);

	if (!value)
		return buf_append_text(text, "none");
	if (!is)
		return buf_append_text(text, json_kind(value) == JSON_ARRAY    ? "a list"
		                             : json_kind(value) == JSON_OBJECT ? "an object"
		                                                               : "null");
	size_t len = strlen(is);
	const char *quote = len == 0 || is[0] == ' ' || is[len - 1] == ' ' ? "\"" : "";
	return buf_printf(text, "%s%.*s%s%s", quote, (int)shown, is, len > shown ? ".." : "", quote);
}

/* What policy_explain has said so far. */
struct explanation {
	struct buf *text;
	size_t shown;
	bool foreign;
};

static skr_status explain_line(const struct policy_line *line, void *with)
{
	struct explanation *e = with;

	if (!line->counts || line->kind == POLICY_GROUP)
		return OK;
	if (line->kind == POLICY_AUTHORITY) {
		e->foreign |= !line->issuer;
		return OK;
	}
	if (++e->shown > SHOWN_MAX)
		return OK;
	TRY(buf_append_text(e->text, e->shown > 1 ? "; " : ""));
	if (!line->name || !line->sign)
		return buf_append_text(e->text, "has a condition that is not understood");
	TRY(buf_printf(e->text, "needs %s %s ", line->name, line->sign));
	TRY(policy_print_value(line->wanted, VALUE_SHOWN, e->text));
	TRY(buf_append_text(e->text, ", this machine has "));
	return policy_print_value(line->found, VALUE_SHOWN, e->text);
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

/* Of anyOf the nearest, of a top-level allOf all of them. */
static size_t unmet_of_policy(const json *any, const json *all, const json *claims)
{
	size_t count = 0;

	if (any) {
		nearest_of(any, claims, unmet_of_authority, &count);
		return count;
	}
	for (const json *authority = json_first(all); authority; authority = json_next(authority))
		count += unmet_of_authority(authority, claims);
	return count;
}

skr_status policy_explain(const json *policy, const json *claims, struct buf *text, size_t *ret_unmet)
{
	const json *any = json_get(policy, "anyOf"), *all = json_get(policy, "allOf"), *list = any ? any : all;
	auto_buf needs = BUF(text->limit);
	struct explanation explanation = {.text = &needs};

	if (json_kind(list) != JSON_ARRAY || json_count(list) == 0)
		return FAIL(213, "the release policy has neither anyOf nor allOf");
	TRY(policy_walk(policy, claims, explain_line, &explanation));
	size_t count = unmet_of_policy(any, all, claims);
	if (explanation.foreign)
		TRY(print_authorities(list, claims, text));
	else if (explanation.shown > 0)
		TRY(buf_append(text, buf_text(&needs), needs.len));
	else if (count > 0)
		TRY(buf_append_text(text, "has an empty anyOf, which nothing satisfies"));
	if (!explanation.foreign && explanation.shown > SHOWN_MAX)
		TRY(buf_printf(text, "; and %zu more", explanation.shown - SHOWN_MAX));
	*ret_unmet = count;
	return OK;
}

skr_status policy_summary(const json *claims, struct buf *text)
{
	static const char *const usual[] = {"iss", "x-ms-attestation-type", "x-ms-compliance-status",
	                                    "x-ms-sevsnpvm-is-debuggable", "x-ms-sevsnpvm-hostdata"};

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		TRY(buf_printf(text, "%s%s = ", i ? ", " : "", usual[i]));
		TRY(policy_print_value(policy_claim(claims, usual[i]), VALUE_SHOWN, text));
	}
	return OK;
}
