/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TEST_PLAYED_TPM_H
#define SKR_TEST_PLAYED_TPM_H

/*
 * An Azure machine's vTPM for tests: a swtpm of our own, provisioned with tpm2-tools, and in front of it a terminal
 * (/dev/pts/N) that is to the product what /dev/tpmrm0 is: commands are written, replies read. Behind the terminal a
 * thread plays the paravisor (a report that carries the guest's input), and whatever fault a test asks for.
 */
#include "base/base64.h"
#include "base/deadline.h"
#include "base/file.h"
#include "base/ossl.h"
#include "cvm_vectors.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { /* Part 2, section 6.5.2 */
       CC_NV_UNDEFINE = 0x122,
       CC_NV_DEFINE = 0x12a,
       CC_CREATE_PRIMARY = 0x131,
       CC_NV_WRITE = 0x137,
       CC_CERTIFY = 0x148,
       CC_NV_READ = 0x14e,
       CC_QUOTE = 0x158,
       CC_RSA_DECRYPT = 0x159,
       CC_CONTEXT_LOAD = 0x161,
       CC_CONTEXT_SAVE = 0x162,
       CC_FLUSH = 0x165,
       CC_NV_READ_PUBLIC = 0x169,
       CC_READ_PUBLIC = 0x173,
       CC_START_SESSION = 0x176,
       CC_GET_CAPABILITY = 0x17a,
       CC_PCR_READ = 0x17e,
       CC_POLICY_PCR = 0x17f,
       CC_POLICY_RESTART = 0x180,
       CC_PCR_EXTEND = 0x182,
};

enum { INDEX_REPORT = 0x01400001, INDEX_USER_DATA = 0x01400002, INDEX_CERTIFICATE = 0x01c101d0 };

enum fault_kind {
	FAULT_CODE,     /* this response code in place of the TPM's answer */
	FAULT_SILENCE,  /* no answer */
	FAULT_TRUNCATE, /* the answer's last `code` bytes are missing, the header is not changed */
	FAULT_SHORTEN,  /* the same, and the header agrees */
	FAULT_GROW,     /* `code` zero bytes more, and the header agrees */
	FAULT_EXTRA,    /* one byte more than the header says */
	FAULT_FLIP,     /* the byte at offset `code` is inverted */
	FAULT_EXTEND,   /* PCR `code` is extended just before the command */
};

struct fault {
	uint32_t command; /* 0: any */
	int skip, times;  /* not for the first ones, then so often */
	enum fault_kind kind;
	uint32_t code;
};

struct played_tpm {
	char directory[64];
	pid_t swtpm;
	int port;
	int master, keeper; /* of the terminal; one descriptor of the slave stays open, so that it stays raw */
	char device[64], swtpm_tcti[64];
	pthread_t relay;
	bool relay_runs;
	volatile bool stop;
	pthread_mutex_t lock; /* of what is below */
	struct fault fault;
	int commands; /* seen at the terminal */
	uint32_t seen[4096];
	uint32_t held[16]; /* what came into the TPM by the terminal and was not flushed */
	/* the paravisor */
	EVP_PKEY *ak;
	struct buf ak_public_pem;
	bool plays_paravisor;  /* else the index in swtpm itself is read */
	bool omits_user_data;  /* firmware that is too old */
	bool names_another_ak; /* the claims' HCLAkPub is not the AK */
	int refresh_ms;        /* between a write of the input and a report with it */
	int64_t written_at;
	int racing_writes; /* so many times another process writes, right after us */
	size_t report_size;
	uint8_t input[64], pending[64];
	struct buf report;
};

static inline uint32_t be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline void put_be32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* --- swtpm --- */

