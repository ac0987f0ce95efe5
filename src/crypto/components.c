/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/components.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include <string.h>

AUTO_OSSL(builder, OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)
AUTO_OSSL(params, OSSL_PARAM, OSSL_PARAM_free)
AUTO_OSSL(group, EC_GROUP, EC_GROUP_free)
AUTO_OSSL(ec_point, EC_POINT, EC_POINT_clear_free)
AUTO_OSSL(bn_ctx, BN_CTX, BN_CTX_free)
AUTO_OSSL(secret_bn, BIGNUM, BN_clear_free)
#define auto_builder   __attribute__((cleanup(builder_done))) OSSL_PARAM_BLD
#define auto_params    __attribute__((cleanup(params_done))) OSSL_PARAM
#define auto_group     __attribute__((cleanup(group_done))) EC_GROUP
#define auto_ec_point  __attribute__((cleanup(ec_point_done))) EC_POINT
#define auto_bn_ctx    __attribute__((cleanup(bn_ctx_done))) BN_CTX
#define auto_secret_bn __attribute__((cleanup(secret_bn_done))) BIGNUM

enum { RSA_PUBLIC_NUMBERS = 2, RSA_WITHOUT_PRIMES = 3, RSA_NUMBERS = 8, NUMBER_MAX = 1024 };

static const char *const rsa_names[RSA_NUMBERS] = {
    OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
    OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
    OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
    OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
};

/* What libcrypto's refusal means. */
static CK_RV refused(CK_RV otherwise)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? CKR_HOST_MEMORY : otherwise;
}

static bool is_there(struct component part)
{
	return part.data && part.len > 0;
}

static CK_RV make(const char *type, OSSL_PARAM_BLD *builder, int selection, EVP_PKEY **ret)
{
	auto_params *params = OSSL_PARAM_BLD_to_param(builder);
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, type, NULL);
	EVP_PKEY *pkey = NULL;

	if (!params || !ctx)
		return CKR_HOST_MEMORY;
	if (EVP_PKEY_fromdata_init(ctx) <= 0 || EVP_PKEY_fromdata(ctx, &pkey, selection, params) <= 0)
		return refused(CKR_ATTRIBUTE_VALUE_INVALID);
	*ret = pkey;
	return CKR_OK;
}

static CK_RV check(EVP_PKEY *pkey, int (*how)(EVP_PKEY_CTX *))
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, pkey, NULL);

	if (!ctx)
		return CKR_HOST_MEMORY;
	return how(ctx) == 1 ? CKR_OK : refused(CKR_ATTRIBUTE_VALUE_INVALID);
}

/* --- RSA -----------------------------------------------------------------------------------------------------------
 */

/* RFC 8017 section 3.1, as far as it can be seen without the primes. */
static CK_RV check_rsa_public(struct component n_part, struct component e_part)
{
	auto_bn *n = BN_bin2bn(n_part.data, (int)n_part.len, NULL);
	auto_bn *e = BN_bin2bn(e_part.data, (int)e_part.len, NULL);

	if (!n || !e)
		return CKR_HOST_MEMORY;
	if (!BN_is_odd(n) || !BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > 64)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	return CKR_OK;
}

static CK_RV rsa_pkey(const struct component *parts, size_t count, int selection, EVP_PKEY **ret)
{
	BIGNUM *numbers[RSA_NUMBERS] = {NULL};
	auto_builder *builder = OSSL_PARAM_BLD_new();
	bool pushed = builder != NULL;

	for (size_t i = 0; pushed && i < count; i++) { /* the builder borrows them */
		numbers[i] = BN_bin2bn(parts[i].data, (int)parts[i].len, NULL);
		if (numbers[i] && i >= RSA_PUBLIC_NUMBERS)
			BN_set_flags(numbers[i], BN_FLG_CONSTTIME);
		pushed = numbers[i] && OSSL_PARAM_BLD_push_BN(builder, rsa_names[i], numbers[i]);
	}
	CK_RV rv = pushed ? make("RSA", builder, selection, ret) : CKR_HOST_MEMORY;
	for (size_t i = 0; i < count; i++)
		BN_clear_free(numbers[i]);
	return rv;
}

