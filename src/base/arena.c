/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"

#include <openssl/crypto.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * One mapping, reserved at once and committed from its start in steps, holds both arenas:
 *
 *     guard | control page | keys: shard 0 | guard | … | ephemeral: shard 0 | guard | …
 *
 * A shard is a mutex, free lists by size class, and a stretch of address space of its own, so that signatures in
 * parallel threads do not meet. A block's address says which shard it came from; its header says its size class. Blocks
 * above the largest class get whole pages, whose free stretches are kept in a list per number of pages.
 */

enum {
	SHARDS = 4, /* of each arena */
	PAGE = 4096,
	COMMIT_STEP = 64 * 1024,
	SHARD_SPACE = 64 * 1024 * 1024, /* address space, not memory */
	CLASSES = 36,
	ARENAS = 2,
	CANARY_SIZE = 8,
};

/* In front of every block. 16 bytes, so that blocks are aligned for anything. */
struct header {
	uint32_t class; /* index into class_size, or CLASSES for a large block */
	uint32_t state; /* LIVE or FREE, to catch a second release */
	uint64_t size;  /* asked for; large free blocks: pages */
};
_Static_assert(sizeof(struct header) == 16, "blocks must be aligned");

enum { LIVE = 0x6b65792b, FREE = 0x667265d1 };

struct free_block {
	struct header header;
	struct free_block *next;
};

struct shard {
	pthread_mutex_t mutex;
	uint8_t *start, *top, *committed, *end;
	struct free_block *free[CLASSES];
	struct free_block *large;
	size_t blocks, bytes;
} __attribute__((aligned(64)));

/* Not in the arenas themselves, so that wiping the ephemeral pages over fork leaves their bookkeeping to be reset. */
static struct shard shards[ARENAS][SHARDS];
static uint8_t *base_of_all, *end_of_all;
static uint64_t canary_seed;
static bool opened;
static atomic_bool unlocked, wipes_on_fork;
static enum arena_lock lock_rule;
static pthread_mutex_t growth = PTHREAD_MUTEX_INITIALIZER;

static __thread enum arena_kind selected;
static __thread unsigned my_shard; /* 1-based; 0: not chosen yet */
static atomic_uint next_shard;

/* 16, 32 … 128, then four steps per power of two up to 32 KiB, less the header. */
static const uint32_t class_size[CLASSES] = {
    16,  32,   48,   64,   80,   96,   112,  128,  160,  192,  224,  256,  320,  384,  448,   512,   640,   768,
    896, 1024, 1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 12288, 16384, 24576, 32768};

