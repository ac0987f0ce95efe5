/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_ATTESTATION_H
#define SKR_AZURE_ATTESTATION_H

#include "azure/service.h"

/* What MAA's SevSnpVm route is given (reference/maa section 4). All borrowed. */
struct attestation_evidence {
	const struct buf *report;          /* 1184 bytes */
	const struct buf *chain_pem;       /* VCEK, ASK, ARK */
	const struct buf *uvm_endorsement; /* COSE_Sign1 bytes; empty: none */
	const struct buf *runtime_data;    /* the JSON bytes that REPORT_DATA commits to */
};

/*
 * Sends SNP evidence to the token's attestation instance and gives its token, which is opaque to us but bounded and
 * looked at: three parts, alg not none, iss is the instance, our nonce, our transport key in x-ms-runtime, not expired
 * (asked for once more if it is). SKR-320 to 323.
 */
skr_status attestation_snp(struct azure *azure, const struct attestation_evidence *evidence,
                           struct buf *ret_token) MUST_CHECK;

/* What MAA's TdxVm route is given (reference: MAA data plane 2025-06-01, AttestTdxVm). All borrowed. */
struct attestation_td {
	const struct buf *quote;        /* as it came, zero bytes behind it included */
	const struct buf *runtime_data; /* what the quote's report data commits to */
};
/* The same for a TD quote. SKR-320 to 323. */
skr_status attestation_tdx(struct azure *azure, const struct attestation_td *evidence,
                           struct buf *ret_token) MUST_CHECK;

/*
 * For `skr-pkcs11 attest` alone: the direct form, SNP report or TD quote with the paravisor's claims as runtime data.
 * No key of ours is in such a token, so only issuer, nonce and dates are looked at. SKR-320 to 323.
 */
skr_status attestation_snp_direct(struct azure *azure, const struct attestation_evidence *evidence,
                                  struct buf *ret_token) MUST_CHECK;
skr_status attestation_tdx_direct(struct azure *azure, const struct attestation_td *evidence,
                                  struct buf *ret_token) MUST_CHECK;

/*
 * One POST of `body` to /attest/ROUTE of the token's instance, for whatever kind of evidence. Appends the answer's
 * "token", which is not looked at. `evidence` is what a refusal names by its digest. SKR-320 to 323.
 */
skr_status attestation_request(struct azure *azure, const char *route, const struct buf *body,
                               const struct buf *evidence, struct buf *ret_token) MUST_CHECK;

/* For what is wrong inside its answer: service_blame with the token's instance. */
skr_status attestation_blame(skr_status status, const struct azure *azure);

/* What a token must say to be the answer to our request. All borrowed. */
struct attestation_expectation {
	const char *instance;
	const char *nonce; /* NULL: the token has it elsewhere */
	const json
	    *runtime_data; /* {"keys":[ours]}; NULL: no key of ours in x-ms-runtime, or the caller looks for it */
	int64_t now;
};
/* Only a look, no verification: Key Vault is the token's verifier. SKR-323 names the field. */
skr_status attestation_token_check(const char *token, size_t len,
                                   const struct attestation_expectation *expected) MUST_CHECK;

/* The claims as they stand, unverified: for messages and dates. SKR-323. `ret` is owned by the caller. */
skr_status attestation_claims(const char *token, size_t len, json **ret) MUST_CHECK;

/* Seconds since 1970 when the token ends; 0 if it does not say so. */
int64_t attestation_expiry(const char *token, size_t len);

/* The bodies of the requests, appended to `out`: for the calls above, and tests. */
skr_status attestation_snp_print(const struct attestation_evidence *evidence, const char *nonce,
                                 struct buf *out) MUST_CHECK;
skr_status attestation_tdx_print(const struct attestation_td *evidence, const char *nonce, struct buf *out) MUST_CHECK;

#endif
