/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure matrix sections 2 and 6, I-26: what is wrong on this machine, in its configuration or in the process that
 * uses the module. Children do what cannot be undone.
 */
#include "support/matrix.h"
#include "cmocka_all.h"

#include <fcntl.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const tokens[] = {"faulty"};
static const char *original;

/* The variable is there when the module is first initialised, in the process that all tests share. */
static int set_up(void **state)
{
	(void)state;
	original = expand("$SKR_PKCS11_CONF");
	setenv("AZURE_FEDERATED_TOKEN_FILE", expand("$SKR_EMULATOR_DIR/federated-token"), 1);
	module_load();
	matrix_configure("login_deadline = 20", "");
	matrix_begin(tokens, 1);
	return 0;
}

static void restart(void)
{
	CK_RV rv = p11->C_Finalize(NULL);

	if (rv != CKR_OK && rv != CKR_CRYPTOKI_NOT_INITIALIZED)
		fail_msg("C_Finalize: %s", rv_name(rv));
	module_initialize();
}

static int tear_down(void **state)
{
	(void)state;
	emulator_faults("");
	setenv("SKR_PKCS11_CONF", original, 1);
	restart();
	return 0;
}

/* ---- the configuration file ---- */

static int exit_of(pid_t child)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status))
		fail_msg("a child ended with status 0x%x", status);
	return WEXITSTATUS(status);
}

/* ---- this program again, in a process that has nothing yet ---- */

enum { FAILED = 100 }; /* C_Initialize did; less: the number of slots */

/* The number of slots that a new process sees; C_Initialize must succeed. */
static int count_slots(void)
{
	CK_ULONG count = FAILED;

	module_load();
	if (p11->C_Initialize(NULL) != CKR_OK || p11->C_GetSlotList(CK_FALSE, NULL, &count) != CKR_OK)
		return FAILED;
	return (int)count;
}

static void drop_lock_capability(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) != 0)
		_exit(2);
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, data) != 0)
		_exit(2);
}

/* What C_Initialize, and then C_Login, say in a new process that may lock nothing: 0, or 11, or that something else is
 * wrong. */
static int log_in_unlocked(void)
{
	struct rlimit none = {0, 0};

	drop_lock_capability();
	setrlimit(RLIMIT_MEMLOCK, &none);
	module_load();
	CK_RV rv = p11->C_Initialize(NULL);
	if (rv == CKR_HOST_MEMORY)
		return 11;
	return rv == CKR_OK && p11->C_Login(module_session("faulty"), CKU_USER, NULL, 0) == CKR_OK ? 0 : FAILED;
}

/* Refuses a call, or only those of it with this third argument. */
static void forbid(int call, int third)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 3),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, (unsigned)(third < 0 ? 0 : third), 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (third > 0)
		filter[3] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)third, 0, 1);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
}

/* A login in a new process in which a call is refused: 0, 11: C_Initialize has no memory, 15: no randomness. */
static int log_in_without(int call, int third)
{
	char line[1024];

	module_load();
	forbid(call, third);
	CK_RV rv = p11->C_Initialize(NULL);
	if (rv == CKR_HOST_MEMORY)
		return 11;
	if (rv != CKR_OK)
		return fprintf(stderr, "C_Initialize: %s\n", rv_name(rv)), FAILED;
	CK_SESSION_HANDLE session = module_session("faulty");
	rv = p11->C_Login(session, CKU_USER, NULL, 0);
	if (rv == CKR_OK)
		return matrix_sign(session) == CKR_OK ? 0 : FAILED;
	unsigned long failure = module_failure("faulty", line, sizeof(line));
	fprintf(stderr, "%s %s\n", rv_name(rv), line);
	return rv == CKR_DEVICE_ERROR && failure == 15 ? 15 : FAILED;
}

