/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/mechanism.h"

#include "crypto/key.h"

#include <openssl/rsa.h>

static const struct {
	CK_MECHANISM_TYPE hash;
	CK_RSA_PKCS_MGF_TYPE mgf;
	CK_ULONG kdf;
	CK_KEY_TYPE hmac_key;
} names[DIGEST_COUNT] = {
    [DIGEST_SHA1] = {CKM_SHA_1, CKG_MGF1_SHA1, CKD_SHA1_KDF, CKK_SHA_1_HMAC},
    [DIGEST_SHA224] = {CKM_SHA224, CKG_MGF1_SHA224, CKD_SHA224_KDF, CKK_SHA224_HMAC},
    [DIGEST_SHA256] = {CKM_SHA256, CKG_MGF1_SHA256, CKD_SHA256_KDF, CKK_SHA256_HMAC},
    [DIGEST_SHA384] = {CKM_SHA384, CKG_MGF1_SHA384, CKD_SHA384_KDF, CKK_SHA384_HMAC},
    [DIGEST_SHA512] = {CKM_SHA512, CKG_MGF1_SHA512, CKD_SHA512_KDF, CKK_SHA512_HMAC},
};

static enum digest digest_of_hash(CK_MECHANISM_TYPE hash)
{
	enum digest found = DIGEST_COUNT - 1;
	while (found != DIGEST_NONE && names[found].hash != hash)
		found--;
	return found;
}

static enum digest digest_of_mgf(CK_RSA_PKCS_MGF_TYPE mgf)
{
	enum digest found = DIGEST_COUNT - 1;
	while (found != DIGEST_NONE && names[found].mgf != mgf)
		found--;
	return found;
}

static enum digest digest_of_kdf(CK_ULONG kdf)
{
	enum digest found = DIGEST_COUNT - 1;
	while (found != DIGEST_NONE && names[found].kdf != kdf)
		found--;
	return found;
}

/* `params->digest` comes in as the row's: what the message is hashed with, if it is hashed here. */
static CK_RV pss_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	const CK_RSA_PKCS_PSS_PARAMS *pss = given->pParameter;

	if (!pss || given->ulParameterLen != sizeof(*pss))
		return CKR_MECHANISM_PARAM_INVALID;
	enum digest digest = digest_of_hash(pss->hashAlg);
	enum digest mgf = digest_of_mgf(pss->mgf);
	if (digest == DIGEST_NONE || mgf == DIGEST_NONE || (params->digest != DIGEST_NONE && params->digest != digest))
		return CKR_MECHANISM_PARAM_INVALID;

	/* RFC 8017 section 9.1.1 */
	size_t room = (key_bits - 1 + 7) / 8 - digest_size(digest) - 2;
	if (pss->sLen > room)
		return CKR_MECHANISM_PARAM_INVALID;
	params->digest = digest;
	params->mgf = mgf;
	params->salt_len = pss->sLen;
	return CKR_OK;
}

enum { LABEL_MAX = 64 * 1024 };

static CK_RV read_oaep(const CK_RSA_PKCS_OAEP_PARAMS *oaep, struct mechanism_params *params)
{
	params->digest = digest_of_hash(oaep->hashAlg);
	params->mgf = digest_of_mgf(oaep->mgf);
	if (params->digest == DIGEST_NONE || params->mgf == DIGEST_NONE)
		return CKR_MECHANISM_PARAM_INVALID;

	/* Source 0 is what callers without a label leave in a struct they have cleared. */
	bool labelled = oaep->ulSourceDataLen > 0;
	if (oaep->source != CKZ_DATA_SPECIFIED && (oaep->source != 0 || labelled))
		return CKR_MECHANISM_PARAM_INVALID;
	if (labelled && (!oaep->pSourceData || oaep->ulSourceDataLen > LABEL_MAX))
		return CKR_MECHANISM_PARAM_INVALID;
	params->label = oaep->pSourceData;
	params->label_len = oaep->ulSourceDataLen;
	return CKR_OK;
}

