/* SPDX-License-Identifier: Apache-2.0 */
#include "jose/jws.h"

#include "base/base64.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <string.h>

AUTO_OSSL(store, X509_STORE, X509_STORE_free)
AUTO_OSSL(store_ctx, X509_STORE_CTX, X509_STORE_CTX_free)
AUTO_OSSL(ecdsa_sig, ECDSA_SIG, ECDSA_SIG_free)
#define auto_store     __attribute__((cleanup(store_done))) X509_STORE
#define auto_store_ctx __attribute__((cleanup(store_ctx_done))) X509_STORE_CTX
#define auto_ecdsa_sig __attribute__((cleanup(ecdsa_sig_done))) ECDSA_SIG

/* Threat model 10. */
#define X5C_MOST          6
#define CERTIFICATE_LIMIT (8 * 1024)
#define SIGNER_BITS_LEAST 2048
#define SECURITY_LEVEL    2 /* of OpenSSL: 112 bits; keys and digests of the whole chain */
#define SIGNATURE_LIMIT   1024

/* RFC 7518 section 3.1. What is not here (none, HS…) does not exist for us. */
static const struct algorithm {
	const char *name, *key_type, *digest;
	int padding;       /* RSA */
	const char *group; /* EC */
	int coordinate_bytes;
} algorithms[] = {
    {"RS256", "RSA", "SHA256", RSA_PKCS1_PADDING, NULL, 0},
    {"RS384", "RSA", "SHA384", RSA_PKCS1_PADDING, NULL, 0},
    {"RS512", "RSA", "SHA512", RSA_PKCS1_PADDING, NULL, 0},
    {"PS256", "RSA", "SHA256", RSA_PKCS1_PSS_PADDING, NULL, 0},
    {"PS384", "RSA", "SHA384", RSA_PKCS1_PSS_PADDING, NULL, 0},
    {"PS512", "RSA", "SHA512", RSA_PKCS1_PSS_PADDING, NULL, 0},
    {"ES256", "EC", "SHA256", 0, "prime256v1", 32},
    {"ES384", "EC", "SHA384", 0, "secp384r1", 48},
    {"ES512", "EC", "SHA512", 0, "secp521r1", 66},
};

void jws_done(struct jws *jws)
{
	json_free(jws->header);
	json_free(jws->payload);
	buf_done(&jws->payload_bytes);
	buf_done(&jws->signature);
	memset(jws, 0, sizeof(*jws));
}

/* ---- check 1: the three parts ---- */

static skr_status decode_part(const char *what, const char *text, size_t len, struct buf *out)
{
	if (len == 0)
		return FAIL(340, "check 1: the %s is empty", what);
	skr_status status = base64url_decode(text, len, out);
	return status.failure ? FAIL(340, "check 1: %s: %s", what, status_message()) : OK;
}

static skr_status parse_header(const struct buf *bytes, json **ret)
{
	auto_json *header = NULL;
	const char *alg;

	skr_status status = json_parse(bytes->data, bytes->len, &header);
	if (!status.failure)
		status = json_string(header, "alg", &alg);
	if (status.failure)
		return FAIL(340, "check 2: header: %s", status_message());
	if (json_get(header, "crit"))
		return FAIL(340, "check 2: the header has crit, and nothing of it is understood");
	*ret = TAKE(header);
	return OK;
}

skr_status jws_parse(const char *text, size_t len, struct jws *ret)
{
	auto_jws jws = {.signature = BUF(SIGNATURE_LIMIT), .payload_bytes = BUF(JWS_LIMIT)};
	auto_buf header = BUF(JWS_LIMIT);

	memset(ret, 0, sizeof(*ret));
	if (len > JWS_LIMIT)
		return FAIL(340, "check 1: %zu bytes, at most %d are taken", len, JWS_LIMIT);
	const char *end = text + len, *first = memchr(text, '.', len);
	const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
	if (!second || memchr(second + 1, '.', (size_t)(end - second - 1)))
		return FAIL(340, "check 1: not three parts");

	TRY(decode_part("header", text, (size_t)(first - text), &header));
	TRY(decode_part("payload", first + 1, (size_t)(second - first - 1), &jws.payload_bytes));
	TRY(decode_part("signature", second + 1, (size_t)(end - second - 1), &jws.signature));
	TRY(parse_header(&header, &jws.header));
	jws.signed_part = text;
	jws.signed_len = (size_t)(second - text);
	*ret = jws;
	memset(&jws, 0, sizeof(jws));
	return OK;
}

