/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VTPM_PROVISION_H
#define SKR_EMULATOR_VTPM_PROVISION_H

#include "base/ossl.h"
#include "emulator/vtpm_wire.h"

#include <stdbool.h>

/* What a paravisor, or on Trusted Launch the provisioning service, puts into the TPM (cvm-vtpm-evidence sections 2, 8).
 */

#define VTPM_AK          0x81000003U
#define VTPM_SRK         0x81000001U
#define VTPM_EK          0x81010001U
#define VTPM_REPORT      0x01400001U
#define VTPM_USER_DATA   0x01400002U
#define VTPM_CERTIFICATE 0x01C101D0U

struct vtpm_keys {
	EVP_PKEY *ak, *ek;
};
void vtpm_keys_done(struct vtpm_keys *keys);

/*
 * After a start of the TPM: the keys (made if they are missing; the AK of a confidential VM anew from its seed), the
 * platform's NV indices, the PCRs by `log`, and then the platform hierarchy is closed. SKR-130 names call and code.
 */
skr_status vtpm_provision(struct vtpm_wire *wire, bool trusted_launch, const struct buf *log,
                          struct vtpm_keys *ret) MUST_CHECK;

/* Trusted Launch: defines NV 0x01C101D0 of just this size and writes it; `len` 0 leaves it unwritten. */
skr_status vtpm_write_certificate(struct vtpm_wire *wire, const void *der, size_t len) MUST_CHECK;

/* What a guest's root can do: another key at the AK's handle. */
skr_status vtpm_replace_ak(struct vtpm_wire *wire) MUST_CHECK;

/* Something is measured into the PCR, both banks: random digests. */
skr_status vtpm_extend(struct vtpm_wire *wire, uint32_t pcr) MUST_CHECK;

#endif
