/* SPDX-License-Identifier: Apache-2.0 */
/* Target: maa_request_parse(). The input is the body of POST /attest/SevSnpVm or TdxVm, layers of base64 and JSON. */
#include "emulator/maa.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(enum maa_evidence evidence, const uint8_t *data, size_t size)
{
	auto_maa_request request = {0};

	if (maa_request_parse(evidence, data, size, &request).failure &&
	    (request.report.data || request.quote.data || request.runtime.object || request.nonce.data))
		__builtin_trap(); /* a refusal hands nothing out */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (ossl_open().failure)
		__builtin_trap();
	parse(MAA_SNP_REPORT, data, size);
	parse(MAA_TD_QUOTE, data, size);
	return 0;
}
