/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/module.h"

#include "base/log.h"
#include "config/config.h"
#include "release/release.h"
#include "token/login.h"
#include "token/session.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FORK_WAIT_MS     50   /* for calls in flight to end */
#define FINALIZE_WAIT_MS 2000 /* for logins in flight to end */
#define EXIT_WAIT_MS     50

/*
 * One page that a child finds empty (MADV_WIPEONFORK): one load tells a process in which we were initialised from its
 * children, raw clone() included. Where the kernel has no such pages, the process id is compared.
 */
struct birth {
	bool known; /* this process went through C_Initialize once */
	bool alive; /* and is between C_Initialize and C_Finalize */
	pid_t pid;
};
static struct birth *birth;
static bool birth_is_wiped;

static pthread_rwlock_t life;
static bool unloaded;    /* the destructor has run: nothing may be used any more */
static bool inheritable; /* in a child: at the fork nobody was inside */
static __thread bool inside;

/* Written while nobody is inside. */
static struct config *config;   /* for the life of the process: workers can neither read the file nor the environment */
static bool config_is_good;     /* it is a file's */
static struct stat config_stat; /* of that file */
static struct status_record config_failure;
static bool tokens_are_open;

static bool is_known(void)
{
	return birth && birth->known && (birth_is_wiped || birth->pid == getpid());
}

static bool is_alive(void)
{
	return is_known() && __atomic_load_n(&birth->alive, __ATOMIC_ACQUIRE) && !unloaded;
}

/*
 * A lock for C_Initialize and C_Finalize that a child can take although a thread of its parent held it: it holds the
 * process id of whoever has it.
 */
static pid_t starting;

static void start_lock(void)
{
	pid_t pid = getpid(), holder = __atomic_load_n(&starting, __ATOMIC_RELAXED);

	for (;;) {
		if (holder == pid) {
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
			holder = __atomic_load_n(&starting, __ATOMIC_RELAXED);
		} else if (__atomic_compare_exchange_n(&starting, &holder, pid, false, __ATOMIC_ACQUIRE,
		                                       __ATOMIC_RELAXED)) {
			return;
		}
	}
}

static void start_unlock(void)
{
	__atomic_store_n(&starting, 0, __ATOMIC_RELEASE);
}

/* Writers first, or a busy server could never fork. A reader never waits for itself: see `inside`. */
static void life_new(void)
{
	pthread_rwlockattr_t attributes;

	pthread_rwlockattr_init(&attributes);
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&life, &attributes);
	pthread_rwlockattr_destroy(&attributes);
}

#ifdef __SANITIZE_THREAD__
/* gcc 12's does not know pthread_rwlock_clockwrlock, and takes what it locks for unlocked. */
#define LIFE_CLOCK                               CLOCK_REALTIME
#define pthread_rwlock_clockwrlock(l, clock, at) pthread_rwlock_timedwrlock(l, at)
#else
#define LIFE_CLOCK CLOCK_MONOTONIC
#endif

static bool life_take_within(int64_t ms)
{
	struct timespec at;

	clock_gettime(LIFE_CLOCK, &at);
	at.tv_nsec += ms * 1000000;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	return pthread_rwlock_clockwrlock(&life, LIFE_CLOCK, &at) == 0;
}

/* ---- calls ---- */

static void call_begin(struct call *call)
{
	call->error = errno;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &call->cancel);
	call->entered = true;
	inside = true;
}

static void call_end(struct call *call)
{
	inside = false;
	call->entered = false;
	pthread_setcancelstate(call->cancel, NULL);
	errno = call->error;
}

CK_RV call_enter(struct call *call)
{
	if (inside)
		return CKR_FUNCTION_FAILED;
	if (!is_alive())
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	call_begin(call);
	pthread_rwlock_rdlock(&life);
	if (is_alive())
		return CKR_OK;
	call_leave(call);
	return CKR_CRYPTOKI_NOT_INITIALIZED;
}

void call_leave(struct call *call)
{
	if (!call->entered)
		return;
	pthread_rwlock_unlock(&life);
	call_end(call);
}

void call_pause(struct call *call)
{
	(void)call;
	pthread_rwlock_unlock(&life);
}

void call_resume(struct call *call)
{
	(void)call;
	pthread_rwlock_rdlock(&life);
}

/* ---- fork ---- */

enum at_fork { NOT_ALIVE, BUSY, QUIET };
static __thread enum at_fork at_fork;
static __thread bool holds_life, holds_state, holds_arena;

/*
 * Waits, but never long, for everybody to leave: hosts hold locks of their own over fork. Keys, libcrypto's tables and
 * ours are in order in the child only if nobody was inside, and nobody worked on a login outside.
 */
