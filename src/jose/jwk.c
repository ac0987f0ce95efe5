/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/jwk.h"

#include "base/base64.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include <string.h>

AUTO_OSSL(param_bld, OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)
AUTO_OSSL(params, OSSL_PARAM, OSSL_PARAM_free)
#define auto_param_bld __attribute__((cleanup(param_bld_done))) OSSL_PARAM_BLD
#define auto_params    __attribute__((cleanup(params_done))) OSSL_PARAM
/* Numbers of private keys. */
AUTO_OSSL(secret_bn, BIGNUM, BN_clear_free)
#define auto_secret_bn  __attribute__((cleanup(secret_bn_done))) BIGNUM

#define RSA_BITS_LEAST  2048
#define RSA_BITS_MOST   8192
#define NUMBER_LIMIT    (RSA_BITS_MOST / 8 + 8) /* bytes of one decoded member; some services send leading zeros */
#define COORDINATE_MOST 66

/* RFC 7518 section 6.2.1.1; P-256K is Key Vault's name of secp256k1. */
static const struct curve {
	const char *crv, *group;
	int bytes;
} curves[] = {
    {"P-256", "prime256v1", 32},
    {"P-384", "secp384r1", 48},
    {"P-521", "secp521r1", 66},
    {"P-256K", "secp256k1", 32},
};
#define CURVES (sizeof(curves) / sizeof(curves[0]))