skr_status jws_payload(struct jws *jws)
{
	json *payload = NULL;

	skr_status status = json_parse(jws->payload_bytes.data, jws->payload_bytes.len, &payload);
	if (status.failure)
		return FAIL(340, "check 5: payload: %s", status_message());
	json_free(jws->payload);
	jws->payload = payload;
	return OK;
}

/* ---- check 4: the signature ---- */

static const struct algorithm *algorithm_find(const char *name)
{
	for (size_t i = 0; name && i < sizeof(algorithms) / sizeof(algorithms[0]); i++)
		if (strcmp(algorithms[i].name, name) == 0)
			return &algorithms[i];
	return NULL;
}

static bool algorithm_fits(const struct algorithm *algorithm, const EVP_PKEY *key)
{
	char group[32];
	size_t len;

	if (!EVP_PKEY_is_a(key, algorithm->key_type))
		return false;
	if (!algorithm->group)
		return EVP_PKEY_get_bits(key) >= SIGNER_BITS_LEAST;
	return EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 && strcmp(group, algorithm->group) == 0;
}

static bool set_padding(EVP_PKEY_CTX *ctx, const struct algorithm *algorithm)
{
	if (!algorithm->padding)
		return true;
	if (EVP_PKEY_CTX_set_rsa_padding(ctx, algorithm->padding) <= 0)
		return false;
	return algorithm->padding != RSA_PKCS1_PSS_PADDING ||
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0;
}

/* RFC 7518 section 3.4: r || s, each as long as the field; OpenSSL wants DER. Returns the length, 0 on failure. */
static size_t signature_to_der(const struct buf *raw, int bytes, uint8_t **ret)
{
	auto_ecdsa_sig *pair = ECDSA_SIG_new();
	auto_bn *r = NULL, *s = NULL;

	if (!pair || raw->len != 2 * (size_t)bytes)
		return 0;
	r = BN_bin2bn(raw->data, bytes, NULL);
	s = BN_bin2bn(raw->data + bytes, bytes, NULL);
	if (!r || !s || !ECDSA_SIG_set0(pair, r, s))
		return 0;
	r = s = NULL; /* the pair owns them */
	int len = i2d_ECDSA_SIG(pair, ret);
	return len > 0 ? (size_t)len : 0;
}

static bool verify_bytes(const struct jws *jws, const struct algorithm *algorithm, EVP_PKEY *key,
                         const uint8_t *signature, size_t len)
{
	auto_md_ctx *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_ctx; /* borrowed from ctx */

	return ctx && EVP_DigestVerifyInit_ex(ctx, &key_ctx, algorithm->digest, ossl, NULL, key, NULL) > 0 &&
	       set_padding(key_ctx, algorithm) &&
	       EVP_DigestVerify(ctx, signature, len, (const uint8_t *)jws->signed_part, jws->signed_len) == 1;
}

skr_status jws_verify_with_key(const struct jws *jws, EVP_PKEY *key)
{
	const char *name = json_string_or_null(jws->header, "alg");
	const struct algorithm *algorithm = algorithm_find(name);
	bool good;

	if (!algorithm)
		return FAIL(340, "check 2: alg %.32s is not accepted", name ? name : "(none)");
	if (!algorithm_fits(algorithm, key))
		return FAIL(340, "check 2: alg %s does not fit the signer's key of %d bits", name,
		            EVP_PKEY_get_bits(key));
	if (algorithm->group) {
		uint8_t *der = NULL;
		size_t len = signature_to_der(&jws->signature, algorithm->coordinate_bytes, &der);
		good = len && verify_bytes(jws, algorithm, key, der, len);
		OPENSSL_free(der);
	} else {
		good = verify_bytes(jws, algorithm, key, jws->signature.data, jws->signature.len);
	}
	ERR_clear_error();
	return good ? OK : FAIL(340, "check 4: the signature does not verify");
}

