/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/cose.h"

#include "base/base64.h"
#include "emulator/certificate.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include <string.h>

/* ---- CBOR: reading ---- */

#define CBOR_DEPTH 8

enum cbor_major { CBOR_UNSIGNED, CBOR_NEGATIVE, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP, CBOR_TAG, CBOR_SIMPLE };

static const char *const cbor_names[] = {
    "an unsigned number", "a negative number", "a byte string", "a text", "an array", "a map", "a tag",
    "a simple value"};

struct reader {
	const uint8_t *start, *at, *end;
};

struct item {
	enum cbor_major major;
	uint64_t value; /* number, length, count or tag */
};

static size_t offset(const struct reader *r)
{
	return (size_t)(r->at - r->start);
}

/* The argument of an initial byte: in it, or in the 1, 2, 4 or 8 bytes behind it (RFC 8949 section 3). */
static skr_status read_argument(struct reader *r, unsigned info, uint64_t *ret)
{
	static const uint64_t least[] = {24, 0x100, 0x10000, 0x100000000}; /* for which a form is the shortest */
	if (info < 24) {
		*ret = info;
		return OK;
	}
	if (info > 27)
		return FAIL(213, "CBOR at byte %zu: indefinite or reserved length", offset(r));
	size_t bytes = (size_t)1 << (info - 24);
	if ((size_t)(r->end - r->at) < bytes)
		return FAIL(213, "CBOR ends at byte %zu within a number", offset(r));

	uint64_t value = 0;
	for (size_t i = 0; i < bytes; i++)
		value = value << 8 | *r->at++;
	if (value < least[info - 24])
		return FAIL(213, "CBOR at byte %zu: a number is not in its shortest form", offset(r));
	*ret = value;
	return OK;
}

static skr_status read_head(struct reader *r, struct item *ret)
{
	if (r->at == r->end)
		return FAIL(213, "CBOR ends at byte %zu, where an item was expected", offset(r));
	uint8_t initial = *r->at++;
	ret->major = (enum cbor_major)(initial >> 5);
	return read_argument(r, initial & 31, &ret->value);
}

static skr_status expect(struct reader *r, enum cbor_major major, struct item *ret)
{
	size_t at = offset(r);
	TRY(read_head(r, ret));
	if (ret->major != major)
		return FAIL(213, "CBOR at byte %zu: %s where %s was expected", at, cbor_names[ret->major],
		            cbor_names[major]);
	return OK;
}

/* The bytes of a string whose head was read. */
static skr_status take_bytes(struct reader *r, uint64_t len, struct cose_bytes *ret)
{
	if (len > (uint64_t)(r->end - r->at))
		return FAIL(213, "CBOR at byte %zu: a string is longer than what is there", offset(r));
	*ret = (struct cose_bytes){r->at, (size_t)len};
	r->at += len;
	return OK;
}

static skr_status read_string(struct reader *r, enum cbor_major major, struct cose_bytes *ret)
{
	struct item item;
	TRY(expect(r, major, &item));
	return take_bytes(r, item.value, ret);
}

static skr_status read_integer(struct reader *r, int64_t *ret)
{
	struct item item;
	size_t at = offset(r);
	TRY(read_head(r, &item));
	if (item.major > CBOR_NEGATIVE || item.value > INT64_MAX)
		return FAIL(213, "CBOR at byte %zu: no integer, or too large", at);
	*ret = item.major == CBOR_UNSIGNED ? (int64_t)item.value : -1 - (int64_t)item.value;
	return OK;
}

