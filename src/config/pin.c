/* SPDX-License-Identifier: Apache-2.0 */
#include "config/endpoint.h"

#include "base/base64.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

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
	if (rest || strcmp(field[0], "scrypt") != 0 || !setting_parse_number(field[1], &n_range, &n) ||
	    !setting_parse_number(field[2], &r_range, &r) || !setting_parse_number(field[3], &p_range, &p))
		return false;
	size_t salt = base64url_length(field[4], strlen(field[4])), hash = base64url_length(field[5], strlen(field[5]));
	/* scrypt works in the module's arena, which gives no block of 32 MiB or more. */
	return (n & (n - 1)) == 0 && (uint64_t)n * r < (32U << 20) / 128 && salt >= 16 && salt <= 64 && hash == 32;
}

skr_status setting_read_pin_hash(struct config_reader *reader, const struct setting *setting, const char *value)
{
	(void)setting;
	if (!is_pin_hash(value))
		return ini_fail(reader->line,
		                "must be scrypt:N:r:p:SALT:HASH, N a power of two from 2^14, N times r below 2^18, "
		                "SALT of 16 to 64 and HASH of 32 bytes in base64url");
	return config_keep(reader->config, value, strlen(value), &reader->token->pin_hash);
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

skr_status setting_read_tls_pin(struct config_reader *reader, const struct setting *setting, const char *value)
{
	struct config *config = reader->config;
	size_t host_len = strcspn(value, " \t"), name_len;
	unsigned port;

	(void)setting;
	const char *pins = value + host_len + strspn(value + host_len, " \t");
	if (!endpoint_split(value, host_len, &name_len, &port) || port != 0)
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
	TRY(config_keep(config, normal, strlen(normal), &config->pins[config->pin_count]));
	config->pin_count++;
	return OK;
}
