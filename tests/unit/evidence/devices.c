/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three interfaces and evidence_collect against the played guest: a child of this program runs with the built
 * skr-guest-preload.so in front of libc, and asks a firmware that this program plays at the other end of the socket.
 */
#include "azure/imds.h"
#include "base/log.h"
#include "cvm_vectors.h"
#include "emulator/guest_protocol.h"
#include "evidence/endorsement.h"
#include "evidence/evidence.h"
#include "evidence/snp.h"
#include "evidence/td_quote.h"
#include "evidence/tdx.h"
#include "evidence/tsm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRIES_SUFFIX ".configfs"

/* --- The child --- */

/* What the child says of THIM: the file that SKR_TEST_THIM names. */
skr_status imds_amd_certification(struct azure *azure, json **ret)
{
	auto_buf text = BUF(64 * 1024);
	const char *path = getenv("SKR_TEST_THIM");

	(void)azure;
	if (!path)
		return FAIL(141, "no THIM in this test");
	TRY(file_read(path, &text));
	return json_parse(text.data, text.len, ret);
}

skr_status imds_td_quote(struct azure *azure, const uint8_t *report, size_t len, struct buf *ret_quote)
{
	(void)azure, (void)report, (void)len, (void)ret_quote;
	return FAIL(140, "no quote service in this test");
}

static void interrupted(int signal)
{
	(void)signal;
}

static void interrupt_every_millisecond(void)
{
	struct sigaction action = {.sa_handler = interrupted}; /* without SA_RESTART */
	struct itimerval timer = {{0, 1000}, {0, 1000}};

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static skr_status child_asks_for_a_quote(const struct snp_question *question)
{
	auto_snp_answer answer = {0};
	struct td_quote quote;

	TRY(tdx_from_tsm(question, &answer));
	TRY(td_quote_parse(answer.report.data, answer.report.len, &quote));
	printf("quote=%zu table=%zu data=%.6s ", answer.report.len, answer.table.len, (const char *)quote.report_data);
	return OK;
}

static skr_status child_asks(const char *interface, int64_t ms)
{
	struct snp_question question = {.report_data = "device", .deadline = deadline_in(ms), .want_table = true};
	auto_snp_answer answer = {0};
	struct snp_report report;

	if (strcmp(interface, "plain") == 0)
		question.want_table = false;
	if (strcmp(interface, "tdx") == 0)
		return child_asks_for_a_quote(&question);
	if (strcmp(interface, "configfs") == 0)
		TRY(snp_from_tsm(&question, &answer));
	else if (strcmp(interface, "sev") == 0)
		TRY(snp_from_sev(&question, &answer));
	else
		TRY(snp_from_sev_guest(&question, &answer));
	TRY(snp_report_parse(answer.report.data, answer.report.len, &report));
	printf("report=%zu table=%zu vmpl=%u data=%.6s ", answer.report.len, answer.table.len, (unsigned)report.vmpl,
	       (const char *)report.report_data);
	return OK;
}

static skr_status child_collects(const char *provider, const char *endorsements, int64_t ms)
{
	static const struct config config = {.tpm = "device:/dev/no-such-tpm"};
	struct token_config token = {.evidence = provider, .endorsements = endorsements};
	struct azure azure = {.config = &config, .token = &token, .deadline = deadline_in(ms)};
	auto_evidence evidence = {0};
	auto_x509s *chain = NULL;

	TRY(evidence_collect(&azure, "{\"keys\":[]}", 11, &evidence));
	TRY(certificates_from_pem(evidence.chain_pem.data, evidence.chain_pem.len, &chain));
	printf("provider=%s source=%s report=%zu chain=%d uvm=%zu ", evidence.provider, evidence.endorsement_source,
	       evidence.report.len, sk_X509_num(chain), evidence.uvm_endorsement.len);
	return OK;
}

/* child INTERFACE MS | child collect PROVIDER ENDORSEMENTS MS; one line on stdout. */
static int child(int argc, char **argv)
{
	int64_t start = monotonic_ms();
	skr_status status = ossl_open();

	if (getenv("SKR_TEST_SIGNALS"))
		interrupt_every_millisecond();
	if (!status.failure && argc > 5)
		status = child_collects(argv[3], argv[4], atoi(argv[5]));
	else if (!status.failure)
		status = child_asks(argv[2], atoi(argv[3]));
	printf("SKR-%03d ms=%d %s\n", status.failure, (int)(monotonic_ms() - start),
	       status.failure ? status_message() : "");
	return 0;
}

/* --- The firmware and its host --- */

struct firmware {
	struct hardware before, after; /* an update of the host's firmware gives it another TCB */
	int update_after;              /* so many reports */
	int table_entries;             /* certificates that the host offers */
	int answered;                  /* reports so far */
	uint64_t policy;
	uint8_t quote[GUEST_QUOTE_LIMIT]; /* a TD's, for whatever report data is asked */
	size_t quote_len;                 /* 0: the host gives an empty one */
};

static struct firmware *firmware; /* shared with the process that plays it */
static char directory[128], socket_path[160], preload[512], program[512];
static pid_t firmware_process;

static bool transfer(int fd, void *data, size_t len, bool out)
{
	for (uint8_t *at = data; len > 0;) {
		ssize_t moved = out ? send(fd, at, len, MSG_NOSIGNAL) : recv(fd, at, len, 0);
		if (moved <= 0)
			return false;
		at += moved;
		len -= (size_t)moved;
	}
	return true;
}

static void answer_quote(int fd, const struct guest_request *request)
{
	struct guest_answer answer = {.magic = GUEST_PROTOCOL_MAGIC, .report_len = (uint32_t)firmware->quote_len};

	firmware->answered++;
	memcpy(firmware->quote + 568, request->report_data, sizeof(request->report_data));
	if (transfer(fd, &answer, sizeof(answer), true))
		transfer(fd, firmware->quote, firmware->quote_len, true);
}

static void answer_one(int fd)
{
	static uint8_t table[GUEST_TABLE_LIMIT];
	uint8_t report[GUEST_REPORT_SIZE];
	struct guest_request request;
	struct guest_answer answer = {.magic = GUEST_PROTOCOL_MAGIC, .report_len = sizeof(report)};

	if (!transfer(fd, &request, sizeof(request), false) || request.magic != GUEST_PROTOCOL_MAGIC)
		return;
	if (request.kind == GUEST_QUOTE) {
		answer_quote(fd, &request);
		return;
	}
	struct hardware *hw = firmware->answered++ >= firmware->update_after ? &firmware->after : &firmware->before;
	hw->plan.policy = firmware->policy;
	make_report(hw, request.report_data, report);
	if (firmware->table_entries)
		answer.table_len = (uint32_t)make_table(hw, firmware->table_entries, table, sizeof(table));
	if (transfer(fd, &answer, sizeof(answer), true) && transfer(fd, report, sizeof(report), true))
		transfer(fd, table, answer.table_len, true);
}

static void play_firmware(int listener)
{
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			_exit(1);
		answer_one(fd);
		close(fd);
	}
}

