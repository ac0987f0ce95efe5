/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/quote.h"

#include "base/base64.h"
#include "emulator/certificate.h"
#include "emulator/intel.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/x509v3.h>

#include <string.h>

const uint8_t quote_vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                  0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

/* SHA-256 of the public key of "Intel SGX Root CA", the end of the chains in tests/data/cvm. */
static const char real_root[] = "a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e";

/* ---- parts ---- */

struct part {
	const uint8_t *data;
	size_t len;
};

/* A quote taken apart; nothing in it is verified. */
struct quote {
	unsigned version;
	struct part whole; /* what the attestation key signed: header and body */
	const uint8_t *body;
	const uint8_t *signature, *attestation_key, *enclave, *enclave_signature; /* 64, 64, 384, 64 bytes */
	struct part auth, chain;
};

static uint32_t little(const uint8_t *data, size_t bytes)
{
	uint32_t value = 0;
	while (bytes-- > 0)
		value = value << 8 | data[bytes];
	return value;
}

/* Takes `len` bytes from the front. SKR-116 names them if they are not there. */
static skr_status take(struct part *rest, size_t len, const char *what, const uint8_t **ret)
{
	if (rest->len < len)
		return FAIL(116, "the quote ends in its %s: %zu bytes of %zu", what, rest->len, len);
	*ret = rest->data;
	rest->data += len;
	rest->len -= len;
	return OK;
}

static skr_status take_number(struct part *rest, size_t bytes, const char *what, uint32_t *ret)
{
	const uint8_t *place = NULL;
	TRY(take(rest, bytes, what, &place));
	*ret = little(place, bytes);
	return OK;
}

static skr_status take_part(struct part *rest, size_t len, const char *what, struct part *ret)
{
	TRY(take(rest, len, what, &ret->data));
	ret->len = len;
	return OK;
}

/* A field with one value only. */
static skr_status expect(struct part *rest, size_t bytes, const char *what, uint32_t expected)
{
	uint32_t found;
	TRY(take_number(rest, bytes, what, &found));
	return found == expected ? OK : FAIL(116, "the quote's %s is %u, not %u", what, found, expected);
}

static skr_status parse_header(struct part *rest, struct quote *quote)
{
	const uint8_t *reserved = NULL, *vendor = NULL, *user_data = NULL;
	TRY(take_number(rest, 2, "version", &quote->version));
	if (quote->version != 4 && quote->version != 5)
		return FAIL(116, "the quote's version %u is neither 4 nor 5", quote->version);
	TRY(expect(rest, 2, "attestation key type", QUOTE_KEY_ECDSA_P256));
	TRY(expect(rest, 4, "TEE type", QUOTE_TEE_TDX));
	TRY(take(rest, 4, "header", &reserved));
	TRY(take(rest, sizeof(quote_vendor), "vendor", &vendor));
	if (memcmp(vendor, quote_vendor, sizeof(quote_vendor)) != 0)
		return FAIL(116, "the quote's vendor is not Intel's quoting enclave");
	return take(rest, 20, "header", &user_data);
}

static skr_status parse_body(struct part *rest, struct quote *quote)
{
	uint32_t type = QUOTE_BODY_TDX_10, len = QUOTE_BODY_TDX_10_BYTES;
	if (quote->version == 5) {
		TRY(take_number(rest, 2, "body type", &type));
		TRY(take_number(rest, 4, "body size", &len));
	}
	if (type != QUOTE_BODY_TDX_10 && type != QUOTE_BODY_TDX_15)
		return FAIL(116, "the quote's body type %u is none of a TD's", type);
	if (len != (type == QUOTE_BODY_TDX_10 ? QUOTE_BODY_TDX_10_BYTES : QUOTE_BODY_TDX_15_BYTES))
		return FAIL(116, "the quote's body of type %u has %u bytes", type, len);
	return take(rest, len, "body", &quote->body);
}

