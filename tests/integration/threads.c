/* SPDX-License-Identifier: Apache-2.0 */
/* C-01, C-09, C-19, I-23, I-24: many threads log in, sign, log out and finalize at once. Also what TSan watches. */
#include "support/module.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MANY = 64 };

static int set_up(void **state)
{
	(void)state;
	if (!p11)
		module_load();
	module_initialize();
	emulator_faults("");
	/* C_Logout clears what an earlier failure left: the next login need not wait its turn. */
	CK_SESSION_HANDLE session = module_session("skr");
	p11->C_Logout(session);
	assert_ok(p11->C_CloseSession(session));
	emulator_requests_reset();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	CK_RV rv = p11->C_Finalize(NULL);
	return rv == CKR_OK || rv == CKR_CRYPTOKI_NOT_INITIALIZED ? 0 : -1;
}

static CK_RV results[MANY];

static void *log_in(void *with)
{
	size_t index = (size_t)with;
	CK_SESSION_HANDLE session;

	results[index] = p11->C_OpenSession(module_slot("skr"), CKF_SERIAL_SESSION, NULL, NULL, &session);
	if (results[index] == CKR_OK)
		results[index] = p11->C_Login(session, CKU_USER, NULL, 0);
	return NULL;
}

static void everybody_logs_in(void)
{
	pthread_t threads[MANY];

	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_in, (void *)i), 0);
	for (size_t i = 0; i < MANY; i++)
		pthread_join(threads[i], NULL);
}

/* C-01, I-24 */
static void sixty_four_logins_are_one_release(void **state)
{
	(void)state;
	int ok = 0;

	emulator_faults("maa.attest delay(300)");
	everybody_logs_in();
	for (int i = 0; i < MANY; i++) {
		if (results[i] != CKR_OK && results[i] != CKR_USER_ALREADY_LOGGED_IN)
			fail_msg("thread %d: %s", i, rv_name(results[i]));
		ok += results[i] == CKR_OK;
	}
	assert_int_equal(ok, 1);
	assert_int_equal(emulator_requests("maa.attest"), 1);
}

static void sixty_four_logins_share_one_failure(void **state)
{
	(void)state;

	emulator_faults("maa.attest status(400)");
	everybody_logs_in();
	for (int i = 0; i < MANY; i++)
		assert_rv(results[i], CKR_FUNCTION_FAILED);
	assert_int_equal(emulator_requests("maa.attest"), 1);
}

static atomic_bool stop;

static void *sign_until_told(void *with)
{
	const char *label = with;
	unsigned char hash[32] = {7}, signature[512];
	CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0}, rsa = {CKM_RSA_PKCS, NULL, 0};
	CK_SESSION_HANDLE session = module_session("skr");
	long count = 0;

	while (!stop) {
		CK_ULONG len = sizeof(signature);
		CK_OBJECT_HANDLE key = module_find(session, CKO_PRIVATE_KEY, label);
		CK_RV rv = p11->C_SignInit(session, label[0] == 'p' ? &ecdsa : &rsa, key);
		if (rv == CKR_OK)
			rv = p11->C_Sign(session, hash, sizeof(hash), signature, &len);
		/* Logged out meanwhile: one of these, and never a crash. */
		if (rv != CKR_OK && rv != CKR_KEY_HANDLE_INVALID && rv != CKR_USER_NOT_LOGGED_IN &&
		    rv != CKR_OPERATION_NOT_INITIALIZED)
			return (void *)(uintptr_t)rv;
		count += rv == CKR_OK;
	}
	p11->C_CloseSession(session);
	return count ? NULL : (void *)-1;
}

/* C-19 */
static void signing_goes_on_through_logouts(void **state)
{
	(void)state;
	pthread_t threads[4];
	static const char *const labels[] = {"p256", "rsa2048", "p256", "p256"};
	CK_SESSION_HANDLE session = module_session("skr");

	module_login(session);
	stop = false;
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, sign_until_told, (void *)(uintptr_t)labels[i]);
	for (int i = 0; i < 3; i++) {
		usleep(200 * 1000);
		assert_ok(p11->C_Logout(session));
		usleep(20 * 1000);
		module_login(session);
	}
	usleep(200 * 1000);
	stop = true;
	for (int i = 0; i < 4; i++) {
		void *result;
		pthread_join(threads[i], &result);
		if (result)
			fail_msg("thread %d: %s", i, rv_name((CK_RV)(uintptr_t)result));
	}
	assert_ok(p11->C_CloseSession(session));
}

/* C-09, I-17 */
static void finalize_ends_a_login_under_way(void **state)
{
	(void)state;
	pthread_t thread;
	double start;

	emulator_faults("maa.attest stall");
	pthread_create(&thread, NULL, log_in, (void *)0);
	usleep(700 * 1000);
	start = now_ms();
	assert_ok(p11->C_Finalize(NULL));
	pthread_join(thread, NULL);
	if (now_ms() - start > 3000)
		fail_msg("took %.0f ms", now_ms() - start);
	assert_rv(results[0], CKR_FUNCTION_CANCELED);
	emulator_faults("");
	module_initialize();
	log_in((void *)0);
	assert_rv(results[0], CKR_OK);
}

static void closing_all_sessions_ends_a_login_under_way(void **state)
{
	(void)state;
	pthread_t thread;
	double start;

	emulator_faults("akv.release stall");
	pthread_create(&thread, NULL, log_in, (void *)0);
	usleep(700 * 1000);
	start = now_ms();
	assert_ok(p11->C_CloseAllSessions(module_slot("skr")));
	pthread_join(thread, NULL);
	assert_true(now_ms() - start < 3000);
	assert_rv(results[0], CKR_FUNCTION_CANCELED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(sixty_four_logins_are_one_release, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(sixty_four_logins_share_one_failure, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(signing_goes_on_through_logouts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(finalize_ends_a_login_under_way, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(closing_all_sessions_ends_a_login_under_way, set_up, tear_down),
	};
	return cmocka_run_group_tests_name("integration.threads", tests, NULL, NULL);
}