static void start_firmware(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%.100s", socket_path);
	check(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0, "bind");
	check(listen(listener, 8) == 0, "listen");
	firmware_process = fork();
	if (firmware_process == 0)
		play_firmware(listener);
	close(listener);
}

/* The state every test starts from: a machine of one TCB, whose host offers a whole table. */
static int fresh(void **state)
{
	(void)state;
	firmware->update_after = 1000000;
	firmware->table_entries = 3;
	firmware->answered = 0;
	firmware->policy = 0;
	unsetenv("SKR_GUEST_FAULT");
	unsetenv("SKR_TEST_THIM");
	unsetenv("SKR_TEST_SIGNALS");
	unsetenv("UVM_SECURITY_CONTEXT_DIR");
	setenv("SKR_GUEST_DEVICES", "configfs,sev-guest,sev", 1);
	return 0;
}

/* --- Running children --- */

static char said[2048];   /* the child's line */
static char logged[4096]; /* what it logged */

static pid_t spawn(const char *const arguments[], int *ret_out, int *ret_err)
{
	int out[2], err[2];

	check(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0, "pipe");
	pid_t pid = fork();
	if (pid == 0) {
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		setenv("LD_PRELOAD", preload, 1);
		/* The sanitizer wants to be first; the played guest must be. */
		setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1);
		execv(program, (char *const *)arguments);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	*ret_out = out[0];
	*ret_err = err[0];
	return pid;
}

static void slurp(int fd, char *text, size_t room)
{
	size_t len = 0;

	for (ssize_t got; (got = read(fd, text + len, room - 1 - len)) > 0;)
		len += (size_t)got;
	text[len] = '\0';
	close(fd);
}

static void run(const char *const arguments[])
{
	int out, err, ended;
	pid_t pid = spawn(arguments, &out, &err);

	slurp(out, said, sizeof(said));
	slurp(err, logged, sizeof(logged));
	waitpid(pid, &ended, 0);
	if (!WIFEXITED(ended) || WEXITSTATUS(ended) != 0)
		fail_msg("the child ended with %d: %s%s", ended, said, logged);
}

static int entries_left(void)
{
	char path[256];
	int entries = 0;

	snprintf(path, sizeof(path), "%s%s", socket_path, ENTRIES_SUFFIX);
	DIR *reports = opendir(path);
	for (struct dirent *entry; reports && (entry = readdir(reports));)
		entries += strncmp(entry->d_name, "skr-", 4) == 0;
	if (reports)
		closedir(reports);
	return entries;
}

