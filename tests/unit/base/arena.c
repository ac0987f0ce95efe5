/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/ossl.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* The flags of the mapping that holds `p`, as the kernel names them. */
static void flags_of(const void *p, char *flags, size_t size)
{
	char line[512];
	unsigned long start, end;
	int inside = 0;
	FILE *maps = fopen("/proc/self/smaps", "r");

	flags[0] = '\0';
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && strchr(line, '-') < strchr(line, ' '))
			inside = (unsigned long)p >= start && (unsigned long)p < end;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, size, "%s", line + 8);
	}
	fclose(maps);
}

static void libcrypto_allocates_here_and_nowhere_else(void **state)
{
	(void)state;
	void *p = OPENSSL_malloc(100);

	assert_true(arena_owns(p));
	OPENSSL_free(p);
	auto_pkey *key = EVP_PKEY_Q_keygen(ossl, NULL, "EC", "P-256");
	assert_true(arena_owns(key));
}

/* I-02 */
static void pages_are_out_of_core_files(void **state)
{
	(void)state;
	char flags[256];
	void *key = arena_alloc(100);

	flags_of(key, flags, sizeof(flags));
	assert_non_null(strstr(flags, " dd"));
	assert_null(strstr(flags, " wf"));
	void *control = malloc(100);
	flags_of(control, flags, sizeof(flags));
	assert_null(strstr(flags, " dd"));
	free(control);
	arena_release(key);

	auto_arena(ARENA_EPHEMERAL);
	void *ephemeral = arena_alloc(100);
	flags_of(ephemeral, flags, sizeof(flags));
	assert_non_null(strstr(flags, " dd"));
	assert_non_null(strstr(flags, " wf"));
	arena_release(ephemeral);
}

/* I-04 */
static void blocks_are_zero_whatever_they_held(void **state)
{
	(void)state;
	for (size_t size = 1; size < 200000; size = size * 3 / 2 + 1) {
		uint8_t *blocks[8];
		for (int round = 0; round < 3; round++) {
			for (int i = 0; i < 8; i++) {
				blocks[i] = arena_alloc(size);
				assert_non_null(blocks[i]);
				assert_int_equal((uintptr_t)blocks[i] % 16, 0);
				for (size_t k = 0; k < size; k++)
					if (blocks[i][k])
						fail_msg("byte %zu of %zu is %d", k, size, blocks[i][k]);
				memset(blocks[i], 0xa5, size);
			}
			for (int i = 0; i < 8; i++)
				arena_release(blocks[i]);
		}
	}
}

static int signal_of_child(void (*act)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		act();
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void overrun_by_one(void)
{
	volatile uint8_t *block = arena_alloc(33);
	block[33] ^= 1;
	arena_release((void *)block);
}

static void release_twice(void)
{
	void *block = arena_alloc(33);
	arena_release(block);
	arena_release(block);
}

static void release_foreign(void)
{
	static uint8_t place[64];
	arena_release(place + 32);
}

static void nothing_wrong(void)
{
	void *block = arena_alloc(33);
	memset(block, 1, 33);
	arena_release(block);
}

/* I-04 */
static void misuse_stops_the_process(void **state)
{
	(void)state;
	assert_int_equal(signal_of_child(nothing_wrong), 0);
	assert_int_equal(signal_of_child(overrun_by_one), SIGABRT);
	assert_int_equal(signal_of_child(release_twice), SIGABRT);
	assert_int_equal(signal_of_child(release_foreign), SIGABRT);
}

/* I-06 */
static void a_child_inherits_keys_and_reads_zeros_for_the_rest(void **state)
{
	(void)state;
	int status;
	uint8_t *key = arena_alloc(64), *temporary;
	{
		auto_arena(ARENA_EPHEMERAL);
		temporary = arena_alloc(64);
	}
	memset(key, 0x11, 64);
	memset(temporary, 0x22, 64);

	pid_t pid = fork();
	if (pid == 0) {
		int wrong = 0;
		for (int i = 0; i < 64; i++)
			wrong |= key[i] != 0x11 || temporary[i] != 0;
		arena_after_fork();
		arena_release(temporary); /* the owner's clean-up runs in the child as well */
		{
			auto_arena(ARENA_EPHEMERAL);
			uint8_t *fresh = arena_alloc(64);
			wrong |= !fresh || fresh == temporary;
			arena_release(fresh);
		}
		arena_release(key);
		_exit(wrong);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(temporary[0], 0x22);
	arena_release(key);
	arena_release(temporary);
}

static void a_resized_block_stays_in_its_arena(void **state)
{
	(void)state;
	char flags[256];
	uint8_t *block = arena_alloc(10);

	memcpy(block, "0123456789", 10);
	auto_arena(ARENA_EPHEMERAL);
	block = arena_resize(block, 100000);
	assert_memory_equal(block, "0123456789", 10);
	assert_int_equal(block[10], 0);
	flags_of(block, flags, sizeof(flags));
	assert_null(strstr(flags, " wf"));
	arena_release(block);
}

static void *churn(void *with)
{
	unsigned seed = (unsigned)(uintptr_t)with;
	void *held[64] = {0};

	for (int i = 0; i < 20000; i++) {
		int at = rand_r(&seed) % 64;
		arena_release(held[at]);
		size_t size = (size_t)(rand_r(&seed) % 3000) + 1;
		held[at] = arena_alloc(size);
		memset(held[at], at, size);
	}
	for (int i = 0; i < 64; i++)
		arena_release(held[i]);
	return NULL;
}

/* I-18 */
static void threads_leave_nothing_behind(void **state)
{
	(void)state;
	struct arena_use before = arena_use(ARENA_KEYS), after;
	pthread_t threads[4];

	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	after = arena_use(ARENA_KEYS);
	assert_int_equal(after.blocks, before.blocks);
	assert_int_equal(after.bytes, before.bytes);
}

int main(void)
{
	if (arena_open(ARENA_LOCK_AUTO).failure || ossl_open().failure) {
		fprintf(stderr, "%s\n", status_message());
		return 1;
	}
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(libcrypto_allocates_here_and_nowhere_else),
	    cmocka_unit_test(pages_are_out_of_core_files),
	    cmocka_unit_test(blocks_are_zero_whatever_they_held),
	    cmocka_unit_test(misuse_stops_the_process),
	    cmocka_unit_test(a_child_inherits_keys_and_reads_zeros_for_the_rest),
	    cmocka_unit_test(a_resized_block_stays_in_its_arena),
	    cmocka_unit_test(threads_leave_nothing_behind),
	};
	return cmocka_run_group_tests_name("base.arena", tests, NULL, NULL);
}
