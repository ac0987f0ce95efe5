/* SPDX-License-Identifier: Apache-2.0 */
#include "token/session_key.h"

#include "crypto/components.h"
#include "crypto/derive.h"
#include "crypto/generate.h"
#include "crypto/wrap.h"
#include "token/draft.h"
#include "token/pool.h"
#include "token/session_object.h"

static void object_done(struct object **object)
{
	object_free(*object);
}
#define auto_object __attribute__((cleanup(object_done))) struct object

/* The key of a draft becomes an object of the session. */
static CK_RV publish(struct session *session, const struct draft *draft, struct key *key, CK_OBJECT_HANDLE *ret)
{
	struct object *object;
	CK_RV rv = draft_key(draft, key, &object);

	return rv == CKR_OK ? session_adopt(session, object, ret) : rv;
}

static struct key_wanted wanted_of(const struct draft *draft)
{
	return (struct key_wanted){
	    .class = draft->class,
	    .type = draft->type,
	    .len = template_ulong(draft->template, draft->count, CKA_VALUE_LEN, 0),
	    .uses = draft->uses,
	};
}

/* What crypto/ calls a type or a length that no key has is, here, what the template says. */
static CK_RV of_template(CK_RV rv)
{
	return rv == CKR_KEY_TYPE_INCONSISTENT ? CKR_TEMPLATE_INCONSISTENT : rv;
}

/* ---- new keys ---- */

CK_RV session_generate(struct session *session, const CK_MECHANISM *mechanism, const CK_ATTRIBUTE *template,
                       CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	bool aes = mechanism->mechanism == CKM_AES_KEY_GEN;
	struct draft draft;
	struct key *key;

	if (!aes && mechanism->mechanism != CKM_GENERIC_SECRET_KEY_GEN)
		return CKR_MECHANISM_INVALID;
	CK_RV rv = draft_begin(session, TO_GENERATE, template, count, CKO_SECRET_KEY,
	                       aes ? CKK_AES : CKK_GENERIC_SECRET, &draft);
	if (rv != CKR_OK)
		return rv;
	draft.made_by = mechanism->mechanism;
	struct key_wanted wanted = wanted_of(&draft);
	rv = of_template(key_generate(mechanism, &wanted, &key));
	return rv == CKR_OK ? publish(session, &draft, key, ret) : rv;
}

static CK_RV draft_pair(struct session *session, CK_KEY_TYPE type, const struct pair_templates *t, struct draft *public,
                        struct draft *private)
{
	CK_RV rv = draft_begin(session, TO_GENERATE, t->public, t->public_count, CKO_PUBLIC_KEY, type, public);

	if (rv == CKR_OK)
		rv = draft_begin(session, TO_GENERATE, t->private, t->private_count, CKO_PRIVATE_KEY, type, private);
	return rv == CKR_OK && (public->type != type || private->type != type) ? CKR_TEMPLATE_INCONSISTENT : rv;
}

static CK_RV make_pair(const CK_MECHANISM *mechanism, const struct draft *public, const struct draft *private,
                       struct object **ret_public, struct object **ret_private)
{
	struct component exponent = draft_bytes(public, CKA_PUBLIC_EXPONENT),
	                 curve = draft_bytes(public, CKA_EC_PARAMS);
	struct pair_wanted wanted = {
	    .modulus_bits = template_ulong(public->template, public->count, CKA_MODULUS_BITS, 0),
	    .exponent = exponent.data,
	    .exponent_len = exponent.len,
	    .ec_params = curve.data,
	    .ec_params_len = curve.len,
	    .public_uses = public->uses,
	    .private_uses = private->uses,
	};
	struct key *public_key, *private_key;

	CK_RV rv = key_pair_generate(mechanism, &wanted, &public_key, &private_key);
	if (rv != CKR_OK)
		return rv;
	rv = draft_key(public, public_key, ret_public);
	if (rv == CKR_OK)
		return draft_key(private, private_key, ret_private);
	key_drop(private_key);
	return rv;
}

/* Another session may have destroyed it meanwhile. */
static void session_take_back(struct session *session, CK_OBJECT_HANDLE handle)
{
	auto_pool_lock pool = pool_lock();
	const struct object *object = pool_find(session, handle);

	if (object)
		pool_drop(object);
}

