/* SPDX-License-Identifier: Apache-2.0 */
/* Target: managed_token_parse(). Its input is the metadata service's answer: the host's word. */
#include "azure/imds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json *answer = NULL;
	auto_buf token = BUF(32 * 1024);
	bool expired = false;

	if (json_parse(data, size, &answer).failure)
		return 0;
	if (managed_token_parse(answer, "https://vault.azure.net", 2000000000, &token, &expired).failure &&
	    token.len > 0)
		__builtin_trap(); /* a refusal hands nothing out */
	return 0;
}
