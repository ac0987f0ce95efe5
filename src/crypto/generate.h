/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_GENERATE_H
#define SKR_CRYPTO_GENERATE_H

#include "crypto/key.h"

/*
 * A new secret key by CKM_AES_KEY_GEN (16, 24 or 32 bytes) or CKM_GENERIC_SECRET_KEY_GEN (a generic secret, or one of
 * the HMAC types; 1 to KEY_SECRET_MAX bytes). CKR_MECHANISM_INVALID, CKR_MECHANISM_PARAM_INVALID if there is a
 * parameter, CKR_TEMPLATE_INCOMPLETE without a length, CKR_TEMPLATE_INCONSISTENT for a type that the mechanism does not
 * make, CKR_KEY_SIZE_RANGE, CKR_HOST_MEMORY.
 */
CK_RV key_generate(const CK_MECHANISM *mechanism, const struct key_wanted *wanted, struct key **ret);

/* What a new pair shall be. Big-endian numbers and DER as attributes have them; borrowed. */
struct pair_wanted {
	CK_ULONG modulus_bits;   /* RSA: CKA_MODULUS_BITS; 0: not said */
	const CK_BYTE *exponent; /* RSA: CKA_PUBLIC_EXPONENT; NULL: 65537 */
	size_t exponent_len;
	const CK_BYTE *ec_params; /* EC: CKA_EC_PARAMS; NULL: not said */
	size_t ec_params_len;
	unsigned public_uses, private_uses;
};

/*
 * A new pair by CKM_RSA_PKCS_KEY_PAIR_GEN (2048 to 4096 bits, in steps of 8; exponent odd, 65537 or more, below 2^64)
 * or CKM_EC_KEY_PAIR_GEN (the four curves of key_new()). Takes seconds for large RSA keys: hold no lock that others
 * want. Errors as above, and CKR_CURVE_NOT_SUPPORTED, CKR_ATTRIBUTE_VALUE_INVALID for the exponent. Both or none.
 */
CK_RV key_pair_generate(const CK_MECHANISM *mechanism, const struct pair_wanted *wanted, struct key **ret_public,
                        struct key **ret_private);

#endif
