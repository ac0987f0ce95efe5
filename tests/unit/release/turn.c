/* SPDX-License-Identifier: Apache-2.0 */
/* C-02: two logins of a machine at once, the third waits, and a dead process holds nobody up. */
#include "release/turn.h"

#include "base/arena.h"
#include "base/ossl.h"
#include "cmocka_all.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/skr-turn-XXXXXX";

/* Record locks are a process's, so each login is one. */
static pid_t hold(int64_t ms, int fd)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct turn turn = {.fd = -1};
		char told = turn_take(folder, deadline_in(5000), NULL, NULL, &turn).failure ? 'x' : '+';
		if (write(fd, &told, 1) != 1)
			_exit(1);
		usleep((useconds_t)ms * 1000);
		turn_give(&turn);
		_exit(0);
	}
	return pid;
}

static char told_by(int fd)
{
	char told = '?';
	assert_int_equal(read(fd, &told, 1), 1);
	return told;
}

static void the_third_waits(void **state)
{
	(void)state;
	int fds[2];
	struct turn turn = {.fd = -1};

	assert_int_equal(pipe(fds), 0);
	pid_t one = hold(600, fds[1]), two = hold(600, fds[1]);
	assert_int_equal(told_by(fds[0]), '+');
	assert_int_equal(told_by(fds[0]), '+');
	assert_int_equal(turn_take(folder, deadline_in(150), NULL, NULL, &turn).failure, 506);
	assert_int_equal(turn.fd, -1);
	assert_int_equal(turn_take(folder, deadline_in(5000), NULL, NULL, &turn).failure, 0);
	assert_true(turn.ms >= 100);
	turn_give(&turn);
	waitpid(one, NULL, 0);
	waitpid(two, NULL, 0);
}

/* C-12 */
static void a_killed_process_holds_nobody_up(void **state)
{
	(void)state;
	int fds[2];
	struct turn turn = {.fd = -1};

	assert_int_equal(pipe(fds), 0);
	pid_t one = hold(60000, fds[1]), two = hold(60000, fds[1]);
	told_by(fds[0]);
	told_by(fds[0]);
	kill(one, SIGKILL);
	waitpid(one, NULL, 0);
	assert_int_equal(turn_take(folder, deadline_in(1000), NULL, NULL, &turn).failure, 0);
	turn_give(&turn);
	kill(two, SIGKILL);
	waitpid(two, NULL, 0);
}

static int yes(void *with)
{
	(void)with;
	return 1;
}

static void who_is_no_longer_wanted_does_not_wait(void **state)
{
	(void)state;
	int fds[2];
	struct turn turn = {.fd = -1};

	assert_int_equal(pipe(fds), 0);
	pid_t one = hold(60000, fds[1]), two = hold(60000, fds[1]);
	told_by(fds[0]);
	told_by(fds[0]);
	assert_int_equal(turn_take(folder, deadline_in(5000), yes, NULL, &turn).failure, 403);
	kill(one, SIGKILL);
	kill(two, SIGKILL);
	waitpid(one, NULL, 0);
	waitpid(two, NULL, 0);
}

static void no_directory_is_no_wait_and_a_bad_one_a_random_delay(void **state)
{
	(void)state;
	struct turn turn = {.fd = -1};

	assert_int_equal(turn_take(NULL, deadline_in(5000), NULL, NULL, &turn).failure, 0);
	assert_true(turn.fd == -1 && turn.ms < 50);
	assert_int_equal(turn_take("/nonexistent/folder", deadline_in(5000), NULL, NULL, &turn).failure, 0);
	assert_true(turn.fd == -1 && turn.ms <= 2300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_third_waits),
	    cmocka_unit_test(a_killed_process_holds_nobody_up),
	    cmocka_unit_test(who_is_no_longer_wanted_does_not_wait),
	    cmocka_unit_test(no_directory_is_no_wait_and_a_bad_one_a_random_delay),
	};
	if (arena_open(ARENA_LOCK_OFF).failure || ossl_open().failure || !mkdtemp(folder))
		return 1;
	int failed = cmocka_run_group_tests_name("release.turn", tests, NULL, NULL);
	char command[64];
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command) ? 1 : failed;
}
