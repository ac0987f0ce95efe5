/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/policy_rules.h"

#include "azure/policy.h"

#include <string.h>

#define IN(kind)   (1u << (kind))
#define SNP        (IN(MACHINE_CONTAINER) | IN(MACHINE_SNP))
#define CVM        (IN(MACHINE_CVM_SNP) | IN(MACHINE_CVM_TDX))
#define VTPM       (CVM | IN(MACHINE_TRUSTED_LAUNCH))

#define TEE(claim) "x-ms-isolation-tee." claim

/* What several rows say. */
#define BUYS_TYPE    "a report of genuine hardware of this kind"
#define BREAKS_TYPE  "a move to another kind of machine"
#define BUYS_DEBUG   "nobody can read the memory by the hardware's debug interface"
#define BREAKS_NEVER "nothing that you would want"
#define BUYS_IMAGE   "the very software that starts the machine, as it is today"
#define BREAKS_IMAGE \
	"an update of it, which Azure makes without asking: the next start gets no key until the policy has both"
#define BUYS_COMPLIANT "software below yours that Microsoft signed for this"
#define BREAKS_SIGNED  "a platform that Azure does not vouch for"
#define BUYS_VMID      "this one virtual machine, and no other"
#define BREAKS_VMID    "making the machine anew, or a second one: each needs its own authority entry"
#define BREAKS_BOOT    "secure boot switched off; a boot log that this user may not read (SKR-151)"
#define BREAKS_RTMR    "an update of kernel, boot loader or command line"

const struct policy_rule policy_rules[] = {
    /* a report of our own */
    {SNP, STRICT_PLATFORM, "x-ms-attestation-type", "sevsnpvm", BUYS_TYPE, BREAKS_TYPE},
    {SNP, STRICT_PLATFORM, "x-ms-compliance-status", NULL, BUYS_COMPLIANT, BREAKS_SIGNED},
    {SNP, STRICT_PLATFORM, "x-ms-sevsnpvm-is-debuggable", "false", BUYS_DEBUG, BREAKS_NEVER},
    {SNP, STRICT_PLATFORM, "x-ms-sevsnpvm-migration-allowed", "false",
     "no migration agent can carry the memory elsewhere", BREAKS_NEVER},
    {SNP, STRICT_IMAGE, "x-ms-sevsnpvm-launchmeasurement", NULL, BUYS_IMAGE, BREAKS_IMAGE},
    {SNP, STRICT_WORKLOAD, "x-ms-sevsnpvm-hostdata", NULL,
     "the containers of your policy (CCE policy): images, commands, environment, mounts",
     "any change of them: a new image is a new value"},
    /* a TD of our own */
    {IN(MACHINE_TDX), STRICT_PLATFORM, "x-ms-attestation-type", "tdxvm", BUYS_TYPE, BREAKS_TYPE},
    {IN(MACHINE_TDX), STRICT_PLATFORM, "x-ms-compliance-status", NULL, BUYS_COMPLIANT, BREAKS_SIGNED},
    {IN(MACHINE_TDX), STRICT_PLATFORM, "tdx_td_attributes_debug", "false", BUYS_DEBUG, BREAKS_NEVER},
    {IN(MACHINE_TDX), STRICT_PLATFORM, "attester_tcb_status", "UpToDate", "no processor with known holes",
     "a new advisory of Intel, until the host is updated"},
    {IN(MACHINE_TDX), STRICT_IMAGE, "tdx_mrtd", NULL, BUYS_IMAGE, BREAKS_IMAGE},
    {IN(MACHINE_TDX), STRICT_WORKLOAD, "tdx_mrconfigid", NULL, "what the machine was configured with at its start",
     "a change of that configuration"},
    {IN(MACHINE_TDX), STRICT_WORKLOAD, "tdx_rtmr1", NULL, "the boot loader and kernel that ran", BREAKS_RTMR},
    {IN(MACHINE_TDX), STRICT_WORKLOAD, "tdx_rtmr2", NULL, "the command line and initial file system", BREAKS_RTMR},
    /* behind a paravisor */
    {VTPM, STRICT_PLATFORM, "x-ms-attestation-type", "azurevm", "evidence by the virtual TPM of an Azure machine",
     BREAKS_TYPE},
    {IN(MACHINE_CVM_SNP), STRICT_PLATFORM, TEE("x-ms-attestation-type"), "sevsnpvm", BUYS_TYPE, BREAKS_TYPE},
    {IN(MACHINE_CVM_TDX), STRICT_PLATFORM, TEE("x-ms-attestation-type"), "tdxvm", BUYS_TYPE, BREAKS_TYPE},
    {CVM, STRICT_PLATFORM, TEE("x-ms-compliance-status"), "azure-compliant-cvm", BUYS_COMPLIANT, BREAKS_SIGNED},
    {IN(MACHINE_CVM_SNP), STRICT_PLATFORM, TEE("x-ms-sevsnpvm-is-debuggable"), "false", BUYS_DEBUG, BREAKS_NEVER},
    {IN(MACHINE_CVM_SNP), STRICT_PLATFORM, TEE("x-ms-sevsnpvm-vmpl"), "0",
     "a report that the paravisor itself asked for", BREAKS_NEVER},
    {IN(MACHINE_CVM_TDX), STRICT_PLATFORM, TEE("tdx_td_attributes_debug"), "false", BUYS_DEBUG, BREAKS_NEVER},
    {VTPM, STRICT_PLATFORM, "secureboot", "true", "a boot loader and kernel that are signed", BREAKS_BOOT},
    {IN(MACHINE_CVM_SNP), STRICT_IMAGE, TEE("x-ms-sevsnpvm-launchmeasurement"), NULL, BUYS_IMAGE, BREAKS_IMAGE},
    {IN(MACHINE_CVM_TDX), STRICT_IMAGE, TEE("tdx_mrtd"), NULL, BUYS_IMAGE, BREAKS_IMAGE},
    {VTPM, STRICT_WORKLOAD, "x-ms-azurevm-vmid", NULL, BUYS_VMID, BREAKS_VMID},
    {.claim = NULL},
};

