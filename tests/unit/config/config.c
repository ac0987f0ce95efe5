/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define HEAD                                                                  \
	"[token web]\nattestation = https://sharedneu.neu.attest.azure.net\n" \
	"key = https://contoso.vault.azure.net/keys/www\n"

static void release(struct config **config)
{
	config_free(*config);
}
#define auto_config __attribute__((cleanup(release))) struct config

/* The configuration of a text that must be good. */
static struct config *parse(const char *text)
{
	struct config *config = NULL;

	if (config_parse("/t.conf", text, strlen(text), &config).failure)
		fail_msg("refused: %s", status_message());
	return config;
}

/* Reads a whole file of the test data. */
static size_t slurp(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		fail_msg("%s is missing", path);
	size_t len = fread(out, 1, size - 1, file);
	fclose(file);
	out[len] = '\0';
	return len;
}

static struct config *parse_file(const char *name)
{
	char path[512], text[16384];

	snprintf(path, sizeof(path), SKR_TEST_DATA "/config/good/%s.conf", name);
	slurp(path, text, sizeof(text));
	return parse(text);
}

/* ---- defaults ---- */

static void without_a_file_every_setting_has_its_default_and_there_is_no_token(void **state)
{
	auto_config *config = config_default();

	(void)state;
	assert_non_null(config);
	assert_null(config->path);
	assert_string_equal(config->log, "syslog");
	assert_int_equal(config->log_level, LOG_LEVEL_INFO);
	assert_string_equal(config->agent, SKR_AGENT_PATH);
	assert_false(config->agent_is_socket);
	assert_string_equal(config->agent_group, "skr-pkcs11");
	assert_string_equal(config->tpm, "device:/dev/tpmrm0");
	assert_int_equal(config->audit, AUDIT_BEST_EFFORT);
	assert_int_equal(config->fork, FORK_INHERIT);
	assert_int_equal(config->memory_lock, ARENA_LOCK_AUTO);
	assert_int_equal(config->login_deadline, 75);
	assert_false(config->allow_custom_endpoint);
	assert_string_equal(config->imds, "http://169.254.169.254");
	assert_null(config->ca_file);
	assert_int_equal(config->token_count, 0);
}

static void a_token_has_the_defaults_of_the_table(void **state)
{
	auto_config *config = parse(HEAD);
	const struct token_config *token = config_token(config, "web");

	(void)state;
	assert_non_null(token);
	assert_int_equal(token->line, 1);
	assert_string_equal(token->evidence, "auto");
	assert_string_equal(token->sidecar, "http://localhost:8080");
	assert_string_equal(token->endorsements, "auto");
	assert_int_equal(token->identity, IDENTITY_AUTO);
	assert_null(token->identity_argument);
	assert_string_equal(token->authority, "https://login.microsoftonline.com");
	assert_string_equal(token->enc, "RSA_AES_KEY_WRAP_256");
	assert_int_equal(token->transport_bits, 2048);
	assert_int_equal(token->relogin_grace, 600);
	assert_int_equal(token->key_max_age, 0);
	assert_true(token->rsa_pkcs1_decrypt);
	assert_false(token->allow_raw_rsa);
	assert_false(token->allow_sha1);
	assert_null(config_token(config, "Web"));
}

static void every_default_of_the_table_is_accepted_when_it_is_written_out(void **state)
{
	char text[8192] = "[skr-pkcs11]\n";

	(void)state;
	for (int token = 0; token < 2; token++) {
		if (token)
			strcat(text, HEAD);
		for (const struct setting *s = config_settings; s->name; s++)
			if (s->fallback && (strcmp(s->section, "token") == 0) == token)
				sprintf(text + strlen(text), "%s = %s\n", s->name, s->fallback);
	}
	auto_config *config = parse(text);
	assert_int_equal(config->token_count, 1);
}

