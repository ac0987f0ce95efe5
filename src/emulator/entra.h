/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_ENTRA_H
#define SKR_EMULATOR_ENTRA_H

#include "emulator/exchange.h"

/*
 * Identities and their tokens. Three identities exist: a user-assigned one (SKR_EMULATOR_CLIENT), which is also an
 * application with SKR_EMULATOR_CLIENT_SECRET, the certificate DIR/client.pem and a federated credential for
 * DIR/federated-token; the system-assigned one of the played machine; and a stranger who may not release
 * (DIR/identity.json names all).
 */
struct identity {
	char client[40], object[40], name[24];
	char resource[192]; /* Azure Resource Manager's id of it */
	bool may_release;
	bool on_machine; /* the metadata service has it */
};

skr_status entra_open(struct emulator *e) MUST_CHECK;
/* Makes the keys that entra_open will find in DIR; may run beside authority_open. Needs nothing of `e` but its
 * directory. */
skr_status entra_make_keys(const struct emulator *e) MUST_CHECK;
void entra_close(struct emulator *e);

/* By client id, object id, resource id or name ("user", "system", "stranger"); NULL: unknown. Borrowed. */
struct identity *entra_find(struct emulator *e, const char *word);

/* Signs an access token for `audience` ("https://vault.azure.net"), valid `lifetime` seconds. Appends to `out`. */
skr_status entra_issue(struct emulator *e, struct exchange *x, const struct identity *identity, const char *audience,
                       int64_t lifetime, struct buf *out) MUST_CHECK;

/* A service-account token as Kubernetes projects it, valid `lifetime` seconds, which the token endpoint accepts. */
skr_status entra_federated_token(struct emulator *e, int64_t lifetime, struct buf *out) MUST_CHECK;

enum bearer { BEARER_OK, BEARER_NONE, BEARER_BAD, BEARER_EXPIRED, BEARER_AUDIENCE };
/* Checks the Authorization header of a request. `ret_identity` is set for BEARER_OK; the audience goes into
 * x->audience. */
enum bearer entra_bearer(struct emulator *e, struct exchange *x, const char *audience, struct identity **ret_identity);

#endif