CK_RV session_generate_pair(struct session *session, const CK_MECHANISM *mechanism,
                            const struct pair_templates *templates, CK_OBJECT_HANDLE *ret_public,
                            CK_OBJECT_HANDLE *ret_private)
{
	bool rsa = mechanism->mechanism == CKM_RSA_PKCS_KEY_PAIR_GEN;
	struct draft drafts[2];
	auto_object *public = NULL, *private = NULL;
	CK_OBJECT_HANDLE handle;

	if (!rsa && mechanism->mechanism != CKM_EC_KEY_PAIR_GEN)
		return CKR_MECHANISM_INVALID;
	CK_RV rv = draft_pair(session, rsa ? CKK_RSA : CKK_EC, templates, &drafts[0], &drafts[1]);
	if (rv != CKR_OK)
		return rv;
	drafts[0].made_by = drafts[1].made_by = mechanism->mechanism;
	rv = make_pair(mechanism, &drafts[0], &drafts[1], &public, &private);
	if (rv != CKR_OK)
		return rv;

	rv = session_adopt(session, TAKE(public), &handle);
	if (rv != CKR_OK)
		return rv;
	rv = session_adopt(session, TAKE(private), ret_private);
	if (rv == CKR_OK)
		*ret_public = handle;
	else
		session_take_back(session, handle);
	return rv;
}

CK_RV session_derive(struct session *session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
                     const CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	auto_key_view view = {0};
	struct draft draft;
	struct key *key;

	CK_RV rv = session_key(session, base, mechanism->mechanism, &view);
	if (rv == CKR_OK)
		rv = draft_begin(session, TO_DERIVE, template, count, CKO_SECRET_KEY, NOT_SAID, &draft);
	if (rv != CKR_OK)
		return rv;
	draft.always_sensitive = view.always_sensitive;
	draft.never_extractable = view.never_extractable;
	struct key_wanted wanted = wanted_of(&draft);
	rv = key_derive(mechanism, view.key, &wanted, &key);
	return rv == CKR_OK ? publish(session, &draft, key, ret) : rv;
}

/* ---- wrapping ---- */

/* The errors of a key that wraps have names of their own. */
static CK_RV wrapping_key(struct session *session, CK_OBJECT_HANDLE handle, const CK_MECHANISM *mechanism,
                          CK_OBJECT_CLASS other_half, CK_RV invalid, struct key_view *ret)
{
	CK_RV rv = session_key(session, handle, mechanism->mechanism, ret);

	if (rv != CKR_OK)
		return rv == CKR_KEY_HANDLE_INVALID ? invalid : rv;
	if (ret->class == other_half)
		return CKR_KEY_FUNCTION_NOT_PERMITTED;
	/* Rule 5. */
	return mechanism->mechanism == CKM_AES_CBC_PAD && ret->sensitive ? CKR_KEY_FUNCTION_NOT_PERMITTED : CKR_OK;
}

/* Rule 4. */
static bool is_known_to_nobody(const struct key_view *key)
{
	return key->class == CKO_SECRET_KEY && (key->of_token || key->always_sensitive);
}

/* Nothing has CKA_TRUSTED here, so nothing wraps a key that wants that. */
static CK_RV may_wrap(const struct key_view *wrapping, const struct key_view *key)
{
	if (key->class == CKO_PUBLIC_KEY)
		return CKR_KEY_NOT_WRAPPABLE;
	if (!key->extractable)
		return CKR_KEY_UNEXTRACTABLE;
	if (key->wrap_with_trusted || (key->sensitive && !is_known_to_nobody(wrapping)))
		return CKR_KEY_NOT_WRAPPABLE;
	return CKR_OK;
}

CK_RV session_wrap(struct session *session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                   CK_OBJECT_HANDLE key, CK_BYTE *out, CK_ULONG *out_len)
{
	auto_key_view by = {0}, what = {0};

	CK_RV rv = wrapping_key(session, wrapping, mechanism, CKO_PRIVATE_KEY, CKR_WRAPPING_KEY_HANDLE_INVALID, &by);
	if (rv == CKR_OK)
		rv = session_key(session, key, ANY_MECHANISM, &what);
	if (rv == CKR_OK)
		rv = may_wrap(&by, &what);
	return rv == CKR_OK ? key_wrap(mechanism, &session->token->policy, by.key, what.key, out, out_len) : rv;
}

CK_RV session_unwrap(struct session *session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
                     const CK_BYTE *wrapped, CK_ULONG wrapped_len, const CK_ATTRIBUTE *template, CK_ULONG count,
                     CK_OBJECT_HANDLE *ret)
{
	auto_key_view by = {0};
	struct draft draft;
	struct key *key;

	CK_RV rv = wrapping_key(session, unwrapping, mechanism, CKO_PUBLIC_KEY, CKR_UNWRAPPING_KEY_HANDLE_INVALID, &by);
	if (rv == CKR_OK)
		rv = draft_begin(session, TO_UNWRAP, template, count, NOT_SAID, NOT_SAID, &draft);
	if (rv == CKR_OK && !(draft.kind & KINDS_HIDDEN))
		rv = CKR_TEMPLATE_INCONSISTENT;
	if (rv != CKR_OK)
		return rv;
	struct key_wanted wanted = wanted_of(&draft);
	rv = key_unwrap(mechanism, &session->token->policy, by.key, wrapped, wrapped_len, &wanted, &key);
	return rv == CKR_OK ? publish(session, &draft, key, ret) : rv;
}