static void the_table_is_complete(void **state)
{
	(void)state;
	for (const struct setting *s = config_settings; s->name; s++) {
		assert_true(strcmp(s->section, "skr-pkcs11") == 0 || strcmp(s->section, "token") == 0);
		assert_non_null(s->read);
		assert_non_null(s->meaning);
		assert_int_equal(s->meaning[strlen(s->meaning) - 1], '.');
		for (const struct setting *other = s + 1; other->name; other++)
			if (strcmp(s->name, other->name) == 0 && strcmp(s->section, other->section) == 0)
				fail_msg("%s stands twice", s->name);
	}
}

/* ---- good files ---- */

/* A configuration of before there was audit_to, and the places that it may name. */
static void the_audit_trail_goes_where_it_is_said_to_go(void **state)
{
	static const struct {
		const char *lines;
		enum audit_to to;
		const char *file, *socket;
	} trails[] = {
	    {"audit_file = /var/log/a\naudit = required\n", AUDIT_TO_FILE, "/var/log/a", NULL},
	    {"", AUDIT_TO_FILE, NULL, NULL},
	    {"audit_to = syslog\naudit = required\n", AUDIT_TO_SYSLOG, NULL, "/dev/log"},
	    {"audit_to = syslog:/run/log\n", AUDIT_TO_SYSLOG, NULL, "/run/log"},
	    {"audit_to = journald\n", AUDIT_TO_JOURNALD, NULL, "/run/systemd/journal/socket"},
	    {"audit_to = journald:/run/j\n", AUDIT_TO_JOURNALD, NULL, "/run/j"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(trails) / sizeof(trails[0]); i++) {
		char text[256];
		snprintf(text, sizeof(text), "[skr-pkcs11]\n%s", trails[i].lines);
		auto_config *config = parse(text);
		assert_int_equal(config->trail.to, trails[i].to);
		assert_false(config->trail.chained);
		assert_true(!trails[i].file == !config->trail.file);
		assert_true(!trails[i].socket == !config->trail.socket);
		if (trails[i].file)
			assert_string_equal(config->trail.file, trails[i].file);
		if (trails[i].socket)
			assert_string_equal(config->trail.socket, trails[i].socket);
	}
}

static void the_short_example_is_understood(void **state)
{
	auto_config *config = parse_file("ten-lines");
	const struct token_config *web = config_token(config, "web");

	(void)state;
	assert_int_equal(web->key_count, 2);
	assert_string_equal(web->keys[0].url, "https://contoso.vault.azure.net/keys/www");
	assert_string_equal(web->keys[0].host, "contoso.vault.azure.net");
	assert_string_equal(web->keys[0].name, "www");
	assert_string_equal(web->keys[0].label, "www");
	assert_null(web->keys[0].version);
	assert_false(web->keys[0].managed_hsm);
	assert_false(web->keys[0].pinned);
	assert_string_equal(web->keys[1].version, "0123456789abcdef0123456789abcdef");
	assert_string_equal(web->keys[1].label, "sign");
	assert_int_equal(web->certificate_count, 1);
	assert_string_equal(web->certificates[0], "/etc/ssl/certs/www.pem");
}

static void every_setting_arrives_where_it_belongs(void **state)
{
	auto_config *config = parse_file("everything");
	const struct token_config *token = config_token(config, "everything is set");

	(void)state;
	assert_string_equal(config->log, "/var/log/skr.log");
	assert_int_equal(config->log_level, LOG_LEVEL_DEBUG);
	assert_string_equal(config->agent, "/run/skr-pkcs11/agent.sock");
	assert_true(config->agent_is_socket);
	assert_int_equal(config->agent_uid, 990);
	assert_string_equal(config->agent_group, "ssl-cert");
	assert_string_equal(config->tpm, "tabrmd:");
	assert_string_equal(config->trail.file, "/var/log/skr-audit.jsonl");
	assert_int_equal(config->trail.to, AUDIT_TO_FILE);
	assert_true(config->trail.chained);
	assert_int_equal(config->audit, AUDIT_REQUIRED);
	assert_string_equal(config->runtime_dir, "/run/skr-pkcs11");
	assert_int_equal(config->fork, FORK_WIPE);
	assert_int_equal(config->memory_lock, ARENA_LOCK_REQUIRE);
	assert_int_equal(config->login_deadline, 600);
	assert_string_equal(config->https_proxy, "proxy.example.com:3128");
	assert_string_equal(config->imds, "http://169.254.169.254");
	assert_int_equal(config->pin_count, 1);
	assert_memory_equal(config->pins[0], "contoso.vault.azure.net sha256//AAAA", 36);
	assert_non_null(token);
	assert_string_equal(token->attestation, "https://sharedneu.neu.attest.azure.net");
	assert_string_equal(token->keys[0].host, "contoso.managedhsm.azure.net");
	assert_string_equal(token->keys[0].name, "Www");
	assert_true(token->keys[0].managed_hsm);
	assert_true(token->keys[0].pinned);
	for (int i = 0; i < 32; i++)
		assert_int_equal(token->keys[0].public_key_sha256[i], i);
	assert_int_equal(token->certificate_count, 2);
	assert_string_equal(token->certificates[1], "/etc/ssl/certs/b.pem");
	assert_string_equal(token->evidence, "sidecar");
	assert_string_equal(token->sidecar, "http://127.0.0.1:9000");
	assert_int_equal(token->public_key_count, 1);
	assert_string_equal(token->public_keys[0], "/etc/ssl/c.pem");
	assert_int_equal(token->identity, IDENTITY_CERTIFICATE);
	assert_string_equal(token->identity_argument, "/etc/skr/client.pem");
	assert_string_equal(token->tenant, "contoso.example.com");
	assert_string_equal(token->client, "00000000-0000-0000-0000-0000000000Af");
	assert_string_equal(token->authority, "https://login.microsoftonline.us");
	assert_string_equal(token->enc, "RSA_AES_KEY_WRAP_384");
	assert_int_equal(token->transport_bits, 4096);
	assert_non_null(token->pin_hash);
	assert_int_equal(token->relogin_grace, 0);
	assert_int_equal(token->key_max_age, 86400);
	assert_true(token->allow_raw_rsa);
	assert_true(token->allow_sha1);
	assert_false(token->rsa_pkcs1_decrypt);
}

static void custom_endpoints_need_one_switch_wherever_it_stands(void **state)
{
	auto_config *config = parse_file("custom-endpoints");
	const struct token_config *token = config_token(config, "emu");

	(void)state;
	assert_string_equal(token->keys[0].host, "contoso.vault.localhost:4433");
	assert_false(token->keys[0].managed_hsm);
	assert_true(token->keys[1].managed_hsm);
	assert_string_equal(token->attestation, "https://sharedemu.attest.localhost:4433");
	assert_string_equal(config->imds, "http://127.0.0.1:8080");
	assert_true(config_endpoint_allowed(config, "anything.example:1"));
	assert_false(config_endpoint_allowed(config, "no/host"));
}

static void identities_are_told_apart(void **state)
{
	static const struct {
		const char *value;
		enum identity_kind kind;
		const char *argument;
	} cases[] = {
	    {"auto", IDENTITY_AUTO, NULL},
	    {"managed", IDENTITY_MANAGED, NULL},
	    {"managed:00000000-0000-0000-0000-000000000001", IDENTITY_MANAGED, "00000000-0000-0000-0000-000000000001"},
	    {"managed:object:00000000-0000-0000-0000-000000000001", IDENTITY_MANAGED,
	     "object:00000000-0000-0000-0000-000000000001"},
	    {"managed:resource:/subscriptions/0/resourceGroups/g", IDENTITY_MANAGED,
	     "resource:/subscriptions/0/resourceGroups/g"},
	    {"workload", IDENTITY_WORKLOAD, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[1024];
		snprintf(text, sizeof(text), HEAD "identity = %s\n", cases[i].value);
		auto_config *config = parse(text);
		assert_int_equal(config->tokens[0].identity, cases[i].kind);
		if (cases[i].argument)
			assert_string_equal(config->tokens[0].identity_argument, cases[i].argument);
		else
			assert_null(config->tokens[0].identity_argument);
	}
}

static void every_kind_of_evidence_has_its_word(void **state)
{
	static const char *const words[] = {"auto",   "snp",       "snp-ioctl",        "snp-configfs",
	                                    "tdx",    "azure-cvm", "azure-cvm-direct", "trusted-launch",
	                                    "sidecar"};

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		char text[512];
		snprintf(text, sizeof(text), HEAD "evidence = %s\n", words[i]);
		auto_config *config = parse(text);
		assert_string_equal(config->tokens[0].evidence, words[i]);
	}
}

static void a_sidecar_is_a_service_of_this_machine(void **state)
{
	static const struct {
		const char *value, *kept;
	} cases[] = {
	    {"http://localhost:8080", "http://localhost:8080"},
	    {"http://LocalHost:1", "http://LocalHost:1"},
	    {"http://127.0.0.1:65535/", "http://127.0.0.1:65535"},
	    {"http://[::1]:8080", "http://[::1]:8080"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char text[512];
		snprintf(text, sizeof(text), HEAD "sidecar = %s\n", cases[i].value);
		auto_config *config = parse(text);
		assert_string_equal(config->tokens[0].sidecar, cases[i].kept);
	}
}

static void an_emulated_tpm_needs_the_switch_wherever_it_stands(void **state)
{
	static const char tpm[] = "[skr-pkcs11]\ntpm = swtpm:host=127.0.0.1,port=2321\n";
	static const char before[] = "[skr-pkcs11]\nallow_custom_endpoint = yes\ntpm = swtpm:\n";
	static const char behind[] = "[skr-pkcs11]\ntpm = swtpm:\nallow_custom_endpoint = yes\n";
	struct config *refused = NULL;

	(void)state;
	status_clear();
	assert_int_equal(config_parse("/t.conf", tpm, strlen(tpm), &refused).failure, 5);
	assert_null(refused);
	assert_non_null(strstr(status_message(), "/t.conf"));
	assert_non_null(strstr(status_message(), "allow_custom_endpoint"));
	auto_config *first = parse(before);
	assert_string_equal(first->tpm, "swtpm:");
	auto_config *second = parse(behind);
	assert_string_equal(second->tpm, "swtpm:");
	auto_config *device = parse("[skr-pkcs11]\ntpm = device:/dev/tpm0\n");
	assert_string_equal(device->tpm, "device:/dev/tpm0");
}

/* ---- E-04, E-05: bad files ---- */

static void check_bad_file(const char *name)
{
	char path[600], text[16384], expected[300], part[200];
	int number = 0, line = 0, used = 0;
	struct config *config = NULL;

	snprintf(path, sizeof(path), SKR_TEST_DATA "/config/bad/%s", name);
	size_t len = slurp(path, text, sizeof(text));
	char *expect = strstr(text, "# expect: ");
	if (!expect || sscanf(expect, "# expect: SKR-%d line %d: %n", &number, &line, &used) != 2)
		fail_msg("%s does not say what is expected", name);
	snprintf(part, sizeof(part), "%.*s", (int)strcspn(expect + used, "\n"), expect + used);

	status_clear();
	int failure = config_parse("/bad.conf", text, len, &config).failure;
	snprintf(expected, sizeof(expected), "/bad.conf:%d: ", line);
	if (failure != number || config || strncmp(status_message(), expected, strlen(expected)) != 0 ||
	    !strstr(status_message(), part))
		fail_msg("%s: expected SKR-%03d %s… %s, got SKR-%03d %s", name, number, expected, part, failure,
		         status_message());
}

static void every_bad_file_is_refused_with_its_line_and_key(void **state)
{
	DIR *dir = opendir(SKR_TEST_DATA "/config/bad");
	int files = 0;

	(void)state;
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		if (entry->d_name[0] != '.') {
			check_bad_file(entry->d_name);
			files++;
		}
	closedir(dir);
	assert_true(files > 70);
}

static void a_refused_value_of_an_endpoint_is_not_repeated_in_the_message(void **state)
{
	struct config *config = NULL;
	static const char *const lines[] = {"https_proxy = me:hunter2@proxy:3128\n", "imds = hunter2\n",
	                                    "pin = hunter2 x\n", NULL};

	(void)state;
	for (size_t i = 0; lines[i]; i++) {
		char text[200];
		snprintf(text, sizeof(text), "[skr-pkcs11]\n%s", lines[i]);
		assert_int_equal(config_parse("/t", text, strlen(text), &config).failure, 4);
		assert_null(strstr(status_message(), "hunter2"));
	}
}

static void only_azure_hosts_on_port_443_are_allowed(void **state)
{
	static const struct {
		const char *host;
		bool allowed;
	} cases[] = {
	    {"contoso.vault.azure.net", true},
	    {"CONTOSO.Vault.Azure.Net", true},
	    {"contoso.vault.azure.net:443", true},
	    {"contoso.vault.usgovcloudapi.net", true},
	    {"contoso.vault.azure.cn", true},
	    {"contoso.managedhsm.azure.net", true},
	    {"contoso.managedhsm.usgovcloudapi.net", true},
	    {"contoso.managedhsm.azure.cn", true},
	    {"sharedneu.neu.attest.azure.net", true},
	    {"contoso.usgv.attest.azure.us", true},
	    {"login.microsoftonline.com", true},
	    {"login.windows.net", true},
	    {"login.microsoftonline.us", true},
	    {"login.chinacloudapi.cn", true},
	    {"login.partner.microsoftonline.cn", true},
	    {"169.254.169.254", false}, /* never with a token or evidence */
	    {"vault.azure.net", false},
	    {".vault.azure.net", false},
	    {"contoso.vault.azure.net.", false},
	    {"contoso.vault.azure.net:80", false},
	    {"contoso.vault.azure.net:", false},
	    {"contoso.vault.azure.net:443:443", false},
	    {"a.b.vault.azure.net", false},
	    {"evilvault.azure.net", false},
	    {"contoso.vault.azure.net.evil.example", false},
	    {"evil.example/.vault.azure.net", false},
	    {"evil.example#.vault.azure.net", false},
	    {"me@contoso.vault.azure.net", false},
	    {"x.login.microsoftonline.com", false},
	    {"evillogin.microsoftonline.com", false},
	    {"contoso.blob.core.windows.net", false},
	    {"", false},
	    {" ", false},
	};
	auto_config *config = config_default();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (config_endpoint_allowed(config, cases[i].host) != cases[i].allowed)
			fail_msg("%s", cases[i].host);
}

/* ---- E-01 to E-03: the file itself; I-26 ---- */

/* A directory that passes the test of its parents; only root has one for sure. */
static char folder[] = "/var/lib/skr-test-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	if (geteuid() == 0 && !mkdtemp(folder))
		return -1;
	return 0;
}

static int remove_folder(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return geteuid() == 0 ? system(command) : 0;
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, mode), 0);
}

