/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 audit verify`: whether the lines of a chained audit trail are those that were written, in their order. */
#include "cli/arguments.h"
#include "cli/trail.h"

#include "base/ossl.h"

#include <inttypes.h>
#include <string.h>

const char audit_verify_help[] =
    "Checks the links of an audit trail that was written with audit_chain = yes. Files are given from the oldest to "
    "the\n"
    "newest; \"-\" is the standard input.\n"
    "\n"
    "  --head HASH  the head that an earlier run printed: its line must be there\n"
    "\n"
    "The chain shows lines that were changed, taken out, put in or moved. It cannot show that lines are missing at "
    "the\n"
    "end, nor that somebody who may write the file wrote all of it anew: for that note the head that is printed at "
    "some\n"
    "other place, and give it to a later run.\n"
    "\n"
    "Exit status: 0 every link fits, 1 one does not, or the head is not there, 2 the file cannot be read.\n"
    "\n"
    "Example:\n"
    "  skr-pkcs11 audit verify /var/log/skr-pkcs11.audit.1 /var/log/skr-pkcs11.audit\n";

struct verification {
	size_t lines, before; /* all; those before the chain began */
	size_t files;
	bool begun, broken;
	struct audit_link first, last;
	char hash[AUDIT_HASH_SIZE]; /* of the last line */
	char from[32], to[32];      /* times of the first and the last line */
	const char *head;           /* to be looked for; NULL: none */
	bool head_seen;
	size_t after_head;
	char problem[640];
};

static void problem(struct verification *v, const struct trail_line *line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void problem(struct verification *v, const struct trail_line *line, const char *format, ...)
{
	char what[480];
	va_list args;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	v->broken = true;
	snprintf(v->problem, sizeof(v->problem), "%.120s, line %zu %s", line->path, line->number, what);
}

/* ---- one line ---- */

/* The first link of all: what stands before it, in other files or without a chain, is not this run's to judge. */
static void check_first_link(struct verification *v, const struct trail_line *line, const struct audit_link *link)
{
	if (v->lines == 0)
		return;
	if (link->seq != 1)
		problem(v, line, "has number %" PRId64 ", but the lines before it have none", link->seq);
	else if (strcmp(link->prev, v->hash) != 0)
		problem(v, line, "does not fit: the line before it is not the one that was there when it was written");
}

static void check_link(struct verification *v, const struct trail_line *line, const struct audit_link *link)
{
	int64_t expected = v->last.seq + 1;

	if (link->seq > expected)
		problem(v, line,
		        "does not fit: its number is %" PRId64 " where %" PRId64
		        " belongs: lines before it are missing",
		        link->seq, expected);
	else if (link->seq < expected)
		problem(v, line,
		        "does not fit: its number is %" PRId64 " where %" PRId64
		        " belongs: lines were put in or moved, "
		        "or the chain began anew",
		        link->seq, expected);
	else if (strcmp(link->prev, v->hash) != 0)
		problem(
		    v, line,
		    "does not fit: the line before it was changed, or this one; it names %.12s…, the line before is "
		    "%.12s…",
		    link->prev, v->hash);
}

static void take_link(struct verification *v, const struct trail_line *line, const struct audit_link *link)
{
	if (v->begun)
		check_link(v, line, link);
	else
		check_first_link(v, line, link);
	if (v->broken)
		return;
	if (!v->begun)
		v->first = *link;
	v->begun = true;
	v->last = *link;
}

static void take_record(struct verification *v, const struct trail_line *line)
{
	struct audit_link link;

	if (!line->whole)
		problem(v, line, "was cut short, or is too long to be ours");
	else if (!line->record)
		problem(v, line, "is no JSON object");
	else if (audit_link_read(line->record, &link))
		take_link(v, line, &link);
	else if (v->begun)
		problem(v, line, "has no link: it was written by something else, or without audit_chain");
	else
		v->before++;
}

static void note_time(const json *record, char out[32])
{
	const char *time = json_string_or_null(record, "time");

	snprintf(out, 32, "%s", time ? time : "an unknown time");
}

static bool take_line(const struct trail_line *line, void *with)
{
	struct verification *v = with;

	take_record(v, line);
	if (v->broken)
		return false;
	if (audit_line_hash(line->text, line->len, v->hash).failure) {
		problem(v, line, "cannot be hashed: %s", status_message());
		return false;
	}
	if (v->lines++ == 0)
		note_time(line->record, v->from);
	note_time(line->record, v->to);
	v->after_head += v->head_seen;
	if (v->head && strcmp(v->head, v->hash) == 0) {
		v->head_seen = true;
		v->after_head = 0;
	}
	return true;
}

/* ---- what is said of it ---- */

static void print_chain(struct terminal *t, const struct verification *v)
{
	fprintf(t->out, "lines  %zu", v->lines);
	if (v->before)
		fprintf(t->out, ", the first %zu from before the chain began: nothing protects them", v->before);
	fprintf(t->out, "\nchain  %" PRId64 " to %" PRId64 ", unbroken\n", v->first.seq, v->last.seq);
	if (!v->before && (v->first.seq > 1 || strspn(v->first.prev, "0") != AUDIT_HASH_SIZE - 1))
		fprintf(t->out, "after  %s, the head of an older file\n", v->first.prev);
	fputs("from   ", t->out);
	terminal_print(t->out, v->from);
	fputs("\nto     ", t->out);
	terminal_print(t->out, v->to);
	fprintf(t->out, "\nhead   %s\n", v->hash);
	if (v->head_seen)
		fprintf(t->out, "noted  found, %zu lines were added since\n", v->after_head);
	else
		fputs("Note the head elsewhere: only with it a later run can tell whether lines are missing at the "
		      "end.\n",
		      t->out);
}

static enum exit_code conclude(struct terminal *t, const struct verification *v)
{
	if (v->broken) {
		fputs("skr-pkcs11 audit verify: ", t->err);
		terminal_print(t->err, v->problem);
		fprintf(t->err, "; the %zu lines before it are in order\n", v->lines);
		return EXIT_BAD;
	}
	if (!v->begun) {
		fprintf(t->err,
		        "skr-pkcs11 audit verify: none of the %zu lines is chained; audit_chain = yes does that\n",
		        v->lines);
		return EXIT_BAD;
	}
	print_chain(t, v);
	if (!v->head || v->head_seen)
		return EXIT_GOOD;
	fprintf(
	    t->err,
	    "skr-pkcs11 audit verify: the head noted, %.12s…, is the hash of no line: the end was cut off, or all was "
	    "written anew\n",
	    v->head);
	return EXIT_BAD;
}

static bool is_hash(const char *text)
{
	return strlen(text) == AUDIT_HASH_SIZE - 1 && text[strspn(text, "0123456789abcdef")] == '\0';
}

enum exit_code audit_verify(struct terminal *t, int argc, char **argv)
{
	struct argument_values files = {.count = 0};
	struct verification v = {.lines = 0};
	const struct argument known[] = {
	    {.name = "--head", .value = &v.head}, {.name = "", .values = &files}, {.name = NULL}};

	if (arguments_read(t, "audit verify", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	if (files.count == 0)
		return command_misused(t, command_find("audit verify"), "which file?");
	if (v.head && !is_hash(v.head))
		return command_misused(t, command_find("audit verify"), "a head has 64 digits 0-9a-f");
	if (ossl_open().failure) {
		terminal_error(t, status_last());
		return EXIT_BAD;
	}
	for (size_t i = 0; i < files.count && !v.broken; i++)
		if (trail_read(files.text[i], take_line, &v).failure) {
			fprintf(t->err, "skr-pkcs11 audit verify: %s\n", status_message());
			return EXIT_USAGE;
		}
	return conclude(t, &v);
}
