/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/mechanism.h"

#include <openssl/rsa.h>

static const struct {
	CK_MECHANISM_TYPE hash;
	CK_RSA_PKCS_MGF_TYPE mgf;
} names[DIGEST_COUNT] = {
    [DIGEST_SHA1] = {CKM_SHA_1, CKG_MGF1_SHA1},      [DIGEST_SHA224] = {CKM_SHA224, CKG_MGF1_SHA224},
    [DIGEST_SHA256] = {CKM_SHA256, CKG_MGF1_SHA256}, [DIGEST_SHA384] = {CKM_SHA384, CKG_MGF1_SHA384},
    [DIGEST_SHA512] = {CKM_SHA512, CKG_MGF1_SHA512},
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

static CK_RV oaep_params(const CK_MECHANISM *given, unsigned key_bits, struct mechanism_params *params)
{
	const CK_RSA_PKCS_OAEP_PARAMS *oaep = given->pParameter;

	(void)key_bits; /* 2048 are enough for every digest here */
	if (!oaep || given->ulParameterLen != sizeof(*oaep))
		return CKR_MECHANISM_PARAM_INVALID;
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

#define SIGNS    (CKF_SIGN | CKF_VERIFY)
#define ENCRYPTS (CKF_ENCRYPT | CKF_DECRYPT)
#define CURVES   (CKF_EC_F_P | CKF_EC_NAMEDCURVE | CKF_EC_UNCOMPRESS)
#define RSA_BITS CKK_RSA, 2048, 8192
#define EC_BITS  CKK_EC, 256, 521
#define NO_BITS  NO_KEY, 0, 0

/* clang-format off */
static const struct mechanism mechanisms[] = {
	/* type                    key, bits  flags             digest         padding                 params */
	{CKM_RSA_PKCS,             RSA_BITS, SIGNS | ENCRYPTS, DIGEST_NONE,   RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA1_RSA_PKCS,        RSA_BITS, SIGNS,            DIGEST_SHA1,   RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA224_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA224, RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA256_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA256, RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA384_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA384, RSA_PKCS1_PADDING,      NULL},
	{CKM_SHA512_RSA_PKCS,      RSA_BITS, SIGNS,            DIGEST_SHA512, RSA_PKCS1_PADDING,      NULL},
	{CKM_RSA_PKCS_PSS,         RSA_BITS, SIGNS,            DIGEST_NONE,   RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_SHA256_RSA_PKCS_PSS,  RSA_BITS, SIGNS,            DIGEST_SHA256, RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_SHA384_RSA_PKCS_PSS,  RSA_BITS, SIGNS,            DIGEST_SHA384, RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_SHA512_RSA_PKCS_PSS,  RSA_BITS, SIGNS,            DIGEST_SHA512, RSA_PKCS1_PSS_PADDING,  pss_params},
	{CKM_RSA_PKCS_OAEP,        RSA_BITS, ENCRYPTS,         DIGEST_NONE,   RSA_PKCS1_OAEP_PADDING, oaep_params},
	{CKM_RSA_X_509,            RSA_BITS, SIGNS | ENCRYPTS, DIGEST_NONE,   RSA_NO_PADDING,         NULL},
	{CKM_ECDSA,                EC_BITS,  SIGNS | CURVES,   DIGEST_NONE,   0,                      NULL},
	{CKM_ECDSA_SHA1,           EC_BITS,  SIGNS | CURVES,   DIGEST_SHA1,   0,                      NULL},
	{CKM_ECDSA_SHA224,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA224, 0,                      NULL},
	{CKM_ECDSA_SHA256,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA256, 0,                      NULL},
	{CKM_ECDSA_SHA384,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA384, 0,                      NULL},
	{CKM_ECDSA_SHA512,         EC_BITS,  SIGNS | CURVES,   DIGEST_SHA512, 0,                      NULL},
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
		flags &= ~(CK_FLAGS)CKF_DECRYPT;
	if (row->digest == DIGEST_SHA1 && !policy->allow_sha1)
		flags &= ~(CK_FLAGS)CKF_SIGN;
	return flags;
}

static bool is_offered(const struct mechanism *row, const struct mechanism_policy *policy)
{
	return mechanism_flags(row, policy) & (SIGNS | ENCRYPTS | CKF_DIGEST);
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

CK_RV mechanism_info(CK_MECHANISM_TYPE type, const struct mechanism_policy *policy, CK_MECHANISM_INFO *info)
{
	const struct mechanism *row = mechanism_find(type, policy);
	if (!row)
		return CKR_MECHANISM_INVALID;
	info->ulMinKeySize = row->min_bits;
	info->ulMaxKeySize = row->max_bits;
	info->flags = mechanism_flags(row, policy);
	return CKR_OK;
}

CK_RV mechanism_params(const struct mechanism *row, const CK_MECHANISM *given, unsigned key_bits,
                       struct mechanism_params *ret)
{
	struct mechanism_params params = {.digest = row->digest};
	CK_RV rv = CKR_OK;

	if (row->params)
		rv = row->params(given, key_bits, &params);
	else if (given->ulParameterLen != 0)
		rv = CKR_MECHANISM_PARAM_INVALID;
	if (rv == CKR_OK)
		*ret = params;
	return rv;
}
