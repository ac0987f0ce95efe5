/* SPDX-License-Identifier: Apache-2.0 */
/* clang-format off */
/*
 * The guest's hardware interfaces, played to an unmodified program: LD_PRELOAD=skr-guest-preload.so (docs/emulator.md).
 *
 *   SKR_GUEST_SOCKET   DIR/hardware.sock of skr-emulator, which makes the reports. Without it this library does nothing.
 *   SKR_GUEST_DEVICES  which of sev-guest, sev, configfs exist, separated by commas; default sev-guest. Those not named
 *                      are whatever the machine has. configfs-tdx in place of configfs: with provider tdx_guest, and
 *                      outblob is a TD's quote. tpm: /dev/tpmrm0 and /dev/tpm0. event-log: the TPM's in securityfs.
 *   SKR_GUEST_TPM        port of the emulator's vTPM, for tpm.
 *   SKR_GUEST_EVENT_LOG  DIR/binary_bios_measurements, for event-log.
 *   SKR_GUEST_FAULT    KIND[=VALUE][:TIMES], separated by commas; without TIMES for ever. Kinds:
 *     ENOENT EACCES EPERM EROFS ENXIO   opening a device, or making a configfs entry, fails so
 *     mkdir-EEXIST mkdir-EBUSY mkdir-EINTR mkdir-EACCES mkdir-EPERM mkdir-EROFS mkdir-ENXIO   the latter alone
 *     EIO[=FIRMWARE/HYPERVISOR] EBUSY EAGAIN EINTR ENOTTY ETIMEDOUT EINVAL   the request (ioctl, read of outblob) fails so
 *     tpm-ENOENT tpm-EACCES tpm-EPERM tpm-EBUSY   opening the TPM's device alone
 *     event-log-ENOENT event-log-EACCES   opening the event log
 *     hidden            /dev/sev-guest is not there, though /sys/class/misc/sev-guest is
 *     sleep:MS          each request takes so long
 *     cert-too-small[=BYTES]   the host's certificates never fit, or need so much room
 *     report-data       the report answers another question (one bit of its report data is flipped)
 *     flip=OFFSET       one bit of the report's byte at OFFSET is flipped
 *     status=N          the firmware refuses with status N
 *     short-report      the report ends 184 bytes early
 *     generation-moved  another writer uses the same configfs entry
 *     provider=NAME     configfs names another provider
 *
 * Seen are open, openat, ioctl, read, mkdir, rmdir, stat, statx, access and opendir of libc, so not stdio streams on these
 * paths, nor programs that make system calls by themselves; and outblob has to be read through the descriptor that open
 * gave. A configfs entry is a directory below SKR_GUEST_SOCKET.configfs; it stays there when its process is killed, as in
 * the kernel.
 */
/* clang-format on */
#undef _FORTIFY_SOURCE /* it would define the functions that are defined here */
#include "emulator/guest_protocol.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EXPORT       __attribute__((visibility("default")))
#define REPORTS      "/sys/kernel/config/tsm/report"
#define SYSFS_DEVICE "/sys/class/misc/sev-guest"
#define PAGE         4096U

/* libc's own function of the same name. */
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* --- What is played, and which faults --- */

enum { FAULTS_MAX = 16, FOR_EVER = -1 };

struct fault {
	char kind[24];
	char value[32];
	int times;
};

