/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/policy.h"

#include <string.h>

/*
 * Target: policy_check() and policy_holds(). Input: a policy, a line feed, the claims of a token; both are somebody
 * else's text by the time a vault sees them.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
	auto_json *policy = NULL, *claims = NULL;
	char reason[64];

	if (!end || json_parse(data, (size_t)(end - data), &policy).failure || policy_check(policy).failure)
		return 0;
	if (json_parse(end + 1, size - (size_t)(end - data) - 1, &claims).failure)
		return 0;
	bool holds = policy_holds(policy, claims, reason, sizeof(reason));
	/* A refusal gives its reason, always the same one; nobody satisfies an authority without being it. */
	if (!holds && reason[0] == '\0')
		__builtin_trap();
	if (holds && !json_string_or_null(claims, "iss"))
		__builtin_trap();
	return 0;
}
