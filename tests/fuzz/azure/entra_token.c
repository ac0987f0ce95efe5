/* SPDX-License-Identifier: Apache-2.0 */
/* Target: entra_token_parse(), the answer of a token endpoint. */
#include "azure/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json *answer = NULL;
	auto_buf token = BUF(32 * 1024);

	if (json_parse(data, size, &answer).failure)
		return 0;
	if (entra_token_parse(answer, &token).failure && token.len > 0)
		__builtin_trap(); /* a refusal hands nothing out */
	return 0;
}
