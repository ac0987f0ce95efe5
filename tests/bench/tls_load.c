/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that makes full TLS handshakes with a server on this machine and asks it for its process number:
 *
 *     tls_load [-n COUNT | -s SECONDS] [-t THREADS] [-v 1.2|1.3] [-k rsa|ec] [-c CERTIFICATE.PEM] -a CA.PEM PORT
 *
 * -k chooses which of the server's two certificates is asked for; CERTIFICATE.PEM has the client's certificate and key.
 * Without -n and -s it goes on until SIGINT. One line tells how many handshakes there were, how many failed, how long
 * they took, and how long the first one of each server process took. Status 1 if any failed: then the first reasons are
 * on stderr.
 */
#include "base/ossl.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 64, MAX_PROCESSES = 1024, SHOWN_FAILURES = 5, PATIENCE_SECONDS = 20 };

#define DIE(...)                              \
	do {                                  \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		exit(2);                      \
	} while (0)

static struct options {
	long count;
	double seconds;
	int threads;
	int version; /* 0: what both sides like best */
	const char *kind, *certificate, *ca;
	int port;
} options = {.threads = 1};

static SSL_CTX *ctx;
static double begin;
static atomic_long started, failed;
static volatile sig_atomic_t ended;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct process {
	long pid;
	double first; /* seconds */
} processes[MAX_PROCESSES];
static size_t process_count;

struct client {
	pthread_t thread;
	double *took;
	size_t done, space;
};

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* --- one connection ------------------------------------------------------------------------------------------------
 */

static int connect_to_server(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)options.port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		DIE("no socket: %m");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* The number in the body of the server's answer; 0 if there is no good answer. */
static long ask_for_pid(SSL *ssl)
{
	static const char request[] = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
	char answer[2048];
	size_t have = 0;
	int n;

	if (SSL_write(ssl, request, sizeof(request) - 1) <= 0)
		return 0;
	while (have < sizeof(answer) - 1 && (n = SSL_read(ssl, answer + have, (int)(sizeof(answer) - 1 - have))) > 0)
		have += (size_t)n;
	answer[have] = '\0';
	const char *body = strstr(answer, "\r\n\r\n");
	return strncmp(answer, "HTTP/1.1 200", 12) == 0 && body ? atol(body + 4) : 0;
}

/* What went wrong, of which only the first few are of interest. */
static void failure(const char *what)
{
	char reason[256] = "no more is known";

	if (ERR_peek_error())
		ERR_error_string_n(ERR_peek_error(), reason, sizeof(reason));
	ERR_clear_error();
	if (atomic_fetch_add(&failed, 1) < SHOWN_FAILURES)
		fprintf(stderr, "%s after %.1f s: %s\n", what, seconds() - begin, reason);
}

static void note_process(long pid, double took)
{
	pthread_mutex_lock(&lock);
	size_t i = 0;
	while (i < process_count && processes[i].pid != pid)
		i++;
	if (i == process_count && process_count < MAX_PROCESSES)
		processes[process_count++] = (struct process){.pid = pid, .first = took};
	pthread_mutex_unlock(&lock);
}

static void note_time(struct client *c, double took)
{
	if (c->done == c->space) {
		c->space = c->space ? 2 * c->space : 1024;
		c->took = realloc(c->took, c->space * sizeof(*c->took));
		if (!c->took)
			DIE("no memory");
	}
	c->took[c->done++] = took;
}

static void handshake(struct client *c)
{
	double from = seconds();
	int fd = connect_to_server();
	SSL *ssl = SSL_new(ctx);

	if (fd < 0) {
		failure("no connection");
	} else if (!ssl || SSL_set_fd(ssl, fd) != 1 || SSL_set1_host(ssl, "localhost") != 1) {
		failure("no connection object");
	} else if (SSL_connect(ssl) != 1) {
		failure("a failed handshake");
	} else {
		double took = seconds() - from;
		long pid = ask_for_pid(ssl);
		if (pid) {
			note_time(c, took);
			note_process(pid, took);
		} else {
			failure("no answer");
		}
		SSL_shutdown(ssl);
	}
	SSL_free(ssl);
	if (fd >= 0)
		close(fd);
}

static bool more(void)
{
	return !ended && (options.count == 0 || atomic_fetch_add(&started, 1) < options.count) &&
	       (options.seconds <= 0 || seconds() - begin < options.seconds);
}

static void *client_run(void *arg)
{
	while (more())
		handshake(arg);
	return NULL;
}

