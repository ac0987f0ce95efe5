/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/td_quote.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/x509_vfy.h>

#include <inttypes.h>
#include <string.h>

AUTO_OSSL(store_ctx, X509_STORE_CTX, X509_STORE_CTX_free)
AUTO_OSSL(ecdsa_sig, ECDSA_SIG, ECDSA_SIG_free)
#define auto_store_ctx __attribute__((cleanup(store_ctx_done))) X509_STORE_CTX
#define auto_ecdsa_sig __attribute__((cleanup(ecdsa_sig_done))) ECDSA_SIG

#define KEY_ECDSA_P256 2
#define TEE_TDX        0x81

enum { BODY_TDX_10 = 2, BODY_TDX_10_SIZE = 584, BODY_TDX_15 = 3, BODY_TDX_15_SIZE = 648 };
enum { CERTIFICATION_PCK_CHAIN = 5, CERTIFICATION_QE_REPORT = 6 };
enum { POINT_SIZE = 64, SIGNATURE_SIZE = 64, QE_REPORT_SIZE = 384, QE_REPORT_DATA = 320 };

#define SECURITY_LEVEL 2 /* 112 bits: P-256 with SHA-256 and up */
#define CHAIN          3 /* PCK, platform or processor CA, root */

static const uint8_t intel_qe_vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
                                            0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

/* A quote taken apart; everything is borrowed from it. */
struct parts {
	struct td_quote quote;
	const uint8_t *signature, *attestation_key, *qe_report, *qe_signature;
	const uint8_t *auth_data, *pck_chain;
	size_t auth_data_len, pck_chain_len;
};

/* --- Taking apart --- */

struct cursor {
	const uint8_t *at;
	size_t left;
};

static skr_status take(struct cursor *cursor, size_t len, const char *what, const uint8_t **ret)
{
	if (len > cursor->left)
		return FAIL(116, "the quote's %s: %zu bytes, and %zu are left", what, len, cursor->left);
	*ret = cursor->at;
	cursor->at += len;
	cursor->left -= len;
	return OK;
}

static skr_status take_number(struct cursor *cursor, size_t bytes, const char *what, uint32_t *ret)
{
	const uint8_t *at;
	uint32_t value = 0;

	TRY(take(cursor, bytes, what, &at));
	while (bytes-- > 0)
		value = value << 8 | at[bytes];
	*ret = value;
	return OK;
}

static skr_status expect_number(struct cursor *cursor, size_t bytes, const char *what, uint32_t expected)
{
	uint32_t value;

	TRY(take_number(cursor, bytes, what, &value));
	if (value != expected)
		return FAIL(116, "the quote's %s is %" PRIu32 " instead of %" PRIu32, what, value, expected);
	return OK;
}

/* Type, size, content, up to the end of what it is in: nothing stands behind it there. */
static skr_status take_certification(struct cursor *from, uint32_t type, const char *what, struct cursor *ret)
{
	uint32_t size;
	const uint8_t *content;

	TRY(expect_number(from, 2, what, type));
	TRY(take_number(from, 4, what, &size));
	TRY(take(from, size, what, &content));
	if (from->left > 0)
		return FAIL(116, "the quote's %s: %zu bytes stand behind it", what, from->left);
	*ret = (struct cursor){content, size};
	return OK;
}

static skr_status read_header(struct cursor *in, struct td_quote *quote)
{
	uint32_t version;
	const uint8_t *at;

	TRY(take_number(in, 2, "version", &version));
	if (version != 4 && version != 5)
		return FAIL(116, "the quote's version is %" PRIu32 ", neither 4 nor 5", version);
	quote->version = version;
	TRY(expect_number(in, 2, "attestation key type", KEY_ECDSA_P256));
	TRY(expect_number(in, 4, "TEE type", TEE_TDX));
	TRY(take(in, 4, "reserved bytes", &at));
	TRY(take(in, sizeof(intel_qe_vendor), "quoting enclave's vendor", &at));
	if (memcmp(at, intel_qe_vendor, sizeof(intel_qe_vendor)) != 0)
		return FAIL(116, "the quote's quoting enclave is not of Intel's vendor id");
	return take(in, 20, "user data", &at);
}

/* Version 4 has one body; 5 says which, and the larger one begins as the smaller. */
static skr_status body_size(struct cursor *in, unsigned version, size_t *ret)
{
	uint32_t type;

	if (version == 4) {
		*ret = BODY_TDX_10_SIZE;
		return OK;
	}
	TRY(take_number(in, 2, "body type", &type));
	if (type != BODY_TDX_10 && type != BODY_TDX_15)
		return FAIL(116, "the quote's body type is %" PRIu32 ", neither 2 nor 3 (TDX 1.0, 1.5)", type);
	*ret = type == BODY_TDX_10 ? BODY_TDX_10_SIZE : BODY_TDX_15_SIZE;
	return expect_number(in, 4, "body size", (uint32_t)*ret);
}

