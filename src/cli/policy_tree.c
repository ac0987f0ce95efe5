/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy.h"

#include "azure/policy.h"

#include <string.h>

#define VALUE_SHOWN 160
#define LINE_LIMIT  (4 * 1024)
#define INDENT      2

struct tree {
	struct terminal *t;
	struct buf *failed;
};

/* "no": not met, but it need not be, or another branch is nearer. */
static void print_mark(struct terminal *t, const struct policy_line *line)
{
	const char *word = line->met ? "ok" : line->counts ? "FAILED" : "no";
	const char *colour = line->met ? "\033[32m" : line->counts ? "\033[31m" : "";

	fprintf(t->out, "  %s%-6s%s  %*s", t->colour ? colour : "", word, t->colour ? "\033[0m" : "",
	        INDENT * line->depth, "");
}

static void print_below(struct terminal *t, int depth, const struct buf *text)
{
	fprintf(t->out, "  %-6s  %*s", "", INDENT * (depth + 1), "");
	terminal_print(t->out, buf_text(text));
	fputc('\n', t->out);
}

static skr_status note_failure(struct tree *tree, const struct policy_line *line, const char *what)
{
	return line->counts ? buf_printf(tree->failed, "%s%s", tree->failed->len ? ", " : "", what) : OK;
}

static skr_status print_authority(struct tree *tree, const struct policy_line *line, struct buf *text)
{
	const char *issuer = json_text(line->found);

	TRY(buf_printf(text, "%s, %s of", line->name ? line->name : "nobody", line->any ? "any" : "all"));
	terminal_print(tree->t->out, buf_text(text));
	fputc('\n', tree->t->out);
	if (line->issuer)
		return OK;
	TRY(note_failure(tree, line, "the authority"));
	buf_clear(text);
	TRY(buf_printf(text, "the token is from %.*s", VALUE_SHOWN, issuer ? issuer : "nobody"));
	print_below(tree->t, line->depth, text);
	return OK;
}

static skr_status print_condition(struct tree *tree, const struct policy_line *line, struct buf *text)
{
	TRY(buf_printf(text, "%s %s ", line->name ? line->name : "no claim", line->sign ? line->sign : "no operator"));
	TRY(policy_print_value(line->wanted, VALUE_SHOWN, text));
	terminal_print(tree->t->out, buf_text(text));
	fputc('\n', tree->t->out);
	TRY(note_failure(tree, line, line->name ? line->name : "a condition"));
	if (line->met && policy_same_value(line->wanted, line->found))
		return OK;
	buf_clear(text);
	TRY(buf_append_text(text, "found "));
	TRY(policy_print_value(line->found, VALUE_SHOWN, text));
	print_below(tree->t, line->depth, text);
	return OK;
}

static skr_status print_line(const struct policy_line *line, void *with)
{
	struct tree *tree = with;
	auto_buf text = BUF(LINE_LIMIT);

	print_mark(tree->t, line);
	if (line->kind == POLICY_CONDITION)
		return print_condition(tree, line, &text);
	if (line->kind == POLICY_GROUP) {
		fprintf(tree->t->out, "%s of\n", line->any ? "any" : "all");
		return OK;
	}
	return print_authority(tree, line, &text);
}

skr_status policy_tree_print(struct terminal *t, const json *policy, const json *claims, struct buf *failed)
{
	struct tree tree = {t, failed};

	return policy_walk(policy, claims, print_line, &tree);
}

skr_status policy_phrase(const json *condition, struct buf *out)
{
	const json *all = json_get(condition, "allOf"), *list = all ? all : json_get(condition, "anyOf"), *wanted;
	const char *claim = json_string_or_null(condition, "claim"), *between = "";

	if (claim) {
		const char *sign = policy_operator(condition, &wanted);
		TRY(buf_printf(out, "%s %s ", claim, sign ? sign : "no operator"));
		return policy_print_value(wanted, VALUE_SHOWN, out);
	}
	TRY(buf_append_text(out, all ? "all of (" : "any of ("));
	for (const json *item = json_first(list); item; item = json_next(item)) {
		TRY(buf_append_text(out, between));
		TRY(policy_phrase(item, out));
		between = "; ";
	}
	return buf_append_text(out, ")");
}
