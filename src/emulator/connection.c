/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/connection.h"

#include "base/deadline.h"
#include "emulator/tls.h"

#include <openssl/err.h>
#include <openssl/rand.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_MS 20000
#define CHUNK        16384

struct connection {
	struct connections *all;
	struct connection *next;
	enum service service;
	int client, inner, library_fd;
	SSL *ssl;                 /* NULL: plain http */
	struct connect_plan plan; /* faults of the connection itself */

	pthread_mutex_t lock; /* for what connection_answer sets */
	struct wire wire;
	size_t body_len;
	bool fresh; /* no byte of the answer has passed */

	/* of the answer under way */
	int64_t sent, body_sent; /* body_sent < 0: still in the head */
	unsigned head_end;       /* how much of \r\n\r\n was seen */
	uint64_t noise;
};

struct connections {
	struct emulator *e;
	adopt_fn *adopt;
	void *library;
	struct tls *tls;
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct connection *first;
};

/* ---- bytes to and from the client ---- */

/* False if `events` do not come in time. */
static bool wait_for(int fd, short events, int64_t ms)
{
	struct pollfd p = {.fd = fd, .events = events};
	struct deadline deadline = deadline_in(ms);

	for (;;) {
		int n = poll(&p, 1, (int)deadline_left(deadline));
		if (n > 0)
			return true;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

/* After a call of SSL_… that did not succeed: true if it may be repeated. */
static bool tls_wait(struct connection *c, int result)
{
	switch (SSL_get_error(c->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return wait_for(c->client, POLLIN, HANDSHAKE_MS);
	case SSL_ERROR_WANT_WRITE:
		return wait_for(c->client, POLLOUT, HANDSHAKE_MS);
	default:
		return false;
	}
}

static bool socket_write(int fd, const uint8_t *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (!wait_for(fd, POLLOUT, HANDSHAKE_MS))
				return false;
			continue;
		}
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static bool client_write(struct connection *c, const uint8_t *data, size_t len)
{
	size_t written;

	if (!c->ssl)
		return socket_write(c->client, data, len);
	while (len > 0) {
		ERR_clear_error();
		int result = SSL_write_ex(c->ssl, data, len, &written);
		if (result == 1) {
			data += written;
			len -= written;
		} else if (!tls_wait(c, result)) {
			return false;
		}
	}
	return true;
}

/* 0: nothing there now; -1: the end. */
static ssize_t client_read(struct connection *c, uint8_t *data, size_t size)
{
	size_t got;

	if (!c->ssl) {
		ssize_t n = recv(c->client, data, size, 0);
		return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
	}
	ERR_clear_error();
	int result = SSL_read_ex(c->ssl, data, size, &got);
	if (result == 1)
		return (ssize_t)got;
	int error = SSL_get_error(c->ssl, result);
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* ---- ends ---- */

/* Sleeps, but notices when the client leaves; false then. */
static bool pause_ms(const struct connection *c, int64_t ms)
{
	struct pollfd p = {.fd = c->client, .events = POLLRDHUP};

	return poll(&p, 1, (int)ms) == 0;
}

static void end_with_reset(struct connection *c)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt(c->client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

static void end_politely(struct connection *c)
{
	if (c->ssl && SSL_is_init_finished(c->ssl) && SSL_get_error(c->ssl, 0) != SSL_ERROR_SSL)
		SSL_shutdown(c->ssl);
	shutdown(c->client, SHUT_WR);
}

static void end_as_planned(struct connection *c)
{
	/* An answer that came whole shall be seen before the reset, though the client may still be writing. */
	if (c->wire.cut_at == AT_END)
		pause_ms(c, 100);
	if (c->wire.reset)
		end_with_reset(c);
	else if (c->wire.abrupt)
		shutdown(c->client, SHUT_WR);
	else
		end_politely(c);
}

/* ---- one answer and its faults ---- */

static bool write_slowly(struct connection *c, const uint8_t *data, size_t len, int64_t rate)
{
	size_t step = rate >= 10 ? (size_t)rate / 10 : 1;
	int64_t ms = rate >= 10 ? 100 : 1000 / rate;

	for (size_t at = 0; at < len; at += step) {
		size_t part = len - at < step ? len - at : step;
		if (!client_write(c, data + at, part) || !pause_ms(c, ms))
			return false;
	}
	return true;
}

/* Every sixteenth byte or so becomes another, always the same ones for a seed. xorshift64. */
static void garble(struct connection *c, uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		c->noise ^= c->noise << 13;
		c->noise ^= c->noise >> 7;
		c->noise ^= c->noise << 17;
		if (c->noise % 16 == 0)
			data[i] ^= (uint8_t)(c->noise >> 32) | 1;
	}
}

/* Ciphertext that no key of this connection made. */
static bool write_bad_record(struct connection *c)
{
	uint8_t record[5 + 48] = {0x17, 0x03, 0x03, 0x00, 48};

	RAND_bytes_ex(ossl, record + 5, 48, 0);
	return socket_write(c->client, record, sizeof(record));
}

/* How many of the next `len` bytes may pass; counts where in head and body they are. */
static size_t allowed(struct connection *c, const uint8_t *data, size_t len)
{
	int64_t body_at = c->wire.body_at;

	if (c->wire.cut_at == AT_BODY)
		body_at = (int64_t)c->body_len / 2;
	if (c->wire.cut_at == AT_END)
		body_at = (int64_t)c->body_len;
	for (size_t i = 0; i < len; i++) {
		if ((c->wire.cut_at >= 0 && c->sent >= c->wire.cut_at) || (body_at >= 0 && c->body_sent >= body_at))
			return i;
		c->sent++;
		if (c->body_sent >= 0) {
			c->body_sent++;
			continue;
		}
		c->head_end = data[i] == (c->head_end % 2 ? '\n' : '\r') ? c->head_end + 1 : data[i] == '\r';
		if (c->head_end == 4)
			c->body_sent = 0;
	}
	return len;
}

static bool at_the_cut(const struct connection *c)
{
	int64_t body_at = c->wire.cut_at == AT_BODY  ? (int64_t)c->body_len / 2
	                  : c->wire.cut_at == AT_END ? (int64_t)c->body_len
	                                             : c->wire.body_at;

	return (c->wire.cut_at >= 0 && c->sent >= c->wire.cut_at) || (body_at >= 0 && c->body_sent >= body_at);
}

static bool begin_answer(struct connection *c)
{
	c->fresh = false;
	if (c->wire.bad_record || c->plan.bad_record)
		return write_bad_record(c);
	if (c->wire.prefix && !client_write(c, (const uint8_t *)c->wire.prefix, strlen(c->wire.prefix)))
		return false;
	if (!c->wire.raw)
		return true;
	if (client_write(c, (const uint8_t *)c->wire.raw, strlen(c->wire.raw)))
		end_as_planned(c);
	return false;
}

/* Passes bytes of the library on; false: the connection is over. */
static bool pass_answer(struct connection *c, uint8_t *data, size_t len)
{
	if (c->wire.stall)
		return true;
	if (c->fresh && !begin_answer(c))
		return false;
	size_t count = allowed(c, data, len);
	if (c->wire.garble)
		garble(c, data, count);
	bool written = c->wire.drip ? write_slowly(c, data, count, c->wire.drip) : client_write(c, data, count);
	if (!written)
		return false;
	if (!at_the_cut(c))
		return true;
	end_as_planned(c);
	return false;
}

static void wire_forget(struct wire *wire)
{
	free(wire->raw);
	free(wire->prefix);
	*wire = (struct wire){.cut_at = AT_NOWHERE, .body_at = AT_NOWHERE};
}

static struct connection *find(struct connections *all, int library_fd)
{
	struct connection *c = all->first;

	while (c && c->library_fd != library_fd)
		c = c->next;
	return c;
}

int connection_service(struct connections *all, int library_fd)
{
	pthread_mutex_lock(&all->lock);
	const struct connection *c = find(all, library_fd);
	int service = c ? (int)c->service : -1;
	pthread_mutex_unlock(&all->lock);
	return service;
}

void connection_answer(struct connections *all, int library_fd, const struct wire *wire, size_t body_len)
{
	pthread_mutex_lock(&all->lock);
	struct connection *c = find(all, library_fd);
	if (c) {
		pthread_mutex_lock(&c->lock);
		wire_forget(&c->wire);
		c->wire = *wire;
		c->wire.raw = wire->raw ? strdup(wire->raw) : NULL;
		c->wire.prefix = wire->prefix ? strdup(wire->prefix) : NULL;
		c->body_len = body_len;
		c->fresh = true;
		c->sent = 0;
		c->body_sent = -1;
		c->head_end = 0;
		c->noise = wire->garble * 0x9e3779b97f4a7c15;
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&all->lock);
}

/* ---- the life of a connection ---- */

static bool from_library(struct connection *c)
{
	uint8_t data[CHUNK];

	ssize_t n = recv(c->inner, data, sizeof(data), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0) {
		end_politely(c);
		return false;
	}
	pthread_mutex_lock(&c->lock);
	bool going = pass_answer(c, data, (size_t)n);
	pthread_mutex_unlock(&c->lock);
	return going;
}

/* The library may answer before it has read everything, so its answers are passed on meanwhile. */
static bool to_library(struct connection *c, const uint8_t *data, size_t len)
{
	struct pollfd p = {.fd = c->inner, .events = POLLIN | POLLOUT};

	while (len > 0) {
		ssize_t n = send(c->inner, data, len, MSG_NOSIGNAL);
		if (n > 0) {
			data += n;
			len -= (size_t)n;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR) {
			while (from_library(c))
				;
			return false;
		}
		if (poll(&p, 1, -1) > 0 && (p.revents & POLLIN) && !from_library(c))
			return false;
	}
	return true;
}

static bool from_client(struct connection *c)
{
	uint8_t data[CHUNK];

	for (;;) {
		ssize_t n = client_read(c, data, sizeof(data));
		if (n < 0)
			return false;
		if (n == 0)
			return true;
		if (!to_library(c, data, (size_t)n))
			return false;
	}
}

static void pump(struct connection *c)
{
	struct pollfd p[2] = {{.fd = c->client, .events = POLLIN}, {.fd = c->inner, .events = POLLIN}};
	bool going = from_client(c);

	while (going) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return;
		if (p[1].revents)
			going = from_library(c);
		if (going && p[0].revents)
			going = from_client(c);
	}
}

static const char *fault_service(enum service service)
{
	static const char *const names[] = {"none", "akv", "maa", "entra", "imds", "none", "sidecar"};

	return names[service];
}

/* The first message of a client names the service, so that is when faults of a connection are chosen. */
static int on_hello(SSL *ssl, int *alert, void *unused)
{
	struct connection *c = SSL_get_app_data(ssl);
	char name[256];
	SSL_CTX *context;

	(void)unused;
	tls_asked_name(ssl, name, sizeof(name));
	enum service service = *name ? service_of_host(name) : SERVICE_VAULT;
	c->plan = faults_connect(c->all->e, fault_service(service));
	*alert = SSL_AD_HANDSHAKE_FAILURE;
	if (c->plan.alert)
		return SSL_CLIENT_HELLO_ERROR;
	if (c->plan.refuse && !c->plan.handshake)
		return SSL_CLIENT_HELLO_RETRY;
	if (c->plan.tls11) {
		SSL_set_security_level(ssl, 0);
		SSL_set_min_proto_version(ssl, TLS1_VERSION);
		SSL_set_max_proto_version(ssl, TLS1_1_VERSION);
	}
	if (c->plan.leaf == LEAF_GOOD)
		return SSL_CLIENT_HELLO_SUCCESS;
	SSL_set_security_level(ssl, 0);
	if (tls_context(c->all->tls, c->plan.leaf, &context).failure || !SSL_set_SSL_CTX(ssl, context))
		return SSL_CLIENT_HELLO_ERROR;
	return SSL_CLIENT_HELLO_SUCCESS;
}

static bool handshake(struct connection *c)
{
	struct deadline deadline = deadline_in(HANDSHAKE_MS);
	SSL_CTX *context;

	if (tls_context(c->all->tls, LEAF_GOOD, &context).failure || !(c->ssl = SSL_new(context)))
		return false;
	SSL_set_app_data(c->ssl, c);
	if (SSL_set_fd(c->ssl, c->client) != 1)
		return false;
	while (deadline_left(deadline) > 0) {
		ERR_clear_error();
		int result = SSL_accept(c->ssl);
		if (result == 1)
			return true;
		/* Once the hello was read, a fault may want the end: before the answer to it, or right after. */
		bool refused =
		    c->plan.refuse && (!c->plan.handshake || SSL_get_error(c->ssl, result) == SSL_ERROR_WANT_READ);
		if (refused || !tls_wait(c, result))
			return false;
	}
	return false;
}

static bool begin(struct connection *c)
{
	if (c->service == SERVICE_NONE)
		return handshake(c) && !c->plan.refuse;
	if (c->service == SERVICE_CONTROL)
		return true;
	c->plan = faults_connect(c->all->e, fault_service(c->service));
	return !c->plan.refuse;
}

/* The pair, one end of which the library serves. */
static bool join_library(struct connection *c)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return false;
	pthread_mutex_lock(&c->all->lock);
	c->inner = pair[0];
	c->library_fd = pair[1];
	pthread_mutex_unlock(&c->all->lock);
	return !c->all->adopt(c->all->library, pair[1]).failure;
}

static void connection_free(struct connection *c)
{
	struct connections *all = c->all;

	pthread_mutex_lock(&all->lock);
	for (struct connection **p = &all->first; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	SSL_free(c->ssl);
	if (c->inner >= 0)
		close(c->inner);
	close(c->client);
	wire_forget(&c->wire);
	pthread_mutex_destroy(&c->lock);
	free(c);
	pthread_cond_broadcast(&all->ended);
	pthread_mutex_unlock(&all->lock);
}

static void *connection_run(void *argument)
{
	struct connection *c = argument;

	if (begin(c) && join_library(c))
		pump(c);
	else if (c->plan.reset)
		end_with_reset(c);
	connection_free(c);
	OPENSSL_thread_stop_ex(ossl);
	return NULL;
}

skr_status connection_start(struct connections *all, int client, enum service service)
{
	struct connection *c = calloc(1, sizeof(*c));
	pthread_attr_t attributes;
	pthread_t thread;

	if (!c) {
		close(client);
		return FAIL(14, "a connection");
	}
	*c = (struct connection){.all = all, .service = service, .client = client, .inner = -1, .library_fd = -1};
	wire_forget(&c->wire);
	pthread_mutex_init(&c->lock, NULL);
	fcntl(client, F_SETFL, fcntl(client, F_GETFL) | O_NONBLOCK);
	pthread_mutex_lock(&all->lock);
	c->next = all->first;
	all->first = c;
	pthread_mutex_unlock(&all->lock);

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int failed = pthread_create(&thread, &attributes, connection_run, c);
	pthread_attr_destroy(&attributes);
	if (failed) {
		connection_free(c);
		return FAIL(16, "a thread for a connection: %s", strerror(failed));
	}
	return OK;
}

skr_status connections_open(struct emulator *e, adopt_fn *adopt, void *library, struct connections **ret)
{
	struct connections *all = calloc(1, sizeof(*all));

	if (!all)
		return FAIL(14, "connections");
	*all = (struct connections){.e = e, .adopt = adopt, .library = library};
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->ended, NULL);
	skr_status status = tls_open(e, on_hello, &all->tls);
	if (status.failure) {
		free(all);
		return status;
	}
	*ret = all;
	return OK;
}

void connections_end(struct connections *all)
{
	if (!all)
		return;
	pthread_mutex_lock(&all->lock);
	for (struct connection *c = all->first; c; c = c->next) {
		shutdown(c->client, SHUT_RDWR);
		if (c->inner >= 0)
			shutdown(c->inner, SHUT_RDWR);
	}
	while (all->first)
		pthread_cond_wait(&all->ended, &all->lock);
	pthread_mutex_unlock(&all->lock);
}

void connections_close(struct connections *all)
{
	if (!all)
		return;
	tls_close(all->tls);
	pthread_cond_destroy(&all->ended);
	pthread_mutex_destroy(&all->lock);
	free(all);
}
