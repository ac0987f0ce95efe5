/* SPDX-License-Identifier: Apache-2.0 */
#include "base/audit.h"

#include "base/arena.h"
#include "base/audit_chain.h"
#include "base/deadline.h"
#include "base/file.h"
#include "base/ossl.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "audit-XXXXXX", path[64], old_path[80], socket_path[80];

static struct audit_trail plain(const char *file)
{
	return (struct audit_trail){.to = AUDIT_TO_FILE, .file = file};
}

static struct audit_trail chained(void)
{
	return (struct audit_trail){.to = AUDIT_TO_FILE, .file = path, .chained = true};
}

static int write_to(struct audit_trail trail, json *record)
{
	return audit_write(&trail, record, 18).failure;
}

static int forget(void **state)
{
	(void)state;
	unlink(path);
	unlink(old_path);
	unlink(socket_path);
	return 0;
}

/* ---- a file ---- */

static void a_record_is_one_line_of_json(void **state)
{
	(void)state;
	auto_buf text = BUF(4096);
	auto_json *parsed = NULL;
	json *record = audit_record("login");

	json_set_string(record, "token", "two\nlines \"quoted\"");
	assert_int_equal(write_to(plain(path), record), 0);
	assert_int_equal(file_read(path, &text).failure, 0);
	assert_ptr_equal(strchr(buf_text(&text), '\n'), buf_text(&text) + text.len - 1);
	assert_int_equal(json_parse(text.data, text.len - 1, &parsed).failure, 0);
	assert_string_equal(json_string_or_null(parsed, "event"), "login");
	assert_string_equal(json_string_or_null(parsed, "program"), program_invocation_short_name);
	assert_string_equal(json_string_or_null(parsed, "token"), "two\nlines \"quoted\"");
	int64_t pid;
	assert_int_equal(json_integer(parsed, "pid", false, &pid).failure, 0);
	assert_int_equal(pid, getpid());
}