static skr_status parse_certification(struct part rest, struct quote *quote)
{
	uint32_t len;
	TRY(take(&rest, QE_REPORT_BYTES, "enclave's report", &quote->enclave));
	TRY(take(&rest, 64, "enclave's signature", &quote->enclave_signature));
	TRY(take_number(&rest, 2, "authentication data's size", &len));
	TRY(take_part(&rest, len, "authentication data", &quote->auth));
	TRY(expect(&rest, 2, "inner certification data type", QUOTE_CERTIFICATION_CHAIN));
	TRY(take_number(&rest, 4, "chain's size", &len));
	TRY(take_part(&rest, len, "chain", &quote->chain));
	return rest.len == 0 ? OK : FAIL(116, "%zu bytes follow the quote's chain", rest.len);
}

static skr_status parse_signature_data(struct part rest, struct quote *quote)
{
	uint32_t len;
	struct part certification;
	TRY(take(&rest, 64, "signature", &quote->signature));
	TRY(take(&rest, 64, "attestation key", &quote->attestation_key));
	TRY(expect(&rest, 2, "certification data type", QUOTE_CERTIFICATION_QE_REPORT));
	TRY(take_number(&rest, 4, "certification data's size", &len));
	TRY(take_part(&rest, len, "certification data", &certification));
	if (rest.len != 0)
		return FAIL(116, "%zu bytes follow the quote's certification data", rest.len);
	return parse_certification(certification, quote);
}

/* What lies behind the signature data is let pass: Azure fills its answer with zero bytes. */
static skr_status parse_quote(const uint8_t *data, size_t len, struct quote *quote)
{
	struct part rest = {data, len}, signature_data;
	uint32_t signature_len;
	TRY(parse_header(&rest, quote));
	TRY(parse_body(&rest, quote));
	quote->whole = (struct part){data, (size_t)(rest.data - data)};
	TRY(take_number(&rest, 4, "signature data's size", &signature_len));
	TRY(take_part(&rest, signature_len, "signature data", &signature_data));
	return parse_signature_data(signature_data, quote);
}

/* ---- signatures ---- */

static void free_builder(OSSL_PARAM_BLD **builder)
{
	OSSL_PARAM_BLD_free(*builder);
}

static void free_params(OSSL_PARAM **params)
{
	OSSL_PARAM_free(*params);
}

/* x and y; SKR-117 if that is no point of P-256. */
static skr_status key_of_point(const uint8_t xy[64], EVP_PKEY **ret)
{
	uint8_t point[65] = {4};
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "EC", NULL);
	__attribute__((cleanup(free_builder))) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
	__attribute__((cleanup(free_params))) OSSL_PARAM *params = NULL;
	memcpy(point + 1, xy, 64);
	if (!ctx || !builder || OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) != 1 ||
	    OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) != 1 ||
	    !(params = OSSL_PARAM_BLD_to_param(builder)) || EVP_PKEY_fromdata_init(ctx) != 1)
		return ossl_fail(599, "the attestation key");
	if (EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) != 1) {
		ERR_clear_error();
		return FAIL(117, "the quote's attestation key is no point of P-256");
	}
	return OK;
}

/* r and s, 32 big-endian bytes each, as DER; owned by the caller. */
static skr_status signature_der(const uint8_t raw[64], uint8_t **ret, size_t *ret_len)
{
	ECDSA_SIG *signature = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, 32, NULL), *s = BN_bin2bn(raw + 32, 32, NULL);
	if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(signature);
		return ossl_fail(599, "a quote's signature");
	}
	uint8_t *der = NULL;
	int len = i2d_ECDSA_SIG(signature, &der);
	ECDSA_SIG_free(signature);
	if (len <= 0)
		return ossl_fail(599, "a quote's signature");
	*ret = der;
	*ret_len = (size_t)len;
	return OK;
}

static skr_status check_signature(EVP_PKEY *key, const void *data, size_t len, const uint8_t raw[64], const char *what)
{
	uint8_t *der;
	size_t der_len;
	TRY(signature_der(raw, &der, &der_len));
	auto_md_ctx *md = EVP_MD_CTX_new();
	int good = md && EVP_DigestVerifyInit_ex(md, NULL, "SHA256", ossl, NULL, key, NULL) == 1 &&
	           EVP_DigestVerify(md, der, der_len, data, len) == 1;
	OPENSSL_free(der);
	ERR_clear_error();
	return good ? OK : FAIL(117, "the signature of the %s does not verify", what);
}

