/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TESTS_HTTP_SERVER_H
#define SKR_TESTS_HTTP_SERVER_H

/*
 * A scripted HTTP(S) server on loopback, for one test program: each request it reads takes the next scene of its
 * script. One connection at a time, on a thread of its own. Whatever fails in here aborts the test.
 */
#include "base/ossl.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum scene_end { KEEP, CLOSE, RESET, STALL };

struct scene {
	const char *reply; /* bytes as they go out; NULL: none */
	enum scene_end end;
	int delay_ms;     /* before the reply */
	int drip_ms;      /* between bytes; 0: all at once */
	size_t drip_from; /* what goes out at once before */
	bool at_accept;   /* acts before TLS and before any byte is read */
};

#define SERVER_REQUESTS 24
struct http_server {
	int listener, port;
	SSL_CTX *tls; /* NULL: plain */
	const struct scene *scenes;
	size_t count, next;
	char requests[SERVER_REQUESTS][8192]; /* as they came, cut */
	int request_count, connections;
	pthread_t thread;
	int stop[2];
};

#define MUST(condition)                                                                 \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                        \
		}                                                                       \
	} while (0)

/* ---- certificates ---- */

struct test_certificate {
	const char *name;  /* DNS name; NULL: localhost */
	long from, until;  /* seconds from now; 0, 0: yesterday to tomorrow */
	int bits;          /* 0: 2048 */
	EVP_PKEY *key;     /* made */
	X509 *certificate; /* made, self-signed */
};

static inline void test_certificate_make(struct test_certificate *c)
{
	char name[300];

	snprintf(name, sizeof(name), "DNS:%s", c->name ? c->name : "localhost");
	c->key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)(c->bits ? c->bits : 2048));
	c->certificate = X509_new_ex(ossl, NULL);
	MUST(c->key && c->certificate);
	X509_set_version(c->certificate, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c->certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(c->certificate), c->from || c->until ? c->from : -86400);
	X509_gmtime_adj(X509_getm_notAfter(c->certificate), c->from || c->until ? c->until : 86400);
	X509_NAME *subject = X509_get_subject_name(c->certificate);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)"a scripted server", -1, -1, 0);
	X509_set_issuer_name(c->certificate, subject);
	X509_set_pubkey(c->certificate, c->key);
	X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, name);
	MUST(names && X509_add_ext(c->certificate, names, -1) == 1);
	X509_EXTENSION_free(names);
	MUST(X509_sign(c->certificate, c->key, EVP_sha256()) > 0);
}

static inline void test_certificate_free(struct test_certificate *c)
{
	EVP_PKEY_free(c->key);
	X509_free(c->certificate);
}