/* Each element: what the line or the log must contain. */
static void expect(const char *what, const char *first, const char *second)
{
	const char *words[] = {first, second};

	for (int i = 0; i < 2; i++)
		if (words[i] && !strstr(said, words[i]) && !strstr(logged, words[i]))
			fail_msg("%s: no '%s' in: %s%s", what, words[i], said, logged);
	if (entries_left() != 0)
		fail_msg("%s: configfs entries are left behind", what);
}

static void ask(const char *interface, const char *fault, const char *first, const char *second)
{
	const char *arguments[] = {program, "child", interface, "8000", NULL};
	char what[128];

	setenv("SKR_GUEST_FAULT", fault, 1);
	run(arguments);
	unsetenv("SKR_GUEST_FAULT");
	snprintf(what, sizeof(what), "%s with '%s'", interface, fault);
	expect(what, first, second);
}

static void collect(const char *provider, const char *endorsements, const char *first, const char *second)
{
	const char *arguments[] = {program, "child", "collect", provider, endorsements, "20000", NULL};
	char what[128];

	run(arguments);
	snprintf(what, sizeof(what), "evidence = %s, endorsements = %s", provider, endorsements);
	expect(what, first, second);
}

static int milliseconds(void)
{
	return atoi(strstr(said, "ms=") + 3);
}

/* --- The interfaces --- */

static void each_interface_gives_a_report_with_our_data(void **state)
{
	(void)state;

	ask("sev-guest", "", "SKR-000", "report=1184 ");
	assert_non_null(strstr(said, "data=device"));
	assert_null(strstr(said, "table=0"));
	ask("plain", "", "SKR-000", "table=0");
	ask("configfs", "", "SKR-000", "report=1184 ");
	assert_non_null(strstr(said, "data=device"));
	assert_null(strstr(said, "table=0"));
	ask("sev", "", "SKR-000", "report=1184 table=0");
}

static void a_host_without_certificates_gives_an_empty_table(void **state)
{
	(void)state;
	firmware->table_entries = 0;

	ask("sev-guest", "", "SKR-000", "table=0");
	assert_int_equal(firmware->answered, 1); /* and is asked once */
	ask("configfs", "", "SKR-000", "table=0");
}

static void v01_absent_interfaces_are_named(void **state)
{
	(void)state;

	ask("sev-guest", "ENOENT", "SKR-100", "/dev/sev-guest");
	ask("sev", "ENOENT", "SKR-100", "/dev/sev");
	ask("sev-guest", "ENXIO", "SKR-100", "/dev/sev-guest");
	ask("sev", "EINVAL", "SKR-100", "a host's");
	setenv("SKR_GUEST_DEVICES", "none", 1);
	ask("configfs", "", "SKR-100", "/sys/kernel/config/tsm/report");
	collect("auto", "auto", "SKR-100", "/sys/kernel/config/tsm/report");
	assert_non_null(strstr(said, "/dev/sev-guest: "));
	assert_non_null(strstr(said, "/dev/sev: "));
	collect("snp-configfs", "auto", "SKR-100", "/sys/kernel/config/tsm/report");
	assert_null(strstr(said, "/dev/sev"));
}

static void v02_a_forbidden_interface_is_named_with_its_owner(void **state)
{
	(void)state;

	ask("sev-guest", "EACCES", "SKR-101", "uid 0's and group root's (gid 0) with mode 0600");
	ask("sev", "EACCES", "SKR-101", "/dev/sev:");
	ask("configfs", "EACCES", "SKR-101", "mkdir /sys/kernel/config/tsm/report/skr-");
}

static void e19_a_hidden_interface_is_told_from_an_absent_one(void **state)
{
	(void)state;

	ask("sev-guest", "hidden", "SKR-021", "/sys/class/misc/sev-guest");
	ask("sev-guest", "EPERM", "SKR-021", "/dev/sev-guest");
	ask("configfs", "EROFS", "SKR-021", "mkdir");
}

static void v03_a_report_in_time_is_good_and_a_late_one_is_not(void **state)
{
	(void)state;
	const char *late[] = {program, "child", "sev-guest", "100", NULL};
	const char *devices[] = {"plain", "configfs", "sev"};

	for (int i = 0; i < 3; i++) {
		ask(devices[i], "sleep:300", "SKR-000", NULL);
		assert_true(milliseconds() >= 300);
		late[2] = devices[i];
		setenv("SKR_GUEST_FAULT", "sleep:300", 1);
		firmware->answered = 0;
		run(late);
		expect("late", "SKR-110", "beyond the deadline");
		assert_int_equal(firmware->answered, 1);
	}
}

