/* SPDX-License-Identifier: Apache-2.0 */
/* Target: td_quote_parse(), td_quote_verify(). The host, or its quoting service, wrote every byte. */
#include "evidence/td_quote.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct td_quote quote = {.version = 77};

	if (ossl_open().failure)
		__builtin_trap();
	skr_status parsed = td_quote_parse(data, size, &quote);
	skr_status verified = td_quote_verify(data, size, 1795000000);
	if (parsed.failure) {
		if (parsed.failure != 116 || verified.failure != 116 || quote.version != 77)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	if (verified.failure && verified.failure != 117)
		__builtin_trap();
	if (quote.signed_bytes != data || quote.signed_len >= size || quote.debug != (quote.td_attributes[0] & 1) ||
	    quote.version != data[0])
		__builtin_trap();
	return 0;
}