/* The quoting enclave vouches for the attestation key: its report data is SHA-256 of key and authentication data. */
static skr_status check_binding(const struct quote *quote)
{
	uint8_t expected[64] = {0};
	auto_buf bound = BUF(TD_QUOTE_ROOM);
	TRY(buf_append(&bound, quote->attestation_key, 64));
	TRY(buf_append(&bound, quote->auth.data, quote->auth.len));
	TRY(sha256(bound.data, bound.len, expected));
	if (memcmp(quote->enclave + QE_REPORT_DATA, expected, sizeof(expected)) != 0)
		return FAIL(117, "the quoting enclave's report does not bind the attestation key");
	return OK;
}

/* ---- the chain ---- */

static skr_status check_root(X509 *root, const struct quote_trust *trust)
{
	uint8_t found[32], own[32];
	auto_buf real = BUF(32);
	TRY(certificate_spki_sha256(root, found));
	TRY(certificate_spki_sha256(trust->root, own));
	if (memcmp(found, own, sizeof(found)) == 0)
		return OK;
	TRY(hex_decode(real_root, strlen(real_root), &real));
	if (memcmp(found, real.data, sizeof(found)) != 0)
		return FAIL(117, "the root of the PCK certificate's chain is not trusted");
	if (!trust->accept_real_intel)
		return FAIL(117, "the chain ends in Intel's own root, and this emulator was not told to accept it");
	return OK;
}

static skr_status check_name(X509 *certificate, const char *expected)
{
	char found[64];
	certificate_common_name(X509_get_subject_name(certificate), found, sizeof(found));
	if (strcmp(found, expected) != 0)
		return FAIL(117, "the quote's chain has %s where %s belongs", found, expected);
	return OK;
}

/* One of Intel's two intermediates: for machines with several sockets, and with one. */
static skr_status check_intermediate(X509 *certificate)
{
	if (!check_name(certificate, "Intel SGX PCK Processor CA").failure)
		return OK;
	return check_name(certificate, "Intel SGX PCK Platform CA");
}

static skr_status check_chain(const STACK_OF(X509) *chain, const struct quote_trust *trust)
{
	if (sk_X509_num(chain) != 3)
		return FAIL(117, "the quote's chain has %d certificates, not 3", sk_X509_num(chain));
	X509 *pck = sk_X509_value(chain, 0), *issuer = sk_X509_value(chain, 1), *root = sk_X509_value(chain, 2);
	TRY(check_name(pck, "Intel SGX PCK Certificate"));
	TRY(check_intermediate(issuer));
	TRY(check_name(root, "Intel SGX Root CA"));
	TRY(check_root(root, trust));
	if (X509_check_ca(issuer) != 1 || X509_check_ca(root) != 1)
		return FAIL(117, "an issuer in the quote's chain is not an authority");
	TRY(certificate_signed_by(root, root, trust->now));
	TRY(certificate_signed_by(issuer, root, trust->now));
	return certificate_signed_by(pck, issuer, trust->now);
}

/* ---- claims ---- */

enum body_offset {
	BODY_TEE_TCB_SVN = 0,
	BODY_MRSEAM = 16,
	BODY_MRSIGNERSEAM = 64,
	BODY_SEAM_ATTRIBUTES = 112,
	BODY_TD_ATTRIBUTES = 120,
	BODY_XFAM = 128,
	BODY_MRTD = 136,
	BODY_MRCONFIGID = 184,
	BODY_MROWNER = 232,
	BODY_MROWNERCONFIG = 280,
	BODY_RTMRS = 328,
	BODY_REPORT_DATA = 520,
};

