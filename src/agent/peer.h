/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AGENT_PEER_H
#define SKR_AGENT_PEER_H

#include "config/config.h"

#include <stdbool.h>
#include <sys/types.h>

/*
 * Who is at the other end of the agent's socket, and may they ask (failure matrix G-08)? As the kernel saw them when
 * they connected: what they do to themselves afterwards changes nothing.
 */
struct peer {
	pid_t pid;
	uid_t uid;     /* effective */
	gid_t gid;     /* effective */
	gid_t *groups; /* supplementary, owned; NULL: none */
	size_t group_count;
};
#define auto_peer __attribute__((cleanup(peer_done))) struct peer
void peer_done(struct peer *peer); /* takes an all-zero one */

/* The peer of a connected unix socket. SKR-507 if the kernel cannot say. */
skr_status peer_read(int fd, struct peer *ret) MUST_CHECK;

/* All groups that the user of this number is in, by the user database: for kernels without SO_PEERGROUPS (4.13). */
skr_status peer_groups_of_user(struct peer *peer) MUST_CHECK;

/* The rule: root, the agent's own user, members of the group. `group` NULL: there is no such group. */
bool peer_allowed(const struct peer *peer, uid_t own, const gid_t *group);

/*
 * Nothing is asked of anybody before this is OK. Sockets that were accepted are checked, by the rule with the group
 * agent_group. An end of a socketpair is not: whoever made the pair started this process, with rights of their own, and
 * has the answer in any case. A host that is set-uid makes the pair, and starts the agent, with the same effective
 * user. SKR-507.
 */
skr_status peer_check(int fd, const struct config *config) MUST_CHECK;

#endif