/* ---- kinds ---- */

static const char *const kind_texts[] = {
    [MACHINE_CONTAINER] = "a confidential container (AMD SEV-SNP)",
    [MACHINE_SNP] = "a SEV-SNP guest with a report of its own",
    [MACHINE_TDX] = "a TDX guest with a quote of its own",
    [MACHINE_CVM_SNP] = "a confidential virtual machine (AMD SEV-SNP)",
    [MACHINE_CVM_TDX] = "a confidential virtual machine (Intel TDX)",
    [MACHINE_TRUSTED_LAUNCH] = "a Trusted Launch virtual machine",
};

const char *machine_kind_text(enum machine_kind kind)
{
	return kind_texts[kind];
}

static bool is(const json *claims, const char *name, const char *text)
{
	const char *has = json_text(policy_claim(claims, name));

	return has && strcmp(has, text) == 0;
}

skr_status machine_kind_of(const json *claims, enum machine_kind *ret)
{
	const char *type = json_string_or_null(claims, "x-ms-attestation-type"), *uvm = "x-ms-compliance-status";
	bool endorsed = is(claims, uvm, "azure-compliant-uvm") || is(claims, uvm, "azure-signed-katacc-uvm");

	if (is(claims, "x-ms-attestation-type", "sevsnpvm"))
		*ret = endorsed ? MACHINE_CONTAINER : MACHINE_SNP;
	else if (is(claims, "x-ms-attestation-type", "tdxvm"))
		*ret = MACHINE_TDX;
	else if (is(claims, TEE("x-ms-attestation-type"), "sevsnpvm"))
		*ret = MACHINE_CVM_SNP;
	else if (is(claims, TEE("x-ms-attestation-type"), "tdxvm"))
		*ret = MACHINE_CVM_TDX;
	else if (is(claims, "x-ms-attestation-type", "azurevm") && !json_get(claims, "x-ms-isolation-tee"))
		*ret = MACHINE_TRUSTED_LAUNCH;
	else
		return FAIL(323, "x-ms-attestation-type is %s: no kind of machine that a policy can be made for",
		            type ? type : "missing");
	return OK;
}

/* ---- strictness ---- */

skr_status strictness_parse(const char *text, unsigned *ret)
{
	static const struct {
		const char *word;
		unsigned level;
	} words[] = {{"platform", STRICT_PLATFORM}, {"image", STRICT_IMAGE}, {"workload", STRICT_WORKLOAD}};
	unsigned levels = STRICT_PLATFORM;

	for (;;) {
		size_t len = strcspn(text, ","), i = 0;
		while (i < 3 && (strlen(words[i].word) != len || strncmp(words[i].word, text, len) != 0))
			i++;
		if (i == 3)
			return FAIL(
			    4, "strictness is platform, image, workload, or several of them with commas; not \"%.*s\"",
			    (int)len, text);
		levels |= words[i].level;
		if (text[len] == '\0')
			break;
		text += len + 1;
	}
	*ret = levels;
	return OK;
}

/* ---- the policy ---- */

static bool is_zeros(const char *text)
{
	return text && *text && strspn(text, "0") == strlen(text);
}

/* Of what the machine says of itself: it must say something; a digest of zeros is nobody's. */
static bool machine_says(const struct policy_rule *rule, const json *claims)
{
	const json *has = policy_claim(claims, rule->claim);

	return policy_same_value(has, has) && !is_zeros(json_text(has));
}

bool policy_rule_applies(const struct policy_rule *rule, enum machine_kind kind, unsigned levels, const json *claims)
{
	return (rule->kinds & IN(kind)) && (levels & rule->strictness) && (rule->wanted || machine_says(rule, claims));
}

static json *condition_of(const struct policy_rule *rule, const json *claims)
{
	json *condition = json_object();

	json_set_string(condition, "claim", rule->claim);
	if (rule->wanted)
		json_set_string(condition, "equals", rule->wanted);
	else
		json_set(condition, "equals", json_copy(policy_claim(claims, rule->claim)));
	return condition;
}

skr_status policy_generate(const json *claims, enum machine_kind kind, unsigned levels, json **ret)
{
	const char *iss = json_string_or_null(claims, "iss");
	auto_json *policy = json_object();
	json *any = json_array(), *entry = json_object(), *all = json_array();

	json_set_string(policy, "version", "1.0.0");
	json_set(policy, "anyOf", any);
	json_push(any, entry);
	json_set(entry, "allOf", all);
	if (!iss)
		return FAIL(323, "the claims name no issuer (iss), and so no authority that a policy could trust");
	json_set_string(entry, "authority", iss);
	for (const struct policy_rule *rule = policy_rules; rule->claim; rule++)
		if (policy_rule_applies(rule, kind, levels, claims))
			json_push(all, condition_of(rule, claims));
	TRY(policy_check(policy));
	*ret = TAKE(policy);
	return OK;
}
