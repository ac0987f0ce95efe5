/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_JOSE_KEYWRAP_H
#define SKR_JOSE_KEYWRAP_H

#include "base/ossl.h"

/*
 * The wrapping of Key Vault's secure key release: RSA-OAEP of a fresh AES-256 key, then AES key wrap with padding
 * (RFC 5649) of the target key. The OAEP and MGF1 digest is the name's: CKM_RSA_AES_KEY_WRAP SHA-1,
 * RSA_AES_KEY_WRAP_256 SHA-256, RSA_AES_KEY_WRAP_384 SHA-384; the label is empty.
 */

/* The digest's name for `enc`; NULL if enc is not one of the three. */
const char *keywrap_digest(const char *enc);

/*
 * Opens C1 || C2 (split by the size of `transport`) into `ret_target`, whose limit counts. Every cause of failure is
 * the same SKR-341 with the same sentence, so that nothing can be learnt from which check failed.
 */
skr_status keywrap_open(const char *enc, EVP_PKEY *transport, const void *wrapped, size_t len,
                        struct buf *ret_target) MUST_CHECK;

/* Only the second half: AES key wrap with padding opened by a key of 16, 24 or 32 bytes. SKR-341. */
skr_status keywrap_open_aes(const void *kek, size_t kek_len, const void *wrapped, size_t len,
                            struct buf *ret_target) MUST_CHECK;

/*
 * The first half alone, for who opened it with another key: encrypts the AES key `kek` to the public RSA key
 * `transport` with the digest of `enc`. Appends to `out`. SKR-599.
 */
skr_status keywrap_seal_kek(const char *enc, EVP_PKEY *transport, const void *kek, size_t kek_len,
                            struct buf *out) MUST_CHECK;

/* The other direction, for the emulator and tests. `transport` is a public RSA key. Appends to `out`. SKR-599. */
skr_status keywrap_seal(const char *enc, EVP_PKEY *transport, const void *target, size_t len,
                        struct buf *out) MUST_CHECK;

#endif
