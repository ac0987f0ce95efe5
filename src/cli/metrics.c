/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/status.h"

#include <inttypes.h>
#include <string.h>

/* ---- a sample: its name, labels, value ---- */

struct label {
	const char *name, *value;
};
#define LABELS_MAX 5

/* Backslash, quotation mark and newline are escaped in a label's value. */
static skr_status print_label(const struct label *label, struct buf *out)
{
	TRY(buf_printf(out, "%s=\"", label->name));
	for (const char *c = label->value; *c; c++) {
		if (*c == '\n')
			TRY(buf_append_text(out, "\\n"));
		else if (*c == '"' || *c == '\\')
			TRY(buf_printf(out, "\\%c", *c));
		else
			TRY(buf_append(out, c, 1));
	}
	return buf_append_text(out, "\"");
}

/* `labels` end with a name of NULL. */
static skr_status print_series(struct buf *out, const char *name, const struct label *labels)
{
	TRY(buf_printf(out, "skr_pkcs11_%s{", name));
	for (size_t i = 0; labels[i].name; i++) {
		TRY(buf_append_text(out, i ? "," : ""));
		TRY(print_label(&labels[i], out));
	}
	return buf_append_text(out, "} ");
}

static skr_status sample(struct buf *out, const char *name, const struct label *labels, int64_t value)
{
	TRY(print_series(out, name, labels));
	return buf_printf(out, "%" PRId64 "\n", value);
}
#define SAMPLE(out, name, value, ...) \
	sample((out), (name), (const struct label[LABELS_MAX + 1]){__VA_ARGS__}, (int64_t)(value))

static skr_status family(struct buf *out, const char *name, const char *type, const char *help)
{
	return buf_printf(out, "# HELP skr_pkcs11_%s %s\n# TYPE skr_pkcs11_%s %s\n", name, help, name, type);
}

/* ---- one function per family, for one token ---- */

static const char *label_of(const struct token_status *token)
{
	return token->history->config->label;
}

static skr_status logins(const struct token_status *token, const char *name, struct buf *out)
{
	const struct token_history *h = token->history;

	TRY(SAMPLE(out, name, h->released, {"token", label_of(token)}, {"result", "released"}));
	TRY(SAMPLE(out, name, h->kept, {"token", label_of(token)}, {"result", "kept"}));
	return SAMPLE(out, name, h->failed, {"token", label_of(token)}, {"result", "failed"});
}

static skr_status last_logins(const struct token_status *token, const char *name, struct buf *out)
{
	const struct token_history *h = token->history;

	if (h->last_good)
		TRY(SAMPLE(out, name, h->last_good, {"token", label_of(token)}, {"result", "ok"}));
	if (h->last_bad)
		TRY(SAMPLE(out, name, h->last_bad, {"token", label_of(token)}, {"result", "failed"}));
	return OK;
}

static skr_status last_duration(const struct token_status *token, const char *name, struct buf *out)
{
	const struct token_history *h = token->history;

	if (!h->released)
		return OK;
	TRY(print_series(out, name, (const struct label[]){{"token", label_of(token)}, {NULL, NULL}}));
	return buf_printf(out, "%" PRId64 ".%03d\n", h->last_ms / 1000, (int)(h->last_ms % 1000));
}

static skr_status failures(const struct token_status *token, const char *name, struct buf *out)
{
	for (int i = 0; i < HISTORY_FAILURES; i++) {
		char number[16];
		snprintf(number, sizeof(number), "SKR-%03d", i);
		if (token->history->failures[i])
			TRY(SAMPLE(out, name, token->history->failures[i], {"token", label_of(token)},
			           {"failure", number}));
	}
	return OK;
}

static skr_status security(const struct token_status *token, const char *name, struct buf *out)
{
	return SAMPLE(out, name, token->history->security, {"token", label_of(token)});
}

static skr_status key_times(const struct token_status *token, const char *name, struct buf *out, bool first)
{
	for (size_t i = 0; i < token->history->key_count; i++) {
		const struct key_history *key = &token->history->keys[i];
		if (key->released)
			TRY(SAMPLE(out, name, first ? key->since : key->released, {"token", label_of(token)},
			           {"key", key->config->label}, {"host", key->config->host},
			           {"version", key->version}));
	}
	return OK;
}

static skr_status key_releases(const struct token_status *token, const char *name, struct buf *out)
{
	return key_times(token, name, out, false);
}

static skr_status key_versions(const struct token_status *token, const char *name, struct buf *out)
{
	return key_times(token, name, out, true);
}

static skr_status expiries(const struct token_status *token, const char *name, struct buf *out)
{
	for (size_t i = 0; i < token->certificate_count; i++) {
		const struct certificate_status *certificate = &token->certificates[i];
		if (certificate->certificate)
			TRY(SAMPLE(out, name, status_expiry(certificate), {"token", label_of(token)},
			           {"file", certificate->path}, {"subject", certificate->subject}));
	}
	return OK;
}

static skr_status readable(const struct token_status *token, const char *name, struct buf *out)
{
	for (size_t i = 0; i < token->certificate_count; i++)
		TRY(SAMPLE(out, name, token->certificates[i].certificate != NULL, {"token", label_of(token)},
		           {"file", token->certificates[i].path}));
	return OK;
}

static const struct {
	const char *name, *type, *help;
	skr_status (*print)(const struct token_status *token, const char *name, struct buf *out);
} families[] = {
    {"logins_total", "counter", "Logins on record in the audit trail.", logins},
    {"last_login_timestamp_seconds", "gauge", "When the last login of this result was.", last_logins},
    {"last_release_duration_seconds", "gauge", "How long the last login that released keys took.", last_duration},
    {"failures_total", "counter", "Failed logins on record, by the number of the failure.", failures},
    {"security_events_total", "counter", "Security events on record.", security},
    {"key_last_release_timestamp_seconds", "gauge", "When the key was last released.", key_releases},
    {"key_version_since_timestamp_seconds", "gauge", "The first release on record of the version in use.",
     key_versions},
    {"certificate_not_after_timestamp_seconds", "gauge", "When the certificate expires.", expiries},
    {"certificate_readable", "gauge", "Whether the file holds a certificate that can be read.", readable},
};

static skr_status print_trail(const struct history *history, time_t now, struct buf *out)
{
	TRY(family(out, "info", "gauge", "The version of the command that wrote this."));
	TRY(SAMPLE(out, "info", 1, {"version", SKR_VERSION}));
	TRY(family(out, "status_timestamp_seconds", "gauge", "When this was written."));
	TRY(buf_printf(out, "skr_pkcs11_status_timestamp_seconds %" PRId64 "\n", (int64_t)now));
	TRY(family(out, "audit_lines", "gauge", "Lines of the audit trail that were read."));
	TRY(buf_printf(out, "skr_pkcs11_audit_lines %zu\n", history->lines));
	TRY(family(out, "audit_unreadable_lines", "gauge", "Lines of it that are no record."));
	return buf_printf(out, "skr_pkcs11_audit_unreadable_lines %zu\n", history->unread);
}

skr_status metrics_print(const struct history *history, const struct token_status *tokens, size_t count, time_t now,
                         struct buf *out)
{
	TRY(print_trail(history, now, out));
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		TRY(family(out, families[i].name, families[i].type, families[i].help));
		for (size_t k = 0; k < count; k++)
			TRY(families[i].print(&tokens[k], families[i].name, out));
	}
	return OK;
}