/* ---- check 3: the signer's certificates ---- */

static skr_status parse_certificate(const json *item, size_t index, struct buf *der, X509 **ret)
{
	const char *text = json_text(item);
	auto_x509 *certificate = X509_new_ex(ossl, NULL);

	if (!certificate)
		return ossl_fail(14, "a certificate");
	if (!text)
		return FAIL(340, "check 3: x5c[%zu] is not text", index);
	skr_status status = base64_decode(text, strlen(text), der);
	if (status.failure)
		return FAIL(340, "check 3: x5c[%zu]: %s", index, status_message());
	const uint8_t *p = der->data;
	if (!d2i_X509(&certificate, &p, (long)der->len) || p != der->data + der->len)
		return ossl_fail(340, "check 3: an entry of x5c is not a certificate");
	*ret = TAKE(certificate);
	return OK;
}

static skr_status parse_x5c(const json *header, STACK_OF(X509) **ret)
{
	const json *x5c = json_get(header, "x5c");
	auto_x509s *chain = sk_X509_new_null();
	size_t index = 0;

	if (json_kind(x5c) != JSON_ARRAY || json_count(x5c) < 1 || json_count(x5c) > X5C_MOST)
		return FAIL(340, "check 3: x5c must have 1 to %d certificates", X5C_MOST);
	for (const json *item = json_first(x5c); item; item = json_next(item)) {
		auto_buf der = BUF(CERTIFICATE_LIMIT);
		auto_x509 *certificate = NULL;
		TRY(parse_certificate(item, index++, &der, &certificate));
		if (!chain || !sk_X509_push(chain, certificate))
			return FAIL(14, "a chain of certificates");
		certificate = NULL; /* the chain owns it */
	}
	*ret = TAKE(chain);
	return OK;
}

static X509_STORE *store_of(STACK_OF(X509) *anchors)
{
	auto_store *store = X509_STORE_new();

	for (int i = 0; store && i < sk_X509_num(anchors); i++)
		if (!X509_STORE_add_cert(store, sk_X509_value(anchors, i)))
			return NULL;
	return TAKE(store);
}

/*
 * The store holds the anchors alone; what comes with the message is only material for the way there, so a root inside
 * x5c is never trusted. X509_V_FLAG_PARTIAL_CHAIN stays off: the way ends at a self-signed anchor.
 */
static skr_status build_chain(X509 *leaf, STACK_OF(X509) *chain, const struct jws_trust *trust)
{
	auto_store *store = store_of(trust->anchors);
	auto_store_ctx *ctx = X509_STORE_CTX_new_ex(ossl, NULL);

	if (!store || !ctx || !X509_STORE_CTX_init(ctx, store, leaf, chain))
		return ossl_fail(14, "verifying a chain of certificates");
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)trust->now);
	X509_VERIFY_PARAM_set_depth(param, X5C_MOST);
	X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
	if (!X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER))
		return ossl_fail(599, "purpose of a certificate");
	if (X509_verify_cert(ctx) == 1)
		return OK;

	char subject[160] = "";
	X509 *at = X509_STORE_CTX_get_current_cert(ctx);
	if (at)
		X509_NAME_oneline(X509_get_subject_name(at), subject, sizeof(subject));
	ERR_clear_error();
	return FAIL(340, "check 3: signer's certificate %s: %s", subject,
	            X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
}

/* The name in subjectAltName alone; a wildcard is the whole left-most label and stands for one. */
static bool covers_host(X509 *leaf, const char *host)
{
	const unsigned flags = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;

	return X509_check_host(leaf, host, 0, flags, NULL) == 1 || X509_check_ip_asc(leaf, host, 0) == 1;
}

static skr_status check_thumbprint(const json *header, X509 *leaf)
{
	const json *member = json_get(header, "x5t#S256");
	uint8_t digest[32];
	auto_buf text = BUF(64);
	auto_buf der = BUF(CERTIFICATE_LIMIT);
	uint8_t *place;

	if (!member)
		return OK;
	int size = i2d_X509(leaf, NULL);
	if (size <= 0)
		return ossl_fail(599, "encoding a certificate");
	TRY(buf_reserve(&der, (size_t)size, &place));
	i2d_X509(leaf, &place);
	TRY(sha256(der.data, (size_t)size, digest));
	TRY(base64url_encode(digest, sizeof(digest), &text));
	if (!json_text(member) || strcmp(json_text(member), buf_text(&text)) != 0)
		return FAIL(340, "check 3: x5t#S256 is not the signer's certificate");
	return OK;
}

