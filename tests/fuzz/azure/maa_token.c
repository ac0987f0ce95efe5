/* SPDX-License-Identifier: Apache-2.0 */
/* Target: attestation_token_check() and attestation_claims(), the token of an attestation service. */
#include "azure/attestation.h"
#include "base/ossl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char runtime_text[] =
	    "{\"keys\":[{\"e\":\"AQAB\",\"kid\":\"k-1\",\"kty\":\"RSA\",\"n\":\"AAA\"}]}";
	auto_json *runtime = NULL, *claims = NULL;

	if (ossl_open().failure || json_parse(runtime_text, sizeof(runtime_text) - 1, &runtime).failure)
		return 0;
	struct attestation_expectation expected = {
	    .instance = "https://maa.example", .nonce = "n", .runtime_data = runtime, .now = 2000};
	skr_status status = attestation_token_check((const char *)data, size, &expected);
	if (attestation_claims((const char *)data, size, &claims).failure && !status.failure)
		__builtin_trap(); /* accepted, but cannot be read */
	(void)attestation_expiry((const char *)data, size);
	return 0;
}