static inline int bound_socket(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* Two neighbouring ports that nobody has now. */
static inline int free_port_pair(void)
{
	for (int attempt = 0; attempt < 200; attempt++) {
		int port = 20000 + 2 * ((getpid() * 7 + attempt * 131) % 5000);
		int first = bound_socket(port), second = bound_socket(port + 1);
		bool both = first >= 0 && second >= 0;
		if (first >= 0)
			close(first);
		if (second >= 0)
			close(second);
		if (both)
			return port;
	}
	fail_msg("no free ports");
	return -1;
}

static inline int connect_swtpm(const struct played_tpm *tpm)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)tpm->port)};

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (int attempt = 0; attempt < 500; attempt++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
			return fd;
		close(fd);
		usleep(10000);
	}
	return -1;
}

static inline bool read_exactly(int fd, uint8_t *out, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t now = read(fd, out + got, len - got);
		if (now <= 0 && errno != EINTR)
			return false;
		got += now > 0 ? (size_t)now : 0;
	}
	return true;
}

/* One command, on a connection of its own; returns the reply's length, 0 if there is none. */
static inline size_t swtpm_command(const struct played_tpm *tpm, const uint8_t *command, size_t len, uint8_t *reply)
{
	size_t reply_len = 0;
	int fd = connect_swtpm(tpm);

	if (fd >= 0 && write(fd, command, len) == (ssize_t)len && read_exactly(fd, reply, 10) &&
	    be32(reply + 2) <= 4096 && read_exactly(fd, reply + 10, be32(reply + 2) - 10))
		reply_len = be32(reply + 2);
	if (fd >= 0)
		close(fd);
	return reply_len;
}

static inline void start_swtpm(struct played_tpm *tpm)
{
	char state[128], server[128], control[128];

	snprintf(state, sizeof(state), "dir=%s", tpm->directory);
	snprintf(server, sizeof(server), "type=tcp,port=%d,bindaddr=127.0.0.1,disconnect=no", tpm->port);
	snprintf(control, sizeof(control), "type=tcp,port=%d,bindaddr=127.0.0.1", tpm->port + 1);
	tpm->swtpm = fork();
	if (tpm->swtpm == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server, "--ctrl", control,
		       "--flags", "not-need-init,startup-clear", NULL);
		_exit(127);
	}
	int fd = connect_swtpm(tpm);
	if (fd < 0)
		fail_msg("swtpm does not start");
	close(fd);
}

static inline void stop_swtpm(struct played_tpm *tpm)
{
	if (tpm->swtpm > 0) {
		kill(tpm->swtpm, SIGKILL);
		waitpid(tpm->swtpm, NULL, 0);
	}
	tpm->swtpm = 0;
}

/* A TPM reset: other seed of the NULL hierarchy, PCRs at their beginning. */
static inline void restart_swtpm(struct played_tpm *tpm)
{
	stop_swtpm(tpm);
	start_swtpm(tpm);
}

/* --- Looking at it from beside --- */

/* How many handles there are from `first` on: 0x80000000 transient, 0x02000000 loaded sessions, 0x03000000 saved. */
static inline unsigned count_handles(const struct played_tpm *tpm, uint32_t first)
{
	uint8_t command[22] = {0x80, 0x01, 0, 0, 0, 22}, reply[4096];

	put_be32(command + 6, CC_GET_CAPABILITY);
	put_be32(command + 10, 1); /* TPM_CAP_HANDLES */
	put_be32(command + 14, first);
	put_be32(command + 18, 64);
	if (swtpm_command(tpm, command, sizeof(command), reply) < 19 || be32(reply + 6) != 0)
		fail_msg("handles cannot be listed");
	return be32(reply + 15);
}

static inline unsigned count_all(const struct played_tpm *tpm)
{
	return count_handles(tpm, 0x80000000) + count_handles(tpm, 0x02000000) + count_handles(tpm, 0x03000000);
}

#define assert_nothing_left(tpm) assert_int_equal(count_all(tpm), 0)

static inline void extend_pcr(const struct played_tpm *tpm, uint32_t pcr)
{
	uint8_t command[65] = {0x80, 0x02, 0, 0, 0, 65}, reply[4096];

	put_be32(command + 6, CC_PCR_EXTEND);
	put_be32(command + 10, pcr);
	put_be32(command + 14, 9);
	put_be32(command + 18, 0x40000009); /* password session */
	put_be32(command + 27, 1);
	command[32] = 0x0b;
	memset(command + 33, 0x5a, 32);
	if (swtpm_command(tpm, command, sizeof(command), reply) < 10 || be32(reply + 6) != 0)
		fail_msg("PCR %u cannot be extended: %x", (unsigned)pcr, (unsigned)be32(reply + 6));
}

