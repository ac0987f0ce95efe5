/* SPDX-License-Identifier: Apache-2.0 */
#include "token/session.h"

#include "token/login.h"
#include "token/pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/*
 * A handle is (tag << 12 | index in the table), the tag drawn anew for every session: random to look at, and one that
 * was closed, or is another process's, does not become valid again.
 */
#define INDEX_BITS 12
#define TAG_BITS   36
_Static_assert(SESSIONS_MAX == 1 << INDEX_BITS, "an index fits");

static struct session *_Atomic table[SESSIONS_MAX];
static uint64_t tag_state; /* under the state lock */
static size_t next_index;  /* under the state lock: where the search for a free place begins */

/* splitmix64 (Steele, Lea, Flood 2014): tags need to differ and to look random; nothing secret hangs on them. */
static uint64_t next_tag(void)
{
	if (tag_state == 0 && getrandom(&tag_state, sizeof(tag_state), GRND_NONBLOCK) != sizeof(tag_state))
		tag_state = (uint64_t)monotonic_ms() << 20 ^ (uintptr_t)&tag_state;
	uint64_t z = tag_state += 0x9e3779b97f4a7c15;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	z = (z ^ z >> 31) >> (64 - TAG_BITS);
	return z ? z : 1;
}

/* ---- taking apart ---- */

static void search_free(struct search *search)
{
	free(search->found);
	*search = (struct search){0};
}

static void session_empty(struct session *session)
{
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		operation_free(TAKE(session->active[kind]));
		operation_free(TAKE(session->spare[kind]));
	}
	search_free(&session->search);
	auto_pool_lock lock = pool_lock();
	pool_drop_owned(session);
}

/* The session's lock is held. The token loses its login with its last session (PKCS#11 2.40 section 5.6,
 * C_CloseSession). */
static struct token *session_end(struct session *session)
{
	struct token *token = session->token;

	session_empty(session);
	session->handle = 0;
	auto_state_lock lock = state_lock();
	token->sessions--;
	token->rw_sessions -= session->read_write;
	if (token->sessions == 0)
		login_last_session_closed(token);
	session->token = NULL;
	return token;
}

CK_RV session_close(CK_SESSION_HANDLE handle)
{
	auto_session session = session_find(handle);

	if (!session)
		return CKR_SESSION_HANDLE_INVALID;
	login_tidy(session_end(session));
	return CKR_OK;
}

void sessions_close_all(struct token *token)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session *session = atomic_load(&table[i]);
		if (!session)
			continue;
		pthread_mutex_lock(&session->lock);
		if (session->handle && (!token || session->token == token))
			login_tidy(session_end(session));
		pthread_mutex_unlock(&session->lock);
	}
}

static void forget_private(struct session *session, unsigned long epoch)
{
	for (int kind = 0; kind < OPERATION_KINDS; kind++) {
		if (session->uses_private[kind])
			operation_free(TAKE(session->active[kind]));
		operation_free(TAKE(session->spare[kind]));
	}
	auto_pool_lock lock = pool_lock();
	pool_drop_private(session->token, epoch);
}

/* Keeps keys that were erased from living on in this session. */
static void session_refresh(struct session *session)
{
	unsigned long epoch = atomic_load(&session->token->login.epoch);

	if (session->epoch != epoch)
		forget_private(session, epoch);
	session->epoch = epoch;
}

bool session_logged_in(struct session *session)
{
	bool in = login_is_in(session->token);

	session_refresh(session);
	return in;
}

void sessions_forget_private(struct token *token)
{
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session *session = atomic_load(&table[i]);
		if (!session)
			continue;
		if (pthread_mutex_trylock(&session->lock) != 0)
			continue;
		if (session->handle && session->token == token)
			session_refresh(session);
		pthread_mutex_unlock(&session->lock);
	}
}

void sessions_after_fork(bool clean)
{
	tag_state = 0;
	pool_after_fork(clean);
	for (size_t i = 0; i < SESSIONS_MAX; i++) {
		struct session *session = atomic_load(&table[i]);
		if (!session)
			continue;
		if (!clean) {
			atomic_store(&table[i], NULL);
			continue;
		}
		pthread_mutex_init(&session->lock, NULL);
		session_empty(session);
		session->handle = 0;
		session->token = NULL;
	}
}

/* ---- opening and finding ---- */

struct session *session_find(CK_SESSION_HANDLE handle)
{
	struct session *session = atomic_load_explicit(&table[handle % SESSIONS_MAX], memory_order_acquire);

	if (!session || handle == 0)
		return NULL;
	pthread_mutex_lock(&session->lock);
	if (session->handle == handle)
		return session;
	pthread_mutex_unlock(&session->lock);
	return NULL;
}

static struct session *session_new(void)
{
	struct session *session = calloc(1, sizeof(*session));
	if (session)
		pthread_mutex_init(&session->lock, NULL);
	return session;
}

/* A place that is free, its session locked; SESSIONS_MAX: none. A session that somebody holds is not free. */
static size_t take_place(CK_RV *ret_rv)
{
	for (size_t tried = 0; tried < SESSIONS_MAX; tried++) {
		size_t i = (next_index + tried) % SESSIONS_MAX;
		struct session *session = atomic_load(&table[i]);

		if (!session) {
			session = session_new();
			if (!session) {
				*ret_rv = CKR_HOST_MEMORY;
				return SESSIONS_MAX;
			}
			atomic_store_explicit(&table[i], session, memory_order_release);
		}
		if (pthread_mutex_trylock(&session->lock) != 0)
			continue;
		if (session->handle == 0)
			return i;
		pthread_mutex_unlock(&session->lock);
	}
	*ret_rv = CKR_SESSION_COUNT;
	return SESSIONS_MAX;
}

