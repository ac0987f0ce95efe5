/* SPDX-License-Identifier: Apache-2.0 */
/* I-17 to I-20, I-22, D-4 to D-7: the host process is as it was, whatever the module does in it. */
#include "support/module.h"
#include "cmocka_all.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t signals_seen;
static volatile sig_atomic_t forks_seen;

static void count_signal(int number)
{
	(void)number;
	signals_seen++;
}

static void count_fork(void)
{
	forks_seen++;
}

struct surroundings {
	sigset_t mask;
	struct sigaction actions[32];
	mode_t umask;
	char folder[4096], locale[256];
	struct rlimit core, files;
	int descriptors;
	size_t environment;
};

static int open_descriptors(void)
{
	int count = 0;
	DIR *dir = opendir("/proc/self/fd");

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static int threads(void)
{
	char line[256];
	int count = 0;
	FILE *status = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof(line), status))
		sscanf(line, "Threads: %d", &count);
	fclose(status);
	return count;
}

extern char **environ;

static void look(struct surroundings *s)
{
	memset(s, 0, sizeof(*s));
	sigprocmask(SIG_SETMASK, NULL, &s->mask);
	for (int i = 1; i < 32; i++)
		sigaction(i, NULL, &s->actions[i]);
	s->umask = umask(0);
	umask(s->umask);
	assert_non_null(getcwd(s->folder, sizeof(s->folder)));
	snprintf(s->locale, sizeof(s->locale), "%s", setlocale(LC_ALL, NULL));
	getrlimit(RLIMIT_CORE, &s->core);
	getrlimit(RLIMIT_NOFILE, &s->files);
	s->descriptors = open_descriptors();
	for (char **e = environ; *e; e++)
		s->environment += strlen(*e);
}

static void sign_once(CK_SESSION_HANDLE session)
{
	unsigned char hash[32] = {3}, signature[64];
	CK_ULONG len = sizeof(signature);
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};

	assert_ok(p11->C_SignInit(session, &mechanism, module_find(session, CKO_PRIVATE_KEY, "p256")));
	errno = 4711;
	assert_ok(p11->C_Sign(session, hash, sizeof(hash), signature, &len));
	assert_int_equal(errno, 4711);
}

/* I-19, I-20, D-5 */
static void a_login_leaves_the_process_as_it_was(void **state)
{
	(void)state;
	struct surroundings before, after;
	struct sigaction counting = {.sa_handler = count_signal};

	for (int i = 1; i < 32; i++)
		if (i != SIGKILL && i != SIGSTOP && i != SIGSEGV && i != SIGABRT && i != SIGALRM && i != SIGBUS)
			sigaction(i, &counting, NULL);
	pthread_atfork(count_fork, NULL, NULL);
	module_load();
	look(&before);
	module_initialize();
	CK_SESSION_HANDLE session = module_session("skr");
	errno = 4711;
	module_login(session);
	assert_int_equal(errno, 4711);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	sign_once(session);
	assert_int_equal(threads(), 1);
	assert_ok(p11->C_Finalize(NULL));
	look(&after);
	assert_memory_equal(&before.mask, &after.mask, sizeof(before.mask));
	for (int i = 1; i < 32; i++)
		assert_ptr_equal(before.actions[i].sa_handler, after.actions[i].sa_handler);
	assert_int_equal(before.umask, after.umask);
	assert_string_equal(before.folder, after.folder);
	assert_string_equal(before.locale, after.locale);
	assert_memory_equal(&before.core, &after.core, sizeof(before.core));
	assert_memory_equal(&before.files, &after.files, sizeof(before.files));
	assert_int_equal(before.environment, after.environment);
	assert_int_equal(before.descriptors, after.descriptors);
	assert_int_equal(signals_seen, 0);
	assert_int_equal(forks_seen, 0);
}

static long resident_kb(void)
{
	long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "r");

	assert_int_equal(fscanf(statm, "%*d %ld", &pages), 1);
	fclose(statm);
	return pages * 4;
}