static struct {
	char socket[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char entries[PATH_MAX]; /* where configfs entries are kept */
	bool sev_guest, sev, configfs;
	bool tdx;                 /* configfs is a TD's */
	uint16_t tpm;             /* port; 0: there is no device */
	char event_log[PATH_MAX]; /* "": there is none */
	struct fault faults[FAULTS_MAX];
	int fault_count;
} played;

static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

static void parse_fault(char *text)
{
	struct fault fault = {.times = FOR_EVER};

	char *times = strchr(text, ':');
	if (times) {
		*times++ = '\0';
		fault.times = atoi(times);
	}
	char *value = strchr(text, '=');
	if (value) {
		*value++ = '\0';
		snprintf(fault.value, sizeof(fault.value), "%s", value);
	}
	snprintf(fault.kind, sizeof(fault.kind), "%s", text);
	if (played.fault_count < FAULTS_MAX)
		played.faults[played.fault_count++] = fault;
}

static void parse_list(const char *variable, const char *otherwise, void (*item)(char *))
{
	const char *text = getenv(variable);
	char list[512];
	char *rest = list;

	snprintf(list, sizeof(list), "%s", text ? text : otherwise);
	for (char *word; (word = strsep(&rest, ","));)
		if (*word)
			item(word);
}

static void parse_device(char *name)
{
	played.sev_guest |= strcmp(name, "sev-guest") == 0;
	played.sev |= strcmp(name, "sev") == 0;
	played.tdx |= strcmp(name, "configfs-tdx") == 0;
	played.configfs |= played.tdx || strcmp(name, "configfs") == 0;
	if (strcmp(name, "tpm") == 0 && getenv("SKR_GUEST_TPM"))
		played.tpm = (uint16_t)atoi(getenv("SKR_GUEST_TPM"));
	if (strcmp(name, "event-log") == 0 && getenv("SKR_GUEST_EVENT_LOG"))
		snprintf(played.event_log, sizeof(played.event_log), "%s", getenv("SKR_GUEST_EVENT_LOG"));
}

static void start(void)
{
	const char *socket_path = getenv("SKR_GUEST_SOCKET");

	if (!socket_path || !*socket_path || strlen(socket_path) >= sizeof(played.socket))
		return;
	snprintf(played.socket, sizeof(played.socket), "%s", socket_path);
	parse_list("SKR_GUEST_DEVICES", "sev-guest", parse_device);
	parse_list("SKR_GUEST_FAULT", "", parse_fault);
	snprintf(played.entries, sizeof(played.entries), "%s.configfs", played.socket);
	if (played.configfs)
		syscall(SYS_mkdirat, AT_FDCWD, played.entries, 0700);
}

static void started(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int saved = errno;

	pthread_once(&once, start);
	errno = saved;
}

/* The fault's value ("" if it has none) if one of this kind is due, which counts it; else NULL. */
static const char *due(const char *kind)
{
	const char *value = NULL;

	pthread_mutex_lock(&fault_lock);
	for (int i = 0; i < played.fault_count && !value; i++) {
		struct fault *fault = &played.faults[i];
		if (strcmp(fault->kind, kind) != 0 || fault->times == 0)
			continue;
		if (fault->times > 0)
			fault->times--;
		value = fault->value;
	}
	pthread_mutex_unlock(&fault_lock);
	return value;
}

static const struct error {
	const char *name;
	int number;
} at_open[] = {{"ENOENT", ENOENT}, {"EACCES", EACCES}, {"EPERM", EPERM}, {"EROFS", EROFS}, {"ENXIO", ENXIO}, {0}},
  at_mkdir[] = {{"mkdir-EEXIST", EEXIST}, {"mkdir-EBUSY", EBUSY}, {"mkdir-EINTR", EINTR}, {"mkdir-EACCES", EACCES},
                {"mkdir-EPERM", EPERM},   {"mkdir-EROFS", EROFS}, {"mkdir-ENXIO", ENXIO}, {0}},
  at_tpm[] = {{"tpm-ENOENT", ENOENT}, {"tpm-EACCES", EACCES}, {"tpm-EPERM", EPERM}, {"tpm-EBUSY", EBUSY}, {0}},
  at_event_log[] = {{"event-log-ENOENT", ENOENT}, {"event-log-EACCES", EACCES}, {0}},
  at_request[] = {{"EIO", EIO},       {"EBUSY", EBUSY},         {"EAGAIN", EAGAIN}, {"EINTR", EINTR},
                  {"ENOTTY", ENOTTY}, {"ETIMEDOUT", ETIMEDOUT}, {"EINVAL", EINVAL}, {0}};

/* The errno of the first fault of the table that is due; 0: none. */
static int due_error(const struct error *errors, const char **ret_value)
{
	for (; errors->name; errors++) {
		const char *value = due(errors->name);
		if (!value)
			continue;
		if (ret_value)
			*ret_value = value;
		return errors->number;
	}
	return 0;
}

/* sleep:MS has its milliseconds where others have how often. */
static void sleep_if_due(void)
{
	for (int i = 0; i < played.fault_count; i++) {
		if (strcmp(played.faults[i].kind, "sleep") != 0)
			continue;
		struct timespec time = {played.faults[i].times / 1000, played.faults[i].times % 1000 * 1000000L};
		nanosleep(&time, NULL);
	}
}

/* --- The secure processor at the other end of the socket --- */

struct firmware_answer {
	uint32_t status, report_len, table_len;
	uint8_t report[GUEST_QUOTE_LIMIT]; /* or a quote */
	uint8_t table[GUEST_TABLE_LIMIT];
};
_Static_assert(GUEST_QUOTE_LIMIT >= GUEST_REPORT_SIZE, "room for both");

static bool transfer(int fd, void *data, size_t len, bool out)
{
	for (uint8_t *at = data; len > 0;) {
		ssize_t moved = out ? send(fd, at, len, MSG_NOSIGNAL) : recv(fd, at, len, 0);
		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return false;
		at += moved;
		len -= (size_t)moved;
	}
	return true;
}

static bool converse(int fd, struct guest_request *request, struct firmware_answer *ret)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct guest_answer answer;
	size_t limit = request->kind == GUEST_QUOTE ? GUEST_QUOTE_LIMIT : GUEST_REPORT_SIZE;

