/* SPDX-License-Identifier: Apache-2.0 */
#include "release/agent_client.h"

#include "base/file.h"
#include "base/ossl.h"
#include "release/release.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000 /* Linux 5.2 */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436 /* Linux 5.9; the same on every architecture */
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424 /* Linux 5.1 */
#endif

#define ATTEMPTS       4
#define POLL_SLICE_MS  200
#define STACK_SIZE     (32 * 1024)
#define DESCRIPTORS    (1 << 20) /* the most that are closed one by one */
#define VARIABLE_LIMIT (8 * 1024)
#define AGENT_PATH     "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* ---- the agent's environment ---- */

/* What Azure's identity and confidential-container platforms hand to a process. Never a client secret. */
static const char *const variables[] = {
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "UVM_SECURITY_CONTEXT_DIR",
};
#define VARIABLES (sizeof(variables) / sizeof(variables[0]))

/* NAME=value each, empty: not set. Buffers, because IDENTITY_HEADER and MSI_SECRET are secrets: their memory is the
 * arena. */
static struct buf captured[VARIABLES], captured_path;

/* Takes over a variable that is set; one that is gone keeps what it was: servers clear the environment of their
 * workers. */
static void capture(const char *name, const char *value, struct buf *into)
{
	auto_buf fresh = BUF(VARIABLE_LIMIT);

	if (!value || buf_printf(&fresh, "%s=%s", name, value).failure)
		return;
	buf_move(into, &fresh);
}

void release_capture_environment(const char *config_path)
{
	auto_arena(ARENA_KEYS);

	for (size_t i = 0; i < VARIABLES; i++)
		capture(variables[i], secure_getenv(variables[i]), &captured[i]);
	capture("SKR_PKCS11_CONF", config_path, &captured_path);
}

/* A terminated list for execve; borrows from what was captured. */
static void environment_list(char *list[VARIABLES + 3])
{
	size_t count = 0;

	list[count++] = (char *)(uintptr_t)AGENT_PATH;
	if (captured_path.len)
		list[count++] = (char *)captured_path.data;
	for (size_t i = 0; i < VARIABLES; i++)
		if (captured[i].len)
			list[count++] = (char *)captured[i].data;
	list[count] = NULL;
}

/* ---- starting the agent ---- */

/*
 * Why not posix_spawn: hosts reap with waitpid(-1) and count SIGCHLD, and exec makes any process raise SIGCHLD for its
 * parent when it ends. So the agent gets a parent that is gone before it ends:
 *
 *     host ── clone, exit signal 0 ──▶ first child ── clone ──▶ second child ── execve ──▶ agent
 *          ◀── ended, reaped by __WCLONE ──┘ never execs         (init, or a subreaper, inherits it)
 *
 * Both share the host's memory and run on stacks of their own, while the thread that called waits (CLONE_VFORK); so no
 * page is copied, no atfork handler runs, and errno of the exec comes back in plain memory. The first child shares the
 * host's table of descriptors too: none of the host's files is held open by it, and the pidfd that the kernel makes for
 * the second clone (CLONE_PIDFD) is the host's, so that the agent can be killed without ever naming a pid that may be
 * another's by then. The second child has a table of its own, and closes it.
 *
 * What the children do is plain system calls, with all signals blocked until the dispositions are the default ones.
 *
 * What remains: a host that is process 1, or a subreaper, inherits the agent and may see its SIGCHLD. It may reap it;
 * we never wait for it.
 */
struct spawn {
	const char *path;
	char *const *environment;
	int socket;
	uint8_t *second_stack; /* its upper end */
	int pidfd;
	volatile const char *failed; /* the call that failed in a child */
	volatile int error;
};

/*
 * glibc's own name of clone. The usual one may be interposed (thread sanitizers do), and an interposer's bookkeeping
 * lies in the memory that these children share with the host.
 */
extern int __clone(int (*run)(void *), void *stack, int flags, void *with, ...);