CK_RV session_open(struct token *token, CK_FLAGS flags, CK_SESSION_HANDLE *ret)
{
	CK_RV rv = CKR_OK;
	auto_state_lock lock = state_lock();

	size_t i = take_place(&rv);
	if (rv != CKR_OK)
		return rv;
	struct session *session = atomic_load(&table[i]);
	session->token = token;
	session->epoch = atomic_load(&token->login.epoch);
	session->read_write = flags & CKF_RW_SESSION;
	session->handle = next_tag() << INDEX_BITS | i;
	token->sessions++;
	token->rw_sessions += session->read_write;
	next_index = i; /* programs open and close one session again and again: the same memory serves */
	*ret = session->handle;
	pthread_mutex_unlock(&session->lock);
	return CKR_OK;
}

CK_RV session_info(struct session *session, CK_SESSION_INFO *info)
{
	bool in = session_logged_in(session);

	*info = (CK_SESSION_INFO){.slotID = session->token->slot, .flags = CKF_SERIAL_SESSION};
	if (session->read_write)
		info->flags |= CKF_RW_SESSION;
	if (session->read_write)
		info->state = in ? CKS_RW_USER_FUNCTIONS : CKS_RW_PUBLIC_SESSION;
	else
		info->state = in ? CKS_RO_USER_FUNCTIONS : CKS_RO_PUBLIC_SESSION;
	return CKR_OK;
}

/* ---- searching ---- */

static void search_match(struct search *search, const struct object *object, const CK_ATTRIBUTE *template,
                         CK_ULONG count)
{
	if (attributes_match(&object->attributes, template, count))
		search->found[search->count++] = object->handle;
}

CK_RV search_begin(struct session *session, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	const struct objects *of_token = &session->token->objects;
	const struct object *object;

	if (session->search.active)
		return CKR_OPERATION_ACTIVE;
	bool in = session_logged_in(session);
	auto_pool_lock pool = pool_lock();
	auto_state_lock lock = state_lock();
	CK_OBJECT_HANDLE *found = calloc(of_token->count + pool_size() + 1, sizeof(*found));
	if (!found)
		return CKR_HOST_MEMORY;
	struct search search = {.active = true, .found = found};
	for (size_t i = 0; i < of_token->count; i++)
		if (in || !object_is_private(of_token->item[i]))
			search_match(&search, of_token->item[i], template, count);
	for (size_t place = 0; (object = pool_next(session, &place));)
		search_match(&search, object, template, count);
	session->search = search;
	return CKR_OK;
}

CK_RV search_next(struct session *session, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *ret_count)
{
	struct search *search = &session->search;
	size_t left = search->count - search->next;

	if (!search->active)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (max > left)
		max = left;
	if (max > 0)
		memcpy(out, search->found + search->next, max * sizeof(*out));
	search->next += max;
	*ret_count = max;
	return CKR_OK;
}

CK_RV search_end(struct session *session)
{
	if (!session->search.active)
		return CKR_OPERATION_NOT_INITIALIZED;
	search_free(&session->search);
	return CKR_OK;
}

/* ---- operations ---- */

struct operation *session_operation(struct session *session, enum operation_kind kind)
{
	return session->active[kind];
}

CK_RV session_ended(struct session *session, enum operation_kind kind, CK_RV rv, bool goes_on)
{
	if (goes_on)
		return rv;
	struct operation *operation = TAKE(session->active[kind]);
	if (rv != CKR_OK) {
		operation_free(operation);
		return rv;
	}
	operation_free(session->spare[kind]);
	session->spare[kind] = operation;
	session_refresh(session);
	return rv;
}

CK_RV session_key(struct session *session, CK_OBJECT_HANDLE handle, CK_MECHANISM_TYPE mechanism, struct key_view *ret)
{
	session_logged_in(session);
	if (handle & SESSION_OBJECT) {
		auto_pool_lock lock = pool_lock();
		struct object *object = pool_find(session, handle);
		if (object)
			return object_key_view(object, mechanism, ret);
	}
	return login_key(session->token, handle, mechanism, ret);
}

/* Which half of a pair it is for; a secret key is both. */
static bool is_other_half(enum operation_kind kind, CK_OBJECT_CLASS class)
{
	bool private = kind == OPERATION_SIGN || kind == OPERATION_DECRYPT;
	return class == (private ? CKO_PUBLIC_KEY : CKO_PRIVATE_KEY);
}

CK_RV session_begin(struct session *session, enum operation_kind kind, const CK_MECHANISM *mechanism,
                    CK_OBJECT_HANDLE handle)
{
	auto_key_view view = {0};

	if (!mechanism) {
		operation_free(TAKE(session->active[kind]));
		return CKR_OK;
	}
	if (session->active[kind])
		return CKR_OPERATION_ACTIVE;
	if (kind != OPERATION_DIGEST) {
		CK_RV rv = session_key(session, handle, mechanism->mechanism, &view);
		if (rv != CKR_OK)
			return rv;
		if (is_other_half(kind, view.class))
			return CKR_KEY_FUNCTION_NOT_PERMITTED;
	}
	session->uses_private[kind] = view.is_private;
	return operation_begin(kind, mechanism, view.key, &session->token->policy, &session->spare[kind],
	                       &session->active[kind]);
}
