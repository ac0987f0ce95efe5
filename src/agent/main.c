/* SPDX-License-Identifier: Apache-2.0 */
/*
 * skr-agent: one request from a socket on descriptor 0, one answer on the same, then gone. The module starts it, or
 * systemd does (Accept=yes, StandardInput=socket). It prints nothing elsewhere but to its log.
 */
#include "agent/peer.h"
#include "agent/protocol.h"
#include "agent/steps.h"
#include "base/audit.h"
#include "base/log.h"
#include "base/ossl.h"
#include "config/config.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEER                 STDIN_FILENO
#define REQUEST_WAIT_MS      10000
#define DEADLINE_LONGEST_MS  600000
#define DEADLINE_SHORTEST_MS 1000
#define DEADLINE_MARGIN_MS   200  /* so that the reason arrives before the module gives up waiting for it */
#define DEADLINE_GRACE_MS    1000 /* after which the watchdog ends what did not end by itself */

static const char help[] =
    "usage: skr-agent [--version | --help]\n"
    "\n"
    "The helper of skr-pkcs11: proves this machine to the attestation service and fetches keys from Key Vault.\n"
    "The PKCS#11 module starts it at C_Login, or systemd does for a connection to skr-agent.socket; it speaks on a "
    "socket\n"
    "that it finds as standard input. There is nothing to type here. To try a login step by step:\n"
    "\n"
    "    skr-pkcs11 doctor\n";

/* ---- watching ---- */

static int64_t watchdog_at; /* monotonic_ms(); the request moves it */
static bool concluded;      /* the last message is out: whether the module waits for our end is its own business */

/*
 * A name resolver or a device call cannot be interrupted, so a thread ends the process when the module lets go of us,
 * or when the deadline has passed. Nothing needs to be put in order: the process is the cleanup.
 */
static void *watch(void *unused)
{
	struct pollfd peer = {.fd = PEER}; /* a hang-up is told unasked; a half-closed socket is none */

	(void)unused;
	for (;;) {
		int64_t left = __atomic_load_n(&watchdog_at, __ATOMIC_ACQUIRE) - monotonic_ms();

		if (left <= 0)
			_exit(3);
		if (poll(&peer, 1, left < 200 ? (int)left : 200) > 0 && (peer.revents & (POLLHUP | POLLERR)))
			_exit(__atomic_load_n(&concluded, __ATOMIC_ACQUIRE) ? EXIT_SUCCESS : 4);
	}
	return NULL;
}

static skr_status watch_start(void)
{
	pthread_t thread;
	pthread_attr_t attributes;
	sigset_t all, before;

	watchdog_at = monotonic_ms() + REQUEST_WAIT_MS + DEADLINE_GRACE_MS;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int rc = pthread_attr_init(&attributes);
	if (rc == 0) {
		pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
		rc = pthread_create(&thread, &attributes, watch, NULL);
		pthread_attr_destroy(&attributes);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc == 0 ? OK : FAIL(14, "no watchdog: %s", strerror(rc));
}

/* ---- the conversation ---- */

static skr_status tell(const struct agent_message *message, void *with)
{
	const struct deadline *deadline = with;
	auto_buf body = BUF(PROTOCOL_ANSWER_LIMIT);

	TRY(agent_message_print(message, &body));
	return frame_send(PEER, &body, *deadline);
}

static skr_status hear(struct agent_open *ret, void *with)
{
	const struct deadline *deadline = with;
	auto_buf body = BUF(PROTOCOL_REQUEST_LIMIT);

	TRY(frame_receive(PEER, &body, *deadline, NULL, NULL));
	return agent_open_parse(body.data, body.len, ret);
}

static skr_status request_receive(struct agent_request *ret_request)
{
	auto_buf body = BUF(PROTOCOL_REQUEST_LIMIT);

	TRY(frame_receive(PEER, &body, deadline_in(REQUEST_WAIT_MS), NULL, NULL));
	return agent_request_parse(body.data, body.len, ret_request);
}

static struct deadline deadline_of(const struct agent_request *request)
{
	int64_t ms = request->deadline_ms;

	if (ms > DEADLINE_LONGEST_MS)
		ms = DEADLINE_LONGEST_MS;
	if (ms < DEADLINE_SHORTEST_MS)
		ms = DEADLINE_SHORTEST_MS;
	struct deadline deadline = deadline_in(ms - DEADLINE_MARGIN_MS);
	__atomic_store_n(&watchdog_at, deadline.at + DEADLINE_GRACE_MS, __ATOMIC_RELEASE);
	return deadline;
}

static void log_peer(const struct agent_request *request)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(PEER, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0)
		log_line(LOG_LEVEL_INFO, "token %s asked for by process %ld, user %lu, group %lu", request->token,
		         (long)peer.pid, (unsigned long)peer.uid, (unsigned long)peer.gid);
}

