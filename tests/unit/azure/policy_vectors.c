/* SPDX-License-Identifier: Apache-2.0 */
/* tests/data/policy/evaluation.txt: policies, claims, and what must come of them (K-03). */
#include "azure/policy.h"

#include "base/file.h"
#include "base/ossl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define USUAL "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://maa.example\",\"allOf\":[%s]}]}"

/* What the lines of the file have set so far. */
struct vectors {
	int line, rows;
	json *claims, *policy; /* policy: NULL, it was refused with `refusal` */
	char refusal[700];
	struct buf walk; /* what the policy gave, line by line; those the file has had are taken off */
	const char *rest;
};

static skr_status note_line(const struct policy_line *line, void *with)
{
	struct buf *out = with;

	TRY(buf_printf(out, "%c %*s", line->met ? '+' : line->counts ? '!' : '-', 2 * line->depth, ""));
	if (line->kind == POLICY_AUTHORITY)
		return buf_printf(out, "authority %s %s %s\n", line->name, line->any ? "any" : "all",
		                  line->issuer ? "own" : "foreign");
	if (line->kind == POLICY_GROUP)
		return buf_printf(out, "%s\n", line->any ? "any" : "all");
	TRY(buf_printf(out, "%s %s ", line->name, line->sign));
	TRY(policy_print_value(line->wanted, 100, out));
	TRY(buf_append_text(out, " : "));
	TRY(policy_print_value(line->found, 100, out));
	return buf_append_text(out, "\n");
}

/* Every row that went before must have been used up. */
static void finish_policy(struct vectors *v)
{
	if (v->rest && *v->rest)
		fail_msg("line %d: the walk has more: %s", v->line, v->rest);
	json_free(v->policy);
	v->policy = NULL;
	v->rest = NULL;
	v->refusal[0] = '\0';
}

static void begin_policy(struct vectors *v, const char *text)
{
	finish_policy(v);
	skr_status status = policy_parse(text, strlen(text), &v->policy);
	if (!status.failure)
		status = policy_check(v->policy);
	if (status.failure) {
		assert_int_equal(status.failure, 213);
		snprintf(v->refusal, sizeof(v->refusal), "%s", status_message());
		json_free(v->policy);
		v->policy = NULL;
		return;
	}
	buf_clear(&v->walk);
	assert_int_equal(policy_walk(v->policy, v->claims, note_line, &v->walk).failure, 0);
	v->rest = buf_text(&v->walk);
}

static void expect_line(struct vectors *v, const char *text)
{
	size_t len = strlen(text);

	if (!v->rest)
		fail_msg("line %d: the policy was refused: %s", v->line, v->refusal);
	if (strncmp(v->rest, text, len) != 0 || v->rest[len] != '\n')
		fail_msg("line %d: the walk has: %s", v->line, v->rest);
	v->rest += len + 1;
}

static void expect_refusal(struct vectors *v, const char *words)
{
	v->rows++;
	if (!strstr(v->refusal, words))
		fail_msg("line %d: not refused so, but: %s", v->line, v->refusal);
}

static void expect_text(struct vectors *v, const char *words)
{
	auto_buf text = BUF(4096);
	size_t unmet = 0;

	assert_int_equal(policy_explain(v->policy, v->claims, &text, &unmet).failure, 0);
	assert_true(unmet > 0);
	if (strcmp(buf_text(&text), words) != 0)
		fail_msg("line %d: the text is: %s", v->line, buf_text(&text));
}

/* One condition, judged by the walk and by what the log would say. */
static void expect_condition(struct vectors *v, const char *condition, bool met)
{
	char whole[1024];
	auto_buf text = BUF(4096);
	size_t unmet = 99;

	snprintf(whole, sizeof(whole), USUAL, condition);
	begin_policy(v, whole);
	if (!v->rest || *v->rest != (met ? '+' : '!'))
		fail_msg("line %d: %s%s", v->line, v->rest ? v->rest : "", v->refusal);
	assert_int_equal(policy_explain(v->policy, v->claims, &text, &unmet).failure, 0);
	assert_int_equal(unmet, met ? 0 : 1);
	assert_int_equal(text.len == 0, met);
	v->rest = "";
	v->rows++;
}

static void set_claims(struct vectors *v, const char *text)
{
	finish_policy(v);
	json_free(v->claims);
	v->claims = NULL;
	assert_int_equal(json_parse(text, strlen(text), &v->claims).failure, 0);
}

static void read_line(struct vectors *v, const char *line)
{
	if (strncmp(line, "claims ", 7) == 0)
		set_claims(v, line + 7);
	else if (strncmp(line, "met ", 4) == 0)
		expect_condition(v, line + 4, true);
	else if (strncmp(line, "unmet ", 6) == 0)
		expect_condition(v, line + 6, false);
	else if (strncmp(line, "policy ", 7) == 0)
		begin_policy(v, line + 7);
	else if (strncmp(line, "> ", 2) == 0)
		v->rows += v->rest == buf_text(&v->walk), expect_line(v, line + 2);
	else if (strncmp(line, "refused ", 8) == 0)
		expect_refusal(v, line + 8);
	else if (strncmp(line, "text ", 5) == 0)
		expect_text(v, line + 5);
	else if (*line && *line != '#')
		fail_msg("line %d is not understood", v->line);
}

static void every_vector_comes_out_as_written(void **state)
{
	(void)state;
	auto_buf file = BUF(64 * 1024);
	struct vectors v = {.walk = BUF(16 * 1024)};
	char *rest;

	assert_int_equal(ossl_open().failure, 0);
	assert_int_equal(file_read(SKR_TEST_DATA "/policy/evaluation.txt", &file).failure, 0);
	rest = (char *)file.data;
	for (char *line; (line = strsep(&rest, "\n"));) {
		v.line++;
		read_line(&v, line);
	}
	finish_policy(&v);
	json_free(v.claims);
	buf_done(&v.walk);
	assert_true(v.rows >= 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_vector_comes_out_as_written),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
