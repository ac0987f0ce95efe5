/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_DRAFT_H
#define SKR_TOKEN_DRAFT_H

#include "token/rules.h"
#include "token/session.h"

/* A session object on its way: what the caller's template says of it, checked. The template is borrowed. */
struct draft {
	enum template_use use;
	enum object_kind kind;
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type; /* of keys */
	const CK_ATTRIBUTE *template;
	CK_ULONG count;
	bool is_private, sensitive, extractable;
	unsigned uses; /* KEY_USE_…, KEY_USE_LEAVE among them */

	CK_MECHANISM_TYPE made_by;                /* generated: CKA_KEY_GEN_MECHANISM */
	bool always_sensitive, never_extractable; /* derived: what the base key says of itself */
};

#define NOT_SAID CK_UNAVAILABLE_INFORMATION

/*
 * `class` and `type`: what the template may leave out, or NOT_SAID. CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT,
 * CKR_ATTRIBUTE_VALUE_INVALID, CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_READ_ONLY; for a token object
 * CKR_TOKEN_WRITE_PROTECTED, or CKR_SESSION_READ_ONLY; CKR_USER_NOT_LOGGED_IN for a private one.
 */
CK_RV draft_begin(struct session *session, enum template_use use, const CK_ATTRIBUTE *template, CK_ULONG count,
                  CK_OBJECT_CLASS class, CK_KEY_TYPE type, struct draft *ret);

/* What the template says, or nothing. */
struct component draft_bytes(const struct draft *draft, CK_ATTRIBUTE_TYPE type);

/* The object: of a key, which is taken over, also on failure; of data; of a certificate. */
CK_RV draft_key(const struct draft *draft, struct key *key, struct object **ret);
CK_RV draft_data(const struct draft *draft, struct object **ret);
CK_RV draft_certificate(const struct draft *draft, struct object **ret);

/*
 * The beginning of a copy, without attributes or key: what the template wants of the token and of the login is allowed.
 */
CK_RV draft_copy(struct session *session, CK_OBJECT_CLASS class, const CK_ATTRIBUTE *template, CK_ULONG count,
                 struct object **ret);

#endif
