/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure matrix sections 3 and 6a, I-17: what the module makes of an agent that is not there, is another, lies, hangs
 * or dies; and of an agent whose guest device fails.
 */
#include "support/matrix.h"
#include "cmocka_all.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const tokens[] = {"faulty"};

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, mode), 0);
}

/* Settings of the whole library for one test; `agent` NULL: the true one. */
static void configure(const char *agent, const char *more)
{
	char globals[8192];

	if (agent)
		snprintf(globals, sizeof(globals), "agent = %s\n%s", agent, more);
	else
		snprintf(globals, sizeof(globals), "agent = exec:%s/skr-agent\n%s", getenv("SKR_EMULATOR_DIR"), more);
	matrix_configure(globals, "");
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	module_load();
	configure(NULL, "login_deadline = 20");
	matrix_begin(tokens, 1);
	return 0;
}

static void device(const char *devices, const char *fault)
{
	write_file(expand("$SKR_EMULATOR_DIR/devices"), devices, 0644);
	write_file(expand("$SKR_EMULATOR_DIR/device-fault"), fault, 0644);
}

static int tear_down(void **state)
{
	(void)state;
	emulator_faults("");
	device("sev-guest", "");
	return 0;
}

/* What a login says with this configuration; the time it may take. */
static void expect(const char *what, CK_RV wanted, unsigned long number, double seconds, const char *said)
{
	char line[1024];
	unsigned long failure;
	double start = now_ms();
	CK_RV rv = matrix_login("faulty", &failure, line, sizeof(line));
	double took = (now_ms() - start) / 1000;

	if (rv != wanted || failure != number || took > seconds || (said && !strstr(line, said)))
		fail_msg("%s: %s, SKR-%03lu, %.1f s: %s", what, rv_name(rv), failure, took, line);
}

static void expect_clean(const char *what)
{
	configure(NULL, "login_deadline = 20");
	expect(what, CKR_OK, 0, 15, NULL);
}

/* ---- the file ---- */

/* G-01 */
static void the_agent_must_be_a_program_nobody_else_can_change(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		mode_t mode;
	} kinds[] = {{"not executable", 0644}, {"group may write", 0775}, {"others may write", 0757}, {"missing", 0}};
	char agent[4200];
	const char *path = expand("$SKR_RUN/stand-in");

	snprintf(agent, sizeof(agent), "exec:%s", path);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		write_file(path, "#!/bin/sh\nexit 0\n", kinds[i].mode);
		if (!kinds[i].mode)
			unlink(path);
		configure(agent, "login_deadline = 5");
		emulator_requests_reset();
		expect(kinds[i].what, CKR_FUNCTION_FAILED, 500, 6, path);
		assert_int_equal(emulator_requests(""), 0);
	}
	expect_clean("G-01");
}

/* G-02: an exec that the kernel refuses, for want of an interpreter or by seccomp. */
static void an_agent_that_cannot_start_is_said(void **state)
{
	(void)state;
	char agent[4200];
	const char *path = expand("$SKR_RUN/stand-in");

	snprintf(agent, sizeof(agent), "exec:%s", path);
	write_file(path, "#!/no/such/interpreter\n", 0755);
	configure(agent, "login_deadline = 5");
	expect("G-02", CKR_FUNCTION_FAILED, 501, 6, "execve");
	expect_clean("G-02");
}

static void forbid(int call)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
}

/* In a child process: a fresh initialisation, then a login that must fail so. 0, or what was wrong. */
static int fails_with(unsigned long number)
{
	char line[1024];
	CK_SESSION_HANDLE session;

	p11->C_Finalize(NULL);
	if (p11->C_Initialize(NULL) != CKR_OK)
		return 2;
	session = module_session("faulty");
	CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
	unsigned long failure = module_failure("faulty", line, sizeof(line));
	if (failure != number)
		fprintf(stderr, "%s %s\n", rv_name(rv), line);
	return failure == number && p11->C_Finalize(NULL) == CKR_OK ? 0 : 3;
}