static int in_a_new_process(const char *what, uid_t uid)
{
	pid_t child = fork();

	if (child == 0) {
		if (uid && (setgid(uid) != 0 || setuid(uid) != 0))
			_exit(99);
		execl("/proc/self/exe", "local", what, NULL);
		_exit(98);
	}
	return exit_of(child);
}

static int slots_with(const char *path)
{
	setenv("SKR_PKCS11_CONF", path, 1);
	return in_a_new_process("slots", 0);
}

static void shell(const char *command)
{
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* E-01, E-03, E-04, I-26: what is not safe gives no slots; the same file made safe gives them all. */
static void an_unsafe_configuration_shows_nothing(void **state)
{
	(void)state;
	static const struct {
		const char *id, *make; /* the folder $D and in it the file c */
		bool shown, root_only;
	} rows[] = {
	    {"as it should be", "true", true, false},
	    {"private", "chmod 600 $D/c", true, false},
	    {"E-01 missing", "rm $D/c", false, false},
	    {"E-01 a folder", "rm $D/c; mkdir $D/c", false, false},
	    {"E-03 group may write", "chmod 664 $D/c", false, false},
	    {"E-03 others may write", "chmod 646 $D/c", false, false},
	    {"E-03 group may write the folder", "chmod 775 $D", false, false},
	    {"E-03 others may write the folder", "chmod 757 $D", false, false},
	    {"E-03 a shared folder like /tmp", "chmod 1777 $D", false, false},
	    {"E-03 a symbolic link", "mv $D/c $D/d; ln -s d $D/c", false, false},
	    {"E-03 a named pipe", "rm $D/c; mkfifo $D/c", false, false},
	    {"E-03 a device", "rm $D/c; mknod $D/c c 1 3", false, true},
	    {"E-03 too long", "head -c 70000 /dev/zero | tr '\\0' '#' >>$D/c", false, false},
	    {"E-03 somebody else's file", "chown 12345 $D/c", false, true},
	    {"E-03 somebody else's folder", "chown 12345 $D", false, true},
	    {"E-04 unknown key", "sed -i 's/^log_level.*/log_lever = debug/' $D/c", false, false},
	    {"E-04 no key", "echo nonsense >>$D/c", false, false},
	    {"E-04 twice", "echo '[token faulty]' >>$D/c", false, false},
	    {"E-04 a zero byte", "printf 'a\\0b = c\\n' >>$D/c", false, false},
	    {"E-05 endpoint", "sed -i 's/^allow_custom_endpoint.*/allow_custom_endpoint = no/' $D/c", false, false},
	};
	char make[1024];

	setenv("D", expand("$SKR_RUN/unsafe"), 1);
	const char *path = expand("$D/c");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (rows[i].root_only && geteuid() != 0)
			continue;
		shell("rm -rf $D; mkdir -m 755 $D; cp $SKR_RUN/skr-pkcs11.conf $D/c; chmod 644 $D/c");
		snprintf(make, sizeof(make), "%s", rows[i].make);
		shell(make);
		int count = slots_with(path);
		if (count != (rows[i].shown ? 3 : 0))
			fail_msg("%s: %d slots", rows[i].id, count);
	}
	shell("rm -rf $D");
}

/* E-02: a file that this user may not read. */
static void a_configuration_of_another_user_shows_nothing(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	shell("cp $SKR_RUN/skr-pkcs11.conf $SKR_RUN/private.conf; chmod 600 $SKR_RUN/private.conf");
	setenv("SKR_PKCS11_CONF", expand("$SKR_RUN/private.conf"), 1);
	assert_int_equal(in_a_new_process("slots", 65534), 0);
	assert_int_equal(in_a_new_process("slots", 0), 3);
}