static void v03_a_busy_host_is_asked_once(void **state)
{
	(void)state;

	/* The fault would let a second request through. */
	ask("sev-guest", "EIO=0/2:1", "SKR-110", "the host was busy");
	ask("plain", "EAGAIN=0/2:1", "SKR-110", "the host was busy");
}

static void v04_a_shut_channel_is_never_asked_again(void **state)
{
	(void)state;

	ask("sev-guest", "EIO=0x16/0:1", "SKR-111", "firmware error 0x16");
	ask("plain", "EIO=0/7:1", "SKR-111", "hypervisor error 0x7");
	ask("plain", "ETIMEDOUT:1", "SKR-111", "timed out");
	ask("sev", "EIO=0x1b:1", "SKR-111", "firmware error 0x1b");
	ask("configfs", "EIO:1", "SKR-111", "read outblob");
	ask("configfs", "ETIMEDOUT:1", "SKR-111", "read outblob");
	assert_int_equal(firmware->answered, 0);
	/* Nor through another interface of the same machine. */
	setenv("SKR_GUEST_FAULT", "EIO:1", 1);
	collect("auto", "auto", "SKR-111", NULL);
	assert_int_equal(firmware->answered, 0);
}

static void v05_a_disabled_channel_key_is_named(void **state)
{
	(void)state;

	ask("sev-guest", "ENOTTY:1", "SKR-112", "SNP_GET_EXT_REPORT");
	ask("sev", "ENOTTY:1", "SKR-112", NULL);
	ask("configfs", "ENOTTY:1", "SKR-112", NULL);
}

static void v06_a_table_that_never_fits_is_asked_for_twice(void **state)
{
	(void)state;

	ask("sev-guest", "cert-too-small", "SKR-113", "grew to");
	assert_int_equal(firmware->answered, 2);
	ask("sev-guest", "cert-too-small=69632", "SKR-113", "has 69632 bytes");
	assert_int_equal(firmware->answered, 3);
	/* within our limit, beyond the driver's */
	ask("sev-guest", "cert-too-small=20480", "SKR-113", "takes no certificates of 20480 bytes");
	ask("sev-guest", "cert-too-small:1", "SKR-000", "table=4096");
}

static void v07_a_busy_device_is_asked_three_times(void **state)
{
	(void)state;

	ask("plain", "EBUSY:1", "SKR-000", NULL);
	assert_true(milliseconds() >= 600);
	ask("plain", "EAGAIN", "SKR-114", "temporarily unavailable");
	assert_true(milliseconds() >= 2500 && milliseconds() < 7500);
	assert_int_equal(firmware->answered, 1);

	const char *hurried[] = {program, "child", "plain", "300", NULL};
	setenv("SKR_GUEST_FAULT", "EBUSY", 1);
	run(hurried);
	expect("no time to wait", "SKR-114", NULL);
	assert_true(milliseconds() < 600); /* the shortest wait is 640 ms */
}

static void v08_interruptions_are_repeated_while_time_is_left(void **state)
{
	(void)state;
	const char *devices[] = {"plain", "configfs", "sev"};
	const char *hurried[] = {program, "child", "plain", "200", NULL};

	for (int i = 0; i < 3; i++)
		ask(devices[i], "EINTR:40", "SKR-000", NULL);
	setenv("SKR_GUEST_FAULT", "EINTR", 1);
	run(hurried);
	expect("plain", "SKR-114", "interrupted until the deadline");
	hurried[2] = "configfs";
	run(hurried);
	expect("configfs", "SKR-120", "interrupted until the deadline");
	setenv("SKR_TEST_SIGNALS", "yes", 1);
	for (int i = 0; i < 3; i++)
		ask(devices[i], "", "SKR-000", NULL);
}

static void v09_what_is_no_report_is_refused(void **state)
{
	(void)state;
	const char *devices[] = {"plain", "sev-guest", "configfs", "sev"};

	for (int i = 0; i < 4; i++) {
		ask(devices[i], "short-report", "SKR-116", "1000 bytes");
		ask(devices[i], "flip=1", "SKR-116", "version");
		ask(devices[i], "flip=0x34", "SKR-116", "algorithm");
		if (i != 2)
			ask(devices[i], "status=0x16", "SKR-116", "status 0x16");
	}
	ask("configfs", "short-report", "SKR-116", "outblob has 1000 bytes");
}

/* --- configfs-tsm alone --- */

static void v10_a_busy_configfs_is_tried_three_times_with_new_names(void **state)
{
	(void)state;

	ask("configfs", "mkdir-EEXIST:1", "SKR-000", NULL);
	ask("configfs", "mkdir-EBUSY:2", "SKR-000", NULL);
	ask("configfs", "EBUSY:1", "SKR-000", NULL);
	ask("configfs", "EAGAIN:1", "SKR-000", NULL);
	ask("configfs", "mkdir-EEXIST", "SKR-120", "File exists");
	assert_true(milliseconds() >= 2500);
}