/* Without the primes libcrypto cannot look at the numbers, but it can try whether d undoes what e does. */
static CK_RV check_exponents(EVP_PKEY *pkey)
{
	uint8_t block[NUMBER_MAX] = {0}, opened[NUMBER_MAX], sealed[NUMBER_MAX];
	size_t size = (size_t)EVP_PKEY_get_size(pkey), sealed_len = sizeof(sealed), opened_len = sizeof(opened);
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, pkey, NULL);

	if (!ctx || random_bytes(block + 1, size - 1).failure)
		return CKR_HOST_MEMORY;
	bool same = EVP_PKEY_encrypt_init(ctx) > 0 && EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) > 0 &&
	            EVP_PKEY_encrypt(ctx, sealed, &sealed_len, block, size) > 0 && EVP_PKEY_decrypt_init(ctx) > 0 &&
	            EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) > 0 &&
	            EVP_PKEY_decrypt(ctx, opened, &opened_len, sealed, sealed_len) > 0 && opened_len == size &&
	            equal_secret(opened, block, size);
	burn_stack();
	return same ? CKR_OK : refused(CKR_ATTRIBUTE_VALUE_INVALID);
}

/* How many of the eight numbers there are, in their order; CKR_TEMPLATE_INCOMPLETE if one between them is not. */
static CK_RV count_rsa(const struct component *parts, size_t *ret_count)
{
	size_t count = 0;

	while (count < RSA_NUMBERS && is_there(parts[count]))
		count++;
	for (size_t i = 0; i < RSA_NUMBERS; i++)
		if (parts[i].len > NUMBER_MAX)
			return CKR_ATTRIBUTE_VALUE_INVALID;
		else if (i >= count && is_there(parts[i]))
			return CKR_TEMPLATE_INCOMPLETE;
	if (count != RSA_WITHOUT_PRIMES && count != RSA_NUMBERS)
		return CKR_TEMPLATE_INCOMPLETE;
	*ret_count = count;
	return CKR_OK;
}

static CK_RV new_rsa(const struct component *parts, size_t count, unsigned uses, struct key **ret)
{
	bool is_private = count > RSA_PUBLIC_NUMBERS;
	auto_pkey *pkey = NULL;
	struct key *key;

	CK_RV rv = check_rsa_public(parts[0], parts[1]);
	if (rv == CKR_OK)
		rv = rsa_pkey(parts, count, is_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, &pkey);
	if (rv != CKR_OK)
		return rv;
	EVP_PKEY *made = pkey;
	rv =
	    key_new(TAKE(pkey), is_private, uses, &key); /* its size is known to be good before the numbers are tried */
	if (rv != CKR_OK)
		return rv;
	if (is_private)
		rv = count == RSA_NUMBERS ? check(made, EVP_PKEY_check) : check_exponents(made);
	if (rv != CKR_OK) {
		key_drop(key);
		return rv;
	}
	*ret = key;
	return CKR_OK;
}

CK_RV key_from_rsa_public(const struct rsa_components *parts, unsigned uses, struct key **ret)
{
	const struct component numbers[] = {parts->n, parts->e};

	if (!is_there(parts->n) || !is_there(parts->e))
		return CKR_TEMPLATE_INCOMPLETE;
	if (parts->n.len > NUMBER_MAX || parts->e.len > NUMBER_MAX)
		return parts->n.len > NUMBER_MAX ? CKR_KEY_SIZE_RANGE : CKR_ATTRIBUTE_VALUE_INVALID;
	ERR_set_mark();
	CK_RV rv = new_rsa(numbers, RSA_PUBLIC_NUMBERS, uses, ret);
	ERR_pop_to_mark();
	return rv;
}

CK_RV key_from_rsa_private(const struct rsa_components *parts, unsigned uses, struct key **ret)
{
	const struct component numbers[] = {parts->n, parts->e,  parts->d,  parts->p,
	                                    parts->q, parts->dp, parts->dq, parts->qi};
	size_t count;

	CK_RV rv = count_rsa(numbers, &count);
	if (rv != CKR_OK)
		return rv;
	ERR_set_mark();
	rv = new_rsa(numbers, count, uses, ret);
	ERR_pop_to_mark();
	burn_stack();
	return rv;
}

/* --- EC ------------------------------------------------------------------------------------------------------------
 */

static const struct curve {
	const char *name;
	int nid;
	size_t field; /* bytes */
	size_t oid_len;
	uint8_t oid[10]; /* DER, as in CKA_EC_PARAMS */
} curves[] = {
    {"prime256v1", NID_X9_62_prime256v1, 32, 10, {6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}},
    {"secp384r1", NID_secp384r1, 48, 7, {6, 5, 0x2b, 0x81, 4, 0, 0x22}},
    {"secp521r1", NID_secp521r1, 66, 7, {6, 5, 0x2b, 0x81, 4, 0, 0x23}},
    {"secp256k1", NID_secp256k1, 32, 7, {6, 5, 0x2b, 0x81, 4, 0, 0x0a}},
};

static const struct curve *find_curve(struct component params)
{
	for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
		if (params.len == curves[i].oid_len && memcmp(params.data, curves[i].oid, params.len) == 0)
			return &curves[i];
	return NULL;
}

