/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_MECHANISM_H
#define SKR_CRYPTO_MECHANISM_H

#include "crypto/digest.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

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

/* What a caller's pParameter says. The label is borrowed. */
struct mechanism_params {
	enum digest digest; /* hashes the message, or the label of OAEP; DIGEST_NONE: there is none */
	enum digest mgf;
	size_t salt_len;
	const CK_BYTE *label;
	size_t label_len;
};

typedef CK_RV mechanism_params_fn(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params);

struct mechanism {
	CK_MECHANISM_TYPE type;
	CK_KEY_TYPE key; /* NO_KEY for digests */
	CK_ULONG min_bits, max_bits;
	CK_FLAGS flags;              /* CKF_SIGN … as C_GetMechanismInfo, before policy */
	enum digest digest;          /* computed here, in parts if need be; DIGEST_NONE: the caller hashes */
	int padding;                 /* RSA_…_PADDING; 0 if it is not RSA */
	mechanism_params_fn *params; /* reads pParameter; NULL: there must be none */
};

#define NO_KEY ((CK_KEY_TYPE)CK_UNAVAILABLE_INFORMATION)

/* The row's flags less what the policy takes away. */
CK_FLAGS mechanism_flags(const struct mechanism *row, const struct mechanism_policy *policy);

/* Reads the parameters of `given` for a key of so many bits; CKR_MECHANISM_PARAM_INVALID. */
CK_RV mechanism_params(const struct mechanism *row, const CK_MECHANISM *given, unsigned key_bits,
                       struct mechanism_params *ret);

#endif
