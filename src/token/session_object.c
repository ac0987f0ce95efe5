/* SPDX-License-Identifier: Apache-2.0 */
#include "token/session_object.h"

#include "crypto/components.h"
#include "token/draft.h"
#include "token/pool.h"

#include <stdlib.h>

static void object_done(struct object **object)
{
	object_free(*object);
}
#define auto_object __attribute__((cleanup(object_done))) struct object

/* ---- the pool ---- */

/* Whether `owner` may have so much more. */
static bool fits(const struct session *owner, size_t objects, CK_ULONG bytes)
{
	size_t count;
	CK_ULONG size;

	pool_owned(owner, &count, &size);
	return count + objects <= SESSION_OBJECTS_MAX && size + bytes <= SESSION_BYTES_MAX;
}

CK_RV session_adopt(struct session *session, struct object *object, CK_OBJECT_HANDLE *ret)
{
	CK_OBJECT_HANDLE handle = object->handle;
	auto_pool_lock lock = pool_lock();

	if (!fits(session, 1, attributes_size(&object->attributes))) {
		object_free(object);
		return CKR_DEVICE_MEMORY;
	}
	CK_RV rv = pool_add(session, object);
	if (rv == CKR_OK)
		*ret = handle;
	return rv;
}

/* Under the state lock: the token's object, if it may be seen. */
static struct object *token_object(const struct session *session, CK_OBJECT_HANDLE handle)
{
	struct token *token = session->token;
	struct object *object = objects_find(&token->objects, handle);

	return object && (!object_is_private(object) || token->login.state == LOGIN_IN) ? object : NULL;
}

/* Under the pool's lock: a session object; else why not: the token's are not changed, and all others are not there. */
static CK_RV session_object(struct session *session, CK_OBJECT_HANDLE handle, struct object **ret)
{
	*ret = pool_find(session, handle);
	if (*ret)
		return CKR_OK;
	auto_state_lock lock = state_lock();
	return token_object(session, handle) ? CKR_ACTION_PROHIBITED : CKR_OBJECT_HANDLE_INVALID;
}

CK_RV session_read(struct session *session, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *template, CK_ULONG count)
{
	session_logged_in(session);
	auto_pool_lock pool = pool_lock();
	struct object *own = pool_find(session, handle);

	if (own)
		return object_read(own, template, count);
	auto_state_lock lock = state_lock();
	struct object *object = token_object(session, handle);
	return object ? attributes_read(&object->attributes, template, count) : CKR_OBJECT_HANDLE_INVALID;
}

CK_RV session_object_size(struct session *session, CK_OBJECT_HANDLE handle, CK_ULONG *ret)
{
	session_logged_in(session);
	auto_pool_lock pool = pool_lock();
	struct object *object = pool_find(session, handle);
	auto_state_lock lock = state_lock();

	if (!object)
		object = token_object(session, handle);
	if (!object)
		return CKR_OBJECT_HANDLE_INVALID;
	*ret = attributes_size(&object->attributes);
	return CKR_OK;
}

CK_RV session_destroy(struct session *session, CK_OBJECT_HANDLE handle)
{
	struct object *object;

	session_logged_in(session);
	auto_pool_lock pool = pool_lock();
	CK_RV rv = session_object(session, handle, &object);
	if (rv != CKR_OK)
		return rv;
	if (!attributes_flag(&object->attributes, CKA_DESTROYABLE))
		return CKR_ACTION_PROHIBITED;
	pool_drop(object);
	return CKR_OK;
}

/* ---- creating ---- */

static CK_RV rsa_key(const struct draft *draft, struct key **ret)
{
	struct rsa_components parts = {
	    .n = draft_bytes(draft, CKA_MODULUS),
	    .e = draft_bytes(draft, CKA_PUBLIC_EXPONENT),
	    .d = draft_bytes(draft, CKA_PRIVATE_EXPONENT),
	    .p = draft_bytes(draft, CKA_PRIME_1),
	    .q = draft_bytes(draft, CKA_PRIME_2),
	    .dp = draft_bytes(draft, CKA_EXPONENT_1),
	    .dq = draft_bytes(draft, CKA_EXPONENT_2),
	    .qi = draft_bytes(draft, CKA_COEFFICIENT),
	};

	return draft->kind == KIND_RSA_PUBLIC ? key_from_rsa_public(&parts, draft->uses, ret)
	                                      : key_from_rsa_private(&parts, draft->uses, ret);
}

static CK_RV ec_key(const struct draft *draft, struct key **ret)
{
	struct component params = draft_bytes(draft, CKA_EC_PARAMS);

	return draft->kind == KIND_EC_PUBLIC
	           ? key_from_ec_public(params, draft_bytes(draft, CKA_EC_POINT), draft->uses, ret)
	           : key_from_ec_private(params, draft_bytes(draft, CKA_VALUE), draft->uses, ret);
}

static CK_RV secret_key(const struct draft *draft, struct key **ret)
{
	struct component value = draft_bytes(draft, CKA_VALUE);

	if (!value.data)
		return CKR_TEMPLATE_INCOMPLETE;
	CK_RV rv = key_new_secret(value.data, value.len, draft->type, draft->uses, ret);
	/* The template names the type and the length by its value. */
	return rv == CKR_KEY_SIZE_RANGE || rv == CKR_KEY_TYPE_INCONSISTENT ? CKR_ATTRIBUTE_VALUE_INVALID : rv;
}

static CK_RV create(const struct draft *draft, struct object **ret)
{
	struct key *key;
	CK_RV rv;

	if (draft->kind == KIND_DATA)
		return draft_data(draft, ret);
	if (draft->kind == KIND_CERTIFICATE)
		return draft_certificate(draft, ret);
	if (draft->kind == KIND_SECRET)
		rv = secret_key(draft, &key);
	else
		rv = draft->type == CKK_RSA ? rsa_key(draft, &key) : ec_key(draft, &key);
	return rv == CKR_OK ? draft_key(draft, key, ret) : rv;
}