/* Steps over one item and all that it holds. Every item takes a byte at least, so this ends with the document. */
static skr_status skip(struct reader *r, unsigned depth)
{
	struct item item;
	struct cose_bytes ignored;

	if (depth == 0)
		return FAIL(213, "CBOR at byte %zu: nested too deep", offset(r));
	TRY(read_head(r, &item));
	switch (item.major) {
	case CBOR_BYTES:
	case CBOR_TEXT:
		return take_bytes(r, item.value, &ignored);
	case CBOR_ARRAY:
	case CBOR_MAP:
		if (item.value > (uint64_t)(r->end - r->at))
			return FAIL(213, "CBOR at byte %zu: more items than bytes", offset(r));
		for (uint64_t i = item.major == CBOR_MAP ? item.value * 2 : item.value; i > 0; i--)
			TRY(skip(r, depth - 1));
		return OK;
	case CBOR_TAG:
		return skip(r, depth - 1);
	case CBOR_SIMPLE:
		if (item.value < 20 || item.value > 23)
			return FAIL(213, "CBOR at byte %zu: a float or an unknown simple value", offset(r));
		return OK;
	default:
		return OK;
	}
}

/* ---- the protected header ---- */

/* RFC 9052 section 3.1, RFC 9360 section 2; the texts are Azure's. */
enum cose_label { LABEL_ALGORITHM = 1, LABEL_CRITICAL = 2, LABEL_CONTENT_TYPE = 3, LABEL_X5CHAIN = 33 };

enum { SEEN_ALGORITHM = 1, SEEN_CONTENT_TYPE = 2, SEEN_X5CHAIN = 4, SEEN_ISSUER = 8, SEEN_FEED = 16, SEEN_TIME = 32 };

static skr_status once(unsigned *seen, unsigned which)
{
	if (*seen & which)
		return FAIL(213, "the protected header has a label twice");
	*seen |= which;
	return OK;
}

static skr_status add_certificate(struct reader *r, STACK_OF(X509) *chain)
{
	struct cose_bytes der;
	auto_x509 *certificate = NULL;

	TRY(read_string(r, CBOR_BYTES, &der));
	TRY(certificate_from_der(der.data, der.len, &certificate));
	if (sk_X509_num(chain) >= 6)
		return FAIL(213, "x5chain has more than six certificates");
	if (sk_X509_push(chain, certificate) <= 0)
		return FAIL(14, "no memory for x5chain");
	certificate = NULL;
	return OK;
}

/* One certificate stands alone, several in an array. */
static skr_status read_x5chain(struct reader *r, STACK_OF(X509) *chain)
{
	struct item item;
	if (r->at < r->end && *r->at >> 5 == CBOR_BYTES)
		return add_certificate(r, chain);
	TRY(expect(r, CBOR_ARRAY, &item));
	for (uint64_t i = 0; i < item.value; i++)
		TRY(add_certificate(r, chain));
	return OK;
}

static skr_status read_numbered(struct reader *r, int64_t label, struct cose_sign1 *out, unsigned *seen)
{
	switch (label) {
	case LABEL_ALGORITHM:
		TRY(once(seen, SEEN_ALGORITHM));
		return read_integer(r, &out->algorithm);
	case LABEL_CRITICAL:
		return FAIL(213, "the protected header has critical parameters");
	case LABEL_CONTENT_TYPE:
		TRY(once(seen, SEEN_CONTENT_TYPE));
		return read_string(r, CBOR_TEXT, &out->content_type);
	case LABEL_X5CHAIN:
		TRY(once(seen, SEEN_X5CHAIN));
		return read_x5chain(r, out->chain);
	default:
		return skip(r, CBOR_DEPTH);
	}
}

/* Tag 1, seconds since 1970 (RFC 8949 section 3.4.2). */
static skr_status read_time(struct reader *r, struct cose_sign1 *out)
{
	struct item item;
	TRY(expect(r, CBOR_TAG, &item));
	if (item.value != 1)
		return FAIL(213, "signingtime has the tag %llu, not 1", (unsigned long long)item.value);
	out->has_signing_time = true;
	return read_integer(r, &out->signing_time);
}

