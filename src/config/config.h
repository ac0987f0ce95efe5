/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CONFIG_CONFIG_H
#define SKR_CONFIG_CONFIG_H

#include "base/arena.h"
#include "base/audit.h"
#include "base/log.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_PATH_DEFAULT "/etc/skr-pkcs11.conf"
#define CONFIG_TOKENS_MAX   16
#define CONFIG_KEYS_MAX     64 /* of one token */
#define CONFIG_PATHS_MAX    64

/*
 * One line `key = https://VAULT/keys/NAME[/VERSION] [label=TEXT] [public_key_sha256=HEX]`. Strings are owned by the
 * configuration and live as long as it does.
 */
struct key_config {
	const char *url;               /* as written */
	const char *host;              /* lower case; with :port if there is one other than 443 */
	const char *name;              /* 1..127 of [0-9A-Za-z-] */
	const char *version;           /* 32 lower-case hex; NULL: the newest */
	const char *label;             /* CKA_LABEL; the name unless label= is given */
	bool managed_hsm;              /* host NAME.managedhsm.… */
	bool pinned;                   /* public_key_sha256 is set: */
	uint8_t public_key_sha256[32]; /* SHA-256 of the DER SubjectPublicKeyInfo (for oct keys there is no pin) */
};

enum fork_policy { FORK_INHERIT, FORK_WIPE };
enum audit_policy { AUDIT_BEST_EFFORT, AUDIT_REQUIRED };
enum identity_kind {
	IDENTITY_AUTO,
	IDENTITY_MANAGED,     /* managed[:CLIENT-ID | :object:ID | :resource:ARM-ID] */
	IDENTITY_WORKLOAD,    /* AZURE_* variables of the AKS webhook, or tenant/client here */
	IDENTITY_SECRET,      /* secret:FILE with tenant and client */
	IDENTITY_CERTIFICATE, /* certificate:FILE (PEM, key and certificate) with tenant and client */
};

struct token_config {
	const char *label; /* from [token LABEL], at most 32 bytes; CK_TOKEN_INFO.label */
	int line;          /* of the section, for messages */

	const char *attestation; /* https://HOST[:port] of the attestation instance, no trailing slash */
	const char *evidence; /* auto, snp, snp-ioctl, snp-configfs, tdx, azure-cvm, azure-cvm-direct, trusted-launch,
	                         sidecar */
	const char *sidecar;  /* http://HOST:PORT of the SKR sidecar; loopback */
	const char *endorsements; /* auto, report, security-context, thim */

	struct key_config *keys;
	size_t key_count;
	const char **certificates; /* paths of PEM files, in order */
	size_t certificate_count;
	const char **public_keys; /* paths of PEM files with SubjectPublicKeyInfo, shown before login */
	size_t public_key_count;

	enum identity_kind identity;
	const char *identity_argument; /* client id, "object:ID", "resource:ID" or file; NULL: none */
	const char *tenant, *client;   /* for workload, secret, certificate; NULL: from the environment */
	const char *authority;         /* https://login.microsoftonline.com */

	const char *enc;         /* RSA_AES_KEY_WRAP_256 | RSA_AES_KEY_WRAP_384 | CKM_RSA_AES_KEY_WRAP */
	unsigned transport_bits; /* 2048, 3072, 4096 */
	const char *pin_hash;    /* scrypt:N:r:p:SALT-B64URL:HASH-B64URL; NULL: no PIN */
	unsigned relogin_grace;  /* seconds; 600 */
	unsigned key_max_age;    /* seconds; 0: until logout */
	bool allow_raw_rsa, allow_sha1, rsa_pkcs1_decrypt;
};

struct config {
	const char *path; /* the file read; NULL: none */
	const char *log;  /* syslog | stderr | none | absolute path */
	enum log_level log_level;
	const char *agent; /* path of the program (exec:) or of the socket (unix:) */
	bool agent_is_socket;
	long agent_uid;          /* uid that must own the other end of the socket; 0 */
	const char *agent_group; /* whose members may ask an agent that listens on a socket */
	const char *tpm;         /* device:/dev/tpmrm0: how tpm2-tss reaches the vTPM (TCTI) */
	struct audit_trail trail;
	enum audit_policy audit;
	const char *runtime_dir; /* NULL: none */
	enum fork_policy fork;
	enum arena_lock memory_lock;
	unsigned login_deadline; /* seconds, 5..600; 75 */
	bool allow_custom_endpoint;
	const char *ca_file;         /* NULL: the distribution's bundle */
	const char *release_ca_file; /* roots of the release signature; NULL: as ca_file */
	const char *https_proxy;     /* host:port; NULL: none */
	const char *imds;            /* http://169.254.169.254; another only with allow_custom_endpoint */
	const char **pins;           /* "HOST sha256//BASE64;sha256//BASE64": libcurl's form behind the host */
	size_t pin_count;

	struct token_config *tokens;
	size_t token_count;

	struct config_memory *memory; /* what config_free releases */
};

/*
 * The path to read: `reserved` ("skr_conf=PATH" in C_Initialize's pReserved) if it names one, else SKR_PKCS11_CONF by
 * secure_getenv, else CONFIG_PATH_DEFAULT. `ret_path` is malloc'ed text of the caller.
 */
skr_status config_path(const char *reserved, char **ret_path) MUST_CHECK;

/*
 * Reads and checks the file as threat model D-14 and section 10 say. SKR-001, 002, 003; 004 with "FILE:LINE: KEY: what
 * is wrong" (values only of keys that name no endpoint); 005. `ret` owned by the caller; untouched on failure.
 */
skr_status config_read(const char *path, struct config **ret) MUST_CHECK;
/* The same for text already read; `path` only names it in messages. What fuzzing and tests use. */
skr_status config_parse(const char *path, const char *text, size_t len, struct config **ret) MUST_CHECK;
/* No tokens, every setting at its default: what holds when there is no configuration, or a broken one. */
struct config *config_default(void);
void config_free(struct config *config); /* takes NULL */

const struct token_config *config_token(const struct config *config, const char *label); /* NULL: none */

/*
 * True if `host` ("NAME" or "NAME:PORT", any case) may be asked: a vault, Managed HSM, attestation instance or
 * authority of an Azure cloud on port 443, or any host at all with allow_custom_endpoint. For addresses that do not
 * come from the file, such as AZURE_AUTHORITY_HOST; those of the file are checked by config_read.
 */
bool config_endpoint_allowed(const struct config *config, const char *host);

/* One row per setting, for the reader, `skr-pkcs11 config`, the manual and its test. */
struct config_reader;
struct setting;
typedef skr_status setting_fn(struct config_reader *reader, const struct setting *setting, const char *value);
struct setting {
	const char *section; /* "skr-pkcs11" or "token" */
	const char *name;
	const char *fallback; /* the default as it would be written; NULL: none */
	const char *meaning;  /* one sentence */
	bool repeats;
	bool endpoint; /* its value is not shown in messages */

	/* For this layer alone: who understands the value, where in struct config or struct token_config it goes. */
	setting_fn *read;
	size_t at;
	const void *with;
};
extern const struct setting config_settings[]; /* ends with a NULL name */

#endif
