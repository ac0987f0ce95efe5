/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_OPERATION_H
#define SKR_CRYPTO_OPERATION_H

#include "crypto/key.h"
#include "crypto/mechanism.h"

/* One active operation of a session (PKCS#11 2.40 section 5.8 to 5.13). Used by one thread at a time: the session's
 * lock. */
struct operation;

#define OPERATION_COLLECT_MAX (64u * 1024 * 1024)

enum operation_kind { OPERATION_SIGN, OPERATION_VERIFY, OPERATION_ENCRYPT, OPERATION_DECRYPT, OPERATION_DIGEST };

/*
 * Begins. Parameters are copied. `key` is held until the end; NULL for digests. CKR_MECHANISM_INVALID,
 * CKR_MECHANISM_PARAM_INVALID, CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_SIZE_RANGE,
 * CKR_HOST_MEMORY. `reuse` (may be NULL, or point to NULL) is a finished operation of the same session, which is taken
 * over and spares the set-up of contexts when kind, mechanism, parameters and key are the same; it is consumed in any
 * case.
 */
CK_RV operation_begin(enum operation_kind kind, const CK_MECHANISM *mechanism, struct key *key,
                      const struct mechanism_policy *policy, struct operation **reuse, struct operation **ret);

/*
 * The whole input at once: C_Sign, C_Encrypt, C_Decrypt, C_Digest. `out` NULL asks for the length: CKR_OK.
 * CKR_BUFFER_TOO_SMALL sets the length. In these two cases the operation goes on (operation_goes_on says so); every
 * other answer ends it, and the caller disposes of it.
 */
CK_RV operation_single(struct operation *operation, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out,
                       CK_ULONG *out_len);
CK_RV operation_verify(struct operation *operation, const CK_BYTE *in, CK_ULONG in_len, const CK_BYTE *signature,
                       CK_ULONG signature_len);

/*
 * Several parts. `out` only for encrypt and decrypt; NULL otherwise. Answers as above; an error ends the operation.
 *
 * AES takes parts of any length and gives out what is whole blocks by then. Decryption with CKM_AES_GCM collects its
 * parts, up to OPERATION_COLLECT_MAX (CKR_ENCRYPTED_DATA_LEN_RANGE), and gives nothing out before the tag is verified:
 * CKR_ENCRYPTED_DATA_INVALID, which is also the one answer to a wrong CBC_PAD padding. A length query to a part of
 * AES answers for that part, exactly; for the last part of CBC_PAD with the most it may be.
 *
 * Signatures without a digest of their own (CKM_RSA_PKCS, CKM_ECDSA …) are one-part by the standard, but pkcs11-tool
 * gives them parts: these are collected, within the length the mechanism allows. RSA encryption and decryption stay
 * one-part: CKR_FUNCTION_NOT_SUPPORTED, as other modules answer. A whole after parts is CKR_OPERATION_ACTIVE, and ends
 * it too.
 *
 * Decryption with CKM_RSA_PKCS answers with lengths that depend on the modulus alone, and with CKR_OK whatever the
 * padding (see pkcs1.h). OpenSSL's error queue is left as it was found.
 */

CK_RV operation_update(struct operation *operation, const CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out,
                       CK_ULONG *out_len);
CK_RV operation_final(struct operation *operation, CK_BYTE *out, CK_ULONG *out_len);
CK_RV operation_verify_final(struct operation *operation, const CK_BYTE *signature, CK_ULONG signature_len);

/* True: `rv` was a size query or buffer-too-small, the operation is still active. Must be given the same arguments. */
bool operation_goes_on(CK_RV rv, const CK_BYTE *out);

enum operation_kind operation_kind(const struct operation *operation);
void operation_free(struct operation *operation); /* wipes; takes NULL */

#endif