static void v10_another_writer_is_noticed(void **state)
{
	(void)state;

	ask("configfs", "generation-moved:1", "SKR-000", NULL);
	ask("configfs", "generation-moved", "SKR-120", "generation went from 0 to");
}

static void v10_a_missing_or_other_provider_is_refused(void **state)
{
	(void)state;

	ask("configfs", "ENXIO", "SKR-122", "mkdir");
	ask("configfs", "provider=tdx_guest", "SKR-122", "'tdx_guest', not sev_guest");
}

static void v11_the_entry_of_a_killed_process_is_removed_by_the_next(void **state)
{
	(void)state;
	const char *arguments[] = {program, "child", "configfs", "60000", NULL};
	int out, err;

	setenv("SKR_GUEST_FAULT", "sleep:60000", 1);
	pid_t pid = spawn(arguments, &out, &err);
	for (int i = 0; i < 500 && entries_left() == 0; i++)
		usleep(10 * 1000);
	assert_int_equal(entries_left(), 1);

	/* Alive, it keeps its entry while others come and go. */
	const char *other[] = {program, "child", "configfs", "8000", NULL};
	unsetenv("SKR_GUEST_FAULT");
	run(other);
	assert_non_null(strstr(said, "SKR-000"));
	assert_int_equal(entries_left(), 1);

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(out);
	close(err);
	ask("configfs", "", "SKR-000", NULL); /* which looks for what is left */
}

static void v11_entries_of_others_stay(void **state)
{
	(void)state;
	char foreign[300], living[300], stat_line[1024], ns[64] = "";
	struct stat about;
	unsigned long long start = 0;

	FILE *file = fopen("/proc/self/stat", "r");
	assert_non_null(fgets(stat_line, sizeof(stat_line), file));
	fclose(file);
	sscanf(strrchr(stat_line, ')'),
	       ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &start);
	stat("/proc/self/ns/pid", &about);
	snprintf(ns, sizeof(ns), "%lu", (unsigned long)about.st_ino);
	snprintf(foreign, sizeof(foreign), "%s%s/somebody-1-2-3", socket_path, ENTRIES_SUFFIX);
	snprintf(living, sizeof(living), "%s%s/skr-%d-%llu-%s-0123456789abcdef", socket_path, ENTRIES_SUFFIX,
	         (int)getpid(), start, ns);
	mkdir(foreign, 0700);
	mkdir(living, 0700);
	const char *arguments[] = {program, "child", "configfs", "8000", NULL};
	run(arguments);
	assert_int_equal(access(foreign, F_OK), 0);
	assert_int_equal(access(living, F_OK), 0);
	assert_int_equal(rmdir(foreign), 0);
	assert_int_equal(rmdir(living), 0);
}

/* --- The same entry's life for TDs --- */

/* A quote that was captured, with our report data in place of its own. */
static int fresh_td(void **state)
{
	auto_buf quote = BUF(GUEST_QUOTE_LIMIT);

	read_cvm("tdx-with-quote/td-quote.bin", &quote);
	memcpy(firmware->quote, quote.data, quote.len);
	memset(firmware->quote + quote.len, 0, sizeof(firmware->quote) - quote.len);
	firmware->quote_len = quote.len;
	fresh(state);
	setenv("SKR_GUEST_DEVICES", "configfs-tdx", 1);
	return 0;
}

static void a_td_gives_a_quote_with_our_data(void **state)
{
	(void)state;

	ask("tdx", "", "SKR-000", "quote=5006 table=0 data=device");
	firmware->quote_len = GUEST_QUOTE_LIMIT;
	ask("tdx", "", "SKR-000", "quote=16384 table=0 data=device");
	assert_int_equal(firmware->answered, 2);
}

static void v10_another_provider_than_tdx_guest_is_refused(void **state)
{
	(void)state;

	ask("tdx", "provider=sev_guest", "SKR-122", "'sev_guest', not tdx_guest");
	ask("tdx", "provider=tdx_guest2", "SKR-122", "not tdx_guest");
	ask("tdx", "provider=tdx", "SKR-122", "not tdx_guest");
	ask("configfs", "", "SKR-122", "'tdx_guest', not sev_guest");
	assert_int_equal(firmware->answered, 0); /* another driver is not asked */
}

