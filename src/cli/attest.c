/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 attest`: what the hardware vouches for, and what the attestation service makes of it. */
#include "azure/attestation.h"
#include "cli/arguments.h"
#include "cli/device.h"
#include "cli/facts.h"
#include "cli/look.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME_WIDTH_MAX 64
#define VALUE_SHOWN    130 /* characters: 64 bytes in hex, and no modulus */

const char attest_help[] =
    "Collects evidence of this machine as a login does, verifies it, and shows it field by field: SNP report or TD\n"
    "quote, endorsements and whose root they end in, vTPM and PCRs, the paravisor's claims. Then asks the attestation\n"
    "service of TOKEN, and lists the claims that release policies are about. No key is released.\n"
    "\n"
    "  TOKEN          of the configuration, for its settings attestation, evidence, endorsements; default: the first.\n"
    "                 Without any configuration evidence is shown, and no service asked\n"
    "  --config FILE  in place of SKR_PKCS11_CONF, else " CONFIG_PATH_DEFAULT "\n"
    "  --direct       on a confidential VM: the hardware's report alone, without the vTPM. Keys are never released to\n"
    "                 what the service then says\n"
    "  --no-service   show the evidence, ask no attestation service\n"
    "  --json         one document\n"
    "  --token        the service's token (JWT) alone. It is no password: no vault lets anybody in for it, and what "
    "is\n"
    "                 released to it is encrypted to a key that this command has thrown away. It does tell what the\n"
    "                 machine is\n"
    "\n"
    "It takes the rights that the agent has: group tss for a vTPM, mostly root for other devices. Where the agent is "
    "a\n"
    "service (agent = unix:...) run this as root.\n"
    "\n"
    "Exit status: 0 evidence and token are good, 1 they are not, 2 the command or the configuration was not "
    "understood.\n"
    "\n"
    "Example, the claims that a policy may ask for:\n"
    "  sudo skr-pkcs11 attest --json | jq .claims";

struct order {
	const char *config, *label;
	bool direct, no_service, json, token;
};

/* ---- printing ---- */

/* Lines of a section are collected before they are printed, so that their values stand below each other. */
struct line {
	char name[256], value[512];
};
struct lines {
	struct line *line;
	size_t count, room;
};
static void lines_done(struct lines *lines)
{
	free(lines->line);
}

static void add_line(struct lines *lines, const char *name, const char *value)
{
	if (lines->count == lines->room) {
		size_t room = lines->room ? 2 * lines->room : 32;
		struct line *more = realloc(lines->line, room * sizeof(*more));
		if (!more)
			return;
		lines->line = more;
		lines->room = room;
	}
	struct line *line = &lines->line[lines->count++];
	snprintf(line->name, sizeof(line->name), "%s", name);
	snprintf(line->value, sizeof(line->value), "%s", value);
}

static void print_lines(struct terminal *t, const struct lines *lines)
{
	size_t width = 0;

	for (size_t i = 0; i < lines->count; i++) {
		size_t len = strlen(lines->line[i].name);
		if (len > width && len <= NAME_WIDTH_MAX)
			width = len;
	}
	for (size_t i = 0; i < lines->count; i++) {
		char name[sizeof(lines->line[i].name) + 80];
		snprintf(name, sizeof(name), "  %-*s  ", (int)width, lines->line[i].name);
		terminal_print(t->out, name);
		terminal_print(t->out, lines->line[i].value);
		fputc('\n', t->out);
	}
}

static const char *value_text(const json *value, char room[32])
{
	const char *text = json_scalar_text(value, room);

	if (text)
		return text;
	switch (json_kind(value)) {
	case JSON_NUMBER:
		return "a number that is not whole";
	case JSON_OBJECT:
		return "{}";
	case JSON_ARRAY:
		return "[]";
	default:
		return "null";
	}
}

static const char *field_text(const json *value, char room[32])
{
	if (json_kind(value) == JSON_BOOL)
		return json_is_true(value) ? "yes" : "no";
	return value_text(value, room);
}

static bool holds_more(const json *value)
{
	return json_count(value) > 0 && (json_kind(value) == JSON_OBJECT || json_kind(value) == JSON_ARRAY);
}

/* "0, 1, 2"; false if there is more inside. */
static bool list_text(const json *list, char *out, size_t size)
{
	size_t at = 0;
	char room[32];

	if (json_kind(list) != JSON_ARRAY)
		return false;
	for (const json *item = json_first(list); item; item = json_next(item)) {
		if (holds_more(item) || at >= size)
			return false;
		at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", value_text(item, room));
	}
	return at < size;
}

/* Cut if it is a modulus or longer; dates of a token beside their numbers. */
static void claim_text(const char *name, const json *value, char *out, size_t size)
{
	char room[32], when[32];
	int64_t at = 0;
	bool date = strcmp(name, "exp") == 0 || strcmp(name, "iat") == 0 || strcmp(name, "nbf") == 0;

	const char *whole = value_text(value, room);
	size_t len = strlen(whole);
	if (len > VALUE_SHOWN)
		snprintf(out, size, "%.64s... (%zu characters)", whole, len);
	else
		snprintf(out, size, "%s", whole);
	if (!date || json_kind(value) != JSON_NUMBER || json_number(value, &at).failure)
		return;
	time_t seconds = (time_t)at;
	struct tm utc;
	if (gmtime_r(&seconds, &utc) && strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S UTC", &utc))
		snprintf(out, size, "%lld (%s)", (long long)at, when);
}

/* Claims by the names that policies have for them: members of members behind dots. */
static void add_claims(struct lines *lines, const char *prefix, const json *value)
{
	size_t index = 0;
	char name[256], text[4096];

	for (const json *item = json_first(value); item; item = json_next(item), index++) {
		if (json_name(item))
			snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? "." : "", json_name(item));
		else
			snprintf(name, sizeof(name), "%s[%zu]", prefix, index);
		if (holds_more(item) && !list_text(item, text, sizeof(text))) {
			add_claims(lines, name, item);
			continue;
		}
		if (!holds_more(item))
			claim_text(name, item, text, sizeof(text));
		add_line(lines, name, text);
	}
}

/* "debug_allowed" -> "debug allowed" */
static void plain_name(const char *name, char out[64])
{
	snprintf(out, 64, "%s", name);
	for (char *c = out; *c; c++)
		if (*c == '_')
			*c = ' ';
}

/* {"value":"0x3001f","smt_allowed":true} -> "0x3001f: smt allowed yes, …" */
static void add_parts(struct lines *lines, const char *name, const json *parts)
{
	char text[512], room[32], part[64];
	const char *value = json_string_or_null(parts, "value"), *between = ": ";
	size_t at = (size_t)snprintf(text, sizeof(text), "%s", value ? value : "");

	for (const json *item = json_first(parts); item && at < sizeof(text); item = json_next(item)) {
		if (strcmp(json_name(item), "value") == 0)
			continue;
		plain_name(json_name(item), part);
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s %s", between, part, field_text(item, room));
		between = ", ";
	}
	add_line(lines, name, text);
}

static void add_fields(struct lines *lines, const json *section)
{
	char name[64], room[32];

	for (const json *field = json_first(section); field; field = json_next(field)) {
		plain_name(json_name(field), name);
		if (json_kind(field) == JSON_OBJECT)
			add_parts(lines, name, field);
		else if (json_kind(field) == JSON_ARRAY)
			for (const json *item = json_first(field); item; item = json_next(item))
				add_line(lines, item == json_first(field) ? name : "", field_text(item, room));
		else
			add_line(lines, name, field_text(field, room));
	}
}

static const struct section {
	const char *name, *heading;
	bool claims;
} sections[] = {
    {"evidence", "evidence", false},
    {"report", "SNP report", false},
    {"quote", "TD quote", false},
    {"verification", "verified on this machine", false},
    {"vtpm", "vTPM", false},
    {"paravisor_claims", "what the paravisor claims", true},
    {"claims", "what the attestation service claims", true},
};

static void print_section(struct terminal *t, const struct section *section, const json *content)
{
	__attribute__((cleanup(lines_done))) struct lines lines = {.line = NULL};

	terminal_heading(t, "%s", section->heading);
	if (section->claims)
		add_claims(&lines, "", content);
	else
		add_fields(&lines, content);
	print_lines(t, &lines);
}

static void print_document(struct terminal *t, const json *document)
{
	for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
		const json *content = json_get(document, sections[i].name);

		if (content)
			print_section(t, &sections[i], content);
	}
}

/* ---- finding out ---- */

static skr_status ask_service(struct look *look, json *document)
{
	auto_json *claims = NULL;

	TRY(look_at_attestation(look));
	TRY(attestation_claims(buf_text(&look->attestation), look->attestation.len, &claims));
	json_sort(claims);
	json_set_string(document, "attestation", look->token.attestation);
	json_set(document, "claims", TAKE(claims));
	return OK;
}

/* Where it is endorsements or the quote that cannot be had, what the hardware says is worth seeing nevertheless. */
static skr_status collect(struct look *look, json *document)
{
	static const int unendorsed[] = {117, 118, 140, 141, 142, 143, 240, 241};
	skr_status status = look_at_evidence(look);

	for (size_t i = 0; i < sizeof(unendorsed) / sizeof(unendorsed[0]); i++) {
		if (status.failure != unendorsed[i])
			continue;
		const struct status_record record = *status_last();
		if (!look_at_report(look).failure && facts_of_evidence(&look->evidence, document).failure)
			json_remove(document, "verification");
		return status_adopt(&record);
	}
	return status;
}

static skr_status find_out(struct terminal *t, const struct order *order, struct look *look, json *document)
{
	terminal_waiting(t, "evidence");
	TRY(collect(look, document));
	if (look->evidence.form == EVIDENCE_NONE)
		return FAIL(100,
		            "evidence = sidecar: it is the sidecar at %s that attests, not this command; ask it by "
		            "POST /attest/maa",
		            look->token.sidecar);
	TRY(facts_of_evidence(&look->evidence, document));
	if (order->no_service)
		return OK;
	terminal_waiting(t, "attestation");
	return ask_service(look, document);
}

static void print_result(struct terminal *t, const struct order *order, const struct look *look, const json *document)
{
	if (order->json)
		terminal_json(t, document);
	else if (order->token && look->attestation.len)
		fprintf(t->out, "%s\n", buf_text(&look->attestation));
	else if (!order->token)
		print_document(t, document);
}

/* What was found before it failed is worth seeing: a report that the service refuses, say. */
static enum exit_code show(struct terminal *t, const struct order *order, const struct config *config,
                           const struct token_config *token)
{
	auto_json *document = json_object();
	auto_look look = {.http = NULL};
	struct status_record record = {.failure = 0};

	skr_status status = look_open(config, token, &look);
	if (order->direct)
		look.token.evidence = "azure-cvm-direct";
	if (!status.failure)
		status = find_out(t, order, &look, document);
	if (status.failure)
		record = *status_last();
	terminal_waited(t);
	if (status.failure)
		json_set(document, "failure", terminal_failure_json(&record));
	if (!status.failure || json_count(document) > 1 || order->json)
		print_result(t, order, &look, document);
	if (!status.failure)
		return EXIT_GOOD;
	fflush(t->out);
	terminal_error(t, &record);
	device_advise(t->err, &record, config);
	return EXIT_BAD;
}

/* ---- the command ---- */

static enum exit_code attest_token(struct terminal *t, const struct order *order, const struct config *config)
{
	const struct token_config *token = order->label          ? config_token(config, order->label)
	                                   : config->token_count ? &config->tokens[0]
	                                                         : NULL;

	if (token)
		return show(t, order, config, token);
	if (order->label)
		fprintf(t->err, "there is no [token %s] in %s\n", order->label, config->path);
	else
		fprintf(t->err, "%s has no token: every line of it is a comment?\n", config->path);
	return EXIT_USAGE;
}

/* Before there is a configuration the machine can be looked at, with every setting at its default. */
static enum exit_code attest_unconfigured(struct terminal *t, struct order *order)
{
	static const struct token_config any = {.label = "", .evidence = "auto", .endorsements = "auto"};
	auto_config *config = config_default();

	if (!config)
		return EXIT_BAD;
	if (order->token) {
		terminal_error(t, status_last());
		return EXIT_USAGE;
	}
	order->no_service = true;
	return show(t, order, config, &any);
}

enum exit_code attest(struct terminal *t, int argc, char **argv)
{
	struct order order = {.config = NULL};
	const struct argument known[] = {
	    {.name = "--config", .value = &order.config},
	    {.name = "--direct", .flag = &order.direct},
	    {.name = "--no-service", .flag = &order.no_service},
	    {.name = "--json", .flag = &order.json},
	    {.name = "--token", .flag = &order.token},
	    {.name = "", .value = &order.label},
	    {.name = NULL},
	};
	auto_config *config = NULL;

	if (arguments_read(t, "attest", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	if (order.token && (order.json || order.no_service))
		return command_misused(t, command_find("attest"),
		                       "--token goes neither with --json nor with --no-service");
	skr_status status = command_config(order.config, &config);
	if (!status.failure)
		return attest_token(t, &order, config);
	if (status.failure == 1 && !order.config && !order.label)
		return attest_unconfigured(t, &order);
	terminal_error(t, status_last());
	return EXIT_USAGE;
}
