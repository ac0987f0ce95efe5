/* SPDX-License-Identifier: Apache-2.0 */
#include "http/http.h"

#include "base/file.h"
#include "base/ossl.h"

#include <curl/curl.h>
#include <errno.h>
#include <netdb.h>
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

/* Threat model section 10. */
#define HEADER_BLOCK_LIMIT (16 * 1024)
#define HEADER_LINES_LIMIT 64
#define HEADER_LINE_LIMIT  (4 * 1024)
#define INTERIM_LIMIT      4
#define CHUNKS_LIMIT       1024

/* A clock this far from the peer's is worth a word. */
#define CLOCK_TOLERANCE_S 300

static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Ubuntu, Alpine, Arch */
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* Fedora, RHEL, Azure Linux */
    "/etc/pki/tls/certs/ca-bundle.crt",                  /* older ones of that family */
    "/etc/ssl/ca-bundle.pem",                            /* SUSE */
    NULL,
};

struct http {
	const struct config *config;
	const char *ca_file; /* borrowed: from the configuration or `bundles` */
	CURLM *multi;
	CURL *easy;
	bool clock_differs;  /* known, and beyond the tolerance */
	int64_t clock_ahead; /* how far the last peer's Date was ahead of our clock, seconds */
};

enum phase { RESOLVING, CONNECTING, HANDSHAKING, WAITING, RECEIVING };

/* The certificate that the peer showed, kept for the message should it be refused. */
struct peer_certificate {
	bool seen;
	int error; /* X509_V_… */
	char subject[128], issuer[128];
	int64_t not_before, not_after; /* seconds since 1970 */
};

/* One attempt under way. */
struct attempt {
	const struct http_request *request;
	struct http_answer answer;
	char host[256]; /* with port */
	bool proxied;

	enum phase phase;
	int64_t began, phase_began, window_began;
	size_t window_bytes;

	int interim; /* 1xx answers seen */
	size_t header_bytes, header_lines;
	bool headers_done, chunked, length_known;
	size_t length, pieces;
	char content_type[96], location[256], date[48];

	struct peer_certificate peer;
	skr_status refused; /* what a callback of ours found; its sentence is this thread's record */
	char error[CURL_ERROR_SIZE];
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

/* ---- small readers ---- */

/* The text behind "Name:" without blanks around it, copied; longer values are cut. False if the line has another name.
 */
static bool header_is(const char *line, size_t len, const char *name, char *out, size_t size)
{
	size_t skip = strlen(name);

	if (len <= skip || strncasecmp(line, name, skip) != 0 || line[skip] != ':')
		return false;
	line += skip + 1;
	len -= skip + 1;
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	if (len >= size)
		len = size - 1;
	memcpy(out, line, len);
	out[len] = '\0';
	return true;
}

static bool decimal(const char *text, int64_t *ret)
{
	int64_t value = 0;
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 15 || text[digits] != '\0')
		return false;
	for (; *text; text++)
		value = value * 10 + (*text - '0');
	*ret = value;
	return true;
}

int64_t http_retry_after(const char *text, int64_t now)
{
	int64_t seconds;

	if (decimal(text, &seconds))
		return seconds;
	if (text[0] < 'A' || text[0] > 'z') /* a date begins with its weekday; "-5" or "1.5" is neither */
		return -1;
	time_t date = curl_getdate(text, NULL);
	if (date == (time_t)-1)
		return -1;
	return date > now ? (int64_t)date - now : 0;
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

static void day_text(int64_t seconds, char out[24])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, 24, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		snprintf(out, 24, "unknown");
}

/* ---- what libcurl tells us while it works ---- */

static void enter(struct attempt *a, enum phase phase)
{
	if (a->phase == phase)
		return;
	a->phase = phase;
	a->phase_began = a->window_began = monotonic_ms();
	a->window_bytes = 0;
}

static int on_socket(void *with, curl_socket_t fd, curlsocktype purpose)
{
	/* One repeated SYN: a dead address is given up after 3 s, and the next one gets its turn. */
	int repeats = 1;

	(void)purpose;
	setsockopt(fd, IPPROTO_TCP, TCP_SYNCNT, &repeats, sizeof(repeats));
	enter(with, CONNECTING);
	return CURL_SOCKOPT_OK;
}

