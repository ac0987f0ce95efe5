/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_SESSION_H
#define SKR_TOKEN_SESSION_H

#include "crypto/operation.h"
#include "token/token.h"

#include <pthread.h>

#define SESSIONS_MAX    4096
#define OPERATION_KINDS 5 /* enum operation_kind */

/* A search: the handles it found when it began. */
struct search {
	bool active;
	CK_OBJECT_HANDLE *found;
	size_t count, next;
};

/*
 * One session. Its memory is never given back while the process lives, only reused, so that looking one up by a handle
 * (of whatever origin) needs no lock but the session's own. At most one operation of each kind is active.
 */
struct session {
	pthread_mutex_t lock;
	CK_SESSION_HANDLE handle; /* 0: closed */
	struct token *token;
	bool read_write;
	struct operation *active[OPERATION_KINDS];
	bool uses_private[OPERATION_KINDS];       /* the active one has the key of a private object */
	struct operation *spare[OPERATION_KINDS]; /* the last finished one: saves the set-up when the next is alike */
	unsigned long epoch;                      /* of the token's keys, when this session last looked */
	struct search search;
};

CK_RV session_open(struct token *token, CK_FLAGS flags, CK_SESSION_HANDLE *ret);
CK_RV session_close(CK_SESSION_HANDLE handle);
/* `token` NULL: of all tokens, and nobody's login is looked at (C_Finalize). */
void sessions_close_all(struct token *token);

/* The session, locked, until the end of the scope; NULL: no such session.  auto_session session = session_find(handle);
 */
struct session *session_find(CK_SESSION_HANDLE handle);
static inline void session_release(struct session *const *session)
{
	if (*session)
		pthread_mutex_unlock(&(*session)->lock);
}
#define auto_session __attribute__((cleanup(session_release))) struct session *const

/*
 * Looks whether a user is logged in, and drops what the session keeps of keys that were erased: private session objects
 * and what uses them. First thing before a handle is looked up.
 */
bool session_logged_in(struct session *session);

/* The key behind a handle, of the session or its token; as login_key. */
CK_RV session_key(struct session *session, CK_OBJECT_HANDLE handle, CK_MECHANISM_TYPE mechanism, struct key_view *ret);

CK_RV session_info(struct session *session, CK_SESSION_INFO *info);

/*
 * In every session of the token: operations that use a private key end, since the keys are erased, and private session
 * objects are no more. A session that
 * another thread works in, or whose lock the caller holds, sees to it by itself when its call ends.
 */
void sessions_forget_private(struct token *token);

/*
 * In a child: every session is gone. `clean`: they are taken apart properly; otherwise they are left where they are.
 * Gives the numbers of new sessions another beginning, so that no handle of the parent is one of the child.
 */
void sessions_after_fork(bool clean);

/* C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal; arguments are checked. */
CK_RV search_begin(struct session *session, const CK_ATTRIBUTE *template, CK_ULONG count);
CK_RV search_next(struct session *session, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *ret_count);
CK_RV search_end(struct session *session);

/* C_…Init: a NULL mechanism ends what is active. */
CK_RV session_begin(struct session *session, enum operation_kind kind, const CK_MECHANISM *mechanism,
                    CK_OBJECT_HANDLE key);
/* The active operation; NULL: none. */
struct operation *session_operation(struct session *session, enum operation_kind kind);
/* After any other call on the active operation: ends it unless `goes_on`; a good one is kept as the spare. Returns rv.
 */
CK_RV session_ended(struct session *session, enum operation_kind kind, CK_RV rv, bool goes_on);

#endif
