/* SPDX-License-Identifier: Apache-2.0 */
/* Target: imds_td_quote_parse(). Its input is the quote service's answer: the host's word. */
#include "azure/imds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json *answer = NULL;
	auto_buf quote = BUF(64 * 1024);

	if (json_parse(data, size, &answer).failure)
		return 0;
	skr_status status = imds_td_quote_parse(answer, &quote);
	if (status.failure ? quote.len != 0 : quote.len == 0 || quote.len > 16 * 1024)
		__builtin_trap(); /* a refusal hands nothing out, and what is taken is bounded */
	return 0;
}
