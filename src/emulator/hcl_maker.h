/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_HCL_MAKER_H
#define SKR_EMULATOR_HCL_MAKER_H

#include "base/json.h"
#include "base/ossl.h"

/* The paravisor's report, made (reference/cvm-vtpm-evidence section 3). Little-endian. */
#define HCL_HARDWARE_AREA 1184
#define HCL_INDEX_SIZE    2600

enum hcl_type { HCL_SNP = 2, HCL_TDX = 4 };

/* What its claims say. */
struct hcl_claims {
	EVP_PKEY *ak, *ek;
	bool secure_boot;
	const char *vm_id; /* printed in upper case */
	uint8_t user_data[64];
};

/* Claims as machines of today print them (generation c), appended, and what the hardware has to sign: their hash. */
skr_status hcl_claims_make(const struct hcl_claims *claims, struct buf *out, uint8_t ret_report_data[64]) MUST_CHECK;

/* The report, without the zero bytes that fill its index, appended. `len` at most HCL_HARDWARE_AREA. */
skr_status hcl_report_make(enum hcl_type type, const void *hardware, size_t len, const struct buf *claims,
                           struct buf *out) MUST_CHECK;

#endif
