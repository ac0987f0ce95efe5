/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 policy diff`: what two release policies ask for, compared by meaning and not by text. */
#include "cli/policy.h"

#include "azure/policy.h"
#include "azure/service.h"
#include "cli/arguments.h"

#include <string.h>

#define TEXT_LIMIT (64 * 1024)

/*
 * One way of writing for one meaning: values as text, a list of one as its item, a group within a group of its kind as
 * its items. The order of a list means nothing, and is compared so.
 */
static json *normal_form(const json *node);

static const json *list_of(const json *node, bool *ret_any)
{
	const json *all = json_get(node, "allOf");

	*ret_any = !all;
	return all ? all : json_get(node, "anyOf");
}

static json *normal_claim(const json *condition)
{
	json *normal = json_object();

	for (const json *m = json_first(condition); m; m = json_next(m)) {
		auto_buf text = BUF(TEXT_LIMIT);
		if (json_text(m))
			json_set_string(normal, json_name(m), json_text(m));
		else
			json_set_string(normal, json_name(m), json_print(m, &text).failure ? "" : buf_text(&text));
	}
	return normal;
}

/* Adds the item, or what is in it if it is a group of the same kind. */
static void add_item(json *list, const json *item, bool any)
{
	auto_json *normal = normal_form(item);
	const json *inner = json_get(normal, any ? "anyOf" : "allOf");

	if (!inner) {
		json_push(list, TAKE(normal));
		return;
	}
	for (const json *i = json_first(inner); i; i = json_next(i))
		json_push(list, json_copy(i));
}

static json *normal_group(const json *node)
{
	bool any;
	const json *items = list_of(node, &any);
	json *list = json_array(), *group = json_object();

	for (const json *i = json_first(items); i; i = json_next(i))
		add_item(list, i, any);
	json_set(group, any ? "anyOf" : "allOf", list);
	if (json_count(list) != 1)
		return group;
	json *only = json_copy(json_first(list));
	json_free(group);
	return only;
}

static json *normal_form(const json *node)
{
	return json_get(node, "claim") ? normal_claim(node) : normal_group(node);
}

/* ---- the same? ---- */

static bool same_meaning(const json *a, const json *b);

/* As many in both, and each of one among the other's. */
static bool same_items(const json *a, const json *b)
{
	if (!a || !b || json_count(a) != json_count(b))
		return false;
	for (const json *i = json_first(a); i; i = json_next(i)) {
		const json *j = json_first(b);
		while (j && !same_meaning(i, j))
			j = json_next(j);
		if (!j)
			return false;
	}
	return true;
}

/* Of normal forms, where groups of one depth are of one kind. */
static bool same_meaning(const json *a, const json *b)
{
	const char *claim_a = json_string_or_null(a, "claim"), *claim_b = json_string_or_null(b, "claim");
	const json *wanted_a, *wanted_b;
	bool any;

	if (!claim_a && !claim_b)
		return same_items(list_of(a, &any), list_of(b, &any));
	if (!claim_a || !claim_b || strcmp(claim_a, claim_b) != 0)
		return false;
	const char *sign_a = policy_operator(a, &wanted_a), *sign_b = policy_operator(b, &wanted_b);
	return sign_a == sign_b && policy_same_value(wanted_a, wanted_b);
}

/* ---- what differs ---- */

struct comparison {
	struct terminal *t;
	size_t differences;
};

static void print_difference(struct comparison *c, char mark, const char *text)
{
	static const char *const colours[] = {['+'] = "\033[32m", ['-'] = "\033[31m", ['~'] = "\033[33m"};

	fprintf(c->t->out, "  %s%c%s ", c->t->colour ? colours[(int)mark] : "", mark, c->t->colour ? "\033[0m" : "");
	terminal_print(c->t->out, text);
	fputc('\n', c->t->out);
	c->differences++;
}

static skr_status print_item(struct comparison *c, char mark, const json *item)
{
	auto_buf text = BUF(TEXT_LIMIT);

	TRY(policy_phrase(item, &text));
	print_difference(c, mark, buf_text(&text));
	return OK;
}

/* What an authority asks for as one list, all of which must hold. Owned by the caller. */
static json *demands_of(const json *authority)
{
	auto_json *normal = normal_group(authority);
	const json *all = json_get(normal, "allOf");
	json *list = json_array();

	if (!all) {
		json_push(list, TAKE(normal));
		return list;
	}
	for (const json *i = json_first(all); i; i = json_next(i))
		json_push(list, json_copy(i));
	return list;
}

static bool is_among(const json *item, const json *list)
{
	for (const json *i = json_first(list); i; i = json_next(i))
		if (same_meaning(item, i))
			return true;
	return false;
}

/* The condition on the same claim by the same operator, which has another value; NULL: none. */
static const json *counterpart_of(const json *item, const json *list, const json *of)
{
	const char *claim = json_string_or_null(item, "claim");
	const json *wanted;

	for (const json *i = json_first(list); claim && i; i = json_next(i)) {
		const char *other = json_string_or_null(i, "claim");
		if (other && strcmp(claim, other) == 0 && !is_among(i, of) &&
		    policy_operator(item, &wanted) == policy_operator(i, &wanted))
			return i;
	}
	return NULL;
}

static skr_status print_change(struct comparison *c, const json *old, const json *new)
{
	auto_buf text = BUF(TEXT_LIMIT);
	const json *wanted;

	TRY(policy_phrase(old, &text));
	TRY(buf_append_text(&text, " -> "));
	policy_operator(new, &wanted);
	TRY(policy_print_value(wanted, TEXT_LIMIT / 4, &text));
	print_difference(c, '~', buf_text(&text));
	return OK;
}

static skr_status compare_demands(struct comparison *c, const json *old, const json *new)
{
	for (const json *i = json_first(old); i; i = json_next(i)) {
		const json *other = counterpart_of(i, new, old);
		if (!is_among(i, new))
			TRY(other ? print_change(c, i, other) : print_item(c, '-', i));
	}
	for (const json *i = json_first(new); i; i = json_next(i))
		if (!is_among(i, old) && !counterpart_of(i, old, new))
			TRY(print_item(c, '+', i));
	return OK;
}

/* ---- authorities ---- */

#define AUTHORITIES_MAX 128

/* The authorities of one policy that are not dealt with yet. */
struct side {
	const json *entries[AUTHORITIES_MAX];
	size_t count;
};

static skr_status side_open(const json *policy, struct side *ret)
{
	bool any;

	ret->count = 0;
	for (const json *i = json_first(list_of(policy, &any)); i; i = json_next(i)) {
		if (ret->count == AUTHORITIES_MAX)
			return FAIL(213, "more than %d authorities in one policy", AUTHORITIES_MAX);
		ret->entries[ret->count++] = i;
	}
	return OK;
}

static const json *side_take(struct side *side, size_t index)
{
	const json *entry = side->entries[index];

	memmove(&side->entries[index], &side->entries[index + 1], (--side->count - index) * sizeof(entry));
	return entry;
}

static const char *address_of(const json *entry)
{
	return json_string_or_null(entry, "authority");
}

static bool same_demands(const json *old, const json *new)
{
	auto_json *of_old = demands_of(old), *of_new = demands_of(new);

	return same_items(of_old, of_new);
}

/* The place in `side` of an entry for the same authority, and, if `whole`, with the same demands; count: none. */
static size_t find_match(const struct side *side, const json *entry, bool whole)
{
	size_t i = 0;

	while (i < side->count && (!same_endpoint(address_of(side->entries[i]), address_of(entry)) ||
	                           (whole && !same_demands(side->entries[i], entry))))
		i++;
	return i;
}

static skr_status print_entry(struct comparison *c, char mark, const json *entry)
{
	auto_json *normal = normal_group(entry);
	auto_buf text = BUF(TEXT_LIMIT);

	TRY(buf_printf(&text, "%s, ", address_of(entry)));
	TRY(policy_phrase(normal, &text));
	print_difference(c, mark, buf_text(&text));
	return OK;
}

static skr_status compare_entries(struct comparison *c, const json *old, const json *new)
{
	auto_json *of_old = demands_of(old), *of_new = demands_of(new);

	terminal_print(c->t->out, address_of(new));
	fputc('\n', c->t->out);
	return compare_demands(c, of_old, of_new);
}

/* Entries that are in both as they are go first: what is left of an authority was changed. */
static void drop_equal(struct side *old, struct side *new)
{
	for (size_t i = 0; i < old->count;) {
		size_t match = find_match(new, old->entries[i], true);
		if (match == new->count) {
			i++;
			continue;
		}
		side_take(new, match);
		side_take(old, i);
	}
}

static skr_status compare_rest(struct comparison *c, struct side *old, struct side *new)
{
	while (old->count > 0) {
		const json *entry = side_take(old, 0);
		size_t match = find_match(new, entry, false);
		TRY(match == new->count ? print_entry(c, '-', entry)
		                        : compare_entries(c, entry, side_take(new, match)));
	}
	while (new->count > 0)
		TRY(print_entry(c, '+', side_take(new, 0)));
	return OK;
}

static skr_status compare(struct comparison *c, const json *old, const json *new)
{
	struct side of_old, of_new;
	bool any_old, any_new;

	TRY(side_open(old, &of_old));
	TRY(side_open(new, &of_new));
	list_of(old, &any_old);
	list_of(new, &any_new);
	if (any_old != any_new && (of_old.count > 1 || of_new.count > 1))
		print_difference(c, '~',
		                 any_new ? "all of the authorities -> any of them"
		                         : "any of the authorities -> all of them");
	drop_equal(&of_old, &of_new);
	return compare_rest(c, &of_old, &of_new);
}

/* ---- the command ---- */

const char policy_diff_help[] = "Compares what two release policies ask for: the order of conditions, \"true\" and "
                                "true, and a slash at the end of\n"
                                "an authority make no difference. Each FILE is a policy as JSON, its base64url, or a "
                                "key as a vault or az gives it.\n"
                                "\n"
                                "  - what only OLD asks for, + what only NEW does, ~ what has another value\n"
                                "\n"
                                "Exit status: 0 they ask for the same, 1 they differ, 2 one cannot be read.\n"
                                "\n"
                                "Example: skr-pkcs11 policy diff policy.json policy-next.json\n";

enum exit_code policy_diff(struct terminal *t, int argc, char **argv)
{
	const char *old_file = NULL, *new_file = NULL;
	const struct argument known[] = {
	    {.name = "", .value = &old_file}, {.name = "", .value = &new_file}, {.name = NULL}};
	auto_json *old = NULL, *new = NULL;
	struct comparison c = {.t = t};

	if (arguments_read(t, "policy diff", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	if (!new_file)
		return command_misused(t, command_find("policy diff"), "two files are needed");
	if (policy_file_read(old_file, &old).failure || policy_file_read(new_file, &new).failure ||
	    compare(&c, old, new).failure)
		return policy_bad_input(t, "diff");
	return c.differences ? EXIT_BAD : EXIT_GOOD;
}
