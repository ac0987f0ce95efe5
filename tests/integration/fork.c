/* SPDX-License-Identifier: Apache-2.0 */
/* C-06 to C-08, I-06, I-33: what a forked child finds, in every order that libp11 and pkcs11-provider use. */
#include "support/module.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static CK_SESSION_HANDLE session;
static CK_OBJECT_HANDLE key;

/* In a child cmocka's way of failing would unwind into the parent's test: children say what went wrong by exit status.
 */
#define CHILD(condition)                                                               \
	do {                                                                           \
		if (!(condition)) {                                                    \
			fprintf(stderr, "child, line %d: %s\n", __LINE__, #condition); \
			_exit(1);                                                      \
		}                                                                      \
	} while (0)

static void in_child(void (*act)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		act();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("child ended with status 0x%x", status);
}

static CK_RV sign_with(CK_SESSION_HANDLE with, CK_OBJECT_HANDLE private, unsigned char *signature, CK_ULONG *len)
{
	unsigned char hash[32] = {1};
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
	CK_RV rv = p11->C_SignInit(with, &mechanism, private);

	return rv ? rv : p11->C_Sign(with, hash, sizeof(hash), signature, len);
}

static void log_in_and_sign(void)
{
	unsigned char signature[64];
	CK_ULONG len = sizeof(signature);
	CK_SLOT_ID slot = module_slot("skr");
	CK_SESSION_HANDLE own;

	CHILD(p11->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &own) == CKR_OK);
	CHILD(p11->C_Login(own, CKU_USER, NULL, 0) == CKR_OK);
	CK_OBJECT_HANDLE found = module_find(own, CKO_PRIVATE_KEY, "p256");
	CHILD(found == key); /* object handles are a pure function of the configuration */
	CHILD(sign_with(own, found, signature, &len) == CKR_OK);
	CHILD(len == 64);
}

static void without_initialize(void)
{
	unsigned char signature[64];
	CK_ULONG len = sizeof(signature);
	CK_SLOT_ID slots[8];
	CK_ULONG count = 8;
	CK_INFO info;

	CHILD(sign_with(session, key, signature, &len) == CKR_CRYPTOKI_NOT_INITIALIZED);
	CHILD(p11->C_GetSlotList(CK_TRUE, slots, &count) == CKR_CRYPTOKI_NOT_INITIALIZED);
	CHILD(p11->C_GetInfo(&info) == CKR_CRYPTOKI_NOT_INITIALIZED);
	CHILD(p11->C_Login(session, CKU_USER, NULL, 0) == CKR_CRYPTOKI_NOT_INITIALIZED);
}

static void initialize_first(void)
{
	unsigned char signature[64];
	CK_ULONG len = sizeof(signature);

	CHILD(p11->C_Initialize(NULL) == CKR_OK);
	CHILD(sign_with(session, key, signature, &len) == CKR_SESSION_HANDLE_INVALID);
	log_in_and_sign();
	CHILD(p11->C_Finalize(NULL) == CKR_OK);
}

static void finalize_first(void)
{
	CK_INFO before, after;

	CHILD(p11->C_Finalize(NULL) == CKR_CRYPTOKI_NOT_INITIALIZED);
	CHILD(p11->C_Initialize(NULL) == CKR_OK);
	CHILD(p11->C_GetInfo(&before) == CKR_OK && p11->C_GetInfo(&after) == CKR_OK);
	CHILD(memcmp(&before, &after, sizeof(before)) == 0);
	log_in_and_sign();
}

static void second_generation(void)
{
	int status;

	CHILD(p11->C_Initialize(NULL) == CKR_OK);
	log_in_and_sign();
	pid_t pid = fork();
	if (pid == 0) {
		finalize_first();
		_exit(0);
	}
	CHILD(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void then_exec(void)
{
	execl("/bin/true", "true", (char *)NULL);
	_exit(1);
}

static int set_up(void **state)
{
	(void)state;
	module_load();
	module_initialize();
	session = module_session("skr");
	module_login(session);
	key = module_find(session, CKO_PRIVATE_KEY, "p256");
	assert_int_not_equal(key, 0);
	emulator_requests_reset();
	return 0;
}

static void the_parent_still_signs(void)
{
	unsigned char signature[64];
	CK_ULONG len = sizeof(signature);

	assert_ok(sign_with(session, key, signature, &len));
}

static void each_order_works_without_a_request(void **state)
{
	(void)state;
	void (*const orders[])(void) = {without_initialize, initialize_first, finalize_first, second_generation,
	                                then_exec};

	for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
		in_child(orders[i]);
		the_parent_still_signs();
	}
	assert_int_equal(emulator_requests(""), 0);
}

static void random_to_pipe(int fd)
{
	unsigned char bytes[64 + 32] = {0};
	CK_ULONG len = 64;
	CK_SESSION_HANDLE own;

	CHILD(p11->C_Initialize(NULL) == CKR_OK);
	CHILD(p11->C_OpenSession(module_slot("skr"), CKF_SERIAL_SESSION, NULL, NULL, &own) == CKR_OK);
	CHILD(p11->C_Login(own, CKU_USER, NULL, 0) == CKR_OK);
	CHILD(p11->C_GenerateRandom(own, bytes + 64, 32) == CKR_OK);
	CHILD(sign_with(own, module_find(own, CKO_PRIVATE_KEY, "p256"), bytes, &len) == CKR_OK);
	CHILD(write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes));
}

