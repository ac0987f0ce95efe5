/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_SNP_REPORT_H
#define SKR_EVIDENCE_SNP_REPORT_H

#include "base/ossl.h"

#include <stdbool.h>
#include <time.h>

/* ATTESTATION_REPORT, AMD 56860 "SEV Secure Nested Paging Firmware ABI", table 22. */
#define SNP_REPORT_SIZE      1184
#define SNP_REPORT_DATA_SIZE 64

enum snp_product { SNP_PRODUCT_UNKNOWN, SNP_MILAN, SNP_GENOA, SNP_TURIN };
enum snp_signing_key { SNP_SIGNED_BY_VCEK = 0, SNP_SIGNED_BY_VLEK = 1, SNP_SIGNED_BY_NONE = 7 };

#define SNP_POLICY_DEBUG (UINT64_C(1) << 19)

/* A report read, not verified. `bytes` is what the signature covers, and the signature. */
struct snp_report {
	uint8_t bytes[SNP_REPORT_SIZE];
	uint32_t version, vmpl, signing_key;
	uint64_t policy, reported_tcb; /* the TCB as a little-endian number, which is what tcbm prints */
	enum snp_product product;      /* of the CPUID bytes; unknown in version 2 and for families we have not met */
	uint8_t report_data[SNP_REPORT_DATA_SIZE];
	uint8_t measurement[48], host_data[32], chip_id[64];
};

/*
 * Reads versions 2 to 5 by offset. SKR-116 for another length, version or signature algorithm. Bits we do not know are
 * let pass: genuine reports carry some (PLATFORM_INFO bit 6 on Turin).
 */
skr_status snp_report_parse(const void *data, size_t len, struct snp_report *ret) MUST_CHECK;

/*
 * The TCB that the leaf of `chain` (VCEK, ASK, ARK) was derived for, in the layout of the report's product, or of the
 * chain's where the report does not say. To be compared with reported_tcb for equality. SKR-117 without the extensions.
 */
skr_status snp_chain_tcb(const struct snp_report *report, STACK_OF(X509) *chain, uint64_t *ret_tcb) MUST_CHECK;

/*
 * Verifies that `chain` is leaf, intermediate and self-signed root of one product, valid at `now`, that the leaf is of
 * the kind, the chip and the TCB that the report names, and that it signed the report. SKR-117 with what does not fit.
 *
 * Whether the root is AMD's is not asked here: the attestation service decides that, and a machine that lies to itself
 * gains nothing. What this catches is endorsements of another machine or firmware before anything is sent.
 */
skr_status snp_report_verify(const struct snp_report *report, STACK_OF(X509) *chain, time_t now) MUST_CHECK;

#endif
