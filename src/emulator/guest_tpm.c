/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/guest_tpm.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>

#include <stdbool.h>
#include <string.h>

enum { ALG_RSA = 0x0001, ALG_RSAES = 0x0015 };
enum { ATTEST_MAGIC = 0xFF544347, ATTEST_CERTIFY = 0x8017, ATTEST_QUOTE = 0x8018 };
enum { CC_POLICY_PCR = 0x0000017F };

/* What is left to read, big-endian. Reading beyond the end gives zeros and is remembered, so it is asked once. */
struct reader {
	const uint8_t *at;
	size_t left;
	bool beyond;
};

static const uint8_t *take(struct reader *r, size_t len)
{
	const uint8_t *at = r->at;
	if (r->left < len) {
		r->beyond = true;
		r->left = 0;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return at;
}

static uint32_t take_number(struct reader *r, size_t bytes)
{
	const uint8_t *at = take(r, bytes);
	uint32_t number = 0;
	for (size_t i = 0; at && i < bytes; i++)
		number = number << 8 | at[i];
	return number;
}

/* A TPM2B: its bytes, with their number. */
static const uint8_t *take_sized(struct reader *r, size_t *ret_len)
{
	*ret_len = take_number(r, 2);
	return take(r, *ret_len);
}

static skr_status check_end(const struct reader *r, const char *what)
{
	if (r->beyond)
		return FAIL(117, "the %s ends in the middle", what);
	return r->left == 0 ? OK : FAIL(117, "%zu bytes stand behind the %s", r->left, what);
}

/* ---- public areas ---- */

static skr_status rsa_key(const uint8_t *modulus, size_t len, uint32_t exponent, EVP_PKEY **ret)
{
	auto_bn *n = BN_bin2bn(modulus, (int)len, NULL), *e = BN_new();
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);

	if (n && e && build && BN_set_word(e, exponent) == 1 && OSSL_PARAM_BLD_push_BN(build, "n", n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(build, "e", e) == 1)
		params = OSSL_PARAM_BLD_to_param(build);
	int made = params && ctx && EVP_PKEY_fromdata_init(ctx) == 1 &&
	           EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) == 1;
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	return made ? OK : ossl_fail(117, "the key of a public area");
}

/* TPMT_RSA_SCHEME: what has a hash names it. */
static void take_scheme(struct reader *r, struct tpm_public *out)
{
	out->scheme = (uint16_t)take_number(r, 2);
	if (out->scheme != TPM_NULL && out->scheme != ALG_RSAES)
		out->scheme_hash = (uint16_t)take_number(r, 2);
}

/* TPMS_RSA_PARMS and the modulus, for a key that protects no other keys: no symmetric algorithm. */
static skr_status read_rsa(struct reader *r, struct tpm_public *out)
{
	size_t modulus_len;
	uint32_t symmetric = take_number(r, 2);
	if (symmetric != TPM_NULL)
		return FAIL(117, "the key has the symmetric algorithm 0x%04x of a storage key", symmetric);
	take_scheme(r, out);
	uint32_t bits = take_number(r, 2), exponent = take_number(r, 4);
	const uint8_t *modulus = take_sized(r, &modulus_len);

	TRY(check_end(r, "public area"));
	if (bits != 2048 || modulus_len != 256 || modulus[0] < 0x80)
		return FAIL(117, "the key is not RSA of 2048 bits");
	if (exponent != 0 && (exponent < 3 || exponent % 2 == 0))
		return FAIL(117, "the key's exponent is %u", exponent);
	return rsa_key(modulus, modulus_len, exponent ? exponent : 65537, &out->key);
}

static skr_status read_policy(struct reader *r, struct tpm_public *out)
{
	const uint8_t *policy = take_sized(r, &out->policy_len);
	if (!policy || (out->policy_len != 0 && out->policy_len != TPM_DIGEST))
		return FAIL(117, "the key's policy has %zu bytes", out->policy_len);
	memcpy(out->policy, policy, out->policy_len);
	return OK;
}

static skr_status read_public(const void *data, size_t len, struct tpm_public *out)
{
	struct reader r = {data, len, false};
	uint32_t size = take_number(&r, 2);
	if (r.beyond || size != r.left)
		return FAIL(117, "the size %u of the public area is not that of its %zu bytes", size, r.left);
	out->name[1] = TPM_SHA256;
	TRY(sha256(r.at, r.left, out->name + 2));

	uint32_t type = take_number(&r, 2), name_algorithm = take_number(&r, 2);
	if (type != ALG_RSA || name_algorithm != TPM_SHA256)
		return FAIL(117, "the key is of type 0x%04x, named by 0x%04x, not RSA by SHA-256", type,
		            name_algorithm);
	out->attributes = take_number(&r, 4);
	TRY(read_policy(&r, out));
	return read_rsa(&r, out);
}

skr_status tpm_public_read(const void *data, size_t len, struct tpm_public *ret)
{
	auto_tpm_public public = {0};
	TRY(read_public(data, len, &public));
	*ret = public;
	public.key = NULL;
	return OK;
}

/* ---- what is signed ---- */