static void records_are_appended_and_the_file_is_private(void **state)
{
	(void)state;
	struct stat before, after;

	assert_int_equal(write_to(plain(path), audit_record("login")), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(before.st_mode & 0777, 0600);
	assert_int_equal(write_to(plain(path), audit_record("logout")), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_true(after.st_size > before.st_size);
}

static void without_a_trail_nothing_is_written_and_nothing_fails(void **state)
{
	(void)state;
	assert_false(audit_is_kept(&(struct audit_trail){.file = NULL}));
	assert_int_equal(write_to(plain(NULL), audit_record("login")), 0);
}

/* E-15 */
static void a_record_that_cannot_be_written_fails_with_the_number_asked_for(void **state)
{
	(void)state;
	struct audit_trail chained_full = {.file = "/dev/full", .chained = true};

	assert_int_equal(write_to(plain("/nonexistent/audit"), audit_record("login")), 18);
	assert_non_null(strstr(status_message(), "/nonexistent/audit"));
	assert_int_equal(write_to(plain("/dev/full"), audit_record("login")), 18);
	assert_int_equal(write_to(chained_full, audit_record("login")), 18);
	assert_non_null(strstr(status_message(), "not a regular file"));

	json *long_record = audit_record("login");
	for (int i = 0; i < 40; i++) {
		char name[16], text[4097];
		memset(text, 'x', sizeof(text) - 1);
		text[sizeof(text) - 1] = '\0';
		snprintf(name, sizeof(name), "member%d", i);
		json_set_string(long_record, name, text);
	}
	assert_int_equal(write_to(plain(path), long_record), 18);
	assert_int_equal(access(path, F_OK), -1);
}

static void a_symbolic_link_is_not_followed(void **state)
{
	(void)state;
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_int_equal(write_to(plain(path), audit_record("login")), 18);
	assert_int_equal(write_to(chained(), audit_record("login")), 18);
}

/* E-14 */
static void a_lost_record_leaves_the_failure_that_is_reported_alone(void **state)
{
	(void)state;
	struct audit_trail nowhere = plain("/nonexistent/audit");

	(void)FAIL(320, "the real reason");
	audit_note(&nowhere, audit_record("login"));
	assert_int_equal(status_last()->failure, 320);
	assert_string_equal(status_message(), "the real reason");
}

/* ---- a chained file ---- */

struct lines {
	char *text;
	size_t count;
	char *line[2048];
	struct audit_link link[2048];
};

static void read_lines(const char *file, struct lines *ret)
{
	auto_buf text = BUF(4 * 1024 * 1024);

	assert_int_equal(file_read(file, &text).failure, 0);
	ret->text = strdup(buf_text(&text));
	ret->count = 0;
	for (char *line, *rest = ret->text; (line = strsep(&rest, "\n")) && *line; ret->count++) {
		auto_json *record = NULL;
		ret->line[ret->count] = line;
		ret->link[ret->count].seq = 0;
		if (!json_parse(line, strlen(line), &record).failure)
			audit_link_read(record, &ret->link[ret->count]);
	}
}

/* True if line `i` is linked to the one before it. */
static bool fits(const struct lines *lines, size_t i)
{
	char hash[AUDIT_HASH_SIZE];

	assert_int_equal(audit_line_hash(lines->line[i - 1], strlen(lines->line[i - 1]), hash).failure, 0);
	return strcmp(hash, lines->link[i].prev) == 0;
}

static void each_line_names_the_one_before(void **state)
{
	(void)state;
	static struct lines lines;

	for (int i = 0; i < 5; i++)
		assert_int_equal(write_to(chained(), audit_record("login")), 0);
	read_lines(path, &lines);
	assert_int_equal(lines.count, 5);
	assert_int_equal(lines.link[0].seq, 1);
	assert_int_equal(strspn(lines.link[0].prev, "0"), 64);
	for (size_t i = 1; i < 5; i++) {
		assert_int_equal(lines.link[i].seq, i + 1);
		assert_true(fits(&lines, i));
	}
	free(lines.text);
}

/* The hash is of the line as it stands, so a tool of a shell computes the same. */
static void the_link_is_sha256_of_the_line_without_its_newline(void **state)
{
	(void)state;
	char hash[AUDIT_HASH_SIZE];

	assert_int_equal(audit_line_hash("abc", 3, hash).failure, 0);
	assert_string_equal(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180 */
}

static void processes_that_write_at_once_make_one_chain(void **state)
{
	(void)state;
	static struct lines lines;
	int failed = 0;

	for (int process = 0; process < 8; process++)
		if (fork() == 0) {
			for (int i = 0; i < 50; i++)
				if (write_to(chained(), audit_record("login")))
					_exit(1);
			_exit(0);
		}
	for (int process = 0, status; process < 8; process++) {
		wait(&status);
		failed += status != 0;
	}
	assert_int_equal(failed, 0);
	read_lines(path, &lines);
	assert_int_equal(lines.count, 400);
	for (size_t i = 1; i < lines.count; i++)
		if (lines.link[i].seq != (int64_t)i + 1 || !fits(&lines, i))
			fail_msg("line %zu", i + 1);
	free(lines.text);
}

/* logrotate renames, and its next round moves on only what it calls .1. */
static void a_new_file_goes_on_where_the_rotated_one_ended(void **state)
{
	(void)state;
	static struct lines old, new;
	char hash[AUDIT_HASH_SIZE];

	for (int i = 0; i < 3; i++)
		assert_int_equal(write_to(chained(), audit_record("login")), 0);
	assert_int_equal(rename(path, old_path), 0);
	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	read_lines(old_path, &old);
	read_lines(path, &new);
	assert_int_equal(new.count, 1);
	assert_int_equal(new.link[0].seq, 4);
	assert_int_equal(audit_line_hash(old.line[2], strlen(old.line[2]), hash).failure, 0);
	assert_string_equal(new.link[0].prev, hash);
	free(old.text);
	free(new.text);
}

static void rotation_amid_writers_makes_no_second_branch(void **state)
{
	(void)state;
	static struct lines old, new;
	char hash[AUDIT_HASH_SIZE];
	int failed = 0;

	for (int process = 0; process < 4; process++)
		if (fork() == 0) {
			for (int i = 0; i < 100; i++)
				if (write_to(chained(), audit_record("login")))
					_exit(1);
			_exit(0);
		}
	while (access(path, F_OK) != 0)
		usleep(100);
	usleep(10 * 1000);
	assert_int_equal(rename(path, old_path), 0);
	for (int process = 0, status; process < 4; process++) {
		wait(&status);
		failed += status != 0;
	}
	assert_int_equal(failed, 0);
	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	read_lines(old_path, &old);
	read_lines(path, &new);
	assert_int_equal(old.count + new.count, 401);
	assert_int_equal(new.link[0].seq, old.count + 1);
	assert_int_equal(audit_line_hash(old.line[old.count - 1], strlen(old.line[old.count - 1]), hash).failure, 0);
	assert_string_equal(new.link[0].prev, hash);
	for (size_t i = 1; i < new.count; i++)
		assert_true(fits(&new, i));
	free(old.text);
	free(new.text);
}

/* Who waits for the lock of a file that is moved away meanwhile writes to the new one. */
static void a_writer_that_waited_follows_the_rotation(void **state)
{
	(void)state;
	static struct lines old, new;
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int status;

	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	int fd = open(path, O_RDWR);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	pid_t writer = fork();
	if (writer == 0) {
		close(fd);
		_exit(write_to(chained(), audit_record("login")) != 0);
	}
	usleep(40 * 1000);
	assert_int_equal(rename(path, old_path), 0);
	whole.l_type = F_UNLCK;
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	close(fd);
	assert_int_equal(waitpid(writer, &status, 0), writer);
	assert_int_equal(status, 0);
	read_lines(old_path, &old);
	read_lines(path, &new);
	assert_int_equal(old.count, 1);
	assert_int_equal(new.count, 1);
	assert_int_equal(new.link[0].seq, 2);
	free(old.text);
	free(new.text);
}

static void a_lock_that_is_held_costs_a_tenth_of_a_second_and_the_record(void **state)
{
	(void)state;
	struct flock whole = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	int fd = open(path, O_RDONLY);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &whole), 0);
	int64_t began = monotonic_ms();
	assert_int_equal(write_to(chained(), audit_record("login")), 18);
	int64_t took = monotonic_ms() - began;
	if (took < 100 || took > 400) /* the machine that tests may be busy */
		fail_msg("%lld ms", (long long)took);
	assert_non_null(strstr(status_message(), "lock"));
	close(fd);
	assert_int_equal(write_to(chained(), audit_record("login")), 0);
}

static void *write_fifty(void *failed)
{
	for (int i = 0; i < 50; i++)
		if (write_to(chained(), audit_record("login")))
			*(bool *)failed = true;
	return NULL;
}

/* Locks of fcntl's older kind belong to a process: they keep no thread out, and any close of the file drops them. */
static void threads_that_write_at_once_make_one_chain(void **state)
{
	(void)state;
	static struct lines lines;
	pthread_t threads[4];
	bool failed[4] = {false};

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_fifty, &failed[i]), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < 4; i++)
		assert_false(failed[i]);
	read_lines(path, &lines);
	assert_int_equal(lines.count, 200);
	for (size_t i = 1; i < lines.count; i++)
		if (lines.link[i].seq != (int64_t)i + 1 || !fits(&lines, i))
			fail_msg("line %zu", i + 1);
	free(lines.text);
}

