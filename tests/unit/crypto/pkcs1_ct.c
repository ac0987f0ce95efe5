/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I-14: no branch on and no index by anything secret. Secrets are marked as uninitialised for valgrind's memcheck,
 * which follows what is computed from them and reports every jump and every address that depends on them:
 *
 *     valgrind --error-exitcode=99 unit_crypto_pkcs1_ct
 *
 * Without valgrind this runs the same calls, and the marks do nothing.
 */
#include "crypto/pkcs1.h"

#include "unit/crypto/surroundings.h"

#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#else /* a build without valgrind cannot be looked at either */
#define VALGRIND_MAKE_MEM_UNDEFINED(place, len) ((void)(place), (void)(len), 0)
#define VALGRIND_MAKE_MEM_DEFINED(place, len)   ((void)(place), (void)(len), 0)
#endif

/* `wanted` 0: every length will do. */
static void run(size_t k, bool padded, size_t message_len, size_t wanted)
{
	uint8_t secret[32], ciphertext[PKCS1_BLOCK_MAX], block[PKCS1_BLOCK_MAX], out[PKCS1_BLOCK_MAX];
	size_t len;

	memset(secret, 0x5a, sizeof(secret));
	memset(ciphertext, 0x17, k);
	memset(out, 0, sizeof(out));
	memset(block, 0xff, k);
	block[0] = 0;
	block[1] = padded ? 2 : 1;
	block[k - message_len - 1] = 0;

	(void)VALGRIND_MAKE_MEM_UNDEFINED(secret, sizeof(secret));
	(void)VALGRIND_MAKE_MEM_UNDEFINED(block, k);
	bool done = wanted ? pkcs1_unpad_key(secret, ciphertext, block, k, (size_t[]){16, wanted}, 2, out, &len)
	                   : pkcs1_unpad(secret, ciphertext, block, k, out, &len);
	(void)VALGRIND_MAKE_MEM_DEFINED(out, sizeof(out));
	(void)VALGRIND_MAKE_MEM_DEFINED(&len, sizeof(len));

	assert_true(done);
	if (wanted && (!padded || message_len != wanted)) {
		assert_true(len == 16 || len == wanted);
	} else if (padded) {
		assert_int_equal(len, message_len);
		assert_true(len == 0 || out[len - 1] == 0xff);
	}
}

static void no_jump_and_no_address_depends_on_the_block_or_the_key(void **state)
{
	(void)state;
	run(256, true, 245, 0);
	run(256, true, 0, 0);
	run(256, true, 48, 0);
	run(256, false, 48, 0);
	run(384, true, 48, 0);
	run(512, false, 48, 0);
	run(256, true, 32, 32);
	run(256, true, 31, 32);
	run(256, false, 32, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_jump_and_no_address_depends_on_the_block_or_the_key),
	};
	return cmocka_run_group_tests(tests, open_libcrypto, NULL);
}
