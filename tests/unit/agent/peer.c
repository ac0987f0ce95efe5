/* SPDX-License-Identifier: Apache-2.0 */
/* Failure matrix G-08: who may ask an agent behind a socket. */
#include "agent/peer.h"

#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define NOBODY  65534
#define AGENT   990
#define GROUP   991
#define STRANGE 4000000000u /* a number that no user database has */

/* ---- the rule ---- */

static bool allowed(uid_t uid, gid_t gid, gid_t supplementary, const gid_t *group)
{
	gid_t groups[] = {5, supplementary, 7};

	return peer_allowed(&(struct peer){.uid = uid, .gid = gid, .groups = groups, .group_count = 3}, AGENT, group);
}

static void root_the_agents_own_user_and_members_may_ask(void **state)
{
	const gid_t group = GROUP;

	(void)state;
	assert_true(allowed(0, NOBODY, NOBODY, &group));
	assert_true(allowed(0, NOBODY, NOBODY, NULL));
	assert_true(allowed(AGENT, NOBODY, NOBODY, &group));
	assert_true(allowed(AGENT, NOBODY, NOBODY, NULL));
	assert_true(allowed(33, GROUP, NOBODY, &group)); /* by the primary group */
	assert_true(allowed(33, NOBODY, GROUP, &group)); /* by a supplementary one */
}

static void nobody_else_may_ask(void **state)
{
	const gid_t group = GROUP;

	(void)state;
	assert_false(allowed(33, 33, 33, &group));
	assert_false(allowed(GROUP, 33, 33, &group)); /* a user with the group's number */
	assert_false(allowed(33, 0, 0, &group));      /* root's group is not root */
	assert_false(allowed(33, AGENT, AGENT, &group));
	assert_false(allowed(33, GROUP, GROUP, NULL)); /* a group that does not exist has no members */
	assert_false(peer_allowed(&(struct peer){.uid = 33, .gid = 33}, AGENT, &group));
}

/* ---- sockets ---- */

/* An accepted socket whose other end is `ret_client`; the listener had a name of the abstract kind. */
static int accepted(int *ret_client)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t size = sizeof(sa_family_t); /* the kernel finds a free name */
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&name, size), 0);
	size = sizeof(name);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &size), 0);
	assert_int_equal(listen(listener, 1), 0);
	*ret_client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(*ret_client, (struct sockaddr *)&name, size), 0);
	int fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	close(listener);
	return fd;
}

static void the_peer_is_who_connected(void **state)
{
	gid_t own[256];
	int client, fd = accepted(&client), count = getgroups(256, own);
	auto_peer peer = {0};

	(void)state;
	assert_int_equal(peer_read(fd, &peer).failure, 0);
	assert_int_equal(peer.pid, getpid());
	assert_int_equal(peer.uid, geteuid());
	assert_int_equal(peer.gid, getegid());
	assert_int_equal(peer.group_count, count);
	if (count)
		assert_memory_equal(peer.groups, own, (size_t)count * sizeof(*own));
	close(fd);
	close(client);
}

static void the_other_ends_of_other_sockets_are_nobody(void **state)
{
	auto_peer peer = {0};
	int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ends[2];

	(void)state;
	assert_int_equal(peer_read(tcp, &peer).failure, 507);
	assert_non_null(strstr(status_message(), "the kernel does not say"));
	assert_int_equal(peer_check(tcp, &(struct config){.agent_group = "root"}).failure, 507);
	close(tcp);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(peer_read(ends[0], &peer).failure, 507);
	assert_int_equal(peer_check(ends[0], &(struct config){.agent_group = "root"}).failure, 507);
	close(ends[0]);
	close(ends[1]);
	int unconnected = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(peer_check(unconnected, &(struct config){.agent_group = "root"}).failure, 507);
	close(unconnected);
}

static void the_user_database_says_the_same_of_a_user(void **state)
{
	auto_peer root = {.uid = 0, .gid = 0}, nobody = {.uid = STRANGE, .gid = 12};
	bool found = false;

	(void)state;
	assert_int_equal(peer_groups_of_user(&root).failure, 0);
	for (size_t i = 0; i < root.group_count; i++)
		found |= root.groups[i] == 0;
	assert_true(found);
	assert_int_equal(peer_groups_of_user(&nobody).failure, 0);
	assert_int_equal(nobody.group_count, 0);
}

/* ---- the check ---- */

/*
 * What peer_check says, as an agent of user 1 in this process's group database, of a client with these numbers. In a
 * child, because it gives its rights away. The client connects while it is the client, then the child becomes the
 * agent.
 */
static int check_as(uid_t uid, gid_t gid, gid_t supplementary, const char *group, const char *said)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		int client;
		if (setgroups(1, &supplementary) || setresgid(gid, gid, 0) || setresuid(uid, uid, 0))
			_exit(100);
		int fd = accepted(&client);
		if (setresuid(0, 0, 0) || setresgid(0, 0, 0) || setresuid(1, 1, 1))
			_exit(101);
		int failure = peer_check(fd, &(struct config){.agent_group = group}).failure;
		if (said && !strstr(status_message(), said)) {
			fprintf(stderr, "no \"%s\" in: %s\n", said, status_message());
			_exit(102);
		}
		_exit(failure == 507 ? 7 : failure ? 103 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* G-08: with real users, so only as root. `daemon` is a group of every distribution. */
static void a_client_outside_the_group_is_refused_with_its_numbers(void **state)
{
	const struct group *group = getgrnam("daemon");

	(void)state;
	if (geteuid() != 0 || !group)
		skip();
	const gid_t daemon = group->gr_gid;
	assert_int_equal(check_as(0, NOBODY, NOBODY, "daemon", NULL), 0);
	assert_int_equal(check_as(1, NOBODY, NOBODY, "daemon", NULL), 0);
	assert_int_equal(check_as(NOBODY, daemon, NOBODY, "daemon", NULL), 0);
	assert_int_equal(check_as(NOBODY, NOBODY, daemon, "daemon", NULL), 0);
	assert_int_equal(check_as(NOBODY, NOBODY, NOBODY, "daemon", "user 65534 and group 65534 may not ask"), 7);
	assert_int_equal(check_as(NOBODY, NOBODY, 0, "daemon", "not in group daemon"), 7);
	assert_int_equal(check_as(NOBODY, NOBODY, NOBODY, "no-such-group", "there is no group no-such-group"), 7);
}

/* exec: whoever made the pair started us. */
static void an_end_of_a_pair_is_not_asked(void **state)
{
	int status = -1;

	(void)state;
	if (geteuid() != 0)
		skip();
	pid_t child = fork();
	if (child == 0) {
		int pair[2];
		if (setresuid(NOBODY, NOBODY, 0) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) ||
		    setresuid(0, 0, 0) || setresuid(1, 1, 1))
			_exit(100);
		_exit(peer_check(pair[0], &(struct config){.agent_group = "no-such-group"}).failure ? 101 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(root_the_agents_own_user_and_members_may_ask),
	    cmocka_unit_test(nobody_else_may_ask),
	    cmocka_unit_test(the_peer_is_who_connected),
	    cmocka_unit_test(the_other_ends_of_other_sockets_are_nobody),
	    cmocka_unit_test(the_user_database_says_the_same_of_a_user),
	    cmocka_unit_test(a_client_outside_the_group_is_refused_with_its_numbers),
	    cmocka_unit_test(an_end_of_a_pair_is_not_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
