/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/snp.h"

#include "base/file.h"
#include "base/log.h"
#include "base/ossl.h"
#include "evidence/device.h"
#include "evidence/snp_report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SEV_GUEST          "/dev/sev-guest"
#define SEV                "/dev/sev"
#define ATTEMPTS           3
#define TABLE_LIMIT        (64 * 1024)
#define VMM_INVALID_LENGTH 1U /* SNP_GUEST_VMM_ERR_INVALID_LEN */
#define VMM_BUSY           2U /* SNP_GUEST_VMM_ERR_BUSY */
#define MESSAGE_REPORT_REQ 5
#define MESSAGE_REPORT_RSP 6
#define MESSAGE_VERSION    1
#define RESPONSE_AT_REPORT 32
#define RESPONSE_ROOM      1280 /* what the 5.15 driver copies out */
#define SEV_GUEST_RSP_SIZE 4000

/* The kernel's structures, our own so that old headers do; the sizes are part of the ioctl numbers. */
struct report_request { /* snp_report_req; MSG_REPORT_REQ */
	uint8_t user_data[64];
	uint32_t vmpl;
	uint8_t reserved[28];
};
_Static_assert(sizeof(struct report_request) == 96, "snp_report_req");

struct extended_request { /* snp_ext_report_req */
	struct report_request data;
	uint64_t certs_address;
	uint32_t certs_len;
};
_Static_assert(sizeof(struct extended_request) == 112, "snp_ext_report_req");

struct response { /* snp_report_resp around MSG_REPORT_RSP */
	uint32_t status;
	uint32_t report_size;
	uint8_t reserved[24];
	uint8_t report[SEV_GUEST_RSP_SIZE - RESPONSE_AT_REPORT];
};
_Static_assert(sizeof(struct response) == SEV_GUEST_RSP_SIZE, "snp_report_resp");

struct guest_ioctl { /* snp_guest_request_ioctl */
	uint8_t msg_version;
	uint8_t padding[7];
	uint64_t req_data;
	uint64_t resp_data;
	uint32_t fw_error;
	uint32_t vmm_error;
};
_Static_assert(sizeof(struct guest_ioctl) == 32, "snp_guest_request_ioctl");

struct sev_ioctl { /* sev_snp_guest_request of Azure's 5.15 */
	uint8_t req_msg_type;
	uint8_t rsp_msg_type;
	uint8_t msg_version;
	uint16_t request_len;
	uint64_t request_uaddr;
	uint16_t response_len;
	uint64_t response_uaddr;
	uint32_t error;
};
_Static_assert(sizeof(struct sev_ioctl) == 40, "sev_snp_guest_request");
_Static_assert(offsetof(struct sev_ioctl, response_uaddr) == 24, "sev_snp_guest_request");

#define SNP_GET_REPORT           _IOWR('S', 0x0, struct guest_ioctl)
#define SNP_GET_EXT_REPORT       _IOWR('S', 0x2, struct guest_ioctl)
#define SEV_SNP_GUEST_MSG_REPORT _IOWR('S', 0x1, struct sev_ioctl)
_Static_assert(SNP_GET_REPORT == 0xC0205300, "SNP_GET_REPORT");
_Static_assert(SNP_GET_EXT_REPORT == 0xC0205302, "SNP_GET_EXT_REPORT");
_Static_assert(SEV_SNP_GUEST_MSG_REPORT == 0xC0285301, "SEV_SNP_GUEST_MSG_REPORT");

void snp_answer_done(struct snp_answer *answer)
{
	buf_done(&answer->report);
	buf_done(&answer->table);
}

bool snp_wait(int attempt, struct deadline deadline)
{
	uint16_t random;

	if (random_bytes(&random, sizeof(random)).failure)
		random = 0;
	int64_t ms = 800 * ((1 << (attempt - 1)) - 1);
	ms = ms * (80 + random % 50) / 100;
	return deadline_pause(ms, deadline);
}

static const struct device sev_guest_device = {.path = SEV_GUEST, .in_sysfs = "/sys/class/misc/sev-guest", .busy = 114};
static const struct device sev_device = {.path = SEV, .busy = 114};

static skr_status open_device(const struct device *device, int *ret_fd)
{
	int fd = fd_above_stdio(open(device->path, O_RDWR | O_CLOEXEC));

	if (fd < 0)
		return device_refused(device, errno);
	*ret_fd = fd;
	return OK;
}

/* How one ioctl ended. The error words count only where the driver is known to fill them. */
struct outcome {
	const char *what; /* for messages */
	int error;        /* errno; 0: done */
	uint32_t fw_error, vmm_error;
	int64_t ms;
};

