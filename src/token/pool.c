/* SPDX-License-Identifier: Apache-2.0 */
#include "token/pool.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct objects pool;

int pool_lock(void)
{
	return pthread_mutex_lock(&mutex);
}

void pool_unlock(const int *lock)
{
	(void)lock;
	pthread_mutex_unlock(&mutex);
}

/* An owner's token does not change while it owns anything. */
static bool is_visible(const struct object *object, const struct session *session)
{
	return object->owner->token == session->token && (!object->is_private || object->epoch == session->epoch);
}

CK_RV pool_add(struct session *owner, struct object *object)
{
	object->owner = owner;
	object->epoch = owner->epoch;
	if (objects_find(&pool, object->handle)) {
		object_free(object);
		return CKR_DEVICE_MEMORY;
	}
	return objects_add(&pool, object).failure ? CKR_HOST_MEMORY : CKR_OK;
}

struct object *pool_find(const struct session *session, CK_OBJECT_HANDLE handle)
{
	struct object *object = objects_find(&pool, handle);
	return object && is_visible(object, session) ? object : NULL;
}

struct object *pool_next(const struct session *session, size_t *place)
{
	while (*place < pool.count) {
		struct object *object = pool.item[(*place)++];
		if (is_visible(object, session))
			return object;
	}
	return NULL;
}

size_t pool_size(void)
{
	return pool.count;
}

void pool_owned(const struct session *owner, size_t *ret_count, CK_ULONG *ret_bytes)
{
	*ret_count = 0;
	*ret_bytes = 0;
	for (size_t i = 0; i < pool.count; i++) {
		if (pool.item[i]->owner != owner)
			continue;
		*ret_count += 1;
		*ret_bytes += attributes_size(&pool.item[i]->attributes);
	}
}

void pool_drop(const struct object *object)
{
	objects_drop(&pool, object);
}

/* Backwards: the last takes the place of what is dropped. */
void pool_drop_owned(const struct session *owner)
{
	for (size_t i = pool.count; i-- > 0;)
		if (pool.item[i]->owner == owner)
			objects_drop(&pool, pool.item[i]);
}

void pool_drop_private(const struct token *token, unsigned long epoch)
{
	for (size_t i = pool.count; i-- > 0;) {
		const struct object *object = pool.item[i];
		if (object->is_private && object->owner->token == token && object->epoch < epoch)
			objects_drop(&pool, object);
	}
}

void pool_after_fork(bool clean)
{
	pthread_mutex_init(&mutex, NULL);
	if (clean)
		objects_free(&pool);
	pool = (struct objects){0};
}