/* --- all of them ---------------------------------------------------------------------------------------------------
 */

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static void set_up(void)
{
	const char *algorithms = strcmp(options.kind, "rsa") == 0  ? "rsa_pss_rsae_sha256:rsa_pkcs1_sha256"
	                         : strcmp(options.kind, "ec") == 0 ? "ecdsa_secp256r1_sha256"
	                                                           : NULL;
	ctx = SSL_CTX_new_ex(ossl, NULL, TLS_client_method());
	if (!ctx || SSL_CTX_load_verify_file(ctx, options.ca) != 1)
		DIE("cannot read %s", options.ca);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (options.version && (!SSL_CTX_set_min_proto_version(ctx, options.version) ||
	                        !SSL_CTX_set_max_proto_version(ctx, options.version)))
		DIE("unknown version");
	if (algorithms && SSL_CTX_set1_sigalgs_list(ctx, algorithms) != 1)
		DIE("unknown algorithms");
	/* TLS 1.2 chooses the certificate by cipher. */
	if (algorithms &&
	    SSL_CTX_set_cipher_list(ctx, options.kind[0] == 'r' ? "ECDHE+aRSA+AESGCM" : "ECDHE+ECDSA+AESGCM") != 1)
		DIE("unknown ciphers");
	if (options.certificate && (SSL_CTX_use_certificate_chain_file(ctx, options.certificate) != 1 ||
	                            SSL_CTX_use_PrivateKey_file(ctx, options.certificate, SSL_FILETYPE_PEM) != 1))
		DIE("cannot use %s", options.certificate);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void sorted(double *values, size_t count, double *ret_median, double *ret_max)
{
	*ret_median = *ret_max = 0;
	if (count == 0)
		return;
	qsort(values, count, sizeof(*values), by_size);
	*ret_median = values[count / 2];
	*ret_max = values[count - 1];
}

static void tell(struct client *clients, double lasted)
{
	struct client all = {0};
	double first[MAX_PROCESSES], median, max, first_median, first_max;

	for (int i = 0; i < options.threads; i++)
		for (size_t j = 0; j < clients[i].done; j++)
			note_time(&all, clients[i].took[j]);
	for (size_t i = 0; i < process_count; i++)
		first[i] = processes[i].first;
	sorted(all.took, all.done, &median, &max);
	sorted(first, process_count, &first_median, &first_max);
	printf("handshakes=%zu failed=%ld seconds=%.3f median_ms=%.2f max_ms=%.2f processes=%zu first_median_ms=%.2f "
	       "first_max_ms=%.2f\n",
	       all.done, atomic_load(&failed), lasted, 1e3 * median, 1e3 * max, process_count, 1e3 * first_median,
	       1e3 * first_max);
	free(all.took);
}

static void parse(int argc, char **argv)
{
	int option;

	options.kind = "";
	while ((option = getopt(argc, argv, "n:s:t:v:k:c:a:")) != -1)
		switch (option) {
		case 'n':
			options.count = atol(optarg);
			break;
		case 's':
			options.seconds = atof(optarg);
			break;
		case 't':
			options.threads = atoi(optarg);
			break;
		case 'v':
			options.version = strcmp(optarg, "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
			break;
		case 'k':
			options.kind = optarg;
			break;
		case 'c':
			options.certificate = optarg;
			break;
		case 'a':
			options.ca = optarg;
			break;
		default:
			exit(2);
		}
	if (optind + 1 != argc || !options.ca || options.threads < 1 || options.threads > MAX_THREADS)
		DIE("usage: tls_load [-n COUNT | -s SECONDS] [-t THREADS] [-v 1.2|1.3] [-k rsa|ec] [-c CERTIFICATE] -a "
		    "CA PORT");
	options.port = atoi(argv[optind]);
}

int main(int argc, char **argv)
{
	struct client clients[MAX_THREADS] = {0};

	parse(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, end);
	if (ossl_open().failure)
		DIE("%s", status_message());
	set_up();
	begin = seconds();
	for (int i = 0; i < options.threads; i++)
		if (pthread_create(&clients[i].thread, NULL, client_run, &clients[i]))
			DIE("no thread");
	for (int i = 0; i < options.threads; i++)
		pthread_join(clients[i].thread, NULL);
	tell(clients, seconds() - begin);
	for (int i = 0; i < options.threads; i++)
		free(clients[i].took);
	SSL_CTX_free(ctx);
	return atomic_load(&failed) ? 1 : 0;
}
