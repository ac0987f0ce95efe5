/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_VAULT_H
#define SKR_AZURE_VAULT_H

#include "azure/service.h"

/* The audience that a key's vault wants: https://vault.azure.net, https://managedhsm.azure.net, or its sovereign cloud's. */
const char *vault_audience(const struct key_config *key);

/*
 * POST …/keys/NAME[/VERSION]/release (reference/akv-release section 5), api-version 7.4. `access_token` is refreshed by the
 * caller's identity once after a 401 (SKR-330). `ret_jws` is the compact JWS, not verified here. SKR-330 to 338; for SKR-332
 * the sentence names the claims of the key's policy that the attestation token does not satisfy, when the policy can be read.
 */
skr_status vault_release(struct azure *azure, const struct key_config *key, const char *access_token,
    const char *attestation_token, const char *nonce, struct buf *ret_jws) MUST_CHECK;

#endif
