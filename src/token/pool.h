/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_POOL_H
#define SKR_TOKEN_POOL_H

#include "token/session.h"

/*
 * The session objects of all sessions. Each belongs to the session that made it, and ends with it; until then every
 * session with the same token sees and uses it, as PKCS#11 2.40 says, and as Java does, which makes a key in one
 * session and verifies in another. Private ones end with the login under which they were made.
 *
 * All functions want the pool's lock. It is taken within a session's lock and around the state lock. What needs
 * session_logged_in(), which tidies the pool up, calls that before.
 *     auto_pool_lock lock = pool_lock();
 */
int pool_lock(void);
void pool_unlock(const int *lock);
#define auto_pool_lock __attribute__((cleanup(pool_unlock), unused)) const int

/* Takes the object, also on failure. CKR_HOST_MEMORY; CKR_DEVICE_MEMORY for a handle that is there already. */
CK_RV pool_add(struct session *owner, struct object *object);
/* What the session sees; NULL: no such object. */
struct object *pool_find(const struct session *session, CK_OBJECT_HANDLE handle);
/* The next object the session sees, from *place on, which begins at 0; NULL: no more. */
struct object *pool_next(const struct session *session, size_t *place);
size_t pool_size(void); /* not less than pool_next finds */
/* How many a session owns, and what their attributes take. */
void pool_owned(const struct session *owner, size_t *ret_count, CK_ULONG *ret_bytes);

void pool_drop(const struct object *object);
void pool_drop_owned(const struct session *owner);
/* The private ones of an earlier login. */
void pool_drop_private(const struct token *token, unsigned long epoch);

/* In a child, before anything else, without the lock: all are gone. `clean`: they are freed, otherwise left where they
 * are. */
void pool_after_fork(bool clean);

#endif
