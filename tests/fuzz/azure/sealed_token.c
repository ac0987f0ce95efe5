/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Targets: sealed_token_parse(), sealed_token_open() and guest_token_check(), the answer of MAA's AzureGuest route. An
 * input is a sealed token (opened with an inner key of zeros, which the corpus has some for) and a token in clear.
 */
#include "azure/guest.h"
#include "base/ossl.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *token, size_t len)
{
	static const struct token_config config = {.attestation = "https://maa.example"};
	struct azure azure = {.token = &config};
	struct guest_evidence evidence = {0};

	memset(evidence.transport_modulus, 0xff, sizeof(evidence.transport_modulus));
	(void)!guest_token_check(&azure, &evidence, "n", token, len).failure;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t zeros[33];
	static const size_t sizes[] = {16, 24, 32, 33};
	auto_sealed_token sealed = {0};

	if (ossl_open().failure)
		return 0;
	check((const char *)data, size);
	if (sealed_token_parse((const char *)data, size, &sealed).failure) {
		if (sealed.ciphertext.data)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		auto_buf token = BUF(64 * 1024);
		skr_status status = sealed_token_open(&sealed, zeros, sizes[i], &token);

		if (token.len != (status.failure ? 0 : sealed.ciphertext.len))
			__builtin_trap();
		check(buf_text(&token), token.len);
	}
	return 0;
}
