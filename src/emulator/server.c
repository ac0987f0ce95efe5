/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/server.h"

#include "emulator/connection.h"
#include "emulator/dispatch.h"
#include "emulator/machine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <unistd.h>

struct listener {
	int fd;
	uint16_t *port;
	enum service service;
};

#define LISTENERS 4

struct server {
	struct MHD_Daemon *http;
	struct connections *connections;
	struct listener listeners[LISTENERS];
	int signals;
};

/* ---- libmicrohttpd ---- */

static int fd_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

struct header_copy {
	struct exchange *exchange;
	skr_status status;
};

static enum MHD_Result copy_header(void *argument, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct header_copy *copy = argument;

	(void)kind;
	copy->status = exchange_add_header(copy->exchange, name, value ? value : "");
	return copy->status.failure ? MHD_NO : MHD_YES;
}

static ssize_t blanks_for_ever(void *unused, uint64_t at, char *out, size_t size)
{
	(void)unused;
	(void)at;
	memset(out, ' ', size);
	return (ssize_t)size;
}

static struct MHD_Response *make_response(const struct call *call)
{
	const struct exchange *x = &call->exchange;

	if (call->plan.endless)
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, blanks_for_ever, NULL, NULL);
	return MHD_create_response_from_buffer(x->reply.len, x->reply.data, MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result send_answer(struct emulator *e, struct MHD_Connection *connection, const struct call *call)
{
	const struct exchange *x = &call->exchange;
	struct MHD_Response *response = make_response(call);

	if (!response)
		return MHD_NO;
	if (x->content_type && *x->content_type)
		MHD_add_response_header(response, "Content-Type", x->content_type);
	for (size_t i = 0; i < x->reply_headers.count; i++) {
		const struct pair *header = &x->reply_headers.items[i];
		MHD_add_response_header(response, header->name, header->value);
	}
	connection_answer(e->server->connections, fd_of(connection), &call->plan.wire, x->reply.len);
	enum MHD_Result result = MHD_queue_response(connection, (unsigned)x->status, response);
	MHD_destroy_response(response);
	return result;
}

/* A new request: its head is known. */
static skr_status take_head(struct emulator *e, struct MHD_Connection *connection, const char *method,
                            struct call *call, const char *target)
{
	struct exchange *x = &call->exchange;
	const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
	struct header_copy copy = {x, OK};
	int service = connection_service(e->server->connections, fd_of(connection));

	x->service = service > 0 ? (enum service)service : SERVICE_NONE;
	x->tls = x->service == SERVICE_NONE;
	TRY(exchange_open(x, method, host ? host : "", target));
	MHD_get_connection_values(connection, MHD_HEADER_KIND, copy_header, &copy);
	TRY(copy.status);
	return dispatch_head(e, call);
}

/* libmicrohttpd gives the request's target once as it was sent, and keeps what we return for us. */
static void *keep_target(void *unused, const char *target, struct MHD_Connection *connection)
{
	(void)unused;
	(void)connection;
	struct call *call = calloc(1, sizeof(*call));
	if (call)
		call->exchange.path = strdup(target);
	return call;
}

static enum MHD_Result begin_request(struct emulator *e, struct MHD_Connection *connection, const char *method,
                                     struct call *call)
{
	auto_text *target = TAKE(call->exchange.path);

	call->began = 0;
	if (!target || take_head(e, connection, method, call, target).failure)
		return MHD_NO;
	if (!call->plan.early)
		return MHD_YES;
	if (reply_error(&call->exchange, 503, "ServiceUnavailable", NULL, "As the fault rule says.").failure)
		return MHD_NO;
	dispatch_body(e, call);
	return send_answer(e, connection, call);
}

static enum MHD_Result on_request(void *argument, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data, size_t *data_len,
                                  void **state)
{
	struct emulator *e = argument;
	struct call *call = *state;

	(void)url;
	(void)version;
	if (!call)
		return MHD_NO;
	if (!call->exchange.method)
		return begin_request(e, connection, method, call);
	if (*data_len > 0) {
		if (buf_append(&call->exchange.body, data, *data_len).failure)
			return MHD_NO;
		*data_len = 0;
		return MHD_YES;
	}
	dispatch_body(e, call);
	return send_answer(e, connection, call);
}

static void on_completed(void *unused, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
	(void)unused;
	(void)connection;
	(void)code;
	call_free(TAKE(*state));
}

/* Paths and queries are decoded by exchange.c, from the target as it was sent. */
static size_t leave_escaped(void *unused, struct MHD_Connection *connection, char *text)
{
	(void)unused;
	(void)connection;
	return strlen(text);
}

static skr_status adopt(void *library, int fd)
{
	struct sockaddr_un nobody = {.sun_family = AF_UNIX};

	if (MHD_add_connection(library, fd, (struct sockaddr *)&nobody, sizeof(nobody)) != MHD_YES)
		return FAIL(599, "libmicrohttpd does not take a connection");
	return OK;
}

static skr_status http_start(struct emulator *e)
{
	e->server->http = MHD_start_daemon(
	    MHD_USE_NO_LISTEN_SOCKET | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
	        MHD_USE_ITC | MHD_USE_SUPPRESS_DATE_NO_CLOCK,
	    0, NULL, NULL, on_request, e, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_URI_LOG_CALLBACK,
	    keep_target, NULL, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)256 * 1024, MHD_OPTION_CONNECTION_LIMIT, 1000u, MHD_OPTION_END);
	return e->server->http ? OK : FAIL(599, "libmicrohttpd does not start");
}

