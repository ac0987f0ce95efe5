/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/tpm_structure.h"

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <tss2/tss2_mu.h>

#include <inttypes.h>
#include <string.h>

#define RSA_BITS 2048
#define EXPONENT 65537 /* what a TPM means by 0 */

AUTO_OSSL(param_bld, OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)
AUTO_OSSL(params, OSSL_PARAM, OSSL_PARAM_free)
#define auto_param_bld __attribute__((cleanup(param_bld_done))) OSSL_PARAM_BLD
#define auto_params    __attribute__((cleanup(params_done))) OSSL_PARAM

/* --- Public areas --- */

static skr_status read_public(const struct buf *in, TPMT_PUBLIC *ret)
{
	TPM2B_PUBLIC public_area = {0};
	size_t at = 0;

	TSS2_RC rc = Tss2_MU_TPM2B_PUBLIC_Unmarshal(in->data, in->len, &at, &public_area);
	if (rc)
		return FAIL(137, "a public area breaks off at offset %zu of %zu (tpm2-tss: 0x%x)", at, in->len, rc);
	if (at != in->len || public_area.size != in->len - sizeof(UINT16))
		return FAIL(137, "a public area ends at offset %zu of %zu, and its size field says %u", at, in->len,
		            public_area.size);
	*ret = public_area.publicArea;
	return OK;
}

skr_status tpm_public_name(const struct buf *public_area, uint8_t ret[TPM_NAME_SIZE])
{
	TPMT_PUBLIC public;
	size_t at = 0;

	TRY(read_public(public_area, &public));
	if (public.nameAlg != TPM2_ALG_SHA256)
		return FAIL(137, "a public area's name algorithm is %04x, not SHA-256", public.nameAlg);
	(void)Tss2_MU_UINT16_Marshal(TPM2_ALG_SHA256, ret, TPM_NAME_SIZE, &at);
	return sha256(public_area->data + sizeof(UINT16), public_area->len - sizeof(UINT16), ret + at);
}

static skr_status rsa_key(const TPM2B_PUBLIC_KEY_RSA *modulus, UINT32 exponent, EVP_PKEY **ret)
{
	auto_bn *n = BN_bin2bn(modulus->buffer, modulus->size, NULL);
	auto_param_bld *builder = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;

	if (!n || !builder || !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) ||
	    !OSSL_PARAM_BLD_push_uint(builder, OSSL_PKEY_PARAM_RSA_E, exponent ? exponent : EXPONENT))
		return FAIL(14, "a key of the TPM");
	auto_params *params = OSSL_PARAM_BLD_to_param(builder);
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);
	if (!params || !ctx)
		return FAIL(14, "a key of the TPM");
	if (EVP_PKEY_fromdata_init(ctx) <= 0 || EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
		return ossl_fail(147, "the attestation key");
	*ret = key;
	return OK;
}

/* What makes a signature of it worth something: it never leaves the TPM, and signs nothing that comes from outside. */
#define AK_MUST                                                                                                      \
	(TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_RESTRICTED | \
	 TPMA_OBJECT_SIGN_ENCRYPT)
#define AK_MUST_NOT TPMA_OBJECT_DECRYPT

static skr_status check_attestation_key(const TPMT_PUBLIC *public)
{
	const TPMS_RSA_PARMS *rsa = &public->parameters.rsaDetail;

	if (public->type != TPM2_ALG_RSA || public->nameAlg != TPM2_ALG_SHA256)
		return FAIL(147, "the attestation key is of type %04x with names by %04x, not RSA by SHA-256",
		            public->type, public->nameAlg);
	if ((public->objectAttributes & (AK_MUST | AK_MUST_NOT)) != AK_MUST)
		return FAIL(147,
		            "the attestation key's attributes, 0x%08" PRIx32 ", are not those of a restricted signing"
		            " key of this TPM",
		            public->objectAttributes);
	if (rsa->scheme.scheme != TPM2_ALG_RSASSA || rsa->scheme.details.rsassa.hashAlg != TPM2_ALG_SHA256)
		return FAIL(147, "the attestation key signs by scheme %04x with %04x, not RSASSA with SHA-256",
		            rsa->scheme.scheme, rsa->scheme.details.rsassa.hashAlg);
	if (rsa->keyBits != RSA_BITS || public->unique.rsa.size != RSA_BITS / 8 ||
	    !(public->unique.rsa.buffer[0] & 0x80))
		return FAIL(147, "the attestation key has %u bits in %u bytes, not %d", rsa->keyBits,
		            public->unique.rsa.size, RSA_BITS);
	return OK;
}

