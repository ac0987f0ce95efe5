/* SPDX-License-Identifier: Apache-2.0 */
#include "http/attempt.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Threat model section 10. */
#define HEADER_BLOCK_LIMIT (16 * 1024)
#define HEADER_LINES_LIMIT 64
#define HEADER_LINE_LIMIT  (4 * 1024)
#define INTERIM_LIMIT      4
#define CHUNKS_LIMIT       1024

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

size_t attempt_on_header(char *line, size_t size, size_t len, void *with)
{
	struct attempt *a = with;

	attempt_enter(a, RECEIVING);
	a->window_bytes += size * len;
	return verdict(a, header_received(a, line, size * len), size * len);
}

size_t attempt_on_body(char *bytes, size_t size, size_t len, void *with)
{
	struct attempt *a = with;

	a->window_bytes += size * len;
	if (a->chunked && ++a->pieces > CHUNKS_LIMIT)
		return verdict(a, FAIL(208, "%s sends more than %d chunks", a->host, CHUNKS_LIMIT), 0);
	return verdict(a, buf_append(&a->answer.body, bytes, size * len), size * len);
}
