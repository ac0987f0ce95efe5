/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include "base/base64.h"
#include "base/file.h"
#include "config/ini.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>

#ifndef SKR_AGENT_PATH
#error "SKR_AGENT_PATH comes from the build"
#endif

#define LABEL_LIMIT     32 /* CK_TOKEN_INFO.label */
#define KEY_LABEL_LIMIT 64
#define HOST_LIMIT      253
#define NAME_LIMIT      127
#define VERSION_LENGTH  32

/* Everything a configuration owns: blocks that are released together. */
struct config_memory {
	struct config_memory *next;
	_Alignas(max_align_t) unsigned char data[];
};

/* A host that must be on the allow-list, checked once the whole file is read: allow_custom_endpoint may stand below it.
 */
struct pending_endpoint {
	struct pending_endpoint *next;
	const char *setting, *host;
	unsigned kinds;
	int line;
};

struct config_reader {
	struct config *config;
	struct token_config *token; /* of the section in hand; NULL: in [skr-pkcs11] */
	const struct ini_line *line;
	void *target;                       /* what the settings of the section in hand are written to */
	uint64_t given;                     /* settings of the section in hand that have been read, by row */
	int global_line;                    /* of [skr-pkcs11]; 0: not seen */
	struct pending_endpoint *endpoints; /* owned by the configuration's memory */
};

/* ---- memory ---- */

static void *config_alloc(struct config *config, size_t size)
{
	struct config_memory *block = calloc(1, sizeof(*block) + size);

	if (!block)
		return NULL;
	block->next = config->memory;
	config->memory = block;
	return block->data;
}

static const char *config_text(struct config *config, const char *text, size_t len)
{
	char *copy = config_alloc(config, len + 1);

	if (copy)
		memcpy(copy, text, len);
	return copy;
}

