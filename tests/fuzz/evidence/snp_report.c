/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target: snp_report_parse(), snp_chain_tcb(), snp_report_verify(). Input: a report, then PEM certificates; the host
 * may have written every byte of both.
 */
#include "evidence/snp_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void verify(const struct snp_report *report, const uint8_t *pem, size_t len)
{
	auto_x509s *chain = NULL;
	uint64_t tcb = 0;

	if (certificates_from_pem(pem, len, &chain).failure)
		return;
	skr_status has_tcb = snp_chain_tcb(report, chain, &tcb);
	/* What verifies has the TCB it claims. */
	if (!snp_report_verify(report, chain, 1795000000).failure && (has_tcb.failure || tcb != report->reported_tcb))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct snp_report report = {.version = 77};
	size_t len = size < SNP_REPORT_SIZE ? size : SNP_REPORT_SIZE;

	if (ossl_open().failure)
		__builtin_trap();
	if (snp_report_parse(data, len, &report).failure) {
		if (report.version != 77) /* a refusal hands nothing out */
			__builtin_trap();
		return 0;
	}
	if (report.version < 2 || report.version > 5)
		__builtin_trap();
	verify(&report, data + len, size - len);
	return 0;
}
