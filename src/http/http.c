/* SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include "base/file.h"
#include "base/ossl.h"
#include "http/attempt.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Failure-matrix section 1, "Limit per attempt". */
/* clang-format off */
const struct http_limits http_limits_metadata = {1000, 8000,  5000, 10000, 5000, 1024};
const struct http_limits http_limits_entra    = {5000, 8000, 20000, 20000, 5000, 1024};
const struct http_limits http_limits_service  = {5000, 8000, 20000, 30000, 5000, 1024};
/* clang-format on */

/* A clock this far from the peer's is worth a word. */
#define CLOCK_TOLERANCE_S 300

static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Alpine, Arch */
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL, Azure Linux */
    "/etc/pki/tls/certs/ca-bundle.crt",                  /* older ones of that family */
    "/etc/ssl/ca-bundle.pem",                            /* SUSE */
    NULL,
};

void http_answer_done(struct http_answer *answer)
{
	buf_done(&answer->body);
}

/* ---- opening ---- */

static bool usable_bundle(const char *path)
{
	auto_buf bytes = BUF(8 * 1024 * 1024);

	return !file_read(path, &bytes).failure && bytes.len > 0;
}

static skr_status find_bundle(const struct config *config, const char **ret_path)
{
	if (config->ca_file) {
		if (!usable_bundle(config->ca_file))
			return FAIL(7, "ca_file %s is missing, empty or not readable", config->ca_file);
		*ret_path = config->ca_file;
		return OK;
	}
	for (size_t i = 0; bundles[i]; i++)
		if (usable_bundle(bundles[i])) {
			*ret_path = bundles[i];
			return OK;
		}
	return FAIL(7, "tried %s, %s, %s, %s", bundles[0], bundles[1], bundles[2], bundles[3]);
}

skr_status http_open(const struct config *config, struct http **ret_http)
{
	const char *ca_file = NULL;

	TRY(find_bundle(config, &ca_file));
	/* libcurl would write the TLS secrets of our sessions into the file this names. */
	unsetenv("SSLKEYLOGFILE");
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return FAIL(14, "libcurl does not start");

	auto_http *http = calloc(1, sizeof(*http));
	if (!http) {
		curl_global_cleanup();
		return FAIL(14, "no memory for an HTTP client");
	}
	http->config = config;
	http->ca_file = ca_file;
	http->multi = curl_multi_init();
	http->easy = curl_easy_init();
	if (!http->multi || !http->easy)
		return FAIL(14, "no memory for an HTTP client");
	*ret_http = TAKE(http);
	return OK;
}

void http_close(struct http *http)
{
	if (!http)
		return;
	curl_easy_cleanup(http->easy);
	curl_multi_cleanup(http->multi);
	curl_global_cleanup();
	free(http);
}

skr_status http_escape(const char *text, struct buf *out)
{
	static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (; *text; text++) {
		if (strchr(unreserved, *text))
			TRY(buf_append(out, text, 1));
		else
			TRY(buf_printf(out, "%%%02X", (unsigned)(unsigned char)*text));
	}
	return OK;
}

/* ---- what libcurl tells us while it works ---- */

static int on_socket(void *with, curl_socket_t fd, curlsocktype purpose)
{
	/* One repeated SYN: a dead address is given up after 3 s, and the next one gets its turn. */
	int repeats = 1;

	(void)purpose;
	setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &repeats, sizeof(repeats));
	attempt_enter(with, CONNECTING);
	return CURL_SOCKOPT_OK;
}

static int on_request(void *with, char *peer, char *local, int peer_port, int local_port)
{
	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	attempt_enter(with, WAITING);
	return CURL_PREREQFUNC_OK;
}

static int64_t asn1_seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void name_text(const X509_NAME *name, char *out, size_t size)
{
	auto_bio *bio = BIO_new(BIO_s_mem());
	int len = -1;

	if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0)
		len = BIO_read(bio, out, (int)size - 1);
	out[len > 0 ? len : 0] = '\0';
}

