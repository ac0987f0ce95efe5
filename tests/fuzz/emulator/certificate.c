/* SPDX-License-Identifier: Apache-2.0 */
/* Target: vcek_extensions_read(), behind certificate_from_der(). The input is a certificate that a client sends as its
 * VCEK. */
#include "emulator/certificate.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_x509 *certificate = NULL;
	struct vcek_extensions extensions = {0};

	if (ossl_open().failure)
		__builtin_trap();
	if (certificate_from_der(data, size, &certificate).failure) {
		if (certificate)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	if (!vcek_extensions_read(certificate, &extensions).failure &&
	    (strlen(extensions.product) >= sizeof(extensions.product) ||
	     (extensions.hardware_id_len != 8 && extensions.hardware_id_len != 64)))
		__builtin_trap();
	return 0;
}