static inline void flush_handle(const struct played_tpm *tpm, uint32_t handle)
{
	uint8_t command[14] = {0x80, 0x01, 0, 0, 0, 14}, reply[4096];

	put_be32(command + 6, CC_FLUSH);
	put_be32(command + 10, handle);
	swtpm_command(tpm, command, sizeof(command), reply);
}

/* --- Provisioning, as the reference describes it --- */

static inline bool run_tools(const struct played_tpm *tpm, const char *script)
{
	char *command;

	if (asprintf(&command,
	             "cd %s && export TPM2TOOLS_TCTI=%s && fl() { tpm2_flushcontext -t; tpm2_flushcontext -l; "
	             "tpm2_flushcontext -s; }; { set -e; %s\n} >>tools.log 2>&1",
	             tpm->directory, tpm->swtpm_tcti, script) < 0)
		return false;
	int status = system(command);
	free(command);
	return status == 0;
}

static inline void tools(const struct played_tpm *tpm, const char *script)
{
	if (!run_tools(tpm, script))
		fail_msg("%s/tools.log says why this fails: %s", tpm->directory, script);
}

static const char provisioning[] =
    "tpm2_createprimary -C e -g sha256 -G rsa2048:rsassa-sha256:null "
    "-a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign' -c ak.ctx\n"
    "tpm2_evictcontrol -C o -c ak.ctx 0x81000003; fl\n"
    "tpm2_readpublic -c 0x81000003 -f pem -o ak.pem\n";

struct certificate_plan {
	const char *issuer;
	int days;      /* until it ends */
	EVP_PKEY *key; /* NULL: the AK */
	size_t index;  /* size of the index; 0: as long as the certificate */
};

static inline X509 *make_ak_certificate(const struct played_tpm *tpm, const struct certificate_plan *plan)
{
	static EVP_PKEY *authority;
	X509 *certificate = X509_new_ex(ossl, NULL);
	X509_NAME *subject = X509_NAME_new(), *issuer = X509_NAME_new();
	const char *by = plan->issuer ? plan->issuer : "Global Virtual TPM CA - 03";
	const char *of = "ID.TrustedVM.Azure.Microsoft";

	if (!authority)
		authority = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_ASC, (const uint8_t *)by, -1, -1, 0);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)of, -1, -1, 0);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -400 * 86400L);
	X509_gmtime_adj(X509_getm_notAfter(certificate), plan->days * 86400L + 3600);
	X509_set_subject_name(certificate, subject);
	X509_set_issuer_name(certificate, issuer);
	X509_set_pubkey(certificate, plan->key ? plan->key : tpm->ak);
	if (!X509_sign(certificate, authority, EVP_sha256()))
		fail_msg("AK certificate");
	X509_NAME_free(subject);
	X509_NAME_free(issuer);
	return certificate;
}

static inline void write_file(const struct played_tpm *tpm, const char *name, const void *data, size_t len)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", tpm->directory, name);
	FILE *file = fopen(path, "w");
	if (!file || fwrite(data, 1, len, file) != len || fclose(file) != 0)
		fail_msg("%s: %s", path, strerror(errno));
}

/* Puts a certificate into its index in place of what is there. */
static inline void install_certificate(const struct played_tpm *tpm, const struct certificate_plan *plan)
{
	char script[512];
	uint8_t *der = NULL;
	auto_x509 *certificate = make_ak_certificate(tpm, plan);
	int len = i2d_X509(certificate, &der);

	write_file(tpm, "ak.der", der, (size_t)len);
	OPENSSL_free(der);
	run_tools(tpm, "tpm2_nvundefine -C o 0x01c101d0");
	snprintf(script, sizeof(script),
	         "tpm2_nvdefine -C o -s %zu -a 'ownerread|ownerwrite|authread|authwrite' 0x01c101d0\n"
	         "truncate -s %zu ak.der\ntpm2_nvwrite -C o -i ak.der 0x01c101d0; fl",
	         plan->index ? plan->index : (size_t)len, plan->index ? plan->index : (size_t)len);
	tools(tpm, script);
}