const char *ec_curve_name(struct component params)
{
	const struct curve *curve = is_there(params) ? find_curve(params) : NULL;
	return curve ? curve->name : NULL;
}

struct component ec_curve_params(const char *name)
{
	for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
		if (strcmp(name, curves[i].name) == 0)
			return (struct component){curves[i].oid, curves[i].oid_len};
	return (struct component){NULL, 0};
}

/* The two forms of a point are told apart by their lengths. */
static bool take_off_octets(struct component *point, size_t raw_len)
{
	const uint8_t *p = point->data;
	size_t head = raw_len < 0x80 ? 2 : 3;

	if (point->len == raw_len)
		return p[0] == POINT_CONVERSION_UNCOMPRESSED;
	if (point->len != head + raw_len || p[0] != 4 || p[head - 1] != raw_len || (head == 3 && p[1] != 0x81))
		return false;
	*point = (struct component){p + head, raw_len};
	return p[head] == POINT_CONVERSION_UNCOMPRESSED;
}

static CK_RV push_ec(OSSL_PARAM_BLD *builder, const struct curve *curve, struct component point, const BIGNUM *d)
{
	bool pushed = builder && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve->name, 0) &&
	              OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len) &&
	              (!d || OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, d));
	return pushed ? CKR_OK : CKR_HOST_MEMORY;
}

static CK_RV new_ec(const struct curve *curve, struct component point, const BIGNUM *d, unsigned uses, struct key **ret)
{
	auto_builder *builder = OSSL_PARAM_BLD_new();
	auto_pkey *pkey = NULL;

	CK_RV rv = push_ec(builder, curve, point, d);
	if (rv == CKR_OK)
		rv = make("EC", builder, d ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, &pkey);
	if (rv == CKR_OK)
		rv = check(pkey, d ? EVP_PKEY_check : EVP_PKEY_public_check);
	return rv == CKR_OK ? key_new(TAKE(pkey), d != NULL, uses, ret) : rv;
}

CK_RV key_from_ec_public(struct component params, struct component point, unsigned uses, struct key **ret)
{
	if (!is_there(params) || !is_there(point))
		return CKR_TEMPLATE_INCOMPLETE;
	const struct curve *curve = find_curve(params);
	if (!curve)
		return CKR_CURVE_NOT_SUPPORTED;
	if (!take_off_octets(&point, 1 + 2 * curve->field))
		return CKR_ATTRIBUTE_VALUE_INVALID;
	ERR_set_mark();
	CK_RV rv = new_ec(curve, point, NULL, uses, ret);
	ERR_pop_to_mark();
	return rv;
}

/* The point of a private number, which libcrypto does not find by itself. */
static CK_RV point_of(const struct curve *curve, const BIGNUM *d, uint8_t *out, size_t *len)
{
	auto_group *group = EC_GROUP_new_by_curve_name_ex(ossl, NULL, curve->nid);
	auto_ec_point *point = group ? EC_POINT_new(group) : NULL;
	auto_bn_ctx *ctx = BN_CTX_secure_new_ex(ossl); /* without, the point is blinded in the default context */

	if (!point || !ctx)
		return CKR_HOST_MEMORY;
	if (BN_is_zero(d) || BN_cmp(d, EC_GROUP_get0_order(group)) >= 0)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	if (!EC_POINT_mul(group, point, d, NULL, NULL, ctx))
		return refused(CKR_FUNCTION_FAILED);
	*len = EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, out, *len, ctx);
	return *len ? CKR_OK : refused(CKR_FUNCTION_FAILED);
}

static CK_RV new_ec_private(const struct curve *curve, struct component value, unsigned uses, struct key **ret)
{
	auto_secret_bn *d = BN_bin2bn(value.data, (int)value.len, NULL);
	uint8_t point[1 + 2 * 66];
	size_t len = sizeof(point);

	if (!d)
		return CKR_HOST_MEMORY;
	BN_set_flags(d, BN_FLG_CONSTTIME);
	CK_RV rv = point_of(curve, d, point, &len);
	return rv == CKR_OK ? new_ec(curve, (struct component){point, len}, d, uses, ret) : rv;
}

CK_RV key_from_ec_private(struct component params, struct component value, unsigned uses, struct key **ret)
{
	if (!is_there(params) || !is_there(value))
		return CKR_TEMPLATE_INCOMPLETE;
	const struct curve *curve = find_curve(params);
	if (!curve)
		return CKR_CURVE_NOT_SUPPORTED;
	if (value.len > NUMBER_MAX)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	ERR_set_mark();
	CK_RV rv = new_ec_private(curve, value, uses, ret);
	ERR_pop_to_mark();
	burn_stack();
	return rv;
}