/* I-33: r of an ECDSA signature is the nonce's; the same r twice would give the key away. */
static void children_never_share_randomness(void **state)
{
	(void)state;
	unsigned char from[3][96];

	for (int i = 0; i < 2; i++) {
		int pipes[2];
		assert_int_equal(pipe(pipes), 0);
		pid_t pid = fork();
		if (pid == 0) {
			random_to_pipe(pipes[1]);
			_exit(0);
		}
		close(pipes[1]);
		assert_int_equal(read(pipes[0], from[i], 96), 96);
		close(pipes[0]);
		waitpid(pid, NULL, 0);
	}
	CK_ULONG len = 64;
	assert_ok(sign_with(session, key, from[2], &len));
	assert_ok(p11->C_GenerateRandom(session, from[2] + 64, 32));
	for (int a = 0; a < 3; a++)
		for (int b = a + 1; b < 3; b++) {
			assert_memory_not_equal(from[a], from[b], 32);
			assert_memory_not_equal(from[a] + 64, from[b] + 64, 32);
		}
}

static double login_ms;

static void timed_login(void)
{
	CK_SESSION_HANDLE own;
	double start = now_ms();

	CHILD(p11->C_Initialize(NULL) == CKR_OK);
	CHILD(p11->C_OpenSession(module_slot("skr"), CKF_SERIAL_SESSION, NULL, NULL, &own) == CKR_OK);
	CHILD(p11->C_Login(own, CKU_USER, NULL, 0) == CKR_OK);
	login_ms = now_ms() - start;
	printf("           a child's C_Initialize, C_OpenSession and C_Login took %.2f ms\n", login_ms);
	fflush(stdout);
}

static void a_childs_login_is_quick(void **state)
{
	(void)state;
	in_child(timed_login); /* said, not judged: machines are noisy */
}

static atomic_bool stop;

static void *keep_signing(void *with)
{
	CK_SESSION_HANDLE own = *(CK_SESSION_HANDLE *)with;

	while (!stop) {
		unsigned char signature[64];
		CK_ULONG len = sizeof(signature);
		if (sign_with(own, key, signature, &len) != CKR_OK)
			return (void *)1;
	}
	return NULL;
}

/* I-23: the child of a busy process must not find a lock that nobody will ever release. */
static void forks_while_threads_sign(void **state)
{
	(void)state;
	pthread_t threads[3];
	CK_SESSION_HANDLE sessions[3];

	for (int i = 0; i < 3; i++) {
		sessions[i] = module_session("skr");
		pthread_create(&threads[i], NULL, keep_signing, &sessions[i]);
	}
	for (int i = 0; i < 25; i++) {
		alarm(60);
		in_child(i % 2 ? initialize_first : finalize_first);
		usleep((useconds_t)(i * 137 % 1000));
	}
	stop = true;
	for (int i = 0; i < 3; i++) {
		void *result;
		pthread_join(threads[i], &result);
		assert_null(result);
		assert_ok(p11->C_CloseSession(sessions[i]));
	}
	alarm(0);
	/* A fork that found no quiet moment within 50 ms gives the child no keys, and it logs in itself: the exception.
	 */
	int unclean = emulator_requests("maa.attest");
	printf("           %d of 25 children had to log in by themselves\n", unclean);
	assert_true(unclean < 13);
}

static volatile CK_RV login_rv;

static void *log_in_slowly(void *with)
{
	login_rv = p11->C_Login(*(CK_SESSION_HANDLE *)with, CKU_USER, NULL, 0);
	return NULL;
}

static void during_login(void)
{
	alarm(30);
	CHILD(p11->C_Initialize(NULL) == CKR_OK);
	CK_SESSION_HANDLE own;
	CHILD(p11->C_OpenSession(module_slot("faulty"), CKF_SERIAL_SESSION, NULL, NULL, &own) == CKR_OK);
	CHILD(module_find(own, CKO_PRIVATE_KEY, "fragile") == 0);
	CHILD(p11->C_Login(own, CKU_USER, NULL, 0) == CKR_OK);
	CHILD(module_find(own, CKO_PRIVATE_KEY, "fragile") != 0);
}

/* C-06 */
static void fork_while_another_thread_logs_in(void **state)
{
	(void)state;
	pthread_t thread;
	CK_SESSION_HANDLE own = module_session("faulty");

	emulator_faults("akv.release delay(1500)");
	pthread_create(&thread, NULL, log_in_slowly, &own);
	usleep(700 * 1000);
	in_child(during_login);
	pthread_join(thread, NULL);
	emulator_faults("");
	assert_ok(login_rv);
	assert_ok(p11->C_CloseSession(own));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_order_works_without_a_request),
	    cmocka_unit_test(children_never_share_randomness),
	    cmocka_unit_test(a_childs_login_is_quick),
	    cmocka_unit_test(forks_while_threads_sign),
	    cmocka_unit_test(fork_while_another_thread_logs_in),
	};
	return cmocka_run_group_tests_name("integration.fork", tests, set_up, NULL);
}
