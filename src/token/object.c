/* SPDX-License-Identifier: Apache-2.0 */
#include "token/object.h"

#include "token/rules.h"

#include <skr_pkcs11.h>

#include <openssl/asn1.h>
#include <openssl/core_names.h>
#include <stdlib.h>
#include <string.h>

/* PKCS#11 2.40 section 4.6.2, CKA_CERTIFICATE_CATEGORY. */
#define CATEGORY_TOKEN_USER 1UL
#define CATEGORY_AUTHORITY  2UL

AUTO_OSSL(octets, ASN1_OCTET_STRING, ASN1_OCTET_STRING_free)
#define auto_octets __attribute__((cleanup(octets_done))) ASN1_OCTET_STRING

/* DER that OpenSSL's i2d functions allocate. */
struct der {
	uint8_t *data;
	int len;
};
static void der_done(struct der *d)
{
	OPENSSL_free(d->data);
}
#define auto_der __attribute__((cleanup(der_done))) struct der

static skr_status sha1(const void *data, size_t len, uint8_t out[20])
{
	if (!EVP_Q_digest(ossl, "SHA1", NULL, data, len, out, NULL))
		return ossl_fail(599, "SHA-1");
	return OK;
}

/* ---- the public half ---- */

/* One DER element at *p: its content, and what follows it. */
static bool der_enter(const uint8_t **p, const uint8_t *end, int tag, const uint8_t **ret_content, size_t *ret_len)
{
	long len;
	int found, class;

	if (ASN1_get_object(p, &len, &found, &class, end - *p) & 0x80 || found != tag || class != V_ASN1_UNIVERSAL)
		return false;
	*ret_content = *p;
	*ret_len = (size_t)len;
	*p += len;
	return true;
}

/* SubjectPublicKeyInfo ::= SEQUENCE { algorithm SEQUENCE { OID, parameters }, subjectPublicKey BIT STRING } */
struct spki_parts {
	const uint8_t *parameters, *bits;
	size_t parameters_len, bits_len;
};

static bool spki_take_apart(const uint8_t *spki, size_t spki_len, struct spki_parts *ret)
{
	const uint8_t *p = spki, *inner, *algorithm, *oid;
	size_t inner_len, algorithm_len, oid_len;

	if (!der_enter(&p, spki + spki_len, V_ASN1_SEQUENCE, &inner, &inner_len))
		return false;
	p = inner;
	if (!der_enter(&p, inner + inner_len, V_ASN1_SEQUENCE, &algorithm, &algorithm_len) ||
	    !der_enter(&p, inner + inner_len, V_ASN1_BIT_STRING, &ret->bits, &ret->bits_len) || ret->bits_len < 2)
		return false;
	ret->bits++; /* the count of unused bits, always 0 here */
	ret->bits_len--;

	ret->parameters = algorithm;
	if (!der_enter(&ret->parameters, algorithm + algorithm_len, V_ASN1_OBJECT, &oid, &oid_len))
		return false;
	ret->parameters_len = (size_t)(algorithm + algorithm_len - ret->parameters);
	return true;
}

void public_half_done(struct public_half *half)
{
	OPENSSL_free(half->spki);
	half->spki = NULL;
}

