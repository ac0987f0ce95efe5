/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_SIGNATURE_H
#define SKR_CRYPTO_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The two shapes of an ECDSA signature: PKCS#11 has r || s, each `half` bytes (PKCS#11 2.40 mechanisms, section 2.3.1);
 * libcrypto has SEQUENCE { INTEGER r, INTEGER s } in DER (RFC 3279 section 2.2.3). Both are public.
 */
#define SIGNATURE_HALF_MAX 66 /* bytes of r for P-521 */
#define SIGNATURE_DER_MAX  (3 + 2 * (3 + SIGNATURE_HALF_MAX))

/* Writes 2 * half bytes. False, and nothing written, if the DER is not exactly such a sequence or a number is too long.
 */
bool signature_from_der(const uint8_t *der, size_t der_len, size_t half, uint8_t *ret_raw);

/* Writes at most SIGNATURE_DER_MAX bytes and returns how many. */
size_t signature_to_der(const uint8_t *raw, size_t half, uint8_t *ret_der);

#endif
