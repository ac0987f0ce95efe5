/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_ATTESTATION_H
#define SKR_AZURE_ATTESTATION_H

#include "azure/service.h"

/* What MAA's SevSnpVm route is given (reference/maa section 4). All borrowed. */
struct attestation_evidence {
	const struct buf *report;	/* 1184 bytes */
	const struct buf *chain_pem;	/* VCEK, ASK, ARK */
	const struct buf *uvm_endorsement; /* COSE_Sign1 bytes; empty: none */
	const struct buf *runtime_data; /* the JSON bytes that REPORT_DATA commits to */
};

/*
 * Sends SNP evidence to the token's attestation instance and gives its token, which is opaque to us but bounded and
 * looked at: three parts, alg not none, iss is the instance, our nonce, our transport key in x-ms-runtime, not expired.
 * SKR-320 to 324.
 */
skr_status attestation_snp(struct azure *azure, const struct attestation_evidence *evidence, struct buf *ret_token)
    MUST_CHECK;

#endif