static int exit_of(pid_t child)
{
	int status = 0;

	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status))
		fail_msg("a child ended with status 0x%x", status);
	return WEXITSTATUS(status);
}

/* G-02, E-20 */
static void seccomp_is_named(void **state)
{
	(void)state;
	static const int calls[] = {SYS_execve, SYS_socketpair};

	configure(NULL, "login_deadline = 5");
	for (size_t i = 0; i < 2; i++) {
		pid_t child = fork();
		if (child == 0) {
			forbid(calls[i]);
			_exit(fails_with(501));
		}
		int code = exit_of(child);
		if (code == 77)
			skip();
		assert_int_equal(code, 0);
	}
	expect_clean("seccomp");
}

/* ---- the socket ---- */

static int listening(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void *hang_up(void *with)
{
	int fd;

	while ((fd = accept(*(int *)with, NULL, NULL)) >= 0)
		close(fd);
	return NULL;
}

/* G-03, G-08, G-09 */
static void the_socket_must_be_there_and_whose_it_should(void **state)
{
	(void)state;
	char path[64], agent[80];
	pthread_t thread;

	snprintf(path, sizeof(path), "/tmp/skr-agent-test-%d", getpid()); /* SKR_RUN may be too long for a socket */
	snprintf(agent, sizeof(agent), "unix:%s", path);
	configure(agent, "login_deadline = 5");
	expect("absent", CKR_FUNCTION_FAILED, 502, 6, path);

	int fd = listening(path);
	configure(agent, "login_deadline = 5\nagent_uid = 54321");
	expect("somebody else's", CKR_FUNCTION_FAILED, 507, 6, "54321");

	char own[128];
	snprintf(own, sizeof(own), "login_deadline = 5\nagent_uid = %ld", (long)geteuid());
	configure(agent, own);
	pthread_create(&thread, NULL, hang_up, &fd);
	expect("hangs up at once", CKR_DEVICE_ERROR, 508, 8, NULL);
	shutdown(fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(fd);

	expect("nobody listens", CKR_DEVICE_ERROR, 503, 8, path);
	unlink(path);
	expect_clean("G-03");
}

/* ---- stand-ins: what an agent may do wrong ---- */

static int lines_of(const char *path)
{
	int c, count = 0;
	FILE *file = fopen(path, "r");

	if (!file)
		return 0;
	while ((c = fgetc(file)) != EOF)
		count += c == '\n';
	fclose(file);
	return count;
}

static const struct stand_in {
	const char *id, *script;
	CK_RV rv;
	unsigned long failure;
	int starts;
	double seconds;
} stand_ins[] = {
    {"G-04 dies at once", "exit 0", CKR_DEVICE_ERROR, 503, 2, 5},
    {"G-04 killed", "kill -9 $$", CKR_DEVICE_ERROR, 503, 2, 5},
    {"G-04 dies later", "printf '\\000\\000\\000\\044{\"type\":\"step\",\"name\":\"attestation\"}'", CKR_DEVICE_ERROR,
     503, 2, 5},
    {"G-05 garbage", "printf 'SSH-2.0-OpenSSH\\r\\n'; sleep 9", CKR_FUNCTION_FAILED, 504, 1, 4},
    {"G-05 oversize", "printf '\\000\\377\\377\\377'; sleep 9", CKR_FUNCTION_FAILED, 504, 1, 4},
    {"G-05 no JSON", "printf '\\000\\000\\000\\004ABCD'; sleep 9", CKR_FUNCTION_FAILED, 504, 1, 4},
    {"G-05 unknown", "printf '\\000\\000\\000\\017{\"type\":\"wish\"}'; sleep 9", CKR_FUNCTION_FAILED, 504, 1, 4},
    {"G-05 end without key", "printf '\\000\\000\\000\\016{\"type\":\"end\"}'; sleep 9", CKR_FUNCTION_FAILED, 504, 1,
     2},
    {"G-05 cut", "printf '\\000\\000\\000\\044{\"type\":\"st'", CKR_DEVICE_ERROR, 503, 2, 5},
    {"G-07 I-17 silent", "exec sleep 60", CKR_DEVICE_ERROR, 506, 1, 6},
    {"G-07 I-17 stuck in a step",
     "printf '\\000\\000\\000\\044{\"type\":\"step\",\"name\":\"attestation\"}'; exec sleep 60", CKR_DEVICE_ERROR, 506,
     1, 6},
    {"G-07 I-17 talks for ever", "while :; do printf '\\000'; sleep 0.3; done", CKR_FUNCTION_FAILED, 504, 1, 6},
    {"G-07 I-17 drips", "printf '\\000\\000\\001\\000'; while :; do printf x; sleep 0.3; done", CKR_DEVICE_ERROR, 506,
     1, 6},
};

/* A process of this number that is no zombie: who inherits the agent may be slow to reap it. */
static bool alive(int pid)
{
	char path[64], state = 'Z';
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	FILE *file = fopen(path, "r");

	if (file) {
		if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			state = 'Z';
		fclose(file);
	}
	return state != 'Z';
}

static bool alive_in(const char *path)
{
	int pid = 0;
	FILE *file = fopen(path, "r");

	if (!file)
		return false;
	if (fscanf(file, "%d", &pid) != 1)
		pid = 0;
	fclose(file);
	return pid && alive(pid);
}

static int try_stand_in(const struct stand_in *stand_in)
{
	char script[4096], agent[4200], line[1024];
	unsigned long failure;
	const char *path = expand("$SKR_RUN/stand-in"), *trace = expand("$SKR_RUN/stand-in.trace");

	unlink(trace);
	snprintf(script, sizeof(script), "#!/bin/bash\necho $$ >>'%s'\n%s\n", trace, stand_in->script);
	write_file(path, script, 0755);
	snprintf(agent, sizeof(agent), "exec:%s", path);
	configure(agent, "login_deadline = 5");
	double start = now_ms();
	CK_RV rv = matrix_login("faulty", &failure, line, sizeof(line));
	double took = (now_ms() - start) / 1000;
	usleep(100 * 1000); /* what was killed needs a moment to be gone */
	int starts = lines_of(trace);
	bool there = alive_in(trace);
	if (rv == stand_in->rv && failure == stand_in->failure && starts == stand_in->starts &&
	    took < stand_in->seconds && !there)
		return 0;
	printf("%s: %s, SKR-%03lu, %d starts, %.1f s%s: %s\n", stand_in->id, rv_name(rv), failure, starts, took,
	       there ? ", still there" : "", line);
	return 1;
}

/* G-04, G-05, G-07, I-17 */
static void whatever_an_agent_does_the_login_ends_in_time(void **state)
{
	(void)state;
	int wrong = 0;

	for (size_t i = 0; i < sizeof(stand_ins) / sizeof(stand_ins[0]); i++)
		wrong += try_stand_in(&stand_ins[i]);
	assert_int_equal(wrong, 0);
	expect_clean("stand-ins");
}

/* ---- the true agent, killed ---- */

/* The newest process whose environment names our configuration; 0: none. */
static pid_t agent_pid(void)
{
	char path[300], text[16384];
	pid_t found = 0;
	DIR *proc = opendir("/proc");
	const char *wanted = getenv("SKR_PKCS11_CONF");

	for (struct dirent *entry; (entry = readdir(proc));) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
		FILE *file = fopen(path, "r");
		bool agent = file && fgets(text, sizeof(text), file) && strncmp(text, "skr-agent", 9) == 0;
		if (file)
			fclose(file);
		if (!agent)
			continue;
		snprintf(path, sizeof(path), "/proc/%.20s/environ", entry->d_name);
		file = fopen(path, "r");
		size_t got = file ? fread(text, 1, sizeof(text), file) : 0;
		if (file)
			fclose(file);
		if (got && memmem(text, got, wanted, strlen(wanted)))
			found = atoi(entry->d_name);
	}
	closedir(proc);
	return found;
}

static void *kill_the_agent(void *with)
{
	pid_t pid = 0;

	for (int i = 0; i < 300 && !pid; i++) {
		usleep(10 * 1000);
		pid = agent_pid();
	}
	usleep((useconds_t)(uintptr_t)with);
	if (pid)
		kill(pid, SIGKILL);
	return (void *)(intptr_t)pid;
}

/* G-04, C-12: killed at whatever point, once: the login starts another one and succeeds, and nothing stays behind. */
static void an_agent_killed_once_is_replaced(void **state)
{
	(void)state;
	char line[1024];
	unsigned long failure;
	pthread_t thread;
	void *killed;

	configure(NULL, "login_deadline = 20");
	for (unsigned i = 0; i < 8; i++) {
		emulator_faults("maa.attest[1] delay(120)\nakv.release[1] delay(80)");
		pthread_create(&thread, NULL, kill_the_agent, (void *)(uintptr_t)(i * 40000));
		CK_RV rv = matrix_login("faulty", &failure, line, sizeof(line));
		pthread_join(thread, &killed);
		if (rv != CKR_OK)
			fail_msg("killed after %u ms: %s %s", i * 40, rv_name(rv), line);
	}
	emulator_faults("");
	assert_int_equal(agent_pid(), 0);
}

/* V-11: a killed agent leaves its entry in configfs; the next login takes it away. */
static void entries_of_dead_agents_are_removed(void **state)
{
	(void)state;
	char command[4200];
	pthread_t thread;

	configure(NULL, "login_deadline = 4");
	device("configfs", "sleep:1500");
	pthread_create(&thread, NULL, kill_the_agent, (void *)300000);
	char line[1024];
	unsigned long failure;
	(void)matrix_login("faulty", &failure, line, sizeof(line));
	pthread_join(thread, NULL);
	device("configfs", "");
	expect_clean("V-11");
	snprintf(command, sizeof(command), "test -z \"$(ls '%s/hardware.sock.configfs' 2>/dev/null)\"",
	         getenv("SKR_EMULATOR_DIR"));
	assert_int_equal(system(command), 0);
}

/* ---- the guest device ---- */

static const struct evidence_row {
	const char *id, *devices, *fault;
	CK_RV rv;
	unsigned long failure;
} evidence_rows[] = {
    {"V-01", "none", "", CKR_FUNCTION_FAILED, 100},
    {"V-02", "sev-guest", "EACCES", CKR_FUNCTION_FAILED, 101},
    {"V-02", "configfs", "mkdir-EACCES", CKR_FUNCTION_FAILED, 101},
    {"E-19", "configfs", "mkdir-EROFS", CKR_FUNCTION_FAILED, 21},
    {"E-19", "sev-guest", "hidden", CKR_FUNCTION_FAILED, 21},
    {"V-03", "sev-guest", "EIO=0/2:1", CKR_DEVICE_ERROR, 110},
    {"V-04", "sev-guest", "EIO=5/0", CKR_FUNCTION_FAILED, 111},
    {"V-04", "sev-guest", "ETIMEDOUT", CKR_FUNCTION_FAILED, 111},
    {"V-05", "sev-guest", "ENOTTY", CKR_FUNCTION_FAILED, 112},
    {"V-05", "configfs", "ENOTTY", CKR_FUNCTION_FAILED, 112},
    {"V-06", "sev-guest", "cert-too-small=16384", CKR_OK, 0},
    {"V-07", "sev-guest", "EAGAIN:1", CKR_OK, 0},
    {"V-07", "sev-guest", "EBUSY:1", CKR_OK, 0},
    {"V-08", "sev-guest", "EINTR:5", CKR_OK, 0},
    {"V-08", "configfs", "mkdir-EINTR:2", CKR_OK, 0},
    {"V-09 I-34", "sev-guest", "report-data", CKR_FUNCTION_FAILED, 115},
    {"V-09 I-34", "configfs", "report-data", CKR_FUNCTION_FAILED, 115},
    {"V-09 once", "sev-guest", "report-data:1", CKR_OK, 0},
    {"V-10", "configfs", "mkdir-EEXIST:1", CKR_OK, 0},
    {"V-10", "configfs", "mkdir-EBUSY:1", CKR_OK, 0},
    {"V-10", "configfs", "generation-moved:1", CKR_OK, 0},
    {"E-19", "sev-guest", "EPERM", CKR_FUNCTION_FAILED, 21},
};

static int try_evidence(const struct evidence_row *row)
{
	char line[1024];
	unsigned long failure;
	int wrong = 0;

	device(row->devices, row->fault);
	emulator_requests_reset();
	CK_RV rv = matrix_login("faulty", &failure, line, sizeof(line));
	int asked = emulator_requests("maa.");
	device("sev-guest", "");
	/* I-34: what is not ours, or not there, is never sent. */
	if (rv != row->rv || failure != row->failure || (asked != 0) != (rv == CKR_OK)) {
		printf("%s, %s: %s: %s, %d attestations, %s\n", row->id, row->devices, row->fault, rv_name(rv), asked,
		       line);
		wrong++;
	}
	if (matrix_login("faulty", &failure, line, sizeof(line)) != CKR_OK) {
		printf("%s: the clean login after it: %s\n", row->id, line);
		wrong++;
	}
	return wrong;
}

static void whatever_the_device_says_has_its_number(void **state)
{
	(void)state;
	int wrong = 0;

	configure(NULL, "login_deadline = 20");
	for (size_t i = 0; i < sizeof(evidence_rows) / sizeof(evidence_rows[0]); i++)
		wrong += try_evidence(&evidence_rows[i]);
	assert_int_equal(wrong, 0);
}

/* V-03, G-07, I-17: the device call cannot be interrupted; the login ends at its deadline all the same. */
static void a_device_that_sleeps_does_not_hold_the_login(void **state)
{
	(void)state;

	configure(NULL, "login_deadline = 5");
	device("sev-guest", "sleep:30000");
	expect("V-03", CKR_DEVICE_ERROR, 506, 6, "evidence");
	device("sev-guest", "");
	expect_clean("V-03");
	assert_int_equal(agent_pid(), 0);
}

/* ---- the host does strange things meanwhile ---- */

/* C-13: a process stopped for longer than its deadline goes on, and the login ends at once. */
static void a_stopped_process_ends_its_login_when_it_goes_on(void **state)
{
	(void)state;
	char line[1024];

	configure(NULL, "login_deadline = 5");
	emulator_faults("maa.attest stall");
	pid_t child = fork();
	if (child == 0) {
		p11->C_Finalize(NULL);
		module_initialize();
		CK_SESSION_HANDLE session = module_session("faulty");
		CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
		unsigned long failure = module_failure("faulty", line, sizeof(line));
		if (rv != CKR_DEVICE_ERROR)
			fprintf(stderr, "%s %s\n", rv_name(rv), line);
		_exit(rv == CKR_DEVICE_ERROR && failure ? 0 : 3);
	}
	usleep(1000 * 1000);
	kill(child, SIGSTOP);
	usleep(6000 * 1000);
	double start = now_ms();
	kill(child, SIGCONT);
	assert_int_equal(exit_of(child), 0);
	assert_true(now_ms() - start < 1500);
	emulator_faults("");
	expect_clean("C-13");
}

static int count_sockets(void)
{
	struct stat about;
	int count = 0;

	for (int fd = 3; fd < 256; fd++)
		count += fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode);
	return count;
}

