/* SPDX-License-Identifier: Apache-2.0 */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct failure_row failure_rows[] = {
#define ROW(number_, family_, sentence_, hint_) {number_, FAMILY_##family_, sentence_, hint_},
    FAILURES(ROW)
#undef ROW
        {0, FAMILY_NONE, NULL, NULL},
};

const struct failure_row *failure_row(int number)
{
	const struct failure_row *row = failure_rows;
	while (row->number != 0 && row->number != number)
		row++;
	if (row->number == 0)
		return number == 599 ? row : failure_row(599);
	return row;
}

static __thread struct status_record record;

/* What came from outside may hold anything; a log line holds printable ASCII. */
static void make_printable(char *text)
{
	for (; *text; text++)
		if (*text < 0x20 || *text > 0x7e)
			*text = '?';
}

skr_status status_fail(int failure, const char *file, int line, const char *format, ...)
{
	struct status_record fresh = {.failure = failure};
	va_list args;

	va_start(args, format);
	vsnprintf(fresh.sentence, sizeof(fresh.sentence), format, args);
	va_end(args);
	make_printable(fresh.sentence);

	const char *slash = strrchr(file, '/');
	snprintf(fresh.origin, sizeof(fresh.origin), "%s:%d", slash ? slash + 1 : file, line);
	record = fresh;
	return (skr_status){failure};
}

skr_status status_adopt(const struct status_record *other)
{
	record = *other;
	make_printable(record.sentence);
	make_printable(record.step);
	make_printable(record.host);
	make_printable(record.svc_code);
	make_printable(record.reqid);
	return (skr_status){record.failure};
}

skr_status status_prefix(skr_status status, const char *format, ...)
{
	char prefix[256], whole[sizeof(record.sentence) + sizeof(prefix) + 4];
	va_list args;

	va_start(args, format);
	vsnprintf(prefix, sizeof(prefix), format, args);
	va_end(args);
	make_printable(prefix);
	snprintf(whole, sizeof(whole), "%s: %s", prefix, record.sentence);
	memcpy(record.sentence, whole, sizeof(record.sentence) - 1);
	record.sentence[sizeof(record.sentence) - 1] = '\0';
	return status;
}

const struct status_record *status_last(void)
{
	return &record;
}

struct status_record *status_amend(void)
{
	return &record;
}

const char *status_message(void)
{
	return record.sentence;
}

void status_clear(void)
{
	memset(&record, 0, sizeof(record));
}

int status_line(const struct status_record *r, char *out, size_t size)
{
	const struct failure_row *row = failure_row(r->failure);
	char fields[768] = "";
	size_t at = 0;

#define FIELD(condition, ...)                                                                  \
	do {                                                                                   \
		if ((condition) && at < sizeof(fields))                                        \
			at += (size_t)snprintf(fields + at, sizeof(fields) - at, __VA_ARGS__); \
	} while (0)
	FIELD(r->step[0], " step=%s", r->step);
	FIELD(r->host[0], " host=%s", r->host);
	FIELD(r->attempts > 0, " attempt=%d/%d", r->attempt, r->attempts);
	FIELD(r->http > 0, " http=%d", r->http);
	FIELD(r->svc_code[0], " svc_code=%s", r->svc_code);
	FIELD(r->reqid[0], " reqid=%s", r->reqid);
#undef FIELD
	if (r->sentence[0])
		return snprintf(out, size, "SKR-%03d%s : %s: %s : %s", r->failure, fields, row->sentence, r->sentence,
		                row->hint);
	return snprintf(out, size, "SKR-%03d%s : %s : %s", r->failure, fields, row->sentence, row->hint);
}