static skr_status outcome_failed(const struct outcome *o)
{
	if (o->vmm_error == VMM_BUSY)
		return FAIL(110, "%s: the host was busy for %" PRId64 " ms", o->what, o->ms);
	switch (o->error) {
	case EAGAIN:
	case EBUSY:
		return FAIL(114, "%s: %s", o->what, strerror(o->error));
	case ENOTTY:
		return FAIL(112, "%s: %s", o->what, strerror(o->error));
	case EACCES:
	case EPERM:
		return FAIL(22, "%s: %s", o->what, strerror(o->error));
	case EINVAL: /* refused before anything was sent */
	case EFAULT:
		return FAIL(599, "%s: %s", o->what, strerror(o->error));
	default:
		return FAIL(111, "%s: %s, firmware error 0x%x, hypervisor error 0x%x, after %" PRId64 " ms", o->what,
		            strerror(o->error), (unsigned)o->fw_error, (unsigned)o->vmm_error, o->ms);
	}
}

/*
 * One ioctl, repeated only for what the driver promises to have no effect: an interruption, and busy.
 */
static skr_status repeat(void (*ask)(int fd, void *with, struct outcome *o), int fd, void *with,
                         struct deadline deadline, struct outcome *ret)
{
	for (int attempt = 1;;) {
		struct outcome o = {0};
		int64_t start = monotonic_ms();
		ask(fd, with, &o);
		o.ms = monotonic_ms() - start;
		*ret = o;
		if (o.error == EINTR && deadline_left(deadline) > 0)
			continue;
		bool busy = (o.error == EAGAIN || o.error == EBUSY) && o.vmm_error != VMM_BUSY;
		if (!busy || attempt == ATTEMPTS || !snp_wait(attempt + 1, deadline))
			break;
		attempt++;
	}
	if (ret->error == EINTR)
		return FAIL(114, "%s: interrupted until the deadline", ret->what);
	if (deadline_left(deadline) == 0) {
		log_line(LOG_LEVEL_WARNING, "SKR-110 %s took %" PRId64 " ms, beyond the deadline", ret->what, ret->ms);
		if (!ret->error)
			return FAIL(110, "%s: answered after %" PRId64 " ms, beyond the deadline", ret->what, ret->ms);
	}
	return OK;
}

/* MSG_REPORT_RSP: status, size, report. */
static skr_status take_report(const struct response *response, struct buf *out)
{
	if (response->status != 0)
		return FAIL(116, "the firmware refuses a report with status 0x%x", (unsigned)response->status);
	if (response->report_size != SNP_REPORT_SIZE)
		return FAIL(116, "the firmware's report has %u bytes instead of %d", (unsigned)response->report_size,
		            SNP_REPORT_SIZE);
	return buf_append(out, response->report, SNP_REPORT_SIZE);
}

static struct report_request request_for(const struct snp_question *question)
{
	struct report_request request = {.vmpl = 0};

	memcpy(request.user_data, question->report_data, sizeof(request.user_data));
	return request;
}

/* --- /dev/sev-guest --- */

struct sev_guest_errand {
	unsigned long number;
	void *request;
	struct response *response;
};

static void ask_sev_guest(int fd, void *with, struct outcome *o)
{
	const struct sev_guest_errand *errand = with;
	struct guest_ioctl argument = {
	    .msg_version = MESSAGE_VERSION,
	    .req_data = (uintptr_t)errand->request,
	    .resp_data = (uintptr_t)errand->response,
	};

	memset(errand->response, 0, sizeof(*errand->response));
	o->what = errand->number == SNP_GET_REPORT ? SEV_GUEST " SNP_GET_REPORT" : SEV_GUEST " SNP_GET_EXT_REPORT";
	o->error = ioctl(fd, errand->number, &argument) == 0 ? 0 : errno;
	/* Some kernels leave the words uninitialised when nothing went wrong with the host. */
	if (o->error == EIO || o->error == ENOSPC || o->error == EAGAIN || o->error == EBUSY || o->error == ETIMEDOUT) {
		o->fw_error = argument.fw_error;
		o->vmm_error = argument.vmm_error;
	}
}

static skr_status ask_plain(int fd, const struct snp_question *question, struct response *response)
{
	struct report_request request = request_for(question);
	struct sev_guest_errand errand = {SNP_GET_REPORT, &request, response};
	struct outcome o;

	TRY(repeat(ask_sev_guest, fd, &errand, question->deadline, &o));
	return o.error ? outcome_failed(&o) : OK;
}

/* `*ret_needed` is 0 when the response is there, else the room that the host wants for its certificates. */
static skr_status ask_extended(int fd, const struct snp_question *question, struct buf *table,
                               struct response *response, size_t *ret_needed)
{
	struct extended_request request = {
	    .data = request_for(question),
	    .certs_address = (uintptr_t)table->data,
	    .certs_len = (uint32_t)table->len,
	};
	struct sev_guest_errand errand = {SNP_GET_EXT_REPORT, &request, response};
	struct outcome o;