static CK_RV oaep_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	(void)key_bits; /* 2048 are enough for every digest here */
	if (!given->pParameter || given->ulParameterLen != sizeof(CK_RSA_PKCS_OAEP_PARAMS))
		return CKR_MECHANISM_PARAM_INVALID;
	return read_oaep(given->pParameter, params);
}

static CK_RV rsa_aes_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	const struct rsa_aes_key_wrap_params *both = given->pParameter;

	(void)key_bits;
	if (!both || given->ulParameterLen != sizeof(*both) || !both->oaep)
		return CKR_MECHANISM_PARAM_INVALID;
	if (both->aes_key_bits != 128 && both->aes_key_bits != 192 && both->aes_key_bits != 256)
		return CKR_MECHANISM_PARAM_INVALID;
	params->kek_len = both->aes_key_bits / 8;
	return read_oaep(both->oaep, params);
}

static CK_RV cbc_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	(void)key_bits;
	if (!given->pParameter || given->ulParameterLen != AES_BLOCK)
		return CKR_MECHANISM_PARAM_INVALID;
	params->iv = given->pParameter;
	params->iv_len = AES_BLOCK;
	return CKR_OK;
}

static CK_RV ctr_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	const CK_AES_CTR_PARAMS *ctr = given->pParameter;

	(void)key_bits;
	if (!ctr || given->ulParameterLen != sizeof(*ctr))
		return CKR_MECHANISM_PARAM_INVALID;
	if (ctr->ulCounterBits < 1 || ctr->ulCounterBits > 8 * AES_BLOCK)
		return CKR_MECHANISM_PARAM_INVALID;
	params->iv = ctr->cb;
	params->iv_len = AES_BLOCK;
	params->counter_bits = ctr->ulCounterBits;
	return CKR_OK;
}

/* As PKCS#11 2.40 had it at first, and some callers still do: no ulIvBits. */
struct short_gcm_params {
	CK_BYTE *iv;
	CK_ULONG iv_len;
	CK_BYTE *aad;
	CK_ULONG aad_len, tag_bits;
};

enum { GCM_IV_MAX = 128, GCM_TAG_MIN_BITS = 96, GCM_TAG_MAX_BITS = 128 }; /* SP 800-38D sections 5.2.1.1 and 5.2.1.2 */

static CK_RV read_gcm(const struct short_gcm_params *gcm, struct mechanism_params *params)
{
	if (!gcm->iv || gcm->iv_len < 1 || gcm->iv_len > GCM_IV_MAX)
		return CKR_MECHANISM_PARAM_INVALID;
	if ((!gcm->aad && gcm->aad_len) || gcm->aad_len > LABEL_MAX)
		return CKR_MECHANISM_PARAM_INVALID;
	if (gcm->tag_bits < GCM_TAG_MIN_BITS || gcm->tag_bits > GCM_TAG_MAX_BITS || gcm->tag_bits % 8)
		return CKR_MECHANISM_PARAM_INVALID;
	params->iv = gcm->iv;
	params->iv_len = gcm->iv_len;
	params->label = gcm->aad;
	params->label_len = gcm->aad_len;
	params->tag_len = gcm->tag_bits / 8;
	return CKR_OK;
}

static CK_RV gcm_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	const CK_GCM_PARAMS *gcm = given->pParameter;

	(void)key_bits;
	if (gcm && given->ulParameterLen == sizeof(struct short_gcm_params))
		return read_gcm(given->pParameter, params);
	if (!gcm || given->ulParameterLen != sizeof(*gcm))
		return CKR_MECHANISM_PARAM_INVALID;
	/* ulIvBits is not looked at: callers leave it zero or say bytes there. */
	struct short_gcm_params same = {gcm->iv_ptr, gcm->iv_len, gcm->aad_ptr, gcm->aad_len, gcm->tag_bits};
	return read_gcm(&same, params);
}

/* `params->tag_len` comes in as the whole MAC's. */
static CK_RV mac_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	const CK_ULONG *len = given->pParameter;

	(void)key_bits;
	if (!len || given->ulParameterLen != sizeof(*len) || *len < 1 || *len > params->tag_len)
		return CKR_MECHANISM_PARAM_INVALID;
	params->tag_len = *len;
	return CKR_OK;
}

