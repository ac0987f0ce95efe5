/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_MAA_H
#define SKR_EMULATOR_MAA_H

#include "emulator/emulator.h"
#include "emulator/report_verify.h"

#define MAA_REQUEST_LIMIT (256 * 1024)

/* {"data","dataType"} of a request, decoded. */
struct maa_data {
	bool there;
	struct buf bytes;
	json *object; /* dataType "JSON" alone */
};

/* What stands in a body beside the data. */
enum maa_evidence { MAA_SNP_REPORT, MAA_TD_QUOTE };

/* The body of POST /attest/SevSnpVm or TdxVm, taken apart through all its layers of base64; nothing in it is verified.
 */
struct maa_request {
	struct buf report, chain_pem, endorsement; /* endorsement: a COSE_Sign1; empty: none */
	struct buf quote;                          /* of MAA_TD_QUOTE, in place of the three */
	struct maa_data runtime, init_time;
	struct buf nonce;        /* text; a number's own digits */
	struct buf draft_policy; /* text; empty: none */
};
#define auto_maa_request __attribute__((cleanup(maa_request_done))) struct maa_request
void maa_request_done(struct maa_request *request); /* takes an all-zero one */

/*
 * Both alphabets of base64 with or without padding; runtimeData and initTimeData may be empty; nonce may be a string or
 * a number of any length. SKR-213 names the member; `ret` all zero on failure.
 */
skr_status maa_request_parse(enum maa_evidence evidence, const void *body, size_t len,
                             struct maa_request *ret) MUST_CHECK;

/*
 * Verifies the evidence and adds what it says of the machine to `claims` (section 8.3 of the reference). SKR-116, 117
 * or 213 says what failed.
 */
skr_status maa_evaluate(struct emulator *e, const struct maa_request *request, json *claims) MUST_CHECK;
skr_status maa_evaluate_td(struct emulator *e, const struct maa_request *request, json *claims) MUST_CHECK;

/* What a verified SNP report says, as x-ms-sevsnpvm-… claims. */
skr_status maa_report_claims(const uint8_t *report, enum product product, json *claims) MUST_CHECK;
/*
 * Whether it may be a paravisor's: not debuggable, and the image is signed, so that the report has the digest of the
 * signer's key; a utility VM's has none.
 */
bool maa_paravisor_report(const uint8_t *report);

/* What evidence came to: the claims that it makes, and what of the request the token repeats or goes by. */
struct maa_verdict {
	json *claims;
	struct buf nonce, draft_policy; /* as in maa_request */
	EVP_PKEY *transport;            /* NULL, or whom the token is sealed to */
};
#define auto_maa_verdict __attribute__((cleanup(maa_verdict_done))) struct maa_verdict
static inline void maa_verdict_done(struct maa_verdict *verdict)
{
	json_free(verdict->claims);
	buf_done(&verdict->nonce);
	buf_done(&verdict->draft_policy);
	EVP_PKEY_free(verdict->transport);
}

#endif
