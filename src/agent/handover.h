/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AGENT_HANDOVER_H
#define SKR_AGENT_HANDOVER_H

#include "azure/service.h"

/*
 * A key from the SKR sidecar, for the module: asks for it, and wraps it (PKCS#8, or the bytes of a symmetric key) to
 * the module's transport key with the token's `enc`, so that it is in the clear nowhere but in the sidecar's answer
 * and, for a moment, here. SKR-160 to 162. `ret_wrapped` is set.
 */
skr_status handover_seal(struct azure *azure, const struct key_config *key, const json *transport_key,
                         struct buf *ret_wrapped) MUST_CHECK;

#endif
