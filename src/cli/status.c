/* SPDX-License-Identifier: Apache-2.0 */
/* `skr-pkcs11 status`: what audit trail and certificates tell of keys and logins. No network, no login. */
#include "cli/status.h"

#include "cli/arguments.h"
#include "cli/certificate.h"
#include "cli/output.h"

#include "base/base64.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#define METRICS_LIMIT (4 * 1024 * 1024)
#define WARN_DAYS     30

const char status_help[] =
    "Shows keys, versions, their age, the last release, failures by number and how long certificates are valid, from\n"
    "the audit trail and the certificates of the configuration. Asks nobody and logs in nowhere.\n"
    "\n"
    "  --audit FILE       read this trail instead of audit_file and the FILE.1 that it was rotated to; may be "
    "repeated,\n"
    "                     the oldest first; \"-\" is the standard input, as for what journalctl prints\n"
    "  --config FILE      another configuration\n"
    "  --json             one document for programs\n"
    "  --prometheus FILE  write metrics for node_exporter's textfile collector, whole or not at all; \"-\" prints "
    "them\n"
    "\n"
    "Exit status: 0 all is well, 1 the last login of a token failed, or a certificate has expired or cannot be read,\n"
    "2 the command, the configuration or the trail was not understood. With --prometheus 1 is kept for what cannot be\n"
    "written: the metrics say the rest.\n"
    "\n"
    "Examples:\n"
    "  skr-pkcs11 status web\n"
    "  skr-pkcs11 status --prometheus /var/lib/prometheus/node-exporter/skr-pkcs11.prom\n"
    "  journalctl -o cat SYSLOG_IDENTIFIER=skr-pkcs11 SKR_EVENT=login | skr-pkcs11 status --audit -\n";

struct status_order {
	const char *config, *label, *prometheus;
	struct argument_values audit;
	bool json;
};

struct status_view {
	struct terminal *t;
	struct history history;
	struct token_status *tokens; /* owned */
	size_t count;
	time_t now;
	bool bad;
	const char *absent; /* the trail's file, if nobody has written to it yet; or NULL */
};
#define auto_status_view __attribute__((cleanup(status_view_done))) struct status_view
static void status_view_done(struct status_view *view)
{
	for (size_t i = 0; i < view->count; i++)
		for (size_t k = 0; k < view->tokens[i].certificate_count; k++)
			X509_free(view->tokens[i].certificates[k].certificate);
	free(view->tokens);
	history_done(&view->history);
}

/* ---- certificates ---- */

static skr_status public_key_hash(const X509 *certificate, char out[65])
{
	uint8_t digest[32], *der = NULL;
	auto_buf text = BUF(65);
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

	if (len <= 0)
		return ossl_fail(4, "the certificate's public key");
	skr_status status = sha256(der, (size_t)len, digest);
	OPENSSL_free(der);
	TRY(status);
	TRY(hex_encode(digest, sizeof(digest), &text));
	memcpy(out, buf_text(&text), 65);
	return OK;
}

static skr_status read_certificate(const char *path, struct certificate_status *ret)
{
	auto_x509s *certificates = NULL;
	auto_buf subject = BUF(4096);

	TRY(certificates_of_file(path, &certificates));
	X509 *first = sk_X509_value(certificates, 0);
	TRY(certificate_name(X509_get_subject_name(first), &subject));
	TRY(public_key_hash(first, ret->public_key_sha256));
	snprintf(ret->subject, sizeof(ret->subject), "%s", buf_text(&subject));
	ret->certificate = sk_X509_shift(certificates);
	return OK;
}

static void read_certificates(struct token_status *token)
{
	const struct token_config *config = token->history->config;

	for (size_t i = 0; i < config->certificate_count; i++) {
		struct certificate_status *certificate = &token->certificates[token->certificate_count++];
		certificate->path = config->certificates[i];
		if (read_certificate(config->certificates[i], certificate).failure)
			certificate->failure = *status_last();
	}
}

const struct key_history *status_key_of(const struct token_status *token, const struct certificate_status *certificate)
{
	for (size_t i = 0; i < token->history->key_count; i++)
		if (certificate->certificate && token->history->keys[i].released &&
		    strcmp(token->history->keys[i].public_key_sha256, certificate->public_key_sha256) == 0)
			return &token->history->keys[i];
	return NULL;
}

time_t status_expiry(const struct certificate_status *certificate)
{
	struct tm utc = {0};

	return ASN1_TIME_to_tm(X509_get0_notAfter(certificate->certificate), &utc) ? timegm(&utc) : 0;
}

