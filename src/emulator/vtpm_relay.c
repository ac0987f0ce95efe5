/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm_relay.h"

#include "base/file.h"
#include "emulator/vtpm_nv.h"
#include "emulator/vtpm_provision.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <tss2/tss2_tpm2_types.h>

#define CLIENTS          64
#define REPORT_PERIOD_MS 2000 /* the paravisor's constant: a younger report is not replaced */

enum kind { FREE, DATA, CONTROL };

struct client {
	enum kind kind;
	int fd;
	struct frame in; /* a command so far */
};

struct relay {
	struct vtpm_wire *wire;
	struct relay_machine machine;
	pthread_mutex_t lock; /* of the wire and of everything that commands change */
	pthread_t thread;
	bool running;
	int wake, data, control; /* -1: none */
	struct client clients[CLIENTS];
	struct vtpm_nv indices[2]; /* of the paravisor: report, certificate */
	int64_t reported_at;       /* CLOCK_MONOTONIC ms; 0: not in this boot */
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- the paravisor's indices ---- */

static struct vtpm_nv *find_index(struct relay *relay, uint32_t index)
{
	for (size_t i = 0; index && i < sizeof(relay->indices) / sizeof(relay->indices[0]); i++)
		if (relay->indices[i].index == index)
			return &relay->indices[i];
	return NULL;
}

void relay_set_index(struct relay *relay, uint32_t index, size_t size, const struct buf *data)
{
	struct vtpm_nv *nv = &relay->indices[index == VTPM_REPORT ? 0 : 1];

	*nv = (struct vtpm_nv){.index = size ? index : 0, .size = (uint16_t)size, .written = data != NULL};
	if (data)
		memcpy(nv->data, data->data, data->len < size ? data->len : size);
	if (index == VTPM_REPORT)
		relay->reported_at = 0;
}

/* What the guest wrote into its index; zero bytes where it wrote nothing, or there is no index. */
static skr_status read_user_data(struct relay *relay, uint8_t ret[64])
{
	struct frame command, answer;

	memset(ret, 0, 64);
	for (uint32_t size = 64; size > 0; size /= 2) { /* a smaller index: what there is of it */
		frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_NV_Read);
		frame_put(&command, VTPM_USER_DATA, 4); /* by the index's own password, which is empty */
		frame_put(&command, VTPM_USER_DATA, 4);
		frame_put_password(&command);
		frame_put(&command, size, 2);
		frame_put(&command, 0, 2);
		frame_end(&command);
		TRY(frame_transact(relay->wire, &command, &answer));
		if (frame_code(&answer) == 0 && answer.len >= TPM_HEADER + 6 + size) {
			memcpy(ret, answer.data + TPM_HEADER + 6, size);
			return OK;
		}
		if (frame_code(&answer) != TPM2_RC_NV_RANGE)
			return OK;
	}
	return OK;
}

static skr_status refresh_report(struct relay *relay, struct vtpm_nv *nv)
{
	uint8_t user_data[64];
	auto_buf report = BUF(sizeof(nv->data));

	if (relay->reported_at && now_ms() - relay->reported_at < REPORT_PERIOD_MS)
		return OK;
	TRY(read_user_data(relay, user_data));
	TRY(relay->machine.report(relay->machine.context, user_data, &report));
	relay_set_index(relay, nv->index, nv->size, &report);
	relay->reported_at = now_ms();
	return OK;
}

static skr_status answer_index(struct relay *relay, struct vtpm_nv *nv, uint16_t offset, const struct frame *command,
                               struct frame *answer)
{
	uint32_t session;

	if (nv->index == VTPM_REPORT && offset == 0)
		TRY(refresh_report(relay, nv));
	TRY(vtpm_nv_answer(nv, command, answer, &session));
	return OK;
}

/* ---- commands ---- */

static skr_status execute(struct relay *relay, const struct frame *command, struct frame *answer)
{
	uint16_t offset;
	struct vtpm_nv *nv = find_index(relay, vtpm_nv_target(command, &offset));

	if (nv)
		return answer_index(relay, nv, offset, command, answer);
	return frame_transact(relay->wire, command, answer);
}

static bool send_all(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		data += sent;
		len -= (size_t)sent;
	}
	return true;
}

/* False: the connection ends. */
static bool serve_command(struct relay *relay, struct client *client)
{
	struct frame answer;

	pthread_mutex_lock(&relay->lock);
	skr_status status = execute(relay, &client->in, &answer);
	pthread_mutex_unlock(&relay->lock);
	client->in.len = 0;
	if (status.failure)
		frame_refuse(&answer, TPM2_RC_FAILURE);
	return send_all(client->fd, answer.data, answer.len);
}

/* swtpm's control commands as TSS sends them (swtpm, tpm_ioctl.h): locality, which we grant, and cancelling, which
 * comes too late. Nothing else: a guest does not switch its machine off. */
static bool serve_control(struct client *client)
{
	enum { SET_LOCALITY = 5, CANCEL = 9, BAD_ORDINAL = 10 };
	uint8_t result[4] = {0};
	uint32_t code = client->in.len < 4 ? 0 : frame_get(client->in.data, 4);

	if (client->in.len < 4 || (code == SET_LOCALITY && client->in.len < 5))
		return true;
	if (code != SET_LOCALITY && code != CANCEL)
		frame_set(result, BAD_ORDINAL, 4);
	client->in.len = 0;
	return send_all(client->fd, result, sizeof(result));
}