static void a_file_that_is_missing_unsafe_or_too_long_is_refused_by_number(void **state)
{
	char path[100], other[100];
	struct config *config = NULL;

	(void)state;
	if (geteuid() != 0)
		skip();
	snprintf(path, sizeof(path), "%s/c", folder);
	snprintf(other, sizeof(other), "%s/link", folder);
	assert_int_equal(config_read(path, &config).failure, 1); /* E-01 */
	assert_non_null(strstr(status_message(), path));
	assert_non_null(strstr(status_message(), "SKR_PKCS11_CONF"));

	write_file(path, HEAD, 0644);
	assert_int_equal(config_read(path, &config).failure, 0);
	assert_string_equal(config->path, path);
	config_free(config);
	config = NULL;

	assert_int_equal(chmod(path, 0664), 0); /* E-03, each element of it */
	assert_int_equal(config_read(path, &config).failure, 3);
	assert_int_equal(chmod(path, 0646), 0);
	assert_int_equal(config_read(path, &config).failure, 3);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(chown(path, 65534, 0), 0);
	assert_int_equal(config_read(path, &config).failure, 3);
	assert_int_equal(chown(path, 0, 0), 0);
	assert_int_equal(symlink(path, other), 0);
	assert_int_equal(config_read(other, &config).failure, 3);
	assert_int_equal(chmod(folder, 0777), 0);
	assert_int_equal(config_read(path, &config).failure, 3);
	assert_int_equal(chmod(folder, 01777), 0);
	assert_int_equal(config_read(path, &config).failure, 3);
	assert_int_equal(chmod(folder, 0700), 0);
	assert_int_equal(truncate(path, 64 * 1024 + 1), 0);
	assert_int_equal(config_read(path, &config).failure, 3);
	assert_int_equal(config_read("relative.conf", &config).failure, 3);
	assert_null(config);
}

