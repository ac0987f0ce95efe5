/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 policy explain`: a release policy held against claims, with Key Vault's rules. */
#include "cli/policy.h"

#include "azure/policy.h"
#include "cli/arguments.h"
#include "cli/policy_machine.h"

struct question {
	const char *policy, *key, *token_file, *config, *label;
	bool token; /* the claims came out of a token */
};

static skr_status read_policy(const struct question *q, struct policy_machine *machine, json **ret)
{
	auto_json *policy = NULL;

	if (q->policy)
		return policy_file_read(q->policy, ret);
	TRY(policy_machine_key(machine, q->key, &policy));
	skr_status status = policy_check(policy);
	if (status.failure)
		return status_prefix(status, "the policy of %s", q->key);
	*ret = TAKE(policy);
	return OK;
}

static skr_status read_claims(struct question *q, struct policy_machine *machine, json **ret)
{
	if (q->token_file)
		return claims_file_read(q->token_file, ret, &q->token);
	return policy_machine_claims(machine, ret);
}

static void print_head(struct terminal *t, const struct question *q)
{
	terminal_heading(t, "%s, held against %s", q->policy ? q->policy : q->key,
	                 q->token_file ? q->token_file : "this machine");
	if (q->token)
		fputs("  the token's signature is not verified here; a vault verifies it\n", t->out);
}

/* A saved token of somewhere else says nothing about the policy. */
static skr_status check_issuer(const struct question *q, const json *policy, const json *claims)
{
	const json *any = json_get(policy, "anyOf");
	const char *iss = json_string_or_null(claims, "iss");
	auto_buf trusted = BUF(4 * 1024);

	for (const json *a = json_first(any ? any : json_get(policy, "allOf")); a; a = json_next(a)) {
		if (policy_trusts(a, claims))
			return OK;
		TRY(buf_printf(&trusted, "%s%s", trusted.len ? " or " : "", json_string_or_null(a, "authority")));
	}
	return FAIL(323, "%s is from %s; this policy trusts nobody but %s", q->token_file,
	            iss ? iss : "nobody (no iss)", buf_text(&trusted));
}

/* What came of asking this machine or a vault has a number, and advice; what is wrong in a file has not. */
static enum exit_code give_up(struct terminal *t, bool machine)
{
	if (!machine)
		return policy_bad_input(t, "explain");
	terminal_error(t, status_last());
	return EXIT_USAGE;
}

static enum exit_code evaluate(struct terminal *t, const struct question *q, const json *policy, const json *claims)
{
	auto_buf failed = BUF(64 * 1024);

	print_head(t, q);
	if (policy_tree_print(t, policy, claims, &failed).failure)
		return give_up(t, false);
	if (!json_get(policy, "version"))
		fputs("note: the policy has no \"version\"; a Managed HSM refuses that\n", t->out);
	fputs(failed.len ? "not satisfied: " : "satisfied", t->out);
	terminal_print(t->out, buf_text(&failed));
	fputc('\n', t->out);
	return failed.len ? EXIT_BAD : EXIT_GOOD;
}

static enum exit_code answer(struct terminal *t, struct question *q)
{
	auto_policy_machine machine = {.config = NULL};
	auto_json *policy = NULL, *claims = NULL;

	if ((q->key || !q->token_file) && policy_machine_open(t, q->config, q->label, q->key, &machine).failure)
		return give_up(t, true);
	if (read_policy(q, &machine, &policy).failure)
		return give_up(t, q->key);
	if (read_claims(q, &machine, &claims).failure)
		return give_up(t, !q->token_file);
	if (q->token_file && check_issuer(q, policy, claims).failure)
		return give_up(t, false);
	return evaluate(t, q, policy, claims);
}

const char policy_explain_help[] =
    "Holds a key's release policy against claims of an attestation token, with Key Vault's rules, and prints it as a\n"
    "tree: each condition with what it wants and what was found, FAILED where that is what is missing.\n"
    "\n"
    "  --policy FILE  the policy: JSON, its base64url, or a key as a vault or az gives it\n"
    "  --key URL      the policy of this key, read from its vault by the token's identity (permission \"get\")\n"
    "  --token FILE   the claims: an attestation token (read, not verified), or a JSON object of claims;\n"
    "                 without it this machine is attested, as a login does it\n"
    "  --config FILE  the configuration, for --key and for this machine\n"
    "  TOKEN          whose attestation instance and identity are taken; else the one with the key, else the first\n"
    "\n"
    "Exit status: 0 satisfied, 1 not satisfied, 2 policy or claims cannot be had.\n"
    "\n"
    "Examples: skr-pkcs11 policy explain --key https://contoso.vault.azure.net/keys/www\n"
    "          skr-pkcs11 policy explain --policy policy.json --token claims.json\n";

enum exit_code policy_explain_run(struct terminal *t, int argc, char **argv)
{
	struct question q = {.policy = NULL};
	const struct argument known[] = {{.name = "--policy", .value = &q.policy},
	                                 {.name = "--key", .value = &q.key},
	                                 {.name = "--token", .value = &q.token_file},
	                                 {.name = "--config", .value = &q.config},
	                                 {.name = "", .value = &q.label},
	                                 {.name = NULL}};

	if (arguments_read(t, "policy explain", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	if (!q.policy == !q.key)
		return command_misused(t, command_find("policy explain"), "one of --policy and --key is needed");
	return answer(t, &q);
}
