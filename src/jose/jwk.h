/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_JOSE_JWK_H
#define SKR_JOSE_JWK_H

#include "base/json.h"
#include "base/ossl.h"

/* What a key may be used for: "key_ops" of RFC 7517 section 4.3 and of Key Vault ("import", "export" included). */
enum key_op {
	KEY_OP_SIGN = 1 << 0,
	KEY_OP_VERIFY = 1 << 1,
	KEY_OP_ENCRYPT = 1 << 2,
	KEY_OP_DECRYPT = 1 << 3,
	KEY_OP_WRAP = 1 << 4,
	KEY_OP_UNWRAP = 1 << 5,
	KEY_OP_IMPORT = 1 << 6,
	KEY_OP_EXPORT = 1 << 7,
	KEY_OP_DERIVE = 1 << 8,
};
/* The operations of a "key_ops" array; unknown words are skipped. All but derive if the member is absent. */
unsigned key_ops_from_json(const json *jwk);
/* Adds "key_ops" in Key Vault's spelling and order. */
void key_ops_to_json(json *jwk, unsigned ops);

/*
 * The public members of an RSA or EC key as a new JWK: kty, n, e or kty, crv, x, y (RFC 7518 section 6). EC curves
 * P-256, P-384, P-521, P-256K (Key Vault's name of secp256k1). SKR-599 for other keys. `ret` owned by the caller.
 */
skr_status jwk_from_key(const EVP_PKEY *key, json **ret) MUST_CHECK;

/* Adds the private members (d, p, q, dp, dq, qi or d). Used only where a key is made to be given away: the emulator,
 * tests. */
skr_status jwk_add_private(json *jwk, const EVP_PKEY *key) MUST_CHECK;

/*
 * The public key of a JWK, kty RSA, RSA-HSM, EC or EC-HSM; leading zeros in numbers are accepted, RSA modulus
 * 2048..8192 bits, exponent odd and 3..2^64, points on the curve. SKR-213 names the member. `ret` owned by the caller,
 * made in `ossl`.
 */
skr_status jwk_public_key(const json *jwk, EVP_PKEY **ret) MUST_CHECK;
/* The same with private members, which must be there and fit together. */
skr_status jwk_private_key(const json *jwk, EVP_PKEY **ret) MUST_CHECK;

/* RFC 7638 thumbprint with SHA-256, base64url, appended to `out`. */
skr_status jwk_thumbprint(const json *jwk, struct buf *out) MUST_CHECK;

#endif