/* E-07 */
static void without_authorities_nobody_is_trusted(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure;

	shell(": >$SKR_RUN/empty.pem");
	const char *const files[] = {expand("ca_file = $SKR_RUN/absent.pem"), expand("ca_file = $SKR_RUN/empty.pem")};
	for (int i = 0; i < 2; i++) {
		matrix_configure(files[i], "");
		emulator_requests_reset();
		assert_rv(matrix_login("faulty", &failure, line, sizeof(line)), CKR_FUNCTION_FAILED);
		if (failure != 7)
			fail_msg("%s", line);
		assert_int_equal(emulator_requests("maa."), 0);
	}
}

/* ---- limits ---- */

static int unlockable(const char *lock)
{
	char setting[64];

	snprintf(setting, sizeof(setting), "memory_lock = %s", lock);
	matrix_configure(setting, "");
	return in_a_new_process("unlocked", 0);
}

/* E-08, E-09 */
static void memory_that_cannot_be_locked(void **state)
{
	(void)state;
	bool swap = system("test $(wc -l </proc/swaps) -gt 1") == 0;

	assert_int_equal(unlockable("off"), 0);
	assert_int_equal(unlockable("auto"), swap ? 11 : 0);
	assert_int_equal(unlockable("require"), 11);
}

/* E-10, E-12: a security module forbids what secrets need. Not in core files: refused; not wiped on fork: done without.
 */
static void calls_that_secrets_need(void **state)
{
	(void)state;
	int code = in_a_new_process("no-dontdump", 0);

	if (code == 77)
		skip(); /* no seccomp here */
	assert_int_equal(code, 11);
	assert_int_equal(in_a_new_process("no-wipeonfork", 0), 0);
	assert_int_equal(in_a_new_process("no-getrandom", 0), 15);
}

/* E-13 */
static void without_descriptors_a_login_fails_and_recovers(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure;
	struct rlimit before, few;
	int lowest = dup(0);

	close(lowest);
	getrlimit(RLIMIT_NOFILE, &before);
	for (int spare = 0; spare < 3; spare++) {
		few = before;
		few.rlim_cur = (rlim_t)lowest + (rlim_t)spare;
		setrlimit(RLIMIT_NOFILE, &few);
		CK_SESSION_HANDLE session = module_session("faulty");
		p11->C_Logout(session);
		CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
		failure = module_failure("faulty", line, sizeof(line));
		setrlimit(RLIMIT_NOFILE, &before);
		assert_ok(p11->C_CloseSession(session));
		if (rv != CKR_DEVICE_ERROR || failure != 16)
			fail_msg("%d to spare: %s %s", spare, rv_name(rv), line);
		if (matrix_login("faulty", &failure, line, sizeof(line)) != CKR_OK)
			fail_msg("with descriptors again: %s", line);
	}
}

/* E-18: a server clears its environment; what was there at the first C_Initialize counts, for the agent too. */
static void a_cleared_environment_changes_nothing(void **state)
{
	(void)state;
	const char *const commands[] = {"inherited", "initialized anew"};

	matrix_configure("login_deadline = 20", expand("[token workload]\nattestation = $SKR_EMULATOR_ATTESTATION\n"
	                                               "key = $SKR_EMULATOR_VAULT/keys/fragile\nidentity = workload\n"
	                                               "tenant = $SKR_EMULATOR_TENANT\nclient = $SKR_EMULATOR_CLIENT\n"
	                                               "authority = $SKR_EMULATOR_LOGIN\n"));
	for (int anew = 0; anew < 2; anew++) {
		pid_t child = fork();
		if (child == 0) {
			p11->C_Finalize(NULL);
			clearenv();
			if (anew) {
				p11->C_Initialize(NULL);
				p11->C_Finalize(NULL);
			}
			if (p11->C_Initialize(NULL) != CKR_OK)
				_exit(2);
			CK_SESSION_HANDLE session = module_session("workload");
			char line[1024];
			CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
			module_failure("workload", line, sizeof(line));
			if (rv != CKR_OK)
				fprintf(stderr, "%s: %s\n", commands[anew], line);
			_exit(rv == CKR_OK ? 0 : 3);
		}
		assert_int_equal(exit_of(child), 0);
	}
}