static void remember_certificate(struct peer_certificate *peer, X509 *certificate)
{
	if (!certificate)
		return;
	peer->seen = true;
	name_text(X509_get_subject_name(certificate), peer->subject, sizeof(peer->subject));
	name_text(X509_get_issuer_name(certificate), peer->issuer, sizeof(peer->issuer));
	peer->not_before = asn1_seconds(X509_get0_notBefore(certificate));
	peer->not_after = asn1_seconds(X509_get0_notAfter(certificate));
}

/* libssl's own verification, nothing less; we only look at what it looked at. */
static int on_verify(X509_STORE_CTX *store, void *with)
{
	struct attempt *a = with;
	int ok = X509_verify_cert(store);

	a->peer.error = X509_STORE_CTX_get_error(store);
	X509 *culprit = X509_STORE_CTX_get_current_cert(store);
	remember_certificate(&a->peer, ok == 1 || !culprit ? X509_STORE_CTX_get0_cert(store) : culprit);
	return ok;
}

static CURLcode on_tls(CURL *easy, void *ssl_ctx, void *with)
{
	(void)easy;
	SSL_CTX_set_security_level(ssl_ctx, 2); /* no SHA-1, no RSA below 2048 bits, whatever openssl.cnf says */
	SSL_CTX_set_options(ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_cert_verify_callback(ssl_ctx, on_verify, with);
	attempt_enter(with, HANDSHAKING);
	return CURLE_OK;
}

/* ---- setting up ---- */

/* The pins of a host, in libcurl's form; NULL: none. Pins name a host with or without its port. */
static const char *pins_of(const struct config *config, const char *host)
{
	size_t name = strcspn(host, ":");

	for (size_t i = 0; i < config->pin_count; i++) {
		size_t len = strcspn(config->pins[i], " ");

		if (config->pins[i][len] == ' ' && strncasecmp(config->pins[i], host, len) == 0 &&
		    (len == strlen(host) || len == name))
			return config->pins[i] + len + strspn(config->pins[i] + len, " ");
	}
	return NULL;
}

#define auto_slist __attribute__((cleanup(slist_done))) struct curl_slist
static void slist_done(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

static skr_status slist_add(struct curl_slist **list, const char *line)
{
	for (const char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			return FAIL(599, "a request header holds a control character");
	struct curl_slist *longer = curl_slist_append(*list, line);
	if (!longer)
		return FAIL(14, "no memory for request headers");
	*list = longer;
	return OK;
}

static skr_status headers_of(const struct http_request *request, struct curl_slist **list)
{
	char type[96];

	TRY(slist_add(list, "Accept: application/json"));
	TRY(slist_add(list, "Expect:")); /* libcurl would wait for a "100 Continue" with large bodies */
	if (request->body) {
		snprintf(type, sizeof(type), "Content-Type: %s", request->content_type ? request->content_type : "");
		TRY(slist_add(list, type));
	}
	for (size_t i = 0; i < sizeof(request->headers) / sizeof(request->headers[0]) && request->headers[i]; i++)
		TRY(slist_add(list, request->headers[i]));
	return OK;
}

/* Each sets one thing after the other until one is refused. */
#define SET(option, value)                                          \
	do {                                                        \
		if (rc == CURLE_OK)                                 \
			rc = curl_easy_setopt(easy, option, value); \
	} while (0)

static CURLcode set_request(CURL *easy, const struct http_request *request, struct curl_slist *headers)
{
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_USERAGENT, "skr-pkcs11/" SKR_VERSION);
	SET(CURLOPT_HTTPHEADER, headers);
	if (strcmp(request->method, "POST") == 0) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		SET(CURLOPT_POSTFIELDS, request->body ? request->body : "");
	}
	return rc;
}

/* What libcurl would do by itself, or by the environment's word, and must not. */
static CURLcode set_manners(CURL *easy, const struct http *http, const struct attempt *a)
{
	CURLcode rc = CURLE_OK;
	char proxy[300] = ""; /* an empty text, not NULL: NULL would mean the environment's */

	if (a->proxied)
		snprintf(proxy, sizeof(proxy), "http://%s", http->config->https_proxy);
	SET(CURLOPT_PROXY, proxy);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_HTTPPROXYTUNNEL, a->proxied ? 1L : 0L);
	SET(CURLOPT_PROXYAUTH, CURLAUTH_NONE);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_PROTOCOLS_STR, a->request->direct ? "http,https" : "https");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_HTTPAUTH, CURLAUTH_NONE);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* do not wait for a resolver that hangs */
	return rc;
}

