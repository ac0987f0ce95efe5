/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TEST_CVM_VECTORS_H
#define SKR_TEST_CVM_VECTORS_H

#include "base/base64.h"
#include "base/json.h"
#include "played_hardware.h"

/* Evidence of real machines, tests/data/cvm/README.md. Appends. */
static inline void read_cvm(const char *name, struct buf *out)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/cvm/%s", SKR_TEST_DATA, name);
	if (file_read(path, out).failure)
		fail_msg("%s", status_message());
}

/* A member of snp-evidence-nonce/evidence.json, which is base64url, padded. */
static inline void read_nonce_evidence(const char *member, struct buf *out)
{
	auto_buf text = BUF(16 * 1024);
	auto_json *evidence = NULL;
	const char *value;

	read_cvm("snp-evidence-nonce/evidence.json", &text);
	assert_ok(json_parse(text.data, text.len, &evidence));
	assert_ok(json_string(evidence, member, &value));
	assert_ok(base64_decode_any(value, strlen(value), out));
}

#endif