/* ---- listening ---- */

static skr_status loopback_address(const char *text, uint16_t port, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	if (inet_pton(AF_INET, text, &v4.sin_addr) == 1 && ntohl(v4.sin_addr.s_addr) >> 24 == 127) {
		memcpy(ret, &v4, sizeof(v4));
		*ret_len = sizeof(v4);
		return OK;
	}
	if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr)) {
		memcpy(ret, &v6, sizeof(v6));
		*ret_len = sizeof(v6);
		return OK;
	}
	return FAIL(
	    5,
	    "the emulator hands out keys to whoever asks, so it listens on loopback only: --listen %s is neither in "
	    "127.0.0.0/8 nor ::1",
	    text);
}

static skr_status listen_on(const char *where, struct listener *listener)
{
	struct sockaddr_storage address = {0};
	socklen_t len;
	int yes = 1;

	TRY(loopback_address(where, *listener->port, &address, &len));
	listener->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener->fd < 0)
		return FAIL(16, "socket: %s", strerror(errno));
	setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(listener->fd, (struct sockaddr *)&address, len) != 0 || listen(listener->fd, 512) != 0)
		return FAIL(16, "port %u of %s: %s", *listener->port, where, strerror(errno));
	getsockname(listener->fd, (struct sockaddr *)&address, &len);
	*listener->port = ntohs(((struct sockaddr_in *)&address)->sin_port);
	return OK;
}

static skr_status open_listeners(struct emulator *e, const char *where)
{
	e->server->listeners[0] = (struct listener){-1, &e->https_port, SERVICE_NONE};
	e->server->listeners[1] = (struct listener){-1, &e->imds_port, SERVICE_METADATA};
	e->server->listeners[2] = (struct listener){-1, &e->control_port, SERVICE_CONTROL};
	e->server->listeners[3] = (struct listener){-1, &e->sidecar_port, SERVICE_SIDECAR};
	int count = machine_traits(e->kind)->container ? LISTENERS : LISTENERS - 1;
	for (int i = 0; i < count; i++)
		TRY(listen_on(where, &e->server->listeners[i]));
	return OK;
}

skr_status server_open(struct emulator *e, const char *where, const sigset_t *ends)
{
	e->server = calloc(1, sizeof(*e->server));
	if (!e->server)
		return FAIL(14, "the server");
	e->server->signals = -1;
	for (int i = 0; i < LISTENERS; i++)
		e->server->listeners[i].fd = -1;
	TRY(open_listeners(e, where));
	e->server->signals = signalfd(-1, ends, SFD_CLOEXEC | SFD_NONBLOCK);
	if (e->server->signals < 0)
		return FAIL(16, "signalfd: %s", strerror(errno));
	TRY(http_start(e));
	return connections_open(e, adopt, e->server->http, &e->server->connections);
}

static void accept_one(struct server *server, const struct listener *listener)
{
	int yes = 1, fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if (connection_start(server->connections, fd, listener->service).failure)
		fprintf(stderr, "skr-emulator: %s\n", status_message());
}

/* True if a signal was there; others of the same number may have come meanwhile. */
static bool take_signal(const struct server *server, int *ret)
{
	struct signalfd_siginfo about;

	if (read(server->signals, &about, sizeof(about)) != sizeof(about))
		return false;
	*ret = (int)about.ssi_signo;
	return true;
}

skr_status server_run(struct emulator *e, int *ret_signal)
{
	struct server *server = e->server;
	struct pollfd p[LISTENERS + 1] = {{.fd = server->signals, .events = POLLIN}};

	/* poll passes over a descriptor that is -1. */
	for (int i = 0; i < LISTENERS; i++)
		p[i + 1] = (struct pollfd){.fd = server->listeners[i].fd, .events = POLLIN};
	for (;;) {
		if (poll(p, LISTENERS + 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			return FAIL(599, "poll: %s", strerror(errno));
		}
		if (p[0].revents && take_signal(server, ret_signal))
			return OK;
		for (int i = 0; i < LISTENERS; i++)
			if (p[i + 1].revents)
				accept_one(server, &server->listeners[i]);
	}
}

void server_close(struct emulator *e)
{
	struct server *server = e->server;

	if (!server)
		return;
	for (int i = 0; i < LISTENERS; i++)
		if (server->listeners[i].fd >= 0)
			close(server->listeners[i].fd);
	connections_end(server->connections);
	if (server->http)
		MHD_stop_daemon(server->http);
	connections_close(server->connections);
	if (server->signals >= 0)
		close(server->signals);
	free(TAKE(e->server));
}