static void v10_a_td_waits_and_gives_up_as_others_do(void **state)
{
	(void)state;

	ask("tdx", "EBUSY:1", "SKR-000", NULL);
	ask("tdx", "mkdir-EEXIST:1", "SKR-000", NULL);
	ask("tdx", "EINTR:40", "SKR-000", NULL);
	ask("tdx", "generation-moved", "SKR-120", "generation went from 0 to");
	ask("tdx", "EACCES", "SKR-101", "mkdir /sys/kernel/config/tsm/report/skr-");
	setenv("SKR_GUEST_DEVICES", "none", 1);
	ask("tdx", "", "SKR-100", "/sys/kernel/config/tsm/report");
}

static void v20_a_host_that_gives_no_quote_is_named(void **state)
{
	(void)state;

	ask("tdx", "EIO", "SKR-140", "read outblob");
	ask("tdx", "ETIMEDOUT", "SKR-240", "read outblob");
	assert_int_equal(firmware->answered, 0);
	firmware->quote_len = 0;
	ask("tdx", "", "SKR-140", "outblob is empty");
	firmware->quote_len = 1000;
	ask("tdx", "", "SKR-116", "signature data");
}

/* --- evidence_collect --- */

static char *text_file(const char *name, const struct buf *text)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	fwrite(text->data, 1, text->len, file);
	fclose(file);
	return path;
}

static void write_thim(const struct hardware *hw, const char *tcbm)
{
	auto_buf text = BUF(64 * 1024);

	make_thim(hw, tcbm, &text);
	setenv("SKR_TEST_THIM", text_file("thim.json", &text), 1);
}

static void write_context(const struct hardware *hw, const char *tcbm)
{
	auto_buf text = BUF(64 * 1024), base64 = BUF(96 * 1024), reference = BUF(64 * 1024);

	make_thim(hw, tcbm, &text);
	assert_ok(base64_encode(text.data, text.len, &base64));
	text_file("host-amd-cert-base64", &base64);
	read_vector("security-context-sample/reference-info-base64", &reference);
	text_file("reference-info-base64", &reference);
	setenv("UVM_SECURITY_CONTEXT_DIR", directory, 1);
}

static char tcbm_before[17], tcbm_after[17];

static void the_interfaces_are_tried_in_order(void **state)
{
	(void)state;

	collect("auto", "auto", "SKR-000", "provider=snp-configfs source=report report=1184 chain=3 uvm=0");
	collect("snp", "report", "SKR-000", "provider=snp-configfs");
	collect("snp-ioctl", "auto", "SKR-000", "provider=snp-ioctl source=report");
	setenv("SKR_GUEST_DEVICES", "sev-guest,sev", 1);
	collect("auto", "auto", "SKR-000", "provider=snp-ioctl source=report");
	setenv("SKR_GUEST_DEVICES", "sev", 1);
	write_thim(&firmware->before, tcbm_before);
	collect("auto", "auto", "SKR-000", "provider=snp-ioctl-5 source=thim");
	collect("snp-ioctl", "thim", "SKR-000", "provider=snp-ioctl-5 source=thim");
}

static void an_interface_that_cannot_be_used_gives_way_to_the_next(void **state)
{
	(void)state;

	setenv("SKR_GUEST_FAULT", "mkdir-EROFS", 1);
	collect("auto", "auto", "SKR-000", "provider=snp-ioctl ");
	setenv("SKR_GUEST_FAULT", "mkdir-EACCES", 1);
	collect("auto", "auto", "SKR-000", "provider=snp-ioctl ");
	setenv("SKR_GUEST_FAULT", "provider=tdx_guest", 1);
	collect("auto", "auto", "SKR-000", "provider=snp-ioctl ");
	collect("snp-configfs", "auto", "SKR-122", NULL);
	/* What refuses says more than what is absent. */
	setenv("SKR_GUEST_FAULT", "EACCES", 1);
	setenv("SKR_GUEST_DEVICES", "sev-guest", 1);
	collect("auto", "auto", "SKR-101", "/dev/sev-guest");
}

static void endorsements_come_from_where_they_are(void **state)
{
	(void)state;

	firmware->table_entries = 0;
	collect("auto", "auto", "SKR-141", NULL);
	collect("auto", "report", "SKR-118", "endorsements = report");
	collect("auto", "security-context", "SKR-118", NULL);
	write_thim(&firmware->before, tcbm_before);
	collect("auto", "auto", "SKR-000", "source=thim");
	firmware->table_entries = 1; /* a table without ASK and ARK */
	collect("auto", "auto", "SKR-000", "source=thim");
	write_context(&firmware->before, tcbm_before);
	collect("auto", "auto", "SKR-000", "source=security-context");
	assert_null(strstr(said, "uvm=0"));
	collect("auto", "thim", "SKR-000", "source=thim");
	assert_null(strstr(said, "uvm=0")); /* the reference info is passed on whoever vouches for the chip */
}

