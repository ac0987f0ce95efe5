/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/device.h"
#include "cli/doctor.h"

#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * One row per failure that a command helps against; {…} is filled in below. Where `state` is given the row is for that
 * state alone, and comes before the general one.
 */
static const struct remedy {
	int failure;
	const char *state;
	const char *command;
} remedies[] = {
    {1, NULL, "sudoedit {config}    # skr-pkcs11.conf(5) has an example"},
    {2, NULL, "sudo chmod a+r {path}    # or run this as the user who may read it"},
    {3, NULL, "{trust}"},
    {4, NULL, "sudoedit {config}    # then: skr-pkcs11 config check"},
    {5, NULL, "sudoedit {config}    # then: skr-pkcs11 config check"},
    {7, NULL,
     "sudo apt-get install ca-certificates    # for the usual bundle; with ca_file in {config} put that file right"},
    {8, NULL, "ls -l {path}    # put it there, chmod a+r, or name another in {config}"},
    {10, NULL, "ulimit -l 4096    # of a service: LimitMEMLOCK=4M"},
    {11, NULL, "ulimit -l 4096    # of a service: LimitMEMLOCK=4M"},
    {19, NULL, "sudo timedatectl set-ntp true    # then look: timedatectl"},
    {21, NULL, "systemctl edit skr-agent@.service    # DeviceAllow= of the device named above"},
    {100, NULL, "ls -l /dev/sev-guest /dev/tpmrm0 /sys/kernel/config/tsm/report    # one of them must be passed in"},
    {101, NULL, "{device}"},
    {111, NULL, "sudo reboot"},
    {112, NULL, "sudo reboot"},
    {118, NULL, "curl -H Metadata:true {imds}/metadata/THIM/amd/certification    # must answer with certificates"},
    {130, NULL, "sudo fuser -v /dev/tpm0 /dev/tpmrm0    # who holds it?"},
    {132, NULL, "sudo tpm2_dictionarylockout --clear-lockout"},
    {134, NULL, "sudoedit {config}    # evidence = auto, or the kind of machine that this is"},
    {138, NULL, "skr-pkcs11 doctor {token}    # once more"},
    {139, NULL, "skr-pkcs11 doctor {token}    # once more"},
    {140, NULL, "curl -i -H 'Content-Type: application/json' -d '{}' {imds}/acc/tdquote    # who answers?"},
    {141, NULL, "curl -H Metadata:true {imds}/metadata/THIM/amd/certification    # must answer with certificates"},
    {142, NULL, "curl -H Metadata:true {imds}/metadata/THIM/amd/certification    # its tcbm must be the report's"},
    {143, NULL, "curl -H Metadata:true {imds}/metadata/THIM/amd/certification    # must be Azure's own answer"},
    {144, NULL, "ls -l \"$UVM_SECURITY_CONTEXT_DIR\""},
    {145, NULL, "sudoedit {config}    # evidence = azure-cvm"},
    {146, NULL, "sleep 600; skr-pkcs11 doctor {token}    # a new machine gets its certificate by then"},
    {147, NULL, "sudo reboot"},
    {148, NULL, "sudo reboot    # if it is not renewed within a day"},
    {160, NULL, "curl -i {sidecar}/status    # must say that it is up"},
    {161, NULL, "skr-pkcs11 policy explain --key {url} {token}"},
    {200, NULL, "getent hosts {name}"},
    {201, NULL, "getent hosts {name}    # the vaults there are: az keyvault list --query '[].properties.vaultUri'"},
    {203, NULL, "curl -v https://{service}/"},
    {204, NULL, "curl -v https://{service}/"},
    {205, NULL, "curl -v https://{service}/"},
    {206, NULL, "curl -v https://{service}/"},
    {207, NULL, "curl -v https://{service}/"},
    {209, NULL, "curl -v https://{service}/"},
    {211, NULL, "curl -v https://{service}/    # who redirects?"},
    {212, NULL, "curl -v https://{service}/    # who answers?"},
    {220, NULL, "openssl s_client -connect {service} </dev/null | openssl x509 -noout -issuer -dates"},
    {221, NULL, "openssl s_client -connect {service} </dev/null"},
    {222, NULL, "sudoedit {config}    # pin = of the key that the service has now, if you expected a new one"},
    {300, NULL, "curl -H Metadata:true '{imds}/metadata/instance?api-version=2021-02-01'    # must answer"},
    {301, "several",
     "az identity list --query '[].[name,clientId]' -o table    # then identity = managed:CLIENT-ID in {config}"},
    {301, NULL,
     "az vm identity assign -g GROUP -n MACHINE --identities IDENTITY    # or identity = another, in {config}"},
    {303, NULL, "sleep 30; skr-pkcs11 doctor {token}"},
    {304, NULL, "timedatectl    # is the clock right? if so: who answers on {imds}?"},
    {305, NULL, "sudoedit {config}    # identity = managed, workload, secret:FILE or certificate:FILE"},
    {310, NULL, "ls -l \"$AZURE_FEDERATED_TOKEN_FILE\""},
    {311, NULL, "kubectl delete pod POD    # a new one gets a new token"},
    {312, NULL, "az ad app federated-credential list --id CLIENT-ID    # issuer and subject must be this pod's"},
    {314, NULL, "sudoedit {config}    # identity = names the file; az ad app credential reset makes a new secret"},
    {320, NULL, "skr-pkcs11 attest --no-service {token}    # what it is that the service refuses"},
    {321, NULL, "az attestation list --query '[].attestUri' -o tsv    # attestation = one of these, in {config}"},
    {322, NULL, "curl -i {attestation}/certs    # answers as soon as the service does"},
    {323, "clock", "sudo timedatectl set-ntp true    # then look: timedatectl"},
    {323, NULL, "curl -i {attestation}/certs    # is it Azure that answers? and is the clock right?"},
    {330, NULL, "az keyvault show {vault-option} --query properties.tenantId    # must be the identity's tenant"},
    {331, "firewall", "az keyvault network-rule add {vault-option} --subnet SUBNET-ID    # of this machine"},
    {331, NULL, "{grant}"},
    {332, NULL, "skr-pkcs11 policy explain --key {url} {token}"},
    {333, "disabled", "az keyvault key set-attributes {vault-option} --name {key} --enabled true"},
    {333, "expired", "az keyvault key set-attributes {vault-option} --name {key} --expires YYYY-MM-DDTHH:MM:SSZ"},
    {333, "not-yet", "az keyvault key set-attributes {vault-option} --name {key} --not-before YYYY-MM-DDTHH:MM:SSZ"},
    {333, NULL, "az keyvault key show {vault-option} --name {key} --query attributes"},
    {334, NULL,
     "az keyvault key list {vault-option} -o table    # deleted: az keyvault key recover {vault-option} "
     "--name {key}"},
    {336, NULL,
     "az keyvault key create {vault-option} --name NEW-NAME --kty RSA-HSM --exportable true --policy "
     "policy.json    # a key cannot be made exportable later"},
    {337, NULL, "sleep 60; skr-pkcs11 doctor {token}"},
    {338, NULL, "sleep 60; skr-pkcs11 doctor {token}"},
    {340, NULL, "sudoedit {config}    # release_ca_file, if it is set, must be the roots of the vault's own signature"},
    {342, NULL,
     "az keyvault key show {vault-option} --name {key}    # public_key_sha256= in {config} is another key's"},
    {500, NULL, "ls -l {agent}    # reinstall skr-pkcs11; or: sudo chown root {path} && sudo chmod go-w {path}"},
    {501, NULL, "sudo systemctl enable --now skr-agent.socket    # and agent = unix:/run/skr-pkcs11/agent.sock"},
    {502, NULL, "{socket}"},
    {503, NULL, "journalctl -t skr-agent -n 20"},
    {505, NULL, "sudo apt-get install --reinstall skr-pkcs11    # one version of module and agent"},
    {506, NULL, "journalctl -t skr-agent -n 20"},
    {507, NULL, "ls -l {agent}    # agent_uid in {config} says who must own the service"},
    {508, NULL, "systemctl edit skr-agent.socket    # MaxConnections="},
    {509, NULL, "skr-pkcs11 config check    # and restart skr-agent@.service: both must read the same file"},
    {0, NULL, NULL},
};

