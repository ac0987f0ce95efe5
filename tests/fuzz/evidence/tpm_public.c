/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target: tpm_attestation_key(), tpm_public_name(), tpm_transport_check(), and the template that the last is held to.
 * Input: a TPM2B_PUBLIC; whoever stands between us and the TPM writes it.
 */
#include "evidence/tpm_structure.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AT_ATTRIBUTES = 6, AT_POLICY = 12, AT_END_OF_POLICY = 44 };

/* A template has the layout of the key that comes of it: under its own policy it is taken, under no other. */
static void check_template(const uint8_t pcr_values[1][32])
{
	auto_buf template = BUF(TPM_PUBLIC_SIZE);
	uint8_t digest[32], policy[32];

	if (tpm_pcr_digest(pcr_values, 1, digest).failure || tpm_pcr_policy(1, digest, policy).failure ||
	    tpm_transport_template(policy, &template).failure)
		__builtin_trap();
	template.data[template.len - GUEST_TRANSPORT] |= 0x80; /* as a modulus of 2048 bits begins */
	if (tpm_transport_check(&template, policy).failure)
		__builtin_trap();
	policy[0] ^= 1;
	if (!tpm_transport_check(&template, policy).failure)
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_buf public_area = BUF(64 * 1024);
	auto_pkey *key = NULL;
	uint8_t policy[32] = {0}, name[TPM_NAME_SIZE] = {0}, digest[32];

	if (ossl_open().failure)
		__builtin_trap();
	setenv("TSS2_LOG", "all+none", 0); /* it would print what it refuses */
	if (size > public_area.limit || buf_append(&public_area, data, size).failure)
		return 0;
	if (size >= AT_END_OF_POLICY) /* its own, so that what else there is to check is reached */
		memcpy(policy, data + AT_POLICY, sizeof(policy));

	check_template((const uint8_t(*)[32])policy);

	bool is_ak = !tpm_attestation_key(&public_area, &key).failure;
	bool is_transport = !tpm_transport_check(&public_area, policy).failure;
	if (is_ak != (key != NULL) || (is_ak && (EVP_PKEY_get_bits(key) != 2048 || is_transport)))
		__builtin_trap();
	if (is_ak && (data[AT_ATTRIBUTES + 1] & 7) != 5) /* restricted, signs, does not decrypt */
		__builtin_trap();
	if (is_transport && (size != 312 || memcmp(data + AT_ATTRIBUTES, "\0\2\4\x32", 4) != 0))
		__builtin_trap();
	if (tpm_public_name(&public_area, name).failure) {
		if (is_ak || is_transport)
			__builtin_trap();
	} else if (sha256(data + 2, size - 2, digest).failure || memcmp(digest, name + 2, 32) != 0) {
		__builtin_trap();
	}
	return 0;
}