/* For the same reason the children call the kernel and not the C library: a JVM's libjsig has a sigaction of its own.
 */
#define IN_CHILD __attribute__((no_sanitize_thread))

IN_CHILD static int give_up(struct spawn *spawn, const char *call)
{
	spawn->error = errno;
	spawn->failed = call;
	return 127;
}

IN_CHILD static void close_all_above_stdio(void)
{
	if (syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) == 0)
		return;
	/* An old kernel, or an old seccomp profile. */
	struct rlimit limit = {.rlim_cur = DESCRIPTORS};
	syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
	for (int fd = STDERR_FILENO + 1; fd < DESCRIPTORS && (rlim_t)fd < limit.rlim_cur; fd++)
		syscall(SYS_close, fd);
}

/* The kernel's own set: the C library's would leave out the signals it keeps for itself. */
IN_CHILD static void set_signal_mask(const uint64_t *mask, uint64_t *ret_before)
{
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, mask, ret_before, sizeof(*mask));
}

IN_CHILD static void reset_signals(void)
{
	const uint64_t standard[8] = {0}; /* the kernel's struct sigaction: SIG_DFL, no flags, nothing masked */
	const uint64_t none = 0;

	for (int signal = 1; signal < NSIG; signal++)
		syscall(SYS_rt_sigaction, signal, standard, NULL, sizeof(none)); /* fails for KILL and STOP */
	set_signal_mask(&none, NULL);
}

IN_CHILD static int second_child(void *with)
{
	struct spawn *spawn = with;
	char *const arguments[] = {(char *)(uintptr_t)spawn->path, NULL};

	if (syscall(SYS_dup3, spawn->socket, STDIN_FILENO, 0) < 0 ||
	    syscall(SYS_dup3, spawn->socket, STDOUT_FILENO, 0) < 0)
		return give_up(spawn, "dup3");
	long null = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR);
	if (null < 0 || (null != STDERR_FILENO && syscall(SYS_dup3, null, STDERR_FILENO, 0) < 0))
		return give_up(spawn, "open /dev/null");
	close_all_above_stdio();
	syscall(SYS_setsid); /* a terminal's signals are the host's, not the agent's */
	reset_signals();
	syscall(SYS_execve, spawn->path, arguments, spawn->environment);
	return give_up(spawn, "execve");
}

IN_CHILD static int first_child(void *with)
{
	struct spawn *spawn = with;

	/* SIGCHLD here is the first child's own: nobody is left to get it. */
	int agent = __clone(second_child, spawn->second_stack, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, spawn,
	                    &spawn->pidfd);
	if (agent < 0)
		return give_up(spawn, "clone");
	if (spawn->failed) /* it became no agent; init need not reap it */
		syscall(SYS_wait4, agent, NULL, 0, NULL);
	return 0;
}

/* Runs the first child to its end. Signals of this thread wait meanwhile; errno and the mask are the host's again
 * afterwards. */
static void run_first_child(struct spawn *spawn, uint8_t *first_stack)
{
	const uint64_t all = ~UINT64_C(0);
	uint64_t before;

	set_signal_mask(&all, &before);
	pid_t first = __clone(first_child, first_stack, CLONE_VM | CLONE_VFORK | CLONE_FILES, spawn);
	if (first < 0)
		give_up(spawn, "clone");
	else
		while (waitpid(first, NULL, __WCLONE) < 0 && errno == EINTR)
			;
	set_signal_mask(&before, NULL);
}

static skr_status spawn_on_stacks(struct spawn *spawn)
{
	const size_t guard = 4096, size = 2 * STACK_SIZE + 2 * guard;
	uint8_t *stacks = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stacks == MAP_FAILED)
		return FAIL(14, "stacks for starting the agent");
	uint8_t *first = stacks + guard, *second = first + STACK_SIZE + guard;
	if (mprotect(first, STACK_SIZE, PROT_READ | PROT_WRITE) ||
	    mprotect(second, STACK_SIZE, PROT_READ | PROT_WRITE)) {
		munmap(stacks, size);
		return FAIL(14, "stacks for starting the agent");
	}
	spawn->second_stack = second + STACK_SIZE;
	run_first_child(spawn, first + STACK_SIZE);
	munmap(stacks, size);
	return OK;
}

