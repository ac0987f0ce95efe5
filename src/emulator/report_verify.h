/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_REPORT_VERIFY_H
#define SKR_EMULATOR_REPORT_VERIFY_H

#include "base/ossl.h"

#include <stdbool.h>

/*
 * The verifier's view of an AMD SEV-SNP attestation report. It shares no code with evidence/snp_report.c on purpose:
 * two readings of one document, both held to the reports of real hardware in tests/data/snp.
 *
 * Source: AMD 56860 "SEV Secure Nested Paging Firmware ABI Specification", table ATTESTATION_REPORT; AMD 57230 "VCEK
 * Certificate and KDS Interface Specification".
 */
#define REPORT_SIZE   1184
#define REPORT_SIGNED 0x2A0 /* the signature covers what lies before */

enum report_offset {
	REPORT_VERSION = 0x000,
	REPORT_GUEST_SVN = 0x004,
	REPORT_POLICY = 0x008,
	REPORT_FAMILY_ID = 0x010,
	REPORT_IMAGE_ID = 0x020,
	REPORT_VMPL = 0x030,
	REPORT_SIGNATURE_ALGO = 0x034,
	REPORT_CURRENT_TCB = 0x038,
	REPORT_PLATFORM_INFO = 0x040,
	REPORT_KEY_FLAGS = 0x048, /* bit 0 author key, bit 1 chip key masked, bits 4:2 signing key */
	REPORT_REPORT_DATA = 0x050,
	REPORT_MEASUREMENT = 0x090,
	REPORT_HOST_DATA = 0x0C0,
	REPORT_ID_KEY_DIGEST = 0x0E0,
	REPORT_AUTHOR_KEY_DIGEST = 0x110,
	REPORT_REPORT_ID = 0x140,
	REPORT_REPORT_ID_MA = 0x160,
	REPORT_REPORTED_TCB = 0x180,
	REPORT_CPUID = 0x188, /* family, model, stepping; since version 3 */
	REPORT_CHIP_ID = 0x1A0,
	REPORT_COMMITTED_TCB = 0x1E0,
	REPORT_CURRENT_BUILD = 0x1E8,
	REPORT_COMMITTED_BUILD = 0x1EC,
	REPORT_LAUNCH_TCB = 0x1F0,
	REPORT_LAUNCH_MIT_VECTOR = 0x1F8, /* since version 5 */
	REPORT_CURRENT_MIT_VECTOR = 0x200,
	REPORT_SIGNATURE_R = 0x2A0, /* 72 bytes, little-endian */
	REPORT_SIGNATURE_S = 0x2E8,
};

#define REPORT_POLICY_SMT       (1ULL << 16)
#define REPORT_POLICY_MUST_BE_1 (1ULL << 17)
#define REPORT_POLICY_MIGRATION (1ULL << 18)
#define REPORT_POLICY_DEBUG     (1ULL << 19)

enum product { PRODUCT_MILAN, PRODUCT_GENOA, PRODUCT_TURIN };
const char *product_name(enum product product); /* "Milan" */
/* False if there is no such product. */
bool product_of_name(const char *name, enum product *ret);

/* The eight bytes of a TCB version, whose layout depends on the product. */
struct tcb {
	uint8_t fmc, bootloader, tee, snp, microcode; /* fmc: Turin alone */
};
struct tcb tcb_read(enum product product, const uint8_t bytes[8]);
void tcb_write(enum product product, struct tcb tcb, uint8_t bytes[8]);

uint32_t report_u32(const uint8_t *report, enum report_offset at);
uint64_t report_u64(const uint8_t *report, enum report_offset at);

/* Whose chips count. */
struct report_trust {
	X509 *ark;            /* the root of the played hardware */
	bool accept_real_amd; /* also AMD's own roots, by the SHA-256 of their public keys */
	int64_t now;
};

/*
 * Length, version 2..5, signature algorithm and key; the chain VCEK, ASK, ARK to a trusted root; product, TCB and chip
 * of the VCEK against the report; the signature. SKR-117 says which check failed, SKR-116 if it is no report at all.
 * `ret_product` untouched on failure.
 */
skr_status report_verify(const uint8_t *report, size_t len, const STACK_OF(X509) *chain,
                         const struct report_trust *trust, enum product *ret_product) MUST_CHECK;

/* SKR-117 unless the 64 bytes are SHA-256 of `data` and 32 zero bytes: what Azure's guests ask reports for. */
skr_status report_data_binds(const uint8_t report_data[64], const void *data, size_t len) MUST_CHECK;
/* SKR-117 unless REPORT_DATA is SHA-256 of `data` and 32 zero bytes. */
skr_status report_binds(const uint8_t *report, const void *data, size_t len) MUST_CHECK;
/* SKR-117 unless HOST_DATA is SHA-256 of `data`. */
skr_status report_launched_with(const uint8_t *report, const void *data, size_t len) MUST_CHECK;

#endif
