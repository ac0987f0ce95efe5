/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/release_policy.h"

#include "base/base64.h"
#include "emulator/hardware.h"
#include "emulator/machine.h"

#include <stdio.h>

struct condition {
	const char *claim;
	const char *text; /* NULL: it must be true */
};

#define CONDITIONS 4

/* Tokens of guests with a vTPM have the hardware's claims below x-ms-isolation-tee, others at the top. */
static const struct condition conditions[][CONDITIONS] = {
    [MACHINE_CONTAINER] = {{.claim = "x-ms-attestation-type", .text = "sevsnpvm"},
                           {.claim = "x-ms-compliance-status", .text = "azure-compliant-uvm"}},
    [MACHINE_SIDECAR] = {{.claim = "x-ms-attestation-type", .text = "sevsnpvm"},
                         {.claim = "x-ms-compliance-status", .text = "azure-compliant-uvm"}},
    [MACHINE_CVM_SNP] = {{.claim = "x-ms-isolation-tee.x-ms-attestation-type", .text = "sevsnpvm"},
                         {.claim = "x-ms-isolation-tee.x-ms-compliance-status", .text = "azure-compliant-cvm"}},
    [MACHINE_CVM_TDX] = {{.claim = "x-ms-isolation-tee.x-ms-attestation-type", .text = "tdxvm"},
                         {.claim = "x-ms-isolation-tee.x-ms-compliance-status", .text = "azure-compliant-cvm"}},
    [MACHINE_TRUSTED_LAUNCH] = {{.claim = "x-ms-attestation-type", .text = "azurevm"}, {.claim = "secureboot"}},
    [MACHINE_TDX] = {{.claim = "x-ms-attestation-type", .text = "tdxvm"}},
};

/* The claim that tells one machine of a kind from the others. */
static const char *const marks[] = {
    [MACHINE_CONTAINER] = "x-ms-sevsnpvm-hostdata",
    [MACHINE_SIDECAR] = "x-ms-sevsnpvm-hostdata",
    [MACHINE_CVM_SNP] = "x-ms-isolation-tee.x-ms-sevsnpvm-launchmeasurement",
    [MACHINE_CVM_TDX] = "x-ms-isolation-tee.tdx_mrtd",
    [MACHINE_TRUSTED_LAUNCH] = "x-ms-azurevm-vmid",
    [MACHINE_TDX] = "tdx_mrtd",
};

/* This machine's own mark, where a policy for it has one: VMs are told by their kind alone. */
static skr_status own_mark(struct emulator *e, struct buf *out)
{
	struct machine machine;

	if (!machine_traits(e->kind)->container)
		return OK;
	hardware_settings(e, &machine);
	return hex_encode(machine.host_data, sizeof(machine.host_data), out);
}

static void add_condition(json *list, const char *claim, const char *text)
{
	json *condition = json_object();

	json_set_string(condition, "claim", claim);
	if (text)
		json_set_string(condition, "equals", text);
	else
		json_set_bool(condition, "equals", true);
	json_push(list, condition);
}

static skr_status add_conditions(struct emulator *e, const char *value, json *list)
{
	const struct condition *rows = conditions[e->kind];
	auto_buf own = BUF(128);

	for (size_t i = 0; i < CONDITIONS && rows[i].claim; i++)
		add_condition(list, rows[i].claim, rows[i].text);
	TRY(own_mark(e, &own));
	if (value || own.len)
		add_condition(list, marks[e->kind], value ? value : buf_text(&own));
	return OK;
}

skr_status release_policy_print(struct emulator *e, const char *value, struct buf *out)
{
	auto_json *policy = json_object();
	json *any = json_array(), *entry = json_object(), *all = json_array();
	char authority[80];

	snprintf(authority, sizeof(authority), "https://sharedemu.attest.localhost:%u", e->https_port);
	json_set_string(policy, "version", "1.0.0");
	json_set(policy, "anyOf", any);
	json_push(any, entry);
	json_set_string(entry, "authority", authority);
	json_set(entry, "allOf", all);
	TRY(add_conditions(e, value, all));
	return json_print(policy, out);
}