static int on_request(void *with, char *peer, char *local, int peer_port, int local_port)
{
	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	enter(with, WAITING);
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
	enter(with, HANDSHAKING);
	return CURLE_OK;
}

static skr_status status_line_check(struct attempt *a, const char *line, size_t len)
{
	if (len < 12 || (memcmp(line, "HTTP/1.1 ", 9) != 0 && memcmp(line, "HTTP/1.0 ", 9) != 0) ||
	    strspn(line + 9, "0123456789") != 3)
		return FAIL(209, "%s: malformed status line", a->host);
	if (a->answer.status >= 100 && a->answer.status < 200 && ++a->interim > INTERIM_LIMIT)
		return FAIL(210, "%s sends more than %d interim answers", a->host, INTERIM_LIMIT);
	a->answer.status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
	a->content_type[0] = a->location[0] = a->date[0] = '\0';
	a->chunked = a->length_known = false;
	return OK;
}

static skr_status length_header(struct attempt *a, const char *value)
{
	int64_t length;

	if (!decimal(value, &length))
		return FAIL(208, "%s announces a length that is none", a->host);
	if (a->length_known)
		return FAIL(208, "%s announces its length twice", a->host);
	if ((uint64_t)length > a->request->answer_limit)
		return FAIL(208, "%s announces %lld bytes, above the limit of %zu", a->host, (long long)length,
		            a->request->answer_limit);
	a->length_known = true;
	a->length = (size_t)length;
	return OK;
}

static skr_status header_line(struct attempt *a, const char *line, size_t len)
{
	char value[64];
	struct http_answer *answer = &a->answer;

	if (line[0] == ' ' || line[0] == '\t' || memchr(line, '\0', len) || !memchr(line, ':', len))
		return FAIL(209, "%s: malformed header line %zu", a->host, a->header_lines);
	if (a->headers_done)
		return OK; /* a trailer says nothing to us */
	if (header_is(line, len, "Content-Length", value, sizeof(value)))
		return length_header(a, value);
	if (header_is(line, len, "Transfer-Encoding", value, sizeof(value))) {
		a->chunked = true;
		return strcasecmp(value, "chunked") == 0 ? OK : FAIL(212, "%s: transfer encoding %s", a->host, value);
	}
	if (header_is(line, len, "Content-Encoding", value, sizeof(value)) && strcasecmp(value, "identity") != 0)
		return FAIL(212, "%s: content encoding %s, which was not asked for", a->host, value);
	if (header_is(line, len, "Retry-After", value, sizeof(value)))
		answer->retry_after_s = http_retry_after(value, time(NULL));
	header_is(line, len, "Content-Type", a->content_type, sizeof(a->content_type));
	header_is(line, len, "Location", a->location, sizeof(a->location));
	header_is(line, len, "Date", a->date, sizeof(a->date));
	header_is(line, len, "WWW-Authenticate", answer->challenge, sizeof(answer->challenge));
	if (!answer->request_id[0] &&
	    !header_is(line, len, "x-ms-request-id", answer->request_id, sizeof(answer->request_id)))
		header_is(line, len, "request-id", answer->request_id, sizeof(answer->request_id));
	return OK;
}

/* "application/json", "application/jwk+json" and the like; parameters do not matter. */
static bool is_json(const char *content_type)
{
	size_t len = strcspn(content_type, "; \t");

	return len >= 16 && strncasecmp(content_type, "application/", 12) == 0 &&
	       strncasecmp(content_type + len - 4, "json", 4) == 0;
}

static skr_status headers_complete(struct attempt *a)
{
	int status = a->answer.status;

	if (status < 200)
		return OK;
	a->headers_done = true;
	if (a->chunked && a->length_known)
		return FAIL(208, "%s announces both a length and chunks", a->host);
	if (status >= 300 && status < 400)
		return FAIL(211, "%s answers %d and points to \"%s\"", a->host, status, a->location);
	if (status != 200 && (status < 400 || status > 599))
		return FAIL(210, "%s answers %d", a->host, status);
	if (status == 200 && a->content_type[0] && !is_json(a->content_type))
		return FAIL(212, "%s answers with %s, not JSON%s", a->host, a->content_type,
		            strncasecmp(a->content_type, "text/html", 9) == 0 ? ": a web page in the service's place"
		                                                              : "");
	a->answer.until_close = !a->chunked && !a->length_known;
	return OK;
}