static unsigned class_of(size_t size)
{
	if (size <= 128)
		return size ? (unsigned)((size - 1) / 16) : 0;
	unsigned low = 8, high = CLASSES;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (class_size[middle] < size)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void die(const char *what)
{
	/* Memory that held secrets is not what we left there: the only safe thing is to stop at once. */
	static const char prefix[] = "skr-pkcs11: arena: ";
	ssize_t written = write(STDERR_FILENO, prefix, sizeof(prefix) - 1);
	written = write(STDERR_FILENO, what, strlen(what));
	written = write(STDERR_FILENO, "\n", 1);
	(void)written;
	abort();
}

/* The whole room of a block behind its header, canary included. */
static size_t room_of(const struct header *h)
{
	if (h->class < CLASSES)
		return class_size[h->class] + CANARY_SIZE + (16 - CANARY_SIZE);
	return (h->size + CANARY_SIZE + sizeof(*h) + PAGE - 1) / PAGE * PAGE - sizeof(*h);
}

static uint64_t canary_of(const struct header *h)
{
	return canary_seed ^ (uint64_t)(uintptr_t)h * UINT64_C(0x9e3779b97f4a7c15) ^ h->size;
}

/* Right behind the bytes asked for, so that one byte too many is seen. */
static void set_canary(struct header *h)
{
	uint64_t canary = canary_of(h);
	memcpy((uint8_t *)(h + 1) + h->size, &canary, CANARY_SIZE);
}

static bool canary_stands(const struct header *h)
{
	uint64_t canary;
	memcpy(&canary, (const uint8_t *)(h + 1) + h->size, CANARY_SIZE);
	return canary == canary_of(h);
}

static bool swap_is_active(void)
{
	char line[256];
	int lines = 0;
	FILE *swaps = fopen("/proc/swaps", "re");

	if (!swaps)
		return false;
	while (fgets(line, sizeof(line), swaps))
		lines++;
	fclose(swaps);
	return lines > 1; /* the first is the heading */
}

/* Locks what was committed. Under AUTO without swap, going on unlocked loses nothing. */
static skr_status lock_pages(void *start, size_t len)
{
	if (lock_rule == ARENA_LOCK_OFF || mlock(start, len) == 0)
		return OK;
	int error = errno;
	if (lock_rule == ARENA_LOCK_REQUIRE || swap_is_active())
		return FAIL(11, "mlock of %zu bytes: %s%s", len, strerror(error),
		            lock_rule == ARENA_LOCK_REQUIRE ? " (memory_lock = require)" : " (swap is active)");
	unlocked = true;
	return OK;
}

/* Makes the next stretch of a shard usable: readable, not dumped, locked; wiped on fork if ephemeral. */
static skr_status commit(struct shard *s, size_t len, bool ephemeral)
{
	len = (len + COMMIT_STEP - 1) / COMMIT_STEP * COMMIT_STEP;
	if (len > (size_t)(s->end - s->committed))
		return FAIL(14, "an arena of %d bytes is full", SHARD_SPACE);
	if (mprotect(s->committed, len, PROT_READ | PROT_WRITE) != 0)
		return FAIL(14, "mprotect: %s", strerror(errno));
	if (madvise(s->committed, len, MADV_DONTDUMP) != 0)
		return FAIL(12, "madvise(MADV_DONTDUMP): %s", strerror(errno));
	if (ephemeral && madvise(s->committed, len, MADV_WIPEONFORK) != 0)
		wipes_on_fork = false;
	TRY(lock_pages(s->committed, len));
	s->committed += len;
	return OK;
}

static void *libcrypto_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return size ? arena_alloc(size) : NULL;
}

static void *libcrypto_realloc(void *block, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return arena_resize(block, size);
}

static void libcrypto_free(void *block, const char *file, int line)
{
	(void)file;
	(void)line;
	arena_release(block);
}

/* Each shard ends with a guard page that is never committed, and the first starts behind one. */
static void lay_out(void)
{
	uint8_t *at = base_of_all + PAGE;

	for (int kind = 0; kind < ARENAS; kind++)
		for (int i = 0; i < SHARDS; i++) {
			struct shard *s = &shards[kind][i];
			pthread_mutex_init(&s->mutex, NULL);
			s->start = s->top = s->committed = at;
			s->end = at + SHARD_SPACE - COMMIT_STEP; /* the rest stays without access */
			at += SHARD_SPACE;
		}
}

static skr_status reserve(void)
{
	size_t space = (size_t)ARENAS * SHARDS * SHARD_SPACE + 2 * (size_t)PAGE;

	base_of_all = mmap(NULL, space, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base_of_all == MAP_FAILED) {
		base_of_all = NULL;
		return FAIL(14, "reserving address space for secrets: %s", strerror(errno));
	}
	end_of_all = base_of_all + space;
	wipes_on_fork = true;
	lay_out();
	/* Not libcrypto's: it has no memory yet. Without entropy the canary still finds accidents, by its address. */
	if (syscall(SYS_getrandom, &canary_seed, sizeof(canary_seed), 0) != (long)sizeof(canary_seed))
		canary_seed = (uint64_t)(uintptr_t)base_of_all;
	for (int kind = 0; kind < ARENAS; kind++)
		TRY(commit(&shards[kind][0], COMMIT_STEP, kind == ARENA_EPHEMERAL));
	return OK;
}

/* The rule can only become stricter: a process has one arena, and its strictest configuration decides. */
static skr_status tighten(enum arena_lock lock)
{
	if (lock_rule == lock || lock_rule == ARENA_LOCK_REQUIRE)
		return OK;
	if (lock == ARENA_LOCK_OFF && lock_rule == ARENA_LOCK_AUTO)
		return OK;
	lock_rule = lock;
	for (int kind = 0; kind < ARENAS; kind++)
		for (int i = 0; i < SHARDS; i++) {
			struct shard *s = &shards[kind][i];
			if (s->committed > s->start)
				TRY(lock_pages(s->start, (size_t)(s->committed - s->start)));
		}
	return OK;
}

