/* SPDX-License-Identifier: Apache-2.0 */
#include "token/object.h"

#include <skr_pkcs11.h>

#include <openssl/asn1.h>
#include <openssl/core_names.h>
#include <stdlib.h>
#include <string.h>

/* PKCS#11 3.0; older headers do not have it. A printable name of the object, the same in every process. */
#ifndef CKA_UNIQUE_ID
#define CKA_UNIQUE_ID 0x4UL
#endif

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

static void add_public_numbers(struct attributes *a, const EVP_PKEY *pkey, const struct public_half *half)
{
	if (EVP_PKEY_is_a(pkey, "RSA"))
		add_rsa_numbers(a, pkey);
	else
		add_ec_numbers(a, half);
	attributes_add(a, CKA_PUBLIC_KEY_INFO, half->spki, half->spki_len);
	attributes_add(a, CKA_SKR_PUBLIC_KEY_HASH, half->sha256, sizeof(half->sha256));
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

static void add_key(struct attributes *a, const EVP_PKEY *pkey, const struct public_half *half,
                    const CK_ATTRIBUTE *subject, const char *kid)
{
	attributes_add_ulong(a, CKA_KEY_TYPE, EVP_PKEY_is_a(pkey, "RSA") ? CKK_RSA : CKK_EC);
	attributes_add(a, CKA_ID, half->id, sizeof(half->id));
	attributes_add(a, CKA_START_DATE, NULL, 0);
	attributes_add(a, CKA_END_DATE, NULL, 0);
	attributes_add_bool(a, CKA_LOCAL, false);
	attributes_add_ulong(a, CKA_KEY_GEN_MECHANISM, CK_UNAVAILABLE_INFORMATION);
	attributes_add(a, CKA_SUBJECT, subject ? subject->pValue : NULL, subject ? subject->ulValueLen : 0);
	if (kid)
		attributes_add_text(a, CKA_SKR_KEY_ID, kid);
	add_public_numbers(a, pkey, half);
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
	return object->class == CKO_PRIVATE_KEY || object->class == CKO_SECRET_KEY;
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

static void add_certificate(struct attributes *a, const X509 *certificate, bool is_authority)
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
	add_certificate(a, certificate, is_authority);
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
	attributes_add_bool(a, CKA_ENCRYPT, EVP_PKEY_is_a(pkey, "RSA"));
	attributes_add_bool(a, CKA_VERIFY, true);
	attributes_add_bool(a, CKA_VERIFY_RECOVER, false);
	attributes_add_bool(a, CKA_WRAP, false);
	attributes_add_bool(a, CKA_DERIVE, false);
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
	attributes_add_bool(a, CKA_ALWAYS_AUTHENTICATE, false);
}

static void add_secrets(struct attributes *a, const EVP_PKEY *pkey)
{
	static const CK_ATTRIBUTE_TYPE rsa[] = {CKA_PRIVATE_EXPONENT, CKA_PRIME_1,    CKA_PRIME_2,
	                                        CKA_EXPONENT_1,       CKA_EXPONENT_2, CKA_COEFFICIENT};

	if (!EVP_PKEY_is_a(pkey, "RSA")) {
		attributes_add_secret(a, CKA_VALUE);
		return;
	}
	for (size_t i = 0; i < sizeof(rsa) / sizeof(rsa[0]); i++)
		attributes_add_secret(a, rsa[i]);
}

static void add_uses(struct attributes *a, unsigned uses)
{
	attributes_add_bool(a, CKA_SIGN, uses & KEY_USE_SIGN);
	attributes_add_bool(a, CKA_SIGN_RECOVER, false);
	attributes_add_bool(a, CKA_DECRYPT, uses & KEY_USE_DECRYPT);
	attributes_add_bool(a, CKA_UNWRAP, uses & KEY_USE_UNWRAP);
	attributes_add_bool(a, CKA_DERIVE, uses & KEY_USE_DERIVE);
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
	add_uses(a, released->ops);
	add_secrets(a, released->key);

	EVP_PKEY_up_ref(released->key);
	CK_RV rv = key_new(released->key, true, released->ops, &object->key);
	if (rv != CKR_OK)
		return FAIL(rv == CKR_HOST_MEMORY ? 14 : 341, "key %s: not usable (CKR 0x%lx)", released->kid, rv);
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

void objects_free(struct objects *list)
{
	for (size_t i = 0; i < list->count; i++)
		object_free(list->item[i]);
	free(list->item);
	*list = (struct objects){0};
}
