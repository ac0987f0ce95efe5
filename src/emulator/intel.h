/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_INTEL_H
#define SKR_EMULATOR_INTEL_H

#include "emulator/emulator.h"

/* A processor with TDX, and an authority shaped like Intel's that vouches for its quotes. Outlives a restart in
 * DIR/intel-…. */
#define TD_REPORT_BYTES 1024
#define TD_QUOTE_ROOM   (16 * 1024)

skr_status intel_open(struct emulator *e) MUST_CHECK; /* sets e->intel, writes DIR/intel-root.pem */
void intel_close(struct emulator *e);

/* A TDREPORT of the played TD: hashes and MAC as the processor makes them. Thread-safe. */
skr_status intel_td_report(struct emulator *e, const uint8_t report_data[64], uint8_t ret[TD_REPORT_BYTES]) MUST_CHECK;

/*
 * The quote for a TDREPORT of this processor, `version` 4 or 5, appended; as Azure gives it (5006 bytes, zero bytes at
 * the end) for version 4. SKR-117 if the MAC is not this processor's. Thread-safe.
 */
skr_status intel_quote(struct emulator *e, const uint8_t report[TD_REPORT_BYTES], unsigned version,
                       struct buf *out) MUST_CHECK;

/* A quote's claims, verified against roots. */
struct quote_trust {
	X509 *root;             /* of the played processor */
	bool accept_real_intel; /* also Intel's own SGX root, by the SHA-256 of its public key */
	int64_t now;
};
/*
 * All of reference/tdx-evidence section 6 but the collateral; adds the claims of section 7 to `claims` (without
 * x-ms-runtime and policy). `report_data` 64 bytes. SKR-116, 117.
 */
skr_status quote_verify(const void *quote, size_t len, const struct quote_trust *trust, uint8_t report_data[64],
                        json *claims) MUST_CHECK;
skr_status intel_trust(struct emulator *e, struct quote_trust *ret) MUST_CHECK; /* borrowed root */

#endif