	memcpy(address.sun_path, played.socket, sizeof(address.sun_path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return false;
	if (!transfer(fd, request, sizeof(*request), true) || !transfer(fd, &answer, sizeof(answer), false))
		return false;
	if (answer.magic != GUEST_PROTOCOL_MAGIC || answer.report_len > limit || answer.table_len > sizeof(ret->table))
		return false;
	ret->status = answer.status;
	ret->report_len = answer.report_len;
	ret->table_len = answer.table_len;
	return transfer(fd, ret->report, answer.report_len, false) && transfer(fd, ret->table, answer.table_len, false);
}

static void spoil(struct firmware_answer *answer)
{
	const char *value;

	if (due("report-data"))
		answer->report[played.tdx ? 568 : 0x50] ^= 1;
	value = due("flip");
	if (value)
		answer->report[strtoul(value, NULL, 0) % sizeof(answer->report)] ^= 1;
	if (due("short-report") && answer->report_len >= 184)
		answer->report_len -= 184;
	value = due("status");
	if (value) {
		answer->status = (uint32_t)strtoul(value, NULL, 0);
		answer->report_len = 0;
		memset(answer->report, 0, sizeof(answer->report));
	}
}

static bool ask_firmware(enum guest_request_kind kind, const uint8_t report_data[64], uint32_t vmpl,
                         struct firmware_answer *ret)
{
	struct guest_request request = {.magic = GUEST_PROTOCOL_MAGIC, .kind = kind, .vmpl = vmpl};

	memset(ret, 0, sizeof(*ret));
	memcpy(request.report_data, report_data, sizeof(request.report_data));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool done = fd >= 0 && converse(fd, &request, ret);
	if (fd >= 0)
		REAL(close)(fd);
	if (!done) {
		dprintf(STDERR_FILENO, "skr-guest-preload: no answer at %s: is skr-emulator running?\n", played.socket);
		return false;
	}
	spoil(ret);
	return true;
}

/* --- Descriptors of ours --- */

enum kind { NOT_OURS, SEV_GUEST, SEV, INBLOB, OUTBLOB /* auxblob too */ };

/* A number is ours only as long as it still names the file that we opened: programs close in many ways. */
struct descriptor {
	enum kind kind;
	dev_t device;
	ino_t inode;
	char entry[PATH_MAX]; /* of INBLOB and OUTBLOB */
};
static struct descriptor *descriptors[1024];
#define DESCRIPTORS ((int)(sizeof(descriptors) / sizeof(descriptors[0])))

static int fd_stat(int fd, struct stat *about)
{
	return (int)syscall(SYS_fstat, fd, about);
}

static struct descriptor *ours(int fd)
{
	struct stat about;
	int saved = errno;
	struct descriptor *d = fd >= 0 && fd < DESCRIPTORS ? descriptors[fd] : NULL;

	if (d &&
	    (d->kind == NOT_OURS || fd_stat(fd, &about) != 0 || about.st_dev != d->device || about.st_ino != d->inode))
		d = NULL;
	errno = saved;
	return d;
}

static int remember(int fd, enum kind kind, const char *entry)
{
	struct stat about;

	if (fd < 0 || fd >= DESCRIPTORS || fd_stat(fd, &about) != 0)
		return fd;
	if (!descriptors[fd])
		descriptors[fd] = calloc(1, sizeof(*descriptors[fd]));
	if (!descriptors[fd])
		return fd;
	*descriptors[fd] = (struct descriptor){.kind = kind, .device = about.st_dev, .inode = about.st_ino};
	snprintf(descriptors[fd]->entry, sizeof(descriptors[fd]->entry), "%s", entry);
	return fd;
}

/* --- /dev/sev-guest and /dev/sev --- */

static bool is_sev_guest(const char *path)
{
	return played.sev_guest && strcmp(path, "/dev/sev-guest") == 0;
}

static bool is_device(const char *path)
{
	return is_sev_guest(path) || (played.sev && strcmp(path, "/dev/sev") == 0);
}

static int open_device(const char *path, int flags)
{
	int error = is_sev_guest(path) && due("hidden") ? ENOENT : due_error(at_open, NULL);

	if (error) {
		errno = error;
		return -1;
	}
	/* Any file of its own will do. */
	int fd = memfd_create(path, flags & O_CLOEXEC ? MFD_CLOEXEC : 0);
	return remember(fd, is_sev_guest(path) ? SEV_GUEST : SEV, "");
}

/* --- /dev/tpmrm0 and the event log --- */

#define EVENT_LOG "/sys/kernel/security/tpm0/binary_bios_measurements"

static bool is_tpm(const char *path)
{
	return played.tpm && (strcmp(path, "/dev/tpmrm0") == 0 || strcmp(path, "/dev/tpm0") == 0);
}

static bool is_event_log(const char *path)
{
	return *played.event_log && strcmp(path, EVENT_LOG) == 0;
}

/* A connection is enough of a device: one write is a command, and an answer comes in one piece (the relay's). */
static int open_tpm(int flags)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons(played.tpm), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint8_t greeting = GUEST_TPM_GREETING;
	int one = 1, error = due_error(at_tpm, NULL);

	if (error) {
		errno = error;
		return -1;
	}
	int fd = socket(AF_INET, SOCK_STREAM | (flags & O_CLOEXEC ? SOCK_CLOEXEC : 0), 0);
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 || !transfer(fd, &greeting, 1, true)) {
		REAL(close)(fd);
		errno = EBUSY; /* the emulator refuses, or has gone */
		return -1;
	}
	if (flags & O_NONBLOCK)
		fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
	return fd;
}

