/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_IMDS_H
#define SKR_AZURE_IMDS_H

#include "azure/service.h"

/*
 * THIM: the AMD certificates of this machine from the metadata service (reference/snp-evidence section 6): GET
 * /metadata/THIM/amd/certification, header Metadata: true, never through a proxy. `ret` is the JSON object with vcekCert,
 * tcbm, certificateChain; owned by the caller. SKR-141 unreachable or refused, SKR-143 not understood.
 */
skr_status imds_amd_certification(struct azure *azure, json **ret) MUST_CHECK;

/*
 * A managed-identity token for `audience` from the metadata service, or from where AZURE_POD_IDENTITY_AUTHORITY_HOST says.
 * `selector` as in token_config.identity_argument; NULL: the only or system-assigned one. SKR-300 to 304.
 */
skr_status imds_token(struct azure *azure, const char *audience, const char *selector, struct buf *ret_token) MUST_CHECK;

#endif