skr_status arena_open(enum arena_lock lock)
{
	skr_status status = OK;

	pthread_mutex_lock(&growth);
	if (opened) {
		status = tighten(lock);
	} else {
		lock_rule = lock;
		status = reserve();
		if (!status.failure && !CRYPTO_set_mem_functions(libcrypto_malloc, libcrypto_realloc, libcrypto_free))
			status = FAIL(599, "libcrypto was used before its memory was set up");
		opened = !status.failure;
		if (!opened && base_of_all) {
			munmap(base_of_all, (size_t)(end_of_all - base_of_all));
			base_of_all = end_of_all = NULL;
		}
	}
	pthread_mutex_unlock(&growth);
	return status;
}

bool arena_unlocked(void)
{
	return unlocked;
}

bool arena_wipes_on_fork(void)
{
	return wipes_on_fork;
}

enum arena_kind arena_select(enum arena_kind kind)
{
	enum arena_kind before = selected;
	selected = kind;
	return before;
}

static struct shard *shard_of_thread(void)
{
	if (!my_shard)
		my_shard = 1 + atomic_fetch_add_explicit(&next_shard, 1, memory_order_relaxed) % SHARDS;
	return &shards[selected][my_shard - 1];
}

bool arena_owns(const void *p)
{
	return base_of_all && (const uint8_t *)p >= base_of_all && (const uint8_t *)p < end_of_all;
}

static struct shard *shard_of_block(const void *block)
{
	size_t index;

	if (!arena_owns(block))
		die("release of a foreign pointer");
	index = (size_t)((const uint8_t *)block - base_of_all - PAGE) / SHARD_SPACE;
	return &shards[index / SHARDS][index % SHARDS];
}

/* Fresh room from the top of the shard, committing more when needed; NULL without memory. The mutex is held. */
static struct header *carve(struct shard *s, size_t len)
{
	if ((size_t)(s->committed - s->top) < len &&
	    commit(s, len - (size_t)(s->committed - s->top), s >= shards[ARENA_EPHEMERAL]).failure)
		return NULL;
	struct header *h = (struct header *)s->top;
	s->top += len;
	return h;
}

/* A large free stretch of at least `pages`, first fit; it is given whole. */
static struct header *take_large(struct shard *s, size_t pages)
{
	for (struct free_block **link = &s->large; *link; link = &(*link)->next) {
		struct free_block *found = *link;
		size_t its_pages = (room_of(&found->header) + sizeof(struct header)) / PAGE;
		if (its_pages < pages || its_pages > 2 * pages)
			continue;
		*link = found->next;
		return &found->header;
	}
	return NULL;
}

static struct header *allocate(struct shard *s, size_t size)
{
	unsigned class = class_of(size);
	struct header *h;

	if (class < CLASSES) {
		struct free_block *free = s->free[class];
		if (free) {
			s->free[class] = free->next;
			h = &free->header;
			free->next = NULL; /* blocks are handed out zero */
		} else {
			h = carve(s, sizeof(*h) + class_size[class] + 16);
		}
		if (h)
			*h = (struct header){.class = class, .state = LIVE, .size = size};
		return h;
	}
	size_t pages = (size + CANARY_SIZE + sizeof(*h) + PAGE - 1) / PAGE;
	h = take_large(s, pages);
	if (h) {
		((struct free_block *)h)->next = NULL;
		/* Its stretch may be longer than asked for; remember it by its size, which is not below what is asked.
		 */
		h->state = LIVE;
		return h;
	}
	h = carve(s, pages * PAGE);
	if (h)
		*h = (struct header){.class = CLASSES, .state = LIVE, .size = pages * PAGE - sizeof(*h) - CANARY_SIZE};
	return h;
}

void *arena_alloc(size_t size)
{
	struct shard *s = shard_of_thread();

	if (!opened && !base_of_all)
		return NULL;
	if (size > SHARD_SPACE / 2)
		return NULL;
	pthread_mutex_lock(&s->mutex);
	struct header *h = allocate(s, size);
	if (h) {
		s->blocks++;
		s->bytes += h->size;
	}
	pthread_mutex_unlock(&s->mutex);
	if (!h)
		return NULL;
	set_canary(h);
	return h + 1;
}