static CURLcode set_trust(CURL *easy, const struct http *http, struct attempt *a)
{
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_CAINFO, http->ca_file);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_PINNEDPUBLICKEY, pins_of(http->config, a->host));
	SET(CURLOPT_SSL_CTX_FUNCTION, on_tls);
	SET(CURLOPT_SSL_CTX_DATA, a);
	return rc;
}

/* Limits are kept by wait_or_give_up(); libcurl's own are only a net beneath. */
static CURLcode set_watch(CURL *easy, struct attempt *a)
{
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)a->request->limits->whole_ms);
	SET(CURLOPT_TIMEOUT_MS, (long)a->request->limits->whole_ms + 1000L);
	SET(CURLOPT_ERRORBUFFER, a->error);
	SET(CURLOPT_SOCKOPTFUNCTION, on_socket);
	SET(CURLOPT_SOCKOPTDATA, a);
	SET(CURLOPT_PREREQFUNCTION, on_request);
	SET(CURLOPT_PREREQDATA, a);
	SET(CURLOPT_HEADERFUNCTION, attempt_on_header);
	SET(CURLOPT_HEADERDATA, a);
	SET(CURLOPT_WRITEFUNCTION, attempt_on_body);
	SET(CURLOPT_WRITEDATA, a);
	return rc;
}
#undef SET

static skr_status set_up(struct http *http, struct attempt *a, struct curl_slist *headers)
{
	CURL *easy = http->easy;
	CURLcode rc;

	curl_easy_reset(easy); /* connections stay */
	if ((rc = set_request(easy, a->request, headers)) != CURLE_OK ||
	    (rc = set_manners(easy, http, a)) != CURLE_OK || (rc = set_trust(easy, http, a)) != CURLE_OK ||
	    (rc = set_watch(easy, a)) != CURLE_OK)
		return FAIL(599, "libcurl refuses a setting: %s", curl_easy_strerror(rc));
	return OK;
}

/* "https://HOST[:PORT]/…" to "HOST:PORT". */
static skr_status host_of(const char *url, char *out, size_t size)
{
	bool tls = strncmp(url, "https://", 8) == 0;

	if (!tls && strncmp(url, "http://", 7) != 0)
		return FAIL(599, "an address that is neither http nor https");
	url += tls ? 8 : 7;
	int len = (int)strcspn(url, "/?#");
	bool port = memchr(url, ':', (size_t)len) && url[len - 1] != ']';
	if (snprintf(out, size, "%.*s%s", len, url, port ? "" : tls ? ":443" : ":80") >= (int)size)
		return FAIL(599, "an address with a host name above %zu bytes", size);
	return OK;
}

/* ---- the call ---- */

/* Milliseconds until the next limit is reached, never negative. */
static int64_t until_next_limit(const struct attempt *a, struct deadline deadline)
{
	const struct http_limits *limits = a->request->limits;
	int64_t now = monotonic_ms(), at = a->began + limits->whole_ms;
	const int64_t phase_ends[] = {
	    [RESOLVING] = at,
	    [CONNECTING] = a->phase_began + limits->connect_ms,
	    [HANDSHAKING] = a->phase_began + limits->tls_ms,
	    [WAITING] = a->phase_began + limits->first_byte_ms,
	    [RECEIVING] = a->window_began + limits->window_ms,
	};

	if (phase_ends[a->phase] < at)
		at = phase_ends[a->phase];
	if (deadline.at < at)
		at = deadline.at;
	return at > now ? at - now : 0;
}

