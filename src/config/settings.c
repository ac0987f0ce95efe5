/* SPDX-License-Identifier: Apache-2.0 */
#include "base/audit_socket.h"
#include "config/endpoint.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifndef SKR_AGENT_PATH
#error "SKR_AGENT_PATH comes from the build"
#endif

/* ---- one function per kind of value ---- */

static void *place_of(const struct config_reader *reader, const struct setting *setting)
{
	return (char *)reader->target + setting->at;
}

static skr_status read_text(struct config_reader *reader, const struct setting *setting, const char *value)
{
	const char **place = place_of(reader, setting);

	return config_keep(reader->config, value, strlen(value), place);
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
	TRY(config_keep(reader->config, value, strlen(value), &(*list)[*count]));
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

/* Decimal digits and nothing else. */
bool setting_parse_number(const char *text, const struct range *range, unsigned *ret)
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

	if (!setting_parse_number(value, range, place_of(reader, setting)))
		return ini_fail(reader->line, "%.40s is no number from %u to %u", value, range->least, range->most);
	return OK;
}

static skr_status read_uid(struct config_reader *reader, const struct setting *setting, const char *value)
{
	unsigned uid;

	if (!setting_parse_number(value, setting->with, &uid))
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

/* file, syslog[:SOCKET], journald[:SOCKET] */
static skr_status read_audit_to(struct config_reader *reader, const struct setting *setting, const char *value)
{
	static const struct {
		const char *word, *socket;
		enum audit_to to;
	} targets[] = {{"file", NULL, AUDIT_TO_FILE},
	               {"syslog", AUDIT_SYSLOG_SOCKET, AUDIT_TO_SYSLOG},
	               {"journald", AUDIT_JOURNALD_SOCKET, AUDIT_TO_JOURNALD}};
	struct audit_trail *trail = place_of(reader, setting);
	const char *colon = strchr(value, ':');
	size_t word_len = colon ? (size_t)(colon - value) : strlen(value);

	for (size_t i = 0; i < sizeof(targets) / sizeof(*targets); i++) {
		if (strlen(targets[i].word) != word_len || strncmp(targets[i].word, value, word_len) != 0)
			continue;
		if (colon && !targets[i].socket)
			break;
		const char *path = colon ? colon + 1 : targets[i].socket;
		trail->to = targets[i].to;
		if (!path)
			return OK;
		if (strlen(path) >= AUDIT_SOCKET_PATH_SIZE)
			return ini_fail(reader->line, "the path of a socket has at most 107 bytes");
		TRY(check_path(reader->line, path));
		return config_keep(reader->config, path, strlen(path), &trail->socket);
	}
	return ini_fail(reader->line, "%.40s is none of file, syslog[:SOCKET], journald[:SOCKET]", value);
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

	if (!endpoint_split(value, strlen(value), &name_len, &port) || port == 0)
		return ini_fail(reader->line, "must be HOST:PORT, without a scheme and without credentials");
	return read_text(reader, setting, value);
}

/* HTTPS addresses of a service: the host and nothing behind it. Kept in lower case, without a slash at the end. */
static skr_status read_service(struct config_reader *reader, const struct setting *setting, const char *value)
{
	bool imds = *(const unsigned *)setting->with == ENDPOINT_IMDS;
	const char *scheme = imds ? "http://" : "https://", *host, *rest;
	char url[sizeof("https://") + HOST_LIMIT + 8];

	TRY(endpoint_read(reader, setting, value, scheme, imds ? 80 : 443, &host, &rest));
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

	if (!is_guid(value) && (!strchr(value, '.') || !endpoint_split(value, strlen(value), &name_len, &port) || port))
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
	return ini_fail(line, "behind managed: stands a client id, object:ID, or resource:/subscriptions/...");
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

/* A service of this machine over plain HTTP. */
static skr_status read_local(struct config_reader *reader, const struct setting *setting, const char *value)
{
	static const char *const names[] = {"localhost", "127.0.0.1", "[::1]"};
	static const char scheme[] = "http://";
	const char *host = value + sizeof(scheme) - 1;
	size_t len = strlen(value);

	if (strncmp(value, scheme, sizeof(scheme) - 1) != 0)
		return ini_fail(reader->line, "must be http://localhost:PORT");
	if (value[len - 1] == '/')
		len--;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		size_t name = strlen(names[i]);
		const char *port = host + name;
		size_t digits = (size_t)(value + len - port) - 1;
		if (strncasecmp(host, names[i], name) == 0 && *port == ':' && digits >= 1 && digits <= 5 &&
		    strspn(port + 1, "0123456789") == digits && strtoul(port + 1, NULL, 10) <= 65535) {
			char url[64];
			snprintf(url, sizeof(url), "%.*s", (int)len, value);
			return read_text(reader, setting, url);
		}
	}
	return ini_fail(reader->line, "must be http://localhost:PORT, http://127.0.0.1:PORT or http://[::1]:PORT");
}

/* tpm2-tss loads a library by the name before the colon; only these are let in. */
static skr_status read_tpm(struct config_reader *reader, const struct setting *setting, const char *value)
{
	static const char *const kinds[] = {"device:/dev/", "tabrmd:", "swtpm:"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strncmp(value, kinds[i], strlen(kinds[i])) == 0)
			return read_text(reader, setting, value);
	return ini_fail(reader->line, "must be device:/dev/NAME, tabrmd: or swtpm:...");
}

static skr_status read_group(struct config_reader *reader, const struct setting *setting, const char *value)
{
	if (strlen(value) > 31 ||
	    value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")])
		return ini_fail(reader->line, "%.40s is no name of a group", value);
	return read_text(reader, setting, value);
}

/* ---- the table ---- */

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const audit_policies[] = {"best-effort", "required", NULL};
static const char *const fork_policies[] = {"inherit", "wipe", NULL};
static const char *const memory_locks[] = {"auto", "require", "off", NULL};
static const char *const evidences[] = {"auto",    "snp",       "snp-ioctl",        "snp-configfs",
                                        "tdx",     "azure-cvm", "azure-cvm-direct", "trusted-launch",
                                        "sidecar", NULL};
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
	{GLOBAL(agent_group), .name = "agent_group", .fallback = "skr-pkcs11", .read = read_group,
	 .meaning = "The group whose members may ask an agent behind a socket; root and the agent's own user always may."},
	{GLOBAL(tpm), .name = "tpm", .fallback = "device:/dev/tpmrm0", .read = read_tpm,
	 .meaning = "How the vTPM is reached: device:/dev/tpmrm0, or tabrmd: where that resource manager runs."},
	{GLOBAL(trail), .name = "audit_to", .fallback = "file", .read = read_audit_to,
	 .meaning = "Where the audit trail goes: file (audit_file), syslog[:SOCKET] or journald[:SOCKET]."},
	{GLOBAL(trail.file), .name = "audit_file", .read = read_path,
	 .meaning = "The file to which one JSON line per security event is appended; without it none is written."},
	{GLOBAL(trail.chained), .name = "audit_chain", .fallback = "no", .read = read_bool,
	 .meaning = "Links the lines of audit_file by their hashes, for skr-pkcs11 audit verify."},
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
	{GLOBAL(pins), .name = "pin", .read = setting_read_tls_pin, .repeats = true, .endpoint = true,
	 .meaning = "HOST sha256//BASE64;sha256//BASE64: public keys of which the TLS server HOST must have one."},

	{TOKEN(attestation), .name = "attestation", .read = read_service, .with = &attestation_hosts, .endpoint = true,
	 .meaning = "https://HOST of the attestation instance that the release policy names. Required."},
	{TOKEN(keys), .name = "key", .read = setting_read_key, .with = &vault_hosts, .repeats = true, .endpoint = true,
	 .meaning = "https://VAULT/keys/NAME[/VERSION] [label=TEXT] [public_key_sha256=HEX]: a key to be released. Required."},
	{TOKEN(certificates), .name = "certificate", .read = read_paths, .repeats = true,
	 .meaning = "PEM file of a certificate, with its chain behind it; name the file like its key."},
	{TOKEN(public_keys), .name = "public_key", .read = read_paths, .repeats = true,
	 .meaning = "PEM file of a public key that is shown before the login, for keys without a certificate."},
	{TOKEN(evidence), .name = "evidence", .fallback = "auto", .read = read_word, .with = evidences,
	 .meaning = "How this machine proves itself: auto, snp, snp-ioctl, snp-configfs, tdx, azure-cvm, azure-cvm-direct, trusted-launch or sidecar."},
	{TOKEN(sidecar), .name = "sidecar", .fallback = "http://localhost:8080", .read = read_local,
	 .meaning = "http://localhost:PORT of the SKR sidecar, for evidence = sidecar."},
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
	{TOKEN(pin_hash), .name = "pin_hash", .read = setting_read_pin_hash,
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

_Static_assert(sizeof(config_settings) / sizeof(*config_settings) - 1 <= 64,
               "config_reader.given has a bit per setting");
