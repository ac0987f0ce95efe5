/* SPDX-License-Identifier: Apache-2.0 */
/* Target: maa_request_parse(). The input is the body of POST /attest/SevSnpVm, layers of base64 and JSON. */
#include "emulator/maa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_maa_request request = {0};

	if (ossl_open().failure)
		__builtin_trap();
	if (maa_request_parse(data, size, &request).failure &&
	    (request.report.data || request.runtime.object || request.nonce.data))
		__builtin_trap(); /* a refusal hands nothing out */
	return 0;
}
