/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm_wire.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tss2/tss2_tcti.h>
#include <unistd.h>

extern char **environ;

#define ANSWER_LIMIT_MS 60000 /* keys of 2048 bits take seconds on a loaded machine, not minutes */

enum { SWTPM_DATA = 3, SWTPM_CONTROL = 4 }; /* descriptors in the child */

/* ---- the process ---- */

/* The last words of swtpm's log, for a failure's sentence. */
static void last_words(const char *log, char out[200])
{
	auto_buf text = BUF(64 * 1024);

	if (file_read(log, &text).failure)
		status_clear();
	size_t from = text.len > 199 ? text.len - 199 : 0;
	snprintf(out, 200, "%s", buf_text(&text) + from);
}

static skr_status swtpm_fail(const struct vtpm_wire *wire, const char *what, int error)
{
	char words[200];

	last_words(wire->log, words);
	return FAIL(130, "swtpm: %s: %s: %s", what, error ? strerror(error) : "no answer", words);
}

static int spawn(struct vtpm_wire *wire, const char *dir, const int data, const int control)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t how;
	sigset_t none, all;
	char state[4200];
	/* posix_spawnp's argv is char *const[]; nobody writes to it. */
	const char *const arguments[] = {"swtpm",
	                                 "socket",
	                                 "--tpm2",
	                                 "--tpmstate",
	                                 state,
	                                 "--fd",
	                                 "3",
	                                 "--ctrl",
	                                 "type=unixio,clientfd=4",
	                                 "--flags",
	                                 "not-need-init,startup-clear",
	                                 NULL};

	snprintf(state, sizeof(state), "dir=%s", dir);
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&how);
	posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, wire->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&files, STDOUT_FILENO, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&files, data, SWTPM_DATA);
	posix_spawn_file_actions_adddup2(&files, control, SWTPM_CONTROL);
	/* A process group of its own: what ends us from a terminal must not end it first. */
	posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	posix_spawnattr_setsigmask(&how, &none);
	posix_spawnattr_setsigdefault(&how, &all);
	int error = posix_spawnp(&wire->child, "swtpm", &files, &how, (char *const *)arguments, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&how);
	return error;
}

/* A pair whose far end is above the numbers that the child's ends get. */
static int pair(int *near, int *far)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return errno;
	*near = ends[0];
	*far = fcntl(ends[1], F_DUPFD_CLOEXEC, SWTPM_CONTROL + 1);
	close(ends[1]);
	return *far < 0 ? errno : 0;
}

static skr_status power_on(struct vtpm_wire *wire, const char *dir)
{
	auto_fd data = -1, control = -1;
	int error = pair(&wire->data, &data);

	if (!error)
		error = pair(&wire->control, &control);
	if (!error)
		error = spawn(wire, dir, data, control);
	if (error)
		return FAIL(130, "starting swtpm: %s", strerror(error));
	return OK;
}

skr_status wire_open(struct vtpm_wire *wire, const char *dir)
{
	static const uint8_t get_random[] = {0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8};
	uint8_t answer[TPM_FRAME_LIMIT];
	size_t len;

	*wire = VTPM_WIRE;
	snprintf(wire->log, sizeof(wire->log), "%s/log", dir);
	skr_status status = power_on(wire, dir);
	if (!status.failure)
		status = wire_transact(wire, get_random, sizeof(get_random), answer, &len);
	if (status.failure)
		wire_close(wire);
	return status;
}

void wire_close(struct vtpm_wire *wire)
{
	if (wire->data >= 0)
		close(wire->data); /* which swtpm takes as its end */
	if (wire->control >= 0)
		close(wire->control);
	wire->data = wire->control = -1;
	if (wire->child <= 0)
		return;
	kill(wire->child, SIGTERM);
	while (waitpid(wire->child, NULL, 0) < 0 && errno == EINTR)
		;
	wire->child = 0;
}

/* ---- frames ---- */

static skr_status send_all(const struct vtpm_wire *wire, int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return swtpm_fail(wire, "sending", errno);
		data += sent;
		len -= (size_t)sent;
	}
	return OK;
}

