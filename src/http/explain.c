/* SPDX-License-Identifier: Apache-2.0 */
#include "http/attempt.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static void day_text(int64_t seconds, char out[24])
{
	time_t t = (time_t)seconds;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, 24, "%Y-%m-%d %H:%M UTC", &tm) == 0)
		snprintf(out, 24, "unknown");
}
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

skr_status attempt_timed_out(const struct http *http, const struct attempt *a)
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

skr_status attempt_explain(struct http *http, const struct attempt *a, CURLcode code)
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
		return a->phase == CONNECTING ? connect_failed(http, a) : attempt_timed_out(http, a);
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
