/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include "base/file.h"
#include "config/endpoint.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#define LABEL_LIMIT 32 /* CK_TOKEN_INFO.label */

/* Everything a configuration owns: blocks that are released together. */
struct config_memory {
	struct config_memory *next;
	_Alignas(max_align_t) unsigned char data[];
};

/* ---- memory ---- */

void *config_alloc(struct config *config, size_t size)
{
	struct config_memory *block = calloc(1, sizeof(*block) + size);

	if (!block)
		return NULL;
	block->next = config->memory;
	config->memory = block;
	return block->data;
}

skr_status config_keep(struct config *config, const char *text, size_t len, const char **ret)
{
	char *copy = config_alloc(config, len + 1);

	if (!copy)
		return FAIL(14, "%zu bytes for a setting", len);
	memcpy(copy, text, len);
	*ret = copy;
	return OK;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (struct config_memory *block = config->memory, *next; block; block = next) {
		next = block->next;
		free(block);
	}
	free(config);
}

static void config_done(struct config **config)
{
	config_free(*config);
}
#define auto_config __attribute__((cleanup(config_done))) struct config

/* ---- sections ---- */

static const char *section_kind(const struct config_reader *reader)
{
	return reader->token ? "token" : "skr-pkcs11";
}

static skr_status apply_fallbacks(struct config_reader *reader)
{
	for (const struct setting *s = config_settings; s->name; s++)
		if (s->fallback && strcmp(s->section, section_kind(reader)) == 0)
			TRY(s->read(reader, s, s->fallback));
	return OK;
}

/* What ends with a section: everything that one line alone cannot say. */
static skr_status check_token(const struct config_reader *reader, const struct token_config *token)
{
	char section[LABEL_LIMIT + 8];
	snprintf(section, sizeof(section), "token %s", token->label);
	const struct ini_line at = {.path = reader->config->path, .number = token->line, .section = section};

	if (!token->attestation)
		return ini_fail(&at, "attestation is missing");
	if (token->key_count == 0)
		return ini_fail(&at, "no key: a token has one key line or more");
	bool application = token->identity == IDENTITY_SECRET || token->identity == IDENTITY_CERTIFICATE;
	if (application && (!token->tenant || !token->client))
		return ini_fail(&at, "this identity needs tenant and client");
	if (!application && token->identity != IDENTITY_WORKLOAD && (token->tenant || token->client))
		return ini_fail(&at, "tenant and client belong to the identities workload, secret and certificate; a "
		                     "managed identity is named as managed:CLIENT-ID");
	return OK;
}

static skr_status check_global(const struct config_reader *reader)
{
	const struct ini_line at = {
	    .path = reader->config->path, .number = reader->global_line, .section = "skr-pkcs11"};

	const struct audit_trail *trail = &reader->config->trail;

	if (trail->to != AUDIT_TO_FILE && trail->file)
		return ini_fail(&at, "audit_file belongs to audit_to = file; the trail goes to one place");
	if (trail->chained && !trail->file)
		return ini_fail(&at, "audit_chain = yes needs audit_file: a chain is one of lines in a file");
	if (reader->config->audit == AUDIT_REQUIRED && !audit_is_kept(trail))
		return ini_fail(&at, "audit = required needs audit_file, or audit_to = syslog or journald");
	return OK;
}

static skr_status begin_global(struct config_reader *reader)
{
	if (reader->global_line)
		return ini_fail(reader->line, "stands twice");
	reader->global_line = reader->line->number;
	reader->token = NULL;
	reader->target = reader->config;
	return OK;
}

static skr_status begin_token(struct config_reader *reader, const char *label)
{
	struct config *config = reader->config;
	size_t len = strlen(label);

	if (len < 1 || len > LABEL_LIMIT)
		return ini_fail(reader->line, "the label of a token has 1 to %d bytes", LABEL_LIMIT);
	if (config_token(config, label))
		return ini_fail(reader->line, "stands twice");
	if (config->token_count == CONFIG_TOKENS_MAX)
		return ini_fail(reader->line, "more than %d tokens", CONFIG_TOKENS_MAX);
	if (!config->tokens && !(config->tokens = config_alloc(config, CONFIG_TOKENS_MAX * sizeof(*config->tokens))))
		return FAIL(14, "a list of tokens");

	struct token_config *token = &config->tokens[config->token_count];
	token->line = reader->line->number;
	TRY(config_keep(config, label, len, &token->label));
	config->token_count++;
	reader->token = token;
	reader->target = token;
	return apply_fallbacks(reader);
}

static skr_status begin_section(struct config_reader *reader)
{
	const char *section = reader->line->section;

	reader->given = 0;
	if (strcmp(section, "skr-pkcs11") == 0)
		return begin_global(reader);
	if (strncmp(section, "token ", 6) == 0 || strncmp(section, "token\t", 6) == 0)
		return begin_token(reader, section + 6 + strspn(section + 6, " \t"));
	return ini_fail(reader->line, "no such section: there are [skr-pkcs11] and [token LABEL]");
}

