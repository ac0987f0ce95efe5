/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_VAULT_H
#define SKR_AZURE_VAULT_H

#include "azure/service.h"

/*
 * The audience that a key's vault wants, appended: https://vault.azure.net, https://managedhsm.azure.net, or its
 * sovereign cloud's. It is the host without its first label and port; a host with no domain of its own stands for a
 * public one.
 */
skr_status vault_audience(const struct key_config *key, struct buf *ret_audience) MUST_CHECK;

/*
 * POST …/keys/NAME[/VERSION]/release (reference/akv-release section 5), api-version 7.4. `access_token` is refreshed by
 * the caller's identity once after a 401 (SKR-330). `ret_jws` is the compact JWS, not verified here. SKR-330 to 338;
 * for SKR-332 the sentence names the claims of the key's policy that the attestation token does not satisfy, when the
 * policy can be read.
 */
skr_status vault_release(struct azure *azure, const struct key_config *key, const char *access_token,
                         const char *attestation_token, const char *nonce, struct buf *ret_jws) MUST_CHECK;

/*
 * GET …/keys/NAME[/VERSION]: the key's bundle with its public half. `ret` is owned by the caller. SKR-330 to 338; needs
 * the permission "get".
 */
skr_status vault_key(struct azure *azure, const struct key_config *key, const char *access_token,
                     json **ret) MUST_CHECK;

/* Which number a refusal of the release means; 332 also stands for a 403 that says nothing better. */
int vault_refusal(const struct service_error *error);

/* What a 401's WWW-Authenticate asks for; for messages only, it never chooses authority or audience. */
struct vault_challenge {
	char authorization[160]; /* https://login.microsoftonline.com/TENANT; empty: not said */
	char resource[96];
};
void vault_challenge_parse(const char *header, struct vault_challenge *ret);

#endif