static inline EVP_PKEY *read_pem_key(const struct played_tpm *tpm, const char *name)
{
	char path[160];
	EVP_PKEY *key = NULL;

	snprintf(path, sizeof(path), "%s/%s", tpm->directory, name);
	FILE *file = fopen(path, "r");
	if (!file || !(key = PEM_read_PUBKEY_ex(file, NULL, NULL, NULL, ossl, NULL)))
		fail_msg("%s: no key", path);
	fclose(file);
	return key;
}

/* --- The paravisor --- */

static inline void put_le32(uint8_t *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static inline void append_key_claim(const EVP_PKEY *key, struct buf *claims)
{
	BIGNUM *n = NULL;
	uint8_t bytes[256];
	auto_buf text = BUF(1024);

	if (!EVP_PKEY_get_bn_param(key, "n", &n) || BN_bn2binpad(n, bytes, 256) != 256)
		fail_msg("no modulus");
	BN_free(n);
	if (base64url_encode(bytes, 256, &text).failure)
		fail_msg("base64url");
	if (buf_printf(
	        claims,
	        "{\"keys\":[{\"kid\":\"HCLAkPub\",\"key_ops\":[\"sign\"],\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"%s\"}]",
	        buf_text(&text))
	        .failure)
		fail_msg("claims");
}

/* A report whose hardware part has nothing but the binding. */
static inline void make_hcl_report(struct played_tpm *tpm, const uint8_t input[64])
{
	static EVP_PKEY *another;
	auto_buf claims = BUF(4096);
	uint8_t *place;

	if (tpm->names_another_ak && !another)
		another = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)2048);
	append_key_claim(tpm->names_another_ak ? another : tpm->ak, &claims);
	if (buf_append_text(&claims, ",\"vm-configuration\":{\"secure-boot\":true}").failure)
		fail_msg("claims");
	for (int i = 0; i < 64 && !tpm->omits_user_data; i++)
		if (buf_printf(&claims, "%s%02X", i ? "" : ",\"user-data\":\"", input[i]).failure)
			fail_msg("claims");
	if (buf_append_text(&claims, tpm->omits_user_data ? "}" : "\"}").failure)
		fail_msg("claims");
	buf_clear(&tpm->report);
	if (buf_reserve(&tpm->report, tpm->report_size, &place).failure || 1236 + claims.len > tpm->report_size)
		fail_msg("report");
	memset(place, 0, tpm->report_size);
	memcpy(place, "HCLA", 4);
	put_le32(place + 4, 2);
	put_le32(place + 8, (uint32_t)(1236 + claims.len));
	put_le32(place + 12, 2);
	place[32] = 2;
	if (sha256(claims.data, claims.len, place + 32 + 0x50).failure)
		fail_msg("sha256");
	put_le32(place + 1216, (uint32_t)(20 + claims.len));
	put_le32(place + 1220, 1);
	put_le32(place + 1224, 2);
	put_le32(place + 1228, 1);
	put_le32(place + 1232, (uint32_t)claims.len);
	memcpy(place + 1236, claims.data, claims.len);
	tpm->report.len = tpm->report_size;
}

static inline size_t answer_code(uint8_t *reply, uint32_t code)
{
	const uint8_t header[10] = {0x80, 0x01, 0, 0, 0, 10};

	memcpy(reply, header, sizeof(header));
	put_be32(reply + 6, code);
	return sizeof(header);
}

