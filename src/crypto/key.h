/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_KEY_H
#define SKR_CRYPTO_KEY_H

#include "base/ossl.h"

#include <p11-kit/pkcs11.h>
#include <stdbool.h>

/*
 * A key as cryptography sees it: immutable, reference-counted (atomically), so that signatures in different sessions
 * run in parallel. Private keys, public keys, and secret keys (AES, generic) alike.
 */
struct key;

/*
 * Each takes over what it is given, also on failure. `ops` are KEY_OP_… bits of jose/jwk.h given as they are (crypto
 * knows the same numbers as enum key_use below). CKR_HOST_MEMORY; CKR_KEY_TYPE_INCONSISTENT for what is neither RSA nor
 * EC on P-256, P-384, P-521 or secp256k1; CKR_KEY_SIZE_RANGE for RSA below 2048 bits, private above 4096, public above
 * 8192.
 */
enum key_use {
	KEY_USE_SIGN = 1,
	KEY_USE_VERIFY = 2,
	KEY_USE_ENCRYPT = 4,
	KEY_USE_DECRYPT = 8,
	KEY_USE_WRAP = 16,
	KEY_USE_UNWRAP = 32,
	KEY_USE_DERIVE = 256
};
CK_RV key_new(EVP_PKEY *pkey, bool is_private, unsigned uses, struct key **ret);
struct key *key_hold(struct key *key); /* returns key; NULL for NULL */
void key_drop(struct key *key);        /* wiped with the last reference; takes NULL */

CK_KEY_TYPE key_type(const struct key *key); /* CKK_RSA, CKK_EC */
unsigned key_bits(const struct key *key);    /* of the modulus or the field */
unsigned key_uses(const struct key *key);
bool key_is_private(const struct key *key);
size_t key_size(const struct key *key);    /* bytes of the modulus or of the field */
EVP_PKEY *key_pkey(const struct key *key); /* borrowed */

/* Private RSA keys: SHA-256 of the private exponent, for pkcs1_unpad. Borrowed. */
const uint8_t *key_rejection_secret(const struct key *key);

/* Overwrites 16 KiB of the stack below the caller, where libcrypto has left parts of a private key (threat model 6). */
void burn_stack(void);

#endif
