/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "cmocka_all.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static const char *path_of(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	assert_int_equal(chmod(path_of(name), mode), 0);
}

static int set_up(void **state)
{
	(void)state;
	/* Under the build folder's parent chain, not in a sticky world-writable place: the check goes up to the root.
	 */
	snprintf(folder, sizeof(folder), "/var/lib/skr-test-XXXXXX");
	if (!mkdtemp(folder)) {
		snprintf(folder, sizeof(folder), "%s/skr-test-XXXXXX", getenv("HOME") ? getenv("HOME") : "/root");
		if (!mkdtemp(folder))
			return -1;
	}
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command);
}

static void a_file_is_read_whole_or_not_at_all(void **state)
{
	(void)state;
	auto_buf b = BUF(8);

	write_file("eight", "12345678", 0644);
	write_file("nine", "123456789", 0644);
	assert_int_equal(file_read(path_of("eight"), &b).failure, 0);
	assert_string_equal(buf_text(&b), "12345678");
	buf_clear(&b);
	assert_int_equal(file_read(path_of("nine"), &b).failure, 208);
	assert_non_null(strstr(status_message(), "nine"));
}

static void a_file_that_a_setting_names_is_no_missing_configuration(void **state)
{
	(void)state;
	auto_buf b = BUF(100);

	assert_int_equal(file_read_named(path_of("missing"), &b).failure, 8);
	assert_non_null(strstr(status_message(), "missing: No such file"));
	assert_int_equal(file_read_named("/", &b).failure, 8);
	write_file("empty", "", 0644);
	assert_int_equal(file_read_named(path_of("empty"), &b).failure, 8);
	assert_non_null(strstr(status_message(), "is empty"));
	write_file("good", "x", 0644);
	assert_int_equal(file_read_named(path_of("good"), &b).failure, 0);
	assert_int_equal(b.len, 1);
}

/* E-01, E-03 */
static void steering_files_must_be_ours_and_only_ours(void **state)
{
	(void)state;
	auto_buf b = BUF(100);

	write_file("good", "x", 0644);
	assert_int_equal(file_read_trusted(path_of("good"), &b).failure, 0);
	assert_int_equal(file_read_trusted(path_of("missing"), &b).failure, 1);
	write_file("group", "x", 0664);
	assert_int_equal(file_read_trusted(path_of("group"), &b).failure, 3);
	write_file("others", "x", 0646);
	assert_int_equal(file_read_trusted(path_of("others"), &b).failure, 3);
	assert_non_null(strstr(status_message(), "0646"));

	char target[128];
	snprintf(target, sizeof(target), "%s", path_of("good"));
	assert_int_equal(symlink(target, path_of("link")), 0);
	assert_int_equal(file_read_trusted(path_of("link"), &b).failure, 3);
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	assert_int_equal(file_read_trusted(path_of("fifo"), &b).failure, 3);
	assert_int_equal(file_read_trusted(folder, &b).failure, 3);
	assert_int_equal(file_read_trusted("good", &b).failure, 1);

	assert_int_equal(chmod(folder, 0777), 0);
	assert_int_equal(file_read_trusted(path_of("good"), &b).failure, 3);
	assert_int_equal(chmod(folder, 01777), 0); /* sticky does not help: names can be made first by others */
	assert_int_equal(file_read_trusted(path_of("good"), &b).failure, 3);
	assert_int_equal(chmod(folder, 0755), 0);

	if (geteuid() == 0) {
		assert_int_equal(chown(path_of("good"), 4242, 0), 0);
		assert_int_equal(file_read_trusted(path_of("good"), &b).failure, 3);
		assert_int_equal(seteuid(4243), 0);
		assert_int_equal(chmod(path_of("good"), 0644) == 0, 0);
		int failure = file_read_trusted(path_of("good"), &b).failure;
		assert_int_equal(seteuid(0), 0);
		assert_int_equal(failure, 3);
		/* E-02 */
		write_file("secret", "x", 0600);
		assert_int_equal(seteuid(4243), 0);
		failure = file_read_trusted(path_of("secret"), &b).failure;
		assert_int_equal(seteuid(0), 0);
		assert_int_equal(failure, 2);
		assert_non_null(strstr(status_message(), "4243"));
	}
}

/* D-7 */
static void descriptors_stay_above_stdio(void **state)
{
	(void)state;
	int saved = dup(0);

	close(0);
	int fd = open("/dev/null", O_RDONLY);
	assert_int_equal(fd, 0);
	int moved = fd_above_stdio(fd);
	dup2(saved, 0);
	close(saved);
	assert_true(moved > 2);
	assert_int_equal(fcntl(moved, F_GETFD), FD_CLOEXEC);
	close(moved);
	assert_int_equal(fd_above_stdio(-1), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_file_is_read_whole_or_not_at_all),
	    cmocka_unit_test(a_file_that_a_setting_names_is_no_missing_configuration),
	    cmocka_unit_test(steering_files_must_be_ours_and_only_ours),
	    cmocka_unit_test(descriptors_stay_above_stdio),
	};
	return cmocka_run_group_tests_name("base.file", tests, set_up, tear_down);
}
