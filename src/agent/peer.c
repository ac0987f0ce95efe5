/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/peer.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59 /* Linux 4.13 */
#endif

#define ENTRY_SIZE (64 * 1024) /* a line of the group or user database */

void peer_done(struct peer *peer)
{
	free(peer->groups);
	*peer = (struct peer){0};
}

static skr_status groups_alloc(struct peer *peer, size_t count)
{
	gid_t *groups = reallocarray(peer->groups, count, sizeof(*groups));

	if (!groups)
		return FAIL(14, "%zu groups of who asks", count);
	peer->groups = groups;
	peer->group_count = count;
	return OK;
}

skr_status peer_groups_of_user(struct peer *peer)
{
	char line[ENTRY_SIZE];
	struct passwd entry, *user = NULL;
	int count = 64, rc = getpwuid_r(peer->uid, &entry, line, sizeof(line), &user);

	if (rc != 0)
		return FAIL(507, "user %lu, who asks, cannot be looked up: %s", (unsigned long)peer->uid, strerror(rc));
	if (!user) /* without a name there is nothing that a group could list */
		return OK;
	do /* the second time with as many places as it says it needs */
		TRY(groups_alloc(peer, (size_t)count));
	while (getgrouplist(user->pw_name, peer->gid, peer->groups, &count) < 0 && (size_t)count > peer->group_count);
	if ((size_t)count < peer->group_count)
		peer->group_count = (size_t)count;
	return OK;
}

static skr_status groups_read(int fd, struct peer *peer)
{
	socklen_t size = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0)
		return OK; /* none */
	if (errno == ENOPROTOOPT)
		return peer_groups_of_user(peer);
	if (errno != ERANGE)
		return FAIL(507, "the groups of who asks are not known: %s", strerror(errno));
	TRY(groups_alloc(peer, size / sizeof(*peer->groups)));
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer->groups, &size) != 0)
		return FAIL(507, "the groups of who asks are not known: %s", strerror(errno));
	return OK;
}

skr_status peer_read(int fd, struct peer *ret)
{
	auto_peer peer = {0};
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	/* -1: a socket that is connected to nobody, or of another family */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 || credentials.uid == (uid_t)-1)
		return FAIL(507, "who asks is not known: the kernel does not say");
	peer.pid = credentials.pid;
	peer.uid = credentials.uid;
	peer.gid = credentials.gid;
	TRY(groups_read(fd, &peer));
	*ret = peer;
	peer = (struct peer){0};
	return OK;
}

bool peer_allowed(const struct peer *peer, uid_t own, const gid_t *group)
{
	if (peer->uid == 0 || peer->uid == own)
		return true;
	if (!group)
		return false;
	if (peer->gid == *group)
		return true;
	for (size_t i = 0; i < peer->group_count; i++)
		if (peer->groups[i] == *group)
			return true;
	return false;
}

/* Neither end of a pair has a name; an accepted socket has that of the socket it was accepted from. */
static bool is_pair(int fd)
{
	struct sockaddr_un own = {0}, other = {0};
	socklen_t own_size = sizeof(own), other_size = sizeof(other);

	return getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 &&
	       getpeername(fd, (struct sockaddr *)&other, &other_size) == 0 && own.sun_family == AF_UNIX &&
	       own_size <= sizeof(sa_family_t) && other_size <= sizeof(sa_family_t);
}

skr_status peer_check(int fd, const struct config *config)
{
	auto_peer peer = {0};
	char line[ENTRY_SIZE];
	struct group entry, *group = NULL;

	if (is_pair(fd))
		return OK;
	TRY(peer_read(fd, &peer));
	if (peer_allowed(&peer, geteuid(), NULL))
		return OK;
	int rc = getgrnam_r(config->agent_group, &entry, line, sizeof(line), &group);
	if (peer_allowed(&peer, geteuid(), group ? &group->gr_gid : NULL))
		return OK;
	return FAIL(507, "process %ld of user %lu and group %lu may not ask: neither root nor user %lu, and %s %s",
	            (long)peer.pid, (unsigned long)peer.uid, (unsigned long)peer.gid, (unsigned long)geteuid(),
	            group ? "not in group"
	            : rc  ? "it cannot be looked up who is in group"
	                  : "there is no group",
	            config->agent_group);
}
