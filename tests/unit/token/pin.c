/* SPDX-License-Identifier: Apache-2.0 */
#include "token/pin.h"

#include "base/base64.h"
#include "base/deadline.h"
#include "base/ossl.h"
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 7914 section 12: "pleaseletmein", salt "SodiumChloride", N = 16384, r = 8, p = 1, the first 32 of its 64 bytes.
 */
static const char rfc7914[] = "scrypt:16384:8:1:U29kaXVtQ2hsb3JpZGU:cCO9yzr9c0hGHAbNgf046_2o-7qQT44-qbVD9lRdofI";

static skr_status check(const char *pin, struct pin_guard *guard)
{
	return pin_check(rfc7914, pin, strlen(pin), guard);
}

static void the_published_vector_opens(void **state)
{
	(void)state;
	struct pin_guard guard = {.wrong = 3};

	assert_int_equal(check("pleaseletmein", &guard).failure, 0);
	assert_int_equal(guard.wrong, 0);
}

static void another_pin_is_refused_and_counted(void **state)
{
	(void)state;
	struct pin_guard guard = {0};

	assert_int_equal(check("pleaseletmeim", &guard).failure, 410);
	assert_int_equal(check("", &guard).failure, 410);
	assert_int_equal(guard.wrong, 2);
	assert_int_equal(guard.locked_until, 0);
}

/* Threat model section 7: five tries, then 1, 2, 4 … 300 s. */
static void after_five_wrong_ones_even_the_right_one_waits(void **state)
{
	(void)state;
	struct pin_guard guard = {0};

	for (int i = 0; i < 5; i++)
		assert_int_equal(check("wrong", &guard).failure, 410);
	int64_t wait = guard.locked_until - monotonic_ms();
	assert_in_range(wait, 500, 1000);
	assert_int_equal(check("pleaseletmein", &guard).failure, 412);
	assert_int_equal(guard.wrong, 5);

	guard.locked_until = 0;
	assert_int_equal(check("wrong", &guard).failure, 410);
	assert_in_range(guard.locked_until - monotonic_ms(), 1500, 2000);
	guard = (struct pin_guard){.wrong = 40};
	assert_int_equal(check("wrong", &guard).failure, 410);
	assert_in_range(guard.locked_until - monotonic_ms(), 299000, 300000);
	guard.locked_until = 0;
	assert_int_equal(check("pleaseletmein", &guard).failure, 0);
}

static void a_hash_that_is_not_as_described_opens_for_nobody(void **state)
{
	(void)state;
	static const char *const broken[] = {
	    "",
	    "scrypt",
	    "scrypt:",
	    "md5:1:1:1:U29kaXVtQ2hsb3JpZGU:cCO9yzr9c0hGHAbNgf04_evfvsO7n48",
	    "scrypt:16384:8:1:U29kaXVtQ2hsb3JpZGU",
	    "scrypt:16384:8:1:U29kaXVtQ2hsb3JpZGU:",
	    "scrypt:16384:8:1::AAAA",
	    "scrypt:-1:8:1:U29kaXVtQ2hsb3JpZGU:cCO9yzr9c0hGHAbNgf046_2o-7qQT44-qbVD9lRdofI",
	    "scrypt:16383:8:1:U29kaXVtQ2hsb3JpZGU:cCO9yzr9c0hGHAbNgf046_2o-7qQT44-qbVD9lRdofI",
	    "scrypt:99999999999999999999:8:1:U29kaXVtQ2hsb3JpZGU:cCO9yzr9c0hGHAbNgf046_2o-7qQT44-qbVD9lRdofI",
	};

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct pin_guard guard = {0};
		skr_status status = pin_check(broken[i], "pleaseletmein", 13, &guard);
		if (!status.failure)
			fail_msg("%s opened", broken[i]);
	}
}

static int start(void **state)
{
	(void)state;
	return arena_open(ARENA_LOCK_OFF).failure || ossl_open().failure;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_published_vector_opens),
	    cmocka_unit_test(another_pin_is_refused_and_counted),
	    cmocka_unit_test(after_five_wrong_ones_even_the_right_one_waits),
	    cmocka_unit_test(a_hash_that_is_not_as_described_opens_for_nobody),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
