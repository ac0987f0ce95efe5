/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_RELEASE_AGENT_CLIENT_H
#define SKR_RELEASE_AGENT_CLIENT_H

#include "base/deadline.h"
#include "base/status.h"
#include "config/config.h"

#include <sys/types.h>

/*
 * The way to one agent: a socket, and how to end a program we started. Descriptors are numbered 3 or above,
 * close-on-exec, and looked at before they are used or closed, since hosts close what they do not know (failure matrix
 * C-14).
 */
struct agent_client {
	int fd;    /* -1: none */
	int pidfd; /* of an agent that we started; -1: none, or a kernel without */
	dev_t device;
	ino_t inode; /* of fd: is it still ours? */
};
#define AGENT_CLIENT_NONE ((struct agent_client){.fd = -1, .pidfd = -1})
#define auto_agent_client __attribute__((cleanup(agent_client_done))) struct agent_client

/* May be NULL; true ends a wait within 200 ms with SKR-403. */
typedef int agent_cancelled(void *with);

/*
 * Starts the agent, or connects to the one that listens, as `agent =` of the configuration says.
 *
 * Starting raises no SIGCHLD in the host, leaves it no child, runs no atfork handler and changes no signal state
 * (threat model D-5). SKR-500 the file is not safe to run, SKR-501 it cannot be started, SKR-016 no descriptors.
 *
 * Connecting: SKR-502 no socket, or not for us; SKR-503 nobody listens, after 4 attempts within the deadline; SKR-507
 * who listens is not config->agent_uid; SKR-508 its queue is full, after 4 attempts.
 */
skr_status agent_client_open(const struct config *config, struct deadline deadline, agent_cancelled *cancelled,
                             void *with, struct agent_client *ret) MUST_CHECK;

/* SKR-405 if the host closed our descriptor, or something else now has its number. */
skr_status agent_client_check(const struct agent_client *client) MUST_CHECK;

/* Ends an agent that we started, if it still runs: SIGKILL, by pidfd, so never somebody else's process. */
void agent_client_kill(const struct agent_client *client);

/* Hangs up. The agent sees its end of the socket close, and ends. Takes AGENT_CLIENT_NONE. */
void agent_client_done(struct agent_client *client);

/* Waits before attempt `attempt` (2, 3, 4) as failure matrix section 1 says. SKR-403; false if the deadline comes
 * first. */
skr_status agent_client_pause(int attempt, struct deadline deadline, agent_cancelled *cancelled, void *with,
                              bool *ret_time_left) MUST_CHECK;

#endif
