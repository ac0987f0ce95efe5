/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/digest.h"

#include "unit/crypto/surroundings.h"

#include <pthread.h>

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

static void *fetch(void *md)
{
	*(const EVP_MD **)md = digest_md(DIGEST_SHA256);
	return NULL;
}

/* A library context of its own for this test, so that nothing was fetched before. */
static void threads_that_ask_first_get_the_same(void **state)
{
	pthread_t threads[4];
	const EVP_MD *seen[4];

	(void)state;
	for (int round = 0; round < 10; round++) {
		assert_int_equal(ossl_renew().failure, 0);
		for (int i = 0; i < 4; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, fetch, &seen[i]), 0);
		for (int i = 0; i < 4; i++) {
			pthread_join(threads[i], NULL);
			assert_non_null(seen[i]);
			assert_ptr_equal(seen[i], digest_md(DIGEST_SHA256));
		}
	}
}

static void a_new_library_context_gets_its_own(void **state)
{
	(void)state;
	const EVP_MD *before = digest_md(DIGEST_SHA256);
	const EVP_MAC *hmac_before = digest_hmac();
	assert_int_equal(ossl_renew().failure, 0);
	assert_ptr_not_equal(digest_md(DIGEST_SHA256), before);
	assert_ptr_not_equal(digest_hmac(), hmac_before);
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
