/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_SESSION_OBJECT_H
#define SKR_TOKEN_SESSION_OBJECT_H

#include "token/session.h"

/*
 * Session objects: of the session that made them, gone with it; the others with the token see them (pool.h). They live
 * beside the token's objects and can neither change nor weaken them (rules.h). All functions want the session's lock,
 * and templates that template_check() passed.
 */
#define SESSION_OBJECTS_MAX 1024              /* of one session */
#define SESSION_BYTES_MAX   (4 * 1024 * 1024) /* of attribute values */

/* C_CreateObject. As draft_begin (draft.h); CKR_DEVICE_MEMORY above the limits; as crypto/components.h. */
CK_RV session_create(struct session *session, const CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret);
/* C_CopyObject: CKR_ACTION_PROHIBITED for token objects and those with CKA_COPYABLE false. */
CK_RV session_copy(struct session *session, CK_OBJECT_HANDLE handle, const CK_ATTRIBUTE *template, CK_ULONG count,
                   CK_OBJECT_HANDLE *ret);
/* C_SetAttributeValue: all or nothing. CKR_ACTION_PROHIBITED likewise, CKR_ATTRIBUTE_READ_ONLY. */
CK_RV session_change(struct session *session, CK_OBJECT_HANDLE handle, const CK_ATTRIBUTE *template, CK_ULONG count);
/* C_DestroyObject */
CK_RV session_destroy(struct session *session, CK_OBJECT_HANDLE handle);
/* C_GetAttributeValue and C_GetObjectSize, of the token's objects, too. CKR_OBJECT_HANDLE_INVALID. */
CK_RV session_read(struct session *session, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE *template, CK_ULONG count);
CK_RV session_object_size(struct session *session, CK_OBJECT_HANDLE handle, CK_ULONG *ret);

/* Takes a new object, also on failure, and says its handle. CKR_DEVICE_MEMORY, CKR_HOST_MEMORY. */
CK_RV session_adopt(struct session *session, struct object *object, CK_OBJECT_HANDLE *ret);

#endif
