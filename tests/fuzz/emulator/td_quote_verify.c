/* SPDX-License-Identifier: Apache-2.0 */
/* Target: quote_verify(). The input is what a client sends as a TD quote. */
#include "emulator/certificate.h"
#include "emulator/intel.h"

#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Any certificate will do as the played root: the real quotes of the corpus end in Intel's. */
static X509 *played_root(void)
{
	static const struct certificate_name subject[] = {{"CN", "Intel SGX Root CA"}, {NULL, NULL}};
	static X509 *root;
	auto_pkey *key = NULL;

	if (root)
		return root;
	if (ossl_open().failure || key_generate("P-256", &key).failure)
		__builtin_trap();
	const struct certificate_plan plan = {
	    .subject = subject, .key = key, .not_before = time(NULL), .not_after = time(NULL) + 3600};
	if (certificate_issue(&plan, &root).failure)
		__builtin_trap();
	return root;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t report_data[64];
	auto_json *claims = json_object();
	X509 *root = played_root();
	const struct quote_trust trust = {.root = root, .accept_real_intel = true, .now = 1735689600};
	if (quote_verify(data, size, &trust, report_data, claims).failure && json_count(claims) != 0)
		__builtin_trap(); /* a refusal hands nothing out */
	return 0;
}
