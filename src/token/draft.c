/* SPDX-License-Identifier: Apache-2.0 */
#include "token/draft.h"

#include "crypto/components.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading the template ---- */

/* A number that must be known before the rules can be. */
static CK_RV read_early(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type, CK_ULONG otherwise,
                        CK_ULONG *ret)
{
	const CK_ATTRIBUTE *item = template_get(template, count, type);

	if (item && item->ulValueLen != sizeof(CK_ULONG))
		return CKR_ATTRIBUTE_VALUE_INVALID;
	*ret = template_ulong(template, count, type, otherwise);
	return *ret == NOT_SAID ? CKR_TEMPLATE_INCOMPLETE : CKR_OK;
}

static bool wants_token_object(const CK_ATTRIBUTE *template, CK_ULONG count)
{
	const CK_ATTRIBUTE *item = template_get(template, count, CKA_TOKEN);
	return item && item->ulValueLen == sizeof(CK_BBOOL) && *(const CK_BBOOL *)item->pValue;
}

static bool is_key(CK_OBJECT_CLASS class)
{
	return class == CKO_PUBLIC_KEY || class == CKO_PRIVATE_KEY || class == CKO_SECRET_KEY;
}

static CK_RV read_kind(struct draft *draft, CK_OBJECT_CLASS class, CK_KEY_TYPE type)
{
	CK_RV rv = read_early(draft->template, draft->count, CKA_CLASS, class, &draft->class);

	if (rv == CKR_OK && class != NOT_SAID && draft->class != class)
		rv = CKR_TEMPLATE_INCONSISTENT;
	if (rv == CKR_OK && is_key(draft->class))
		rv = read_early(draft->template, draft->count, CKA_KEY_TYPE, type, &draft->type);
	if (rv != CKR_OK)
		return rv;
	draft->kind = object_kind(draft->class, draft->type);
	return draft->kind ? CKR_OK : CKR_ATTRIBUTE_VALUE_INVALID;
}

static void read_protection(struct draft *draft, bool in)
{
	const CK_ATTRIBUTE *t = draft->template;
	bool hidden = draft->kind & KINDS_HIDDEN;

	draft->is_private = template_bool(t, draft->count, CKA_PRIVATE, hidden && in);
	draft->sensitive = hidden && template_bool(t, draft->count, CKA_SENSITIVE, true);
	draft->extractable = hidden && template_bool(t, draft->count, CKA_EXTRACTABLE, false);
}

static CK_RV refuse_token_object(const struct session *session)
{
	return session->read_write ? CKR_TOKEN_WRITE_PROTECTED : CKR_SESSION_READ_ONLY;
}

CK_RV draft_begin(struct session *session, enum template_use use, const CK_ATTRIBUTE *template, CK_ULONG count,
                  CK_OBJECT_CLASS class, CK_KEY_TYPE type, struct draft *ret)
{
	struct draft draft = {.use = use, .template = template, .count = count, .made_by = NOT_SAID};
	bool in = session_logged_in(session);

	if (wants_token_object(template, count))
		return refuse_token_object(session);
	CK_RV rv = read_kind(&draft, class, type);
	if (rv == CKR_OK)
		rv = rules_check(draft.kind, use, template, count);
	if (rv != CKR_OK)
		return rv;
	read_protection(&draft, in);
	if (draft.is_private && !in)
		return CKR_USER_NOT_LOGGED_IN;
	if (is_key(draft.class))
		draft.uses = rules_uses(draft.kind, draft.type, template, count);
	bool from_outside = use == TO_CREATE && draft.kind & KINDS_PUBLIC;
	rv = from_outside ? CKR_OK : rules_separation(use, draft.uses, draft.sensitive, draft.extractable);
	if (draft.extractable)
		draft.uses |= KEY_USE_LEAVE;
	*ret = draft;
	return rv;
}

struct component draft_bytes(const struct draft *draft, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *item = template_get(draft->template, draft->count, type);
	return item ? (struct component){item->pValue ? item->pValue : "", item->ulValueLen} : (struct component){0};
}

/* ---- making the object ---- */

static void object_done(struct object **object)
{
	object_free(*object);
}
#define auto_object __attribute__((cleanup(object_done))) struct object

static CK_RV draw_handle(CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *ret)
{
	uint32_t number[2];

	if (random_bytes(number, sizeof(number)).failure)
		return CKR_DEVICE_ERROR;
	*ret = SESSION_OBJECT | ((CK_OBJECT_HANDLE)number[0] << 24 ^ number[1]) << 4 | class;
	return CKR_OK;
}

