/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_GUEST_ATTESTATION_H
#define SKR_EMULATOR_GUEST_ATTESTATION_H

#include "emulator/intel.h"
#include "emulator/report_verify.h"

/* MAA's AzureGuest: what a machine with a vTPM sends, verified, and the answer sealed to the TPM's key. */

struct guest_trust {
	struct report_trust amd;
	struct quote_trust intel;
	X509 *vtpm_authority; /* issuer of AK certificates; needed for Trusted Launch, where NULL is nobody */
	int64_t now;
	bool secure_boot_without_log; /* what is said of secure boot when no boot log tells of it */
};

/*
 * Takes {"AttestationInfo":…} (either spelling) apart and makes every check of reference/maa-azureguest section 8; adds
 * the claims of section 5 to `claims`, x-ms-isolation-tee nested exactly. `ret_key`: the TPM's transport key. SKR-116,
 * 117 or 213 says what failed, in words that name the member.
 */
skr_status guest_evaluate(const void *body, size_t len, const struct guest_trust *trust, json *claims,
                          EVP_PKEY **ret_key) MUST_CHECK;

/*
 * The envelope of section 3: `token` under a fresh AES-256 key, that one under the TPM's. Its text, base64url, is what
 * stands in {"token":…}. `ret_envelope` owned by the caller. SKR-599.
 */
skr_status guest_seal(EVP_PKEY *key, const char *token, size_t len, json **ret_envelope) MUST_CHECK;

#endif