static skr_status check_program(const char *path)
{
	skr_status status = file_check_trusted(path);

	if (status.failure == 16)
		return status;
	if (status.failure)
		return FAIL(500, "%s", status_message());
	if (access(path, X_OK) != 0)
		return FAIL(500, "%s: this user (uid %ld) may not execute it: errno %d", path, (long)geteuid(), errno);
	return OK;
}

static skr_status no_descriptor(const char *what, int failure)
{
	if (errno == EMFILE || errno == ENFILE)
		return FAIL(16, "%s: errno %d", what, errno);
	return FAIL(failure, "%s: errno %d (%s)", what, errno, strerror(errno));
}

static void close_keeping_errno(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

static skr_status socket_pair(int ret[2])
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return no_descriptor("socketpair", 501);
	pair[0] = fd_above_stdio(pair[0]);
	pair[1] = fd_above_stdio(pair[1]);
	if (pair[0] < 0 || pair[1] < 0) {
		close_keeping_errno(pair[0]);
		close_keeping_errno(pair[1]);
		return no_descriptor("a descriptor above 2", 501);
	}
	ret[0] = pair[0];
	ret[1] = pair[1];
	return OK;
}

static skr_status agent_start(const char *path, struct agent_client *ret)
{
	char *environment[VARIABLES + 3];
	struct spawn spawn = {.path = path, .environment = environment, .pidfd = -1};
	int pair[2] = {-1, -1};

	TRY(check_program(path));
	environment_list(environment);
	TRY(socket_pair(pair));
	spawn.socket = pair[1];
	skr_status status = spawn_on_stacks(&spawn);
	close_keeping_errno(pair[1]);
	ret->fd = pair[0];
	ret->pidfd = fd_above_stdio(spawn.pidfd);
	if (status.failure)
		return status;
	if (spawn.failed) {
		bool none_left = spawn.error == EMFILE || spawn.error == ENFILE; /* the pidfd is one */
		return FAIL(none_left ? 16 : 501, "%s: %s: errno %d (%s)", path, (const char *)(uintptr_t)spawn.failed,
		            spawn.error, strerror(spawn.error));
	}
	return OK;
}

/* ---- connecting to an agent ---- */

/* One attempt; 0 or errno. The socket is connected without blocking: a full queue is said, not waited for. */
static int connect_once(const struct sockaddr_un *address, int *ret_fd)
{
	int fd = fd_above_stdio(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

	if (fd < 0)
		return errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
		close_keeping_errno(fd);
		return errno;
	}
	*ret_fd = fd;
	return 0;
}

static bool worth_another_attempt(int error)
{
	return error == ECONNREFUSED || error == ECONNRESET || error == EAGAIN || error == EINTR;
}

static skr_status connect_failed(const char *path, int error)
{
	if (error == EMFILE || error == ENFILE)
		return FAIL(16, "a socket: errno %d", error);
	if (error == EAGAIN)
		return FAIL(508, "%s: its queue is full", path);
	if (worth_another_attempt(error))
		return FAIL(503, "%s: nobody listens: errno %d (%s)", path, error, strerror(error));
	return FAIL(502, "%s: errno %d (%s)", path, error, strerror(error));
}

static skr_status check_peer(const char *path, int fd, long uid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
		return FAIL(507, "%s: who listens is not known: errno %d", path, errno);
	if ((long)peer.uid != uid)
		return FAIL(507, "%s: who listens has uid %ld gid %ld, the configuration says uid %ld", path,
		            (long)peer.uid, (long)peer.gid, uid);
	return OK;
}

