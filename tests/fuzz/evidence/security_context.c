/* SPDX-License-Identifier: Apache-2.0 */
/* Target: the two decoders of the security context's files, which the host mounts into the container. */
#include "evidence/security_context.h"
#include "base/ossl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json *certificates = NULL;
	auto_buf reference = BUF(REFERENCE_INFO_LIMIT);

	if (ossl_open().failure)
		__builtin_trap();
	skr_status status = security_context_certificates((const char *)data, size, &certificates);
	if (status.failure ? status.failure != 144 || certificates : !certificates)
		__builtin_trap();
	status = security_context_reference((const char *)data, size, &reference);
	if (status.failure ? status.failure != 144 || reference.len : reference.len > REFERENCE_INFO_LIMIT)
		__builtin_trap();
	return 0;
}