/* Writes the certificate to a new file, whose name goes to `path` ("/tmp/…XXXXXX" before). */
static inline void test_certificate_write(const struct test_certificate *c, char *path)
{
	int fd = mkstemp(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	MUST(file && PEM_write_X509(file, c->certificate) == 1);
	fclose(file);
}

/* ---- replies ---- */

/* A whole answer with JSON's type and its length. The caller frees it. */
static inline char *json_reply(int status, const char *headers, const char *body)
{
	char *text = NULL;

	MUST(asprintf(&text, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n%s",
	              status, strlen(body), headers, body) > 0);
	return text;
}

/* ---- serving ---- */

struct server_link {
	int fd;
	SSL *ssl;
};

static inline int link_read(struct server_link *l, char *out, int size)
{
	return l->ssl ? SSL_read(l->ssl, out, size) : (int)recv(l->fd, out, (size_t)size, 0);
}

static inline int link_write(struct server_link *l, const char *bytes, int len)
{
	return l->ssl ? SSL_write(l->ssl, bytes, len) : (int)send(l->fd, bytes, (size_t)len, MSG_NOSIGNAL);
}

/* Sleeps; true if the server is to stop. */
static inline bool server_nap(struct http_server *s, int ms)
{
	struct pollfd stop = {.fd = s->stop[0], .events = POLLIN};
	return poll(&stop, 1, ms) > 0;
}

/* Waits for bytes or the end of the connection; false if the server is to stop. */
static inline bool server_wait(struct http_server *s, struct server_link *l)
{
	struct pollfd fds[2] = {{.fd = s->stop[0], .events = POLLIN}, {.fd = l->fd, .events = POLLIN}};

	if (l->ssl && SSL_pending(l->ssl))
		return true;
	return poll(fds, 2, -1) > 0 && !(fds[0].revents & POLLIN);
}

/* Reads one request, headers and as much body as they announce. False at the end of the connection. */
static inline bool server_read(struct http_server *s, struct server_link *l)
{
	char *into = s->requests[s->request_count < SERVER_REQUESTS ? s->request_count : SERVER_REQUESTS - 1];
	static char all[512 * 1024];
	size_t len = 0, body = 0;
	char *end = NULL;

	all[0] = '\0';
	while (!end || len < (size_t)(end - all) + 4 + body) {
		if (!server_wait(s, l))
			return false;
		int got = link_read(l, all + len, (int)(sizeof(all) - 1 - len));
		if (got <= 0)
			return false;
		len += (size_t)got;
		all[len] = '\0';
		end = strstr(all, "\r\n\r\n");
		char *length = strcasestr(all, "\r\nContent-Length: ");
		body = end && length && length < end ? strtoul(length + 18, NULL, 10) : 0;
	}
	snprintf(into, sizeof(s->requests[0]), "%s", all);
	__atomic_add_fetch(&s->request_count, 1, __ATOMIC_SEQ_CST);
	return true;
}

static inline void server_write(struct http_server *s, struct server_link *l, const struct scene *scene)
{
	size_t len = scene->reply ? strlen(scene->reply) : 0;

	if (scene->delay_ms && server_nap(s, scene->delay_ms))
		return;
	if (!scene->drip_ms) {
		if (len)
			(void)link_write(l, scene->reply, (int)len);
		return;
	}
	if (scene->drip_from)
		(void)link_write(l, scene->reply, (int)scene->drip_from);
	for (size_t i = scene->drip_from; i < len; i++)
		if (link_write(l, scene->reply + i, 1) <= 0 || server_nap(s, scene->drip_ms))
			return;
}

/* Plays one scene's end; true if the connection goes on. */
static inline bool server_end(struct http_server *s, struct server_link *l, enum scene_end end)
{
	struct linger hard = {1, 0};
	char byte;

	if (end == RESET)
		setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	if (end == STALL)
		while (server_wait(s, l) && recv(l->fd, &byte, 1, 0) > 0)
			;
	return end == KEEP;
}

static inline const struct scene *server_next(struct http_server *s)
{
	static const struct scene nothing = {.end = CLOSE};

	return s->next < s->count ? &s->scenes[s->next++] : &nothing;
}

static inline void server_talk(struct http_server *s, int fd)
{
	struct server_link l = {.fd = fd};
	bool on = true;

	if (s->next < s->count && s->scenes[s->next].at_accept) {
		const struct scene *scene = server_next(s);
		server_write(s, &l, scene);
		on = server_end(s, &l, scene->end);
	}
	if (on && s->tls) {
		l.ssl = SSL_new(s->tls);
		SSL_set_fd(l.ssl, fd);
		on = SSL_accept(l.ssl) == 1;
	}
	while (on && server_read(s, &l)) {
		const struct scene *scene = server_next(s);
		server_write(s, &l, scene);
		on = server_end(s, &l, scene->end);
		if (scene->end == CLOSE && l.ssl)
			SSL_shutdown(l.ssl);
	}
	SSL_free(l.ssl);
	close(fd);
}

static inline void *server_run(void *with)
{
	struct http_server *s = with;

	for (;;) {
		struct pollfd fds[2] = {{.fd = s->stop[0], .events = POLLIN}, {.fd = s->listener, .events = POLLIN}};
		int one = 1;

		if (poll(fds, 2, -1) < 0 || (fds[0].revents & POLLIN))
			return NULL;
		int fd = accept(s->listener, NULL, NULL);
		if (fd < 0)
			continue;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		s->connections++;
		server_talk(s, fd);
	}
}

/* `certificate` NULL: plain http. `max_version` 0: any TLS version. */
static inline struct http_server *server_start(const struct scene *scenes, size_t count,
                                               const struct test_certificate *certificate, int max_version)
{
	struct http_server *s = calloc(1, sizeof(*s));
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(at);

	MUST(s && pipe(s->stop) == 0);
	signal(SIGPIPE, SIG_IGN);
	s->scenes = scenes;
	s->count = count;
	if (certificate) {
		s->tls = SSL_CTX_new_ex(ossl, NULL, TLS_server_method());
		MUST(s->tls);
		SSL_CTX_set_security_level(s->tls, 0);
		SSL_CTX_set_min_proto_version(s->tls, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(s->tls, max_version);
		if (max_version && max_version < TLS1_2_VERSION)
			SSL_CTX_set_cipher_list(s->tls, "ALL:@SECLEVEL=0");
		MUST(SSL_CTX_use_certificate(s->tls, certificate->certificate) == 1);
		MUST(SSL_CTX_use_PrivateKey(s->tls, certificate->key) == 1);
	}
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(bind(s->listener, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(s->listener, 8) == 0);
	MUST(getsockname(s->listener, (struct sockaddr *)&at, &size) == 0);
	s->port = ntohs(at.sin_port);
	MUST(pthread_create(&s->thread, NULL, server_run, s) == 0);
	return s;
}

static inline void server_stop(struct http_server *s)
{
	MUST(write(s->stop[1], "x", 1) == 1);
	pthread_join(s->thread, NULL);
	close(s->listener);
	close(s->stop[0]);
	close(s->stop[1]);
	SSL_CTX_free(s->tls);
	free(s);
}

#endif
