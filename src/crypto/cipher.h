/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_CIPHER_H
#define SKR_CRYPTO_CIPHER_H

#include "crypto/key.h"
#include "crypto/mechanism.h"

/*
 * What an operation that encrypts or decrypts with AES does, all of it: see operation.h for the answers. It marks no
 * errors of libcrypto; its caller does. `params` are borrowed and must stay; `key` is the operation's.
 */
struct cipher;

CK_RV cipher_new(const struct mechanism *row, const struct mechanism_params *params, const struct key *key,
                 bool encrypt, struct cipher **ret);
CK_RV cipher_rewind(struct cipher *cipher); /* ready for the first byte: needed after cipher_new(), too */
void cipher_free(struct cipher *cipher);    /* takes NULL; wipes */

CK_RV cipher_single(struct cipher *cipher, const CK_BYTE *in, size_t in_len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV cipher_update(struct cipher *cipher, const CK_BYTE *in, size_t in_len, CK_BYTE *out, CK_ULONG *out_len);
CK_RV cipher_final(struct cipher *cipher, CK_BYTE *out, CK_ULONG *out_len);

/*
 * AES in one go, for keys: mode "ECB" (no padding), "CBC" (padding of PKCS#7), "WRAP" or "WRAP-PAD" (RFC 3394, RFC
 * 5649). `iv` as long as the mode has it, NULL for its default. `out` needs room for len + 2 * AES_BLOCK.
 * CKR_HOST_MEMORY, CKR_FUNCTION_FAILED, which for decryption means that it does not open.
 */
CK_RV cipher_once(const char *mode, const uint8_t *key, size_t key_len, const uint8_t *iv, bool encrypt,
                  const uint8_t *in, size_t len, uint8_t *out, size_t *ret_len);

#endif