/* Members of RFC 7518 section 6.3 and their place in a key. The first two are public. */
static const struct rsa_member {
	const char *name, *param;
} rsa_members[] = {
    {"n", OSSL_PKEY_PARAM_RSA_N},          {"e", OSSL_PKEY_PARAM_RSA_E},
    {"d", OSSL_PKEY_PARAM_RSA_D},          {"p", OSSL_PKEY_PARAM_RSA_FACTOR1},
    {"q", OSSL_PKEY_PARAM_RSA_FACTOR2},    {"dp", OSSL_PKEY_PARAM_RSA_EXPONENT1},
    {"dq", OSSL_PKEY_PARAM_RSA_EXPONENT2}, {"qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};
#define RSA_PUBLIC  2
#define RSA_MEMBERS (sizeof(rsa_members) / sizeof(rsa_members[0]))

/* In Key Vault's order. */
static const struct {
	const char *word;
	unsigned op;
} key_op_words[] = {
    {"encrypt", KEY_OP_ENCRYPT}, {"decrypt", KEY_OP_DECRYPT}, {"sign", KEY_OP_SIGN},
    {"verify", KEY_OP_VERIFY},   {"wrapKey", KEY_OP_WRAP},    {"unwrapKey", KEY_OP_UNWRAP},
    {"import", KEY_OP_IMPORT},   {"export", KEY_OP_EXPORT},   {"deriveKey", KEY_OP_DERIVE},
};
#define KEY_OP_WORDS (sizeof(key_op_words) / sizeof(key_op_words[0]))
#define KEY_OPS_ALL  ((KEY_OP_DERIVE << 1) - 1)

static unsigned key_op_of(const char *word)
{
	for (size_t i = 0; word && i < KEY_OP_WORDS; i++)
		if (strcmp(word, key_op_words[i].word) == 0)
			return key_op_words[i].op;
	return 0;
}

unsigned key_ops_from_json(const json *jwk)
{
	const json *list = json_get(jwk, "key_ops");
	unsigned ops = 0;

	if (!list)
		return KEY_OPS_ALL & ~(unsigned)KEY_OP_DERIVE;
	if (json_kind(list) != JSON_ARRAY)
		return 0; /* a member that is there but not understood allows nothing */
	for (const json *word = json_first(list); word; word = json_next(word))
		ops |= key_op_of(json_text(word));
	return ops;
}

void key_ops_to_json(json *jwk, unsigned ops)
{
	json *list = json_array();

	for (size_t i = 0; i < KEY_OP_WORDS; i++)
		if (ops & key_op_words[i].op)
			json_push(list, json_of_string(key_op_words[i].word));
	json_set(jwk, "key_ops", list);
}

/* ---- from a key ---- */

static const struct curve *curve_of_key(const EVP_PKEY *key)
{
	char group[32];
	size_t len;

	if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1)
		return NULL;
	for (size_t i = 0; i < CURVES; i++)
		if (strcmp(curves[i].group, group) == 0)
			return &curves[i];
	return NULL;
}

/* Sets `name` to a number of the key, `width` bytes long or, if 0, as short as it can be. */
static skr_status set_number(json *jwk, const char *name, const EVP_PKEY *key, const char *param, int width)
{
	auto_secret_bn *number = NULL;
	auto_buf bytes = BUF(NUMBER_LIMIT), text = BUF(2 * NUMBER_LIMIT);
	uint8_t *place;

	if (EVP_PKEY_get_bn_param(key, param, &number) != 1)
		return ossl_fail(599, name);
	int len = width ? width : BN_num_bytes(number);
	TRY(buf_reserve(&bytes, (size_t)len, &place));
	if (BN_bn2binpad(number, place, len) != len)
		return ossl_fail(599, name);
	bytes.len = (size_t)len;
	TRY(base64url_encode(bytes.data, bytes.len, &text));
	json_set_string(jwk, name, buf_text(&text));
	return OK;
}

static skr_status set_rsa(json *jwk, const EVP_PKEY *key, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		TRY(set_number(jwk, rsa_members[i].name, key, rsa_members[i].param, 0));
	return OK;
}

skr_status jwk_from_key(const EVP_PKEY *key, json **ret)
{
	const struct curve *curve = curve_of_key(key);
	auto_json *jwk = json_object();

	if (curve) {
		json_set_string(jwk, "kty", "EC");
		json_set_string(jwk, "crv", curve->crv);
		TRY(set_number(jwk, "x", key, OSSL_PKEY_PARAM_EC_PUB_X, curve->bytes));
		TRY(set_number(jwk, "y", key, OSSL_PKEY_PARAM_EC_PUB_Y, curve->bytes));
	} else if (EVP_PKEY_is_a(key, "RSA")) {
		json_set_string(jwk, "kty", "RSA");
		TRY(set_rsa(jwk, key, 0, RSA_PUBLIC));
	} else {
		return FAIL(599, "a JWK is made of RSA keys and of EC keys on four curves only");
	}
	*ret = TAKE(jwk);
	return OK;
}

skr_status jwk_add_private(json *jwk, const EVP_PKEY *key)
{
	const struct curve *curve = curve_of_key(key);

	if (curve)
		return set_number(jwk, "d", key, OSSL_PKEY_PARAM_PRIV_KEY, curve->bytes);
	if (EVP_PKEY_is_a(key, "RSA"))
		return set_rsa(jwk, key, RSA_PUBLIC, RSA_MEMBERS);
	return FAIL(599, "a JWK is made of RSA keys and of EC keys on four curves only");
}

/* ---- to a key ---- */

static skr_status read_number(const json *jwk, const char *name, BIGNUM **ret)
{
	const char *text;
	auto_buf bytes = BUF(NUMBER_LIMIT);

	TRY(json_string(jwk, name, &text));
	skr_status status = base64url_decode(text, strlen(text), &bytes);
	if (status.failure)
		return FAIL(213, "%s is not a base64url number: %s", name, status_message());
	if (bytes.len == 0)
		return FAIL(213, "%s is empty", name);
	*ret = BN_bin2bn(bytes.data, (int)bytes.len, NULL);
	return *ret ? OK : FAIL(14, "a number of a JWK");
}

static skr_status key_from_params(const char *type, OSSL_PARAM_BLD *builder, int selection, EVP_PKEY **ret)
{
	auto_params *params = OSSL_PARAM_BLD_to_param(builder);
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, type, NULL);
	EVP_PKEY *key = NULL;

	if (!params || !ctx)
		return ossl_fail(14, "a key of a JWK");
	if (EVP_PKEY_fromdata_init(ctx) <= 0 || EVP_PKEY_fromdata(ctx, &key, selection, params) <= 0)
		return ossl_fail(213, "kty: not a key");
	*ret = key;
	return OK;
}

static skr_status check_rsa_numbers(const BIGNUM *n, const BIGNUM *e)
{
	if (BN_num_bits(n) < RSA_BITS_LEAST || BN_num_bits(n) > RSA_BITS_MOST || !BN_is_odd(n))
		return FAIL(213, "n has %d bits; %d to %d are taken, and an odd number", BN_num_bits(n), RSA_BITS_LEAST,
		            RSA_BITS_MOST);
	if (!BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > 64)
		return FAIL(213, "e must be odd, at least 3 and below 2^64");
	return OK;
}