skr_status tpm_attestation_key(const struct buf *public_area, EVP_PKEY **ret)
{
	TPMT_PUBLIC public;

	TRY(read_public(public_area, &public));
	TRY(check_attestation_key(&public));
	return rsa_key(&public.unique.rsa, public.parameters.rsaDetail.exponent, ret);
}

/* --- PCRs --- */

static TPML_PCR_SELECTION selection_of(uint32_t mask)
{
	return (TPML_PCR_SELECTION){
	    .count = 1,
	    .pcrSelections = {{.hash = TPM2_ALG_SHA256,
	                       .sizeofSelect = 3,
	                       .pcrSelect = {(BYTE)mask, (BYTE)(mask >> 8), (BYTE)(mask >> 16)}}},
	};
}

skr_status tpm_pcr_digest(const uint8_t (*values)[32], size_t count, uint8_t ret[32])
{
	return sha256(values, count * sizeof(*values), ret);
}

/* TPM2_PolicyPCR, Part 3 section 23.7: what the policy session's digest becomes, from a digest of zeros. */
skr_status tpm_pcr_policy(uint32_t mask, const uint8_t pcr_digest[32], uint8_t ret[32])
{
	TPML_PCR_SELECTION selection = selection_of(mask);
	uint8_t input[32 + 4 + sizeof(selection) + 32] = {0};
	size_t at = 32;

	if (Tss2_MU_TPM2_CC_Marshal(TPM2_CC_PolicyPCR, input, sizeof(input), &at) ||
	    Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, input, sizeof(input), &at))
		return FAIL(599, "the policy of PCRs %06" PRIx32, mask);
	memcpy(input + at, pcr_digest, 32);
	return sha256(input, at + 32, ret);
}

/* --- The transport key --- */

/* userWithAuth is clear: the policy alone lets it be used. */
#define TRANSPORT_ATTRIBUTES                                                                                   \
	(TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT | TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_NODA | \
	 TPMA_OBJECT_DECRYPT)
_Static_assert(TRANSPORT_ATTRIBUTES == 0x00020432, "what MAA's clients send");

static TPMT_PUBLIC transport_public(const uint8_t policy[32])
{
	TPMT_PUBLIC public = {
	    .type = TPM2_ALG_RSA,
	    .nameAlg = TPM2_ALG_SHA256,
	    .objectAttributes = TRANSPORT_ATTRIBUTES,
	    .authPolicy = {.size = 32},
	    .parameters.rsaDetail = {.symmetric = {.algorithm = TPM2_ALG_NULL},
	                             .scheme = {.scheme = TPM2_ALG_NULL},
	                             .keyBits = RSA_BITS},
	    .unique.rsa = {.size = GUEST_TRANSPORT},
	};
	memcpy(public.authPolicy.buffer, policy, 32);
	return public;
}

static skr_status print_public(const TPMT_PUBLIC *public, struct buf *ret)
{
	TPM2B_PUBLIC whole = {.publicArea = *public};
	size_t at = 0;
	uint8_t *place;

	TRY(buf_reserve(ret, sizeof(whole), &place));
	if (Tss2_MU_TPM2B_PUBLIC_Marshal(&whole, place, sizeof(whole), &at))
		return FAIL(599, "the transport key's template");
	ret->len += at;
	return OK;
}

skr_status tpm_transport_template(const uint8_t policy[32], struct buf *ret)
{
	TPMT_PUBLIC public = transport_public(policy);

	TRY(random_bytes(public.unique.rsa.buffer, GUEST_TRANSPORT));
	return print_public(&public, ret);
}