CK_RV session_create(struct session *session, const CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	struct draft draft;
	struct object *object;

	CK_RV rv = draft_begin(session, TO_CREATE, template, count, NOT_SAID, NOT_SAID, &draft);
	if (rv == CKR_OK)
		rv = create(&draft, &object);
	return rv == CKR_OK ? session_adopt(session, object, ret) : rv;
}

/* ---- changing ---- */

/* Which way a flag may go; all others are free. */
static bool loosens(const struct attributes *a, const CK_ATTRIBUTE *item)
{
	bool was = attributes_flag(a, item->type), will = item->ulValueLen && *(const CK_BYTE *)item->pValue;

	switch (item->type) {
	case CKA_SENSITIVE:
	case CKA_WRAP_WITH_TRUSTED:
	case CKA_PRIVATE:
		return was && !will;
	case CKA_EXTRACTABLE:
	case CKA_COPYABLE:
	case CKA_DESTROYABLE:
	case CKA_MODIFIABLE:
		return !was && will;
	default:
		return false;
	}
}

/* The attributes as the template will have them, in `ret`, which is released on failure. */
static CK_RV changed_attributes(const struct object *object, enum template_use use, const CK_ATTRIBUTE *template,
                                CK_ULONG count, struct attributes *ret)
{
	const struct attributes *a = &object->attributes;
	CK_KEY_TYPE type = template_ulong(a->item, a->count, CKA_KEY_TYPE, 0);
	CK_RV rv = rules_check(object_kind(object->class, type), use, template, count);

	if (rv != CKR_OK)
		return rv;
	for (CK_ULONG i = 0; i < count; i++)
		if (loosens(a, &template[i]))
			return use == TO_COPY ? CKR_TEMPLATE_INCONSISTENT : CKR_ATTRIBUTE_READ_ONLY;
	*ret = attributes_copy(a);
	for (CK_ULONG i = 0; i < count; i++)
		attributes_set(ret, template[i].type, template[i].pValue, template[i].ulValueLen);
	if (!ret->failed)
		return CKR_OK;
	attributes_free(ret);
	return CKR_HOST_MEMORY;
}

/* The key as the attributes now have it: one that is no longer extractable does not leave. */
static CK_RV changed_key(const struct key *key, const struct attributes *a, struct key **ret)
{
	unsigned uses = key_uses(key);

	if (!attributes_flag(a, CKA_EXTRACTABLE))
		uses &= ~(unsigned)KEY_USE_LEAVE;
	return key_with_uses(key, uses, ret);
}

CK_RV session_change(struct session *session, CK_OBJECT_HANDLE handle, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	struct object *object;
	struct attributes attributes;
	struct key *key = NULL;

	session_logged_in(session);
	auto_pool_lock pool = pool_lock();
	CK_RV rv = session_object(session, handle, &object);
	if (rv != CKR_OK)
		return rv;
	if (!attributes_flag(&object->attributes, CKA_MODIFIABLE))
		return CKR_ACTION_PROHIBITED;
	rv = changed_attributes(object, TO_CHANGE, template, count, &attributes);
	if (rv != CKR_OK)
		return rv;
	if (!fits(object->owner, 0, attributes_size(&attributes)))
		rv = CKR_DEVICE_MEMORY;
	if (rv == CKR_OK && object->key)
		rv = changed_key(object->key, &attributes, &key);
	if (rv != CKR_OK) {
		attributes_free(&attributes);
		return rv;
	}
	attributes_free(&object->attributes);
	object->attributes = attributes;
	key_drop(object->key);
	object->key = key;
	return CKR_OK;
}

/* The object of which a copy is allowed. */
static CK_RV copyable(struct session *session, CK_OBJECT_HANDLE handle, struct object **ret)
{
	CK_RV rv = session_object(session, handle, ret);
	return rv == CKR_OK && !attributes_flag(&(*ret)->attributes, CKA_COPYABLE) ? CKR_ACTION_PROHIBITED : rv;
}

/* What the copy is to be of, `copy` gets: the attributes as the template changes them, and the key. */
static CK_RV fill(struct session *session, CK_OBJECT_HANDLE handle, const CK_ATTRIBUTE *template, CK_ULONG count,
                  struct object *copy)
{
	auto_pool_lock pool = pool_lock();
	struct object *object;

	CK_RV rv = copyable(session, handle, &object);
	if (rv == CKR_OK)
		rv = changed_attributes(object, TO_COPY, template, count, &copy->attributes);
	if (rv == CKR_OK && object->key)
		rv = changed_key(object->key, &copy->attributes, &copy->key);
	return rv;
}

static CK_RV may_copy(struct session *session, CK_OBJECT_HANDLE handle)
{
	auto_pool_lock pool = pool_lock();
	struct object *object;

	return copyable(session, handle, &object);
}

CK_RV session_copy(struct session *session, CK_OBJECT_HANDLE handle, const CK_ATTRIBUTE *template, CK_ULONG count,
                   CK_OBJECT_HANDLE *ret)
{
	auto_object *copy = NULL;

	session_logged_in(session);
	CK_RV rv = may_copy(session, handle);
	if (rv == CKR_OK)
		rv = draft_copy(session, handle_class(handle), template, count, &copy);
	if (rv == CKR_OK)
		rv = fill(session, handle, template, count, copy);
	if (rv != CKR_OK)
		return rv;
	copy->is_private = attributes_flag(&copy->attributes, CKA_PRIVATE);
	return session_adopt(session, TAKE(copy), ret);
}