static void copy(const uint8_t **from, void *to, size_t len)
{
	memcpy(to, *from, len);
	*from += len;
}

static void read_body(const uint8_t *at, struct td_quote *quote)
{
	copy(&at, quote->tee_tcb_svn, sizeof(quote->tee_tcb_svn));
	copy(&at, quote->mrseam, sizeof(quote->mrseam));
	copy(&at, quote->mrsignerseam, sizeof(quote->mrsignerseam));
	copy(&at, quote->seam_attributes, sizeof(quote->seam_attributes));
	copy(&at, quote->td_attributes, sizeof(quote->td_attributes));
	copy(&at, quote->xfam, sizeof(quote->xfam));
	copy(&at, quote->mrtd, sizeof(quote->mrtd));
	copy(&at, quote->mrconfigid, sizeof(quote->mrconfigid));
	copy(&at, quote->mrowner, sizeof(quote->mrowner));
	copy(&at, quote->mrownerconfig, sizeof(quote->mrownerconfig));
	copy(&at, quote->rtmr, sizeof(quote->rtmr));
	copy(&at, quote->report_data, sizeof(quote->report_data));
	quote->debug = quote->td_attributes[0] & 1;
}

static skr_status read_qe_certification(struct cursor *in, struct parts *parts)
{
	uint32_t auth_data_len;
	struct cursor chain;

	TRY(take(in, QE_REPORT_SIZE, "quoting enclave's report", &parts->qe_report));
	TRY(take(in, SIGNATURE_SIZE, "quoting enclave's signature", &parts->qe_signature));
	TRY(take_number(in, 2, "authentication data's size", &auth_data_len));
	TRY(take(in, auth_data_len, "authentication data", &parts->auth_data));
	parts->auth_data_len = auth_data_len;
	TRY(take_certification(in, CERTIFICATION_PCK_CHAIN, "PCK certification data", &chain));
	parts->pck_chain = chain.at;
	parts->pck_chain_len = chain.left;
	return OK;
}

static skr_status read_signature_data(struct cursor *in, struct parts *parts)
{
	uint32_t size;
	struct cursor data, certification;

	TRY(take_number(in, 4, "signature data's size", &size));
	data.left = size;
	TRY(take(in, size, "signature data", &data.at));
	TRY(take(&data, SIGNATURE_SIZE, "signature", &parts->signature));
	TRY(take(&data, POINT_SIZE, "attestation key", &parts->attestation_key));
	TRY(take_certification(&data, CERTIFICATION_QE_REPORT, "certification data", &certification));
	return read_qe_certification(&certification, parts);
}

static skr_status take_apart(const void *data, size_t len, struct parts *ret)
{
	struct parts parts = {.quote.signed_bytes = data};
	struct cursor in = {data, len};
	size_t size = 0;
	const uint8_t *body;

	if (len > TD_QUOTE_LIMIT)
		return FAIL(116, "a quote of %zu bytes, more than %d", len, TD_QUOTE_LIMIT);
	TRY(read_header(&in, &parts.quote));
	TRY(body_size(&in, parts.quote.version, &size));
	TRY(take(&in, size, "body", &body));
	read_body(body, &parts.quote);
	parts.quote.signed_len = len - in.left;
	TRY(read_signature_data(&in, &parts));
	*ret = parts;
	return OK;
}

skr_status td_quote_parse(const void *data, size_t len, struct td_quote *ret)
{
	struct parts parts;

	TRY(take_apart(data, len, &parts));
	*ret = parts.quote;
	return OK;
}

/* --- Signatures --- */

/* The signature is r and s of 32 bytes each; libcrypto takes DER, and checks their range. */
static skr_status signature_to_der(const uint8_t raw[SIGNATURE_SIZE], struct buf *ret)
{
	auto_ecdsa_sig *pair = ECDSA_SIG_new();
	auto_bn *r = BN_bin2bn(raw, SIGNATURE_SIZE / 2, NULL);
	auto_bn *s = BN_bin2bn(raw + SIGNATURE_SIZE / 2, SIGNATURE_SIZE / 2, NULL);
	uint8_t *der = NULL;

	if (!pair || !r || !s)
		return FAIL(14, "a quote's signature");
	ECDSA_SIG_set0(pair, TAKE(r), TAKE(s));
	int len = i2d_ECDSA_SIG(pair, &der);
	if (len <= 0)
		return FAIL(14, "a quote's signature");
	skr_status appended = buf_append(ret, der, (size_t)len);
	OPENSSL_free(der);
	return appended;
}

static skr_status verify_signature(EVP_PKEY *key, const uint8_t raw[SIGNATURE_SIZE], const void *data, size_t len,
                                   const char *refused)
{
	auto_buf der = BUF(128);
	auto_md_ctx *ctx = EVP_MD_CTX_new();

	TRY(signature_to_der(raw, &der));
	if (!ctx || EVP_DigestVerifyInit_ex(ctx, NULL, "SHA256", ossl, NULL, key, NULL) != 1)
		return ossl_fail(117, "verifying a quote");
	if (EVP_DigestVerify(ctx, der.data, der.len, data, len) != 1)
		return ossl_fail(117, refused);
	return OK;
}