/* Fails if a limit is reached; a receiving window with enough bytes in it is only followed by the next. */
static skr_status wait_or_give_up(struct http *http, struct attempt *a, struct deadline deadline)
{
	int64_t wait = until_next_limit(a, deadline);
	int64_t now = monotonic_ms();

	if (wait == 0) {
		bool window_over = a->phase == RECEIVING && now >= a->window_began + a->request->limits->window_ms;

		if (!window_over || a->window_bytes < a->request->limits->window_bytes ||
		    now >= a->began + a->request->limits->whole_ms || deadline_left(deadline) == 0)
			return attempt_timed_out(http, a);
		a->window_began = now;
		a->window_bytes = 0;
		return OK;
	}
	curl_multi_poll(http->multi, NULL, 0, (int)(wait < 1000 ? wait : 1000), NULL);
	return OK;
}

static skr_status run(struct http *http, struct attempt *a, struct deadline deadline)
{
	int running = 1, left;
	skr_status status = OK;

	while (running && !status.failure) {
		if (curl_multi_perform(http->multi, &running) != CURLM_OK)
			return FAIL(599, "libcurl fails inside");
		if (running)
			status = wait_or_give_up(http, a, deadline);
	}
	if (status.failure)
		return status;
	CURLMsg *message = curl_multi_info_read(http->multi, &left);
	CURLcode code = message ? message->data.result : CURLE_FAILED_INIT;
	if (code != CURLE_OK)
		return attempt_explain(http, a, code);
	if (!a->headers_done) /* libcurl is content with a connection that ends inside the headers */
		return FAIL(205, "%s closes inside its headers", a->host);
	return OK;
}

static skr_status perform(struct http *http, struct attempt *a, struct deadline deadline)
{
	auto_slist *headers = NULL;

	TRY(headers_of(a->request, &headers));
	TRY(set_up(http, a, headers));
	if (deadline_left(deadline) == 0)
		return FAIL(207, "%s: no time left to ask", a->host);
	if (curl_multi_add_handle(http->multi, http->easy) != CURLM_OK)
		return FAIL(14, "libcurl takes no request");
	skr_status status = run(http, a, deadline);
	curl_multi_remove_handle(http->multi, http->easy); /* ends it, and its connection, if it is still under way */
	return status;
}

/* What clocks say is a hint for messages, never a decision. */
static void compare_clocks(struct http *http, const struct attempt *a)
{
	time_t date = a->date[0] ? curl_getdate(a->date, NULL) : (time_t)-1;

	if (date == (time_t)-1)
		return;
	http->clock_known = true;
	http->clock_ahead = (int64_t)date - (int64_t)time(NULL);
	http->clock_differs = llabs((long long)http->clock_ahead) > CLOCK_TOLERANCE_S;
}

bool http_clock(const struct http *http, int64_t *ret_ahead)
{
	if (http->clock_known)
		*ret_ahead = http->clock_ahead;
	return http->clock_known;
}

static void amend(const struct attempt *a)
{
	struct status_record *record = status_amend();

	snprintf(record->host, sizeof(record->host), "%s", a->host);
	record->http = a->answer.status;
	snprintf(record->reqid, sizeof(record->reqid), "%s", a->answer.request_id);
}

skr_status http_call(struct http *http, const struct http_request *request, struct deadline deadline,
                     struct http_answer *ret_answer)
{
	struct attempt a = {
	    .request = request,
	    .answer = {.body = BUF(request->answer_limit), .retry_after_s = -1},
	    .began = monotonic_ms(),
	    .proxied = http->config->https_proxy && !request->direct,
	};

	a.phase_began = a.window_began = a.began;
	TRY(host_of(request->url, a.host, sizeof(a.host)));
	skr_status status = perform(http, &a, deadline);
	compare_clocks(http, &a);
	if (status.failure) {
		amend(&a);
		http_answer_done(&a.answer);
		return status;
	}
	*ret_answer = a.answer;
	return OK;
}
