/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target: tpm_quote_check(), tpm_certify_check(). Input: a TPMS_ATTEST; whoever stands between us and the TPM writes
 * it. Each is taken with a signature that is not one, and with one that is, for what lies behind it.
 */
#include "evidence/tpm_structure.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AT_NAME_FROM_END 70 /* TPMS_CERTIFY_INFO ends with two names, each behind its size */

static void sign(EVP_PKEY *key, const struct buf *attest, struct buf *signature)
{
	auto_md_ctx *ctx = EVP_MD_CTX_new();
	uint8_t *place;
	size_t len = 256;

	if (buf_reserve(signature, len, &place).failure ||
	    EVP_DigestSignInit_ex(ctx, NULL, "SHA256", ossl, NULL, key, NULL) != 1 ||
	    EVP_DigestSign(ctx, place, &len, attest->data, attest->len) != 1)
		__builtin_trap();
	signature->len = len;
}

static skr_status check_both(const struct buf *attest, const struct buf *signature, EVP_PKEY *key, bool *ret_current)
{
	static const uint8_t zeros[32];
	uint8_t name[TPM_NAME_SIZE] = {0};

	if (attest->len > AT_NAME_FROM_END)
		memcpy(name, attest->data + attest->len - AT_NAME_FROM_END, sizeof(name));
	skr_status certify = tpm_certify_check(attest, signature, key, name);
	skr_status quote = tpm_quote_check(attest, signature, key, 0xffffff, zeros, ret_current);
	skr_status narrow = tpm_quote_check(attest, signature, key, TPM_GUEST_PCRS, zeros, ret_current);
	/* It is at most one of the three. */
	if (!certify.failure + !quote.failure + !narrow.failure > 1)
		__builtin_trap();
	if ((certify.failure && certify.failure != 150 && certify.failure != 137) ||
	    (quote.failure && quote.failure != 150 && quote.failure != 137))
		__builtin_trap();
	return !certify.failure || !narrow.failure ? OK : quote;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static EVP_PKEY *key;
	auto_buf attest = BUF(64 * 1024), no_signature = BUF(256), signature = BUF(256);
	bool current = true;

	if (!key && (ossl_open().failure || !(key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048))))
		__builtin_trap();
	setenv("TSS2_LOG", "all+none", 0); /* it would print what it refuses */
	if (size > attest.limit || buf_append(&attest, data, size).failure)
		return 0;
	if (buf_append(&no_signature, "not one", 7).failure ||
	    check_both(&attest, &no_signature, key, &current).failure != 150 || !current)
		__builtin_trap();
	sign(key, &attest, &signature);
	skr_status status = check_both(&attest, &signature, key, &current);
	if (!status.failure && (size < 8 || memcmp(data, "\xff\x54\x43\x47\x80", 5) != 0))
		__builtin_trap();
	return 0;
}