static skr_status header_received(struct attempt *a, const char *line, size_t len)
{
	a->header_lines++;
	a->header_bytes += len;
	if (len > HEADER_LINE_LIMIT || a->header_bytes > HEADER_BLOCK_LIMIT || a->header_lines > HEADER_LINES_LIMIT)
		return FAIL(208, "%s sends headers above the limit of %d lines, %d bytes each, %d bytes in all",
		            a->host, HEADER_LINES_LIMIT, HEADER_LINE_LIMIT, HEADER_BLOCK_LIMIT);
	if (len < 2 || line[len - 2] != '\r' || line[len - 1] != '\n')
		return FAIL(209, "%s: header line %zu does not end in CR LF", a->host, a->header_lines);
	len -= 2;
	if (len == 0)
		return a->headers_done ? OK : headers_complete(a);
	if (!a->headers_done && len >= 5 && memcmp(line, "HTTP/", 5) == 0)
		return status_line_check(a, line, len);
	return header_line(a, line, len);
}

/* libcurl's callbacks say "stop" by taking fewer bytes than they were given. */
static size_t verdict(struct attempt *a, skr_status status, size_t taken)
{
	a->refused = status;
	return status.failure ? 0 : taken;
}

static size_t on_header(char *line, size_t size, size_t len, void *with)
{
	struct attempt *a = with;

	enter(a, RECEIVING);
	a->window_bytes += size * len;
	return verdict(a, header_received(a, line, size * len), size * len);
}

static size_t on_body(char *bytes, size_t size, size_t len, void *with)
{
	struct attempt *a = with;

	a->window_bytes += size * len;
	if (a->chunked && ++a->pieces > CHUNKS_LIMIT)
		return verdict(a, FAIL(208, "%s sends more than %d chunks", a->host, CHUNKS_LIMIT), 0);
	if (a->answer.body.len + size * len > a->request->answer_limit)
		return verdict(
		    a, FAIL(208, "%s sends more than the limit of %zu bytes", a->host, a->request->answer_limit), 0);
	return verdict(a, buf_append(&a->answer.body, bytes, size * len), size * len);
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

static skr_status set_up(struct http *http, struct attempt *a, struct curl_slist *headers)
{
	const struct http_request *request = a->request;
	CURL *easy = http->easy;
	CURLcode rc = CURLE_OK;
	char proxy[300] = "";

	if (a->proxied)
		snprintf(proxy, sizeof(proxy), "http://%s", http->config->https_proxy);
	curl_easy_reset(easy);
#define SET(option, value)                                          \
	do {                                                        \
		if (rc == CURLE_OK)                                 \
			rc = curl_easy_setopt(easy, option, value); \
	} while (0)
	SET(CURLOPT_URL, request->url);
	SET(CURLOPT_PROTOCOLS_STR, request->direct ? "http,https" : "https");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_HTTPAUTH, CURLAUTH_NONE);
	SET(CURLOPT_USERAGENT, "skr-pkcs11/" SKR_VERSION);
	SET(CURLOPT_HTTPHEADER, headers);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L); /* do not wait for a resolver that hangs */
	SET(CURLOPT_ERRORBUFFER, a->error);

	/* An empty text, not NULL: NULL would mean the environment's. */
	SET(CURLOPT_PROXY, proxy);
	SET(CURLOPT_NOPROXY, "");
	SET(CURLOPT_HTTPPROXYTUNNEL, a->proxied ? 1L : 0L);
	SET(CURLOPT_PROXYAUTH, CURLAUTH_NONE);
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);

	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_CAINFO, http->ca_file);
	SET(CURLOPT_CAPATH, NULL);
	SET(CURLOPT_SSL_SESSIONID_CACHE, 0L);
	SET(CURLOPT_PINNEDPUBLICKEY, pins_of(http->config, a->host));
	SET(CURLOPT_SSL_CTX_FUNCTION, on_tls);
	SET(CURLOPT_SSL_CTX_DATA, a);

	/* Limits are kept by wait_or_give_up(); libcurl's own are only a net beneath. */
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)request->limits->whole_ms);
	SET(CURLOPT_TIMEOUT_MS, (long)request->limits->whole_ms + 1000L);
	SET(CURLOPT_SOCKOPTFUNCTION, on_socket);
	SET(CURLOPT_SOCKOPTDATA, a);
	SET(CURLOPT_PREREQFUNCTION, on_request);
	SET(CURLOPT_PREREQDATA, a);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, a);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, a);
	if (strcmp(request->method, "POST") == 0) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		SET(CURLOPT_POSTFIELDS, request->body ? request->body : "");
	}
