/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_VAULT_H
#define SKR_EMULATOR_VAULT_H

#include "emulator/entra.h"

/*
 * What vaults and Managed HSMs hold. Everything is kept in memory and goes with the process. A vault is made when it is
 * first asked for; its name is the host's, without port.
 */

struct version {
	char id[33]; /* 32 hexadecimal digits */
	char kty[16];
	char released_kty[16]; /* as the payload of a release shows it: Managed HSM keeps what an import said */
	EVP_PKEY *key;         /* NULL: oct */
	struct buf oct;
	bool wide_exponent; /* "e" is shown as 00 01 00 01, as vaults show that of HSM keys they made */
	json *ops, *attributes, *tags, *policy; /* tags and policy may be NULL */
	struct version *older;
};

struct key {
	char *name;
	struct version *newest;
	bool deleted;
	int64_t deleted_at;
	struct key *next;
};

struct document; /* secret.c */

struct vault {
	char *host;
	bool hsm;
	struct key *keys; /* in the order they were made */
	struct document *secrets, *certificates;
	struct vault *next;
};

skr_status vaults_open(struct emulator *e) MUST_CHECK;
void vaults_close(struct emulator *e);
/* The vault of the request's host. */
skr_status vault_of(struct emulator *e, const struct exchange *x, struct vault **ret) MUST_CHECK;

/*
 * What every route begins with: 401 with the challenge, the api-version, the caller's rights. True: go on, with
 * `ret_vault` and `ret_caller` (may be NULL) set. False: `*ret` is what the handler returns, and the answer is set.
 */
bool vault_enter(struct emulator *e, struct exchange *x, struct vault **ret_vault, struct identity **ret_caller,
                 skr_status *ret);

/* The message of a Managed HSM ends with an activity id. */
skr_status vault_error(struct exchange *x, int status, const char *code, const char *inner, const char *message, ...)
    __attribute__((format(printf, 5, 6))) MUST_CHECK;

struct key *vault_key(const struct vault *vault, const char *name); /* deleted or not; NULL: none */
/* The version of the route's {version}, or the newest. NULL: `*ret` is what the handler returns, and a 404 is set. */
struct version *vault_version(struct vault *vault, struct exchange *x, skr_status *ret);

/* {"kid","kty","key_ops","n","e"|"crv","x","y"}; `kty` as given. The kid is of this exchange's origin. */
skr_status version_jwk(const struct exchange *x, const char *name, const struct version *version, const char *kty,
                       json **ret) MUST_CHECK;

/* "https://HOST/COLLECTION/NAME[/VERSION]"; version NULL: without. */
skr_status object_id(const struct exchange *x, const char *collection, const char *name, const char *version,
                     struct buf *out) MUST_CHECK;

/*
 * One page of a list: adds {"value":[...],"nextLink":...} for `items` (taken), maxresults and $skiptoken of the
 * request.
 */
skr_status reply_page(struct exchange *x, json *items) MUST_CHECK;

/* 1 to 127 of 0-9 A-Z a-z and "-". */
bool object_name_fits(const char *name);
void version_id(char out[33]);

/* POST …/release, in release.c. */
skr_status release_key(struct emulator *e, struct exchange *x);

/* secret.c */
skr_status secret_set(struct emulator *e, struct exchange *x);
skr_status secret_get(struct emulator *e, struct exchange *x);
skr_status secret_versions(struct emulator *e, struct exchange *x);
skr_status certificate_import(struct emulator *e, struct exchange *x);
skr_status certificate_get(struct emulator *e, struct exchange *x);
skr_status certificate_versions(struct emulator *e, struct exchange *x);
void documents_free(struct document *documents);

/* keymaker.c: a new version from the body of create or import; 400s are set as answers. */
skr_status version_create(struct emulator *e, struct exchange *x, const struct vault *vault, const json *request,
                          struct version **ret) MUST_CHECK;
skr_status version_import(struct emulator *e, struct exchange *x, const struct vault *vault, const json *request,
                          struct version **ret) MUST_CHECK;
/* A fresh key with the settings of `old`. */
skr_status version_rotate(struct emulator *e, const struct version *old, struct version **ret) MUST_CHECK;
void version_free(struct version *version); /* takes NULL */
/*
 * Decodes, checks and stores a release policy ({"contentType","data","immutable"}). `*ret_refused`: a 400 is set.
 */
skr_status version_set_policy(struct exchange *x, struct version *version, const json *policy,
                              bool *ret_refused) MUST_CHECK;

#endif
