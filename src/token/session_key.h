/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_SESSION_KEY_H
#define SKR_TOKEN_SESSION_KEY_H

#include "token/session.h"

/*
 * Keys that a session makes of nothing, of other keys, or of wrapped bytes, and wraps (rules.h says which may). Always
 * session objects. All functions want the session's lock, and templates that template_check() passed. Errors as
 * draft_begin (draft.h), crypto/generate.h, derive.h and wrap.h have them.
 */
CK_RV session_generate(struct session *session, const CK_MECHANISM *mechanism, const CK_ATTRIBUTE *template,
                       CK_ULONG count, CK_OBJECT_HANDLE *ret);

struct pair_templates {
	const CK_ATTRIBUTE *public, *private;
	CK_ULONG public_count, private_count;
};
/* Both or none. */
CK_RV session_generate_pair(struct session *session, const CK_MECHANISM *mechanism,
                            const struct pair_templates *templates, CK_OBJECT_HANDLE *ret_public,
                            CK_OBJECT_HANDLE *ret_private);

CK_RV session_derive(struct session *session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
                     const CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret);

/* CKR_KEY_UNEXTRACTABLE: every key of the token, and session keys that say so. CKR_KEY_NOT_WRAPPABLE: rule 4. */
CK_RV session_wrap(struct session *session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                   CK_OBJECT_HANDLE key, CK_BYTE *out, CK_ULONG *out_len);
CK_RV session_unwrap(struct session *session, const CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
                     const CK_BYTE *wrapped, CK_ULONG wrapped_len, const CK_ATTRIBUTE *template, CK_ULONG count,
                     CK_OBJECT_HANDLE *ret);

#endif
