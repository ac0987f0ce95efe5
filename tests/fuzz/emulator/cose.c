/* SPDX-License-Identifier: Apache-2.0 */
/* Target: cose_parse() and cose_verify(). The input is what a client sends as the endorsement of its utility VM. */
#include "emulator/cose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The end of the chains in the corpus, so that the checks behind it are reached. */
static const uint8_t root[1][32] = {{0x23, 0xff, 0xe2, 0xb8, 0xbd, 0xb9, 0xa1, 0x71, 0x15, 0x15, 0xd4,
                                     0xcf, 0xfd, 0xa0, 0x4b, 0xc7, 0xf7, 0x93, 0xd5, 0x13, 0xc7, 0x6c,
                                     0x24, 0x3f, 0x10, 0x20, 0x50, 0x7d, 0x86, 0x69, 0xb7, 0xdb}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_cose document = {0};
	const struct cose_trust trust = {.roots = root, .root_count = 1, .now = 1700000000};

	if (ossl_open().failure)
		__builtin_trap();
	if (cose_parse(data, size, &document).failure) {
		if (document.chain)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	if (document.payload.len > size || document.signature.len > size)
		__builtin_trap();
	(void)!cose_verify(&document, &trust).failure;
	return 0;
}
