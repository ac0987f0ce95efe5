/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_ARENA_H
#define SKR_BASE_ARENA_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Memory for secrets, and for everything the module's private libcrypto allocates (CRYPTO_set_mem_functions): anonymous
 * mappings with guard pages, a canary behind each block, out of core files, locked, wiped when freed (threat model 6).
 *
 * Two arenas: ARENA_KEYS is inherited over fork; ARENA_EPHEMERAL reads as zeros in a child (MADV_WIPEONFORK).
 */
enum arena_kind { ARENA_KEYS, ARENA_EPHEMERAL };

enum arena_lock { ARENA_LOCK_AUTO, ARENA_LOCK_REQUIRE, ARENA_LOCK_OFF };

/*
 * Reserves both arenas and hands libcrypto our functions; before any other call into libcrypto. Once per process; later
 * calls succeed and only tighten the locking rule. SKR-011 not locked though required (or swap is active under AUTO),
 * SKR-012 not kept out of core files, SKR-014 no memory. SKR-010 (unlocked, no swap) is no failure: see
 * arena_unlocked().
 */
skr_status arena_open(enum arena_lock lock) MUST_CHECK;
bool arena_unlocked(void);      /* true: mlock failed and that was acceptable; log SKR-010 */
bool arena_wipes_on_fork(void); /* false: the kernel lacks MADV_WIPEONFORK; log SKR-013 and compare pids */

/* What this thread allocates from now on comes from `kind`; returns what was in force. Blocks know where they belong.
 */
enum arena_kind arena_select(enum arena_kind kind);
static inline void arena_unselect(const enum arena_kind *previous)
{
	arena_select(*previous);
}
/* auto_arena(ARENA_EPHEMERAL); until the end of the scope. */
#define auto_arena(kind_) \
	__attribute__((cleanup(arena_unselect), unused)) const enum arena_kind arena_before_ = arena_select(kind_)

void *arena_alloc(size_t size);  /* 16-byte aligned, zero; NULL without memory */
void arena_release(void *block); /* wipes; takes NULL; aborts the process on a broken canary or a foreign pointer */
void *arena_resize(void *block, size_t size); /* the old place is wiped if it moves */

/*
 * In a child after fork, before anything else of ours: locks anew (mlock is not inherited), forgets every block of the
 * ephemeral arena (which reads as zeros), makes the arena's own mutexes new.
 */
void arena_after_fork(void);

/* Called by the only atfork handler around fork, so that the child finds the arena's own state consistent. */
void arena_before_fork(void);
void arena_after_fork_parent(void);

/* Wipes both arenas at once, for the destructor; nothing may be used afterwards. */
void arena_wipe_all(void);

struct arena_use {
	size_t blocks, bytes; /* handed out now */
	size_t mapped;        /* bytes of committed pages */
};
struct arena_use arena_use(enum arena_kind kind);
bool arena_owns(const void *p); /* true if p points into either arena; for tests and assertions */

#endif
