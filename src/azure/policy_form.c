/* SPDX-License-Identifier: Apache-2.0 */
/* What a release policy must look like, and the forms in which it comes. */
#include "azure/policy.h"

#include "base/base64.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define POLICY_LIMIT (32 * 1024)

/* Where in the policy: "anyOf[0].allOf[2]". Depth is bounded by the parser's. */
struct place {
	char text[256];
};

static struct place place_below(const struct place *above, const char *list, size_t index)
{
	struct place place;

	snprintf(place.text, sizeof(place.text), "%s%s%s[%zu]", above->text, above->text[0] ? "." : "", list, index);
	return place;
}

/* The one list, allOf or anyOf, of an object. */
static skr_status check_list(const json *object, const struct place *at, const char **ret_name)
{
	const char *where = at->text[0] ? at->text : "the policy";
	const json *all = json_get(object, "allOf"), *any = json_get(object, "anyOf"), *list = all ? all : any;

	if (!list)
		return FAIL(213, "%s has neither allOf nor anyOf", where);
	if (all && any)
		return FAIL(213, "%s has both allOf and anyOf; Key Vault takes one of them", where);
	if (json_kind(list) != JSON_ARRAY || json_count(list) == 0)
		return FAIL(213, "%s of %s is no list, or is empty", all ? "allOf" : "anyOf", where);
	*ret_name = all ? "allOf" : "anyOf";
	return OK;
}

/* Members other than these two (which may be NULL). */
static const char *stray_member(const json *object, const char *first, const char *second)
{
	for (const json *m = json_first(object); m; m = json_next(m))
		if (strcmp(json_name(m), first) != 0 && (!second || strcmp(json_name(m), second) != 0))
			return json_name(m);
	return NULL;
}

static skr_status check_operator(const json *member, const struct place *at)
{
	const char *name = json_name(member);
	enum json_kind kind = json_kind(member);

	if (strcmp(name, "condition") == 0 || strcmp(name, "value") == 0)
		return FAIL(213,
		            "%s is written in a form that Key Vault gave up: {\"claim\": NAME, \"equals\": VALUE} is "
		            "today's",
		            at->text);
	if (!policy_knows_operator(name))
		return FAIL(213,
		            "%s has \"%s\", which is no operator: those are equals, notEquals, less, lessOrEquals, "
		            "greater, greaterOrEquals, exists",
		            at->text, name);
	if (kind != JSON_STRING && kind != JSON_NUMBER && kind != JSON_BOOL)
		return FAIL(213, "%s: the value of %s is neither text nor a number nor true or false", at->text, name);
	return OK;
}

static skr_status check_claim(const json *condition, const struct place *at)
{
	const char *claim = json_string_or_null(condition, "claim");
	size_t found = 0;

	if (!claim || !*claim)
		return FAIL(213, "%s: the name of the claim is no text", at->text);
	for (const json *m = json_first(condition); m; m = json_next(m)) {
		if (strcmp(json_name(m), "claim") == 0)
			continue;
		TRY(check_operator(m, at));
		found++;
	}
	if (found != 1)
		return FAIL(213, "%s: claim %s has %s; it needs exactly one", at->text, claim,
		            found ? "several operators" : "no operator");
	return OK;
}

static skr_status check_condition(const json *condition, const struct place *at);

static skr_status check_conditions(const json *object, const struct place *at, const char *list)
{
	size_t index = 0;

	for (const json *i = json_first(json_get(object, list)); i; i = json_next(i)) {
		struct place below = place_below(at, list, index++);
		TRY(check_condition(i, &below));
	}
	return OK;
}

static skr_status check_condition(const json *condition, const struct place *at)
{
	const char *list = NULL, *stray;

	if (json_kind(condition) != JSON_OBJECT)
		return FAIL(213, "%s is no object", at->text);
	if (json_get(condition, "claim"))
		return check_claim(condition, at);
	TRY(check_list(condition, at, &list));
	if ((stray = stray_member(condition, list, NULL)))
		return FAIL(213, "%s has \"%s\" beside %s", at->text, stray, list);
	return check_conditions(condition, at, list);
}

static skr_status check_authority(const json *authority, const struct place *at)
{
	const char *address = json_string_or_null(authority, "authority"), *list = NULL, *stray;

	if (!address)
		return FAIL(213, "%s names no authority", at->text);
	if (strncasecmp(address, "https://", 8) != 0)
		return FAIL(213, "%s: the authority is no https:// address", at->text);
	TRY(check_list(authority, at, &list));
	if ((stray = stray_member(authority, "authority", list)))
		return FAIL(213, "%s has \"%s\" beside authority and %s", at->text, stray, list);
	return check_conditions(authority, at, list);
}

skr_status policy_check(const json *policy)
{
	const json *version = json_get(policy, "version");
	const char *list = NULL, *stray;
	struct place top = {""};
	size_t index = 0;

	if (json_kind(policy) != JSON_OBJECT)
		return FAIL(213, "the policy is no JSON object");
	if (version && json_kind(version) != JSON_STRING)
		return FAIL(213, "the policy's version is no text; \"1.0.0\" is usual");
	TRY(check_list(policy, &top, &list));
	if ((stray = stray_member(policy, "version", list)))
		return FAIL(213, "the policy has \"%s\" beside version and %s", stray, list);
	for (const json *i = json_first(json_get(policy, list)); i; i = json_next(i)) {
		struct place at = place_below(&top, list, index++);
		TRY(check_authority(i, &at));
	}
	return OK;
}

/* ---- forms ---- */

/* "data" of the vault's release_policy is base64url; az calls it encodedPolicy, and may have decoded it already. */
static skr_status parse_data(const json *wrapping, json **ret)
{
	const char *data = json_string_or_null(wrapping, "data");
	auto_buf text = BUF(POLICY_LIMIT);

	if (!data)
		data = json_string_or_null(wrapping, "encodedPolicy");
	if (!data)
		return FAIL(213, "the key's release policy has no data");
	if (data[0] == '{')
		return json_parse(data, strlen(data), ret);
	TRY(base64_decode_any(data, strlen(data), &text));
	return json_parse(text.data, text.len, ret);
}

skr_status policy_of_bundle(const json *bundle, json **ret)
{
	const json *wrapping = json_get(bundle, "release_policy");

	if (!wrapping)
		wrapping = json_get(bundle, "releasePolicy");
	if (json_kind(wrapping) != JSON_OBJECT)
		return FAIL(213, "the key has no release policy");
	return parse_data(wrapping, ret);
}

static skr_status parse_json(const void *text, size_t len, json **ret)
{
	auto_json *given = NULL;

	TRY(json_parse(text, len, &given));
	if (json_get(given, "key"))
		return policy_of_bundle(given, ret);
	if (json_get(given, "data") || json_get(given, "encodedPolicy"))
		return parse_data(given, ret);
	*ret = TAKE(given);
	return OK;
}

skr_status policy_parse(const void *text, size_t len, json **ret)
{
	const char *begin = text, *end = begin + len;
	auto_buf decoded = BUF(POLICY_LIMIT);

	while (begin < end && isspace((unsigned char)*begin))
		begin++;
	if (begin == end)
		return FAIL(213, "it is empty");
	if (*begin == '{' || *begin == '[' || *begin == '"')
		return parse_json(begin, (size_t)(end - begin), ret);
	if (base64_decode_any(begin, (size_t)(end - begin), &decoded).failure)
		return FAIL(213, "it is neither JSON nor the base64url that a vault gives");
	return parse_json(decoded.data, decoded.len, ret);
}