static const struct remedy *remedy_of(int failure, const char *state)
{
	for (const struct remedy *r = remedies; r->command; r++)
		if (r->failure == failure && (!r->state || (state && strcmp(r->state, state) == 0)))
			return r;
	return NULL;
}

/* ---- what stands for {…} ---- */

/* The first absolute path that the sentence names. */
static void fill_path(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	const char *sentence = record->sentence, *at = sentence[0] == '/' ? sentence : strstr(sentence, " /");

	(void)a;
	snprintf(out, size, "FILE");
	if (at && *at == ' ')
		at++;
	if (at)
		snprintf(out, size, "%.*s", (int)strcspn(at, " :,;"), at);
}

/* Not everything that cannot be trusted is a matter of owner and mode. */
static void fill_trust(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	char path[256];

	fill_path(record, a, path, sizeof(path));
	if (strstr(record->sentence, " is a symbolic link"))
		snprintf(out, size, "sudo cp --remove-destination \"$(readlink -f %s)\" %s", path, path);
	else if (strstr(record->sentence, " must be absolute"))
		snprintf(out, size, "skr-pkcs11 config check \"$PWD/FILE\"    # FILE as it was given");
	else if (strstr(record->sentence, " is not a regular file") || strstr(record->sentence, " than the limit"))
		snprintf(out, size, "ls -ld %s    # a configuration is a file of at most 64 KiB; name that one", path);
	else
		snprintf(out, size, "sudo chown root %s && sudo chmod go-w %s", path, path);
}

