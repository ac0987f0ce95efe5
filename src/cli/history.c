/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/history.h"

#include "cli/trail.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void history_done(struct history *history)
{
	free(history->tokens);
	*history = (struct history){.tokens = NULL};
}

skr_status history_open(const struct config *config, struct history *ret)
{
	struct token_history *tokens = calloc(config->token_count + 1, sizeof(*tokens));

	if (!tokens)
		return FAIL(14, "the history of %zu tokens", config->token_count);
	for (size_t i = 0; i < config->token_count; i++) {
		tokens[i].config = &config->tokens[i];
		tokens[i].key_count = config->tokens[i].key_count;
		for (size_t k = 0; k < tokens[i].key_count; k++)
			tokens[i].keys[k].config = &config->tokens[i].keys[k];
	}
	*ret = (struct history){.tokens = tokens, .token_count = config->token_count};
	return OK;
}

/* ---- one record ---- */

static struct token_history *token_of(struct history *history, const json *record)
{
	const char *label = json_string_or_null(record, "token");

	for (size_t i = 0; label && i < history->token_count; i++)
		if (strcmp(history->tokens[i].config->label, label) == 0)
			return &history->tokens[i];
	return NULL;
}

static struct key_history *key_of(struct token_history *token, const json *key)
{
	const char *host = json_string_or_null(key, "host"), *name = json_string_or_null(key, "name");
	const char *version = json_string_or_null(key, "version");

	for (size_t i = 0; host && name && version && i < token->key_count; i++) {
		const struct key_config *config = token->keys[i].config;
		if (strcmp(config->host, host) == 0 && strcmp(config->name, name) == 0 &&
		    (!config->version || strcmp(config->version, version) == 0))
			return &token->keys[i];
	}
	return NULL;
}

static void take_key(struct key_history *key, const json *record, time_t when)
{
	const char *version = json_string_or_null(record, "version");
	const char *hash = json_string_or_null(record, "public_key_sha256");

	if (strcmp(key->version, version) != 0) {
		key->changes += key->version[0] != '\0';
		key->since = when;
	}
	snprintf(key->version, sizeof(key->version), "%s", version);
	snprintf(key->public_key_sha256, sizeof(key->public_key_sha256), "%s", hash ? hash : "");
	key->released = when;
}

static void take_good_login(struct token_history *token, const json *record, time_t when)
{
	token->last_good = when;
	if (!json_bool(record, "released", false)) {
		token->kept++;
		return;
	}
	token->released++;
	if (json_integer(record, "ms", false, &token->last_ms).failure || token->last_ms < 0)
		token->last_ms = 0;
	for (const json *key = json_first(json_get(record, "keys")); key; key = json_next(key)) {
		struct key_history *known = key_of(token, key);
		if (known)
			take_key(known, key, when);
	}
}

static void take_bad_login(struct token_history *token, const json *record, time_t when)
{
	int64_t number;

	token->failed++;
	token->last_bad = when;
	if (json_integer(record, "failure", false, &number).failure || number < 1 || number >= HISTORY_FAILURES)
		number = 599;
	token->last_failure = (int)number;
	token->failures[number]++;
	token->last_failures[number] = when;
}

/* An agent's refusal of a peer is a security event of the token asked for, and no login of it. */
static void take_event(struct token_history *token, const char *event, const json *record, time_t when)
{
	const char *result = json_string_or_null(record, "result");
	bool login = strcmp(event, "login") == 0, security = strcmp(event, "security") == 0;

	token->security += security;
	token->erased += strcmp(event, "logout") == 0 || strcmp(event, "erased") == 0;
	if (!result || json_get(record, "peer_uid"))
		return;
	if (login && strcmp(result, "ok") == 0)
		take_good_login(token, record, when);
	else if (login || security)
		take_bad_login(token, record, when);
}

static bool parse_time(const json *record, time_t *ret)
{
	const char *text = json_string_or_null(record, "time");
	struct tm utc = {0};
	const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &utc) : NULL;

	if (!end || *end)
		return false;
	*ret = timegm(&utc);
	return true;
}

static bool take_line(const struct trail_line *line, void *with)
{
	struct history *history = with;
	const char *event = json_string_or_null(line->record, "event");
	time_t when;

	history->lines++;
	if (!event || !parse_time(line->record, &when)) {
		history->unread++;
		return true;
	}
	if (!history->from)
		history->from = when;
	history->to = when;
	struct token_history *token = token_of(history, line->record);
	if (token)
		take_event(token, event, line->record, when);
	return true;
}

skr_status history_read(struct history *history, const char *path)
{
	return trail_read(path, take_line, history);
}
