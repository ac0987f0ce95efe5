/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vtpm_relay.h"

#include "base/file.h"
#include "emulator/guest_protocol.h"
#include "emulator/vtpm_faults.h"
#include "emulator/vtpm_nv.h"
#include "emulator/vtpm_provision.h"
#include "emulator/vtpm_space.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <tss2/tss2_tpm2_types.h>

#define CLIENTS          64
#define REPORT_PERIOD_MS 2000 /* the paravisor's constant: a younger report is not replaced */

#define COMMAND_CODES    0x200

enum kind { FREE, DATA, CONTROL };

struct client {
	enum kind kind;
	int fd;
	struct frame in;          /* a command so far */
	struct vtpm_space *space; /* its own, if it is a device (guest_protocol.h); else NULL */
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
	struct vtpm_commands commands;
	struct vtpm_space shared;   /* of the clients that are no devices */
	struct vtpm_space *current; /* of the client whose objects are in the TPM; NULL: nobody's */
	struct vtpm_faults faults;
	uint64_t counts[COMMAND_CODES], connections; /* since they were cleared */
	_Atomic bool ending;
	uint64_t asked, passed; /* rounds of the thread that somebody waits for: settle() */
	pthread_cond_t pass;
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

/* By the owner's empty password, as the paravisor: a lockout does not concern it. */
static skr_status read_guest_index(struct relay *relay, uint32_t size, struct frame *answer)
{
	struct frame command;

	frame_begin(&command, TPM_ST_SESSIONS, TPM2_CC_NV_Read);
	frame_put(&command, TPM2_RH_OWNER, 4);
	frame_put(&command, VTPM_USER_DATA, 4);
	frame_put_password(&command);
	frame_put(&command, size, 2);
	frame_put(&command, 0, 2);
	frame_end(&command);
	return frame_transact(relay->wire, &command, answer);
}

/* What the guest wrote into its index; zero bytes where it wrote nothing, or there is no index. */
static skr_status read_user_data(struct relay *relay, uint8_t ret[64])
{
	struct frame answer;

	memset(ret, 0, 64);
	for (uint32_t size = 64; size > 0; size--) { /* of a smaller index what there is */
		TRY(read_guest_index(relay, size, &answer));
		if (frame_code(&answer) == 0 && answer.len >= TPM_HEADER + 6 + size)
			memcpy(ret, answer.data + TPM_HEADER + 6, size);
		if (frame_code(&answer) != TPM2_RC_NV_RANGE)
			return OK;
	}
	return OK;
}

static skr_status make_report(struct relay *relay, struct vtpm_nv *nv)
{
	uint8_t user_data[64];
	auto_buf report = BUF(sizeof(nv->data));
	struct vtpm_fault due[VTPM_FAULTS];
	struct fault_scene scene = {0};
	size_t count = vtpm_faults_due(&relay->faults, FAULT_ON_REPORT, NULL, 0, due);

	TRY(vtpm_faults_run(due, count, FAULT_REPORT, &scene));
	if (scene.stale && nv->written)
		return OK;
	TRY(read_user_data(relay, user_data));
	TRY(relay->machine.report(relay->machine.context, user_data, scene.other_ak, &report));
	scene.report = &report;
	TRY(vtpm_faults_run(due, count, FAULT_REPORT, &scene));
	relay_set_index(relay, nv->index, nv->size, &report);
	relay->reported_at = now_ms();
	return OK;
}

static skr_status refresh_report(struct relay *relay, struct vtpm_nv *nv)
{
	if (relay->reported_at && now_ms() - relay->reported_at < REPORT_PERIOD_MS)
		return OK;
	return make_report(relay, nv);
}

static skr_status answer_index(struct relay *relay, struct vtpm_space *space, struct vtpm_nv *nv, uint16_t offset,
                               const struct frame *command, struct frame *answer)
{
	uint32_t session;

	if (nv->index == VTPM_REPORT && offset == 0)
		TRY(refresh_report(relay, nv));
	TRY(vtpm_nv_answer(nv, command, answer, &session));
	if (session) {
		space_forget_session(space, session);
		return vtpm_flush(relay->wire, session);
	}
	return OK;
}

/* ---- commands ---- */

/* Whose objects are in the TPM; NULL: nobody's. */
static skr_status make_current(struct relay *relay, struct vtpm_space *space)
{
	struct vtpm_space *last = relay->current;

	if (last == space)
		return OK;
	relay->current = NULL;
	if (last)
		TRY(space_leave(last, relay->wire));
	if (space)
		TRY(space_enter(space, relay->wire));
	relay->current = space;
	return OK;
}

static skr_status execute(struct relay *relay, struct vtpm_space *space, const struct frame *command,
                          struct frame *answer)
{
	uint16_t offset;
	struct frame mapped = *command;
	struct vtpm_nv *nv = find_index(relay, vtpm_nv_target(command, &offset));