static void before_fork(void)
{
	int error = errno;

	at_fork = is_alive() ? BUSY : NOT_ALIVE;
	if (at_fork == BUSY) {
		holds_life = !inside && life_take_within(FORK_WAIT_MS);
		holds_state = holds_life && state_lock_within(FORK_WAIT_MS);
		if (holds_state && !login_working())
			at_fork = QUIET;
		holds_arena = !inside; /* a signal handler that forks may have interrupted the arena itself */
		if (holds_arena)
			arena_before_fork();
	}
	errno = error;
}

static void let_go(void)
{
	if (at_fork == NOT_ALIVE)
		return;
	if (holds_arena)
		arena_after_fork_parent();
	if (holds_state)
		state_unlock(NULL);
	if (holds_life)
		pthread_rwlock_unlock(&life);
}

static void after_fork_in_parent(void)
{
	int error = errno;

	let_go();
	errno = error;
}

static void child_locks_renew(void)
{
	arena_after_fork();
	life_new();
	state_lock_renew();
}

/* As little as can be: most children never call us. A child of a child that did not call us leaves all as its parent
 * found it. */
static void after_fork_in_child(void)
{
	int error = errno;

	let_go();
	if (at_fork != NOT_ALIVE)
		inheritable = at_fork == QUIET;
	if (at_fork == QUIET && config->fork == FORK_WIPE) {
		child_locks_renew();
		sessions_after_fork(true);
		tokens_wipe_keys();
	}
	errno = error;
}

/* The child's C_Initialize: what the parent left, made ours. */
static skr_status adopt_from_parent(void)
{
	child_locks_renew();
	if (!inheritable)
		TRY(ossl_renew());
	sessions_after_fork(inheritable);
	tokens_after_fork(inheritable);
	if (!inheritable)
		log_line(LOG_LEVEL_INFO,
		         "SKR-402 : the parent was inside a call when it forked: released keys are not inherited");
	inheritable = false;
	return OK;
}

/* ---- initialise ---- */

static skr_status birth_new(void)
{
	void *place =
	    mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (place == MAP_FAILED)
		return FAIL(14, "one page: %s", strerror(errno));
	birth_is_wiped = madvise(place, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) == 0;
	life_new();
	birth = place;
	return OK;
}

/* The first call in this process's line: memory for secrets before libcrypto asks for any. */
static skr_status first_start(void)
{
	TRY(arena_open(ARENA_LOCK_OFF));
	TRY(birth_new());
	if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0)
		return FAIL(14, "fork handlers");
	return OK;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Every program that uses p11-kit loads us, so no file at all is worth a line only to those who ask for it. Once for
 * each reason. */
static void log_configuration_failure(void)
{
	char line[1024];

	if (status_last()->failure == config_failure.failure &&
	    strcmp(status_last()->sentence, config_failure.sentence) == 0)
		return;
	config_failure = *status_last();
	if (config_failure.failure != 1) {
		log_failure();
		return;
	}
	status_line(&config_failure, line, sizeof(line));
	log_line(LOG_LEVEL_INFO, "%s", line);
}

/* What holds from now on: the file's, or what was read before, or nothing. `ret_same`: the file is the one read before.
 */
static skr_status configure(const char *path, struct config **ret_old, bool *ret_same)
{
	struct config *fresh = NULL;
	struct stat found = {0};

	stat(path, &found);
	*ret_same = config_is_good && is_same_file(&found, &config_stat);
	*ret_old = NULL;
	skr_status status = config_read(path, &fresh);
	if (status.failure)
		log_configuration_failure();
	if (status.failure && config_is_good)
		return OK;
	if (!status.failure) {
		config_failure = (struct status_record){0};
		config_is_good = true;
		config_stat = found;
	} else {
		fresh = config_default();
	}
	if (!fresh)
		return FAIL(14, "the configuration");
	*ret_old = config;
	config = fresh;
	log_open(config->log, config->log_level, "skr-pkcs11");
	return OK;
}

static void log_memory_notes(void)
{
	static bool logged;

	if (logged)
		return;
	logged = true;
	if (arena_unlocked())
		log_line(LOG_LEVEL_WARNING, "SKR-010 : %s : %s", failure_row(10)->sentence, failure_row(10)->hint);
	if (!arena_wipes_on_fork() || !birth_is_wiped)
		log_line(LOG_LEVEL_WARNING, "SKR-013 : %s : %s", failure_row(13)->sentence, failure_row(13)->hint);
}

/* Servers clear the environment of their workers, and a second C_Initialize may come after that: the first time counts.
 */
static void capture_environment_once(const char *path)
{
	static char *captured;

	if (captured && strcmp(captured, path) == 0)
		return;
	free(captured);
	captured = text_copy(path, strlen(path));
	release_capture_environment(path);
}