static CK_RV ecdh_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	const CK_ECDH1_DERIVE_PARAMS *ecdh = given->pParameter;

	(void)key_bits;
	if (!ecdh || given->ulParameterLen != sizeof(*ecdh))
		return CKR_MECHANISM_PARAM_INVALID;
	params->digest = digest_of_kdf(ecdh->kdf);
	if (params->digest == DIGEST_NONE && (ecdh->kdf != CKD_NULL || ecdh->shared_data_len))
		return CKR_MECHANISM_PARAM_INVALID;
	if (ecdh->shared_data_len > LABEL_MAX || (!ecdh->shared_data && ecdh->shared_data_len))
		return CKR_MECHANISM_PARAM_INVALID;
	if (!ecdh->public_data)
		return CKR_MECHANISM_PARAM_INVALID;
	params->label = ecdh->shared_data;
	params->label_len = ecdh->shared_data_len;
	params->iv = ecdh->public_data;
	params->iv_len = ecdh->public_data_len;
	return CKR_OK;
}

#define SIGNS    (CKF_SIGN | CKF_VERIFY)
#define ENCRYPTS (CKF_ENCRYPT | CKF_DECRYPT)
#define WRAPS    (CKF_WRAP | CKF_UNWRAP)
#define CURVES   (CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS)
#define RSA_BITS CKK_RSA, 2048, 8192
#define RSA_PAIR CKK_RSA, 2048, 4096
#define EC_BITS  CKK_EC, 256, 521
#define AES_BITS CKK_AES, 128, 256
#define ANY_BITS CKK_GENERIC_SECRET, 8, 8 * KEY_SECRET_MAX
#define NO_BITS  NO_KEY, 0, 0

