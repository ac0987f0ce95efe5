/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_IMDS_H
#define SKR_AZURE_IMDS_H

#include "azure/service.h"

/*
 * THIM: the AMD certificates of this machine from the metadata service (reference/snp-evidence section 6): GET
 * /metadata/THIM/amd/certification, header Metadata: true, never through a proxy. `ret` is the JSON object with
 * vcekCert, tcbm, certificateChain; owned by the caller. SKR-141 unreachable or refused, SKR-143 not understood.
 */
skr_status imds_amd_certification(struct azure *azure, json **ret) MUST_CHECK;

/*
 * A quote for a TDREPORT of this machine (1024 bytes), from the host's quoting service at the metadata address: POST
 * /acc/tdquote, up to five times a second apart (failure matrix V-20). Appends the quote, at most 16 KiB. SKR-140
 * if it refuses or answers with something else, SKR-240 or 241 if later may help.
 */
skr_status imds_td_quote(struct azure *azure, const uint8_t *report, size_t len, struct buf *ret_quote) MUST_CHECK;

/* The quote of its answer, in either alphabet of base64; appended. SKR-140. */
skr_status imds_td_quote_parse(const json *answer, struct buf *ret_quote) MUST_CHECK;

/*
 * A managed-identity token for `audience` from the metadata service, or from where AZURE_POD_IDENTITY_AUTHORITY_HOST
 * says. `selector` as in token_config.identity_argument; NULL: the only or system-assigned one. SKR-300 to 304.
 */
skr_status imds_token(struct azure *azure, const char *audience, const char *selector,
                      struct buf *ret_token) MUST_CHECK;

/* The same from an App Service or Container Apps endpoint (IDENTITY_ENDPOINT), which authenticates us by `header`. */
skr_status app_service_token(struct azure *azure, const char *endpoint, const char *header, const char *audience,
                             const char *selector, struct buf *ret_token) MUST_CHECK;

/*
 * The access token of a managed-identity answer. SKR-304 names the field that is missing, for another audience, or out
 * of its dates at `now`. `ret_expired` tells the one case in which asking again helps.
 */
skr_status managed_token_parse(const json *answer, const char *audience, int64_t now, struct buf *ret_token,
                               bool *ret_expired) MUST_CHECK;

/* The characters of an HTTP bearer token (RFC 6750 section 2.1), at most 32 KiB; SKR-304. Appends to `ret_token`. */
skr_status bearer_token_take(const char *text, struct buf *ret_token) MUST_CHECK;

/* True for http://HOST… with a loopback or link-local literal or "localhost": a service of this machine. */
bool endpoint_is_local(const char *url);

#endif
