/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_WRAP_H
#define SKR_CRYPTO_WRAP_H

#include "crypto/key.h"
#include "crypto/mechanism.h"

/*
 * One key under another: a secret key as its bytes, a private key as PKCS#8 PrivateKeyInfo.
 *
 *	CKM_AES_KEY_WRAP         RFC 3394; what is wrapped must be a multiple of 8 bytes, at least 16
 *	CKM_AES_KEY_WRAP_KWP     RFC 5649; CKM_AES_KEY_WRAP_PAD means the same
 *	CKM_AES_CBC_PAD          with the caller's IV; not authenticated
 *	CKM_RSA_PKCS             secret keys alone
 *	CKM_RSA_PKCS_OAEP        secret keys alone
 *	CKM_RSA_AES_KEY_WRAP     a fresh AES key by OAEP, then the key by RFC 5649 (PKCS#11 2.40 mechanisms,
 *section 2.1.21)
 *
 * The wrapping key needs KEY_USE_WRAP, or KEY_USE_UNWRAP; the key that is wrapped KEY_USE_LEAVE, else
 * CKR_KEY_UNEXTRACTABLE. `out` NULL asks for the length, which is exact. A public key is CKR_KEY_NOT_WRAPPABLE, and so
 *is a private key under CKM_RSA_PKCS and CKM_RSA_PKCS_OAEP.
 *
 * CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_WRAPPING_KEY_TYPE_INCONSISTENT,
 *CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_KEY_SIZE_RANGE for a key too long or too short for the mechanism,
 *CKR_BUFFER_TOO_SMALL, CKR_HOST_MEMORY.
 */
CK_RV key_wrap(const CK_MECHANISM *mechanism, const struct mechanism_policy *policy, const struct key *wrapping,
               const struct key *key, CK_BYTE *out, CK_ULONG *out_len);

/*
 * The other way. A private key must be PKCS#8, of the wanted type, with nothing behind it, and its parts must fit
 * together. `wanted->len`, if it is there, must be the secret's length.
 *
 * CKR_WRAPPED_KEY_INVALID for everything that may be wrong with what was wrapped; CKR_WRAPPED_KEY_LEN_RANGE for a
 * length that alone is wrong. CKM_RSA_PKCS never tells a wrong padding: a ciphertext of the right length, below the
 * modulus, gives a key of an acceptable length in any case (pkcs1.h).
 *
 * CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID, CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT,
 * CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_TEMPLATE_INCONSISTENT for a class or type that the mechanism does not unwrap or a
 * length no such key has, CKR_HOST_MEMORY.
 */
CK_RV key_unwrap(const CK_MECHANISM *mechanism, const struct mechanism_policy *policy, const struct key *unwrapping,
                 const CK_BYTE *wrapped, CK_ULONG wrapped_len, const struct key_wanted *wanted, struct key **ret);

#endif