/* clang-format off */
static const struct mechanism mechanisms[] = {
	/* type                    key, bits  flags             digest         padding                 params */
	{CKM_RSA_PKCS,             RSA_BITS, SIGNS | ENCRYPTS | WRAPS, DIGEST_NONE, RSA_PKCS1_PADDING, NULL},
	{CKM_SHA1_RSA_PKCS,        RSA_BITS, SIGNS,            DIGEST_SHA1,   RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA224_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA224, RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA256_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA256, RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA384_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA384, RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA512_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA512, RSA_PKCS1_PADDING,      NULL},
	{CKM_RSA_PKCS_PSS,         RSA_BITS, SIGNS,            DIGEST_NONE,   RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_SHA256_RSA_PKCS_PSS,  RSA_BITS, SIGNS,            DIGEST_SHA256, RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_SHA384_RSA_PKCS_PSS,  RSA_BITS, SIGNS,            DIGEST_SHA384, RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_SHA512_RSA_PKCS_PSS,  RSA_BITS, SIGNS,            DIGEST_SHA512, RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_RSA_PKCS_OAEP,        RSA_BITS, ENCRYPTS | WRAPS, DIGEST_NONE,   RSA_PKCS1_OAEP_PADDING, oaep_params},
	{CKM_RSA_AES_KEY_WRAP,     RSA_BITS, WRAPS,            DIGEST_NONE,   RSA_PKCS1_OAEP_PADDING, rsa_aes_params},
	{CKM_RSA_X_509,            RSA_BITS, SIGNS | ENCRYPTS, DIGEST_NONE,   RSA_NO_PADDING,         NULL},
	{CKM_ECDSA,                EC_BITS,  SIGNS | CURVES,   DIGEST_NONE,   0,                      NULL},
	{CKM_ECDSA_SHA1,           EC_BITS,  SIGNS | CURVES,   DIGEST_SHA1,   0,                      NULL},
	{CKM_ECDSA_SHA224,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA224, 0,                      NULL},
	{CKM_ECDSA_SHA256,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA256, 0,                      NULL},
	{CKM_ECDSA_SHA384,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA384, 0,                      NULL},
	{CKM_ECDSA_SHA512,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA512, 0,                      NULL},
	{CKM_ECDH1_DERIVE,         EC_BITS,  CKF_DERIVE | CURVES, DIGEST_NONE, 0,                     ecdh_params},
	{CKM_ECDH1_COFACTOR_DERIVE, EC_BITS, CKF_DERIVE | CURVES, DIGEST_NONE, 0,                     ecdh_params},
	{CKM_AES_ECB,              AES_BITS, ENCRYPTS,         DIGEST_NONE,   0,                      NULL},
	{CKM_AES_CBC,              AES_BITS, ENCRYPTS,         DIGEST_NONE,   0,                      cbc_params},
	{CKM_AES_CBC_PAD,          AES_BITS, ENCRYPTS | WRAPS, DIGEST_NONE,   0,                      cbc_params},
	{CKM_AES_CTR,              AES_BITS, ENCRYPTS,         DIGEST_NONE,   0,                      ctr_params},
	{CKM_AES_GCM,              AES_BITS, ENCRYPTS,         DIGEST_NONE,   0,                      gcm_params},
	{CKM_AES_KEY_WRAP,         AES_BITS, WRAPS,            DIGEST_NONE,   0,                      NULL},
	{CKM_AES_KEY_WRAP_PAD,     AES_BITS, WRAPS,            DIGEST_NONE,   0,                      NULL},
	{CKM_AES_KEY_WRAP_KWP,     AES_BITS, WRAPS,            DIGEST_NONE,   0,                      NULL},
	{CKM_AES_CMAC,             AES_BITS, SIGNS,            DIGEST_NONE,   0,                      NULL},
	{CKM_AES_CMAC_GENERAL,     AES_BITS, SIGNS,            DIGEST_NONE,   0,                      mac_params},
	{CKM_SHA_1_HMAC,           ANY_BITS, SIGNS,            DIGEST_SHA1,   0,                      NULL},
	{CKM_SHA_1_HMAC_GENERAL,   ANY_BITS, SIGNS,            DIGEST_SHA1,   0,                      mac_params},
	{CKM_SHA224_HMAC,          ANY_BITS, SIGNS,            DIGEST_SHA224, 0,                      NULL},
	{CKM_SHA224_HMAC_GENERAL,  ANY_BITS, SIGNS,            DIGEST_SHA224, 0,                      mac_params},
	{CKM_SHA256_HMAC,          ANY_BITS, SIGNS,            DIGEST_SHA256, 0,                      NULL},
	{CKM_SHA256_HMAC_GENERAL,  ANY_BITS, SIGNS,            DIGEST_SHA256, 0,                      mac_params},
	{CKM_SHA384_HMAC,          ANY_BITS, SIGNS,            DIGEST_SHA384, 0,                      NULL},
	{CKM_SHA384_HMAC_GENERAL,  ANY_BITS, SIGNS,            DIGEST_SHA384, 0,                      mac_params},
	{CKM_SHA512_HMAC,          ANY_BITS, SIGNS,            DIGEST_SHA512, 0,                      NULL},
	{CKM_SHA512_HMAC_GENERAL,  ANY_BITS, SIGNS,            DIGEST_SHA512, 0,                      mac_params},
	{CKM_RSA_PKCS_KEY_PAIR_GEN, RSA_PAIR, CKF_GENERATE_KEY_PAIR, DIGEST_NONE, 0,                  NULL},
	{CKM_EC_KEY_PAIR_GEN,      EC_BITS,  CKF_GENERATE_KEY_PAIR | CURVES, DIGEST_NONE, 0,          NULL},
	{CKM_AES_KEY_GEN,          AES_BITS, CKF_GENERATE,     DIGEST_NONE,   0,                      NULL},
	{CKM_GENERIC_SECRET_KEY_GEN, ANY_BITS, CKF_GENERATE,   DIGEST_NONE,   0,                      NULL},
	{CKM_SHA_1,                NO_BITS,  CKF_DIGEST,       DIGEST_SHA1,   0,                      NULL},
	{CKM_SHA224,               NO_BITS,  CKF_DIGEST,       DIGEST_SHA224, 0,                      NULL},
	{CKM_SHA256,               NO_BITS,  CKF_DIGEST,       DIGEST_SHA256, 0,                      NULL},
	{CKM_SHA384,               NO_BITS,  CKF_DIGEST,       DIGEST_SHA384, 0,                      NULL},
	{CKM_SHA512,               NO_BITS,  CKF_DIGEST,       DIGEST_SHA512, 0,                      NULL},
};
/* clang-format on */

