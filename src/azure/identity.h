/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_IDENTITY_H
#define SKR_AZURE_IDENTITY_H

#include "azure/service.h"

/*
 * An access token for `audience` ("https://vault.azure.net"), by the token's `identity`. `ret_source` (may be NULL)
 * says in a few words which source was taken; static. `auto`: workload identity if its three variables are there, else
 * the managed identity (AZURE_CLIENT_ID's, if set), from where its variables say or the metadata service. SKR-300 to
 * 305, 310 to 314.
 */
skr_status identity_token(struct azure *azure, const char *audience, struct buf *ret_token,
                          const char **ret_source) MUST_CHECK;

/* The access token of an answer of Entra's token endpoint; SKR-304 names the field. */
skr_status entra_token_parse(const json *answer, struct buf *ret_token) MUST_CHECK;

#endif
