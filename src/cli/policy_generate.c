/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 policy generate`: a release policy from what the attestation service says of this machine now. */
#include "cli/policy.h"

#include "azure/policy.h"
#include "cli/arguments.h"
#include "cli/output.h"
#include "cli/policy_commands.h"
#include "cli/policy_machine.h"

#include <string.h>

#define TEXT_LIMIT (64 * 1024)

/* What was asked for, and what is known of the machine. */
struct order {
	const char *label, *strictness, *token_file, *output, *config;
	bool commands, quiet;
	unsigned levels;
	enum machine_kind kind;
	json *claims; /* owned */
};
#define auto_order __attribute__((cleanup(order_done))) struct order
static void order_done(struct order *order)
{
	json_free(order->claims);
}

/* One condition a line, as people write policies. */
static skr_status print_policy(const json *policy, struct buf *out)
{
	const json *entry = json_first(json_get(policy, "anyOf"));
	auto_json *authority = json_of_string(json_string_or_null(entry, "authority"));

	TRY(buf_append_text(out, "{\n  \"version\": \"1.0.0\",\n  \"anyOf\": [\n    {\n      \"authority\": "));
	TRY(json_print(authority, out));
	TRY(buf_append_text(out, ",\n      \"allOf\": [\n"));
	for (const json *c = json_first(json_get(entry, "allOf")); c; c = json_next(c)) {
		TRY(buf_append_text(out, "        "));
		TRY(json_print(c, out));
		TRY(buf_append_text(out, json_next(c) ? ",\n" : "\n"));
	}
	return buf_append_text(out, "      ]\n    }\n  ]\n}\n");
}

/* Each level that was asked for must ask for something: a policy that looks strict and is not is worse than none. */
static skr_status check_levels(const struct order *order)
{
	static const struct {
		enum strictness level;
		const char *word;
	} levels[] = {{STRICT_IMAGE, "image"}, {STRICT_WORKLOAD, "workload"}};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
		bool found = !(order->levels & levels[i].level);
		for (const struct policy_rule *rule = policy_rules; rule->claim; rule++)
			found |= policy_rule_applies(rule, order->kind, order->levels & levels[i].level, order->claims);
		if (!found)
			return FAIL(323,
			            "%s, as its claims are, has none that tells its %s from others; see --strictness",
			            machine_kind_text(order->kind), levels[i].word);
	}
	return OK;
}

/* ---- what it buys ---- */

static bool is_met(const struct order *order, const struct policy_rule *rule)
{
	const json *has = policy_claim(order->claims, rule->claim);
	auto_json *wanted = json_of_string(rule->wanted ? rule->wanted : "");

	return !rule->wanted || policy_same_value(has, wanted);
}

static skr_status explain_rule(struct terminal *t, const struct order *order, const struct policy_rule *rule)
{
	const json *has = policy_claim(order->claims, rule->claim);
	auto_buf text = BUF(TEXT_LIMIT);

	TRY(buf_printf(&text, "%s = ", rule->claim));
	TRY(rule->wanted ? buf_append_text(&text, rule->wanted) : policy_print_value(has, SIZE_MAX, &text));
	if (!is_met(order, rule)) {
		TRY(buf_append_text(&text, ", but this machine has "));
		TRY(policy_print_value(has, SIZE_MAX, &text));
	}
	terminal_print(t->err, buf_text(&text));
	fprintf(t->err, "\n    buys    %s\n    breaks  %s\n", rule->buys, rule->breaks);
	return OK;
}

/* On t->err, so that the policy can be piped. Returns how many conditions this machine does not meet. */
static size_t explain_rules(struct terminal *t, const struct order *order)
{
	size_t unmet = 0;

	if (!order->quiet)
		fprintf(t->err, "This policy is for %s. It asks for\n\n", machine_kind_text(order->kind));
	for (const struct policy_rule *rule = policy_rules; rule->claim; rule++) {
		if (!policy_rule_applies(rule, order->kind, order->levels, order->claims))
			continue;
		bool met = is_met(order, rule);
		unmet += !met;
		if ((!order->quiet || !met) && explain_rule(t, order, rule).failure)
			return unmet;
	}
	if (unmet)
		fputs("\nThis machine does not satisfy its own policy, and would get no key.\n", t->err);
	else if (!order->quiet && order->levels == STRICT_PLATFORM)
		fputs("\nEvery machine of this kind satisfies it, whoever owns it: let nobody else use the identity.\n",
		      t->err);
	return unmet;
}

/* ---- the command ---- */

static skr_status read_claims(struct terminal *t, struct order *order, struct policy_machine *machine)
{
	bool token;

	if (order->token_file)
		return claims_file_read(order->token_file, &order->claims, &token);
	TRY(policy_machine_open(t, order->config, order->label, NULL, machine));
	return policy_machine_claims(machine, &order->claims);
}

static skr_status write_policy(struct terminal *t, const struct order *order, const struct policy_machine *machine,
                               const struct buf *policy)
{
	const struct token_config *token = machine->token;
	auto_buf lines = BUF(TEXT_LIMIT);

	if (!order->output) {
		fputs(buf_text(policy), t->out);
		return OK;
	}
	if (order->commands)
		TRY(policy_commands_print(order->kind, token && token->key_count ? &token->keys[0] : NULL,
		                          order->output, &lines));
	TRY(output_write(order->output, policy));
	fputs(buf_text(&lines), t->out);
	return OK;
}

static enum exit_code give_up(struct terminal *t, bool machine)
{
	if (!machine)
		return policy_bad_input(t, "generate");
	terminal_error(t, status_last());
	return EXIT_USAGE;
}

static enum exit_code generate(struct terminal *t, struct order *order)
{
	auto_policy_machine machine = {.config = NULL};
	auto_json *policy = NULL;
	auto_buf text = BUF(TEXT_LIMIT);

	if (read_claims(t, order, &machine).failure)
		return give_up(t, !order->token_file);
	if (machine_kind_of(order->claims, &order->kind).failure || check_levels(order).failure ||
	    policy_generate(order->claims, order->kind, order->levels, &policy).failure ||
	    print_policy(policy, &text).failure || write_policy(t, order, &machine, &text).failure)
		return give_up(t, false);
	return explain_rules(t, order) ? EXIT_BAD : EXIT_GOOD;
}

const char policy_generate_help[] =
    "Writes a release policy that this machine satisfies, and on the standard error what each condition buys and what\n"
    "will break it.\n"
    "\n"
    "  --strictness LIST  platform: genuine hardware and Azure's software, without debugging; beside that\n"
    "                     image: the launch measurement; workload: container policy, boot measurements, or this one\n"
    "                     machine. Several with commas; workload unless given\n"
    "  --token FILE       claims of an attestation token or a JSON file instead of this machine's\n"
    "  --output FILE      the policy goes there, whole or not at all\n"
    "  --commands         with --output: prints the az commands that make identity, key and role\n"
    "  --quiet            explains nothing\n"
    "  --config FILE      the configuration; TOKEN names whose attestation instance (and first key) is meant\n"
    "\n"
    "Exit status: 0 the policy is written, 1 it is, but this machine does not satisfy it, 2 there is none.\n"
    "\n"
    "Example: skr-pkcs11 policy generate --output policy.json --commands web\n";

enum exit_code policy_generate_run(struct terminal *t, int argc, char **argv)
{
	auto_order order = {.claims = NULL};
	const struct argument known[] = {{.name = "--strictness", .value = &order.strictness},
	                                 {.name = "--token", .value = &order.token_file},
	                                 {.name = "--output", .value = &order.output},
	                                 {.name = "--config", .value = &order.config},
	                                 {.name = "--commands", .flag = &order.commands},
	                                 {.name = "--quiet", .flag = &order.quiet},
	                                 {.name = "", .value = &order.label},
	                                 {.name = NULL}};

	if (arguments_read(t, "policy generate", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	if (order.commands && !order.output)
		return command_misused(t, command_find("policy generate"),
		                       "--commands needs --output FILE, which they name");
	if (strictness_parse(order.strictness ? order.strictness : "workload", &order.levels).failure)
		return policy_bad_input(t, "generate");
	return generate(t, &order);
}