#undef SET
	return rc == CURLE_OK ? OK : FAIL(599, "libcurl refuses a setting: %s", curl_easy_strerror(rc));
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

/* ---- why it failed ---- */

/* The resolver's words reach us through libcurl as "could not resolve", so a quick failure is asked for once more. */
static skr_status resolve_failed(const struct attempt *a)
{
	char name[256];
	struct addrinfo *found = NULL, hints = {.ai_socktype = SOCK_STREAM};

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(a->host, ":"), a->host);
	if (monotonic_ms() - a->phase_began > 2000)
		return FAIL(200, "%s: the resolver gave no answer", name);
	int rc = getaddrinfo(name, NULL, &hints, &found);
	if (rc == 0)
		freeaddrinfo(found);
	if (rc == EAI_NONAME || rc == EAI_NODATA)
		return FAIL(201, "%s: %s", name, gai_strerror(rc));
	return FAIL(200, "%s: %s", name, rc ? gai_strerror(rc) : "failed, then succeeded");
}

static skr_status proxy_failed(struct http *http, const struct attempt *a, const char *why)
{
	long status = 0;

	curl_easy_getinfo(http->easy, CURLINFO_HTTP_CONNECTCODE, &status);
	if (status >= 300 && status < 500)
		return FAIL(231, "proxy %s answers %ld to CONNECT %s", http->config->https_proxy, status, a->host);
	if (status >= 500)
		return FAIL(230, "proxy %s answers %ld to CONNECT %s", http->config->https_proxy, status, a->host);
	return FAIL(230, "proxy %s, for %s: %s", http->config->https_proxy, a->host, why);
}

static skr_status connect_failed(struct http *http, const struct attempt *a)
{
	long error = 0;

	curl_easy_getinfo(http->easy, CURLINFO_OS_ERRNO, &error);
	if (error == EMFILE || error == ENFILE)
		return FAIL(16, "%s: no descriptor for a connection", a->host);
	if (a->proxied)
		return proxy_failed(http, a, error ? strerror((int)error) : "no connection");
	return FAIL(203, "%s: %s", a->host, error ? strerror((int)error) : a->error);
}

static bool is_about_time(int error)
{
	return error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID;
}

static skr_status certificate_failed(const struct http *http, const struct attempt *a)
{
	const struct peer_certificate *peer = &a->peer;
	char from[24], until[24], clock[24];
	int64_t now = time(NULL), peers = now + http->clock_ahead;

	if (!peer->seen)
		return FAIL(220, "%s: %s", a->host, a->error);
	day_text(peer->not_before, from);
	day_text(peer->not_after, until);
	day_text(now, clock);
	if (is_about_time(peer->error) && http->clock_differs && peers >= peer->not_before && peers <= peer->not_after)
		return FAIL(19,
		            "certificate of %s, valid %s to %s, would be good by the peers' clock, which is %lld s %s "
		            "ours (%s)",
		            a->host, from, until, llabs((long long)http->clock_ahead),
		            http->clock_ahead > 0 ? "ahead of" : "behind", clock);
	return FAIL(
	    220, "%s: %s; subject %s, issuer %s, valid %s to %s%s%s", a->host,
	    peer->error == X509_V_OK ? "it is not for this host name" : X509_verify_cert_error_string(peer->error),
	    peer->subject, peer->issuer, from, until, is_about_time(peer->error) ? "; the clock here says " : "",
	    is_about_time(peer->error) ? clock : "");
}