static skr_status keep_text(struct config *config, const char *text, size_t len, const char **ret)
{
	const char *copy = config_text(config, text, len);

	if (!copy)
		return FAIL(14, "%zu bytes for a setting", len);
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

/* ---- hosts ---- */

enum endpoint_kind { ENDPOINT_VAULT = 1, ENDPOINT_ATTESTATION = 2, ENDPOINT_AUTHORITY = 4, ENDPOINT_IMDS = 8 };

#define IMDS_ADDRESS "169.254.169.254"

/* Azure's hosts, all clouds. A suffix that starts with a dot stands for the names under it, another for itself alone.
 */
static const struct {
	unsigned kind;
	bool one_label; /* exactly one label before the suffix */
	const char *suffix;
} azure_hosts[] = {
    {ENDPOINT_VAULT, true, ".vault.azure.net"},
    {ENDPOINT_VAULT, true, ".vault.usgovcloudapi.net"},
    {ENDPOINT_VAULT, true, ".vault.azure.cn"},
    {ENDPOINT_VAULT, true, ".managedhsm.azure.net"},
    {ENDPOINT_VAULT, true, ".managedhsm.usgovcloudapi.net"},
    {ENDPOINT_VAULT, true, ".managedhsm.azure.cn"},
    {ENDPOINT_ATTESTATION, false, ".attest.azure.net"},
    {ENDPOINT_ATTESTATION, false, ".attest.azure.us"},
    {ENDPOINT_AUTHORITY, false, "login.microsoftonline.com"},
    {ENDPOINT_AUTHORITY, false, "login.windows.net"},
    {ENDPOINT_AUTHORITY, false, "login.microsoftonline.us"},
    {ENDPOINT_AUTHORITY, false, "login.chinacloudapi.cn"},
    {ENDPOINT_AUTHORITY, false, "login.partner.microsoftonline.cn"},
    {ENDPOINT_IMDS, false, IMDS_ADDRESS},
};
#define AZURE_HOSTS (sizeof(azure_hosts) / sizeof(*azure_hosts))

static bool host_matches(size_t row, const char *host, size_t len)
{
	const char *suffix = azure_hosts[row].suffix;
	size_t suffix_len = strlen(suffix);

	if (suffix[0] != '.')
		return len == suffix_len && strncasecmp(host, suffix, len) == 0;
	if (len <= suffix_len || strncasecmp(host + len - suffix_len, suffix, suffix_len) != 0)
		return false;
	return !azure_hosts[row].one_label || memchr(host, '.', len - suffix_len) == NULL;
}

/*
 * True if `text` is a host name of at most 253 letters, digits, inner dots and hyphens, and behind it nothing, or a
 * colon and a port. Sets the length of the name, and the port (0: none given).
 */
static bool split_host(const char *text, size_t len, size_t *ret_name_len, unsigned *ret_port)
{
	size_t at = 0;
	unsigned port = 0;

	for (; at < len && text[at] != ':'; at++) {
		bool edge =
		    at == 0 || at + 1 == len || text[at + 1] == ':' || text[at - 1] == '.' || text[at + 1] == '.';
		if (!isalnum((unsigned char)text[at]) && (edge || (text[at] != '-' && text[at] != '.')))
			return false;
	}
	if (at == 0 || at > HOST_LIMIT)
		return false;
	*ret_name_len = at;
	if (at < len) {
		size_t digits = len - ++at;
		if (digits < 1 || digits > 5 || text[at] == '0')
			return false;
		for (; at < len; at++) {
			if (!isdigit((unsigned char)text[at]))
				return false;
			port = port * 10 + (unsigned)(text[at] - '0');
		}
		if (port > 65535)
			return false;
	}
	*ret_port = port;
	return true;
}

static bool endpoint_allowed(const struct config *config, unsigned kinds, const char *host)
{
	size_t name_len;
	unsigned port;

	if (!split_host(host, strlen(host), &name_len, &port))
		return false;
	if (config->allow_custom_endpoint)
		return true;
	if (port != 0 && port != 443)
		return false;
	for (size_t row = 0; row < AZURE_HOSTS; row++)
		if ((azure_hosts[row].kind & kinds) && host_matches(row, host, name_len))
			return true;
	return false;
}

bool config_endpoint_allowed(const struct config *config, const char *host)
{
	return endpoint_allowed(config, ENDPOINT_VAULT | ENDPOINT_ATTESTATION | ENDPOINT_AUTHORITY, host);
}

/* "*.vault.azure.net, login.windows.net, …" of the kinds. */
static void list_azure_hosts(unsigned kinds, char *out, size_t size)
{
	size_t at = 0;

	out[0] = '\0';
	for (size_t row = 0; row < AZURE_HOSTS; row++)
		if ((azure_hosts[row].kind & kinds) && at < size)
			at += (size_t)snprintf(out + at, size - at, "%s%s%s", at ? ", " : "",
			                       azure_hosts[row].suffix[0] == '.' ? "*" : "", azure_hosts[row].suffix);
}

static skr_status check_endpoints(const struct config_reader *reader)
{
	for (const struct pending_endpoint *e = reader->endpoints; e; e = e->next) {
		char allowed[400];
		if (endpoint_allowed(reader->config, e->kinds, e->host))
			continue;
		list_azure_hosts(e->kinds, allowed, sizeof(allowed));
		return FAIL(5, "%s:%d: %s: host %s; allowed are %s", reader->config->path, e->line, e->setting, e->host,
		            allowed);
	}
	return OK;
}

static skr_status remember_endpoint(struct config_reader *reader, const struct setting *setting, const char *host)
{
	struct pending_endpoint *endpoint = config_alloc(reader->config, sizeof(*endpoint));

	if (!endpoint)
		return FAIL(14, "a list of hosts");
	*endpoint = (struct pending_endpoint){.next = reader->endpoints,
	                                      .setting = setting->name,
	                                      .host = host,
	                                      .kinds = *(const unsigned *)setting->with,
	                                      .line = reader->line->number};
	reader->endpoints = endpoint;
	return OK;
}

/* Host and port of SCHEME://HOST[:PORT][/…], lower case, without a port that is `usual`; and what stands behind. */
static skr_status read_host(struct config_reader *reader, const struct setting *setting, const char *url,
                            const char *scheme, unsigned usual, const char **ret_host, const char **ret_rest)
{
	size_t scheme_len = strlen(scheme), name_len;
	unsigned port;
	char host[HOST_LIMIT + 8];

	if (strncasecmp(url, scheme, scheme_len) != 0)
		return ini_fail(reader->line, "must start with %s", scheme);
	const char *start = url + scheme_len, *rest = start + strcspn(start, "/?#");
	if (!split_host(start, (size_t)(rest - start), &name_len, &port))
		return ini_fail(reader->line, "no host name, or one with characters that do not belong there");

	snprintf(host, sizeof(host), "%.*s", (int)name_len, start);
	for (char *c = host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (port != 0 && port != usual)
		snprintf(host + name_len, sizeof(host) - name_len, ":%u", port);
	TRY(keep_text(reader->config, host, strlen(host), ret_host));
	*ret_rest = rest;
	return remember_endpoint(reader, setting, *ret_host);
}

/* ---- one function per kind of value ---- */

static void *place_of(const struct config_reader *reader, const struct setting *setting)
{
	return (char *)reader->target + setting->at;
}

static skr_status read_text(struct config_reader *reader, const struct setting *setting, const char *value)
{
	const char **place = place_of(reader, setting);

	return keep_text(reader->config, value, strlen(value), place);
}

static skr_status check_path(const struct ini_line *line, const char *path)
{
	if (path[0] != '/')
		return ini_fail(line, "must be an absolute path");
	if (strlen(path) >= PATH_MAX)
		return ini_fail(line, "path too long");
	return OK;
}

static skr_status read_path(struct config_reader *reader, const struct setting *setting, const char *value)
{
	TRY(check_path(reader->line, value));
	return read_text(reader, setting, value);
}

static skr_status read_paths(struct config_reader *reader, const struct setting *setting, const char *value)
{
	bool public_key = setting->at == offsetof(struct token_config, public_keys);
	size_t *count = public_key ? &reader->token->public_key_count : &reader->token->certificate_count;
	const char ***list = place_of(reader, setting);

	TRY(check_path(reader->line, value));
	if (*count == CONFIG_PATHS_MAX)
		return ini_fail(reader->line, "more than %d lines of this name", CONFIG_PATHS_MAX);
	if (!*list && !(*list = config_alloc(reader->config, CONFIG_PATHS_MAX * sizeof(**list))))
		return FAIL(14, "a list of paths");
	TRY(keep_text(reader->config, value, strlen(value), &(*list)[*count]));
	(*count)++;
	return OK;
}

static skr_status read_bool(struct config_reader *reader, const struct setting *setting, const char *value)
{
	bool yes = strcmp(value, "yes") == 0;

	if (!yes && strcmp(value, "no") != 0)
		return ini_fail(reader->line, "%.40s is neither yes nor no", value);
	*(bool *)place_of(reader, setting) = yes;
	return OK;
}

struct range {
	unsigned least, most;
};

/* Decimal digits and nothing else. */
static bool parse_number(const char *text, const struct range *range, unsigned *ret)
{
	unsigned long long number = 0;

	if (*text == '\0' || strlen(text) > 10 || text[strspn(text, "0123456789")] != '\0')
		return false;
	number = strtoull(text, NULL, 10);
	if (number < range->least || number > range->most)
		return false;
	*ret = (unsigned)number;
	return true;
}

static skr_status read_number(struct config_reader *reader, const struct setting *setting, const char *value)
{
	const struct range *range = setting->with;

	if (!parse_number(value, range, place_of(reader, setting)))
		return ini_fail(reader->line, "%.40s is no number from %u to %u", value, range->least, range->most);
	return OK;
}

static skr_status read_uid(struct config_reader *reader, const struct setting *setting, const char *value)
{
	unsigned uid;

	if (!parse_number(value, setting->with, &uid))
		return ini_fail(reader->line, "%.40s is no user number", value);
	*(long *)place_of(reader, setting) = (long)uid;
	return OK;
}

/* Index of the value in a NULL-ended list of words; a failure that names them otherwise. */
static skr_status find_choice(const struct config_reader *reader, const char *const *words, const char *value,
                              unsigned *ret)
{
	char list[200];
	size_t at = 0;

	for (unsigned i = 0; words[i]; i++)
		if (strcmp(words[i], value) == 0) {
			*ret = i;
			return OK;
		}
	for (unsigned i = 0; words[i] && at < sizeof(list); i++)
		at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? ", " : "", words[i]);
	return ini_fail(reader->line, "%.40s is none of %s", value, list);
}

/* The words stand in the order of the enum. */
static skr_status read_enum(struct config_reader *reader, const struct setting *setting, const char *value)
{
	return find_choice(reader, setting->with, value, place_of(reader, setting));
}

static skr_status read_word(struct config_reader *reader, const struct setting *setting, const char *value)
{
	unsigned choice;

	TRY(find_choice(reader, setting->with, value, &choice));
	return read_text(reader, setting, value);
}

static skr_status read_bits(struct config_reader *reader, const struct setting *setting, const char *value)
{
	unsigned choice;

	TRY(find_choice(reader, setting->with, value, &choice));
	*(unsigned *)place_of(reader, setting) = (unsigned)strtoul(value, NULL, 10);
	return OK;
}

static skr_status read_log(struct config_reader *reader, const struct setting *setting, const char *value)
{
	if (value[0] != '/' && strcmp(value, "syslog") != 0 && strcmp(value, "stderr") != 0 &&
	    strcmp(value, "none") != 0)
		return ini_fail(reader->line, "%.40s is neither syslog, stderr, none nor an absolute path", value);
	return read_text(reader, setting, value);
}

static skr_status read_agent(struct config_reader *reader, const struct setting *setting, const char *value)
{
	bool exec = strncmp(value, "exec:/", 6) == 0;

	if (!exec && strncmp(value, "unix:/", 6) != 0)
		return ini_fail(reader->line, "must be exec:/PATH of the program or unix:/PATH of the socket");
	if (!exec && strlen(value + 5) > 107)
		return ini_fail(reader->line, "the path of a socket has at most 107 bytes");
	TRY(check_path(reader->line, value + 5));
	reader->config->agent_is_socket = !exec;
	return read_text(reader, setting, value + 5);
}

static skr_status read_proxy(struct config_reader *reader, const struct setting *setting, const char *value)
{
	size_t name_len;
	unsigned port;

	if (!split_host(value, strlen(value), &name_len, &port) || port == 0)
		return ini_fail(reader->line, "must be HOST:PORT, without a scheme and without credentials");
	return read_text(reader, setting, value);
}

/* HTTPS addresses of a service: the host and nothing behind it. Kept in lower case, without a slash at the end. */
static skr_status read_service(struct config_reader *reader, const struct setting *setting, const char *value)
{
	bool imds = *(const unsigned *)setting->with == ENDPOINT_IMDS;
	const char *scheme = imds ? "http://" : "https://", *host, *rest;
	char url[sizeof("https://") + HOST_LIMIT + 8];

	TRY(read_host(reader, setting, value, scheme, imds ? 80 : 443, &host, &rest));
	if (strcmp(rest, "") != 0 && strcmp(rest, "/") != 0)
		return ini_fail(reader->line, "must be %sHOST with nothing behind it", scheme);
	snprintf(url, sizeof(url), "%s%s", scheme, host);
	return read_text(reader, setting, url);
}

static bool is_guid(const char *text)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

	if (strlen(text) != sizeof(form) - 1)
		return false;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false;
	return true;
}

