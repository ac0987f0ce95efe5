/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_AUTHORITY_H
#define SKR_EMULATOR_AUTHORITY_H

#include "emulator/emulator.h"

/*
 * The certificate that DIR/`name` holds for `key`; issued by `plan` and written there if there is none yet, or one of
 * another key. So that what clients pinned or were told to trust outlives a restart.
 */
struct certificate_plan;
skr_status authority_kept_certificate(struct emulator *e, const char *name, const struct certificate_plan *plan,
                                      X509 **ret) MUST_CHECK;

#endif
