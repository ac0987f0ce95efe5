/* SPDX-License-Identifier: Apache-2.0 */
/* Target: policy_explain(), a release policy as the vault gives it, against claims of an attestation token. */
#include "azure/policy.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char claims_text[] = "{\"iss\":\"https://maa.example\",\"x-ms-attestation-type\":\"sevsnpvm\","
	                                  "\"x-ms-sevsnpvm-vmpl\":0,\"x-ms-runtime\":{\"a\":{\"b\":true}}}";
	auto_json *policy = NULL, *claims = NULL;
	auto_buf text = BUF(8 * 1024);
	size_t unmet = 0;

	if (json_parse(data, size, &policy).failure || json_parse(claims_text, strlen(claims_text), &claims).failure)
		return 0;
	if (!policy_explain(policy, claims, &text, &unmet).failure && (unmet == 0) != (text.len == 0))
		__builtin_trap(); /* what holds needs no words, what does not needs some */
	return 0;
}