static inline size_t answer_report_public(const struct played_tpm *tpm, uint8_t *reply)
{
	const uint8_t head[] = {0x80, 0x01, 0, 0, 0, 62,   0,    0,    0, 0, 0, 14,
	                        0x01, 0x40, 0, 1, 0, 0x0b, 0x62, 0x06, 0, 4, 0, 0};

	memset(reply, 0, 62);
	memcpy(reply, head, sizeof(head));
	reply[24] = (uint8_t)(tpm->report_size >> 8);
	reply[25] = (uint8_t)tpm->report_size;
	reply[27] = 34; /* a name, which nobody needs */
	reply[29] = 0x0b;
	return 62;
}

static inline size_t answer_report_read(struct played_tpm *tpm, const uint8_t *command, size_t len, uint8_t *reply)
{
	size_t size = (size_t)command[len - 4] << 8 | command[len - 3],
	       offset = (size_t)command[len - 2] << 8 | command[len - 1];

	if (size > 1024 || offset + size > tpm->report_size)
		return answer_code(reply, size > 1024 ? 0x1c4 : 0x146);
	if (offset == 0 && monotonic_ms() >= tpm->written_at + tpm->refresh_ms)
		memcpy(tpm->input, tpm->pending, 64);
	if (offset == 0)
		make_hcl_report(tpm, tpm->input);
	memset(reply, 0, 16);
	reply[0] = 0x80, reply[1] = 0x02;
	put_be32(reply + 2, (uint32_t)(16 + size + 5));
	put_be32(reply + 10, (uint32_t)(2 + size));
	reply[14] = (uint8_t)(size >> 8), reply[15] = (uint8_t)size;
	memcpy(reply + 16, tpm->report.data + offset, size);
	memcpy(reply + 16 + size, (const uint8_t[5]){0, 0, 1, 0, 0}, 5);
	return 16 + size + 5;
}

/* --- The terminal's other end --- */

static inline void keep_book(struct played_tpm *tpm, uint32_t code, const uint8_t *command, const uint8_t *reply)
{
	bool makes = code == CC_CREATE_PRIMARY || code == CC_CONTEXT_LOAD || code == CC_START_SESSION;
	uint32_t handle = be32(makes ? reply + 10 : command + 10);

	if (be32(reply + 6) != 0 || (!makes && code != CC_FLUSH))
		return;
	for (int i = 0; i < 16; i++) {
		if (tpm->held[i] != (makes ? 0 : handle))
			continue;
		tpm->held[i] = makes ? handle : 0;
		return;
	}
}

/* What a resource manager does when its client has gone; returns how much that was. */
static inline int client_gone(struct played_tpm *tpm)
{
	int left = 0;

	tcflush(tpm->keeper, TCIOFLUSH); /* a reply that nobody reads blocks the relay */
	pthread_mutex_lock(&tpm->lock);
	tcflush(tpm->keeper, TCIOFLUSH);
	for (int i = 0; i < 16; i++) {
		if (tpm->held[i])
			flush_handle(tpm, tpm->held[i]);
		left += tpm->held[i] != 0;
		tpm->held[i] = 0;
	}
	pthread_mutex_unlock(&tpm->lock);
	return left;
}

static inline void write_input_as_another(struct played_tpm *tpm)
{
	uint8_t command[14 + 4 + 4 + 9 + 2 + 64 + 2] = {0x80, 0x02, 0, 0, 0, sizeof(command)}, reply[4096];

	put_be32(command + 6, CC_NV_WRITE);
	put_be32(command + 10, 0x40000001);
	put_be32(command + 14, INDEX_USER_DATA);
	put_be32(command + 18, 9);
	put_be32(command + 22, 0x40000009);
	command[32] = 64;
	memset(command + 33, 0xbb, 64);
	memset(tpm->pending, 0xbb, 64);
	swtpm_command(tpm, command, sizeof(command), reply);
}

static inline void note_write(struct played_tpm *tpm, const uint8_t *command, const uint8_t *reply)
{
	if (be32(command + 14) != INDEX_USER_DATA || be32(reply + 6) != 0)
		return;
	memcpy(tpm->pending, command + 33, 64);
	tpm->written_at = monotonic_ms();
	if (tpm->racing_writes > 0) {
		tpm->racing_writes--;
		write_input_as_another(tpm);
	}
}

