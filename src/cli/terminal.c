/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/terminal.h"

#include "base/deadline.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_WIDTH    16
#define PATIENCE_MS   500 /* before a step is said to be under way */
#define FRAME_MS      150
#define DOCUMENT_SIZE (1024 * 1024)

struct terminal terminal_standard(void)
{
	const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
	bool capable = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0;

	return (struct terminal){
	    .out = stdout, .err = stderr, .live = capable, .colour = capable && !(no_colour && *no_colour)};
}

static const struct {
	const char *word, *colour;
} verdicts[] = {
    [VERDICT_GOOD] = {"ok", "\033[32m"},
    [VERDICT_NOTE] = {"note", "\033[36m"},
    [VERDICT_WARNING] = {"WARN", "\033[33m"},
    [VERDICT_BAD] = {"FAILED", "\033[31m"},
};

const char *verdict_word(enum verdict verdict)
{
	return verdicts[verdict].word;
}

void terminal_print(FILE *out, const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		fputc(*c < 0x20 || *c == 0x7f ? '?' : *c, out);
}

/* ---- what is under way ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t over;
	pthread_t thread;
	bool started, stop;
	FILE *out;
	char name[64];
	int64_t began;
} waiting = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Sleeps; false when the wait is over. */
static bool wait_on(int64_t ms)
{
	int64_t until = monotonic_ms() + ms;
	struct timespec at = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};

	while (!waiting.stop)
		if (pthread_cond_timedwait(&waiting.over, &waiting.lock, &at) != 0)
			break;
	return !waiting.stop;
}

static void *turn(void *unused)
{
	static const char frames[] = "|/-\\";
	bool shown = false;

	(void)unused;
	pthread_mutex_lock(&waiting.lock);
	for (int64_t ms = PATIENCE_MS, i = 0; wait_on(ms); ms = FRAME_MS, i++) {
		fprintf(waiting.out, "\r\033[K  %c       %s  %lld s", frames[i % 4], waiting.name,
		        (long long)(monotonic_ms() - waiting.began) / 1000);
		fflush(waiting.out);
		shown = true;
	}
	if (shown)
		fputs("\r\033[K", waiting.out);
	pthread_mutex_unlock(&waiting.lock);
	return NULL;
}

void terminal_waiting(struct terminal *t, const char *name)
{
	pthread_condattr_t monotonic;

	terminal_waited(t);
	if (!t->live)
		return;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&waiting.over, &monotonic);
	pthread_condattr_destroy(&monotonic);
	waiting.out = t->out;
	waiting.stop = false;
	waiting.began = monotonic_ms();
	snprintf(waiting.name, sizeof(waiting.name), "%s", name);
	waiting.started = pthread_create(&waiting.thread, NULL, turn, NULL) == 0;
}

void terminal_waited(struct terminal *t)
{
	(void)t;
	if (!waiting.started)
		return;
	pthread_mutex_lock(&waiting.lock);
	waiting.stop = true;
	pthread_cond_signal(&waiting.over);
	pthread_mutex_unlock(&waiting.lock);
	pthread_join(waiting.thread, NULL);
	pthread_cond_destroy(&waiting.over);
	waiting.started = false;
}

/* ---- lines ---- */

void terminal_check(struct terminal *t, enum verdict verdict, const char *name, int64_t ms, const char *format, ...)
{
	char detail[512], time[32] = "";
	va_list args;

	va_start(args, format);
	vsnprintf(detail, sizeof(detail), format, args);
	va_end(args);
	if (ms >= 0)
		snprintf(time, sizeof(time), "%5lld ms", (long long)ms);

	terminal_waited(t);
	t->begun = true;
	fprintf(t->out, "  %s%-6s%s  ", t->colour ? verdicts[verdict].colour : "", verdicts[verdict].word,
	        t->colour ? "\033[0m" : "");
	if (!detail[0] && !time[0])
		fputs(name, t->out);
	else if (!detail[0])
		fprintf(t->out, "%-*s  %s", NAME_WIDTH, name, time);
	else if (!time[0])
		fprintf(t->out, "%-*s  ", NAME_WIDTH, name);
	else
		fprintf(t->out, "%-*s  %s  ", NAME_WIDTH, name, time);
	terminal_print(t->out, detail);
	fputc('\n', t->out);
	fflush(t->out);
}