static enum verdict certificate_verdict(const struct certificate_status *certificate)
{
	if (!certificate->certificate)
		return VERDICT_BAD;
	int days = certificate_days_left(certificate->certificate);
	if (days < 0 || !certificate_has_begun(certificate->certificate))
		return VERDICT_BAD;
	return days < WARN_DAYS ? VERDICT_WARNING : VERDICT_GOOD;
}

/* ---- for people ---- */

static void date_text(time_t when, char out[32])
{
	struct tm utc;

	gmtime_r(&when, &utc);
	strftime(out, 32, "%Y-%m-%d %H:%M UTC", &utc);
}

/* "3 days", "2 h", "45 min" */
static void age_text(time_t seconds, char out[32])
{
	if (seconds >= 2 * 86400)
		snprintf(out, 32, "%lld days", (long long)seconds / 86400);
	else if (seconds >= 2 * 3600)
		snprintf(out, 32, "%lld h", (long long)seconds / 3600);
	else
		snprintf(out, 32, "%lld min", seconds > 0 ? (long long)seconds / 60 : 0);
}

static bool last_login_failed(const struct token_history *token)
{
	return token->last_bad && token->last_bad >= token->last_good;
}

static void show_logins(const struct status_view *view, const struct token_history *token)
{
	bool failed = last_login_failed(token);
	time_t last = failed ? token->last_bad : token->last_good;
	char when[32], age[32];

	if (!last) {
		terminal_check(view->t, VERDICT_NOTE, "logins", -1, "none on record");
		return;
	}
	date_text(last, when);
	age_text(view->now - last, age);
	terminal_check(
	    view->t, failed ? VERDICT_BAD : VERDICT_GOOD, "logins", -1,
	    "the last %s, %s ago (%s); on record: %u with a release, %u with keys that were loaded, %u failed",
	    failed ? "failed" : "succeeded", age, when, token->released, token->kept, token->failed);
}

static void show_key(const struct status_view *view, const struct key_history *key)
{
	char when[32], age[32], since[32];

	if (!key->released) {
		terminal_check(view->t, VERDICT_NOTE, key->config->label, -1, "no release on record");
		return;
	}
	date_text(key->released, when);
	age_text(view->now - key->released, age);
	age_text(view->now - key->since, since);
	terminal_check(view->t, VERDICT_GOOD, key->config->label, -1,
	               "released %s ago (%s), version %.32s, met first %s ago", age, when, key->version, since);
}

static void show_failures(const struct status_view *view, const struct token_history *token)
{
	for (int i = 0; i < HISTORY_FAILURES; i++) {
		char name[16], when[32];
		if (!token->failures[i])
			continue;
		snprintf(name, sizeof(name), "SKR-%03d", i);
		date_text(token->last_failures[i], when);
		terminal_check(view->t, VERDICT_NOTE, name, -1, "%u times, last %s: %s", token->failures[i], when,
		               failure_row(i)->sentence);
		if (last_login_failed(token) && i == token->last_failure)
			terminal_below(view->t, "what to do: %s", failure_row(i)->hint);
	}
	if (token->security)
		terminal_check(view->t, VERDICT_WARNING, "security", -1, "%u events on record: look at the audit trail",
		               token->security);
}

static void show_certificate(const struct status_view *view, const struct token_status *token,
                             const struct certificate_status *certificate)
{
	const char *slash = strrchr(certificate->path, '/');
	const struct key_history *key = status_key_of(token, certificate);
	auto_buf until = BUF(32);

	if (!certificate->certificate) {
		terminal_check(view->t, VERDICT_BAD, slash + 1, -1, "%s", certificate->failure.sentence);
		return;
	}
	if (certificate_date(X509_get0_notAfter(certificate->certificate), &until).failure)
		return;
	int days = certificate_days_left(certificate->certificate);
	terminal_check(view->t, certificate_verdict(certificate), slash + 1, -1, "%s, %s %s (%d days), %s%s",
	               certificate->subject, days < 0 ? "expired" : "valid until", buf_text(&until), days,
	               key ? "for key " : "for none of the keys on record", key ? key->config->label : "");
}

static bool is_bad(const struct token_status *token)
{
	for (size_t i = 0; i < token->certificate_count; i++)
		if (certificate_verdict(&token->certificates[i]) == VERDICT_BAD)
			return true;
	return last_login_failed(token->history);
}