	*ret_needed = 0;
	TRY(repeat(ask_sev_guest, fd, &errand, question->deadline, &o));
	if (o.error && o.vmm_error == VMM_INVALID_LENGTH) {
		*ret_needed = request.certs_len;
		if (request.certs_len > TABLE_LIMIT || request.certs_len <= table->len)
			return FAIL(113, "%s: the host has %u bytes of certificates, room was for %zu", o.what,
			            (unsigned)request.certs_len, table->len);
		return OK;
	}
	if (o.error == EINVAL && table->len) /* kernels have a limit of their own, 16 KiB in Linux 6 */
		return FAIL(113, "%s: the driver takes no certificates of %zu bytes", o.what, table->len);
	return o.error ? outcome_failed(&o) : OK;
}

/* Asked without room first: a host without certificates answers at once, another one says how much it has. */
static skr_status ask_with_table(int fd, const struct snp_question *question, struct response *response,
                                 struct buf *ret_table)
{
	auto_buf table = BUF(TABLE_LIMIT);
	size_t needed;
	uint8_t *place;

	TRY(ask_extended(fd, question, &table, response, &needed));
	if (needed == 0)
		return OK;
	TRY(buf_reserve(&table, needed, &place));
	memset(place, 0, needed);
	table.len = needed;
	TRY(ask_extended(fd, question, &table, response, &needed));
	if (needed != 0)
		return FAIL(113, "the host's certificates grew to %zu bytes between two requests", needed);
	buf_move(ret_table, &table);
	return OK;
}

static pthread_mutex_t one_request = PTHREAD_MUTEX_INITIALIZER;

static void release_turn(pthread_mutex_t **turn)
{
	pthread_mutex_unlock(*turn);
}

/* The device's counter allows one request at a time; until the end of the scope it is ours. */
#define TAKE_TURN()                                                                          \
	__attribute__((cleanup(release_turn), unused)) pthread_mutex_t *turn = &one_request; \
	pthread_mutex_lock(turn)

skr_status snp_from_sev_guest(const struct snp_question *question, struct snp_answer *ret)
{
	struct response response = {0};
	auto_snp_answer answer = {.report = BUF(SNP_REPORT_SIZE), .table = BUF(TABLE_LIMIT)};
	auto_fd fd = -1;

	TAKE_TURN();
	TRY(open_device(&sev_guest_device, &fd));
	if (question->want_table)
		TRY(ask_with_table(fd, question, &response, &answer.table));
	else
		TRY(ask_plain(fd, question, &response));
	TRY(take_report(&response, &answer.report));
	*ret = answer;
	answer = (struct snp_answer){0};
	return OK;
}

/* --- /dev/sev --- */

struct sev_errand {
	struct report_request request;
	struct response *response;
};

static void ask_sev(int fd, void *with, struct outcome *o)
{
	struct sev_errand *errand = with;
	struct sev_ioctl argument = {
	    .req_msg_type = MESSAGE_REPORT_REQ,
	    .rsp_msg_type = MESSAGE_REPORT_RSP,
	    .msg_version = MESSAGE_VERSION,
	    .request_len = sizeof(errand->request),
	    .request_uaddr = (uintptr_t)&errand->request,
	    .response_len = RESPONSE_ROOM,
	    .response_uaddr = (uintptr_t)errand->response,
	};

	memset(errand->response, 0, sizeof(*errand->response));
	o->what = SEV " SEV_SNP_GUEST_MSG_REPORT";
	o->error = ioctl(fd, SEV_SNP_GUEST_MSG_REPORT, &argument) == 0 ? 0 : errno;
	if (o->error == EIO)
		o->fw_error = argument.error;
}

skr_status snp_from_sev(const struct snp_question *question, struct snp_answer *ret)
{
	struct response response = {0};
	struct sev_errand errand = {request_for(question), &response};
	auto_snp_answer answer = {.report = BUF(SNP_REPORT_SIZE)};
	struct outcome o;
	auto_fd fd = -1;

	TAKE_TURN();
	TRY(open_device(&sev_device, &fd));
	TRY(repeat(ask_sev, fd, &errand, question->deadline, &o));
	if (o.error == EINVAL)
		return FAIL(100, "%s: %s: this device is a host's, not a guest's", o.what, strerror(o.error));
	if (o.error)
		return outcome_failed(&o);
	TRY(take_report(&response, &answer.report));
	*ret = answer;
	answer = (struct snp_answer){0};
	return OK;
}