/* ---- connections ---- */

static void drop(struct relay *relay, struct client *client)
{
	(void)relay;
	close(client->fd);
	client->kind = FREE;
}

static void accept_client(struct relay *relay, int listener, enum kind kind)
{
	int one = 1;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	for (size_t i = 0; i < CLIENTS; i++)
		if (relay->clients[i].kind == FREE) {
			relay->clients[i].kind = kind;
			relay->clients[i].fd = fd;
			relay->clients[i].in.len = 0;
			return;
		}
	close(fd);
}

/* False: the connection ends. */
static bool serve_client(struct relay *relay, struct client *client)
{
	struct frame *in = &client->in;
	ssize_t got = recv(client->fd, in->data + in->len, sizeof(in->data) - in->len, MSG_DONTWAIT);

	if (got <= 0)
		return got < 0 && (errno == EINTR || errno == EAGAIN);
	in->len += (size_t)got;
	if (client->kind == CONTROL)
		return serve_control(client);
	if (in->len < TPM_HEADER)
		return true;
	size_t size = frame_get(in->data + 2, 4);
	if (size < TPM_HEADER || size > sizeof(in->data) || in->len > size)
		return false;
	return in->len < size || serve_command(relay, client);
}

enum { WAKE, LISTEN_DATA, LISTEN_CONTROL, FIRST_CLIENT };

static nfds_t watch(struct relay *relay, struct pollfd ready[FIRST_CLIENT + CLIENTS])
{
	ready[WAKE] = (struct pollfd){.fd = relay->wake, .events = POLLIN};
	ready[LISTEN_DATA] = (struct pollfd){.fd = relay->data, .events = POLLIN};
	ready[LISTEN_CONTROL] = (struct pollfd){.fd = relay->control, .events = POLLIN};
	for (size_t i = 0; i < CLIENTS; i++) {
		const struct client *client = &relay->clients[i];
		ready[FIRST_CLIENT + i] =
		    (struct pollfd){.fd = client->kind == FREE ? -1 : client->fd, .events = POLLIN};
	}
	return FIRST_CLIENT + CLIENTS;
}

static void *serve(void *argument)
{
	struct relay *relay = argument;
	struct pollfd ready[FIRST_CLIENT + CLIENTS];

	for (;;) {
		if (poll(ready, watch(relay, ready), -1) < 0)
			continue;
		if (ready[WAKE].revents)
			break;
		for (size_t i = 0; i < CLIENTS; i++)
			if (ready[FIRST_CLIENT + i].revents && !serve_client(relay, &relay->clients[i]))
				drop(relay, &relay->clients[i]);
		if (ready[LISTEN_DATA].revents)
			accept_client(relay, relay->data, DATA);
		if (ready[LISTEN_CONTROL].revents)
			accept_client(relay, relay->control, CONTROL);
	}
	OPENSSL_thread_stop_ex(ossl);
	return NULL;
}

/* ---- life ---- */

static int listen_on(uint16_t port)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, CLIENTS) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t len = sizeof(address);

	return getsockname(fd, (struct sockaddr *)&address, &len) == 0 ? ntohs(address.sin_port) : 0;
}

/* TSS takes the control port to be the data port's neighbour. */
static skr_status listen_on_neighbours(struct relay *relay, uint16_t *ret_port)
{
	for (int attempt = 0; attempt < 100; attempt++) {
		relay->data = listen_on(0);
		*ret_port = relay->data < 0 ? 0 : port_of(relay->data);
		if (*ret_port && *ret_port < 65535)
			relay->control = listen_on((uint16_t)(*ret_port + 1));
		if (relay->control >= 0)
			return OK;
		if (relay->data >= 0)
			close(relay->data);
		relay->data = -1;
	}
	return FAIL(17, "no two neighbouring ports on loopback for the vTPM: %s", strerror(errno));
}

skr_status relay_open(struct vtpm_wire *wire, const struct relay_machine *machine, struct relay **ret,
                      uint16_t *ret_port)
{
	struct relay *relay = calloc(1, sizeof(*relay));
	uint16_t port;

	if (!relay)
		return FAIL(14, "no memory for the vTPM's relay");
	relay->wire = wire;
	relay->machine = *machine;
	relay->data = relay->control = -1;
	pthread_mutex_init(&relay->lock, NULL);
	relay->wake = eventfd(0, EFD_CLOEXEC);
	skr_status status = listen_on_neighbours(relay, &port);
	if (!status.failure && (relay->wake < 0 || pthread_create(&relay->thread, NULL, serve, relay) != 0))
		status = FAIL(17, "no thread for the vTPM's relay");
	if (status.failure) {
		relay_close(relay);
		return status;
	}
	relay->running = true;
	*ret = relay;
	*ret_port = port;
	return OK;
}

void relay_close(struct relay *relay)
{
	if (!relay)
		return;
	if (relay->running) {
		eventfd_write(relay->wake, 1);
		pthread_join(relay->thread, NULL);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		if (relay->clients[i].kind != FREE)
			close(relay->clients[i].fd);
	const int fds[] = {relay->wake, relay->data, relay->control};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	pthread_mutex_destroy(&relay->lock);
	free(relay);
}

void relay_lock(struct relay *relay)
{
	pthread_mutex_lock(&relay->lock);
}

void relay_unlock(struct relay *relay)
{
	pthread_mutex_unlock(&relay->lock);
}
