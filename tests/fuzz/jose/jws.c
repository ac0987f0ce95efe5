/* SPDX-License-Identifier: Apache-2.0 */
/* Target: jws_parse() and all that looks at an unverified header. Its input is what the network sends. */
#include "jose/jws.h"

#include "base/file.h"

#include <stdlib.h>

static STACK_OF(X509) *anchors;

static void start(void)
{
	auto_buf pem = BUF(64 * 1024);

	if (ossl_open().failure || file_read(SKR_TEST_DATA "/akv/mhsm-x5c-chain.pem", &pem).failure ||
	    certificates_from_pem(pem.data, pem.len, &anchors).failure)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jws jws;

	if (!anchors)
		start();
	if (jws_parse((const char *)data, size, &jws).failure) {
		if (jws.header || jws.payload_bytes.data || jws.signature.data)
			__builtin_trap(); /* a refusal hands nothing out */
		return 0;
	}
	struct jws_trust trust = {
	    .alg = "RS256", .host = "svolos-myhsm-01.managedhsm.azure.net", .anchors = anchors, .now = 1654041600};
	if (!jws_verify_with_chain(&jws, &trust).failure)
		__builtin_trap(); /* nobody here has that signer's key */
	(void)!jws_payload(&jws).failure;
	jws_done(&jws);
	return 0;
}