static skr_status rsa_key(const json *jwk, size_t members, EVP_PKEY **ret)
{
	BIGNUM *numbers[RSA_MEMBERS] = {NULL};
	skr_status status = OK;

	for (size_t i = 0; i < members && !status.failure; i++)
		status = read_number(jwk, rsa_members[i].name, &numbers[i]);
	if (!status.failure)
		status = check_rsa_numbers(numbers[0], numbers[1]);

	auto_param_bld *builder = OSSL_PARAM_BLD_new();
	int pushed = builder != NULL;
	for (size_t i = 0; i < members && !status.failure; i++)
		pushed = pushed && OSSL_PARAM_BLD_push_BN(builder, rsa_members[i].param, numbers[i]);
	if (!status.failure && !pushed)
		status = ossl_fail(14, "numbers of a JWK");
	if (!status.failure)
		status =
		    key_from_params("RSA", builder, members > RSA_PUBLIC ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, ret);
	for (size_t i = 0; i < RSA_MEMBERS; i++)
		BN_clear_free(numbers[i]);
	return status;
}

/* x and y as an uncompressed point: SEC 1 section 2.3.3. */
static skr_status ec_point(const json *jwk, const struct curve *curve, struct buf *out)
{
	static const char *const names[] = {"x", "y"};
	uint8_t *place;

	TRY(buf_append(out, "\x04", 1));
	for (size_t i = 0; i < 2; i++) {
		auto_bn *number = NULL;
		TRY(read_number(jwk, names[i], &number));
		TRY(buf_reserve(out, (size_t)curve->bytes, &place));
		if (BN_bn2binpad(number, place, curve->bytes) != curve->bytes)
			return FAIL(213, "%s is too long for %s", names[i], curve->crv);
		out->len += (size_t)curve->bytes;
	}
	return OK;
}

static skr_status curve_of_jwk(const json *jwk, const struct curve **ret)
{
	const char *crv;

	TRY(json_string(jwk, "crv", &crv));
	for (size_t i = 0; i < CURVES; i++) {
		if (strcmp(curves[i].crv, crv) == 0) {
			*ret = &curves[i];
			return OK;
		}
	}
	return FAIL(213, "crv: unknown curve %.32s", crv);
}

static skr_status ec_key(const json *jwk, bool with_private, EVP_PKEY **ret)
{
	const struct curve *curve;
	auto_buf point = BUF(1 + 2 * COORDINATE_MOST);
	auto_secret_bn *d = NULL;
	auto_param_bld *builder = OSSL_PARAM_BLD_new();

	TRY(curve_of_jwk(jwk, &curve));
	TRY(ec_point(jwk, curve, &point));
	if (with_private)
		TRY(read_number(jwk, "d", &d));
	if (!builder || !OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve->group, 0) ||
	    !OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.len) ||
	    (d && !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, d)))
		return ossl_fail(14, "numbers of a JWK");
	return key_from_params("EC", builder, d ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, ret);
}

static skr_status check_key(EVP_PKEY *key, int (*check)(EVP_PKEY_CTX *))
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key, NULL);

	if (!ctx || check(ctx) != 1)
		return ossl_fail(213, "the members of the key do not fit together");
	return OK;
}

static skr_status jwk_key(const json *jwk, bool with_private, EVP_PKEY **ret)
{
	const char *kty;
	auto_pkey *key = NULL;

	TRY(json_string(jwk, "kty", &kty));
	if (strcmp(kty, "RSA") == 0 || strcmp(kty, "RSA-HSM") == 0)
		TRY(rsa_key(jwk, with_private ? RSA_MEMBERS : RSA_PUBLIC, &key));
	else if (strcmp(kty, "EC") == 0 || strcmp(kty, "EC-HSM") == 0)
		TRY(ec_key(jwk, with_private, &key));
	else
		return FAIL(213, "kty: %.32s is not a key pair", kty);
	TRY(check_key(key, with_private ? EVP_PKEY_check : EVP_PKEY_public_check));
	*ret = TAKE(key);
	return OK;
}

skr_status jwk_public_key(const json *jwk, EVP_PKEY **ret)
{
	return jwk_key(jwk, false, ret);
}

skr_status jwk_private_key(const json *jwk, EVP_PKEY **ret)
{
	return jwk_key(jwk, true, ret);
}

skr_status jwk_thumbprint(const json *jwk, struct buf *out)
{
	static const char *const rsa[] = {"e", "kty", "n", NULL}, *const ec[] = {"crv", "kty", "x", "y", NULL};
	auto_json *required = json_object();
	auto_buf text = BUF(8 * 1024);
	uint8_t digest[32];

	/* RFC 7638 section 3: the required members alone, in byte order of their names, without blanks. */
	for (const char *const *name = json_get(jwk, "n") ? rsa : ec; *name; name++) {
		const char *value;
		TRY(json_string(jwk, *name, &value));
		json_set_string(required, *name, value);
	}
	TRY(json_print(required, &text));
	TRY(sha256(text.data, text.len, digest));
	return base64url_encode(digest, sizeof(digest), out);
}