skr_status public_half_of(EVP_PKEY *pkey, struct public_half *ret)
{
	auto_public_half half = {0};
	struct spki_parts parts;

	if (EVP_PKEY_is_a(pkey, "EC") &&
	    !EVP_PKEY_set_utf8_string_param(pkey, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed"))
		return ossl_fail(599, "encoding of an EC point");
	int len = i2d_PUBKEY(pkey, &half.spki);
	if (len <= 0)
		return ossl_fail(599, "encoding of a public key");
	half.spki_len = (size_t)len;
	if (!spki_take_apart(half.spki, half.spki_len, &parts))
		return FAIL(599, "SubjectPublicKeyInfo of %zu bytes is not as expected", half.spki_len);
	TRY(sha1(parts.bits, parts.bits_len, half.id));
	TRY(sha256(half.spki, half.spki_len, half.sha256));

	*ret = half;
	half.spki = NULL;
	return OK;
}

/* ---- attributes ---- */

static void add_number(struct attributes *a, CK_ATTRIBUTE_TYPE type, const EVP_PKEY *pkey, const char *name)
{
	BIGNUM *number = NULL;
	uint8_t bytes[2048];

	if (EVP_PKEY_get_bn_param(pkey, name, &number) && (size_t)BN_num_bytes(number) <= sizeof(bytes))
		attributes_add(a, type, bytes, (size_t)BN_bn2bin(number, bytes));
	else
		a->failed = true;
	BN_free(number);
}

static void add_rsa_numbers(struct attributes *a, const EVP_PKEY *pkey)
{
	add_number(a, CKA_MODULUS, pkey, OSSL_PKEY_PARAM_RSA_N);
	add_number(a, CKA_PUBLIC_EXPONENT, pkey, OSSL_PKEY_PARAM_RSA_E);
	attributes_add_ulong(a, CKA_MODULUS_BITS, (CK_ULONG)EVP_PKEY_get_bits(pkey));
}

/* The curve as OBJECT IDENTIFIER and the point as a DER OCTET STRING: OpenSSH takes no other form. */
static void add_ec_numbers(struct attributes *a, const struct public_half *half)
{
	struct spki_parts parts;
	auto_octets *point = ASN1_OCTET_STRING_new();
	auto_der der = {0};

	if (!point || !spki_take_apart(half->spki, half->spki_len, &parts) ||
	    !ASN1_OCTET_STRING_set(point, parts.bits, (int)parts.bits_len) ||
	    (der.len = i2d_ASN1_OCTET_STRING(point, &der.data)) <= 0) {
		a->failed = true;
		return;
	}
	attributes_add(a, CKA_EC_PARAMS, parts.parameters, parts.parameters_len);
	attributes_add(a, CKA_EC_POINT, der.data, (size_t)der.len);
}

void attributes_add_public_half(struct attributes *a, const EVP_PKEY *pkey, const struct public_half *half)
{
	if (EVP_PKEY_is_a(pkey, "RSA"))
		add_rsa_numbers(a, pkey);
	else
		add_ec_numbers(a, half);
	attributes_add(a, CKA_PUBLIC_KEY_INFO, half->spki, half->spki_len);
}

static void add_storage(struct attributes *a, const struct object *object, const char *label)
{
	static const char digits[] = "0123456789abcdef";
	char name[17] = {0};
	CK_OBJECT_HANDLE rest = object->handle;

	for (size_t i = sizeof(name) - 1; i-- > 0; rest >>= 4)
		name[i] = digits[rest & 0xf];
	attributes_add_ulong(a, CKA_CLASS, object->class);
	attributes_add_bool(a, CKA_TOKEN, true);
	attributes_add_bool(a, CKA_PRIVATE, object_is_private(object));
	attributes_add_text(a, CKA_LABEL, label);
	attributes_add_text(a, CKA_UNIQUE_ID, name);
	attributes_add_bool(a, CKA_MODIFIABLE, false);
	attributes_add_bool(a, CKA_COPYABLE, false); /* true makes pkcs11-provider copy the key for its own use */
	attributes_add_bool(a, CKA_DESTROYABLE, false);
}

static void add_any_key(struct attributes *a, CK_KEY_TYPE type, const uint8_t id[20])
{
	attributes_add_ulong(a, CKA_KEY_TYPE, type);
	attributes_add(a, CKA_ID, id, 20);
	attributes_add(a, CKA_START_DATE, NULL, 0);
	attributes_add(a, CKA_END_DATE, NULL, 0);
	attributes_add_bool(a, CKA_LOCAL, false);
	attributes_add_ulong(a, CKA_KEY_GEN_MECHANISM, CK_UNAVAILABLE_INFORMATION);
}

static void add_key(struct attributes *a, const EVP_PKEY *pkey, const struct public_half *half,
                    const CK_ATTRIBUTE *subject, const char *kid)
{
	add_any_key(a, EVP_PKEY_is_a(pkey, "RSA") ? CKK_RSA : CKK_EC, half->id);
	attributes_add(a, CKA_SUBJECT, subject ? subject->pValue : NULL, subject ? subject->ulValueLen : 0);
	if (kid)
		attributes_add_text(a, CKA_SKR_KEY_ID, kid);
	attributes_add_public_half(a, pkey, half);
	attributes_add(a, CKA_SKR_PUBLIC_KEY_HASH, half->sha256, sizeof(half->sha256));
}

/* ---- making objects ---- */

static skr_status handle_of(const char *token, CK_OBJECT_CLASS class, const char *label, const void *value, size_t len,
                            CK_OBJECT_HANDLE *ret)
{
	uint8_t digest[32];
	auto_buf identity = BUF(128 * 1024);

	TRY(buf_printf(&identity, "%s\n%lu\n%s\n", token, class, label));
	TRY(buf_append(&identity, value, len));
	TRY(sha256(identity.data, identity.len, digest));
	CK_OBJECT_HANDLE number = 0;
	for (int i = 0; i < 5; i++)
		number = number << 8 | digest[i];
	*ret = number << 4 | class;
	return OK;
}

CK_OBJECT_CLASS handle_class(CK_OBJECT_HANDLE handle)
{
	return handle & 0xf;
}

bool object_is_private(const struct object *object)
{
	return object->is_private;
}

static void object_done(struct object **object)
{
	object_free(*object);
}
#define auto_object __attribute__((cleanup(object_done))) struct object

void object_free(struct object *object)
{
	if (!object)
		return;
	attributes_free(&object->attributes);
	key_drop(object->key);
	free(object);
}

static skr_status object_start(const char *token, CK_OBJECT_CLASS class, const char *label, const void *value,
                               size_t len, struct object **ret)
{
	auto_object *object = calloc(1, sizeof(*object));

	if (!object)
		return FAIL(14, "an object of the token");
	object->class = class;
	object->is_private = class == CKO_PRIVATE_KEY || class == CKO_SECRET_KEY;
	TRY(handle_of(token, class, label, value, len, &object->handle));
	add_storage(&object->attributes, object, label);
	*ret = TAKE(object);
	return OK;
}

static skr_status object_finish(struct object **object, struct object **ret)
{
	if ((*object)->attributes.failed)
		return FAIL(14, "the attributes of an object");
	*ret = TAKE(*object);
	return OK;
}

static void add_date(struct attributes *a, CK_ATTRIBUTE_TYPE type, const ASN1_TIME *time)
{
	struct tm when;
	char text[32];

	if (ASN1_TIME_to_tm(time, &when) && strftime(text, sizeof(text), "%Y%m%d", &when) == 8)
		attributes_add(a, type, text, 8);
	else
		attributes_add(a, type, NULL, 0);
}

static void add_name(struct attributes *a, CK_ATTRIBUTE_TYPE type, const X509_NAME *name)
{
	auto_der der = {0};

	der.len = i2d_X509_NAME(name, &der.data);
	if (der.len > 0)
		attributes_add(a, type, der.data, (size_t)der.len);
	else
		a->failed = true;
}

static void add_serial(struct attributes *a, const X509 *certificate)
{
	auto_der der = {0};

	der.len = i2d_ASN1_INTEGER(X509_get0_serialNumber(certificate), &der.data);
	if (der.len > 0)
		attributes_add(a, CKA_SERIAL_NUMBER, der.data, (size_t)der.len);
	else
		a->failed = true;
}

void attributes_add_certificate(struct attributes *a, const X509 *certificate, bool is_authority)
{
	attributes_add_ulong(a, CKA_CERTIFICATE_TYPE, CKC_X_509);
	attributes_add_ulong(a, CKA_CERTIFICATE_CATEGORY, is_authority ? CATEGORY_AUTHORITY : CATEGORY_TOKEN_USER);
	attributes_add_bool(a, CKA_TRUSTED, false);
	add_name(a, CKA_SUBJECT, X509_get_subject_name(certificate));
	add_name(a, CKA_ISSUER, X509_get_issuer_name(certificate));
	add_serial(a, certificate);
	add_date(a, CKA_START_DATE, X509_get0_notBefore(certificate));
	add_date(a, CKA_END_DATE, X509_get0_notAfter(certificate));
	attributes_add(a, CKA_URL, NULL, 0);
	attributes_add(a, CKA_HASH_OF_SUBJECT_PUBLIC_KEY, NULL, 0);
	attributes_add(a, CKA_HASH_OF_ISSUER_PUBLIC_KEY, NULL, 0);
	attributes_add_ulong(a, CKA_NAME_HASH_ALGORITHM, CKM_SHA_1);
	attributes_add_ulong(a, CKA_JAVA_MIDP_SECURITY_DOMAIN, 0);
}

skr_status object_of_certificate(const char *token, X509 *certificate, const char *label, bool is_authority,
                                 struct object **ret)
{
	auto_object *object = NULL;
	auto_public_half half = {0};
	auto_pkey *pkey = X509_get_pubkey(certificate);
	auto_der der = {0};
	uint8_t digest[20];

	if (!pkey)
		return ossl_fail(4, "public key of a certificate");
	TRY(public_half_of(pkey, &half));
	der.len = i2d_X509(certificate, &der.data);
	if (der.len <= 0)
		return ossl_fail(599, "encoding of a certificate");
	TRY(sha1(der.data, (size_t)der.len, digest));
	TRY(object_start(token, CKO_CERTIFICATE, label, der.data, (size_t)der.len, &object));

	struct attributes *a = &object->attributes;
	attributes_add_certificate(a, certificate, is_authority);
	attributes_add(a, CKA_VALUE, der.data, (size_t)der.len);
	attributes_add(a, CKA_CHECK_VALUE, digest, 3);
	attributes_add(a, CKA_ID, half.id, sizeof(half.id));
	attributes_add(a, CKA_PUBLIC_KEY_INFO, half.spki, half.spki_len);
	return object_finish(&object, ret);
}

/* What the public half can do harms nobody, so it does not depend on the key's key_ops, which nobody knows before
 * login. */
skr_status object_of_public_key(const char *token, EVP_PKEY *pkey, const char *label, const CK_ATTRIBUTE *subject,
                                const char *kid, struct object **ret)
{
	auto_object *object = NULL;
	auto_public_half half = {0};

	if (!EVP_PKEY_is_a(pkey, "RSA") && !EVP_PKEY_is_a(pkey, "EC"))
		return FAIL(4, "neither an RSA nor an EC key");
	TRY(public_half_of(pkey, &half));
	TRY(object_start(token, CKO_PUBLIC_KEY, label, half.spki, half.spki_len, &object));
	object->released = kid != NULL;

	struct attributes *a = &object->attributes;
	add_key(a, pkey, &half, subject, kid);
	attributes_add_uses(a, CKO_PUBLIC_KEY, KEY_USE_VERIFY | (EVP_PKEY_is_a(pkey, "RSA") ? KEY_USE_ENCRYPT : 0));
	attributes_add_bool(a, CKA_TRUSTED, false);
	return object_finish(&object, ret);
}

/* The key did arrive wrapped, from outside: so neither LOCAL nor ALWAYS_SENSITIVE nor NEVER_EXTRACTABLE. */
static void add_protection(struct attributes *a)
{
	attributes_add_bool(a, CKA_SENSITIVE, true);
	attributes_add_bool(a, CKA_EXTRACTABLE, false);
	attributes_add_bool(a, CKA_ALWAYS_SENSITIVE, false);
	attributes_add_bool(a, CKA_NEVER_EXTRACTABLE, false);
	attributes_add_bool(a, CKA_WRAP_WITH_TRUSTED, false);
}

void attributes_add_secret_names(struct attributes *a, CK_KEY_TYPE type)
{
	static const CK_ATTRIBUTE_TYPE rsa[] = {CKA_PRIVATE_EXPONENT, CKA_PRIME_1,    CKA_PRIME_2,
	                                        CKA_EXPONENT_1,       CKA_EXPONENT_2, CKA_COEFFICIENT};

	if (type != CKK_RSA) {
		attributes_add_secret(a, CKA_VALUE);
		return;
	}
	for (size_t i = 0; i < sizeof(rsa) / sizeof(rsa[0]); i++)
		attributes_add_secret(a, rsa[i]);
}

static void add_public_uses(struct attributes *a, unsigned uses)
{
	attributes_add_bool(a, CKA_ENCRYPT, uses & KEY_USE_ENCRYPT);
	attributes_add_bool(a, CKA_VERIFY, uses & KEY_USE_VERIFY);
	attributes_add_bool(a, CKA_WRAP, uses & KEY_USE_WRAP);
}

static void add_private_uses(struct attributes *a, unsigned uses)
{
	attributes_add_bool(a, CKA_DECRYPT, uses & KEY_USE_DECRYPT);
	attributes_add_bool(a, CKA_SIGN, uses & KEY_USE_SIGN);
	attributes_add_bool(a, CKA_UNWRAP, uses & KEY_USE_UNWRAP);
}

void attributes_add_uses(struct attributes *a, CK_OBJECT_CLASS class, unsigned uses)
{
	if (class != CKO_PRIVATE_KEY)
		add_public_uses(a, uses);
	if (class != CKO_PUBLIC_KEY)
		add_private_uses(a, uses);
	if (class == CKO_PUBLIC_KEY)
		attributes_add_bool(a, CKA_VERIFY_RECOVER, false);
	if (class == CKO_PRIVATE_KEY)
		attributes_add_bool(a, CKA_SIGN_RECOVER, false);
	if (class == CKO_PRIVATE_KEY)
		attributes_add_bool(a, CKA_ALWAYS_AUTHENTICATE, false);
	attributes_add_bool(a, CKA_DERIVE, uses & KEY_USE_DERIVE);
}

static skr_status unusable(const struct released_key *released, CK_RV rv)
{
	return FAIL(rv == CKR_HOST_MEMORY ? 14 : 341, "key %s: not usable (CKR 0x%lx)", released->kid, rv);
}

skr_status object_of_released_key(const char *token, const struct released_key *released, const CK_ATTRIBUTE *subject,
                                  struct object **ret)
{
	auto_object *object = NULL;
	auto_public_half half = {0};
	const char *label = released->config->label;

	TRY(public_half_of(released->key, &half));
	TRY(object_start(token, CKO_PRIVATE_KEY, label, half.spki, half.spki_len, &object));
	object->released = true;

	struct attributes *a = &object->attributes;
	add_key(a, released->key, &half, subject, released->kid);
	add_protection(a);
	unsigned uses = rules_separated(released->ops);
	attributes_add_uses(a, CKO_PRIVATE_KEY, uses);

	EVP_PKEY_up_ref(released->key);
	CK_RV rv = key_new(released->key, true, uses, &object->key);
	if (rv != CKR_OK)
		return unusable(released, rv);
	attributes_add_secret_names(a, key_type(object->key));
	return object_finish(&object, ret);
}

/* What signs and does nothing else is a key for HMAC, and so is what has no length of AES. */
static CK_KEY_TYPE secret_type(unsigned uses, size_t len)
{
	bool signs_only = !(uses & ~(unsigned)(KEY_USE_SIGN | KEY_USE_VERIFY));
	bool fits = len == 16 || len == 24 || len == 32;

	return fits && !signs_only ? CKK_AES : CKK_GENERIC_SECRET;
}

/* A function of the configuration alone, the same for every version: there is no public half to make an id of. */
static skr_status secret_id(const struct released_key *released, uint8_t ret[20])
{
	auto_buf address = BUF(1024);

	TRY(buf_printf(&address, "https://%s/keys/%s", released->config->host, released->config->name));
	return sha1(address.data, address.len, ret);
}

skr_status object_of_released_secret(const char *token, const struct released_key *released, struct object **ret)
{
	auto_object *object = NULL;
	unsigned uses = rules_separated(released->ops);
	CK_BYTE id[20], check[3];

	TRY(secret_id(released, id));
	TRY(object_start(token, CKO_SECRET_KEY, released->config->label, released->kid, strlen(released->kid),
	                 &object));
	object->released = true;
	CK_RV rv = key_new_secret(released->secret.data, released->secret.len, secret_type(uses, released->secret.len),
	                          uses, &object->key);
	if (rv == CKR_OK)
		rv = key_check_value(object->key, check);
	if (rv != CKR_OK)
		return unusable(released, rv);

	struct attributes *a = &object->attributes;
	add_any_key(a, key_type(object->key), id);
	attributes_add_text(a, CKA_SKR_KEY_ID, released->kid);
	attributes_add_ulong(a, CKA_VALUE_LEN, released->secret.len);
	attributes_add(a, CKA_CHECK_VALUE, check, sizeof(check));
	attributes_add_bool(a, CKA_TRUSTED, false);
	add_protection(a);
	attributes_add_uses(a, CKO_SECRET_KEY, uses);
	attributes_add_secret_names(a, key_type(object->key));
	return object_finish(&object, ret);
}

CK_RV object_public_key(struct object *object, struct key **ret)
{
	const CK_ATTRIBUTE *spki = attributes_get(&object->attributes, CKA_PUBLIC_KEY_INFO);

	if (!object->key) {
		const uint8_t *p = spki->pValue;
		EVP_PKEY *pkey = d2i_PUBKEY_ex(NULL, &p, (long)spki->ulValueLen, ossl, NULL);
		if (!pkey) {
			ossl_fail(599, "public key of an object");
			return CKR_FUNCTION_FAILED;
		}
		CK_RV rv = key_new(pkey, false, KEY_USE_VERIFY | KEY_USE_ENCRYPT, &object->key);
		if (rv != CKR_OK)
			return rv;
	}
	*ret = object->key;
	return CKR_OK;
}

/* ---- what is asked of an object ---- */

static const char *rsa_component(CK_ATTRIBUTE_TYPE type)
{
	switch (type) {
	case CKA_PRIVATE_EXPONENT:
		return OSSL_PKEY_PARAM_RSA_D;
	case CKA_PRIME_1:
		return OSSL_PKEY_PARAM_RSA_FACTOR1;
	case CKA_PRIME_2:
		return OSSL_PKEY_PARAM_RSA_FACTOR2;
	case CKA_EXPONENT_1:
		return OSSL_PKEY_PARAM_RSA_EXPONENT1;
	case CKA_EXPONENT_2:
		return OSSL_PKEY_PARAM_RSA_EXPONENT2;
	default:
		return OSSL_PKEY_PARAM_RSA_COEFFICIENT1;
	}
}

static CK_RV read_number(const struct key *key, CK_ATTRIBUTE *want)
{
	bool rsa = key_type(key) == CKK_RSA;
	BIGNUM *number = NULL;
	auto_buf bytes = BUF(2048);
	uint8_t *place;

	if (!EVP_PKEY_get_bn_param(key_pkey(key), rsa ? rsa_component(want->type) : OSSL_PKEY_PARAM_PRIV_KEY,
	                           &number)) {
		ossl_fail(599, "a number of a session key");
		want->ulValueLen = CK_UNAVAILABLE_INFORMATION;
		return CKR_ATTRIBUTE_TYPE_INVALID; /* an RSA key may have come without its primes */
	}
	int len = rsa ? BN_num_bytes(number) : (int)key_size(key);
	CK_RV rv = CKR_HOST_MEMORY;
	if (!buf_reserve(&bytes, (size_t)len, &place).failure && BN_bn2binpad(number, place, len) == len)
		rv = attribute_answer(want, place, (size_t)len);
	OPENSSL_cleanse(bytes.data, bytes.room);
	BN_clear_free(number);
	return rv;
}

static CK_RV read_secret(const struct key *key, CK_ATTRIBUTE *want)
{
	auto_buf value = BUF(KEY_SECRET_MAX);

	if (!key_is_secret(key))
		return read_number(key, want);
	CK_RV rv = key_value(key, &value);
	return rv == CKR_OK ? attribute_answer(want, value.data, value.len) : rv;
}

/* Two witnesses: the attributes, and the key itself. */
static bool is_open(const struct object *object)
{
	return object->key && key_uses(object->key) & KEY_USE_LEAVE &&
	       attributes_flag(&object->attributes, CKA_EXTRACTABLE) &&
	       !attributes_flag(&object->attributes, CKA_SENSITIVE) && !attributes_flag(&object->attributes, CKA_TOKEN);
}

CK_RV object_read(const struct object *object, CK_ATTRIBUTE *template, CK_ULONG count)
{
	bool open = is_open(object);
	CK_RV first = CKR_OK;

	for (CK_ULONG i = 0; i < count; i++) {
		bool secret = open && attributes_is_secret(&object->attributes, template[i].type);
		CK_RV rv = secret ? read_secret(object->key, &template[i])
		                  : attributes_read_one(&object->attributes, &template[i]);
		if (first == CKR_OK)
			first = rv;
	}
	return first;
}

static bool allows(const struct attributes *a, CK_MECHANISM_TYPE mechanism)
{
	const CK_ATTRIBUTE *list = attributes_get(a, CKA_ALLOWED_MECHANISMS);
	const CK_MECHANISM_TYPE *allowed = list ? list->pValue : NULL;

	if (!list || list->ulValueLen == 0 || mechanism == ANY_MECHANISM)
		return true;
	for (CK_ULONG i = 0; i < list->ulValueLen / sizeof(*allowed); i++)
		if (allowed[i] == mechanism)
			return true;
	return false;
}

CK_RV object_key_view(struct object *object, CK_MECHANISM_TYPE mechanism, struct key_view *ret)
{
	const struct attributes *a = &object->attributes;
	struct key *key = object->key;
	CK_RV rv = CKR_OK;

	if (object->class != CKO_PRIVATE_KEY && object->class != CKO_PUBLIC_KEY && object->class != CKO_SECRET_KEY)
		return CKR_KEY_HANDLE_INVALID;
	if (!allows(a, mechanism))
		return CKR_MECHANISM_INVALID;
	if (object->class == CKO_PUBLIC_KEY)
		rv = object_public_key(object, &key);
	if (rv != CKR_OK)
		return rv;
	*ret = (struct key_view){
	    .key = key_hold(key),
	    .class = object->class,
	    .type = key_type(key),
	    .of_token = attributes_flag(a, CKA_TOKEN),
	    .is_private = object->is_private,
	    .sensitive = attributes_flag(a, CKA_SENSITIVE),
	    .extractable = attributes_flag(a, CKA_EXTRACTABLE),
	    .always_sensitive = attributes_flag(a, CKA_ALWAYS_SENSITIVE),
	    .never_extractable = attributes_flag(a, CKA_NEVER_EXTRACTABLE),
	    .wrap_with_trusted = attributes_flag(a, CKA_WRAP_WITH_TRUSTED),
	};
	return CKR_OK;
}

/* ---- lists ---- */

static bool make_room(struct objects *list, size_t more)
{
	struct object **grown = realloc(list->item, (list->count + more + 1) * sizeof(*grown));

	if (grown)
		list->item = grown;
	return grown != NULL;
}

skr_status objects_add(struct objects *list, struct object *object)
{
	if (objects_find(list, object->handle)) {
		object_free(object);
		return OK;
	}
	if (!make_room(list, 1)) {
		object_free(object);
		return FAIL(14, "one more object of the token");
	}
	list->item[list->count++] = object;
	return OK;
}

struct object *objects_find(const struct objects *list, CK_OBJECT_HANDLE handle)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->item[i]->handle == handle)
			return list->item[i];
	return NULL;
}