static int open_event_log(int flags)
{
	int error = due_error(at_event_log, NULL);

	if (error) {
		errno = error;
		return -1;
	}
	return (int)syscall(SYS_openat, AT_FDCWD, played.event_log, flags, 0);
}

/* Linux, include/uapi/linux/sev-guest.h, as reference/snp-evidence sections 4.1 and 4.2 have it. */
struct report_request {
	uint8_t user_data[64];
	uint32_t vmpl;
	uint8_t reserved[28];
};
struct extended_request {
	struct report_request data;
	uint64_t certs_address;
	uint32_t certs_len;
};
struct guest_ioctl {
	uint8_t msg_version;
	uint64_t req_data, resp_data;
	uint32_t fw_error, vmm_error;
};
struct sev_ioctl {
	uint8_t req_msg_type, rsp_msg_type, msg_version;
	uint16_t request_len;
	uint64_t request_uaddr;
	uint16_t response_len;
	uint64_t response_uaddr;
	uint32_t error;
};
_Static_assert(sizeof(struct report_request) == 96 && sizeof(struct extended_request) == 112, "requests");
_Static_assert(sizeof(struct guest_ioctl) == 32 && sizeof(struct sev_ioctl) == 40, "arguments");

#define SNP_GET_REPORT           0xC0205300UL
#define SNP_GET_EXT_REPORT       0xC0205302UL
#define SEV_SNP_GUEST_MSG_REPORT 0xC0285301UL
#define SEV_FW_BLOB_MAX_SIZE     0x4000U /* drivers/virt/coco/sev-guest */