static skr_status key_of_point(const uint8_t point[POINT_SIZE], EVP_PKEY **ret)
{
	uint8_t uncompressed[1 + POINT_SIZE] = {POINT_CONVERSION_UNCOMPRESSED};
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "EC", NULL);
	EVP_PKEY *key = NULL;

	memcpy(uncompressed + 1, point, POINT_SIZE);
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"P-256", 0),
	    OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, uncompressed, sizeof(uncompressed)),
	    OSSL_PARAM_construct_end(),
	};
	if (!ctx || EVP_PKEY_fromdata_init(ctx) != 1)
		return ossl_fail(14, "a quote's attestation key");
	if (EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return ossl_fail(117, "the quote's attestation key is not on P-256");
	*ret = key;
	return OK;
}

static skr_status verify_body(const struct parts *parts)
{
	auto_pkey *key = NULL;

	TRY(key_of_point(parts->attestation_key, &key));
	return verify_signature(key, parts->signature, parts->quote.signed_bytes, parts->quote.signed_len,
	                        "the quote is not signed by its attestation key");
}

/* The quoting enclave puts the hash of its attestation key and the data behind it into its own report. */
static skr_status verify_binding(const struct parts *parts)
{
	auto_buf bound = BUF(TD_QUOTE_LIMIT);
	uint8_t expected[64] = {0};

	TRY(buf_append(&bound, parts->attestation_key, POINT_SIZE));
	TRY(buf_append(&bound, parts->auth_data, parts->auth_data_len));
	TRY(sha256(bound.data, bound.len, expected));
	if (memcmp(parts->qe_report + QE_REPORT_DATA, expected, sizeof(expected)) != 0)
		return FAIL(117, "the quoting enclave's report is not about the quote's attestation key");
	return OK;
}

/* --- The PCK's certificates --- */

/* The text may come with its terminator, which is no PEM and skipped. */
static skr_status read_chain(const struct parts *parts, STACK_OF(X509) **ret)
{
	auto_x509s *chain = NULL;

	if (certificates_from_pem(parts->pck_chain, parts->pck_chain_len, &chain).failure)
		return FAIL(117, "the quote's PCK certificates: %s", status_message());
	if (sk_X509_num(chain) != CHAIN)
		return FAIL(117, "the quote has %d PCK certificates instead of %d", sk_X509_num(chain), CHAIN);
	*ret = TAKE(chain);
	return OK;
}

/* The last one is taken for the root: which root it is, is not asked here. */
static skr_status verify_chain(STACK_OF(X509) *chain, time_t now)
{
	auto_x509s *roots = sk_X509_new_null();
	auto_store_ctx *ctx = X509_STORE_CTX_new_ex(ossl, NULL);

	if (!roots || !ctx || !X509_add_cert(roots, sk_X509_value(chain, CHAIN - 1), X509_ADD_FLAG_UP_REF) ||
	    !X509_STORE_CTX_init(ctx, NULL, sk_X509_value(chain, 0), chain))
		return ossl_fail(14, "verifying PCK certificates");
	X509_STORE_CTX_set0_trusted_stack(ctx, roots);
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, now);
	X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CHECK_SS_SIGNATURE);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	if (X509_verify_cert(ctx) == 1)
		return OK;

	char name[64] = "";
	X509 *at = X509_STORE_CTX_get_current_cert(ctx);
	if (at)
		X509_NAME_get_text_by_NID(X509_get_subject_name(at), NID_commonName, name, sizeof(name));
	ERR_clear_error();
	return FAIL(117, "the quote's certificate '%s': %s", name,
	            X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
}

static skr_status verify_qe_report(const struct parts *parts, X509 *pck)
{
	EVP_PKEY *key = X509_get0_pubkey(pck);
	char curve[32] = "";

	if (!key || !EVP_PKEY_get_group_name(key, curve, sizeof(curve), NULL) || strcmp(curve, "prime256v1") != 0)
		return ossl_fail(117, "the PCK certificate's key is not on P-256");
	return verify_signature(key, parts->qe_signature, parts->qe_report, QE_REPORT_SIZE,
	                        "the quoting enclave's report is not signed by the PCK");
}

skr_status td_quote_verify(const void *data, size_t len, time_t now)
{
	struct parts parts;
	auto_x509s *chain = NULL;

	TRY(take_apart(data, len, &parts));
	TRY(verify_body(&parts));
	TRY(verify_binding(&parts));
	TRY(read_chain(&parts, &chain));
	TRY(verify_chain(chain, now));
	return verify_qe_report(&parts, sk_X509_value(chain, 0));
}