/* ---- audit ---- */

/* E-14, E-15: a full disk, a folder that is not there, a folder in the file's place. */
static void an_audit_trail_that_cannot_be_written(void **state)
{
	(void)state;
	const char *const files[] = {"/dev/full", expand("$SKR_RUN/absent/audit"), getenv("SKR_RUN")};
	char globals[8192], line[1024];
	unsigned long failure;

	for (int i = 0; i < 3; i++) {
		snprintf(globals, sizeof(globals), "audit_file = %s\naudit = best-effort", files[i]);
		matrix_configure(globals, "");
		if (matrix_login("faulty", &failure, line, sizeof(line)) != CKR_OK)
			fail_msg("E-14 %s: %s", files[i], line);
		snprintf(globals, sizeof(globals), "audit_file = %s\naudit = required", files[i]);
		matrix_configure(globals, "");
		emulator_requests_reset();
		assert_rv(matrix_login("faulty", &failure, line, sizeof(line)), CKR_FUNCTION_FAILED);
		if (failure != 18)
			fail_msg("E-15 %s: %s", files[i], line);
		assert_int_equal(emulator_requests(""), 0);
	}
	matrix_configure(expand("audit_file = $SKR_RUN/audit\naudit = required"), "");
	assert_rv(matrix_login("faulty", &failure, line, sizeof(line)), CKR_OK);
	shell("grep -q '\"event\":\"login-begins\"' $SKR_RUN/audit && grep -q '\"result\":\"ok\"' $SKR_RUN/audit");
}

/* ---- clocks ---- */

/* E-16: a clock that is wrong by more than what is signed is good for, either way: what is signed is not valid now, and
 * the hint is the clock. */
static void a_wrong_clock_is_refused_and_named(void **state)
{
	(void)state;
	static const char *const offsets[] = {"{\"offset\":90000}", "{\"offset\":-1800}"};
	char line[1024];
	unsigned long failure;

	for (int i = 0; i < 2; i++) {
		emulator_control("POST", "/hardware", "{\"token_lifetime\":600}");
		emulator_control("POST", "/clock", offsets[i]);
		CK_RV rv = matrix_login("faulty", &failure, line, sizeof(line));
		emulator_control("POST", "/clock", "{\"offset\":0}");
		emulator_control("POST", "/hardware", "{\"token_lifetime\":28800}");
		if (rv != CKR_FUNCTION_FAILED || !strstr(line, "clock"))
			fail_msg("%s: %s %s", offsets[i], rv_name(rv), line);
		if (matrix_login("faulty", &failure, line, sizeof(line)) != CKR_OK)
			fail_msg("with the right clock: %s", line);
	}
}

/* ---- threads and signals of the program ---- */

static CK_RV result;

static void *log_in_and_stop(void *with)
{
	CK_SESSION_HANDLE session = module_session("faulty");

	result = p11->C_Login(session, CKU_USER, NULL, 0);
	pthread_testcancel();
	return with;
}

/* C-10 */
static void a_cancelled_thread_finishes_its_login(void **state)
{
	(void)state;
	pthread_t thread;
	void *how;

	emulator_faults("maa.attest delay(600)");
	pthread_create(&thread, NULL, log_in_and_stop, NULL);
	usleep(300 * 1000);
	pthread_cancel(thread);
	pthread_join(thread, &how);
	assert_ptr_equal(how, PTHREAD_CANCELED);
	assert_rv(result, CKR_OK);
	CK_SESSION_HANDLE session = module_session("faulty");
	assert_rv(p11->C_Login(session, CKU_USER, NULL, 0), CKR_USER_ALREADY_LOGGED_IN);
	assert_ok(matrix_sign(session));
	assert_ok(p11->C_CloseAllSessions(module_slot("faulty")));
}

static volatile sig_atomic_t alarms;

static void count(int number)
{
	(void)number;
	alarms++;
}