static skr_status read_guid(struct config_reader *reader, const struct setting *setting, const char *value)
{
	if (!is_guid(value))
		return ini_fail(reader->line, "%.40s is not of the form 00000000-0000-0000-0000-000000000000", value);
	return read_text(reader, setting, value);
}

/* A tenant is a GUID or a domain of the tenant. */
static skr_status read_tenant(struct config_reader *reader, const struct setting *setting, const char *value)
{
	size_t name_len;
	unsigned port;

	if (!is_guid(value) && (!strchr(value, '.') || !split_host(value, strlen(value), &name_len, &port) || port))
		return ini_fail(reader->line, "%.40s is neither a GUID nor a domain name", value);
	return read_text(reader, setting, value);
}

static skr_status check_managed(const struct ini_line *line, const char *argument)
{
	bool resource = strncmp(argument, "resource:", 9) == 0;

	if (is_guid(argument) || (strncmp(argument, "object:", 7) == 0 && is_guid(argument + 7)))
		return OK;
	if (resource && strncasecmp(argument + 9, "/subscriptions/", 15) == 0 && !strpbrk(argument, " \t?#&"))
		return OK;
	return ini_fail(line, "behind managed: stands a client id, object:ID, or resource:/subscriptions/…");
}

static skr_status read_identity(struct config_reader *reader, const struct setting *setting, const char *value)
{
	static const struct {
		const char *word;
		bool argument, required;
		enum identity_kind kind;
	} kinds[] = {{"auto", false, false, IDENTITY_AUTO},
	             {"managed", true, false, IDENTITY_MANAGED},
	             {"workload", false, false, IDENTITY_WORKLOAD},
	             {"secret", true, true, IDENTITY_SECRET},
	             {"certificate", true, true, IDENTITY_CERTIFICATE}};
	const char *colon = strchr(value, ':');
	size_t word_len = colon ? (size_t)(colon - value) : strlen(value);

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (strlen(kinds[i].word) != word_len || strncmp(kinds[i].word, value, word_len) != 0)
			continue;
		if ((colon && !kinds[i].argument) || (!colon && kinds[i].required))
			break;
		reader->token->identity = kinds[i].kind;
		reader->token->identity_argument = NULL;
		if (!colon)
			return OK;
		TRY(kinds[i].required ? check_path(reader->line, colon + 1) : check_managed(reader->line, colon + 1));
		return read_text(reader, setting, colon + 1);
	}
	return ini_fail(reader->line, "%.40s is none of auto, managed[:ID], workload, secret:FILE, certificate:FILE",
	                value);
}

