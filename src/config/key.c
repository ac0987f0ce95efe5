/* SPDX-License-Identifier: Apache-2.0 */
#include "config/endpoint.h"

#include "base/base64.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define KEY_LABEL_LIMIT 64
#define NAME_LIMIT      127
#define VERSION_LENGTH  32

static bool is_name(const char *text, size_t len)
{
	if (len < 1 || len > NAME_LIMIT)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '-')
			return false;
	return true;
}

static bool is_version(const char *text, size_t len)
{
	return len == VERSION_LENGTH && strspn(text, "0123456789abcdef") >= len;
}

/* /keys/NAME[/VERSION] */
static skr_status read_key_path(struct config_reader *reader, const char *path, struct key_config *key)
{
	if (strncmp(path, "/keys/", 6) != 0)
		return ini_fail(reader->line, "must be https://HOST/keys/NAME or https://HOST/keys/NAME/VERSION");
	const char *name = path + 6, *slash = strchr(name, '/');
	size_t name_len = slash ? (size_t)(slash - name) : strlen(name);
	if (!is_name(name, name_len))
		return ini_fail(reader->line, "the name of a key is 1 to %d of A-Z, a-z, 0-9 and -", NAME_LIMIT);
	TRY(config_keep(reader->config, name, name_len, &key->name));
	if (!slash)
		return OK;
	if (!is_version(slash + 1, strlen(slash + 1)))
		return ini_fail(reader->line, "the version of a key is %d of 0-9 and a-f", VERSION_LENGTH);
	return config_keep(reader->config, slash + 1, VERSION_LENGTH, &key->version);
}

static skr_status read_key_label(struct config_reader *reader, const char *label, struct key_config *key)
{
	size_t len = strlen(label);

	if (key->label)
		return ini_fail(reader->line, "label= stands twice");
	if (len < 1 || len > KEY_LABEL_LIMIT)
		return ini_fail(reader->line, "label= has 1 to %d bytes", KEY_LABEL_LIMIT);
	return config_keep(reader->config, label, len, &key->label);
}

static skr_status read_key_pin(struct config_reader *reader, const char *hex, struct key_config *key)
{
	auto_buf hash = BUF(sizeof(key->public_key_sha256));

	if (key->pinned)
		return ini_fail(reader->line, "public_key_sha256= stands twice");
	if (strlen(hex) != 64 || hex_decode(hex, 64, &hash).failure)
		return ini_fail(reader->line, "public_key_sha256= has 64 hexadecimal digits");
	memcpy(key->public_key_sha256, hash.data, sizeof(key->public_key_sha256));
	key->pinned = true;
	return OK;
}

/* One of the words behind the address. */
static skr_status read_key_option(struct config_reader *reader, const char *word, struct key_config *key)
{
	if (strncmp(word, "label=", 6) == 0)
		return read_key_label(reader, word + 6, key);
	if (strncmp(word, "public_key_sha256=", 18) == 0)
		return read_key_pin(reader, word + 18, key);
	return ini_fail(reader->line, "behind the address stand label=TEXT and public_key_sha256=HEX, nothing else");
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* Names of keys are not case-sensitive in a vault. */
static bool same_key(const struct key_config *a, const struct key_config *b)
{
	return strcmp(a->host, b->host) == 0 && strcasecmp(a->name, b->name) == 0 && same_text(a->version, b->version);
}

static skr_status add_key(struct config_reader *reader, const struct key_config *key)
{
	struct token_config *token = reader->token;

	for (size_t i = 0; i < token->key_count; i++)
		if (same_key(&token->keys[i], key))
			return ini_fail(reader->line, "the same key stands in this token twice");
	if (token->key_count == CONFIG_KEYS_MAX)
		return ini_fail(reader->line, "more than %d keys in one token", CONFIG_KEYS_MAX);
	if (!token->keys && !(token->keys = config_alloc(reader->config, CONFIG_KEYS_MAX * sizeof(*token->keys))))
		return FAIL(14, "a list of keys");
	token->keys[token->key_count++] = *key;
	return OK;
}

skr_status setting_read_key(struct config_reader *reader, const struct setting *setting, const char *value)
{
	struct key_config key = {.pinned = false};
	char words[INI_LINE_LIMIT + 1], *rest = words, *word;
	const char *path;

	snprintf(words, sizeof(words), "%s", value);
	word = strsep(&rest, " \t");
	TRY(config_keep(reader->config, word, strlen(word), &key.url));
	TRY(endpoint_read(reader, setting, word, "https://", 443, &key.host, &path));
	TRY(read_key_path(reader, path, &key));
	while ((word = strsep(&rest, " \t")))
		if (*word != '\0')
			TRY(read_key_option(reader, word, &key));
	if (!key.label)
		key.label = key.name;
	key.managed_hsm = strstr(key.host, ".managedhsm.") != NULL;
	return add_key(reader, &key);
}