static void fill_service(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)a;
	snprintf(out, size, "%s", record->host[0] ? record->host : "HOST");
}

/* Without the port. */
static void fill_name(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	fill_service(record, a, out, size);
	out[strcspn(out, ":")] = '\0';
}

static void fill_config(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	/* One that could not be read is the first thing that the sentence names. */
	if (!a->config)
		fill_path(record, a, out, size);
	else
		snprintf(out, size, "%s", a->config->path ? a->config->path : CONFIG_PATH_DEFAULT);
}

static void fill_agent(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	snprintf(out, size, "%s", a->config->agent);
}

/* A socket that is there lets its group in; one that is not there is not enabled. */
static void fill_socket(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	struct stat about;
	char user[33];
	const struct group *group = NULL;

	(void)record;
	user_name(user);
	if (stat(a->config->agent, &about) == 0 && S_ISSOCK(about.st_mode))
		group = getgrgid(about.st_gid);
	if (group && access(a->config->agent, W_OK) != 0)
		snprintf(out, size, "sudo usermod -aG %s %s    # then log in again, or restart the service",
		         group->gr_name, user);
	else
		snprintf(out, size, "sudo systemctl enable --now skr-agent.socket");
}

static void fill_imds(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	snprintf(out, size, "%s", a->config->imds);
}

static void fill_device(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	device_remedy(a->config, out, size);
}

static void fill_token(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	const char *quote = strchr(a->token->label, ' ') ? "\"" : "";

	(void)record;
	snprintf(out, size, "%s%s%s", quote, a->token->label, quote);
}

static void fill_attestation(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	snprintf(out, size, "%s", a->token->attestation);
}

static void fill_sidecar(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	snprintf(out, size, "%s", a->token->sidecar ? a->token->sidecar : "");
}

static void fill_key(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	snprintf(out, size, "%s", a->key->name);
}

static void fill_url(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	snprintf(out, size, "%s", a->key->url);
}