/* ---- which file ---- */

static void assert_path(const char *reserved, const char *expected)
{
	char *path = NULL;

	assert_int_equal(config_path(reserved, &path).failure, 0);
	assert_string_equal(path, expected);
	free(path);
}

static void the_path_comes_from_the_host_then_the_environment_then_the_default(void **state)
{
	(void)state;
	unsetenv("SKR_PKCS11_CONF");
	assert_path(NULL, "/etc/skr-pkcs11.conf");
	assert_path("", "/etc/skr-pkcs11.conf");
	setenv("SKR_PKCS11_CONF", "", 1);
	assert_path(NULL, "/etc/skr-pkcs11.conf");
	setenv("SKR_PKCS11_CONF", "/from/environment", 1);
	assert_path(NULL, "/from/environment");
	assert_path("configdir=x", "/from/environment");
	assert_path("skr_conf=/a/b", "/a/b");
	assert_path("configdir=x skr_conf=/a/b flags=", "/a/b");
	assert_path("skr_conf='/a/b c'", "/a/b c");
	assert_path("not_skr_conf=/a", "/from/environment");
	assert_path("skr_conf=", "/from/environment");
	assert_path("skr_conf='/a", "/from/environment");
	unsetenv("SKR_PKCS11_CONF");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(without_a_file_every_setting_has_its_default_and_there_is_no_token),
	    cmocka_unit_test(a_token_has_the_defaults_of_the_table),
	    cmocka_unit_test(every_default_of_the_table_is_accepted_when_it_is_written_out),
	    cmocka_unit_test(the_table_is_complete),
	    cmocka_unit_test(the_audit_trail_goes_where_it_is_said_to_go),
	    cmocka_unit_test(the_short_example_is_understood),
	    cmocka_unit_test(every_setting_arrives_where_it_belongs),
	    cmocka_unit_test(custom_endpoints_need_one_switch_wherever_it_stands),
	    cmocka_unit_test(identities_are_told_apart),
	    cmocka_unit_test(every_kind_of_evidence_has_its_word),
	    cmocka_unit_test(a_sidecar_is_a_service_of_this_machine),
	    cmocka_unit_test(an_emulated_tpm_needs_the_switch_wherever_it_stands),
	    cmocka_unit_test(every_bad_file_is_refused_with_its_line_and_key),
	    cmocka_unit_test(a_refused_value_of_an_endpoint_is_not_repeated_in_the_message),
	    cmocka_unit_test(only_azure_hosts_on_port_443_are_allowed),
	    cmocka_unit_test(a_file_that_is_missing_unsafe_or_too_long_is_refused_by_number),
	    cmocka_unit_test(the_path_comes_from_the_host_then_the_environment_then_the_default),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