static skr_status take_digest(struct reader *r, const char *what, size_t wanted, uint8_t *out)
{
	size_t len;
	const uint8_t *bytes = take_sized(r, &len);
	if (!bytes || len != wanted)
		return FAIL(117, "the %s has %zu bytes, not %zu", what, len, wanted);
	memcpy(out, bytes, len);
	return OK;
}

/* Up to the part that differs by type: qualified signer, extra data, clock, resets, restarts, safe, firmware. */
static skr_status read_head(struct reader *r, uint32_t wanted)
{
	size_t len;
	uint32_t magic = take_number(r, 4), type = take_number(r, 2);
	if (magic != ATTEST_MAGIC)
		return FAIL(117, "0x%08x is not the magic of what a TPM says of itself", magic);
	if (type != wanted)
		return FAIL(117, "the attestation is of type 0x%04x, not 0x%04x", type, wanted);
	take_sized(r, &len);
	take_sized(r, &len);
	take(r, 8 + 4 + 4 + 1 + 8);
	return r->beyond ? FAIL(117, "the attestation ends in the middle") : OK;
}

/* TPML_PCR_SELECTION of one bank. */
static skr_status take_selection(struct reader *r, uint32_t *ret)
{
	uint32_t banks = take_number(r, 4), bank = take_number(r, 2), size = take_number(r, 1);
	const uint8_t *map = take(r, size);
	if (!map || banks != 1 || bank != TPM_SHA256 || size != TPM_PCRS / 8)
		return FAIL(117, "the quote is not over PCRs of the SHA-256 bank alone");
	*ret = (uint32_t)map[0] | (uint32_t)map[1] << 8 | (uint32_t)map[2] << 16;
	return OK;
}

skr_status tpm_quote_read(const void *data, size_t len, struct tpm_attest *ret)
{
	struct reader r = {data, len, false};
	struct tpm_attest attest = {0};
	TRY(read_head(&r, ATTEST_QUOTE));
	TRY(take_selection(&r, &attest.pcrs));
	TRY(take_digest(&r, "digest of the PCRs", TPM_DIGEST, attest.digest));
	TRY(check_end(&r, "quote"));
	*ret = attest;
	return OK;
}

skr_status tpm_certify_read(const void *data, size_t len, struct tpm_attest *ret)
{
	struct reader r = {data, len, false};
	struct tpm_attest attest = {0};
	uint8_t qualified[TPM_NAME];
	TRY(read_head(&r, ATTEST_CERTIFY));
	TRY(take_digest(&r, "name of the key", TPM_NAME, attest.name));
	TRY(take_digest(&r, "qualified name of the key", TPM_NAME, qualified));
	TRY(check_end(&r, "certification"));
	*ret = attest;
	return OK;
}

skr_status tpm_signed(EVP_PKEY *key, const struct buf *data, const struct buf *signature)
{
	auto_md_ctx *md = EVP_MD_CTX_new();
	if (signature->len != TPM_SIGNATURE)
		return FAIL(117, "the signature has %zu bytes, not %d", signature->len, TPM_SIGNATURE);
	/* PKCS#1 v1.5 is what a verification context of an RSA key begins with. */
	int good = md && EVP_DigestVerifyInit_ex(md, NULL, "SHA256", ossl, NULL, key, NULL) == 1 &&
	           EVP_DigestVerify(md, signature->data, signature->len, data->data, data->len) == 1;
	ERR_clear_error();
	return good ? OK : FAIL(117, "the signature does not verify with the attestation key");
}

/* ---- PCRs ---- */

skr_status tpm_pcr_digest(uint32_t pcrs, const uint8_t values[TPM_PCRS][TPM_DIGEST], uint8_t ret[TPM_DIGEST])
{
	auto_buf all = BUF(TPM_PCRS * TPM_DIGEST);
	for (unsigned i = 0; i < TPM_PCRS; i++)
		if (pcrs >> i & 1)
			TRY(buf_append(&all, values[i], TPM_DIGEST));
	return sha256(all.data, all.len, ret);
}

skr_status tpm_policy_pcr(uint32_t pcrs, const uint8_t pcr_digest[TPM_DIGEST], uint8_t ret[TPM_DIGEST])
{
	/* the digest before (none), the command, one bank, its 24 PCRs */
	uint8_t text[TPM_DIGEST + 4 + 4 + 2 + 1 + 3 + TPM_DIGEST] = {0}, *at = text + TPM_DIGEST;
	const uint8_t head[] = {0, 0, CC_POLICY_PCR >> 8, CC_POLICY_PCR & 0xFF, 0, 0,
	                        0, 1, TPM_SHA256 >> 8,    TPM_SHA256 & 0xFF,    3};
	const uint8_t map[] = {(uint8_t)pcrs, (uint8_t)(pcrs >> 8), (uint8_t)(pcrs >> 16)};

	memcpy(at, head, sizeof(head));
	memcpy(at + sizeof(head), map, sizeof(map));
	memcpy(at + sizeof(head) + sizeof(map), pcr_digest, TPM_DIGEST);
	return sha256(text, sizeof(text), ret);
}