/* libssl says by text alone whether the peer spoke (an alert, another protocol) or the line was cut. */
static skr_status transport_failed(struct http *http, const struct attempt *a)
{
	static const char *const stages[] = {"before the connection", "while connecting", "in the TLS handshake",
	                                     "while waiting for the answer", "inside the answer"};
	long connect_status = 0;

	curl_easy_getinfo(http->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
	if (a->proxied && (a->phase <= CONNECTING || connect_status >= 300))
		return proxy_failed(http, a, a->error);
	if (strstr(a->error, "chunked-encoding"))
		return FAIL(209, "%s: %s", a->host, a->error);
	if (strstr(a->error, "unexpected eof") || strstr(a->error, "SSL_ERROR_SYSCALL"))
		return FAIL(205, "%s closes %s, after %zu bytes", a->host, stages[a->phase], a->answer.body.len);
	if (a->phase == HANDSHAKING && !strstr(a->error, "reset by peer") && !strstr(a->error, "Broken pipe"))
		return FAIL(221, "%s: %s", a->host, a->error);
	return FAIL(204, "%s, %s: %s", a->host, stages[a->phase], a->error);
}

static skr_status timed_out(const struct http *http, const struct attempt *a)
{
	long long ms = (long long)(monotonic_ms() - a->phase_began);

	switch (a->phase) {
	case RESOLVING:
		return FAIL(200, "%s: the resolver gave no answer in %lld ms", a->host, ms);
	case CONNECTING:
		if (a->proxied)
			return FAIL(230, "proxy %s gives no way to %s in %lld ms", http->config->https_proxy, a->host,
			            ms);
		return FAIL(203, "%s: no connection in %lld ms", a->host, ms);
	case HANDSHAKING:
		return FAIL(207, "%s: TLS handshake not done in %lld ms", a->host, ms);
	case WAITING:
		return FAIL(207, "%s: nothing in %lld ms", a->host, ms);
	case RECEIVING:
		break;
	}
	return FAIL(206, "%s: answer not complete in %lld ms, %zu bytes came", a->host, ms, a->answer.body.len);
}

static skr_status explain(struct http *http, const struct attempt *a, CURLcode code)
{
	if (a->refused.failure)
		return a->refused; /* its sentence is the thread's record already */
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return resolve_failed(a);
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		return proxy_failed(http, a, a->error);
	case CURLE_COULDNT_CONNECT:
		return connect_failed(http, a);
	case CURLE_OPERATION_TIMEDOUT:
		return a->phase == CONNECTING ? connect_failed(http, a) : timed_out(http, a);
	case CURLE_PEER_FAILED_VERIFICATION:
		return certificate_failed(http, a);
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		return FAIL(222, "%s: its key is none of the pinned ones; subject %s, issuer %s", a->host,
		            a->peer.subject, a->peer.issuer);
	case CURLE_SSL_CACERT_BADFILE:
		return FAIL(7, "%s holds no certificate that can be read", http->ca_file);
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
		return transport_failed(http, a);
	case CURLE_GOT_NOTHING:
		return FAIL(205, "%s closes without an answer", a->host);
	case CURLE_PARTIAL_FILE:
		return FAIL(205, "%s closes after %zu of %zu bytes", a->host, a->answer.body.len, a->length);
	case CURLE_FILESIZE_EXCEEDED:
		return FAIL(208, "%s announces more than the limit of %zu bytes", a->host, a->request->answer_limit);
	case CURLE_OUT_OF_MEMORY: /* what libcurl also says of a header line above 100 KiB */
		if (a->phase >= WAITING && !a->headers_done)
			return FAIL(208, "%s sends a header line without end", a->host);
		return FAIL(14, "libcurl: %s", a->error);
	default:
		if (strstr(a->error, "Content-Length"))
			return FAIL(208, "%s announces a length that is none", a->host);
		return FAIL(209, "%s: %s", a->host, a->error[0] ? a->error : curl_easy_strerror(code));
	}
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
			return timed_out(http, a);
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
		return explain(http, a, code);
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
	http->clock_ahead = (int64_t)date - (int64_t)time(NULL);
	http->clock_differs = llabs((long long)http->clock_ahead) > CLOCK_TOLERANCE_S;
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
