/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/request.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <string.h>

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#define SIGNATURE_LIMIT 1024
#define LIMIT           (128 * 1024)

AUTO_OSSL(algorithm, X509_ALGOR, X509_ALGOR_free)
AUTO_OSSL(bits, ASN1_BIT_STRING, ASN1_BIT_STRING_free)
AUTO_OSSL(pss_params, RSA_PSS_PARAMS, RSA_PSS_PARAMS_free)
AUTO_OSSL(sig, ECDSA_SIG, ECDSA_SIG_free)
AUTO_OSSL(general_name, GENERAL_NAME, GENERAL_NAME_free)
AUTO_OSSL(string, ASN1_STRING, ASN1_STRING_free)
AUTO_OSSL(digest_info, X509_SIG, X509_SIG_free)
static void extensions_done(STACK_OF(X509_EXTENSION) **extensions)
{
	sk_X509_EXTENSION_pop_free(*extensions, X509_EXTENSION_free);
}
#define auto_algorithm    __attribute__((cleanup(algorithm_done))) X509_ALGOR
#define auto_bits         __attribute__((cleanup(bits_done))) ASN1_BIT_STRING
#define auto_pss_params   __attribute__((cleanup(pss_params_done))) RSA_PSS_PARAMS
#define auto_sig          __attribute__((cleanup(sig_done))) ECDSA_SIG
#define auto_general_name __attribute__((cleanup(general_name_done))) GENERAL_NAME
#define auto_string       __attribute__((cleanup(string_done))) ASN1_STRING
#define auto_digest_info  __attribute__((cleanup(digest_info_done))) X509_SIG
#define auto_extensions   __attribute__((cleanup(extensions_done))) STACK_OF(X509_EXTENSION)

__attribute__((format(printf, 2, 3))) static bool wrong(struct request_problem *problem, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(problem->text, sizeof(problem->text), format, args);
	va_end(args);
	return false;
}

/* ---- the subject ---- */

static const struct {
	const char *name;
	int nid;
} attributes[] = {
    {"CN", NID_commonName},
    {"O", NID_organizationName},
    {"OU", NID_organizationalUnitName},
    {"C", NID_countryName},
    {"ST", NID_stateOrProvinceName},
    {"L", NID_localityName},
    {"street", NID_streetAddress},
    {"postalCode", NID_postalCode},
    {"serialNumber", NID_serialNumber},
    {"emailAddress", NID_pkcs9_emailAddress},
    {"GN", NID_givenName},
    {"SN", NID_surname},
    {"title", NID_title},
    {"UID", NID_userId},
    {"DC", NID_domainComponent},
    {"businessCategory", NID_businessCategory},
    {"jurisdictionC", NID_jurisdictionCountryName},
    {"jurisdictionST", NID_jurisdictionStateOrProvinceName},
    {"jurisdictionL", NID_jurisdictionLocalityName},
};

static int attribute_nid(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++)
		if (strlen(attributes[i].name) == len && memcmp(attributes[i].name, name, len) == 0)
			return attributes[i].nid;
	return NID_undef;
}

/* A value up to the next / that is not escaped; moves `text` behind it. */
static bool read_value(const char **text, char *value, size_t size, struct request_problem *problem)
{
	const char *c = *text;
	size_t len = 0;

	for (; *c && *c != '/'; c++) {
		if (*c == '+')
			return wrong(problem,
			             "subject: + joins attributes, which is not supported: write \\+ for itself");
		if (*c == '\\' && !strchr("/\\+", *++c))
			return wrong(problem, "subject: \\ stands before / \\ and + only");
		if (!*c)
			return wrong(problem, "subject: it ends with \\");
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return wrong(problem, "subject: control characters are no part of names");
		if (len + 1 == size)
			return wrong(problem, "subject: a value has less than %zu bytes", size);
		value[len++] = *c;
	}
	value[len] = '\0';
	*text = c;
	return true;
}

/* "TYPE=VALUE"; moves `text` behind it. */
static bool add_attribute(const char **text, X509_NAME *name, struct request_problem *problem)
{
	char value[512];
	const char *type = *text;
	size_t len = strcspn(type, "=/");
	int nid = attribute_nid(type, len);

	if (type[len] != '=')
		return wrong(problem, "subject: \"%.*s\" is not TYPE=VALUE", (int)(len < 64 ? len : 64), type);
	if (nid == NID_undef)
		return wrong(problem, "subject: %.*s is none of CN O OU C ST L street serialNumber emailAddress DC …",
		             (int)(len < 64 ? len : 64), type);
	*text = type + len + 1;
	if (!read_value(text, value, sizeof(value), problem))
		return false;
	if (!value[0])
		return wrong(problem, "subject: %.*s has no value", (int)len, type);
	if (!X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (unsigned char *)value, -1, -1, 0)) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());
		ERR_clear_error();
		return wrong(problem, "subject: %.*s=%.64s: %s", (int)len, type, value, reason ? reason : "refused");
	}
	return true;
}

