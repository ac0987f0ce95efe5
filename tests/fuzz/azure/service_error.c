/* SPDX-License-Identifier: Apache-2.0 */
/* Target: service_error_parse() and vault_refusal(), the body of any answer that is not 200. */
#include "azure/service.h"
#include "azure/vault.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = {400, 401, 403, 404, 409};
	struct service_error error;

	for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		service_error_parse(statuses[i], data, size, &error);
		int failure = vault_refusal(&error);
		if (failure < 330 || failure > 338 || strpbrk(error.message, "\r\n\t"))
			__builtin_trap();
	}
	return 0;
}
