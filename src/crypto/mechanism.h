/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_MECHANISM_H
#define SKR_CRYPTO_MECHANISM_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

/* What the token's configuration allows beyond the default (threat model section 8). */
struct mechanism_policy {
	bool allow_raw_rsa;	/* CKM_RSA_X_509 */
	bool allow_sha1;	/* signing with SHA-1; verifying, OAEP and digesting with it are always offered */
	bool rsa_pkcs1_decrypt; /* CKM_RSA_PKCS for C_Decrypt; on by default */
};

struct mechanism; /* a row of the table in mechanism.c */

/* The row, or NULL if the mechanism is unknown or not allowed. */
const struct mechanism *mechanism_find(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy);
/* As C_GetMechanismList: a NULL list gives the count; CKR_BUFFER_TOO_SMALL with the count. */
CK_RV mechanism_list(const struct mechanism_policy *policy, CK_MECHANISM_TYPE *list, CK_ULONG *count);
/* As C_GetMechanismInfo; CKR_MECHANISM_INVALID. CKF_HW is not set: the work is done in software, and says so. */
CK_RV mechanism_info(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy, CK_MECHANISM_INFO *info);

#endif