static void fill_response(uint8_t *response, size_t room, const struct firmware_answer *answer)
{
	memset(response, 0, room);
	memcpy(response, &answer->status, 4);
	memcpy(response + 4, &answer->report_len, 4);
	memcpy(response + 32, answer->report, answer->report_len);
}

static bool request_is_valid(const struct report_request *request)
{
	static const uint8_t zeros[sizeof(request->reserved)];

	return memcmp(request->reserved, zeros, sizeof(zeros)) == 0;
}

static bool room_is_valid(const struct extended_request *request)
{
	return request->certs_len % PAGE == 0 && request->certs_len <= SEV_FW_BLOB_MAX_SIZE;
}

/* -1 with EIO and the hypervisor's word 1 as long as the table does not fit. */
static int give_table(struct guest_ioctl *argument, const struct firmware_answer *answer)
{
	struct extended_request *request = (struct extended_request *)(uintptr_t)argument->req_data;
	uint32_t needed = (answer->table_len + PAGE - 1) / PAGE * PAGE;

	const char *wanted = due("cert-too-small");
	if (wanted)
		needed = *wanted ? (uint32_t)strtoul(wanted, NULL, 0) : request->certs_len + PAGE;
	if (needed > request->certs_len) {
		request->certs_len = needed;
		argument->vmm_error = 1;
		errno = EIO;
		return -1;
	}
	uint8_t *table = (uint8_t *)(uintptr_t)request->certs_address;
	if (needed) {
		memset(table, 0, needed);
		memcpy(table, answer->table, answer->table_len);
	}
	return 0;
}

static int sev_guest_request(unsigned long number, struct guest_ioctl *argument)
{
	const struct report_request *request = (const void *)(uintptr_t)argument->req_data;
	const char *words = "";
	struct firmware_answer answer;
	char *slash;

	sleep_if_due();
	argument->fw_error = argument->vmm_error = 0;
	errno = due_error(at_request, &words);
	if (errno) {
		argument->fw_error = (uint32_t)strtoul(words, &slash, 0);
		argument->vmm_error = *slash == '/' ? (uint32_t)strtoul(slash + 1, NULL, 0) : 0;
		return -1;
	}
	errno = EINVAL;
	if (argument->msg_version != 1 || !request_is_valid(request))
		return -1;
	if (number == SNP_GET_EXT_REPORT && !room_is_valid((const struct extended_request *)request))
		return -1;
	errno = EIO;
	if (!ask_firmware(GUEST_REPORT, request->user_data, request->vmpl, &answer))
		return -1;
	if (number == SNP_GET_EXT_REPORT && give_table(argument, &answer) != 0)
		return -1;
	fill_response((uint8_t *)(uintptr_t)argument->resp_data, 4000, &answer);
	errno = 0;
	return 0;
}

static int sev_request(struct sev_ioctl *argument)
{
	const struct report_request *request = (const void *)(uintptr_t)argument->request_uaddr;
	const char *words = "";
	struct firmware_answer answer;

	sleep_if_due();
	errno = due_error(at_request, &words);
	if (errno) {
		argument->error = (uint32_t)strtoul(words, NULL, 0);
		return -1;
	}
	errno = EINVAL;
	if (argument->req_msg_type != 5 || argument->rsp_msg_type != 6 || argument->msg_version != 1 ||
	    argument->request_len != sizeof(*request) || argument->response_len < 1280 || !request_is_valid(request))
		return -1;
	errno = EIO;
	if (!ask_firmware(GUEST_REPORT, request->user_data, request->vmpl, &answer))
		return -1;
	fill_response((uint8_t *)(uintptr_t)argument->response_uaddr, 1280, &answer);
	errno = 0;
	return 0;
}

EXPORT int ioctl(int fd, unsigned long number, ...)
{
	va_list args;

	va_start(args, number);
	void *argument = va_arg(args, void *);
	va_end(args);

	const struct descriptor *d = ours(fd);
	if (d && d->kind == SEV_GUEST && (number == SNP_GET_REPORT || number == SNP_GET_EXT_REPORT))
		return sev_guest_request(number, argument);
	if (d && d->kind == SEV && number == SEV_SNP_GUEST_MSG_REPORT)
		return sev_request(argument);
	return REAL(ioctl)(fd, number, argument);
}