static inline bool fault_strikes(struct played_tpm *tpm, uint32_t code)
{
	struct fault *fault = &tpm->fault;

	if (fault->times <= 0 || (fault->command && fault->command != code))
		return false;
	if (fault->skip-- > 0)
		return false;
	fault->times--;
	return true;
}

static inline size_t spoil(const struct fault *fault, uint8_t *reply, size_t len)
{
	switch (fault->kind) {
	case FAULT_CODE:
		return answer_code(reply, fault->code);
	case FAULT_SILENCE:
		return 0;
	case FAULT_SHORTEN:
		put_be32(reply + 2, (uint32_t)(len - fault->code));
		return len - fault->code;
	case FAULT_TRUNCATE:
		return len - fault->code;
	case FAULT_GROW:
		memset(reply + len, 0, fault->code);
		put_be32(reply + 2, (uint32_t)(len + fault->code));
		return len + fault->code;
	case FAULT_EXTRA:
		reply[len] = 0;
		return len + 1;
	case FAULT_FLIP:
		if (fault->code < len)
			reply[fault->code] ^= 0xff;
		return len;
	case FAULT_EXTEND:
		break;
	}
	return len;
}

static inline size_t relay_command(struct played_tpm *tpm, const uint8_t *command, size_t len, uint8_t *reply)
{
	uint32_t code = be32(command + 6), index = code == CC_NV_READ ? be32(command + 14) : be32(command + 10);
	bool strikes = fault_strikes(tpm, code);
	size_t reply_len;

	tpm->seen[tpm->commands++ % 4096] = code;
	if (strikes && tpm->fault.kind == FAULT_CODE)
		return answer_code(reply, tpm->fault.code);
	if (strikes && tpm->fault.kind == FAULT_EXTEND)
		extend_pcr(tpm, tpm->fault.code);
	if (tpm->plays_paravisor && code == CC_NV_READ_PUBLIC && index == INDEX_REPORT)
		reply_len = answer_report_public(tpm, reply);
	else if (tpm->plays_paravisor && code == CC_NV_READ && index == INDEX_REPORT)
		reply_len = answer_report_read(tpm, command, len, reply);
	else
		reply_len = swtpm_command(tpm, command, len, reply);
	keep_book(tpm, code, command, reply);
	if (code == CC_NV_WRITE)
		note_write(tpm, command, reply);
	return strikes ? spoil(&tpm->fault, reply, reply_len) : reply_len;
}

static inline void *run_relay(void *argument)
{
	struct played_tpm *tpm = argument;
	uint8_t command[4096], reply[8192];
	size_t len = 0;

	while (!tpm->stop) {
		struct pollfd waiting = {.fd = tpm->master, .events = POLLIN};
		if (poll(&waiting, 1, 20) <= 0) {
			len = len < 10 ? len : 0; /* of a client that was killed half-way through a command */
			continue;
		}
		ssize_t now = read(tpm->master, command + len, sizeof(command) - len);
		len += now > 0 ? (size_t)now : 0;
		if (len < 10 || len < be32(command + 2))
			continue;
		pthread_mutex_lock(&tpm->lock);
		size_t reply_len = relay_command(tpm, command, len, reply);
		for (size_t sent = 0; sent < reply_len;) {
			ssize_t wrote = write(tpm->master, reply + sent, reply_len - sent);
			sent += wrote > 0 ? (size_t)wrote : 0;
		}
		pthread_mutex_unlock(&tpm->lock);
		len = 0;
	}
	return NULL;
}

/* --- From start to end --- */

static inline void open_terminal(struct played_tpm *tpm)
{
	struct termios raw;

	tpm->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tpm->master < 0 || grantpt(tpm->master) || unlockpt(tpm->master))
		fail_msg("no terminal: %s", strerror(errno));
	const char *name = ptsname(tpm->master);
	snprintf(tpm->device, sizeof(tpm->device), "device:%s", name);
	tpm->keeper = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	tcgetattr(tpm->keeper, &raw);
	cfmakeraw(&raw);
	tcsetattr(tpm->keeper, TCSANOW, &raw);
}

