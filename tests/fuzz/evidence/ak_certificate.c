/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target: ak_certificate_length(), ak_certificate_read(). Input: what the vTPM's index holds; on Trusted Launch the
 * guest's root may write it.
 */
#include "evidence/ak_certificate.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOMENT 1761782400 /* 2025-10-30, the end of the captured one */

static void read_it(const uint8_t *der, size_t len)
{
	auto_ak_certificate certificate = {.days = 77};
	skr_status status = ak_certificate_read(der, len, MOMENT, &certificate);

	if (status.failure) {
		if ((status.failure != 137 && status.failure != 146) || certificate.key || certificate.days != 77)
			__builtin_trap(); /* a refusal hands nothing out */
		return;
	}
	if (!certificate.key || strlen(certificate.issuer) >= sizeof(certificate.issuer))
		__builtin_trap();
	if ((certificate.state == AK_CERTIFICATE_GOOD) != (certificate.days >= AK_CERTIFICATE_SOON_DAYS))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len = 0;

	if (ossl_open().failure)
		__builtin_trap();
	skr_status status = ak_certificate_length(data, size, size, &len);
	if (status.failure) {
		if ((status.failure != 137 && status.failure != 146) || len)
			__builtin_trap();
		read_it(data, size);
		return 0;
	}
	if (len > size || len < 4)
		__builtin_trap();
	read_it(data, len);
	return 0;
}