static void append_raw(const char *text)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void a_line_that_was_cut_is_left_there_and_the_numbers_begin_anew(void **state)
{
	(void)state;
	static struct lines lines;

	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	append_raw("{\"time\":\"2026");
	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	read_lines(path, &lines);
	assert_int_equal(lines.count, 3);
	assert_string_equal(lines.line[1], "{\"time\":\"2026");
	assert_int_equal(lines.link[2].seq, 1);
	assert_true(fits(&lines, 2));
	free(lines.text);
}

static void lines_without_a_chain_come_before_it(void **state)
{
	(void)state;
	static struct lines lines;

	assert_int_equal(write_to(plain(path), audit_record("login")), 0);
	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	read_lines(path, &lines);
	assert_int_equal(lines.link[0].seq, 0);
	assert_int_equal(lines.link[1].seq, 1);
	assert_true(fits(&lines, 1));
	free(lines.text);
}

/* E-14: the limit on the size of files makes a short write. */
static void a_line_written_in_part_is_taken_back(void **state)
{
	(void)state;
	struct rlimit before, limit;
	struct stat about, after;

	assert_int_equal(write_to(chained(), audit_record("login")), 0);
	assert_int_equal(stat(path, &about), 0);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = (rlim_t)about.st_size + 20;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	int failure = write_to(chained(), audit_record("login"));
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(failure, 18);
	assert_non_null(strstr(status_message(), "only 20 of"));
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(after.st_size, about.st_size);
}