struct object *objects_with_id(const struct objects *list, CK_OBJECT_CLASS class, const void *id, size_t len)
{
	CK_ATTRIBUTE want = {CKA_ID, (void *)id, len};

	for (size_t i = 0; i < list->count; i++)
		if (list->item[i]->class == class && attributes_match(&list->item[i]->attributes, &want, 1))
			return list->item[i];
	return NULL;
}

void objects_remove(struct objects *list, bool (*which)(const struct object *), struct objects *removed)
{
	bool room = make_room(removed, list->count);
	size_t kept = 0;

	for (size_t i = 0; i < list->count; i++) {
		if (!which(list->item[i]))
			list->item[kept++] = list->item[i];
		else if (room)
			removed->item[removed->count++] = list->item[i];
		else
			object_free(list->item[i]);
	}
	list->count = kept;
}

skr_status objects_replace(struct objects *list, bool (*which)(const struct object *), struct objects *added)
{
	auto_objects incoming = *added;

	*added = (struct objects){0};
	if (!make_room(list, incoming.count) || !make_room(added, list->count + incoming.count))
		return FAIL(14, "%zu more objects of the token", incoming.count);
	objects_remove(list, which, added);
	for (size_t i = 0; i < incoming.count; i++) {
		struct objects *to = objects_find(list, incoming.item[i]->handle) ? added : list;
		to->item[to->count++] = incoming.item[i];
	}
	incoming.count = 0;
	return OK;
}

void objects_drop(struct objects *list, const struct object *object)
{
	for (size_t i = 0; i < list->count; i++) {
		if (list->item[i] != object)
			continue;
		object_free(list->item[i]);
		list->item[i] = list->item[--list->count];
		return;
	}
}

void objects_free(struct objects *list)
{
	for (size_t i = 0; i < list->count; i++)
		object_free(list->item[i]);
	free(list->item);
	*list = (struct objects){0};
}