static void show_token(const struct status_view *view, const struct token_status *token)
{
	terminal_heading(view->t, "token %s", token->history->config->label);
	show_logins(view, token->history);
	for (size_t i = 0; i < token->history->key_count; i++)
		show_key(view, &token->history->keys[i]);
	show_failures(view, token->history);
	for (size_t i = 0; i < token->certificate_count; i++)
		show_certificate(view, token, &token->certificates[i]);
}

static void show_trail(const struct status_view *view)
{
	const struct history *history = &view->history;
	char from[32], to[32];

	if (view->absent) {
		terminal_heading(view->t, "nothing is on record in %s yet", view->absent);
		return;
	}
	date_text(history->from, from);
	date_text(history->to, to);
	terminal_heading(view->t, "audit trail: %zu lines, %s to %s", history->lines, history->from ? from : "never",
	                 history->from ? to : "never");
	if (history->unread)
		terminal_check(view->t, VERDICT_WARNING, "audit trail", -1, "%zu lines are no record", history->unread);
}

/* ---- for programs ---- */

static void set_time(json *object, const char *name, time_t when)
{
	char text[32];
	struct tm utc;

	if (!when)
		return;
	gmtime_r(&when, &utc);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	json_set_string(object, name, text);
}

static json *logins_json(const struct token_history *token)
{
	json *logins = json_object();

	json_set_number(logins, "released", token->released);
	json_set_number(logins, "kept", token->kept);
	json_set_number(logins, "failed", token->failed);
	set_time(logins, "last_ok", token->last_good);
	set_time(logins, "last_failed", token->last_bad);
	if (token->last_bad)
		json_set_number(logins, "last_failure", token->last_failure);
	return logins;
}

static json *key_json(const struct key_history *key)
{
	json *object = json_object();

	json_set_string(object, "label", key->config->label);
	json_set_string(object, "host", key->config->host);
	json_set_string(object, "name", key->config->name);
	if (!key->released)
		return object;
	json_set_string(object, "version", key->version);
	if (key->public_key_sha256[0])
		json_set_string(object, "public_key_sha256", key->public_key_sha256);
	set_time(object, "last_release", key->released);
	set_time(object, "version_since", key->since);
	json_set_number(object, "version_changes", key->changes);
	return object;
}

static json *failures_json(const struct token_history *token)
{
	json *failures = json_array();

	for (int i = 0; i < HISTORY_FAILURES; i++) {
		if (!token->failures[i])
			continue;
		json *failure = json_object();
		json_set_number(failure, "number", i);
		json_set_string(failure, "sentence", failure_row(i)->sentence);
		json_set_number(failure, "count", token->failures[i]);
		set_time(failure, "last", token->last_failures[i]);
		json_push(failures, failure);
	}
	return failures;
}

static json *certificate_json(const struct token_status *token, const struct certificate_status *certificate)
{
	const struct key_history *key = status_key_of(token, certificate);
	json *object = json_object();

	json_set_string(object, "file", certificate->path);
	if (!certificate->certificate) {
		json_set(object, "failure", terminal_failure_json(&certificate->failure));
		return object;
	}
	json_set_string(object, "subject", certificate->subject);
	set_time(object, "not_after", status_expiry(certificate));
	json_set_number(object, "days_left", certificate_days_left(certificate->certificate));
	json_set_string(object, "public_key_sha256", certificate->public_key_sha256);
	if (key)
		json_set_string(object, "key", key->config->label);
	return object;
}

static json *token_json(const struct token_status *token)
{
	json *object = json_object(), *keys = json_array(), *certificates = json_array();

	json_set_string(object, "token", token->history->config->label);
	json_set_bool(object, "good", !is_bad(token));
	json_set(object, "logins", logins_json(token->history));
	json_set(object, "keys", keys);
	for (size_t i = 0; i < token->history->key_count; i++)
		json_push(keys, key_json(&token->history->keys[i]));
	json_set(object, "failures", failures_json(token->history));
	json_set_number(object, "security_events", token->history->security);
	json_set(object, "certificates", certificates);
	for (size_t i = 0; i < token->certificate_count; i++)
		json_push(certificates, certificate_json(token, &token->certificates[i]));
	return object;
}

static json *view_json(const struct status_view *view)
{
	json *object = json_object(), *trail = json_object(), *tokens = json_array();

	set_time(object, "time", view->now);
	json_set(object, "trail", trail);
	json_set_number(trail, "lines", (int64_t)view->history.lines);
	json_set_number(trail, "unreadable_lines", (int64_t)view->history.unread);
	set_time(trail, "from", view->history.from);
	set_time(trail, "to", view->history.to);
	json_set(object, "tokens", tokens);
	for (size_t i = 0; i < view->count; i++)
		json_push(tokens, token_json(&view->tokens[i]));
	return object;
}