/* C-11: a thousand signals a second, with and without SA_RESTART, from the login to the signature. */
static void signals_do_not_disturb(void **state)
{
	(void)state;
	struct itimerval often = {{0, 1000}, {0, 1000}}, never = {0};
	char line[1024];
	unsigned long failure;

	for (int flags = 0; flags <= SA_RESTART; flags += SA_RESTART) {
		struct sigaction action = {.sa_handler = count, .sa_flags = flags};

		sigaction(SIGALRM, &action, NULL);
		alarms = 0;
		CK_SESSION_HANDLE session = module_session("faulty");
		p11->C_Logout(session);
		setitimer(ITIMER_REAL, &often, NULL);
		CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
		for (int i = 0; i < 200 && rv == CKR_OK; i++)
			rv = matrix_sign(session);
		setitimer(ITIMER_REAL, &never, NULL);
		failure = module_failure("faulty", line, sizeof(line));
		if (rv != CKR_OK)
			fail_msg("flags %d: %s, SKR-%03lu %s", flags, rv_name(rv), failure, line);
		assert_true(alarms > 20);
		p11->C_Logout(session);
		assert_ok(p11->C_CloseSession(session));
	}
	signal(SIGALRM, SIG_DFL);
}

static void *log_in_to(void *with)
{
	const char *token = with;
	char line[1024];
	unsigned long failure;

	return matrix_login(token, &failure, line, sizeof(line)) == CKR_OK ? NULL : with;
}

/* I-24: two tokens' logins in one process: the second release begins when the first has ended. */
static void one_release_at_a_time(void **state)
{
	(void)state;
	pthread_t threads[2];
	static const char *const both[] = {"faulty", "second"};
	void *failed;

	matrix_configure("login_deadline = 20", expand("[token second]\nattestation = $SKR_EMULATOR_ATTESTATION\n"
	                                               "key = $SKR_EMULATOR_VAULT/keys/p256\n"));
	emulator_faults("akv.release delay(700)");
	double start = now_ms();
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, log_in_to, (void *)(uintptr_t)both[i]);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_true(now_ms() - start >= 1400);
}

static int as_new_process(const char *what)
{
	if (strcmp(what, "slots") == 0)
		return count_slots();
	if (strcmp(what, "unlocked") == 0)
		return log_in_unlocked();
	if (strcmp(what, "no-dontdump") == 0)
		return log_in_without(SYS_madvise, MADV_DONTDUMP);
	if (strcmp(what, "no-wipeonfork") == 0)
		return log_in_without(SYS_madvise, MADV_WIPEONFORK);
	return log_in_without(SYS_getrandom, -1);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		return as_new_process(argv[1]);

	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(an_unsafe_configuration_shows_nothing, tear_down),
	    cmocka_unit_test_teardown(a_configuration_of_another_user_shows_nothing, tear_down),
	    cmocka_unit_test_teardown(without_authorities_nobody_is_trusted, tear_down),
	    cmocka_unit_test_teardown(memory_that_cannot_be_locked, tear_down),
	    cmocka_unit_test_teardown(calls_that_secrets_need, tear_down),
	    cmocka_unit_test_teardown(without_descriptors_a_login_fails_and_recovers, tear_down),
	    cmocka_unit_test_teardown(a_cleared_environment_changes_nothing, tear_down),
	    cmocka_unit_test_teardown(an_audit_trail_that_cannot_be_written, tear_down),
	    cmocka_unit_test_teardown(a_wrong_clock_is_refused_and_named, tear_down),
	    cmocka_unit_test_teardown(a_cancelled_thread_finishes_its_login, tear_down),
	    cmocka_unit_test_teardown(signals_do_not_disturb, tear_down),
	    cmocka_unit_test_teardown(one_release_at_a_time, tear_down),
	};
	return cmocka_run_group_tests_name("integration.local", tests, set_up, NULL);
}
