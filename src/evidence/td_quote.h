/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_TD_QUOTE_H
#define SKR_EVIDENCE_TD_QUOTE_H

#include "base/ossl.h"

#include <stdbool.h>
#include <time.h>

/* A TD quote, version 4 or 5 (Intel, "TDX DCAP Quoting Library API", appendix A). Little-endian. */
#define TD_QUOTE_LIMIT (16 * 1024)

struct td_quote {
	unsigned version;
	const uint8_t *signed_bytes; /* borrowed: header and body */
	size_t signed_len;
	uint8_t tee_tcb_svn[16], mrseam[48], mrsignerseam[48], seam_attributes[8], td_attributes[8], xfam[8];
	uint8_t mrtd[48], mrconfigid[48], mrowner[48], mrownerconfig[48], rtmr[4][48], report_data[64];
	bool debug; /* td_attributes bit 0: the host may look into this TD */
};

/*
 * Reads header, body and signature data with bounds checks; bytes behind the signature data are let pass (Azure sends
 * 70 zero bytes). SKR-116 names the field.
 */
skr_status td_quote_parse(const void *data, size_t len, struct td_quote *ret) MUST_CHECK;

/*
 * The signatures inside a quote: attestation key over header and body, the quoting enclave's report binds that key, the
 * PCK leaf signed that report, and its chain holds up to the root inside the quote at `now`. Whether that root is
 * Intel's is the attestation service's to decide. SKR-117 with what does not fit.
 */
skr_status td_quote_verify(const void *data, size_t len, time_t now) MUST_CHECK;

#endif