/* An extended request is not made where nothing needs it: nobody knows what Azure's hosts answer. */
static void no_table_is_asked_for_where_the_security_context_has_certificates(void **state)
{
	(void)state;

	write_context(&firmware->before, tcbm_before);
	setenv("SKR_GUEST_FAULT", "cert-too-small", 1); /* what only extended requests meet */
	collect("snp-ioctl", "auto", "SKR-000", "source=security-context");
	collect("snp-ioctl", "security-context", "SKR-000", "source=security-context");
	collect("snp-ioctl", "report", "SKR-113", NULL);
}

static void v22_stale_endorsements_are_refreshed_from_thim(void **state)
{
	(void)state;

	write_context(&firmware->after, tcbm_after); /* of another firmware than the report */
	write_thim(&firmware->before, tcbm_before);
	collect("auto", "auto", "SKR-000", "source=thim");
	assert_int_equal(firmware->answered, 1);
}

static void v22_a_firmware_updated_meanwhile_costs_one_new_report(void **state)
{
	(void)state;

	firmware->update_after = 1;
	firmware->table_entries = 0;
	write_context(&firmware->before, tcbm_after);
	write_thim(&firmware->after, tcbm_after);
	collect("auto", "auto", "SKR-000", "source=thim");
	assert_int_equal(firmware->answered, 2);
}

static void v22_endorsements_that_never_match_are_refused_with_both_tcbs(void **state)
{
	(void)state;

	firmware->table_entries = 0;
	write_thim(&firmware->after, tcbm_after);
	collect("auto", "auto", "SKR-142", tcbm_before);
	assert_non_null(strstr(said, tcbm_after));
	assert_int_equal(firmware->answered, 2);
	/* tcbm says one thing, the certificate another */
	write_thim(&firmware->after, tcbm_before);
	collect("auto", "auto", "SKR-142", "the certificate (thim) is for TCB");
	write_thim(&firmware->before, tcbm_after);
	collect("auto", "auto", "SKR-142", "are for TCB");
	write_context(&firmware->after, tcbm_after);
	unsetenv("SKR_TEST_THIM");
	collect("auto", "auto", "SKR-142", "no newer ones");
}

static void v23_thim_garbage_is_refused(void **state)
{
	(void)state;
	auto_buf text = BUF(256);

	firmware->table_entries = 0;
	assert_ok(buf_append_text(&text, "{\"vcekCert\":\"no PEM\",\"certificateChain\":\"none\"}"));
	setenv("SKR_TEST_THIM", text_file("thim.json", &text), 1);
	collect("auto", "auto", "SKR-143", "no PEM certificate");
}

/* I-34 */
static void evidence_bound_to_other_data_is_never_given(void **state)
{
	(void)state;

	setenv("SKR_GUEST_FAULT", "report-data:2", 1); /* the question for the table's size counts */
	collect("snp-ioctl", "auto", "SKR-115", NULL); /* a fresh report made it good, as the log says: */
	assert_non_null(strstr(said, "SKR-000"));
	setenv("SKR_GUEST_FAULT", "report-data", 1);
	collect("auto", "auto", "SKR-115", "other report data");
	assert_null(strstr(said, "SKR-000"));
}

static void v09_a_report_that_does_not_verify_is_never_given(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	setenv("SKR_GUEST_FAULT", "flip=0x90", 1);
	collect("snp-ioctl", "auto", "SKR-117", "not signed by");
	setenv("SKR_GUEST_FAULT", "flip=0x2a0", 1);
	collect("snp-configfs", "auto", "SKR-117", "not signed by");
	unsetenv("SKR_GUEST_FAULT");
	/* endorsements of another machine of the same TCB */
	plan.other_chip = true;
	auto_hardware other = make_hardware(&plan);
	write_thim(&other, tcbm_before);
	collect("auto", "thim", "SKR-117", "another chip");
}

static void v09_a_debug_policy_is_warned_of(void **state)
{
	(void)state;

	firmware->policy = 0xb0000;
	collect("auto", "auto", "SKR-000", "lets its host debug it");
	firmware->policy = 0x3001f;
	collect("auto", "auto", "SKR-000", NULL);
	assert_null(strstr(logged, "debug"));
}

static void a_broken_security_context_is_refused(void **state)
{
	(void)state;
	auto_buf text = BUF(64);

	setenv("UVM_SECURITY_CONTEXT_DIR", "/nonexistent", 1);
	collect("auto", "auto", "SKR-144", "/nonexistent");
	write_context(&firmware->before, tcbm_before);
	assert_ok(buf_append_text(&text, "bm8gQ09TRQ=="));
	text_file("reference-info-base64", &text);
	collect("auto", "auto", "SKR-144", "no COSE_Sign1");
	write_context(&firmware->before, tcbm_before);
	text_file("host-amd-cert-base64", &text);
	collect("auto", "auto", "SKR-144", "host-amd-cert");
}