static skr_status hex_claims(const uint8_t *body, json *claims)
{
	static const struct {
		const char *name;
		size_t at, len;
	} rows[] = {
	    {"tdx_mrconfigid", BODY_MRCONFIGID, 48},
	    {"tdx_mrowner", BODY_MROWNER, 48},
	    {"tdx_mrownerconfig", BODY_MROWNERCONFIG, 48},
	    {"tdx_mrseam", BODY_MRSEAM, 48},
	    {"tdx_mrsignerseam", BODY_MRSIGNERSEAM, 48},
	    {"tdx_mrtd", BODY_MRTD, 48},
	    {"tdx_report_data", BODY_REPORT_DATA, 64},
	    {"tdx_rtmr0", BODY_RTMRS, 48},
	    {"tdx_rtmr1", BODY_RTMRS + 48, 48},
	    {"tdx_rtmr2", BODY_RTMRS + 96, 48},
	    {"tdx_rtmr3", BODY_RTMRS + 144, 48},
	    {"tdx_seam_attributes", BODY_SEAM_ATTRIBUTES, 8},
	    {"tdx_td_attributes", BODY_TD_ATTRIBUTES, 8},
	    {"tdx_tee_tcb_svn", BODY_TEE_TCB_SVN, 16},
	    {"tdx_xfam", BODY_XFAM, 8},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		auto_buf text = BUF(256);
		TRY(hex_encode(body + rows[i].at, rows[i].len, &text));
		json_set_string(claims, rows[i].name, buf_text(&text));
	}
	return OK;
}

/* Intel 344425, TD attributes. */
static void attribute_claims(const uint8_t *attributes, json *claims)
{
	static const struct {
		const char *name;
		unsigned bit;
	} rows[] = {
	    {"tdx_td_attributes_debug", 0},
	    {"tdx_td_attributes_septve_disable", 28},
	    {"tdx_td_attributes_protection_keys", 30},
	    {"tdx_td_attributes_key_locker", 31},
	    {"tdx_td_attributes_perfmon", 63},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		json_set_bool(claims, rows[i].name, attributes[rows[i].bit / 8] >> rows[i].bit % 8 & 1);
	json_set_string(claims, "dbgstat", attributes[0] & 1 ? "enabled" : "disabled");
}

static skr_status add_claims(const uint8_t *body, json *claims)
{
	json_set_string(claims, "x-ms-attestation-type", "tdxvm");
	json_set_string(claims, "attester_tcb_status", "UpToDate");
	json_set_string(claims, "eat_profile", "https://aka.ms/maa-eat-profile-tdxvm");
	json_set_string(claims, "intuse", "generic");
	/* The first two bytes of the module's security version: minor, major. */
	json_set_number(claims, "tdx_seamsvn", little(body + BODY_TEE_TCB_SVN, 2));
	attribute_claims(body + BODY_TD_ATTRIBUTES, claims);
	return hex_claims(body, claims);
}

/* ---- all of it ---- */

skr_status quote_verify(const void *data, size_t len, const struct quote_trust *trust, uint8_t report_data[64],
                        json *claims)
{
	struct quote quote = {0};
	auto_x509s *chain = NULL;
	auto_pkey *attestation_key = NULL;
	if (len > TD_QUOTE_ROOM)
		return FAIL(116, "the quote has %zu bytes, more than %d", len, TD_QUOTE_ROOM);
	TRY(parse_quote(data, len, &quote));
	if (certificates_from_pem(quote.chain.data, quote.chain.len, &chain).failure)
		return FAIL(116, "the quote's chain holds no PEM certificates");
	TRY(check_chain(chain, trust));

	EVP_PKEY *pck_key = X509_get0_pubkey(sk_X509_value(chain, 0));
	if (!pck_key || !EVP_PKEY_is_a(pck_key, "EC") || EVP_PKEY_get_bits(pck_key) != 256)
		return FAIL(117, "the PCK certificate's key is not P-256");
	TRY(check_signature(pck_key, quote.enclave, QE_REPORT_BYTES, quote.enclave_signature,
	                    "quoting enclave's report"));
	TRY(check_binding(&quote));
	TRY(key_of_point(quote.attestation_key, &attestation_key));
	TRY(check_signature(attestation_key, quote.whole.data, quote.whole.len, quote.signature, "quote"));
	TRY(add_claims(quote.body, claims));
	memcpy(report_data, quote.body + BODY_REPORT_DATA, 64);
	return OK;
}