static void add_given(struct attributes *a, const struct draft *draft, CK_ATTRIBUTE_TYPE type)
{
	struct component given = draft_bytes(draft, type);
	attributes_add(a, type, given.data, given.len);
}

static void add_given_flag(struct attributes *a, const struct draft *draft, CK_ATTRIBUTE_TYPE type, bool otherwise)
{
	attributes_add_bool(a, type, template_bool(draft->template, draft->count, type, otherwise));
}

static CK_RV new_object(CK_OBJECT_CLASS class, struct object **ret)
{
	auto_object *object = calloc(1, sizeof(*object));

	if (!object)
		return CKR_HOST_MEMORY;
	CK_RV rv = draw_handle(class, &object->handle);
	if (rv != CKR_OK)
		return rv;
	object->class = class;
	*ret = TAKE(object);
	return CKR_OK;
}

static CK_RV start(const struct draft *draft, struct object **ret)
{
	auto_object *object = NULL;
	CK_RV rv = new_object(draft->class, &object);

	if (rv != CKR_OK)
		return rv;
	object->is_private = draft->is_private;

	struct attributes *a = &object->attributes;
	attributes_add_ulong(a, CKA_CLASS, draft->class);
	attributes_add_bool(a, CKA_TOKEN, false);
	attributes_add_bool(a, CKA_PRIVATE, draft->is_private);
	add_given(a, draft, CKA_LABEL);
	add_given_flag(a, draft, CKA_MODIFIABLE, true);
	add_given_flag(a, draft, CKA_COPYABLE, true);
	add_given_flag(a, draft, CKA_DESTROYABLE, true);
	*ret = TAKE(object);
	return CKR_OK;
}

static CK_RV finish(struct object **object, struct object **ret)
{
	if ((*object)->attributes.failed)
		return CKR_HOST_MEMORY;
	*ret = TAKE(*object);
	return CKR_OK;
}

static void add_key(struct attributes *a, const struct draft *draft, const struct key *key)
{
	attributes_add_ulong(a, CKA_KEY_TYPE, key_type(key));
	add_given(a, draft, CKA_ID);
	add_given(a, draft, CKA_START_DATE);
	add_given(a, draft, CKA_END_DATE);
	attributes_add_bool(a, CKA_LOCAL, draft->use == TO_GENERATE);
	attributes_add_ulong(a, CKA_KEY_GEN_MECHANISM, draft->made_by);
	add_given(a, draft, CKA_ALLOWED_MECHANISMS);
	attributes_add_uses(a, draft->class, draft->uses);
}

/* Where it has been: only a key that was made here, or out of one that knows, can say that nobody ever saw it. */
static void add_protection(struct attributes *a, const struct draft *draft)
{
	bool made_here = draft->use == TO_GENERATE, derived = draft->use == TO_DERIVE;

	attributes_add_bool(a, CKA_SENSITIVE, draft->sensitive);
	attributes_add_bool(a, CKA_EXTRACTABLE, draft->extractable);
	attributes_add_bool(a, CKA_ALWAYS_SENSITIVE,
	                    draft->sensitive && (made_here || (derived && draft->always_sensitive)));
	attributes_add_bool(a, CKA_NEVER_EXTRACTABLE,
	                    !draft->extractable && (made_here || (derived && draft->never_extractable)));
	add_given_flag(a, draft, CKA_WRAP_WITH_TRUSTED, false);
	attributes_add_secret_names(a, draft->type);
}

static CK_RV add_pair(struct attributes *a, const struct draft *draft, const struct key *key)
{
	auto_public_half half = {0};

	if (public_half_of(key_pkey(key), &half).failure)
		return CKR_FUNCTION_FAILED;
	add_given(a, draft, CKA_SUBJECT);
	attributes_add_public_half(a, key_pkey(key), &half);
	return CKR_OK;
}

static CK_RV add_secret(struct attributes *a, const struct key *key)
{
	CK_BYTE check[3];
	CK_RV rv = key_check_value(key, check);

	if (rv != CKR_OK)
		return rv;
	attributes_add_ulong(a, CKA_VALUE_LEN, key_size(key));
	attributes_add(a, CKA_CHECK_VALUE, check, sizeof(check));
	return CKR_OK;
}

