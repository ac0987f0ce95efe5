/* SPDX-License-Identifier: Apache-2.0 */
/* Target: endorsement_from_thim() behind json_parse(). Whatever answers on the metadata service's address wrote it. */
#include "evidence/endorsement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json *answer = NULL;
	auto_endorsement found = {0};

	if (ossl_open().failure)
		__builtin_trap();
	if (json_parse(data, size, &answer).failure)
		return 0;
	skr_status status = endorsement_from_thim(answer, "thim", &found);
	if (status.failure ? status.failure != 143 || found.chain : sk_X509_num(found.chain) != 3)
		__builtin_trap();
	return 0;
}