/* Small blocks are wiped over what was asked for and the canary; beyond that nothing was ever written. */
static void wipe(struct header *h)
{
	explicit_bzero(h + 1, h->size + CANARY_SIZE);
}

void arena_release(void *block)
{
	if (!block)
		return;
	struct shard *s = shard_of_block(block);
	struct header *h = (struct header *)block - 1;

	if (h->state != LIVE) {
		/* A block of the ephemeral arena that a fork wiped: its owner in the child gives it back as if it
		 * lived. */
		if (h->state == 0 && h->size == 0 && s >= shards[ARENA_EPHEMERAL])
			return;
		die("release of a block that is not in use");
	}
	if (!canary_stands(h))
		die("bytes behind a block were overwritten");
	wipe(h);
	pthread_mutex_lock(&s->mutex);
	struct free_block *free = (struct free_block *)h;
	h->state = FREE;
	s->blocks--;
	s->bytes -= h->size;
	struct free_block **list = h->class < CLASSES ? &s->free[h->class] : &s->large;
	free->next = *list;
	*list = free;
	pthread_mutex_unlock(&s->mutex);
}

void *arena_resize(void *block, size_t size)
{
	if (!block)
		return arena_alloc(size);
	if (!size) {
		arena_release(block);
		return NULL;
	}
	struct header *h = (struct header *)block - 1;
	/* In the arena the block came from, whatever this thread has selected: a table keeps its home. */
	struct shard *s = shard_of_block(block);
	enum arena_kind before = arena_select(s >= shards[ARENA_EPHEMERAL] ? ARENA_EPHEMERAL : ARENA_KEYS);
	void *place = arena_alloc(size);
	arena_select(before);
	if (!place)
		return NULL;
	memcpy(place, block, h->size < size ? h->size : size);
	arena_release(block);
	return place;
}

void arena_before_fork(void)
{
	if (!opened)
		return;
	pthread_mutex_lock(&growth);
	for (int kind = 0; kind < ARENAS; kind++)
		for (int i = 0; i < SHARDS; i++)
			pthread_mutex_lock(&shards[kind][i].mutex);
}

void arena_after_fork_parent(void)
{
	if (!opened)
		return;
	for (int kind = 0; kind < ARENAS; kind++)
		for (int i = 0; i < SHARDS; i++)
			pthread_mutex_unlock(&shards[kind][i].mutex);
	pthread_mutex_unlock(&growth);
}

void arena_after_fork(void)
{
	if (!opened)
		return;
	pthread_mutex_init(&growth, NULL);
	for (int kind = 0; kind < ARENAS; kind++)
		for (int i = 0; i < SHARDS; i++) {
			struct shard *s = &shards[kind][i];
			pthread_mutex_init(&s->mutex, NULL);
			if (kind == ARENA_EPHEMERAL) {
				if (!wipes_on_fork)
					explicit_bzero(s->start, (size_t)(s->top - s->start));
				memset(s->free, 0, sizeof(s->free));
				s->large = NULL;
				/* What was handed out stays untouched behind the top, so that a stale release finds
				 * zeros. */
				s->blocks = s->bytes = 0;
			}
			if (s->committed > s->start && lock_pages(s->start, (size_t)(s->committed - s->start)).failure)
				unlocked = true;
		}
}

void arena_wipe_all(void)
{
	for (int kind = 0; kind < ARENAS; kind++)
		for (int i = 0; i < SHARDS; i++)
			if (shards[kind][i].committed > shards[kind][i].start)
				explicit_bzero(shards[kind][i].start,
				               (size_t)(shards[kind][i].committed - shards[kind][i].start));
}

struct arena_use arena_use(enum arena_kind kind)
{
	struct arena_use use = {0};

	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &shards[kind][i];
		pthread_mutex_lock(&s->mutex);
		use.blocks += s->blocks;
		use.bytes += s->bytes;
		use.mapped += (size_t)(s->committed - s->start);
		pthread_mutex_unlock(&s->mutex);
	}
	return use;
}
