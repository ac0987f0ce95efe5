/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/derive.h"

#include "crypto/components.h"
#include "crypto/mechanism.h"

#include <openssl/err.h>

#include <string.h>

static void drop(struct key **key)
{
	key_drop(*key);
}
#define auto_key __attribute__((cleanup(drop))) struct key

enum { FIELD_MAX = 66 };

static CK_RV refused(void)
{
	return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE ? CKR_HOST_MEMORY : CKR_FUNCTION_FAILED;
}

/* The other side's key on our curve. */
static CK_RV read_peer(const struct key *base, const struct mechanism_params *params, struct key **ret)
{
	char curve[32];

	if (!EVP_PKEY_get_group_name(key_pkey(base), curve, sizeof(curve), NULL))
		return refused();
	CK_RV rv = key_from_ec_public(ec_curve_params(curve), (struct component){params->iv, params->iv_len}, 0, ret);
	return rv == CKR_OK || rv == CKR_HOST_MEMORY ? rv : CKR_MECHANISM_PARAM_INVALID;
}

/* The x of the common point, as long as the field. */
static CK_RV agree(const struct key *base, const struct key *peer, uint8_t secret[FIELD_MAX])
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key_pkey(base), NULL);
	size_t len = FIELD_MAX;

	bool done = ctx && EVP_PKEY_derive_init(ctx) > 0 && EVP_PKEY_derive_set_peer(ctx, key_pkey(peer)) > 0 &&
	            EVP_PKEY_derive(ctx, secret, &len) > 0 && len == key_size(base);
	burn_stack();
	return done ? CKR_OK : refused();
}

static bool hash_part(EVP_MD_CTX *ctx, const EVP_MD *md, const uint8_t *secret, size_t secret_len, uint32_t counter,
                      const struct mechanism_params *params, uint8_t out[DIGEST_MAX])
{
	const uint8_t number[4] = {(uint8_t)(counter >> 24), (uint8_t)(counter >> 16), (uint8_t)(counter >> 8),
	                           (uint8_t)counter};

	return EVP_DigestInit_ex2(ctx, md, NULL) && EVP_DigestUpdate(ctx, secret, secret_len) &&
	       EVP_DigestUpdate(ctx, number, sizeof(number)) &&
	       EVP_DigestUpdate(ctx, params->label, params->label_len) && EVP_DigestFinal_ex(ctx, out, NULL);
}

/*
 * ANSI X9.63 (SEC 1 section 3.6.1): hash(secret || counter || shared data), from 1 on. libcrypto 3.0 has it as a KDF,
 * but that one takes the process down when it gets no memory (x963kdf_new() uses what it was refused).
 */
static CK_RV stretch(const struct mechanism_params *params, const uint8_t *secret, size_t secret_len, uint8_t *out,
                     size_t len)
{
	const EVP_MD *md = digest_md(params->digest);
	auto_md_ctx *ctx = EVP_MD_CTX_new();
	uint8_t part[DIGEST_MAX];
	CK_RV rv = CKR_OK;

	if (!md || !ctx)
		return CKR_HOST_MEMORY;
	for (uint32_t counter = 1; rv == CKR_OK && len > 0; counter++) {
		size_t taken = len < digest_size(params->digest) ? len : digest_size(params->digest);
		if (!hash_part(ctx, md, secret, secret_len, counter, params, part))
			rv = refused();
		memcpy(out, part, taken);
		out += taken;
		len -= taken;
	}
	OPENSSL_cleanse(part, sizeof(part));
	return rv;
}

static CK_RV derive(const struct mechanism_params *params, const struct key *base, const struct key_wanted *wanted,
                    struct key **ret)
{
	uint8_t secret[FIELD_MAX], stretched[KEY_SECRET_MAX];
	auto_key *peer = NULL;
	size_t field = key_size(base), len = wanted->len;

	CK_RV rv = read_peer(base, params, &peer);
	if (rv == CKR_OK)
		rv = agree(base, peer, secret);
	if (rv == CKR_OK && params->digest != DIGEST_NONE)
		rv = stretch(params, secret, field, stretched, len);
	if (rv == CKR_OK) {
		if (len == 0)
			len = field;
		const uint8_t *value = params->digest != DIGEST_NONE ? stretched : secret + field - len;
		rv = key_new_secret(value, len, wanted->type, wanted->uses, ret);
	}
	OPENSSL_cleanse(secret, sizeof(secret));
	OPENSSL_cleanse(stretched, sizeof(stretched));
	return rv == CKR_KEY_TYPE_INCONSISTENT ? CKR_TEMPLATE_INCONSISTENT : rv;
}

static CK_RV check_wanted(const struct mechanism_params *params, const struct key *base,
                          const struct key_wanted *wanted)
{
	if (params->digest == DIGEST_NONE)
		return wanted->len > key_size(base) ? CKR_KEY_SIZE_RANGE : CKR_OK;
	if (wanted->len == 0)
		return CKR_TEMPLATE_INCOMPLETE;
	return wanted->len > KEY_SECRET_MAX ? CKR_KEY_SIZE_RANGE : CKR_OK;
}

CK_RV key_derive(const CK_MECHANISM *mechanism, const struct key *base, const struct key_wanted *wanted,
                 struct key **ret)
{
	static const struct mechanism_policy any = {.rsa_pkcs1_decrypt = true}; /* no policy is about ECDH */
	struct mechanism_params params;

	const struct mechanism *row = mechanism_find(mechanism->mechanism, &any);
	if (!row || !(row->flags & CKF_DERIVE))
		return CKR_MECHANISM_INVALID;
	if (!mechanism_takes(row, key_type(base)) || !key_is_private(base))
		return CKR_KEY_TYPE_INCONSISTENT;
	if (!(key_uses(base) & KEY_USE_DERIVE))
		return CKR_KEY_FUNCTION_NOT_PERMITTED;
	CK_RV rv = mechanism_params(row, mechanism, key_bits(base), &params);
	if (rv == CKR_OK)
		rv = check_wanted(&params, base, wanted);
	if (rv != CKR_OK)
		return rv;
	ERR_set_mark();
	rv = derive(&params, base, wanted, ret);
	ERR_pop_to_mark();
	return rv;
}
