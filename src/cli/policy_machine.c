/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy_machine.h"

#include "azure/attestation.h"
#include "azure/identity.h"
#include "azure/policy.h"
#include "azure/vault.h"

#include <ctype.h>
#include <string.h>

void policy_machine_close(struct policy_machine *machine)
{
	look_done(&machine->look);
	config_free(machine->key_config);
	config_free(machine->config);
	*machine = (struct policy_machine){.config = NULL};
}

static bool has_key(const struct token_config *token, const char *url)
{
	for (size_t i = 0; url && i < token->key_count; i++)
		if (strcmp(token->keys[i].url, url) == 0)
			return true;
	return false;
}

static skr_status choose_token(const struct config *config, const char *label, const char *url,
                               const struct token_config **ret)
{
	if (config->token_count == 0)
		return FAIL(4, "%s has no token, so it names neither an attestation instance nor an identity",
		            config->path);
	*ret = label ? config_token(config, label) : &config->tokens[0];
	if (!*ret)
		return FAIL(4, "token %s is not in %s", label, config->path);
	for (size_t i = 0; !label && i < config->token_count; i++)
		if (has_key(&config->tokens[i], url)) {
			*ret = &config->tokens[i];
			break;
		}
	return OK;
}

/* The reader of configurations knows what the address of a key is, and which may be asked. */
static skr_status read_key_address(const struct policy_machine *machine, const char *url, struct config **ret)
{
	auto_buf text = BUF(8 * 1024);

	for (const char *c = url; *c; c++)
		if (!isgraph((unsigned char)*c))
			return FAIL(4, "the address of a key has no blanks");
	TRY(buf_printf(&text, "[skr-pkcs11]\nallow_custom_endpoint = %s\n[token key]\nattestation = %s\nkey = %s\n",
	               machine->config->allow_custom_endpoint ? "yes" : "no", machine->token->attestation, url));
	return config_parse("--key", buf_text(&text), text.len, ret);
}

skr_status policy_machine_open(struct terminal *t, const char *path, const char *label, const char *url,
                               struct policy_machine *ret)
{
	ret->t = t;
	TRY(arena_open(ARENA_LOCK_AUTO));
	TRY(ossl_open());
	TRY(command_config(path, &ret->config));
	TRY(choose_token(ret->config, label, url, &ret->token));
	if (url)
		TRY(read_key_address(ret, url, &ret->key_config));
	return look_open(ret->config, ret->token, &ret->look);
}

static skr_status attest_machine(struct look *look)
{
	TRY(look_at_evidence(look));
	if (look->evidence.form == EVIDENCE_NONE)
		return FAIL(100, "the sidecar attests here and gives its token to nobody; save one, and use --token");
	return look_at_attestation(look);
}

skr_status policy_machine_claims(struct policy_machine *machine, json **ret_claims)
{
	struct look *look = &machine->look;

	terminal_waiting(machine->t, "attesting this machine");
	skr_status status = attest_machine(look);
	terminal_waited(machine->t);
	TRY(status);
	return attestation_claims(buf_text(&look->attestation), look->attestation.len, ret_claims);
}

static skr_status read_bundle(struct policy_machine *machine, json **ret)
{
	const struct key_config *key = &machine->key_config->tokens[0].keys[0];
	auto_buf audience = BUF(512), access = BUF(32 * 1024);

	TRY(vault_audience(key, &audience));
	TRY(identity_token(&machine->look.azure, buf_text(&audience), &access, NULL));
	return vault_key(&machine->look.azure, key, buf_text(&access), ret);
}

skr_status policy_machine_key(struct policy_machine *machine, const char *url, json **ret_policy)
{
	auto_json *bundle = NULL;

	terminal_waiting(machine->t, "reading the key's policy");
	skr_status status = read_bundle(machine, &bundle);
	terminal_waited(machine->t);
	TRY(status);
	status = policy_of_bundle(bundle, ret_policy);
	return status.failure ? status_prefix(status, "%s", url) : OK;
}
