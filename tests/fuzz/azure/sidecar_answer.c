/* SPDX-License-Identifier: Apache-2.0 */
/* Target: sidecar_answer_parse(). Any process of this machine may answer in the sidecar's place. */
#include "azure/sidecar.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json *key = NULL;

	if (sidecar_answer_parse(data, size, &key).failure) {
		if (key)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	const char *kty = json_string_or_null(key, "kty");
	if (!kty || !json_string_or_null(key, strcmp(kty, "oct") == 0 ? "k" : "d"))
		__builtin_trap(); /* no private key */
	return 0;
}