/* --- Surroundings --- */

static int set_up(void **state)
{
	(void)state;
	struct hardware_plan plan = milan;

	firmware = mmap(NULL, sizeof(*firmware), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	firmware->before = make_hardware(&plan);
	tcbm_of(plan.tcb, tcbm_before);
	plan.tcb[7] = 0xdb; /* above 127 */
	firmware->after = make_hardware(&plan);
	tcbm_of(plan.tcb, tcbm_after);

	snprintf(directory, sizeof(directory), "/tmp/skr-devices-XXXXXX");
	check(mkdtemp(directory) != NULL, "mkdtemp");
	snprintf(socket_path, sizeof(socket_path), "%s/hardware.sock", directory);
	setenv("SKR_GUEST_SOCKET", socket_path, 1);
	start_firmware();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	const char *names[] = {"hardware.sock", "thim.json", "host-amd-cert-base64", "reference-info-base64"};
	char path[300];

	kill(firmware_process, SIGTERM);
	waitpid(firmware_process, NULL, 0);
	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s%s", socket_path, ENTRIES_SUFFIX);
	rmdir(path);
	hardware_done(&firmware->before);
	hardware_done(&firmware->after);
	return rmdir(directory);
}

static bool find_programs(void)
{
	const char *given = getenv("SKR_GUEST_PRELOAD");
	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);

	if (len <= 0)
		return false;
	program[len] = '\0';
	snprintf(preload, sizeof(preload), "%s", given ? given : program);
	for (int up = 0; !given && up < 2; up++)
		*strrchr(preload, '/') = '\0';
	if (!given)
		strncat(preload, "/src/skr-guest-preload.so", sizeof(preload) - strlen(preload) - 1);
	if (access(preload, R_OK) == 0)
		return true;
	fprintf(stderr, "%s is not built; name it in SKR_GUEST_PRELOAD\n", preload);
	return false;
}

#define TEST(name) cmocka_unit_test_setup(name, fresh)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_interface_gives_a_report_with_our_data),
	    TEST(a_host_without_certificates_gives_an_empty_table),
	    TEST(v01_absent_interfaces_are_named),
	    TEST(v02_a_forbidden_interface_is_named_with_its_owner),
	    TEST(e19_a_hidden_interface_is_told_from_an_absent_one),
	    TEST(v03_a_report_in_time_is_good_and_a_late_one_is_not),
	    TEST(v03_a_busy_host_is_asked_once),
	    TEST(v04_a_shut_channel_is_never_asked_again),
	    TEST(v05_a_disabled_channel_key_is_named),
	    TEST(v06_a_table_that_never_fits_is_asked_for_twice),
	    TEST(v07_a_busy_device_is_asked_three_times),
	    TEST(v08_interruptions_are_repeated_while_time_is_left),
	    TEST(v09_what_is_no_report_is_refused),
	    TEST(v10_a_busy_configfs_is_tried_three_times_with_new_names),
	    TEST(v10_another_writer_is_noticed),
	    TEST(v10_a_missing_or_other_provider_is_refused),
	    TEST(v11_the_entry_of_a_killed_process_is_removed_by_the_next),
	    TEST(v11_entries_of_others_stay),
	    cmocka_unit_test_setup(a_td_gives_a_quote_with_our_data, fresh_td),
	    cmocka_unit_test_setup(v10_another_provider_than_tdx_guest_is_refused, fresh_td),
	    cmocka_unit_test_setup(v10_a_td_waits_and_gives_up_as_others_do, fresh_td),
	    cmocka_unit_test_setup(v20_a_host_that_gives_no_quote_is_named, fresh_td),
	    TEST(the_interfaces_are_tried_in_order),
	    TEST(an_interface_that_cannot_be_used_gives_way_to_the_next),
	    TEST(endorsements_come_from_where_they_are),
	    TEST(no_table_is_asked_for_where_the_security_context_has_certificates),
	    TEST(v22_stale_endorsements_are_refreshed_from_thim),
	    TEST(v22_a_firmware_updated_meanwhile_costs_one_new_report),
	    TEST(v22_endorsements_that_never_match_are_refused_with_both_tcbs),
	    TEST(v23_thim_garbage_is_refused),
	    TEST(evidence_bound_to_other_data_is_never_given),
	    TEST(v09_a_report_that_does_not_verify_is_never_given),
	    TEST(v09_a_debug_policy_is_warned_of),
	    TEST(a_broken_security_context_is_refused),
	};

	log_open("stderr", LOG_LEVEL_INFO, "test");
	if (argc > 3 && strcmp(argv[1], "child") == 0)
		return child(argc, argv);
	if (ossl_open().failure || !find_programs())
		return 1;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