/* --- configfs-tsm --- */

/* clang-format off */
static const char *const attributes[] = {
    "inblob", "outblob", "auxblob", "provider", "generation", "privlevel", "privlevel_floor",
    ".question", /* ours: what was written to inblob last */
    ".answered", /* ours: the generation that outblob and auxblob are of */
};
/* clang-format on */
#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))

/* The path to use in place of `path`: below our own directory if it is one of configfs-tsm's. */
static const char *place(const char *path, char room[PATH_MAX])
{
	size_t len = strlen(REPORTS);

	started();
	if (!played.configfs || strncmp(path, REPORTS, len) != 0 || (path[len] != '\0' && path[len] != '/'))
		return path;
	snprintf(room, PATH_MAX, "%.*s%s", (int)(PATH_MAX / 2), played.entries, path + len);
	return room;
}

static int open_really(const char *path, int flags, mode_t mode)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static void write_attribute(const char *entry, const char *name, const void *data, size_t len)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", entry, name);
	int fd = open_really(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || REAL(write)(fd, data, len) != (ssize_t)len)
		dprintf(STDERR_FILENO, "skr-guest-preload: cannot write %s\n", path);
	if (fd >= 0)
		REAL(close)(fd);
}

static size_t read_attribute(const char *entry, const char *name, void *data, size_t room)
{
	char path[PATH_MAX + 32];

	snprintf(path, sizeof(path), "%s/%s", entry, name);
	int fd = open_really(path, O_RDONLY | O_CLOEXEC, 0);
	ssize_t got = fd < 0 ? 0 : REAL(read)(fd, data, room);
	if (fd >= 0)
		REAL(close)(fd);
	return got > 0 ? (size_t)got : 0;
}

static unsigned long read_number(const char *entry, const char *name)
{
	char text[32] = "";

	text[read_attribute(entry, name, text, sizeof(text) - 1)] = '\0';
	return strtoul(text, NULL, 10);
}

static void write_number(const char *entry, const char *name, unsigned long value)
{
	char text[32];

	write_attribute(entry, name, text, (size_t)snprintf(text, sizeof(text), "%lu\n", value));
}

static int make_entry(const char *entry, mode_t mode)
{
	char provider[40];
	int error = due_error(at_mkdir, NULL);

	if (!error)
		error = due_error(at_open, NULL);
	if (error) {
		errno = error;
		return -1;
	}
	if (REAL(mkdir)(entry, mode | 0700) != 0)
		return -1;
	write_attribute(entry, "inblob", "", 0);
	write_attribute(entry, "outblob", "", 0);
	const char *named = due("provider");
	snprintf(provider, sizeof(provider), "%s\n", named ? named : played.tdx ? "tdx_guest" : "sev_guest");
	write_attribute(entry, "provider", provider, strlen(provider));
	write_number(entry, "generation", 0);
	if (played.tdx) /* has neither certificates nor levels of privilege */
		return 0;
	write_attribute(entry, "auxblob", "", 0);
	write_number(entry, "privlevel", 0);
	write_number(entry, "privlevel_floor", 0);
	return 0;
}

static int remove_entry(const char *entry)
{
	char path[PATH_MAX + 32];

	for (size_t i = 0; i < ATTRIBUTES; i++) {
		snprintf(path, sizeof(path), "%s/%s", entry, attributes[i]);
		unlink(path);
	}
	return REAL(rmdir)(entry);
}

/* What the kernel does at the first read of outblob or auxblob after a write. False with errno. */
static bool answer_entry(const char *entry)
{
	struct firmware_answer answer;
	uint8_t report_data[64] = {0};
	unsigned long generation = read_number(entry, "generation");

	errno = EINVAL;
	if (generation == 0)
		return false;
	if (read_number(entry, ".answered") == generation)
		return true;
	sleep_if_due();
	errno = due_error(at_request, NULL);
	if (errno)
		return false;
	size_t len = read_attribute(entry, ".question", report_data, sizeof(report_data));
	errno = EINVAL;
	if (played.tdx && len != sizeof(report_data)) /* the kernel fills up a question for SNP alone */
		return false;
	errno = EIO;
	if (!ask_firmware(played.tdx ? GUEST_QUOTE : GUEST_REPORT, report_data,
	                  (uint32_t)read_number(entry, "privlevel"), &answer) ||
	    answer.status != 0)
		return false;
	write_attribute(entry, "outblob", answer.report, answer.report_len);
	if (!played.tdx)
		write_attribute(entry, "auxblob", answer.table, answer.table_len);
	write_number(entry, ".answered", generation);
	if (due("generation-moved"))
		write_number(entry, "generation", generation + 1);
	return true;
}