static skr_status open_tokens(const char *reserved)
{
	char *path = NULL;
	struct config *old = NULL;
	bool same = false;

	TRY(config_path(reserved, &path));
	skr_status status = configure(path, &old, &same);
	if (!status.failure) /* the agent is to read what holds here, which may be the file of an earlier time */
		capture_environment_once(config->path ? config->path : path);
	free(path);
	if (!status.failure)
		status = arena_open(config->memory_lock);
	if (!status.failure)
		status = ossl_open();
	if (!status.failure)
		status = tokens_open(config, same);
	config_free(old);
	TRY(status);
	log_memory_notes();
	tokens_are_open = true;
	return OK;
}

static skr_status start(const char *reserved)
{
	if (!birth)
		TRY(first_start());
	else if (!is_known())
		TRY(adopt_from_parent());
	birth->pid = getpid();
	birth->known = true;
	if (!tokens_are_open || !config_is_good)
		TRY(open_tokens(reserved));
	__atomic_store_n(&birth->alive, true, __ATOMIC_RELEASE);
	return OK;
}

static CK_RV check_arguments(const CK_C_INITIALIZE_ARGS *args)
{
	if (args->flags & ~(CKF_LIBRARY_CANT_CREATE_OS_THREADS | CKF_OS_LOCKING_OK))
		return CKR_ARGUMENTS_BAD;
	int callbacks = !!args->CreateMutex + !!args->DestroyMutex + !!args->LockMutex + !!args->UnlockMutex;
	if (callbacks != 0 && callbacks != 4)
		return CKR_ARGUMENTS_BAD;
	/* Only the system's locks do what fork needs of them (threat model D-9). strongSwan: os_locking = yes. */
	if (callbacks == 4 && !(args->flags & CKF_OS_LOCKING_OK))
		return CKR_CANT_LOCK;
	return CKR_OK;
}

/*
 * PKCS#11 leaves pReserved to nobody, yet p11-kit (x-init-reserved) and NSS pass text of their own there: what does not
 * begin as ours does is not looked at any further.
 */
static const char *our_reserved(const CK_C_INITIALIZE_ARGS *args)
{
	static const char ours[] = "skr_conf=";

	if (!args || !args->pReserved || strncmp(args->pReserved, ours, sizeof(ours) - 1) != 0)
		return NULL;
	return args->pReserved;
}

CK_RV module_initialize(const CK_C_INITIALIZE_ARGS *args)
{
	struct call call = {0};
	CK_RV rv = args ? check_arguments(args) : CKR_OK;

	if (rv != CKR_OK)
		return rv;
	if (inside)
		return CKR_CRYPTOKI_ALREADY_INITIALIZED;
	call_begin(&call);
	start_lock();
	if (unloaded) {
		rv = CKR_FUNCTION_FAILED;
	} else if (is_alive()) {
		rv = CKR_CRYPTOKI_ALREADY_INITIALIZED;
	} else {
		skr_status status = start(our_reserved(args));
		if (status.failure)
			log_failure();
		rv = status_rv(status);
	}
	start_unlock();
	call_end(&call);
	return rv;
}

/* ---- finalise ---- */

static void stop(void)
{
	bool all = login_wait_for_all(FINALIZE_WAIT_MS);

	pthread_rwlock_wrlock(&life);
	__atomic_store_n(&birth->alive, false, __ATOMIC_RELEASE);
	sessions_close_all(NULL);
	tokens_close(!all);
	tokens_are_open = false;
	if (!all) { /* a login stuck in the system still reads it */
		config = NULL;
		config_is_good = false;
	}
	pthread_rwlock_unlock(&life);
}

CK_RV module_finalize(void)
{
	struct call call = {0};
	CK_RV rv = CKR_OK;

	if (inside)
		return CKR_FUNCTION_FAILED;
	if (!is_alive())
		return CKR_CRYPTOKI_NOT_INITIALIZED;
	call_begin(&call);
	start_lock();
	if (is_alive())
		stop();
	else
		rv = CKR_CRYPTOKI_NOT_INITIALIZED;
	start_unlock();
	call_end(&call);
	return rv;
}

void module_configuration_failure(struct status_record *ret)
{
	*ret = config_failure;
}

/*
 * At exit, or dlclose were it not for -z nodelete. Only wipes, and only if nobody is inside: a thread that still signs
 * while the process ends must not find its key gone. Late calls of other exit handlers find the library not
 * initialised.
 */
__attribute__((destructor)) static void module_unload(void)
{
	if (!is_known() || inside || !life_take_within(EXIT_WAIT_MS))
		return;
	unloaded = true;
	if (state_lock_within(EXIT_WAIT_MS)) {
		if (!login_working())
			arena_wipe_all();
		state_unlock(NULL);
	}
	pthread_rwlock_unlock(&life);
}
