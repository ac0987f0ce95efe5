/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_COMPONENTS_H
#define SKR_CRYPTO_COMPONENTS_H

#include "crypto/key.h"

/* Keys from the parts that templates give (C_CreateObject). All parts are borrowed; numbers are big-endian. */
struct component {
	const void *data; /* NULL: it is not there */
	size_t len;
};

struct rsa_components {
	struct component n, e, d, p, q, dp, dq, qi;
};

/*
 * Only n and e are looked at. n odd, 2048 to 8192 bits; e odd, at least 3, below 2^64. CKR_TEMPLATE_INCOMPLETE,
 * CKR_ATTRIBUTE_VALUE_INVALID, CKR_KEY_SIZE_RANGE, CKR_HOST_MEMORY.
 */
CK_RV key_from_rsa_public(const struct rsa_components *parts, unsigned uses, struct key **ret);

/*
 * n, e and d, with the other five or without them all (slower: no CRT). 2048 to 4096 bits. All parts must fit together:
 * CKR_ATTRIBUTE_VALUE_INVALID. Else as above.
 */
CK_RV key_from_rsa_private(const struct rsa_components *parts, unsigned uses, struct key **ret);

/*
 * `params`: CKA_EC_PARAMS, the DER OBJECT IDENTIFIER of one of the four curves of key_new(); else
 * CKR_CURVE_NOT_SUPPORTED. `point`: CKA_EC_POINT, uncompressed, in a DER OCTET STRING or as it is, and on the curve;
 * `value`: CKA_VALUE, 0 < value < order. CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCOMPLETE, CKR_HOST_MEMORY.
 */
CK_RV key_from_ec_public(struct component params, struct component point, unsigned uses, struct key **ret);
CK_RV key_from_ec_private(struct component params, struct component value, unsigned uses, struct key **ret);

/* --- for crypto/ ---------------------------------------------------------------------------------------------------
 */

/* libcrypto's name of the curve; NULL: not one of ours. */
const char *ec_curve_name(struct component params);
/* The other way, by a name of libcrypto's. */
struct component ec_curve_params(const char *name);

#endif