/* Equal to what was asked for, but for the number that makes it a key. */
skr_status tpm_transport_check(const struct buf *public_area, const uint8_t policy[32])
{
	TPMT_PUBLIC public, asked = transport_public(policy);
	auto_buf expected = BUF(2 * TPM_PUBLIC_SIZE);

	TRY(read_public(public_area, &public));
	asked.unique = public.unique;
	TRY(print_public(&asked, &expected));
	if (public.type != TPM2_ALG_RSA || public.unique.rsa.size != GUEST_TRANSPORT ||
	    !(public.unique.rsa.buffer[0] & 0x80) || expected.len != public_area->len ||
	    memcmp(expected.data, public_area->data, expected.len) != 0)
		return FAIL(150,
		            "the transport key that the TPM made is not the one asked for (attributes 0x%08" PRIx32 ")",
		            public.objectAttributes);
	return OK;
}

/* --- What the attestation key signed --- */

static skr_status verify_signature(const struct buf *signed_data, const struct buf *signature, EVP_PKEY *key,
                                   const char *what)
{
	auto_md_ctx *ctx = EVP_MD_CTX_new();

	/* RSA's default padding is PKCS #1 v1.5, which is RSASSA. */
	if (!ctx || EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", ossl, NULL, key, NULL) != 1)
		return ossl_fail(599, "verifying the TPM's signature");
	if (EVP_DigestVerify(ctx, signature->data, signature->len, signed_data->data, signed_data->len) != 1)
		return ossl_fail(150, what);
	return OK;
}

static skr_status read_attest(const struct buf *in, TPMI_ST_ATTEST type, TPMS_ATTEST *ret)
{
	TPMS_ATTEST attest = {0};
	size_t at = 0;

	TSS2_RC rc = Tss2_MU_TPMS_ATTEST_Unmarshal(in->data, in->len, &at, &attest);
	if (rc)
		return FAIL(137, "an attestation structure breaks off at offset %zu of %zu (tpm2-tss: 0x%x)", at,
		            in->len, rc);
	if (at != in->len)
		return FAIL(137, "an attestation structure ends at offset %zu of %zu", at, in->len);
	if (attest.magic != TPM2_GENERATED_VALUE || attest.type != type)
		return FAIL(150, "an attestation structure begins with %08" PRIx32 " and is of type %04x, not %04x",
		            attest.magic, attest.type, type);
	*ret = attest;
	return OK;
}

static bool is_selection(const TPML_PCR_SELECTION *selection, uint32_t mask)
{
	TPML_PCR_SELECTION expected = selection_of(mask);
	const TPMS_PCR_SELECTION *one = &selection->pcrSelections[0], *other = &expected.pcrSelections[0];

	return selection->count == 1 && one->hash == other->hash && one->sizeofSelect == other->sizeofSelect &&
	       memcmp(one->pcrSelect, other->pcrSelect, other->sizeofSelect) == 0;
}

skr_status tpm_quote_check(const struct buf *quote, const struct buf *signature, EVP_PKEY *key, uint32_t mask,
                           const uint8_t pcr_digest[32], bool *ret_current)
{
	TPMS_ATTEST attest;

	TRY(verify_signature(quote, signature, key, "the quote is not signed by the attestation key"));
	TRY(read_attest(quote, TPM2_ST_ATTEST_QUOTE, &attest));
	const TPMS_QUOTE_INFO *info = &attest.attested.quote;
	if (!is_selection(&info->pcrSelect, mask))
		return FAIL(150, "the quote is over other PCRs than asked for");
	if (info->pcrDigest.size != 32)
		return FAIL(150, "the quote's PCR digest has %u bytes", info->pcrDigest.size);
	*ret_current = memcmp(info->pcrDigest.buffer, pcr_digest, 32) == 0;
	return OK;
}

skr_status tpm_certify_check(const struct buf *certify, const struct buf *signature, EVP_PKEY *key,
                             const uint8_t name[TPM_NAME_SIZE])
{
	TPMS_ATTEST attest;

	TRY(verify_signature(certify, signature, key, "the certification is not signed by the attestation key"));
	TRY(read_attest(certify, TPM2_ST_ATTEST_CERTIFY, &attest));
	const TPM2B_NAME *certified = &attest.attested.certify.name;
	if (certified->size != TPM_NAME_SIZE || memcmp(certified->name, name, TPM_NAME_SIZE) != 0)
		return FAIL(150, "the certification is of another key");
	return OK;
}