static bool is_text(struct cose_bytes bytes, const char *text)
{
	return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

static skr_status read_named(struct reader *r, struct cose_bytes name, struct cose_sign1 *out, unsigned *seen)
{
	if (is_text(name, "iss")) {
		TRY(once(seen, SEEN_ISSUER));
		return read_string(r, CBOR_TEXT, &out->issuer);
	}
	if (is_text(name, "feed")) {
		TRY(once(seen, SEEN_FEED));
		return read_string(r, CBOR_TEXT, &out->feed);
	}
	if (is_text(name, "signingtime")) {
		TRY(once(seen, SEEN_TIME));
		return read_time(r, out);
	}
	return skip(r, CBOR_DEPTH);
}

static skr_status read_parameter(struct reader *r, struct cose_sign1 *out, unsigned *seen)
{
	if (r->at < r->end && *r->at >> 5 == CBOR_TEXT) {
		struct cose_bytes name;
		TRY(read_string(r, CBOR_TEXT, &name));
		return read_named(r, name, out, seen);
	}
	int64_t label;
	TRY(read_integer(r, &label));
	return read_numbered(r, label, out, seen);
}

static skr_status read_protected_header(struct cose_sign1 *out)
{
	const uint8_t *data = out->protected_header.data;
	struct reader r = {data, data, data + out->protected_header.len};
	struct item map;
	unsigned seen = 0;

	TRY(expect(&r, CBOR_MAP, &map));
	for (uint64_t i = 0; i < map.value; i++)
		TRY(read_parameter(&r, out, &seen));
	if (r.at != r.end)
		return FAIL(213, "bytes follow the map of the protected header");
	if (!(seen & SEEN_ALGORITHM))
		return FAIL(213, "the protected header names no algorithm");
	return OK;
}

static skr_status read_document(struct reader *r, struct cose_sign1 *out)
{
	struct item item;

	TRY(expect(r, CBOR_TAG, &item));
	if (item.value != 18)
		return FAIL(213, "the CBOR tag is %llu, not 18 (COSE_Sign1)", (unsigned long long)item.value);
	TRY(expect(r, CBOR_ARRAY, &item));
	if (item.value != 4)
		return FAIL(213, "a COSE_Sign1 has 4 parts, not %llu", (unsigned long long)item.value);
	TRY(read_string(r, CBOR_BYTES, &out->protected_header));
	if (r->at == r->end || *r->at >> 5 != CBOR_MAP)
		return FAIL(213, "the unprotected header is not a map");
	TRY(skip(r, CBOR_DEPTH));
	TRY(read_string(r, CBOR_BYTES, &out->payload));
	TRY(read_string(r, CBOR_BYTES, &out->signature));
	if (r->at != r->end)
		return FAIL(213, "bytes follow the COSE_Sign1");
	return read_protected_header(out);
}

void cose_done(struct cose_sign1 *document)
{
	sk_X509_pop_free(document->chain, X509_free);
	*document = (struct cose_sign1){0};
}

skr_status cose_parse(const void *data, size_t len, struct cose_sign1 *ret)
{
	struct reader r = {data, data, (const uint8_t *)data + len};
	auto_cose document = {.chain = sk_X509_new_null()};

	if (!document.chain)
		return FAIL(14, "no memory for a chain");
	if (len > COSE_LIMIT)
		return FAIL(213, "the COSE_Sign1 has %zu bytes", len);
	TRY(read_document(&r, &document));
	*ret = document;
	document.chain = NULL;
	return OK;
}

/* ---- CBOR: writing ---- */

static skr_status put_head(struct buf *out, enum cbor_major major, uint64_t value)
{
	static const uint64_t least[] = {24, 0x100, 0x10000, 0x100000000};
	uint8_t head[9];
	unsigned info = 0;

	while (info < 4 && value >= least[info])
		info++;
	size_t bytes = info ? (size_t)1 << (info - 1) : 0;
	head[0] = (uint8_t)((unsigned)major << 5 | (info ? 23 + info : (unsigned)value));
	for (size_t i = 0; i < bytes; i++)
		head[1 + i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
	return buf_append(out, head, 1 + bytes);
}

static skr_status put_integer(struct buf *out, int64_t value)
{
	return value < 0 ? put_head(out, CBOR_NEGATIVE, (uint64_t)(-1 - value))
	                 : put_head(out, CBOR_UNSIGNED, (uint64_t)value);
}

static skr_status put_bytes(struct buf *out, const void *data, size_t len)
{
	TRY(put_head(out, CBOR_BYTES, len));
	return buf_append(out, data, len);
}

static skr_status put_text(struct buf *out, const char *text)
{
	TRY(put_head(out, CBOR_TEXT, strlen(text)));
	return buf_append_text(out, text);
}

/* RFC 9052 section 4.4: what is signed. */
static skr_status sig_structure(struct cose_bytes header, struct cose_bytes payload, struct buf *out)
{
	TRY(put_head(out, CBOR_ARRAY, 4));
	TRY(put_text(out, "Signature1"));
	TRY(put_bytes(out, header.data, header.len));
	TRY(put_bytes(out, "", 0));
	return put_bytes(out, payload.data, payload.len);
}

/* ---- algorithms ---- */

struct algorithm {
	enum cose_algorithm number;
	const char *key, *digest;
	int ec_bits; /* 0: RSASSA-PSS, salt as long as the digest (RFC 8230) */
};

static const struct algorithm algorithms[] = {
    {COSE_ES256, "EC", "SHA256", 256}, {COSE_ES384, "EC", "SHA384", 384}, {COSE_ES512, "EC", "SHA512", 521},
    {COSE_PS256, "RSA", "SHA256", 0},  {COSE_PS384, "RSA", "SHA384", 0},  {COSE_PS512, "RSA", "SHA512", 0},
};

static skr_status algorithm_for(int64_t number, EVP_PKEY *key, const struct algorithm **ret)
{
	for (size_t i = 0; i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
		const struct algorithm *a = &algorithms[i];
		if (a->number != number)
			continue;
		if (!key || !EVP_PKEY_is_a(key, a->key) || (a->ec_bits && EVP_PKEY_get_bits(key) != a->ec_bits) ||
		    (!a->ec_bits && EVP_PKEY_get_bits(key) < 2048))
			return FAIL(117, "the signer's key does not fit COSE algorithm %lld", (long long)number);
		*ret = a;
		return OK;
	}
	return FAIL(117, "COSE algorithm %lld is not accepted", (long long)number);
}

/* Whether the operation that was begun uses the right padding. */
static int set_padding(EVP_PKEY_CTX *ctx, const struct algorithm *a)
{
	return a->ec_bits || (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	                      EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/* COSE has r and s side by side, OpenSSL wants them in DER. `ret` is OPENSSL_malloc's; NULL: not such a signature. */
static int ecdsa_to_der(struct cose_bytes raw, const struct algorithm *a, uint8_t **ret)
{
	size_t half = ((size_t)a->ec_bits + 7) / 8;
	if (raw.len != 2 * half)
		return -1;
	ECDSA_SIG *signature = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw.data, (int)half, NULL), *s = BN_bin2bn(raw.data + half, (int)half, NULL);
	if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		ECDSA_SIG_free(signature);
		return -1;
	}
	int len = i2d_ECDSA_SIG(signature, ret);
	ECDSA_SIG_free(signature);
	return len;
}

static bool signature_good(const struct algorithm *a, EVP_PKEY *key, const struct buf *message,
                           struct cose_bytes signature)
{
	uint8_t *der = NULL;
	int der_len = a->ec_bits ? ecdsa_to_der(signature, a, &der) : 0;
	auto_md_ctx *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = NULL; /* md's */

	bool good = der_len >= 0 && md && EVP_DigestVerifyInit_ex(md, &ctx, a->digest, ossl, NULL, key, NULL) == 1 &&
	            set_padding(ctx, a) &&
	            EVP_DigestVerify(md, der ? der : signature.data, der ? (size_t)der_len : signature.len,
	                             message->data, message->len) == 1;
	OPENSSL_free(der);
	ERR_clear_error();
	return good;
}

static skr_status check_signature(const struct cose_sign1 *document)
{
	EVP_PKEY *key = X509_get0_pubkey(sk_X509_value(document->chain, 0));
	const struct algorithm *a;
	auto_buf message = BUF(2 * COSE_LIMIT);

	TRY(algorithm_for(document->algorithm, key, &a));
	TRY(sig_structure(document->protected_header, document->payload, &message));
	if (!signature_good(a, key, &message, document->signature))
		return FAIL(117, "the signature of the UVM endorsement does not verify");
	return OK;
}

/* ---- who signed ---- */

static const char did_prefix[] = "did:x509:0:sha256:";
#define DID_FINGERPRINT_LEN 43 /* base64url of 32 bytes */

/* did:x509:0:sha256:FINGERPRINT::eku:OID; the other policies of did:x509 are not used in endorsements. */
static skr_status read_did(struct cose_bytes did, uint8_t fingerprint[32], char *ret_eku, size_t size)
{
	const size_t prefix = strlen(did_prefix), head = prefix + DID_FINGERPRINT_LEN + strlen("::eku:");
	const char *text = (const char *)did.data;
	auto_buf decoded = BUF(32);

	if (did.len <= head || did.len - head >= size || memcmp(text, did_prefix, prefix) != 0 ||
	    memcmp(text + prefix + DID_FINGERPRINT_LEN, "::eku:", strlen("::eku:")) != 0 ||
	    memchr(text, '\0', did.len) || base64url_decode(text + prefix, DID_FINGERPRINT_LEN, &decoded).failure ||
	    decoded.len != 32)
		return FAIL(117, "the issuer of the UVM endorsement is not did:x509:0:sha256:FINGERPRINT::eku:OID");
	memcpy(fingerprint, decoded.data, 32);
	memcpy(ret_eku, text + head, did.len - head);
	ret_eku[did.len - head] = '\0';
	return OK;
}

static skr_status check_eku(X509 *leaf, const char *oid)
{
	ASN1_OBJECT *wanted = OBJ_txt2obj(oid, 1);
	EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(leaf, NID_ext_key_usage, NULL, NULL);
	bool found = false;

	for (int i = 0; wanted && usages && i < sk_ASN1_OBJECT_num(usages); i++)
		found |= OBJ_cmp(sk_ASN1_OBJECT_value(usages, i), wanted) == 0;
	EXTENDED_KEY_USAGE_free(usages);
	ASN1_OBJECT_free(wanted);
	ERR_clear_error();
	return found ? OK : FAIL(117, "the signer of the UVM endorsement lacks the key usage %s", oid);
}

static bool is_trusted(const struct cose_trust *trust, const uint8_t fingerprint[32])
{
	for (size_t i = 0; i < trust->root_count; i++)
		if (memcmp(trust->roots[i], fingerprint, 32) == 0)
			return true;
	return false;
}

/* Climbs from the leaf to the certificate that the DID names; what may lie above it does not matter. */
static skr_status check_chain(const STACK_OF(X509) *chain, const uint8_t fingerprint[32], int64_t when)
{
	for (int i = 1; i < sk_X509_num(chain); i++) {
		X509 *issuer = sk_X509_value(chain, i);
		uint8_t found[32];
		if (X509_check_ca(issuer) != 1)
			return FAIL(117, "certificate %d of the UVM endorsement is not an authority", i);
		TRY(certificate_signed_by(sk_X509_value(chain, i - 1), issuer, when));
		TRY(certificate_sha256(issuer, found));
		if (memcmp(found, fingerprint, sizeof(found)) == 0)
			return OK;
	}
	return FAIL(117, "no certificate above the signer of the UVM endorsement is the one in its DID");
}

skr_status cose_verify(const struct cose_sign1 *document, const struct cose_trust *trust)
{
	uint8_t fingerprint[32];
	char eku[64];

	if (sk_X509_num(document->chain) == 0)
		return FAIL(117, "the UVM endorsement has no x5chain");
	TRY(read_did(document->issuer, fingerprint, eku, sizeof(eku)));
	if (!is_trusted(trust, fingerprint))
		return FAIL(117, "the root of the UVM endorsement's signer is not trusted");
	TRY(check_chain(document->chain, fingerprint,
	                document->has_signing_time ? document->signing_time : trust->now));
	TRY(check_eku(sk_X509_value(document->chain, 0), eku));
	return check_signature(document);
}

/* ---- signing ---- */

static skr_status put_x5chain(struct buf *out, const STACK_OF(X509) *chain)
{
	TRY(put_integer(out, LABEL_X5CHAIN));
	TRY(put_head(out, CBOR_ARRAY, (uint64_t)sk_X509_num(chain)));
	for (int i = 0; i < sk_X509_num(chain); i++) {
		auto_buf der = BUF(8 * 1024);
		TRY(certificate_to_der(sk_X509_value(chain, i), &der));
		TRY(put_bytes(out, der.data, der.len));
	}
	return OK;
}

static skr_status put_did(struct buf *out, const struct cose_plan *plan)
{
	uint8_t fingerprint[32];
	auto_buf did = BUF(256);
	TRY(certificate_sha256(sk_X509_value(plan->chain, sk_X509_num(plan->chain) - 1), fingerprint));
	TRY(buf_append_text(&did, did_prefix));
	TRY(base64url_encode(fingerprint, sizeof(fingerprint), &did));
	TRY(buf_printf(&did, "::eku:%s", plan->eku));
	TRY(put_text(out, "iss"));
	return put_text(out, buf_text(&did));
}

static skr_status put_protected_header(struct buf *out, const struct cose_plan *plan)
{
	TRY(put_head(out, CBOR_MAP, 6));
	TRY(put_integer(out, LABEL_ALGORITHM));
	TRY(put_integer(out, plan->algorithm));
	TRY(put_integer(out, LABEL_CONTENT_TYPE));
	TRY(put_text(out, "application/json"));
	TRY(put_x5chain(out, plan->chain));
	TRY(put_did(out, plan));
	TRY(put_text(out, "feed"));
	TRY(put_text(out, plan->feed));
	TRY(put_text(out, "signingtime"));
	TRY(put_head(out, CBOR_TAG, 1));
	return put_integer(out, plan->signing_time);
}

static skr_status ecdsa_from_der(const uint8_t *der, size_t len, const struct algorithm *a, struct buf *out)
{
	int half = (a->ec_bits + 7) / 8;
	uint8_t *place;
	ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)len);
	if (!signature)
		return ossl_fail(599, "an ECDSA signature");
	skr_status status = buf_reserve(out, (size_t)half * 2, &place);
	if (!status.failure) {
		BN_bn2binpad(ECDSA_SIG_get0_r(signature), place, half);
		BN_bn2binpad(ECDSA_SIG_get0_s(signature), place + half, half);
		out->len += (size_t)half * 2;
	}
	ECDSA_SIG_free(signature);
	return status;
}