static inline bool have_program(const char *name)
{
	char command[128];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", name);
	return system(command) == 0;
}

/* The report of swtpm's own index, for those who talk to it without the terminal. */
static inline void install_report(struct played_tpm *tpm, const uint8_t input[64])
{
	make_hcl_report(tpm, input);
	write_file(tpm, "hcl.bin", tpm->report.data, tpm->report.len);
	run_tools(tpm, "tpm2_nvundefine -C o 0x01400001");
	tools(tpm, "tpm2_nvdefine -C o -s 2048 -a 'ownerread|ownerwrite|authread|authwrite' 0x01400001\n"
	           "tpm2_nvwrite -C o -i hcl.bin 0x01400001; fl");
}

/* False: swtpm is not installed. */
static inline bool play_tpm(struct played_tpm *tpm)
{
	if (!have_program("swtpm") || !have_program("tpm2_createprimary")) {
		print_message("swtpm or tpm2-tools is not installed: nothing is tested here\n");
		return false;
	}
	*tpm = (struct played_tpm){.directory = "/tmp/skr-tpm-XXXXXX",
	                           .lock = PTHREAD_MUTEX_INITIALIZER,
	                           .plays_paravisor = true,
	                           .report_size = 2600,
	                           .report = BUF(8192)};
	if (!mkdtemp(tpm->directory))
		fail_msg("mkdtemp: %s", strerror(errno));
	tpm->port = free_port_pair();
	snprintf(tpm->swtpm_tcti, sizeof(tpm->swtpm_tcti), "swtpm:host=127.0.0.1,port=%d", tpm->port);
	start_swtpm(tpm);
	tools(tpm, provisioning);
	tpm->ak = read_pem_key(tpm, "ak.pem");
	install_certificate(tpm, &(struct certificate_plan){.days = 300});
	for (uint32_t pcr = 0; pcr < 8; pcr++)
		extend_pcr(tpm, pcr);
	open_terminal(tpm);
	tpm->relay_runs = pthread_create(&tpm->relay, NULL, run_relay, tpm) == 0;
	return true;
}

static inline void remove_directory(const char *path)
{
	DIR *directory = opendir(path);

	for (struct dirent *entry; directory && (entry = readdir(directory));)
		unlinkat(dirfd(directory), entry->d_name, 0);
	if (directory)
		closedir(directory);
	rmdir(path);
}

static inline void played_tpm_done(struct played_tpm *tpm)
{
	tpm->stop = true;
	if (tpm->relay_runs)
		pthread_join(tpm->relay, NULL);
	stop_swtpm(tpm);
	close(tpm->master);
	close(tpm->keeper);
	EVP_PKEY_free(tpm->ak);
	buf_done(&tpm->report);
	remove_directory(tpm->directory);
}

/* As it was after play_tpm(), but for what is in the TPM. */
static inline void calm(struct played_tpm *tpm)
{
	client_gone(tpm);
	pthread_mutex_lock(&tpm->lock);
	tpm->fault = (struct fault){0};
	tpm->commands = 0;
	tpm->omits_user_data = tpm->names_another_ak = false;
	tpm->refresh_ms = tpm->racing_writes = 0;
	tpm->plays_paravisor = true;
	pthread_mutex_unlock(&tpm->lock);
}

static inline void strike(struct played_tpm *tpm, struct fault fault)
{
	pthread_mutex_lock(&tpm->lock);
	tpm->fault = fault;
	pthread_mutex_unlock(&tpm->lock);
}

/* --- One for a whole program of tests; `there` is false where swtpm is not installed. --- */

static struct played_tpm played;
static bool there;

static int start(void **state)
{
	(void)state;
	assert_ok(ossl_open());
	there = play_tpm(&played);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	if (there)
		played_tpm_done(&played);
	return 0;
}

static int each(void **state)
{
	(void)state;
	if (there)
		calm(&played);
	return 0;
}

#define NEED_TPM()              \
	do {                    \
		(void)state;    \
		if (!there)     \
			skip(); \
	} while (0)

#endif
