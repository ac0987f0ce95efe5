/* SPDX-License-Identifier: Apache-2.0 */
/* Target: policy_parse(), policy_check(), policy_walk(), policy_explain(): a release policy as a vault or a file gives
 * it, against claims of an attestation token. */
#include "azure/policy.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the walk says of the policy as a whole. */
struct seen {
	size_t authorities, met, counted;
};

static skr_status see(const struct policy_line *line, void *with)
{
	struct seen *seen = with;

	if (line->met && line->counts)
		__builtin_trap(); /* what is met is not missing */
	if (line->kind == POLICY_AUTHORITY) {
		seen->authorities++;
		seen->met += line->met;
		if (line->met && !line->issuer)
			__builtin_trap(); /* nobody but the issuer is trusted */
	}
	seen->counted += line->counts;
	return OK;
}

static void judge(const json *policy, const json *claims)
{
	bool well_formed = policy_check(policy).failure == 0, any = json_get(policy, "anyOf") != NULL;
	auto_buf text = BUF(8 * 1024);
	struct seen seen = {0};
	size_t unmet = 0;

	if (policy_walk(policy, claims, see, &seen).failure)
		__builtin_trap();
	if (policy_explain(policy, claims, &text, &unmet).failure) {
		if (well_formed)
			__builtin_trap();
		return;
	}
	if ((unmet == 0) != (text.len == 0))
		__builtin_trap(); /* what holds needs no words, what does not needs some */
	bool holds = any ? seen.met > 0 : seen.met == seen.authorities;
	if (holds != (unmet == 0) || holds != (seen.counted == 0))
		__builtin_trap(); /* all three say the same */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char claims_text[] = "{\"iss\":\"https://maa.example\",\"x-ms-attestation-type\":\"sevsnpvm\","
	                                  "\"x-ms-sevsnpvm-vmpl\":0,\"x-ms-runtime\":{\"a\":{\"b\":true}}}";
	auto_json *policy = NULL, *claims = NULL;

	if (json_parse(claims_text, strlen(claims_text), &claims).failure)
		return 0;
	if (!policy_parse(data, size, &policy).failure)
		judge(policy, claims);
	else if (policy)
		__builtin_trap(); /* a refusal hands nothing out */
	return 0;
}