static bool is_being_written(const char *entry)
{
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		const struct descriptor *d = ours(fd);
		if (d && d->kind == INBLOB && strcmp(d->entry, entry) == 0)
			return true;
	}
	return false;
}

/*
 * The kernel takes what was written to inblob when it is closed, which happens in many ways; here that is noticed when
 * an attribute is opened next. Nobody may read inblob, so it can be emptied.
 */
static void take_question(const char *entry)
{
	uint8_t question[65];
	size_t len = read_attribute(entry, "inblob", question, sizeof(question));

	if (len == 0 || is_being_written(entry))
		return;
	write_attribute(entry, "inblob", "", 0);
	if (len > 64)
		return;
	write_attribute(entry, ".question", question, len);
	write_number(entry, "generation", read_number(entry, "generation") + 1);
}

static int open_attribute(const char *path, int flags, mode_t mode)
{
	char entry[PATH_MAX];

	snprintf(entry, sizeof(entry), "%s", path);
	char *name = strrchr(entry, '/');
	*name++ = '\0';
	take_question(entry);
	int fd = open_really(path, flags & ~O_CREAT, mode);
	if (strcmp(name, "inblob") == 0)
		return remember(fd, INBLOB, entry);
	/* Also what is none: its number, and even its inode, may be those of a blob that is gone. */
	bool blob = strcmp(name, "outblob") == 0 || strcmp(name, "auxblob") == 0;
	return remember(fd, blob ? OUTBLOB : NOT_OURS, entry);
}

EXPORT int mkdir(const char *path, mode_t mode)
{
	char room[PATH_MAX];
	const char *there = place(path, room);

	return there == room ? make_entry(there, mode) : REAL(mkdir)(path, mode);
}

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
	char room[PATH_MAX];
	const char *there = place(path, room);

	return there == room ? make_entry(there, mode) : REAL(mkdirat)(dirfd, path, mode);
}

EXPORT int rmdir(const char *path)
{
	char room[PATH_MAX];
	const char *there = place(path, room);

	return there == room ? remove_entry(there) : REAL(rmdir)(path);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
	char room[PATH_MAX];
	const char *there = place(path, room);

	return there == room && flags & AT_REMOVEDIR ? remove_entry(there) : REAL(unlinkat)(dirfd, path, flags);
}

EXPORT DIR *opendir(const char *path)
{
	char room[PATH_MAX];

	return REAL(opendir)(place(path, room));
}

EXPORT ssize_t read(int fd, void *data, size_t len)
{
	const struct descriptor *d = ours(fd);

	if (d && d->kind == OUTBLOB && lseek(fd, 0, SEEK_CUR) == 0 && !answer_entry(d->entry))
		return -1;
	return REAL(read)(fd, data, len);
}

ssize_t __read_chk(int fd, void *data, size_t len, size_t room); /* what a fortified read becomes */
EXPORT ssize_t __read_chk(int fd, void *data, size_t len, size_t room)
{
	if (len > room)
		abort();
	return read(fd, data, len);
}

/* --- Opening and looking --- */

static int open_anything(int dirfd, const char *path, int flags, mode_t mode)
{
	char room[PATH_MAX];
	const char *there = place(path, room);

	if (is_device(path))
		return open_device(path, flags);
	if (is_tpm(path))
		return open_tpm(flags);
	if (is_event_log(path))
		return open_event_log(flags);
	if (there == room)
		return open_attribute(there, flags, mode);
	return REAL(openat)(dirfd, path, flags, mode);
}