/* ---- what is looked at ---- */

/* The rotated file first, then the present one. A trail that nobody has written to yet is empty. */
static skr_status read_own_trail(const struct config *config, struct status_view *view)
{
	char rotated[PATH_MAX];
	const char *path = config->trail.file;

	if (!path)
		return FAIL(4,
		            audit_is_kept(&config->trail) ? "the audit trail goes to %s: give what it got with --audit "
		                                            "FILE, or - for the standard input"
		                                          : "no audit trail is kept%s: set audit_file, or give a trail "
		                                            "with --audit FILE",
		            audit_is_kept(&config->trail) ? config->trail.socket : "");
	if ((size_t)snprintf(rotated, sizeof(rotated), "%s.1", path) < sizeof(rotated) && access(rotated, F_OK) == 0)
		TRY(history_read(&view->history, rotated));
	skr_status status = history_read(&view->history, path);
	if (status.failure == 1) {
		view->absent = path;
		return OK;
	}
	return status;
}

static skr_status read_trail(const struct status_order *order, const struct config *config, struct status_view *view)
{
	if (order->audit.count == 0)
		return read_own_trail(config, view);
	for (size_t i = 0; i < order->audit.count; i++)
		TRY(history_read(&view->history, order->audit.text[i]));
	return OK;
}

static skr_status look_at(const struct status_order *order, const struct config *config, struct status_view *view)
{
	TRY(history_open(config, &view->history));
	TRY(read_trail(order, config, view));
	view->tokens = calloc(view->history.token_count + 1, sizeof(*view->tokens));
	if (!view->tokens)
		return FAIL(14, "%zu tokens", view->history.token_count);
	for (size_t i = 0; i < view->history.token_count; i++) {
		const struct token_history *token = &view->history.tokens[i];
		if (order->label && strcmp(token->config->label, order->label) != 0)
			continue;
		view->tokens[view->count].history = token;
		read_certificates(&view->tokens[view->count]);
		view->bad |= is_bad(&view->tokens[view->count]);
		view->count++;
	}
	return OK;
}

static enum exit_code write_metrics(struct terminal *t, const struct status_view *view, const char *path)
{
	auto_buf text = BUF(METRICS_LIMIT);
	skr_status status = metrics_print(&view->history, view->tokens, view->count, view->now, &text);

	if (!status.failure && strcmp(path, "-") == 0)
		fputs(buf_text(&text), t->out);
	else if (!status.failure)
		status = output_write(path, &text);
	if (!status.failure)
		return EXIT_GOOD;
	terminal_error(t, status_last());
	return EXIT_BAD;
}

static enum exit_code show(struct terminal *t, const struct status_order *order, const struct status_view *view)
{
	if (order->prometheus)
		return write_metrics(t, view, order->prometheus);
	if (order->json) {
		auto_json *document = view_json(view);
		if (!terminal_json(t, document))
			return EXIT_BAD;
	} else {
		for (size_t i = 0; i < view->count; i++)
			show_token(view, &view->tokens[i]);
		show_trail(view);
	}
	return view->bad ? EXIT_BAD : EXIT_GOOD;
}

enum exit_code status_show(struct terminal *t, int argc, char **argv)
{
	struct status_order order = {.config = NULL};
	const struct argument known[] = {
	    {.name = "--audit", .values = &order.audit}, {.name = "--config", .value = &order.config},
	    {.name = "--json", .flag = &order.json},     {.name = "--prometheus", .value = &order.prometheus},
	    {.name = "", .value = &order.label},         {.name = NULL}};
	auto_config *config = NULL;
	auto_status_view view = {.t = t, .now = time(NULL)};

	if (arguments_read(t, "status", argc, argv, known) != EXIT_GOOD)
		return EXIT_USAGE;
	if (order.json && order.prometheus)
		return command_misused(t, command_find("status"), "either --json or --prometheus");
	if (ossl_open().failure || command_config(order.config, &config).failure) {
		terminal_error(t, status_last());
		return EXIT_USAGE;
	}
	if (order.label && !config_token(config, order.label))
		return command_misused(t, command_find("status"), "%s has no [token %s]", config->path, order.label);
	if (look_at(&order, config, &view).failure) {
		fprintf(t->err, "skr-pkcs11 status: %s\n", status_message());
		return EXIT_USAGE;
	}
	return show(t, &order, &view);
}