static void what_is_no_link_is_none(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "{}",
	    "[]",
	    "{\"seq\":0,\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\"}",
	    "{\"seq\":\"1\",\"prev\":\"0000000000000000000000000000000000000000000000000000000000000000\"}",
	    "{\"seq\":1}",
	    "{\"seq\":1,\"prev\":\"00\"}",
	    "{\"seq\":1,\"prev\":\"000000000000000000000000000000000000000000000000000000000000000G\"}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		auto_json *record = NULL;
		struct audit_link link;
		assert_int_equal(json_parse(texts[i], strlen(texts[i]), &record).failure, 0);
		if (audit_link_read(record, &link))
			fail_msg("%s", texts[i]);
	}
}

/* ---- syslog and journald ---- */

static int listen_at(int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static struct audit_trail socket_trail(enum audit_to to)
{
	return (struct audit_trail){.to = to, .socket = socket_path};
}

static json *some_record(void)
{
	json *record = audit_record("security");

	json_set_string(record, "token", "web");
	json_set_number(record, "failure", 340);
	return record;
}

/* RFC 3164, facility authpriv (10), severity notice (5). */
static void assert_is_syslog_line(const char *text)
{
	char month[4], program[32];
	int priority, day, hour, minute, second;
	long pid;

	assert_int_equal(sscanf(text, "<%d>%3s %2d %2d:%2d:%2d %31[^[][%ld]: {", &priority, month, &day, &hour, &minute,
	                        &second, program, &pid),
	                 8);
	assert_int_equal(priority, 10 * 8 + 5);
	assert_string_equal(program, "skr-pkcs11");
	assert_int_equal(pid, getpid());
	assert_non_null(strstr(text, "\"event\":\"security\""));
}

static void syslog_gets_a_datagram(void **state)
{
	(void)state;
	char text[4096];
	int fd = listen_at(SOCK_DGRAM);

	assert_int_equal(write_to(socket_trail(AUDIT_TO_SYSLOG), some_record()), 0);
	ssize_t got = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(got > 0);
	text[got] = '\0';
	assert_is_syslog_line(text);
	assert_int_equal(text[got - 1], '}');
	close(fd);
}

static void syslog_that_listens_for_streams_gets_one(void **state)
{
	(void)state;
	char text[4096];
	int fd = listen_at(SOCK_STREAM);

	assert_int_equal(write_to(socket_trail(AUDIT_TO_SYSLOG), some_record()), 0);
	int from = accept(fd, NULL, NULL);
	ssize_t got = recv(from, text, sizeof(text) - 1, 0);
	assert_true(got > 0);
	text[got] = '\0';
	assert_int_equal(text[got - 1], '\0');
	assert_is_syslog_line(text);
	close(from);
	close(fd);
}

/* Takes one field out of a message of the native protocol. */
static size_t take_field(const uint8_t *at, char *name, char *value)
{
	const uint8_t *newline = memchr(at, '\n', 64), *data = newline + 1;
	uint64_t len = 0;

	assert_non_null(newline);
	memcpy(name, at, (size_t)(newline - at));
	name[newline - at] = '\0';
	for (int i = 7; i >= 0; i--)
		len = len << 8 | data[i];
	assert_true(len < 4096);
	memcpy(value, data + 8, len);
	value[len] = '\0';
	assert_int_equal(data[8 + len], '\n');
	return (size_t)(data + 8 + len + 1 - at);
}

static void journald_gets_fields(void **state)
{
	(void)state;
	static const char *const expected[][2] = {{"MESSAGE", NULL},         {"PRIORITY", "5"},
	                                          {"SYSLOG_FACILITY", "10"}, {"SYSLOG_IDENTIFIER", "skr-pkcs11"},
	                                          {"SKR_EVENT", "security"}, {"SKR_TOKEN", "web"},
	                                          {"SKR_FAILURE", "340"}};
	uint8_t message[4096] = {0};
	char name[64], value[4096];
	auto_json *record = NULL;
	size_t at = 0;
	int fd = listen_at(SOCK_DGRAM);

	assert_int_equal(write_to(socket_trail(AUDIT_TO_JOURNALD), some_record()), 0);
	ssize_t got = recv(fd, message, sizeof(message), MSG_DONTWAIT);
	assert_true(got > 0);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		at += take_field(message + at, name, value);
		assert_string_equal(name, expected[i][0]);
		if (expected[i][1])
			assert_string_equal(value, expected[i][1]);
		else
			assert_int_equal(json_parse(value, strlen(value), &record).failure, 0);
	}
	assert_int_equal(at, got);
	close(fd);
}