/* As soon as the login has a socket of its own; a busy machine needs a while for the transport key before. */
static void *close_everything(void *with)
{
	for (int i = 0; i < 400 && count_sockets() <= *(int *)with; i++)
		usleep(10 * 1000);
	usleep(100 * 1000);
	syscall(436 /* close_range */, 3, ~0U, 0);
	return with;
}

/* C-14: what the program closes is not ours any more; the login fails, nothing is written into what has the number now.
 */
static void a_program_that_closes_all_descriptors_may_log_in_again(void **state)
{
	(void)state;
	char line[1024];

	configure(NULL, "login_deadline = 5");
	emulator_faults("maa.attest[1] delay(1500)");
	pid_t child = fork();
	if (child == 0) {
		pthread_t thread;

		p11->C_Finalize(NULL);
		module_initialize();
		CK_SESSION_HANDLE session = module_session("faulty");
		int sockets = count_sockets();
		pthread_create(&thread, NULL, close_everything, &sockets);
		CK_RV rv = p11->C_Login(session, CKU_USER, NULL, 0);
		unsigned long failure = module_failure("faulty", line, sizeof(line));
		pthread_join(thread, NULL);
		if (rv != CKR_DEVICE_ERROR || failure != 405) {
			fprintf(stderr, "%s %s\n", rv_name(rv), line);
			_exit(3);
		}
		p11->C_Logout(session);
		rv = p11->C_Login(session, CKU_USER, NULL, 0);
		if (rv != CKR_OK || matrix_sign(session) != CKR_OK)
			_exit(4);
		_exit(0);
	}
	assert_int_equal(exit_of(child), 0);
	emulator_faults("");
	expect_clean("C-14");
}