/* ---- key ---- */

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
	TRY(keep_text(reader->config, name, name_len, &key->name));
	if (!slash)
		return OK;
	if (!is_version(slash + 1, strlen(slash + 1)))
		return ini_fail(reader->line, "the version of a key is %d of 0-9 and a-f", VERSION_LENGTH);
	return keep_text(reader->config, slash + 1, VERSION_LENGTH, &key->version);
}

static skr_status read_key_label(struct config_reader *reader, const char *label, struct key_config *key)
{
	size_t len = strlen(label);

	if (key->label)
		return ini_fail(reader->line, "label= stands twice");
	if (len < 1 || len > KEY_LABEL_LIMIT)
		return ini_fail(reader->line, "label= has 1 to %d bytes", KEY_LABEL_LIMIT);
	return keep_text(reader->config, label, len, &key->label);
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

static skr_status read_key(struct config_reader *reader, const struct setting *setting, const char *value)
{
	struct key_config key = {.pinned = false};
	char words[INI_LINE_LIMIT + 1], *rest = words, *word;
	const char *path;

	snprintf(words, sizeof(words), "%s", value);
	word = strsep(&rest, " \t");
	TRY(keep_text(reader->config, word, strlen(word), &key.url));
	TRY(read_host(reader, setting, word, "https://", 443, &key.host, &path));
	TRY(read_key_path(reader, path, &key));
	while ((word = strsep(&rest, " \t")))
		if (*word != '\0')
			TRY(read_key_option(reader, word, &key));
	if (!key.label)
		key.label = key.name;
	key.managed_hsm = strstr(key.host, ".managedhsm.") != NULL;
	return add_key(reader, &key);
}

/* ---- pin_hash and pin ---- */

/* Length of a base64url text when decoded; 0 if it is none. */
static size_t base64url_length(const char *text, size_t len)
{
	auto_buf bytes = BUF(128);

	return base64url_decode(text, len, &bytes).failure ? 0 : bytes.len;
}

static bool is_pin_hash(const char *value)
{
	static const struct range r_range = {1, 32}, p_range = {1, 16}, n_range = {1U << 14, 1U << 20};
	char copy[256], *rest = copy, *field[6];
	unsigned n, r, p;

	if (strlen(value) >= sizeof(copy))
		return false;
	strcpy(copy, value);
	for (size_t i = 0; i < 6; i++)
		if (!(field[i] = strsep(&rest, ":")))
			return false;
	if (rest || strcmp(field[0], "scrypt") != 0 || !parse_number(field[1], &n_range, &n) ||
	    !parse_number(field[2], &r_range, &r) || !parse_number(field[3], &p_range, &p))
		return false;
	size_t salt = base64url_length(field[4], strlen(field[4])), hash = base64url_length(field[5], strlen(field[5]));
	return (n & (n - 1)) == 0 && salt >= 16 && salt <= 64 && hash == 32;
}

static skr_status read_pin_hash(struct config_reader *reader, const struct setting *setting, const char *value)
{
	if (!is_pin_hash(value))
		return ini_fail(reader->line, "must be scrypt:N:r:p:SALT:HASH, N a power of two from 2^14 to 2^20, "
		                              "SALT of 16 to 64 and HASH of 32 bytes in base64url");
	return read_text(reader, setting, value);
}

/* How many well-formed sha256//BASE64 stand in the list; 0 if one is malformed. */
static size_t count_spki_pins(const char *list)
{
	char copy[INI_LINE_LIMIT + 1], *rest = copy, *one;
	size_t count = 0;

	snprintf(copy, sizeof(copy), "%s", list);
	while ((one = strsep(&rest, ";"))) {
		auto_buf hash = BUF(32);
		if (strncmp(one, "sha256//", 8) != 0 || base64_decode(one + 8, strlen(one + 8), &hash).failure ||
		    hash.len != 32)
			return 0;
		count++;
	}
	return count;
}

static skr_status read_pin(struct config_reader *reader, const struct setting *setting, const char *value)
{
	struct config *config = reader->config;
	size_t host_len = strcspn(value, " \t"), name_len;
	unsigned port;

	(void)setting;
	const char *pins = value + host_len + strspn(value + host_len, " \t");
	if (!split_host(value, host_len, &name_len, &port) || port != 0)
		return ini_fail(reader->line, "must be HOST sha256//BASE64;sha256//BASE64");
	if (count_spki_pins(pins) < 2)
		return ini_fail(
		    reader->line,
		    "needs two pins or more, sha256//BASE64 with ; between, so that the service can change its key");
	if (config->pin_count == CONFIG_PATHS_MAX)
		return ini_fail(reader->line, "more than %d lines of this name", CONFIG_PATHS_MAX);
	if (!config->pins && !(config->pins = config_alloc(config, CONFIG_PATHS_MAX * sizeof(*config->pins))))
		return FAIL(14, "a list of pins");

	char normal[INI_LINE_LIMIT + 1];
	snprintf(normal, sizeof(normal), "%.*s %s", (int)host_len, value, pins);
	for (size_t i = 0; i < host_len; i++)
		normal[i] = (char)tolower((unsigned char)normal[i]);
	TRY(keep_text(config, normal, strlen(normal), &config->pins[config->pin_count]));
	config->pin_count++;
	return OK;
}

/* ---- the table ---- */

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const audit_policies[] = {"best-effort", "required", NULL};
static const char *const fork_policies[] = {"inherit", "wipe", NULL};
static const char *const memory_locks[] = {"auto", "require", "off", NULL};
static const char *const evidences[] = {"auto", "snp", "snp-ioctl", "snp-configfs", NULL};
static const char *const endorsements[] = {"auto", "report", "security-context", "thim", NULL};
static const char *const wrappings[] = {"RSA_AES_KEY_WRAP_256", "RSA_AES_KEY_WRAP_384", "CKM_RSA_AES_KEY_WRAP", NULL};
static const char *const transport_sizes[] = {"2048", "3072", "4096", NULL};

static const struct range deadline_range = {5, 600};
static const struct range grace_range = {0, 86400};
static const struct range age_range = {0, 31536000};
static const struct range uid_range = {0, UINT_MAX - 1};

static const unsigned vault_hosts = ENDPOINT_VAULT, attestation_hosts = ENDPOINT_ATTESTATION;
static const unsigned authority_hosts = ENDPOINT_AUTHORITY, imds_host = ENDPOINT_IMDS;

#define GLOBAL(member) .section = "skr-pkcs11", .at = offsetof(struct config, member)
#define TOKEN(member)  .section = "token", .at = offsetof(struct token_config, member)

/* clang-format off */
const struct setting config_settings[] = {
	{GLOBAL(log), .name = "log", .fallback = "syslog", .read = read_log,
	 .meaning = "Where log lines go: syslog, stderr, none, or the absolute path of a file."},
	{GLOBAL(log_level), .name = "log_level", .fallback = "info", .read = read_enum, .with = log_levels,
	 .meaning = "The least important lines that are written: error, warning, info or debug."},
	{GLOBAL(agent), .name = "agent", .fallback = "exec:" SKR_AGENT_PATH, .read = read_agent,
	 .meaning = "How the agent is reached: exec:/PATH starts the program, unix:/PATH connects to the socket of a service."},
	{GLOBAL(agent_uid), .name = "agent_uid", .fallback = "0", .read = read_uid, .with = &uid_range,
	 .meaning = "The user number that must own the other end of the agent's socket."},
	{GLOBAL(audit_file), .name = "audit_file", .read = read_path,
	 .meaning = "The file to which one JSON line per security event is appended; without it none is written."},
	{GLOBAL(audit), .name = "audit", .fallback = "best-effort", .read = read_enum, .with = audit_policies,
	 .meaning = "best-effort counts audit lines that could not be written; required refuses the login instead."},
	{GLOBAL(runtime_dir), .name = "runtime_dir", .read = read_path,
	 .meaning = "A directory for the lock that keeps logins of several processes apart."},
	{GLOBAL(fork), .name = "fork", .fallback = "inherit", .read = read_enum, .with = fork_policies,
	 .meaning = "What a forked child has of the keys: inherit (it signs without a login of its own) or wipe."},
	{GLOBAL(memory_lock), .name = "memory_lock", .fallback = "auto", .read = read_enum, .with = memory_locks,
	 .meaning = "Keys in locked memory: auto fails only where swap is active, require fails always, off does not try."},
	{GLOBAL(login_deadline), .name = "login_deadline", .fallback = "75", .read = read_number, .with = &deadline_range,
	 .meaning = "Seconds after which a login that has not succeeded fails, 5 to 600."},
	{GLOBAL(allow_custom_endpoint), .name = "allow_custom_endpoint", .fallback = "no", .read = read_bool,
	 .meaning = "Allows hosts that are not Azure's, and ports other than 443."},
	{GLOBAL(ca_file), .name = "ca_file", .read = read_path,
	 .meaning = "PEM file of the authorities trusted for TLS; without it the distribution's bundle."},
	{GLOBAL(release_ca_file), .name = "release_ca_file", .read = read_path,
	 .meaning = "PEM file of the authorities trusted for the signature of a release; without it those of ca_file."},
	{GLOBAL(https_proxy), .name = "https_proxy", .read = read_proxy, .endpoint = true,
	 .meaning = "HOST:PORT of a proxy for HTTPS; the metadata service is always asked directly."},
	{GLOBAL(imds), .name = "imds", .fallback = "http://" IMDS_ADDRESS, .read = read_service, .with = &imds_host, .endpoint = true,
	 .meaning = "The metadata service; another address needs allow_custom_endpoint."},
	{GLOBAL(pins), .name = "pin", .read = read_pin, .repeats = true, .endpoint = true,
	 .meaning = "HOST sha256//BASE64;sha256//BASE64: public keys of which the TLS server HOST must have one."},

	{TOKEN(attestation), .name = "attestation", .read = read_service, .with = &attestation_hosts, .endpoint = true,
	 .meaning = "https://HOST of the attestation instance that the release policy names. Required."},
	{TOKEN(keys), .name = "key", .read = read_key, .with = &vault_hosts, .repeats = true, .endpoint = true,
	 .meaning = "https://VAULT/keys/NAME[/VERSION] [label=TEXT] [public_key_sha256=HEX]: a key to be released. Required."},
	{TOKEN(certificates), .name = "certificate", .read = read_paths, .repeats = true,
	 .meaning = "PEM file of a certificate, with its chain behind it; it belongs to the key with its public half."},
	{TOKEN(public_keys), .name = "public_key", .read = read_paths, .repeats = true,
	 .meaning = "PEM file of a public key that is shown before the login, for keys without a certificate."},
	{TOKEN(evidence), .name = "evidence", .fallback = "auto", .read = read_word, .with = evidences,
	 .meaning = "Where the attestation report comes from: auto, snp, snp-ioctl or snp-configfs."},
	{TOKEN(endorsements), .name = "endorsements", .fallback = "auto", .read = read_word, .with = endorsements,
	 .meaning = "Where the report's certificates come from: auto, report, security-context or thim."},
	{TOKEN(identity_argument), .name = "identity", .fallback = "auto", .read = read_identity,
	 .meaning = "Who asks the vault: auto, managed, managed:CLIENT-ID, managed:object:ID, managed:resource:ID, workload, secret:FILE or certificate:FILE."},
	{TOKEN(tenant), .name = "tenant", .read = read_tenant,
	 .meaning = "Tenant of the identities workload, secret and certificate."},
	{TOKEN(client), .name = "client", .read = read_guid,
	 .meaning = "Client id of the identities workload, secret and certificate."},
	{TOKEN(authority), .name = "authority", .fallback = "https://login.microsoftonline.com", .read = read_service,
	 .with = &authority_hosts, .endpoint = true,
	 .meaning = "https://HOST of Entra ID for the identities workload, secret and certificate."},
	{TOKEN(enc), .name = "enc", .fallback = "RSA_AES_KEY_WRAP_256", .read = read_word, .with = wrappings,
	 .meaning = "How the vault wraps a key: RSA_AES_KEY_WRAP_256, RSA_AES_KEY_WRAP_384 or CKM_RSA_AES_KEY_WRAP (SHA-1)."},
	{TOKEN(transport_bits), .name = "transport_bits", .fallback = "2048", .read = read_bits, .with = transport_sizes,
	 .meaning = "Size of the RSA key made for each login: 2048, 3072 or 4096."},
	{TOKEN(pin_hash), .name = "pin_hash", .read = read_pin_hash,
	 .meaning = "scrypt:N:r:p:SALT:HASH of a PIN that C_Login must be given; without it any PIN is ignored."},
	{TOKEN(relogin_grace), .name = "relogin_grace", .fallback = "600", .read = read_number, .with = &grace_range,
	 .meaning = "Seconds for which keys stay usable by a new login after the last session was closed; 0 erases them at once."},
	{TOKEN(key_max_age), .name = "key_max_age", .fallback = "0", .read = read_number, .with = &age_range,
	 .meaning = "Seconds after which released keys are erased; 0 keeps them until the logout."},
	{TOKEN(allow_raw_rsa), .name = "allow_raw_rsa", .fallback = "no", .read = read_bool,
	 .meaning = "Offers CKM_RSA_X_509, RSA without padding."},
	{TOKEN(allow_sha1), .name = "allow_sha1", .fallback = "no", .read = read_bool,
	 .meaning = "Offers signatures with SHA-1."},
	{TOKEN(rsa_pkcs1_decrypt), .name = "rsa_pkcs1_decrypt", .fallback = "yes", .read = read_bool,
	 .meaning = "Offers decryption with CKM_RSA_PKCS."},
	{.name = NULL},
};
/* clang-format on */

#define SETTINGS (sizeof(config_settings) / sizeof(*config_settings) - 1)
_Static_assert(SETTINGS <= 64, "config_reader.given has a bit per setting");

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

	if (reader->config->audit == AUDIT_REQUIRED && !reader->config->audit_file)
		return ini_fail(&at, "audit = required needs audit_file");
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
	TRY(keep_text(config, label, len, &token->label));
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
	for (size_t i = 0; i < SETTINGS; i++) {
		const struct setting *s = &config_settings[i];
		if (strcmp(s->name, reader->line->name) != 0 || strcmp(s->section, section_kind(reader)) != 0)
			continue;
		if (!s->repeats && (reader->given & UINT64_C(1) << i))
			return ini_fail(reader->line, "stands twice in this section");
		reader->given |= UINT64_C(1) << i;
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
		TRY(keep_text(config, path, strlen(path), &config->path));
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

skr_status config_parse(const char *path, const char *text, size_t len, struct config **ret)
{
	struct config_reader reader;
	auto_config *config = NULL;

	TRY(config_new(path, &reader, &config));
	TRY(ini_read(path, text, len, take_line, &reader));
	TRY(check_global(&reader));
	for (size_t i = 0; i < config->token_count; i++)
		TRY(check_token(&reader, &config->tokens[i]));
	TRY(check_endpoints(&reader));
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
	char *copy = strndup(path, len);
	if (!copy)
		return FAIL(14, "a path");
	*ret_path = copy;
	return OK;
}
