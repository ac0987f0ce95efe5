/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_DERIVE_H
#define SKR_CRYPTO_DERIVE_H

#include "crypto/key.h"

/*
 * A secret key from a private EC key (KEY_USE_DERIVE) and the public point of somebody else: CKM_ECDH1_DERIVE and
 * CKM_ECDH1_COFACTOR_DERIVE, which is the same on our curves: their cofactor is 1. CKD_NULL, or the KDF of ANSI X9.63
 * with SHA-1, SHA-224, SHA-256, SHA-384 or SHA-512 and the caller's shared data. The point is uncompressed, as it is or
 * in a DER OCTET STRING, and is checked.
 *
 * `wanted`: a secret type of key_new_secret(). Without a length CKD_NULL gives all bytes of the secret. A shorter one
 * is cut in front (PKCS#11 2.40 mechanisms, section 2.3.9); a longer one needs a KDF.
 *
 * CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID (the point, too), CKR_KEY_TYPE_INCONSISTENT,
 * CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_TEMPLATE_INCOMPLETE for a KDF without a length, CKR_TEMPLATE_INCONSISTENT for a
 * type that is no secret key's, CKR_KEY_SIZE_RANGE, CKR_HOST_MEMORY.
 */
CK_RV key_derive(const CK_MECHANISM *mechanism, const struct key *base, const struct key_wanted *wanted,
                 struct key **ret);

#endif
