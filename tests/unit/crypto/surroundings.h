/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_UNIT_CRYPTO_SURROUNDINGS_H
#define SKR_TESTS_UNIT_CRYPTO_SURROUNDINGS_H

#include "crypto/key.h"
#include "crypto/mechanism.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <openssl/pem.h>

/* What every test of this layer needs: keys, and both halves of each. */

static const unsigned all_uses =
    KEY_USE_SIGN | KEY_USE_VERIFY | KEY_USE_ENCRYPT | KEY_USE_DECRYPT | KEY_USE_WRAP | KEY_USE_UNWRAP;

static const struct mechanism_policy by_default = {.rsa_pkcs1_decrypt = true};
static const struct mechanism_policy everything = {
    .rsa_pkcs1_decrypt = true, .allow_raw_rsa = true, .allow_sha1 = true};

static inline int open_libcrypto(void **state)
{
	(void)state;
	return ossl_open().failure;
}

static inline EVP_PKEY *published_rsa_pkey(void)
{
	BIO *file = BIO_new_file(SKR_TEST_DATA "/crypto/implicit-rejection-2048.pem", "r");
	assert_non_null(file);
	EVP_PKEY *pkey = PEM_read_bio_PrivateKey_ex(file, NULL, NULL, NULL, ossl, NULL);
	BIO_free(file);
	assert_non_null(pkey);
	return pkey;
}

static inline EVP_PKEY *ec_pkey(const char *curve)
{
	EVP_PKEY *pkey = EVP_PKEY_Q_keygen(ossl, NULL, "EC", curve);
	assert_non_null(pkey);
	return pkey;
}

static inline EVP_PKEY *rsa_pkey(size_t bits)
{
	EVP_PKEY *pkey = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", bits);
	assert_non_null(pkey);
	return pkey;
}

static inline EVP_PKEY *public_half(EVP_PKEY *pkey)
{
	unsigned char *der = NULL;
	int len = i2d_PUBKEY(pkey, &der);
	assert_true(len > 0);
	const unsigned char *p = der;
	EVP_PKEY *half = d2i_PUBKEY_ex(NULL, &p, len, ossl, NULL);
	assert_non_null(half);
	OPENSSL_free(der);
	return half;
}

struct pair {
	struct key *private, *public;
};

/* Takes over `pkey`. */
static inline struct pair pair_of(EVP_PKEY *pkey)
{
	struct pair pair;
	assert_int_equal(key_new(public_half(pkey), false, all_uses, &pair.public), CKR_OK);
	assert_int_equal(key_new(pkey, true, all_uses, &pair.private), CKR_OK);
	return pair;
}

static inline void pair_drop(struct pair pair)
{
	key_drop(pair.private);
	key_drop(pair.public);
}

static inline size_t from_hex(const char *hex, uint8_t *out)
{
	size_t len = 0;
	for (; hex[0] && hex[1]; hex += 2) {
		unsigned byte;
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		out[len++] = (uint8_t)byte;
	}
	return len;
}

/* A field of a file of vectors: "." is nothing. */
static inline size_t from_field(const char *hex, uint8_t *out)
{
	return hex[0] == '.' ? 0 : from_hex(hex, out);
}

/* The next line of a file of vectors, cut at its blanks into so many fields; false at its end. */
static inline bool next_vector(FILE *file, char *line, int size, char **fields, int count)
{
	do {
		if (!fgets(line, size, file))
			return false;
	} while (line[0] == '#');
	for (int i = 0; i < count; i++) {
		fields[i] = strtok(i ? NULL : line, " \n");
		assert_non_null(fields[i]);
	}
	return true;
}

/* A secret key that may do everything, and leave. */
static inline struct key *secret_of(const void *bytes, size_t len, CK_KEY_TYPE type)
{
	struct key *key = NULL;
	assert_int_equal(key_new_secret(bytes, len, type, all_uses | KEY_USE_DERIVE | KEY_USE_LEAVE, &key), CKR_OK);
	return key;
}

#endif