#define MODE_OF(flags)                                                       \
	({                                                                   \
		mode_t mode_ = 0;                                            \
		if (((flags)&O_CREAT) || ((flags)&O_TMPFILE) == O_TMPFILE) { \
			va_list args_;                                       \
			va_start(args_, flags);                              \
			mode_ = va_arg(args_, mode_t);                       \
			va_end(args_);                                       \
		}                                                            \
		mode_;                                                       \
	})

EXPORT int open(const char *path, int flags, ...)
{
	return open_anything(AT_FDCWD, path, flags, MODE_OF(flags));
}

EXPORT int open64(const char *path, int flags, ...)
{
	return open_anything(AT_FDCWD, path, flags | O_LARGEFILE, MODE_OF(flags));
}

EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
	return open_anything(dirfd, path, flags, MODE_OF(flags));
}

EXPORT int openat64(int dirfd, const char *path, int flags, ...)
{
	return open_anything(dirfd, path, flags | O_LARGEFILE, MODE_OF(flags));
}

/* What a fortified open becomes. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dirfd, const char *path, int flags);
int __openat64_2(int dirfd, const char *path, int flags);
EXPORT int __open_2(const char *path, int flags)
{
	return open_anything(AT_FDCWD, path, flags, 0);
}

EXPORT int __open64_2(const char *path, int flags)
{
	return open_anything(AT_FDCWD, path, flags | O_LARGEFILE, 0);
}

EXPORT int __openat_2(int dirfd, const char *path, int flags)
{
	return open_anything(dirfd, path, flags, 0);
}

EXPORT int __openat64_2(int dirfd, const char *path, int flags)
{
	return open_anything(dirfd, path, flags | O_LARGEFILE, 0);
}

/* Where to look for what is no device. */
static const char *looked_at(const char *path, char room[PATH_MAX])
{
	const char *there = place(path, room);

	return is_event_log(path) ? played.event_log : there;
}

/* 1: it is there; 0: it is not; -1: not our business. */
static int device_is_there(const char *path)
{
	started();
	if (is_tpm(path))
		return !due("tpm-ENOENT");
	if (played.sev_guest && strcmp(path, SYSFS_DEVICE) == 0)
		return due("hidden") != NULL || !due("ENOENT");
	if (!is_device(path))
		return -1;
	return !(is_sev_guest(path) && due("hidden")) && !due("ENOENT");
}

EXPORT int access(const char *path, int mode)
{
	char room[PATH_MAX];
	int there = device_is_there(path);

	if (there == 1)
		return 0;
	errno = ENOENT;
	return there == 0 ? -1 : REAL(access)(looked_at(path, room), mode);
}

EXPORT int faccessat(int dirfd, const char *path, int mode, int flags)
{
	char room[PATH_MAX];
	int there = device_is_there(path);

	if (there == 1)
		return 0;
	errno = ENOENT;
	return there == 0 ? -1 : REAL(faccessat)(dirfd, looked_at(path, room), mode, flags);
}

static int stat_anything(int dirfd, const char *path, struct stat *about, int flags)
{
	char room[PATH_MAX];
	int there = device_is_there(path);

	if (there < 0)
		return REAL(fstatat)(dirfd, looked_at(path, room), about, flags);
	if (there == 0) {
		errno = ENOENT;
		return -1;
	}
	*about = (struct stat){.st_mode = S_IFCHR | 0600, .st_nlink = 1, .st_rdev = makedev(10, 125)};
	return 0;
}

EXPORT int stat(const char *path, struct stat *about)
{
	return stat_anything(AT_FDCWD, path, about, 0);
}

EXPORT int lstat(const char *path, struct stat *about)
{
	return stat_anything(AT_FDCWD, path, about, AT_SYMLINK_NOFOLLOW);
}

EXPORT int statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *about)
{
	char room[PATH_MAX];
	int there = device_is_there(path);

	if (there < 0)
		return REAL(statx)(dirfd, looked_at(path, room), flags, mask, about);
	errno = ENOENT;
	*about = (struct statx){.stx_mask = STATX_BASIC_STATS, .stx_mode = S_IFCHR | 0600, .stx_nlink = 1};
	return there - 1;
}

EXPORT int fstatat(int dirfd, const char *path, struct stat *about, int flags)
{
	return stat_anything(dirfd, path, about, flags);
}
