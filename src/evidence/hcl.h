/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_HCL_H
#define SKR_EVIDENCE_HCL_H

#include "azure/guest.h"
#include "base/ossl.h"

/*
 * The paravisor's report ("HCL report"): a hardware report whose report data is the hash of claims about the vTPM, kept
 * in the vTPM's NV index 0x01400001. All little-endian; zero bytes behind the used part are normal.
 */
#define HCL_REPORT_LIMIT  (4 * 1024) /* the largest NV index of an Azure vTPM */
#define HCL_HARDWARE_SIZE 1184
#define TD_REPORT_SIZE    1024

struct hcl_report {
	enum isolation isolation;            /* ISOLATION_SNP or ISOLATION_TDX; others are refused */
	uint8_t hardware[HCL_HARDWARE_SIZE]; /* SNP: the report; TDX: TDREPORT in the first 1024 bytes */
	struct buf claims;                   /* the bytes that are hashed, never printed anew */
	json *tree;                          /* the same, parsed */
	bool has_user_data;
	uint8_t user_data[64]; /* what the guest wrote before the report was made */
};
#define auto_hcl_report __attribute__((cleanup(hcl_report_done))) struct hcl_report
void hcl_report_done(struct hcl_report *report); /* takes an all-zero one */

/*
 * Takes it apart and checks what a reader can: magic, version 1 or 2, sizes that agree (data_size = claims + 20) and
 * lie inside, report type, hash type SHA-256, claims that are JSON, and whose hash is the first half of the hardware
 * report's report data, the other half zero. SKR-149 names the field; a VBS or Trusted VM report is SKR-134.
 */
skr_status hcl_report_parse(const void *data, size_t len, struct hcl_report *ret) MUST_CHECK;

/* The claims' key `kid` ("HCLAkPub", "HCLEkPub"), RSA. SKR-149 if there is none, or more than one. */
skr_status hcl_report_key(const struct hcl_report *report, const char *kid, EVP_PKEY **ret) MUST_CHECK;

#endif