bool request_subject(const char *text, X509_NAME **ret, struct request_problem *problem)
{
	auto_x509_name *name = X509_NAME_new();

	if (!name)
		return wrong(problem, "out of memory");
	if (text[0] != '/' || !text[1])
		return wrong(problem, "subject: it is written /CN=www.example.com/O=Example, beginning with a /");
	while (*text) {
		text++; /* the / before an attribute */
		if (!add_attribute(&text, name, problem))
			return false;
	}
	*ret = TAKE(name);
	return true;
}

/* ---- alternative names ---- */

static bool is_label(const char *label, size_t len)
{
	if (len == 0 || len > 63 || label[0] == '-' || label[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)label[i]) && label[i] != '-')
			return false;
	return true;
}

/* RFC 1123; names in other scripts are written as their xn-- form. */
static bool is_host(const char *host)
{
	if (strlen(host) > 253)
		return false;
	for (;;) {
		size_t len = strcspn(host, ".");
		if (!is_label(host, len))
			return false;
		if (!host[len])
			return true;
		host += len + 1;
	}
}

static bool is_dns(const char *value)
{
	return is_host(strncmp(value, "*.", 2) == 0 ? value + 2 : value);
}

static bool is_graphic(const char *value)
{
	for (; *value; value++)
		if (!isgraph((unsigned char)*value))
			return false;
	return true;
}

static bool is_email(const char *value)
{
	const char *at = strchr(value, '@');
	return at && at != value && is_graphic(value) && is_host(at + 1);
}

static bool is_uri(const char *value)
{
	size_t scheme = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
	return scheme && isalpha((unsigned char)*value) && value[scheme] == ':' && value[scheme + 1] &&
	       is_graphic(value);
}

/* As written; of an address the 4 or 16 bytes. False: it is no address. */
static bool set_text(ASN1_STRING *string, const char *value)
{
	return ASN1_STRING_set(string, value, -1);
}

static bool set_address(ASN1_STRING *string, const char *value)
{
	uint8_t bytes[16];

	if (inet_pton(AF_INET, value, bytes) == 1)
		return ASN1_STRING_set(string, bytes, 4);
	return inet_pton(AF_INET6, value, bytes) == 1 && ASN1_STRING_set(string, bytes, 16);
}

static bool is_address(const char *value)
{
	uint8_t bytes[16];
	return inet_pton(AF_INET, value, bytes) == 1 || inet_pton(AF_INET6, value, bytes) == 1;
}

static const struct kind {
	const char *prefix;
	int type, string;
	bool (*is)(const char *value);
	bool (*set)(ASN1_STRING *string, const char *value);
	const char *wanted;
} kinds[] = {
    {"DNS:", GEN_DNS, V_ASN1_IA5STRING, is_dns, set_text, "the name of a host, or *. and one"},
    {"IP:", GEN_IPADD, V_ASN1_OCTET_STRING, is_address, set_address, "an address of IPv4 or IPv6"},
    {"email:", GEN_EMAIL, V_ASN1_IA5STRING, is_email, set_text, "name@host"},
    {"URI:", GEN_URI, V_ASN1_IA5STRING, is_uri, set_text, "scheme:rest, without blanks"},
};

static const struct kind *find_kind(const char *item)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strncmp(item, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
			return &kinds[i];
	return NULL;
}

static bool add_name(const char *item, GENERAL_NAMES *names, struct request_problem *problem)
{
	const struct kind *kind = find_kind(item);

	if (!kind)
		return wrong(problem, "\"%.80s\" begins with none of DNS: IP: email: URI:", item);
	const char *value = item + strlen(kind->prefix);
	if (!kind->is(value))
		return wrong(problem, "%.80s: behind %s stands %s", item, kind->prefix, kind->wanted);

	auto_general_name *name = GENERAL_NAME_new();
	auto_string *string = ASN1_STRING_type_new(kind->string);
	if (!name || !string || !kind->set(string, value))
		return wrong(problem, "out of memory");
	GENERAL_NAME_set0_value(name, kind->type, TAKE(string));
	if (sk_GENERAL_NAME_push(names, name) <= 0)
		return wrong(problem, "out of memory");
	name = NULL;
	return true;
}

bool request_names(const char *list, GENERAL_NAMES *names, struct request_problem *problem)
{
	for (;;) {
		char item[512];
		size_t len = strcspn(list, ",");
		if (len >= sizeof(item))
			return wrong(problem, "a name has less than %zu bytes", sizeof(item));
		memcpy(item, list, len);
		item[len] = '\0';
		if (!add_name(item, names, problem))
			return false;
		if (!list[len])
			return true;
		list += len + 1;
	}
}