static skr_status check_leaf(const json *header, X509 *leaf, const struct jws_trust *trust)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);

	ERR_clear_error();
	if (!key || !EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < SIGNER_BITS_LEAST)
		return FAIL(340, "check 3: the signer's key is not RSA of %d bits or more", SIGNER_BITS_LEAST);
	if (X509_check_ca(leaf) != 0)
		return FAIL(340, "check 3: the signer's certificate is an authority's");
	if (!covers_host(leaf, trust->host))
		return FAIL(340, "check 3: the signer's certificate does not name %s", trust->host);
	return check_thumbprint(header, leaf);
}

skr_status jws_verify_with_chain(const struct jws *jws, const struct jws_trust *trust)
{
	auto_x509s *chain = NULL;
	const char *alg = json_string_or_null(jws->header, "alg");

	if (!alg || strcmp(alg, trust->alg) != 0)
		return FAIL(340, "check 2: alg is %.32s, only %s is accepted", alg ? alg : "(none)", trust->alg);
	TRY(parse_x5c(jws->header, &chain));
	X509 *leaf = sk_X509_value(chain, 0);
	TRY(check_leaf(jws->header, leaf, trust));
	TRY(build_chain(leaf, chain, trust));
	return jws_verify_with_key(jws, X509_get0_pubkey(leaf));
}

/* ---- signing ---- */

/* OpenSSL's DER to r || s, in place of it. */
static skr_status signature_from_der(struct buf *signature, int bytes)
{
	const uint8_t *p = signature->data;
	auto_ecdsa_sig *pair = d2i_ECDSA_SIG(NULL, &p, (long)signature->len);
	uint8_t *place;

	buf_clear(signature);
	TRY(buf_reserve(signature, 2 * (size_t)bytes, &place));
	if (!pair || BN_bn2binpad(ECDSA_SIG_get0_r(pair), place, bytes) != bytes ||
	    BN_bn2binpad(ECDSA_SIG_get0_s(pair), place + bytes, bytes) != bytes)
		return ossl_fail(599, "an ECDSA signature");
	signature->len = 2 * (size_t)bytes;
	return OK;
}

static skr_status sign_bytes(const struct algorithm *algorithm, EVP_PKEY *key, const struct buf *text, struct buf *out)
{
	auto_md_ctx *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_ctx; /* borrowed from ctx */
	size_t len = SIGNATURE_LIMIT;
	uint8_t *place;

	TRY(buf_reserve(out, len, &place));
	if (!ctx || EVP_DigestSignInit_ex(ctx, &key_ctx, algorithm->digest, ossl, NULL, key, NULL) <= 0 ||
	    !set_padding(key_ctx, algorithm) || EVP_DigestSign(ctx, place, &len, text->data, text->len) <= 0)
		return ossl_fail(599, "signing");
	out->len = len;
	return algorithm->group ? signature_from_der(out, algorithm->coordinate_bytes) : OK;
}

skr_status jws_sign(const json *header, const void *payload, size_t len, EVP_PKEY *key, struct buf *out)
{
	const struct algorithm *algorithm = algorithm_find(json_string_or_null(header, "alg"));
	auto_buf head = BUF(JWS_LIMIT), text = BUF(4 * JWS_LIMIT), signature = BUF(SIGNATURE_LIMIT);

	if (!algorithm || !algorithm_fits(algorithm, key))
		return FAIL(599, "header.alg does not fit the key");
	TRY(json_print(header, &head));
	TRY(base64url_encode(head.data, head.len, &text));
	TRY(buf_append_text(&text, "."));
	TRY(base64url_encode(payload, len, &text));
	TRY(sign_bytes(algorithm, key, &text, &signature));
	TRY(buf_append_text(&text, "."));
	TRY(base64url_encode(signature.data, signature.len, &text));
	return buf_append(out, text.data, text.len);
}