static void nobody_at_the_socket_is_a_failure(void **state)
{
	(void)state;
	assert_int_equal(write_to(socket_trail(AUDIT_TO_SYSLOG), some_record()), 18);
	assert_non_null(strstr(status_message(), socket_path));
	assert_int_equal(write_to(socket_trail(AUDIT_TO_JOURNALD), some_record()), 18);
	close(listen_at(SOCK_DGRAM)); /* the socket's name stays */
	assert_int_equal(write_to(socket_trail(AUDIT_TO_JOURNALD), some_record()), 18);
}

static void a_reader_that_sleeps_costs_a_tenth_of_a_second(void **state)
{
	(void)state;
	int fd = listen_at(SOCK_DGRAM), failure = 0;
	int64_t took = 0;

	for (int i = 0; i < 2000 && !failure; i++) {
		int64_t began = monotonic_ms();
		failure = write_to(socket_trail(AUDIT_TO_JOURNALD), some_record());
		took = monotonic_ms() - began;
	}
	assert_int_equal(failure, 18);
	if (took < 100 || took > 400)
		fail_msg("%lld ms", (long long)took);
	close(fd);
}

static int start(void **state)
{
	(void)state;
	if (arena_open(ARENA_LOCK_OFF).failure || ossl_open().failure || !mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/audit", folder);
	snprintf(old_path, sizeof(old_path), "%s.1", path);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
	return 0;
}

static int stop(void **state)
{
	forget(state);
	return rmdir(folder);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_record_is_one_line_of_json),
	    TEST(records_are_appended_and_the_file_is_private),
	    TEST(without_a_trail_nothing_is_written_and_nothing_fails),
	    TEST(a_record_that_cannot_be_written_fails_with_the_number_asked_for),
	    TEST(a_symbolic_link_is_not_followed),
	    TEST(a_lost_record_leaves_the_failure_that_is_reported_alone),
	    TEST(each_line_names_the_one_before),
	    TEST(the_link_is_sha256_of_the_line_without_its_newline),
	    TEST(processes_that_write_at_once_make_one_chain),
	    TEST(a_new_file_goes_on_where_the_rotated_one_ended),
	    TEST(rotation_amid_writers_makes_no_second_branch),
	    TEST(a_writer_that_waited_follows_the_rotation),
	    TEST(a_lock_that_is_held_costs_a_tenth_of_a_second_and_the_record),
	    TEST(threads_that_write_at_once_make_one_chain),
	    TEST(a_line_that_was_cut_is_left_there_and_the_numbers_begin_anew),
	    TEST(lines_without_a_chain_come_before_it),
	    TEST(a_line_written_in_part_is_taken_back),
	    TEST(what_is_no_link_is_none),
	    TEST(syslog_gets_a_datagram),
	    TEST(syslog_that_listens_for_streams_gets_one),
	    TEST(journald_gets_fields),
	    TEST(nobody_at_the_socket_is_a_failure),
	    TEST(a_reader_that_sleeps_costs_a_tenth_of_a_second),
	};
	return cmocka_run_group_tests(tests, start, stop);
}
