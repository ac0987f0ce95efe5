/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_PKCS1_H
#define SKR_CRYPTO_PKCS1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PKCS1_OVERHEAD  11   /* 0, 2, at least eight bytes of padding, 0 */
#define PKCS1_BLOCK_MAX 1024 /* a modulus of 8192 bits */

/*
 * Removes the encryption padding of PKCS#1 v1.5 without telling whether it was there (threat model section 8): a block
 * without a right padding gives a plaintext all the same, chosen by the key and the ciphertext alone, with a length of
 * its own: implicit rejection as in draft-irtf-cfrg-rsa-guidance section 7 and OpenSSL 3.2. Nothing here branches on or
 * indexes by the block, the secret or anything made of them.
 *
 * secret      32 bytes: SHA-256 of the private exponent as `k` bytes, big-endian
 * ciphertext  `k` bytes, as received
 * block       `k` bytes: what the raw RSA operation made of it; wiped
 * out         k - PKCS1_OVERHEAD bytes, all rewritten; behind the plaintext they keep their values
 * out_len     the length of the plaintext
 *
 * False only if libcrypto has no memory; `out` and `out_len` are then untouched.
 */
bool pkcs1_unpad(const uint8_t secret[32], const uint8_t *ciphertext, uint8_t *block, size_t k, uint8_t *out,
                 size_t *out_len) __attribute__((warn_unused_result));

/*
 * The same for a wrapped key, where a length that no such key has would tell as much as an error: a message of none of
 * these `count` lengths is as wrong as its padding, and what is given instead has one of them. No length may be above
 * k - PKCS1_OVERHEAD.
 */
bool pkcs1_unpad_key(const uint8_t secret[32], const uint8_t *ciphertext, uint8_t *block, size_t k,
                     const size_t *lengths, size_t count, uint8_t *out, size_t *out_len)
    __attribute__((warn_unused_result));

#endif