	TRY(make_current(relay, space));
	if (nv)
		return answer_index(relay, space, nv, offset, command, answer);
	if (!space_map_command(space, &relay->commands, &mapped)) {
		frame_refuse(answer, TPM2_RC_HANDLE | TPM2_RC_H | TPM2_RC_1); /* nobody's, or another client's */
		return OK;
	}
	TRY(frame_transact(relay->wire, &mapped, answer));
	space_map_answer(space, &relay->commands, &mapped, answer);
	return OK;
}

static skr_status change_tpm(struct relay *relay, const struct vtpm_fault *due, size_t count, enum fault_moment moment,
                             struct fault_scene *scene)
{
	if (!vtpm_faults_have(due, count, moment))
		return OK;
	TRY(make_current(relay, NULL));
	return vtpm_faults_run(due, count, moment, scene);
}

/* With the faults that are due. */
static skr_status perform(struct relay *relay, struct client *client, const struct vtpm_fault *due, size_t count,
                          struct fault_scene *scene)
{
	TRY(change_tpm(relay, due, count, FAULT_BEFORE, scene));
	if (vtpm_faults_have(due, count, FAULT_INSTEAD))
		TRY(vtpm_faults_run(due, count, FAULT_INSTEAD, scene));
	else
		TRY(execute(relay, client->space ? client->space : &relay->shared, &client->in, scene->answer));
	TRY(change_tpm(relay, due, count, FAULT_AFTER, scene));
	return vtpm_faults_run(due, count, FAULT_ANSWER, scene);
}

/* Other clients wait too: a TPM does one thing at a time. Not our end, though. */
static void wait_ms(const struct relay *relay, int64_t ms)
{
	const struct timespec slice = {.tv_nsec = 10 * 1000000};

	for (int64_t until = now_ms() + ms; now_ms() < until && !atomic_load(&relay->ending);)
		nanosleep(&slice, NULL);
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

static size_t count_command(struct relay *relay, const struct frame *command, struct vtpm_fault *due)
{
	pthread_mutex_lock(&relay->lock);
	if (frame_code(command) < COMMAND_CODES)
		relay->counts[frame_code(command)]++;
	size_t count = vtpm_faults_due(&relay->faults, FAULT_ON_COMMAND, command,
	                               vtpm_command_handles(&relay->commands, command), due);
	pthread_mutex_unlock(&relay->lock);
	return count;
}

/* False: the connection ends. */
static bool serve_command(struct relay *relay, struct client *client)
{
	struct frame answer = {0};
	struct vtpm_fault due[VTPM_FAULTS];
	struct fault_scene scene = {
	    .wire = relay->wire,
	    .machine = relay->machine.context,
	    .restart = relay->machine.restart,
	    .replace_ak = relay->machine.replace_ak,
	    .answer = &answer,
	};
	size_t count = count_command(relay, &client->in, due);

	skr_status status = vtpm_faults_run(due, count, FAULT_WAIT, &scene);
	wait_ms(relay, scene.wait_ms);
	pthread_mutex_lock(&relay->lock);
	if (!status.failure)
		status = perform(relay, client, due, count, &scene);
	pthread_mutex_unlock(&relay->lock);
	client->in.len = 0;
	if (status.failure) {
		fprintf(stderr, "skr-emulator: vTPM: %s\n", status_message());
		frame_refuse(&answer, TPM2_RC_FAILURE);
	}
	return !scene.drop && send_all(client->fd, answer.data, answer.len);
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

/* What the client left in the TPM goes with it. */
static void drop(struct relay *relay, struct client *client)
{
	pthread_mutex_lock(&relay->lock);
	if (client->space) {
		if (relay->current == client->space)
			relay->current = NULL;
		if (space_flush(client->space, relay->wire).failure)
			fprintf(stderr, "skr-emulator: vTPM: %s\n", status_message());
	}
	free(client->space);
	client->space = NULL;
	client->kind = FREE;
	pthread_mutex_unlock(&relay->lock);
	close(client->fd);
}

static bool refused(struct relay *relay)
{
	struct vtpm_fault due[VTPM_FAULTS];

	return vtpm_faults_due(&relay->faults, FAULT_ON_CONNECT, NULL, 0, due) > 0;
}

/* False: there is no room, or a fault. */
static bool admit(struct relay *relay, int fd, enum kind kind)
{
	if (kind == DATA && refused(relay))
		return false;
	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *client = &relay->clients[i];
		if (client->kind != FREE)
			continue;
		client->kind = kind;
		client->fd = fd;
		client->in.len = 0;
		relay->connections += kind == DATA;
		return true;
	}
	return false;
}

static void accept_client(struct relay *relay, int listener, enum kind kind)
{
	int one = 1;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	pthread_mutex_lock(&relay->lock);
	bool admitted = admit(relay, fd, kind);
	pthread_mutex_unlock(&relay->lock);
	if (!admitted)
		close(fd);
}

/* No command begins with a zero byte. False: no memory. */
static bool take_greeting(struct client *client)
{
	struct frame *in = &client->in;

	if (client->space || in->len == 0 || in->data[0] != GUEST_TPM_GREETING)
		return true;
	client->space = calloc(1, sizeof(*client->space));
	memmove(in->data, in->data + 1, --in->len);
	return client->space != NULL;
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
	if (!take_greeting(client))
		return false;
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

static void serve_round(struct relay *relay, const struct pollfd ready[FIRST_CLIENT + CLIENTS])
{
	for (size_t i = 0; i < CLIENTS; i++)
		if (ready[FIRST_CLIENT + i].revents && !serve_client(relay, &relay->clients[i]))
			drop(relay, &relay->clients[i]);
	if (ready[LISTEN_DATA].revents)
		accept_client(relay, relay->data, DATA);
	if (ready[LISTEN_CONTROL].revents)
		accept_client(relay, relay->control, CONTROL);
}

static void *serve(void *argument)
{
	struct relay *relay = argument;
	struct pollfd ready[FIRST_CLIENT + CLIENTS];

	while (!atomic_load(&relay->ending)) {
		eventfd_t asked = 0;
		if (poll(ready, watch(relay, ready), -1) < 0)
			continue;
		/* Who asked looks for what happened before; so does this second look. */
		if (ready[WAKE].revents && eventfd_read(relay->wake, &asked) == 0 &&
		    poll(ready, watch(relay, ready), 0) < 0)
			continue;
		serve_round(relay, ready);
		pthread_mutex_lock(&relay->lock);
		relay->passed += asked;
		pthread_cond_broadcast(&relay->pass);
		pthread_mutex_unlock(&relay->lock);
	}
	OPENSSL_thread_stop_ex(ossl);
	return NULL;
}

/* Waits until every connection that has ended by now is cleared away; takes the lock. */
static void settle(struct relay *relay)
{
	struct timespec until;
	int late = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 5; /* a fault may hold the thread up */
	pthread_mutex_lock(&relay->lock);
	uint64_t target = ++relay->asked;
	eventfd_write(relay->wake, 1);
	while (relay->passed < target && !late)
		late = pthread_cond_timedwait(&relay->pass, &relay->lock, &until);
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
	pthread_cond_init(&relay->pass, NULL);
	relay->wake = eventfd(0, EFD_CLOEXEC);
	skr_status status = vtpm_commands_read(wire, &relay->commands);
	if (!status.failure)
		status = listen_on_neighbours(relay, &port);
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
		atomic_store(&relay->ending, true);
		eventfd_write(relay->wake, 1);
		pthread_join(relay->thread, NULL);
	}
	for (size_t i = 0; i < CLIENTS; i++)
		if (relay->clients[i].kind != FREE)
			drop(relay, &relay->clients[i]);
	const int fds[] = {relay->wake, relay->data, relay->control};
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	pthread_cond_destroy(&relay->pass);
	pthread_mutex_destroy(&relay->lock);
	free(relay);
}

/* ---- for those who play with the machine ---- */

skr_status relay_lock(struct relay *relay)
{
	pthread_mutex_lock(&relay->lock);
	skr_status status = make_current(relay, NULL);
	if (status.failure)
		pthread_mutex_unlock(&relay->lock);
	return status;
}

void relay_unlock(struct relay *relay)
{
	pthread_mutex_unlock(&relay->lock);
}

void relay_forget(struct relay *relay)
{
	for (size_t i = 0; i < CLIENTS; i++)
		if (relay->clients[i].space)
			space_forget(relay->clients[i].space);
	space_forget(&relay->shared);
	relay->current = NULL;
	relay->reported_at = 0;
}

skr_status relay_set_faults(struct relay *relay, const json *rules)
{
	return vtpm_faults_set(&relay->faults, rules);
}

void relay_clear_counters(struct relay *relay)
{
	memset(relay->counts, 0, sizeof(relay->counts));
	relay->connections = 0;
}

/* Of one type (TPM_HT). */
static skr_status count_handles(struct relay *relay, uint32_t type, size_t *ret)
{
	struct frame command, answer;

	frame_begin(&command, TPM_ST_NO_SESSIONS, TPM2_CC_GetCapability);
	frame_put(&command, TPM2_CAP_HANDLES, 4);
	frame_put(&command, type << 24, 4);
	frame_put(&command, TPM2_MAX_CAP_HANDLES, 4);
	frame_end(&command);
	TRY(frame_transact(relay->wire, &command, &answer));
	if (frame_code(&answer) != 0 || answer.len < TPM_HEADER + 9)
		return FAIL(130, "swtpm: its list of handles: %#x", frame_code(&answer));
	*ret = frame_get(answer.data + TPM_HEADER + 5, 4);
	return OK;
}

/* What the resource manager holds for a client is as good as in the TPM. */
static skr_status describe_handles(struct relay *relay, json *shown)
{
	size_t transient, loaded, saved, our_objects = 0, our_sessions = 0;

	TRY(count_handles(relay, TPM2_HT_TRANSIENT, &transient));
	TRY(count_handles(relay, TPM2_HT_LOADED_SESSION, &loaded));
	TRY(count_handles(relay, TPM2_HT_SAVED_SESSION, &saved));
	space_count_saved(&relay->shared, &our_objects, &our_sessions);
	for (size_t i = 0; i < CLIENTS; i++)
		if (relay->clients[i].space)
			space_count_saved(relay->clients[i].space, &our_objects, &our_sessions);
	json_set_number(shown, "transient", (int64_t)(transient + our_objects));
	json_set_number(shown, "loaded_sessions", (int64_t)(loaded + our_sessions));
	json_set_number(shown, "saved_sessions", (int64_t)(saved - our_sessions));
	return OK;
}

static json *describe_commands(const struct relay *relay)
{
	json *shown = json_object();
	char name[32];

	for (uint32_t code = 0; code < COMMAND_CODES; code++) {
		if (!relay->counts[code])
			continue;
		vtpm_command_name(code, name);
		json_set_number(shown, name, (int64_t)relay->counts[code]);
	}
	return shown;
}

static int64_t total(const struct relay *relay)
{
	int64_t sum = 0;

	for (uint32_t code = 0; code < COMMAND_CODES; code++)
		sum += (int64_t)relay->counts[code];
	return sum;
}

static int64_t open_connections(const struct relay *relay)
{
	int64_t count = 0;

	for (size_t i = 0; i < CLIENTS; i++)
		count += relay->clients[i].kind == DATA;
	return count;
}

skr_status relay_describe(struct relay *relay, json **ret)
{
	auto_json *shown = json_object();
	json *handles = json_object();

	json_set(shown, "handles", handles);
	settle(relay);
	skr_status status = describe_handles(relay, handles);
	json_set(shown, "commands", describe_commands(relay));
	json_set_number(shown, "total", total(relay));
	json_set_number(shown, "connections", (int64_t)relay->connections);
	json_set_number(shown, "open", open_connections(relay));
	json_set(shown, "faults", vtpm_faults_list(&relay->faults));
	pthread_mutex_unlock(&relay->lock);
	TRY(status);
	*ret = TAKE(shown);
	return OK;
}
