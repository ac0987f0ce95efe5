/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_IDENTITY_H
#define SKR_AZURE_IDENTITY_H

#include "azure/service.h"

/* An access token for `audience` ("https://vault.azure.net"), by the token's `identity`. `ret_source` (may be NULL) says in a few words which source was taken; static. */
skr_status identity_token(struct azure *azure, const char *audience, struct buf *ret_token, const char **ret_source)
    MUST_CHECK;

#endif
