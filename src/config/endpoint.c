/* SPDX-License-Identifier: Apache-2.0 */
#include "config/endpoint.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Azure's hosts, all clouds. With a dot at its start a suffix stands for the names under it, else for itself alone. */
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

bool endpoint_split(const char *text, size_t len, size_t *ret_name_len, unsigned *ret_port)
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

	if (!endpoint_split(host, strlen(host), &name_len, &port))
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

skr_status endpoint_check_all(const struct config_reader *reader)
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

static skr_status remember(struct config_reader *reader, const struct setting *setting, const char *host)
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

skr_status endpoint_read(struct config_reader *reader, const struct setting *setting, const char *url,
                         const char *scheme, unsigned usual, const char **ret_host, const char **ret_rest)
{
	size_t scheme_len = strlen(scheme), name_len;
	unsigned port;
	char host[HOST_LIMIT + 8];

	if (strncasecmp(url, scheme, scheme_len) != 0)
		return ini_fail(reader->line, "must start with %s", scheme);
	const char *start = url + scheme_len, *rest = start + strcspn(start, "/?#");
	if (!endpoint_split(start, (size_t)(rest - start), &name_len, &port))
		return ini_fail(reader->line, "no host name, or one with characters that do not belong there");

	snprintf(host, sizeof(host), "%.*s", (int)name_len, start);
	for (char *c = host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	if (port != 0 && port != usual)
		snprintf(host + name_len, sizeof(host) - name_len, ":%u", port);
	TRY(config_keep(reader->config, host, strlen(host), ret_host));
	*ret_rest = rest;
	return remember(reader, setting, *ret_host);
}