/* "contoso.vault.azure.net" -> "--vault-name contoso" */
static void fill_vault_option(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	(void)record;
	snprintf(out, size, "%s %.*s", a->key->managed_hsm ? "--hsm-name" : "--vault-name",
	         (int)strcspn(a->key->host, ".:"), a->key->host);
}

/* Roles of vaults are Azure's, of a Managed HSM its own. */
static void fill_grant(const struct status_record *record, const struct ailment *a, char *out, size_t size)
{
	const char *who = a->object_id && *a->object_id ? a->object_id : "OBJECT-ID";
	int vault = (int)strcspn(a->key->host, ".:");

	(void)record;
	if (a->key->managed_hsm)
		snprintf(
		    out, size,
		    "az keyvault role assignment create --hsm-name %.*s --role \"Managed HSM Crypto Service Release "
		    "User\" --assignee-object-id %s --assignee-principal-type ServicePrincipal --scope /keys/%s",
		    vault, a->key->host, who, a->key->name);
	else
		snprintf(
		    out, size,
		    "az role assignment create --role \"Key Vault Crypto Service Release User\" "
		    "--assignee-object-id %s --assignee-principal-type ServicePrincipal --scope \"$(az keyvault show "
		    "--name %.*s --query id -o tsv)/keys/%s\"",
		    who, vault, a->key->host, a->key->name);
}

enum needs { NEEDS_NOTHING, NEEDS_CONFIG, NEEDS_TOKEN, NEEDS_KEY };
static const struct blank {
	const char *name;
	enum needs needs;
	void (*fill)(const struct status_record *record, const struct ailment *ailment, char *out, size_t size);
} blanks[] = {
    {"{trust}", NEEDS_NOTHING, fill_trust},
    {"{path}", NEEDS_NOTHING, fill_path},
    {"{service}", NEEDS_NOTHING, fill_service},
    {"{name}", NEEDS_NOTHING, fill_name},
    {"{config}", NEEDS_NOTHING, fill_config},
    {"{agent}", NEEDS_CONFIG, fill_agent},
    {"{socket}", NEEDS_CONFIG, fill_socket},
    {"{imds}", NEEDS_CONFIG, fill_imds},
    {"{device}", NEEDS_CONFIG, fill_device},
    {"{token}", NEEDS_TOKEN, fill_token},
    {"{attestation}", NEEDS_TOKEN, fill_attestation},
    {"{sidecar}", NEEDS_TOKEN, fill_sidecar},
    {"{key}", NEEDS_KEY, fill_key},
    {"{url}", NEEDS_KEY, fill_url},
    {"{vault-option}", NEEDS_KEY, fill_vault_option},
    {"{grant}", NEEDS_KEY, fill_grant},
};

static const struct blank *blank_at(const char *command, enum needs have)
{
	for (size_t i = 0; i < sizeof(blanks) / sizeof(blanks[0]); i++)
		if (strncmp(command, blanks[i].name, strlen(blanks[i].name)) == 0 && blanks[i].needs <= have)
			return &blanks[i];
	return NULL;
}

void fix_for(const struct status_record *record, const struct ailment *ailment, char *out, size_t size)
{
	const struct remedy *remedy = remedy_of(record->failure, ailment->state);
	const enum needs have = !ailment->config  ? NEEDS_NOTHING
	                        : !ailment->token ? NEEDS_CONFIG
	                        : !ailment->key   ? NEEDS_TOKEN
	                                          : NEEDS_KEY;
	size_t at = 0;

	out[0] = '\0';
	for (const char *c = remedy ? remedy->command : ""; *c && at + 1 < size; c++) {
		const struct blank *blank = *c == '{' ? blank_at(c, have) : NULL;
		if (!blank) {
			out[at++] = *c;
			out[at] = '\0';
			continue;
		}
		blank->fill(record, ailment, out + at, size - at);
		at += strlen(out + at);
		c += strlen(blank->name) - 1;
	}
}
