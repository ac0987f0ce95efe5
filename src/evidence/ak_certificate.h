/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_AK_CERTIFICATE_H
#define SKR_EVIDENCE_AK_CERTIFICATE_H

#include "base/ossl.h"

#include <time.h>

/*
 * The certificate of the vTPM's attestation key. Who issued it is not checked: issuers change (there were three in two
 * years), and the attestation service decides whom it trusts.
 */

enum ak_certificate_state { AK_CERTIFICATE_GOOD, AK_CERTIFICATE_EXPIRES_SOON, AK_CERTIFICATE_EXPIRED };

#define AK_CERTIFICATE_SOON_DAYS 30

struct ak_certificate {
	enum ak_certificate_state state;
	int days; /* left; negative: expired so long ago */
	char issuer[96];
	EVP_PKEY *key; /* owned */
};
#define auto_ak_certificate __attribute__((cleanup(ak_certificate_done))) struct ak_certificate
void ak_certificate_done(struct ak_certificate *certificate); /* takes an all-zero one */

/*
 * The length of the DER that begins here, of which `len` bytes are seen: the TPM's index has zero bytes behind it.
 * SKR-146 for zeros in place of one, SKR-137 for anything else that is none, or longer than `room`.
 */
skr_status ak_certificate_length(const uint8_t *der, size_t len, size_t room, size_t *ret) MUST_CHECK;

/* SKR-146: what stands there until the machine is given its certificate. SKR-137: no certificate. */
skr_status ak_certificate_read(const uint8_t *der, size_t len, time_t now, struct ak_certificate *ret) MUST_CHECK;

#endif
