/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_AK_CERTIFICATE_H
#define SKR_EMULATOR_AK_CERTIFICATE_H

#include "emulator/emulator.h"

/* The certificate of a vTPM's attestation key, as the metadata service renews it. */

/*
 * A new certificate for the subject, key and extensions of the one in `pem`, valid from now on for a year, appended as
 * PEM. SKR-117 unless the authority of DIR/vtpm-ca.pem signed that one, whenever that was; SKR-213 if it is none;
 * SKR-001 if this machine has no such authority.
 */
skr_status ak_certificate_renew(struct emulator *e, const char *pem, struct buf *out) MUST_CHECK;

#endif