static skr_status take_setting(struct config_reader *reader)
{
	for (const struct setting *s = config_settings; s->name; s++) {
		uint64_t bit = UINT64_C(1) << (s - config_settings);
		if (strcmp(s->name, reader->line->name) != 0 || strcmp(s->section, section_kind(reader)) != 0)
			continue;
		if (!s->repeats && (reader->given & bit))
			return ini_fail(reader->line, "stands twice in this section");
		reader->given |= bit;
		return s->read(reader, s, reader->line->value);
	}
	for (const struct setting *s = config_settings; s->name; s++)
		if (strcmp(s->name, reader->line->name) == 0)
			return ini_fail(reader->line, "belongs into a section [%s]",
			                reader->token ? "skr-pkcs11" : "token LABEL");
	return ini_fail(reader->line, "no such setting");
}

static skr_status take_line(const struct ini_line *line, void *with)
{
	struct config_reader *reader = with;

	reader->line = line;
	return line->name ? take_setting(reader) : begin_section(reader);
}

/* ---- the door ---- */

/* A configuration without tokens, every setting at its default; `reader` is ready for the first line. */
static skr_status config_new(const char *path, struct config_reader *reader, struct config **ret)
{
	static const struct ini_line no_line = {.path = "(default)"};
	auto_config *config = calloc(1, sizeof(*config));

	if (!config)
		return FAIL(14, "a configuration");
	if (path)
		TRY(config_keep(config, path, strlen(path), &config->path));
	*reader = (struct config_reader){.config = config, .target = config, .line = &no_line};
	TRY(apply_fallbacks(reader));
	*ret = TAKE(config);
	return OK;
}

struct config *config_default(void)
{
	struct config_reader reader;
	struct config *config = NULL;

	return config_new(NULL, &reader, &config).failure ? NULL : config;
}

/* An emulated TPM proves nothing to Azure: it is an endpoint that is not Azure's. */
static skr_status check_tpm(const struct config *config)
{
	if (strncmp(config->tpm, "swtpm:", 6) == 0 && !config->allow_custom_endpoint)
		return FAIL(5, "%s: tpm = swtpm:... is an emulated TPM, which needs allow_custom_endpoint = yes",
		            config->path ? config->path : "the configuration");
	return OK;
}

skr_status config_parse(const char *path, const char *text, size_t len, struct config **ret)
{
	struct config_reader reader;
	auto_config *config = NULL;

	TRY(config_new(path, &reader, &config));
	TRY(ini_read(path, text, len, take_line, &reader));
	TRY(check_global(&reader));
	for (size_t i = 0; i < config->token_count; i++)
		TRY(check_token(&reader, &config->tokens[i]));
	TRY(endpoint_check_all(&reader));
	TRY(check_tpm(config));
	*ret = TAKE(config);
	return OK;
}

skr_status config_read(const char *path, struct config **ret)
{
	auto_buf text = BUF(INI_FILE_LIMIT);

	if (path[0] != '/')
		return FAIL(3, "%s: the path of the configuration must be absolute", path);
	skr_status status = file_read_trusted(path, &text);
	if (status.failure == 1)
		return FAIL(1, "%s is not there; the variable SKR_PKCS11_CONF names another", path);
	if (status.failure == 208)
		return FAIL(3, "%s: more than the limit of %d bytes", path, INI_FILE_LIMIT);
	TRY(status);
	return config_parse(path, buf_text(&text), text.len, ret);
}

const struct token_config *config_token(const struct config *config, const char *label)
{
	for (size_t i = 0; i < config->token_count; i++)
		if (strcmp(config->tokens[i].label, label) == 0)
			return &config->tokens[i];
	return NULL;
}

/* The value of skr_conf= in "NAME=VALUE NAME='VALUE' …", as hosts write what they pass to C_Initialize. NULL: not
 * there. */
static const char *find_reserved(const char *reserved, size_t *ret_len)
{
	static const char name[] = "skr_conf=";

	for (const char *p = reserved; p && (p = strstr(p, name)); p++) {
		if (p != reserved && !strchr(" \t,;", p[-1]))
			continue;
		const char *value = p + sizeof(name) - 1;
		char quote = *value == '\'' || *value == '"' ? *value++ : '\0';
		const char *end = quote ? strchr(value, quote) : value + strcspn(value, " \t");
		if (!end || end == value)
			return NULL;
		*ret_len = (size_t)(end - value);
		return value;
	}
	return NULL;
}

skr_status config_path(const char *reserved, char **ret_path)
{
	size_t len = 0;
	const char *path = find_reserved(reserved, &len);

	if (!path) {
		path = secure_getenv("SKR_PKCS11_CONF");
		if (getauxval(AT_SECURE) && getenv("SKR_PKCS11_CONF"))
			log_line(LOG_LEVEL_INFO, "SKR-006 : %s: SKR_PKCS11_CONF : %s", failure_row(6)->sentence,
			         failure_row(6)->hint);
		if (!path || !*path)
			path = CONFIG_PATH_DEFAULT;
		len = strlen(path);
	}
	char *copy = text_copy(path, len);
	if (!copy)
		return FAIL(14, "a path");
	*ret_path = copy;
	return OK;
}