/* I-18 */
static void loops_leave_nothing_behind(void **state)
{
	(void)state;
	int descriptors = 0;
	long resident = 0;

	for (int i = 0; i < 6; i++) {
		module_initialize();
		CK_SESSION_HANDLE session = module_session("faulty");
		module_login(session);
		assert_ok(p11->C_Finalize(NULL));
		if (i == 2) {
			descriptors = open_descriptors();
			resident = resident_kb();
		}
	}
	assert_int_equal(open_descriptors(), descriptors);
	assert_true(resident_kb() - resident < 1024);
}

static void in_child(void (*act)(void), int expected)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		act();
		_exit(expected);
	}
	waitpid(pid, &status, 0);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
		fail_msg("ended with status 0x%x", status);
}

static void *use_and_return(void *with)
{
	CK_SESSION_HANDLE session = module_session("skr");

	module_login(session);
	sign_once(session);
	module_unload(); /* the thread still has what libcrypto keeps per thread */
	return with;
}

static void unload_with_a_thread(void)
{
	pthread_t thread;

	module_load();
	module_initialize();
	pthread_create(&thread, NULL, use_and_return, NULL);
	pthread_join(thread, NULL);
}

static void late(void)
{
	p11->C_Finalize(NULL);
}

static void finalize_in_exit_handler(void)
{
	module_load();
	module_initialize();
	CK_SESSION_HANDLE session = module_session("skr");
	module_login(session);
	sign_once(session);
	atexit(late);
	exit(7);
}

static void exit_while_logged_in(void)
{
	module_load();
	module_initialize();
	module_login(module_session("skr"));
	exit(7);
}

static void load_twice(void)
{
	char copy[4096], command[8192];
	CK_FUNCTION_LIST_PTR first, second;
	CK_C_GetFunctionList get;
	CK_SLOT_ID slots[8];
	CK_ULONG count = 8;

	module_load();
	first = p11;
	snprintf(copy, sizeof(copy), "%s/copy.so", getenv("SKR_RUN"));
	snprintf(command, sizeof(command), "cp '%s' '%s'", getenv("SKR_MODULE"), copy);
	if (system(command) != 0)
		_exit(1);
	void *other = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
	get = other ? (CK_C_GetFunctionList)dlsym(other, "C_GetFunctionList") : NULL;
	if (!get || get(&second) != CKR_OK)
		_exit(1);
	/* C-16: independent state */
	if (first->C_Initialize(NULL) != CKR_OK ||
	    second->C_GetSlotList(CK_TRUE, slots, &count) != CKR_CRYPTOKI_NOT_INITIALIZED ||
	    second->C_Initialize(NULL) != CKR_OK || first->C_Finalize(NULL) != CKR_OK ||
	    second->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK || second->C_Finalize(NULL) != CKR_OK)
		_exit(2);
}

/* I-22, C-15, C-16 */
static void ends_in_any_order(void **state)
{
	(void)state;
	in_child(unload_with_a_thread, 0);
	in_child(finalize_in_exit_handler, 7);
	in_child(exit_while_logged_in, 7);
	in_child(load_twice, 0);
}

static void stdio_closed(void)
{
	close(0);
	close(1);
	close(2);
	module_load();
	module_initialize();
	CK_SESSION_HANDLE session = module_session("skr");
	if (p11->C_Login(session, CKU_USER, NULL, 0) != CKR_OK)
		_exit(1);
	/* Nothing of ours may now be where the host prints. */
	if (p11->C_Finalize(NULL) != CKR_OK || write(1, "x", 1) != -1 || write(2, "x", 1) != -1)
		_exit(2);
}

/* D-7 */
static void works_with_stdio_closed(void **state)
{
	(void)state;
	in_child(stdio_closed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ends_in_any_order),
	    cmocka_unit_test(works_with_stdio_closed),
	    cmocka_unit_test(a_login_leaves_the_process_as_it_was),
	    cmocka_unit_test(loops_leave_nothing_behind),
	};
	return cmocka_run_group_tests_name("integration.process", tests, NULL, NULL);
}
