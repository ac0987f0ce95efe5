/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_QUOTE_H
#define SKR_EMULATOR_QUOTE_H

#include <stdint.h>

/*
 * Layouts of a TD report and of the quote made from it. Everything is little-endian, but for keys and signatures.
 *
 * Source: Intel 344425 "Trust Domain Extensions Module ABI", TDREPORT_STRUCT; Intel "TDX DCAP Quoting Library API",
 * appendix A.
 */
#define TD_REPORT_TYPE           0x81
#define TD_REPORT_TCB_INFO_BYTES 239
#define TD_REPORT_INFO_BYTES     512

enum td_report_offset {
	TD_REPORT_CPU_SVN = 16,
	TD_REPORT_TCB_INFO_HASH = 32, /* SHA-384 */
	TD_REPORT_INFO_HASH = 80,     /* SHA-384 */
	TD_REPORT_DATA = 128,
	TD_REPORT_MAC = 224, /* over what lies before */

	TD_REPORT_TCB_INFO = 256,
	TD_REPORT_TEE_TCB_SVN = 264,
	TD_REPORT_MRSEAM = 280,
	TD_REPORT_MRSIGNERSEAM = 328,
	TD_REPORT_TEE_TCB_SVN2 = 384, /* behind the module's attributes, 8 bytes */

	TD_REPORT_INFO = 512,
	TD_REPORT_ATTRIBUTES = 512,
	TD_REPORT_XFAM = 520,
	TD_REPORT_MRTD = 528,
	TD_REPORT_MRCONFIGID = 576,
	TD_REPORT_MROWNER = 624,
	TD_REPORT_MROWNERCONFIG = 672,
	TD_REPORT_RTMRS = 720, /* four of 48 bytes */
	TD_REPORT_SERVTD_HASH = 912,
};

#define QUOTE_HEADER_BYTES            48
#define QUOTE_KEY_ECDSA_P256          2
#define QUOTE_TEE_TDX                 0x81
#define QUOTE_BODY_TDX_10             2
#define QUOTE_BODY_TDX_15             3
#define QUOTE_BODY_TDX_10_BYTES       584
#define QUOTE_BODY_TDX_15_BYTES       648
#define QUOTE_CERTIFICATION_CHAIN     5
#define QUOTE_CERTIFICATION_QE_REPORT 6
extern const uint8_t quote_vendor[16]; /* Intel's quoting enclave */

/* The quoting enclave's own report: an SGX report body. */
#define QE_REPORT_BYTES 384
enum qe_report_offset {
	QE_REPORT_ATTRIBUTES = 48, /* flags, then XFRM */
	QE_REPORT_MRENCLAVE = 64,
	QE_REPORT_MRSIGNER = 128,
	QE_REPORT_PRODUCT = 256,
	QE_REPORT_SVN = 258,
	QE_REPORT_DATA = 320,
};

#endif
