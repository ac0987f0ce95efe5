/* SPDX-License-Identifier: Apache-2.0 */
/* Target: jwk_public_key(), jwk_private_key() and jwk_thumbprint(): keys as services announce them. */
#include "jose/jwk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_json *jwk = NULL, *again = NULL;
	auto_pkey *key = NULL, *whole = NULL, *second = NULL;
	auto_buf thumbprint = BUF(64);

	if (ossl_open().failure || json_parse(data, size, &jwk).failure)
		return 0;
	(void)key_ops_from_json(jwk);
	(void)!jwk_thumbprint(jwk, &thumbprint).failure;
	if (jwk_private_key(jwk, &whole).failure && whole)
		__builtin_trap(); /* a refusal hands nothing out */
	if (jwk_public_key(jwk, &key).failure) {
		if (key)
			__builtin_trap();
		return 0;
	}
	/* What was taken can be said again, and is the same key. The check of an RSA modulus throws dice (libcrypto's
	 * Miller-Rabin): one that is no product of two primes passes at times, and not at others. */
	if (jwk_from_key(key, &again).failure)
		__builtin_trap();
	if (!jwk_public_key(again, &second).failure && EVP_PKEY_eq(key, second) != 1)
		__builtin_trap();
	return 0;
}