enum { MECHANISMS = sizeof(mechanisms) / sizeof(mechanisms[0]) };

CK_FLAGS mechanism_flags(const struct mechanism *row, const struct mechanism_policy *policy)
{
	CK_FLAGS flags = row->flags;

	if (row->padding == RSA_NO_PADDING && !policy->allow_raw_rsa)
		flags &= ~(SIGNS | ENCRYPTS);
	if (row->type == CKM_RSA_PKCS && !policy->rsa_pkcs1_decrypt)
		flags &= ~(CK_FLAGS)(CKF_DECRYPT | CKF_UNWRAP);
	if (row->digest == DIGEST_SHA1 && !policy->allow_sha1 && !mechanism_is_mac(row)) /* HMAC needs no collisions */
		flags &= ~(CK_FLAGS)CKF_SIGN;
	return flags;
}

static bool is_offered(const struct mechanism *row, const struct mechanism_policy *policy)
{
	return mechanism_flags(row, policy) &
	       (SIGNS | ENCRYPTS | WRAPS | CKF_DIGEST | CKF_DERIVE | CKF_GENERATE | CKF_GENERATE_KEY_PAIR);
}

const struct mechanism *mechanism_find(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy)
{
	for (int i = 0; i < MECHANISMS; i++)
		if (mechanisms[i].type == type)
			return is_offered(&mechanisms[i], policy) ? &mechanisms[i] : NULL;
	return NULL;
}

CK_RV mechanism_list(const struct mechanism_policy *policy, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
	CK_ULONG room = list ? *count : 0;
	CK_ULONG offered = 0;

	for (int i = 0; i < MECHANISMS; i++)
		if (is_offered(&mechanisms[i], policy))
			offered++;
	*count = offered;
	if (!list)
		return CKR_OK;
	if (room < offered)
		return CKR_BUFFER_TOO_SMALL;
	for (int i = 0; i < MECHANISMS; i++)
		if (is_offered(&mechanisms[i], policy))
			*list++ = mechanisms[i].type;
	return CKR_OK;
}

/* PKCS#11 2.40 mechanisms counts AES keys and HMAC keys in bytes, all others in bits. */
static CK_ULONG bits_per_unit(const struct mechanism *row)
{
	return row->key == CKK_AES || mechanism_is_mac(row) ? 8 : 1;
}

CK_RV mechanism_info(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy, CK_MECHANISM_INFO *info)
{
	const struct mechanism *row = mechanism_find(type, policy);
	if (!row)
		return CKR_MECHANISM_INVALID;
	info->ulMinKeySize = row->min_bits / bits_per_unit(row);
	info->ulMaxKeySize = row->max_bits / bits_per_unit(row);
	info->flags = mechanism_flags(row, policy);
	return CKR_OK;
}

bool mechanism_takes(const struct mechanism *row, CK_KEY_TYPE type)
{
	if (row->key == CKK_GENERIC_SECRET && row->digest != DIGEST_NONE && type == names[row->digest].hmac_key)
		return true;
	return row->key == type;
}

/* Bytes of the whole MAC. */
static size_t mac_size(const struct mechanism *row)
{
	return row->key == CKK_AES ? AES_BLOCK : digest_size(row->digest);
}

CK_RV mechanism_params(const struct mechanism *row, const CK_MECHANISM *given, unsigned key_bits,
                       struct mechanism_params *ret)
{
	struct mechanism_params params = {.digest = row->digest};
	CK_RV rv = CKR_OK;

	if (mechanism_is_mac(row))
		params.tag_len = mac_size(row);
	if (row->params)
		rv = row->params(given, key_bits, &params);
	else if (given->ulParameterLen != 0)
		rv = CKR_MECHANISM_PARAM_INVALID;
	if (rv == CKR_OK)
		*ret = params;
	return rv;
}
