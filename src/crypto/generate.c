/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/generate.h"

#include "crypto/components.h"
#include "crypto/mechanism.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

/* The row, if the mechanism is one that makes keys in this way; it takes no parameter. */
static CK_RV find_row(const CK_MECHANISM *mechanism, CK_FLAGS flag, const struct mechanism **ret)
{
	static const struct mechanism_policy any = {.rsa_pkcs1_decrypt = true}; /* policies are about uses */
	struct mechanism_params none;

	const struct mechanism *row = mechanism_find(mechanism->mechanism, &any);
	if (!row || !(row->flags & flag))
		return CKR_MECHANISM_INVALID;
	*ret = row;
	return mechanism_params(row, mechanism, 0, &none);
}

static CK_RV refused(void)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? CKR_HOST_MEMORY : CKR_FUNCTION_FAILED;
}

/* --- secret keys ---------------------------------------------------------------------------------------------------
 */

CK_RV key_generate(const CK_MECHANISM *mechanism, const struct key_wanted *wanted, struct key **ret)
{
	const struct mechanism *row;
	uint8_t bytes[KEY_SECRET_MAX];

	CK_RV rv = find_row(mechanism, CKF_GENERATE, &row);
	if (rv != CKR_OK)
		return rv;
	if ((row->key == CKK_AES) != (wanted->type == CKK_AES))
		return CKR_TEMPLATE_INCONSISTENT;
	if (wanted->len == 0)
		return CKR_TEMPLATE_INCOMPLETE;
	if (wanted->len > sizeof(bytes))
		return CKR_KEY_SIZE_RANGE;
	ERR_set_mark();
	rv = random_bytes(bytes, wanted->len).failure
	         ? CKR_FUNCTION_FAILED
	         : key_new_secret(bytes, wanted->len, wanted->type, wanted->uses, ret);
	ERR_pop_to_mark();
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return rv == CKR_KEY_TYPE_INCONSISTENT ? CKR_TEMPLATE_INCONSISTENT : rv;
}

/* --- pairs ---------------------------------------------------------------------------------------------------------
 */

enum { EXPONENT_MAX = 8 };

/* 65537 or more: FIPS 186-4 appendix B.3.1. */
static CK_RV read_exponent(const struct pair_wanted *wanted, BIGNUM **ret)
{
	static const uint8_t usual[] = {1, 0, 1};
	size_t len = wanted->exponent ? wanted->exponent_len : sizeof(usual);
	const uint8_t *bytes = wanted->exponent ? wanted->exponent : usual;

	while (len > 0 && bytes[0] == 0) {
		bytes++;
		len--;
	}
	if (len > EXPONENT_MAX)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	auto_bn *e = BN_bin2bn(bytes, (int)len, NULL);
	if (!e)
		return CKR_HOST_MEMORY;
	if (!BN_is_odd(e) || BN_num_bits(e) < 17)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	*ret = TAKE(e);
	return CKR_OK;
}

static CK_RV generate_rsa(const struct mechanism *row, const struct pair_wanted *wanted, EVP_PKEY **ret)
{
	auto_bn *e = NULL;

	if (wanted->modulus_bits == 0)
		return CKR_TEMPLATE_INCOMPLETE;
	if (wanted->modulus_bits < row->min_bits || wanted->modulus_bits > row->max_bits || wanted->modulus_bits % 8)
		return CKR_KEY_SIZE_RANGE;
	CK_RV rv = read_exponent(wanted, &e);
	if (rv != CKR_OK)
		return rv;
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);
	if (!ctx || EVP_PKEY_keygen_init(ctx) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)wanted->modulus_bits) <= 0 ||
	    EVP_PKEY_CTX_set1_rsa_keygen_pubexp(ctx, e) <= 0 || EVP_PKEY_generate(ctx, ret) <= 0)
		return refused();
	return CKR_OK;
}

static CK_RV generate_ec(const struct pair_wanted *wanted, EVP_PKEY **ret)
{
	if (!wanted->ec_params || wanted->ec_params_len == 0)
		return CKR_TEMPLATE_INCOMPLETE;
	const char *curve = ec_curve_name((struct component){wanted->ec_params, wanted->ec_params_len});
	if (!curve)
		return CKR_CURVE_NOT_SUPPORTED;
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "EC", NULL);
	if (!ctx || EVP_PKEY_keygen_init(ctx) <= 0 || EVP_PKEY_CTX_set_group_name(ctx, curve) <= 0 ||
	    EVP_PKEY_generate(ctx, ret) <= 0)
		return refused();
	return CKR_OK;
}

static CK_RV generate(const struct mechanism *row, const struct pair_wanted *wanted, struct key **ret_public,
                      struct key **ret_private)
{
	auto_pkey *pkey = NULL;
	struct key *private, *public;

	CK_RV rv = row->key == CKK_RSA ? generate_rsa(row, wanted, &pkey) : generate_ec(wanted, &pkey);
	if (rv == CKR_OK)
		rv = key_new(TAKE(pkey), true, wanted->private_uses, &private);
	if (rv != CKR_OK)
		return rv;
	rv = key_public_half(private, wanted->public_uses, &public);
	if (rv != CKR_OK) {
		key_drop(private);
		return rv;
	}
	*ret_public = public;
	*ret_private = private;
	return CKR_OK;
}

CK_RV key_pair_generate(const CK_MECHANISM *mechanism, const struct pair_wanted *wanted, struct key **ret_public,
                        struct key **ret_private)
{
	const struct mechanism *row;

	CK_RV rv = find_row(mechanism, CKF_GENERATE_KEY_PAIR, &row);
	if (rv != CKR_OK)
		return rv;
	ERR_set_mark();
	rv = generate(row, wanted, ret_public, ret_private);
	ERR_pop_to_mark();
	burn_stack();
	return rv;
}
