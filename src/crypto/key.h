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
	KEY_USE_DERIVE = 256,
	/* Ours, and no word of key_ops: the key's value may be had, by key_wrap() and key_value(). No token key has it.
	 */
	KEY_USE_LEAVE = 1 << 16
};
CK_RV key_new(EVP_PKEY *pkey, bool is_private, unsigned uses, struct key **ret);
struct key *key_hold(struct key *key); /* returns key; NULL for NULL */
void key_drop(struct key *key);        /* wiped with the last reference; takes NULL */

/*
 * A secret key: CKK_AES of 16, 24 or 32 bytes; CKK_GENERIC_SECRET, CKK_SHA_1_HMAC and CKK_SHA224_HMAC … CKK_SHA512_HMAC
 * of 1 to KEY_SECRET_MAX. The bytes are copied. CKR_KEY_SIZE_RANGE, CKR_KEY_TYPE_INCONSISTENT for other types,
 * CKR_HOST_MEMORY.
 */
#define KEY_SECRET_MAX 1024
CK_RV key_new_secret(const void *bytes, size_t len, CK_KEY_TYPE type, unsigned uses, struct key **ret);

/* The same key for other uses (C_SetAttributeValue, C_CopyObject): a reference of its own, the old one stays. */
CK_RV key_with_uses(const struct key *key, unsigned uses, struct key **ret);
/* The public half of a private key, without its private numbers; CKR_KEY_TYPE_INCONSISTENT for a secret key. */
CK_RV key_public_half(const struct key *key, unsigned uses, struct key **ret);

CK_KEY_TYPE key_type(const struct key *key); /* CKK_RSA, CKK_EC, or as key_new_secret() was told */
unsigned key_bits(const struct key *key);    /* of the modulus, the field, or the secret */
unsigned key_uses(const struct key *key);
bool key_is_secret(const struct key *key);
bool key_is_private(const struct key *key); /* true for secret keys, too: they do what either half of a pair does */
size_t key_size(const struct key *key);     /* bytes of the modulus, of the field or of the secret (CKA_VALUE_LEN) */
EVP_PKEY *key_pkey(const struct key *key);  /* borrowed; NULL for a secret key */

/*
 * CKA_CHECK_VALUE of a secret key (PKCS#11 2.40 section 4.10.2): the first three bytes of a block of zeros encrypted
 * with it (AES), or of its SHA-1 (the others). CKR_KEY_TYPE_INCONSISTENT for pairs, CKR_HOST_MEMORY.
 */
CK_RV key_check_value(const struct key *key, CK_BYTE ret[3]);

/*
 * CKA_VALUE of a secret key, for C_GetAttributeValue of a session key that is extractable and not sensitive: this is
 * the one way by which a secret leaves crypto/ unwrapped. `ret` is replaced; its limit counts. CKR_KEY_UNEXTRACTABLE
 * without KEY_USE_LEAVE, CKR_KEY_TYPE_INCONSISTENT for pairs, CKR_HOST_MEMORY.
 */
CK_RV key_value(const struct key *key, struct buf *ret);

/* Whether there are secret keys of this type and length: as key_new_secret(). */
CK_RV key_check_secret(CK_KEY_TYPE type, size_t len);

/* The bytes of a secret key, key_size() of them. For crypto/ alone. Borrowed; NULL for pairs. */
const uint8_t *key_secret(const struct key *key);

/* What a new secret key, or one that is unwrapped, shall be: the caller's template in our words. */
struct key_wanted {
	CK_OBJECT_CLASS class; /* CKO_SECRET_KEY, CKO_PRIVATE_KEY; looked at by key_unwrap() alone */
	CK_KEY_TYPE type;
	size_t len; /* CKA_VALUE_LEN of a secret key; 0: not said */
	unsigned uses;
};

/* Private RSA keys: SHA-256 of the private exponent, for pkcs1_unpad. Borrowed. */
const uint8_t *key_rejection_secret(const struct key *key);

/* Overwrites 16 KiB of the stack below the caller, where libcrypto has left parts of a private key (threat model 6). */
void burn_stack(void);

#endif
