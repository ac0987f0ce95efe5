/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_MECHANISM_H
#define SKR_CRYPTO_MECHANISM_H

#include "crypto/digest.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

/* PKCS#11 3.0; older headers do not have it. */
#ifndef CKM_AES_KEY_WRAP_KWP
#define CKM_AES_KEY_WRAP_KWP 0x210bUL
#endif

/* What the token's configuration allows beyond the default (threat model section 8). */
struct mechanism_policy {
	bool allow_raw_rsa;     /* CKM_RSA_X_509 */
	bool allow_sha1;        /* signing with SHA-1; verifying, OAEP and digesting with it are always offered */
	bool rsa_pkcs1_decrypt; /* CKM_RSA_PKCS for C_Decrypt; on by default */
};

struct mechanism; /* a row of the table in mechanism.c */

/* The row, or NULL if the mechanism is unknown or not allowed. */
const struct mechanism *mechanism_find(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy);
/* As C_GetMechanismList: a NULL list gives the count; CKR_BUFFER_TOO_SMALL with the count. */
CK_RV mechanism_list(const struct mechanism_policy *policy, CK_MECHANISM_TYPE *list, CK_ULONG *count);
/* As C_GetMechanismInfo; CKR_MECHANISM_INVALID. CKF_HW is not set: the work is done in software, and says so. */
CK_RV mechanism_info(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy, CK_MECHANISM_INFO *info);

/* --- for operation.c and tests -------------------------------------------------------------------------------------
 */

/* What a caller's pParameter says. What is pointed to is borrowed. */
struct mechanism_params {
	enum digest digest; /* hashes the message, the label of OAEP, or in a KDF; DIGEST_NONE: there is none */
	enum digest mgf;
	size_t salt_len;
	const CK_BYTE *label; /* of OAEP; what GCM authenticates besides; what a KDF mixes in */
	size_t label_len;
	const CK_BYTE *iv; /* of AES; the first counter block; the public point of ECDH */
	size_t iv_len;
	size_t counter_bits; /* CTR: how much of the block counts */
	size_t tag_len;      /* bytes of GCM's tag, or of a MAC as it is given out */
	size_t kek_len;      /* CKM_RSA_AES_KEY_WRAP: bytes of the AES key between */
};

/* PKCS#11 2.40 mechanisms, section 2.1.21; p11-kit does not have it. */
struct rsa_aes_key_wrap_params {
	CK_ULONG aes_key_bits;
	CK_RSA_PKCS_OAEP_PARAMS *oaep;
};

typedef CK_RV mechanism_params_fn(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params);

struct mechanism {
	CK_MECHANISM_TYPE type;
	CK_KEY_TYPE key; /* NO_KEY for digests; CKK_GENERIC_SECRET for HMAC: see mechanism_takes() */
	CK_ULONG min_bits, max_bits;
	CK_FLAGS flags;              /* CKF_SIGN … as C_GetMechanismInfo, before policy */
	enum digest digest;          /* computed here, in parts if need be; DIGEST_NONE: the caller hashes */
	int padding;                 /* RSA_…_PADDING; 0 if it is not RSA */
	mechanism_params_fn *params; /* reads pParameter; NULL: there must be none */
};

#define NO_KEY    ((CK_KEY_TYPE)CK_UNAVAILABLE_INFORMATION)

#define AES_BLOCK 16

/* True if keys of this type are used with the mechanism. HMAC takes generic secrets, and those made for its digest. */
bool mechanism_takes(const struct mechanism *row, CK_KEY_TYPE type);

/* Signs and verifies with a secret key. */
static inline bool mechanism_is_mac(const struct mechanism *row)
{
	return (row->key == CKK_AES || row->key == CKK_GENERIC_SECRET) && row->flags & CKF_SIGN;
}

/* Encrypts and decrypts with a secret key. */
static inline bool mechanism_is_cipher(const struct mechanism *row)
{
	return row->key == CKK_AES && row->flags & CKF_ENCRYPT;
}

/* The row's flags less what the policy takes away. */
CK_FLAGS mechanism_flags(const struct mechanism *row, const struct mechanism_policy *policy);

/* Reads the parameters of `given` for a key of so many bits; CKR_MECHANISM_PARAM_INVALID. */
CK_RV mechanism_params(const struct mechanism *row, const CK_MECHANISM *given, unsigned key_bits,
                       struct mechanism_params *ret);

#endif
