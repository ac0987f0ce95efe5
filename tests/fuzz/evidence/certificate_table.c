/* SPDX-License-Identifier: Apache-2.0 */
/* Target: endorsement_from_table(). The host writes the table: offsets and lengths are its own. */
#include "evidence/endorsement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (ossl_open().failure)
		__builtin_trap();
	for (uint32_t kind = SNP_SIGNED_BY_VCEK; kind <= SNP_SIGNED_BY_VLEK; kind++) {
		struct snp_report report = {.signing_key = kind, .version = 3};
		auto_endorsement found = {0};
		auto_buf pem = BUF(256 * 1024);
		skr_status status = endorsement_from_table(data, size, &report, &found);
		if (status.failure && found.chain) /* a refusal hands nothing out */
			__builtin_trap();
		if (!found.chain)
			continue;
		if (sk_X509_num(found.chain) != 3 || endorsement_print(&found, &pem).failure)
			__builtin_trap();
		if (endorsement_matches(&found, &report).failure == 0 && report.reported_tcb != 0)
			__builtin_trap();
	}
	return 0;
}
