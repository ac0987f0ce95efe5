/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#include "unit/crypto/surroundings.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void each_has_its_size_and_nothing_has_none(void **state)
{
	(void)state;
	assert_int_equal(digest_size(DIGEST_NONE), 0);
	assert_null(digest_md(DIGEST_NONE));
	for (enum digest d = DIGEST_NONE + 1; d < DIGEST_COUNT; d++) {
		assert_int_equal(EVP_MD_get_size(digest_md(d)), digest_size(d));
		assert_in_range(digest_size(d), 20, DIGEST_MAX);
	}
	assert_non_null(digest_hmac());
}

/* Library contexts that are replaced leak on purpose; they do so in a child. Returns what `body` does: 0 is well. */
static int in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();
	if (pid == 0)
		_exit(body());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void *fetch(void *md)
{
	*(const EVP_MD **)md = digest_md(DIGEST_SHA256);
	return NULL;
}

static int ask_in_four_threads(void)
{
	pthread_t threads[4];
	const EVP_MD *seen[4];

	for (int round = 0; round < 10; round++) {
		if (ossl_renew().failure)
			return 1;
		for (int i = 0; i < 4; i++)
			if (pthread_create(&threads[i], NULL, fetch, &seen[i]))
				return 2;
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		for (int i = 0; i < 4; i++)
			if (!seen[i] || seen[i] != digest_md(DIGEST_SHA256))
				return 3;
	}
	return 0;
}

static void threads_that_ask_first_get_the_same(void **state)
{
	(void)state;
	assert_int_equal(in_child(ask_in_four_threads), 0);
}

static int ask_before_and_after(void)
{
	const EVP_MD *md = digest_md(DIGEST_SHA256);
	const EVP_MAC *hmac = digest_hmac();

	if (!md || !hmac || ossl_renew().failure)
		return 1;
	return digest_md(DIGEST_SHA256) == md || digest_hmac() == hmac ? 2 : 0;
}

static void a_new_library_context_gets_its_own(void **state)
{
	(void)state;
	assert_int_equal(in_child(ask_before_and_after), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_has_its_size_and_nothing_has_none),
	    cmocka_unit_test(threads_that_ask_first_get_the_same),
	    cmocka_unit_test(a_new_library_context_gets_its_own),
	};
	return cmocka_run_group_tests(tests, open_libcrypto, NULL);
}
