/* SPDX-License-Identifier: Apache-2.0 */
/* Target: config_parse(). The file has been checked for its owner, so this is about mistakes, and about T-9. */
#include "config/config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = NULL;
	skr_status status = config_parse("/fuzz.conf", (const char *)data, size, &config);

	if (status.failure) {
		if (config) /* a refusal hands nothing out */
			__builtin_trap();
		if (status.failure != 3 && status.failure != 4 && status.failure != 5)
			__builtin_trap();
		return 0;
	}
	for (size_t i = 0; i < config->token_count; i++) {
		const struct token_config *token = &config->tokens[i];
		if (!token->attestation || token->key_count == 0 || config_token(config, token->label) != token)
			__builtin_trap();
		for (size_t k = 0; k < token->key_count; k++)
			if (!config_endpoint_allowed(config, token->keys[k].host) || !token->keys[k].label)
				__builtin_trap();
	}
	config_free(config);
	return 0;
}