skr_status agent_client_pause(int attempt, struct deadline deadline, agent_cancelled *cancelled, void *with,
                              bool *ret_time_left)
{
	uint32_t dice;

	TRY(random_bytes(&dice, sizeof(dice)));
	/* 0.8 s x (2^(n-1) - 1), at most 16 s, times 0.8 to 1.3. */
	int64_t delay = 800 * ((INT64_C(1) << (attempt - 1)) - 1);
	delay = (delay < 16000 ? delay : 16000) * (800 + dice % 500) / 1000;
	if (delay >= deadline_left(deadline)) {
		*ret_time_left = false;
		return OK;
	}
	struct deadline end = deadline_in(delay);
	for (int64_t left; (left = deadline_left(end)) > 0;) {
		int64_t slice = left < POLL_SLICE_MS ? left : POLL_SLICE_MS;
		if (cancelled && cancelled(with))
			return FAIL(403, "before another attempt to reach the agent");
		nanosleep(&(struct timespec){.tv_nsec = (long)slice * 1000000}, NULL);
	}
	*ret_time_left = true;
	return OK;
}

static skr_status agent_connect(const struct config *config, struct deadline deadline, agent_cancelled *cancelled,
                                void *with, struct agent_client *ret)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	bool time_left = true;
	int error;

	if (strlen(config->agent) >= sizeof(address.sun_path))
		return FAIL(502, "%s: longer than the path of a socket can be", config->agent);
	strcpy(address.sun_path, config->agent);
	for (int attempt = 1;; attempt++) {
		error = connect_once(&address, &ret->fd);
		if (!error)
			return check_peer(config->agent, ret->fd, config->agent_uid);
		if (worth_another_attempt(error) && attempt < ATTEMPTS)
			TRY(agent_client_pause(attempt + 1, deadline, cancelled, with, &time_left));
		if (!worth_another_attempt(error) || attempt == ATTEMPTS || !time_left) {
			skr_status status = connect_failed(config->agent, error);
			status_amend()->attempt = attempt;
			status_amend()->attempts = ATTEMPTS;
			return status;
		}
	}
}

/* ---- both ---- */

skr_status agent_client_open(const struct config *config, struct deadline deadline, agent_cancelled *cancelled,
                             void *with, struct agent_client *ret)
{
	auto_agent_client client = AGENT_CLIENT_NONE;
	struct stat about;

	if (config->agent_is_socket)
		TRY(agent_connect(config, deadline, cancelled, with, &client));
	else
		TRY(agent_start(config->agent, &client));
	if (fstat(client.fd, &about) != 0)
		return FAIL(405, "the agent's socket: errno %d", errno);
	client.device = about.st_dev;
	client.inode = about.st_ino;
	*ret = client;
	client = AGENT_CLIENT_NONE;
	return OK;
}

static bool still_ours(const struct agent_client *client)
{
	struct stat about;

	return fstat(client->fd, &about) == 0 && S_ISSOCK(about.st_mode) &&
	       (client->inode == 0 || (about.st_dev == client->device && about.st_ino == client->inode));
}

skr_status agent_client_check(const struct agent_client *client)
{
	return still_ours(client) ? OK : FAIL(405, "the agent's socket was closed by the program");
}

/* Signal 0 tells whether the number still is a pidfd: EBADF if not. */
static bool signal_pidfd(int pidfd, int signal)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 || errno != EBADF;
}

void agent_client_kill(const struct agent_client *client)
{
	if (client->pidfd >= 0)
		signal_pidfd(client->pidfd, SIGKILL);
}

void agent_client_done(struct agent_client *client)
{
	int saved = errno;

	if (client->fd >= 0 && still_ours(client))
		close(client->fd);
	if (client->pidfd >= 0 && signal_pidfd(client->pidfd, 0))
		close(client->pidfd);
	*client = AGENT_CLIENT_NONE;
	errno = saved;
}