/* C-12: the program is killed at whatever point of its login; the next one works, and no agent stays. */
static void a_program_killed_in_its_login_leaves_nothing(void **state)
{
	(void)state;

	configure(NULL, "login_deadline = 5");
	emulator_faults("maa.attest delay(150)");
	for (useconds_t i = 0; i < 10; i++) {
		pid_t child = fork();
		if (child == 0) {
			p11->C_Finalize(NULL);
			module_initialize();
			p11->C_Login(module_session("faulty"), CKU_USER, NULL, 0);
			for (;;)
				pause();
		}
		usleep(20000 + i * 60000);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	emulator_faults("");
	expect_clean("C-12");
	for (int i = 0; i < 30 && agent_pid(); i++)
		usleep(100 * 1000);
	assert_int_equal(agent_pid(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(the_agent_must_be_a_program_nobody_else_can_change, tear_down),
	    cmocka_unit_test_teardown(an_agent_that_cannot_start_is_said, tear_down),
	    cmocka_unit_test_teardown(seccomp_is_named, tear_down),
	    cmocka_unit_test_teardown(the_socket_must_be_there_and_whose_it_should, tear_down),
	    cmocka_unit_test_teardown(whatever_an_agent_does_the_login_ends_in_time, tear_down),
	    cmocka_unit_test_teardown(an_agent_killed_once_is_replaced, tear_down),
	    cmocka_unit_test_teardown(entries_of_dead_agents_are_removed, tear_down),
	    cmocka_unit_test_teardown(whatever_the_device_says_has_its_number, tear_down),
	    cmocka_unit_test_teardown(a_device_that_sleeps_does_not_hold_the_login, tear_down),
	    cmocka_unit_test_teardown(a_stopped_process_ends_its_login_when_it_goes_on, tear_down),
	    cmocka_unit_test_teardown(a_program_that_closes_all_descriptors_may_log_in_again, tear_down),
	    cmocka_unit_test_teardown(a_program_killed_in_its_login_leaves_nothing, tear_down),
	};
	return cmocka_run_group_tests_name("integration.agent", tests, set_up, NULL);
}