CK_RV draft_key(const struct draft *draft, struct key *key, struct object **ret)
{
	auto_object *object = NULL;
	CK_RV rv = start(draft, &object);

	if (rv != CKR_OK) {
		key_drop(key);
		return rv;
	}
	object->key = key;
	struct attributes *a = &object->attributes;
	add_key(a, draft, key);
	if (draft->kind & KINDS_HIDDEN)
		add_protection(a, draft);
	if (draft->class != CKO_PRIVATE_KEY)
		attributes_add_bool(a, CKA_TRUSTED, false);
	rv = draft->kind == KIND_SECRET ? add_secret(a, key) : add_pair(a, draft, key);
	return rv == CKR_OK ? finish(&object, ret) : rv;
}

CK_RV draft_data(const struct draft *draft, struct object **ret)
{
	auto_object *object = NULL;
	CK_RV rv = start(draft, &object);

	if (rv != CKR_OK)
		return rv;
	add_given(&object->attributes, draft, CKA_APPLICATION);
	add_given(&object->attributes, draft, CKA_OBJECT_ID);
	add_given(&object->attributes, draft, CKA_VALUE);
	return finish(&object, ret);
}

/* What the template says beside the certificate must be what the certificate says. */
static bool agrees(const struct draft *draft, const struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *item = template_get(draft->template, draft->count, type);
	return !item || item->ulValueLen == 0 || attributes_match(a, item, 1);
}

static CK_RV add_certificate(struct attributes *a, const struct draft *draft, X509 *certificate)
{
	struct component id = draft_bytes(draft, CKA_ID), value = draft_bytes(draft, CKA_VALUE);
	uint8_t digest[20];

	attributes_add_certificate(a, certificate, false);
	if (!agrees(draft, a, CKA_CERTIFICATE_TYPE))
		return CKR_ATTRIBUTE_VALUE_INVALID;
	if (!agrees(draft, a, CKA_SUBJECT) || !agrees(draft, a, CKA_ISSUER) || !agrees(draft, a, CKA_SERIAL_NUMBER))
		return CKR_TEMPLATE_INCONSISTENT;
	CK_ULONG category = template_ulong(draft->template, draft->count, CKA_CERTIFICATE_CATEGORY, 0);
	attributes_set(a, CKA_CERTIFICATE_CATEGORY, &category, sizeof(category));
	attributes_add(a, CKA_ID, id.data, id.len);
	attributes_add(a, CKA_VALUE, value.data, value.len);
	if (!EVP_Q_digest(ossl, "SHA1", NULL, value.data, value.len, digest, NULL))
		return CKR_FUNCTION_FAILED;
	attributes_add(a, CKA_CHECK_VALUE, digest, 3);
	return CKR_OK;
}

CK_RV draft_certificate(const struct draft *draft, struct object **ret)
{
	auto_object *object = NULL;
	struct component value = draft_bytes(draft, CKA_VALUE);
	const uint8_t *at = value.data;
	auto_x509 *certificate = X509_new_ex(ossl, NULL);

	if (!certificate)
		return CKR_HOST_MEMORY;
	if (!value.data || !template_get(draft->template, draft->count, CKA_CERTIFICATE_TYPE))
		return CKR_TEMPLATE_INCOMPLETE;
	if (!d2i_X509(&certificate, &at, (long)value.len)) {
		ossl_fail(4, "certificate of a template");
		return CKR_ATTRIBUTE_VALUE_INVALID;
	}
	if (at != (const uint8_t *)value.data + value.len)
		return CKR_ATTRIBUTE_VALUE_INVALID;
	CK_RV rv = start(draft, &object);
	if (rv == CKR_OK)
		rv = add_certificate(&object->attributes, draft, certificate);
	return rv == CKR_OK ? finish(&object, ret) : rv;
}

CK_RV draft_copy(struct session *session, CK_OBJECT_CLASS class, const CK_ATTRIBUTE *template, CK_ULONG count,
                 struct object **ret)
{
	const CK_ATTRIBUTE *private = template_get(template, count, CKA_PRIVATE);

	if (wants_token_object(template, count))
		return refuse_token_object(session);
	if (private && private->ulValueLen == sizeof(CK_BBOOL) && *(const CK_BBOOL *)private->pValue &&
	    !session_logged_in(session))
		return CKR_USER_NOT_LOGGED_IN;
	return new_object(class, ret);
}
