/* SPDX-License-Identifier: Apache-2.0 */
/* Target: http_retry_after() and vault_challenge_parse(), the two headers whose values are read. */
#include "azure/vault.h"
#include "http/http.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vault_challenge challenge;
	char text[513];

	if (size > sizeof(text) - 1)
		size = sizeof(text) - 1;
	memcpy(text, data, size);
	text[size] = '\0';
	if (http_retry_after(text, 1000) < -1)
		__builtin_trap();
	vault_challenge_parse(text, &challenge);
	return 0;
}