/* Lines are folded for people; what a program reads stays on one line. */
static void print_folded(const struct terminal *t, FILE *out, const char *indent, const char *text)
{
	const size_t width = t->live ? 100 : SIZE_MAX;

	while (*text) {
		size_t take = strlen(text);
		if (take > width) {
			take = width;
			while (take > 0 && text[take] != ' ')
				take--;
			if (take == 0)
				take = strcspn(text, " ");
		}
		char line[1024];
		snprintf(line, sizeof(line), "%.*s", (int)take, text);
		fputs(indent, out);
		terminal_print(out, line);
		fputc('\n', out);
		text += take;
		text += strspn(text, " ");
	}
}

void terminal_below(struct terminal *t, const char *format, ...)
{
	char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	print_folded(t, t->out, "          ", text);
}

void terminal_command(struct terminal *t, const char *command)
{
	fputs("          try: ", t->out);
	terminal_print(t->out, command);
	fputc('\n', t->out);
}

/* "SKR-332 (release, contoso.vault.azure.net, HTTP 403, Forbidden, request 7f3c…)": what is known of it. */
static void describe(const struct status_record *r, char *out, size_t size)
{
	char context[512] = "";
	size_t at = 0;

#define PART(condition, ...)                                                                                \
	do {                                                                                                \
		if ((condition) && at < sizeof(context)) {                                                  \
			at += (size_t)snprintf(context + at, sizeof(context) - at, "%s", at ? ", " : " ("); \
			if (at < sizeof(context))                                                           \
				at += (size_t)snprintf(context + at, sizeof(context) - at, __VA_ARGS__);    \
		}                                                                                           \
	} while (0)
	PART(r->step[0], "%s", r->step);
	PART(r->host[0], "%s", r->host);
	PART(r->attempts > 1, "attempt %d of %d", r->attempt, r->attempts);
	PART(r->http > 0, "HTTP %d", r->http);
	PART(r->svc_code[0], "%s", r->svc_code);
	PART(r->reqid[0], "request %s", r->reqid);
#undef PART
	snprintf(out, size, "SKR-%03d %s%s%s", r->failure, failure_row(r->failure)->sentence, context,
	         context[0] ? ")" : "");
}

void terminal_failure(struct terminal *t, const struct status_record *record)
{
	char what[1024];

	describe(record, what, sizeof(what));
	terminal_below(t, "%s", what);
	if (record->sentence[0])
		terminal_below(t, "%s", record->sentence);
	terminal_below(t, "what to do: %s", failure_row(record->failure)->hint);
}

json *terminal_failure_json(const struct status_record *record)
{
	char number[16];
	json *failure = json_object();
	const struct {
		const char *name, *value;
	} texts[] = {
	    {"number", number},
	    {"sentence", failure_row(record->failure)->sentence},
	    {"step", record->step},
	    {"host", record->host},
	    {"service_code", record->svc_code},
	    {"request_id", record->reqid},
	    {"seen", record->sentence},
	    {"what_to_do", failure_row(record->failure)->hint},
	};

	snprintf(number, sizeof(number), "SKR-%03d", record->failure);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (texts[i].value[0])
			json_set_string(failure, texts[i].name, texts[i].value);
	if (record->http)
		json_set_number(failure, "http", record->http);
	return failure;
}

void terminal_heading(struct terminal *t, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	fprintf(t->out, "%s%s", t->begun ? "\n" : "", t->colour ? "\033[1m" : "");
	t->begun = true;
	terminal_print(t->out, text);
	fprintf(t->out, "%s\n", t->colour ? "\033[0m" : "");
}

void terminal_error(struct terminal *t, const struct status_record *record)
{
	char what[1024];

	describe(record, what, sizeof(what));
	print_folded(t, t->err, "", what);
	if (record->sentence[0])
		print_folded(t, t->err, "", record->sentence);
	fprintf(t->err, "what to do: %s\n", failure_row(record->failure)->hint);
}

bool terminal_json(struct terminal *t, const json *document)
{
	auto_buf text = BUF(DOCUMENT_SIZE);

	if (json_print(document, &text).failure)
		return false;
	fprintf(t->out, "%s\n", buf_text(&text));
	return true;
}