/* ---- algorithms ---- */

const struct request_digest request_digests[] = {
    {"sha256", NID_sha256, 32}, {"sha384", NID_sha384, 48}, {"sha512", NID_sha512, 64}, {NULL, NID_undef, 0}};

const struct request_digest *request_digest_find(const char *name)
{
	const struct request_digest *digest = request_digests;

	while (digest->name && strcmp(digest->name, name) != 0)
		digest++;
	return digest->name ? digest : NULL;
}

const struct request_digest *request_digest_for(const EVP_PKEY *key)
{
	const struct request_digest *digest = request_digests;

	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC)
		while (digest[1].name && (int)digest->size * 8 < EVP_PKEY_get_bits(key))
			digest++;
	return digest;
}

static bool is_ec(const struct request *request)
{
	return EVP_PKEY_get_base_id(request->key) == EVP_PKEY_EC;
}

/* RFC 4055 section 3.1: hash and mask of the digest, a salt as long. */
static X509_ALGOR *pss_algorithm(const struct request_digest *digest)
{
	auto_pss_params *pss = RSA_PSS_PARAMS_new();
	auto_algorithm *ret = X509_ALGOR_new();
	auto_string *encoded = NULL;

	if (!pss || !ret || !(pss->hashAlgorithm = X509_ALGOR_new()) || !(pss->maskGenAlgorithm = X509_ALGOR_new()) ||
	    !(pss->saltLength = ASN1_INTEGER_new()) || !ASN1_INTEGER_set(pss->saltLength, (long)digest->size) ||
	    !X509_ALGOR_set0(pss->hashAlgorithm, OBJ_nid2obj(digest->nid), V_ASN1_NULL, NULL) ||
	    !ASN1_item_pack(pss->hashAlgorithm, ASN1_ITEM_rptr(X509_ALGOR), &encoded) ||
	    !X509_ALGOR_set0(pss->maskGenAlgorithm, OBJ_nid2obj(NID_mgf1), V_ASN1_SEQUENCE, encoded))
		return NULL;
	encoded = NULL;
	if (!ASN1_item_pack(pss, ASN1_ITEM_rptr(RSA_PSS_PARAMS), &encoded) ||
	    !X509_ALGOR_set0(ret, OBJ_nid2obj(NID_rsassaPss), V_ASN1_SEQUENCE, encoded))
		return NULL;
	encoded = NULL;
	return TAKE(ret);
}

static X509_ALGOR *plain_algorithm(const struct request *request)
{
	auto_algorithm *ret = X509_ALGOR_new();
	int nid = NID_undef;

	if (!ret || !OBJ_find_sigid_by_algs(&nid, request->digest->nid, EVP_PKEY_get_base_id(request->key)) ||
	    !X509_ALGOR_set0(ret, OBJ_nid2obj(nid), is_ec(request) ? V_ASN1_UNDEF : V_ASN1_NULL, NULL))
		return NULL;
	return TAKE(ret);
}

/* ---- extensions ---- */

static skr_status add_extension(STACK_OF(X509_EXTENSION) *extensions, int nid, bool critical, void *value)
{
	X509_EXTENSION *extension = X509V3_EXT_i2d(nid, critical, value);

	if (extension && sk_X509_EXTENSION_push(extensions, extension) > 0)
		return OK;
	X509_EXTENSION_free(extension);
	return ossl_fail(599, "an extension of the request");
}

/* RFC 5280 section 4.2.1.3: bit 0 digitalSignature, bit 2 keyEncipherment. */
static skr_status add_extensions(const struct request *request, X509_REQ *req)
{
	auto_extensions *extensions = sk_X509_EXTENSION_new_null();
	auto_bits *usage = ASN1_BIT_STRING_new();

	if (!extensions || !usage || !ASN1_BIT_STRING_set_bit(usage, 0, 1) ||
	    (request->encipherment && !ASN1_BIT_STRING_set_bit(usage, 2, 1)))
		return ossl_fail(14, "the request's key usage");
	TRY(add_extension(extensions, NID_key_usage, true, usage));
	if (sk_GENERAL_NAME_num(request->names) > 0)
		TRY(add_extension(extensions, NID_subject_alt_name, false, (void *)(uintptr_t)request->names));
	if (!X509_REQ_add_extensions(req, extensions))
		return ossl_fail(599, "the request's extensions");
	return OK;
}

/* ---- the signature ---- */