static skr_status receive_all(const struct vtpm_wire *wire, int fd, uint8_t *data, size_t len)
{
	while (len > 0) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		int polled = poll(&ready, 1, ANSWER_LIMIT_MS);
		if (polled < 0 && errno == EINTR)
			continue;
		ssize_t got = polled > 0 ? recv(fd, data, len, 0) : 0;
		if (got <= 0)
			return swtpm_fail(wire, "receiving", got < 0 ? errno : 0);
		data += got;
		len -= (size_t)got;
	}
	return OK;
}

skr_status wire_transact(struct vtpm_wire *wire, const void *command, size_t len, uint8_t *answer, size_t *ret_len)
{
	TRY(send_all(wire, wire->data, command, len));
	TRY(receive_all(wire, wire->data, answer, 10));
	size_t size = (size_t)answer[2] << 24 | (size_t)answer[3] << 16 | (size_t)answer[4] << 8 | answer[5];
	if (size < 10 || size > TPM_FRAME_LIMIT)
		return FAIL(130, "swtpm: an answer of %zu bytes", size);
	TRY(receive_all(wire, wire->data, answer + 10, size - 10));
	*ret_len = size;
	return OK;
}

skr_status wire_power_cycle(struct vtpm_wire *wire)
{
	static const uint8_t init[] = {0, 0, 0, 2, 0, 0, 0, 0}; /* CMD_INIT of swtpm's control channel */
	static const uint8_t startup[] = {0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x44, 0, 0};
	uint8_t result[4], answer[TPM_FRAME_LIMIT];
	size_t len;

	TRY(send_all(wire, wire->control, init, sizeof(init)));
	TRY(receive_all(wire, wire->control, result, sizeof(result)));
	if (result[0] | result[1] | result[2] | result[3])
		return FAIL(130, "swtpm: CMD_INIT gave %#x", result[3]);
	TRY(wire_transact(wire, startup, sizeof(startup), answer, &len));
	if (answer[6] | answer[7] | answer[8] | answer[9])
		return FAIL(130, "swtpm: TPM2_Startup gave %#x", answer[8] << 8 | answer[9]);
	return OK;
}

/* ---- ESYS ---- */

struct wire_esys {
	TSS2_TCTI_CONTEXT_COMMON_V1 tcti; /* first: ESYS has a pointer to it */
	struct vtpm_wire *wire;
	ESYS_CONTEXT *esys;
	size_t len; /* of the answer that waits; 0: none */
	uint8_t answer[TPM_FRAME_LIMIT];
};

static TSS2_RC transmit(TSS2_TCTI_CONTEXT *context, size_t size, const uint8_t *command)
{
	struct wire_esys *esys = (struct wire_esys *)context;

	if (wire_transact(esys->wire, command, size, esys->answer, &esys->len).failure)
		return TSS2_TCTI_RC_IO_ERROR;
	return TSS2_RC_SUCCESS;
}

static TSS2_RC receive(TSS2_TCTI_CONTEXT *context, size_t *size, uint8_t *answer, int32_t timeout)
{
	struct wire_esys *esys = (struct wire_esys *)context;

	(void)timeout;
	if (!answer) {
		*size = esys->len;
		return TSS2_RC_SUCCESS;
	}
	if (*size < esys->len)
		return TSS2_TCTI_RC_INSUFFICIENT_BUFFER;
	memcpy(answer, esys->answer, esys->len);
	*size = esys->len;
	esys->len = 0;
	return TSS2_RC_SUCCESS;
}

skr_status wire_esys_open(struct vtpm_wire *wire, struct wire_esys **ret, ESYS_CONTEXT **ret_esys)
{
	struct wire_esys *esys = calloc(1, sizeof(*esys));

	if (!esys)
		return FAIL(14, "no memory for ESYS");
	*esys = (struct wire_esys){
	    .tcti = {.magic = 0x736b7265, .version = 1, .transmit = transmit, .receive = receive},
	    .wire = wire,
	};
	TSS2_RC code = Esys_Initialize(&esys->esys, (TSS2_TCTI_CONTEXT *)&esys->tcti, NULL);
	if (code != TSS2_RC_SUCCESS) {
		free(esys);
		return FAIL(130, "swtpm: Esys_Initialize: %#x", code);
	}
	*ret = esys;
	*ret_esys = esys->esys;
	return OK;
}

void wire_esys_close(struct wire_esys *esys)
{
	if (!esys)
		return;
	Esys_Finalize(&esys->esys);
	free(esys);
}