/* Who was refused, and what they asked for. The module of the refused may say nothing of it. */
static void note_refused_peer(const struct config *config, const struct agent_request *request)
{
	json *record = audit_record("security");
	struct ucred peer;
	socklen_t size = sizeof(peer);

	json_set_string(record, "token", request->token);
	json_set_string(record, "result", "failed");
	json_set_number(record, "failure", status_last()->failure);
	json_set_string(record, "sentence", status_message());
	if (getsockopt(PEER, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
		json_set_number(record, "peer_pid", peer.pid);
		json_set_number(record, "peer_uid", peer.uid);
		json_set_number(record, "peer_gid", peer.gid);
	}
	audit_note(&config->trail, record);
}

static skr_status work(const struct config *config, const struct agent_request *request, struct deadline *deadline)
{
	const struct token_config *token = config_token(config, request->token);

	if (!token)
		return FAIL(509, "%s has no [token %s]", config->path ? config->path : "the configuration",
		            request->token);
	return steps_run(&(struct steps_errand){.config = config,
	                                        .token = token,
	                                        .request = request,
	                                        .deadline = *deadline,
	                                        .tell = tell,
	                                        .hear = hear,
	                                        .with = deadline});
}

static skr_status configuration(struct config **ret_config)
{
	char *path = NULL;

	TRY(config_path(NULL, &path));
	skr_status status = config_read(path, ret_config);
	free(path);
	return status;
}

/* What is wrong with the configuration is told to those alone who may ask at all. */
static skr_status unconfigured(skr_status status)
{
	const struct status_record why = *status_last();
	struct config *defaults = config_default();

	if (!defaults)
		return status;
	skr_status peer = peer_check(PEER, defaults);
	config_free(defaults);
	return peer.failure ? peer : status_adopt(&why);
}

static skr_status serve(struct config **config, struct deadline *deadline)
{
	auto_agent_request request = {0};

	TRY(ossl_open());
	TRY(request_receive(&request));
	*deadline = deadline_of(&request);
	skr_status status = configuration(config);
	if (status.failure)
		return unconfigured(status);
	log_open((*config)->log, (*config)->log_level, "skr-agent");
	status = peer_check(PEER, *config);
	if (status.failure) {
		note_refused_peer(*config, &request);
		return status;
	}
	log_peer(&request);
	return work(*config, &request, deadline);
}

/* The last message: how it ended. A failure that was told is no failure of the agent. */
static int conclude(skr_status status, struct deadline *deadline)
{
	auto_agent_message last = {.type = status.failure ? AGENT_FAILURE : AGENT_END};

	if (status.failure) {
		last.failure = *status_last();
		log_failure();
	}
	if (deadline_left(*deadline) == 0)
		*deadline = deadline_in(DEADLINE_GRACE_MS / 2);
	__atomic_store_n(&concluded, true, __ATOMIC_RELEASE);
	return tell(&last, deadline).failure ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- the process ---- */

static void shut_windows(void)
{
	const struct rlimit no_core = {0, 0};

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	signal(SIGPIPE, SIG_IGN);
}

static bool is_socket(int fd)
{
	int type = 0;
	socklen_t size = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

int main(int argc, char **argv)
{
	struct config *config = NULL;
	struct deadline deadline = deadline_in(REQUEST_WAIT_MS);

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return printf("skr-agent %s\n", SKR_VERSION) < 0;
	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return fputs(help, stdout) == EOF;
	if (argc != 1 || !is_socket(PEER)) {
		fputs(help, stderr);
		return 2;
	}

	shut_windows();
	log_open("syslog", LOG_LEVEL_INFO, "skr-agent");
	skr_status status = watch_start();
	if (!status.failure)
		status = serve(&config, &deadline);
	int code = conclude(status, &deadline);
	config_free(config);
	return code;
}