static skr_status wrap_digest(const struct request *request, const uint8_t *hash, struct buf *out)
{
	auto_digest_info *info = X509_SIG_new();
	X509_ALGOR *algorithm;
	ASN1_OCTET_STRING *value;
	uint8_t *place;

	if (!info)
		return ossl_fail(14, "DigestInfo");
	X509_SIG_getm(info, &algorithm, &value);
	if (!X509_ALGOR_set0(algorithm, OBJ_nid2obj(request->digest->nid), V_ASN1_NULL, NULL) ||
	    !ASN1_OCTET_STRING_set(value, hash, (int)request->digest->size))
		return ossl_fail(14, "DigestInfo");
	int len = i2d_X509_SIG(info, NULL);
	if (len <= 0)
		return ossl_fail(599, "DigestInfo");
	TRY(buf_reserve(out, (size_t)len, &place));
	out->len += (size_t)i2d_X509_SIG(info, &place);
	return OK;
}

/* What is to be signed, hashed. */
static skr_status signing_input(const struct request *request, X509_REQ *req, struct buf *out)
{
	uint8_t *tbs = NULL, hash[64];
	int len = i2d_re_X509_REQ_tbs(req, &tbs);

	if (len <= 0)
		return ossl_fail(599, "the request's encoding");
	int good = EVP_Q_digest(ossl, request->digest->name, NULL, tbs, (size_t)len, hash, NULL);
	OPENSSL_free(tbs);
	if (!good)
		return ossl_fail(599, "the request's hash");
	if (is_ec(request) || request->padding == REQUEST_PSS)
		return buf_append(out, hash, request->digest->size);
	return wrap_digest(request, hash, out);
}

/* r and s as X.509 has them (RFC 3279 section 2.2.3). */
static skr_status encode_ecdsa(struct buf *signature)
{
	auto_sig *sig = ECDSA_SIG_new();
	size_t half = signature->len / 2;
	auto_bn *r = BN_bin2bn(signature->data, (int)half, NULL);
	auto_bn *s = BN_bin2bn(signature->data + half, (int)half, NULL);
	uint8_t *place;

	if (!sig || !r || !s || !ECDSA_SIG_set0(sig, r, s))
		return ossl_fail(14, "an ECDSA signature");
	r = s = NULL;
	buf_clear(signature);
	int len = i2d_ECDSA_SIG(sig, NULL);
	if (len <= 0)
		return ossl_fail(599, "an ECDSA signature");
	TRY(buf_reserve(signature, (size_t)len, &place));
	signature->len += (size_t)i2d_ECDSA_SIG(sig, &place);
	return OK;
}

static skr_status put_signature(X509_REQ *req, X509_ALGOR *algorithm, const struct buf *signature)
{
	auto_bits *bits = ASN1_BIT_STRING_new();

	if (!algorithm || !bits || !ASN1_BIT_STRING_set(bits, signature->data, (int)signature->len))
		return ossl_fail(14, "the request's signature");
	bits->flags &= ~(ASN1_STRING_FLAG_BITS_LEFT | 7); /* no bit of the last byte is unused */
	bits->flags |= ASN1_STRING_FLAG_BITS_LEFT;
	if (!X509_REQ_set1_signature_algo(req, algorithm))
		return ossl_fail(599, "the request's algorithm");
	X509_REQ_set0_signature(req, TAKE(bits));
	return OK;
}

static skr_status sign(const struct request *request, const struct request_signer *signer, X509_REQ *req)
{
	auto_buf input = BUF(SIGNATURE_LIMIT), signature = BUF(SIGNATURE_LIMIT);
	bool pss = !is_ec(request) && request->padding == REQUEST_PSS;
	auto_algorithm *algorithm = pss ? pss_algorithm(request->digest) : plain_algorithm(request);

	TRY(signing_input(request, req, &input));
	TRY(signer->sign(&input, &signature, signer->with));
	if (is_ec(request))
		TRY(encode_ecdsa(&signature));
	return put_signature(req, algorithm, &signature);
}

/* ---- the request ---- */

static skr_status fill(const struct request *request, X509_REQ *req)
{
	if (!X509_REQ_set_version(req, 0) || !X509_REQ_set_subject_name(req, request->subject) ||
	    !X509_REQ_set_pubkey(req, request->key))
		return ossl_fail(599, "the request");
	return add_extensions(request, req);
}

skr_status request_make(const struct request *request, const struct request_signer *signer, struct buf *out)
{
	auto_x509_req *req = X509_REQ_new_ex(ossl, NULL);
	auto_bio *bio = BIO_new(BIO_s_mem());
	char *text;

	if (!req || !bio)
		return ossl_fail(14, "a request");
	TRY(fill(request, req));
	TRY(sign(request, signer, req));
	if (X509_REQ_verify_ex(req, request->key, ossl, NULL) != 1)
		return ossl_fail(599, "the signature is not that of the key: the request does not verify");
	if (!PEM_write_bio_X509_REQ(bio, req))
		return ossl_fail(14, "PEM text");
	long len = BIO_get_mem_data(bio, &text);
	return buf_append(out, text, (size_t)len);
}