static skr_status make_signature(const struct algorithm *a, EVP_PKEY *key, const struct buf *message, struct buf *out)
{
	uint8_t made[1024];
	size_t len = sizeof(made);
	auto_md_ctx *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = NULL; /* md's */

	if (!md || EVP_DigestSignInit_ex(md, &ctx, a->digest, ossl, NULL, key, NULL) != 1 || !set_padding(ctx, a) ||
	    EVP_DigestSign(md, made, &len, message->data, message->len) != 1)
		return ossl_fail(599, "signing a COSE_Sign1");
	return a->ec_bits ? ecdsa_from_der(made, len, a, out) : buf_append(out, made, len);
}

skr_status cose_sign(const struct cose_plan *plan, struct buf *out)
{
	const struct algorithm *a;
	auto_buf header = BUF(COSE_LIMIT), message = BUF(2 * COSE_LIMIT), signature = BUF(1024);
	struct cose_bytes payload = {(const uint8_t *)plan->payload, strlen(plan->payload)};

	TRY(algorithm_for(plan->algorithm, plan->key, &a));
	TRY(put_protected_header(&header, plan));
	TRY(sig_structure((struct cose_bytes){header.data, header.len}, payload, &message));
	TRY(make_signature(a, plan->key, &message, &signature));

	TRY(put_head(out, CBOR_TAG, 18));
	TRY(put_head(out, CBOR_ARRAY, 4));
	TRY(put_bytes(out, header.data, header.len));
	TRY(put_head(out, CBOR_MAP, 0));
	TRY(put_bytes(out, payload.data, payload.len));
	return put_bytes(out, signature.data, signature.len);
}
