/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_EXCHANGE_H
#define SKR_EMULATOR_EXCHANGE_H

#include "emulator/emulator.h"

#include <stdlib.h>

#define EXCHANGE_BODY_LIMIT (1024 * 1024)

enum service {
	SERVICE_NONE,
	SERVICE_VAULT,
	SERVICE_ATTESTATION,
	SERVICE_LOGIN,
	SERVICE_METADATA,
	SERVICE_CONTROL,
	SERVICE_SIDECAR,
};

struct mutation; /* faults.h */

/* A text of malloc's that goes with its scope. */
#define auto_text __attribute__((cleanup(text_done))) char
static inline void text_done(char **text)
{
	free(*text);
}

struct pair {
	char *name, *value;
};
struct pairs {
	struct pair *items;
	size_t count;
};

/*
 * One request and its answer, as handlers see them. Empty path segments are gone (so a trailing or double slash changes
 * nothing), everything is percent-decoded, names of query members and headers too.
 */
struct exchange {
	enum service service;
	bool tls;
	char *method;
	char *host;      /* lower case, no port: "contoso.vault.localhost"; "" if the client sent none */
	char *authority; /* as the client addressed us, port included: what issuers, kids and links must repeat */
	char *path;      /* as sent, for the log */
	char *segments[16];
	size_t segment_count;
	const struct route *route; /* which was chosen */
	struct pairs query, headers;
	struct buf body;
	json *json; /* cache of exchange_json */

	/* the answer */
	int status; /* 0: none yet */
	const char *content_type;
	struct buf reply;
	struct pairs reply_headers;

	/* for faults and log */
	const struct mutation *mutations; /* those that apply to this request */
	enum leaf signer;                 /* LEAF_GOOD unless a fault says else */
	char audience[96];                /* of the bearer token, for the log */
	char fault[160];                  /* rule that acted */
};
#define auto_exchange __attribute__((cleanup(exchange_done))) struct exchange
void exchange_done(struct exchange *x);

/* Fills method, authority, host, path, segments and query of a zeroed exchange. `target`: "/keys/a?api%2Dversion=7.4".
 */
skr_status exchange_open(struct exchange *x, const char *method, const char *authority, const char *target) MUST_CHECK;
skr_status exchange_add_header(struct exchange *x, const char *name, const char *value) MUST_CHECK;

/*
 * The name a route's {word} stands for: exchange_segment(x, "name") for "/keys/{name}/{version}"; NULL if the route has
 * no such word. Borrowed.
 */
const char *exchange_segment(const struct exchange *x, const char *word);
const char *exchange_query(const struct exchange *x,
                           const char *name); /* NULL: not there; names without regard to case */
const char *exchange_header(const struct exchange *x,
                            const char *name); /* NULL: not there; names without regard to case */
/* The body as JSON object, borrowed; SKR-213. An empty body is an empty object. Numbers beyond 2^53 are refused: see
 * x->body. */
skr_status exchange_json(struct exchange *x, const json **ret) MUST_CHECK;
/* The whole body, percent-decoded; owned by the caller, NULL: no memory. */
char *exchange_body_text(const struct exchange *x);
/* The member of an application/x-www-form-urlencoded body; owned by the caller, NULL: not there. */
char *exchange_form(const struct exchange *x, const char *name);
/* "https://HOST:PORT" as the client addressed us, appended. */
skr_status exchange_origin(const struct exchange *x, struct buf *out) MUST_CHECK;

/* Each sets the whole answer, in place of an earlier one. reply_json takes ownership of `body`, also when it fails. */
skr_status reply_json(struct exchange *x, int status, json *body) MUST_CHECK;
skr_status reply_text(struct exchange *x, int status, const char *content_type, const char *text) MUST_CHECK;
/* {"error":{"code","message","innererror":{"code"}}}, the envelope of Key Vault and MAA; inner NULL: left out.
 * `message` is printf. */
skr_status reply_error(struct exchange *x, int status, const char *code, const char *inner, const char *message, ...)
    __attribute__((format(printf, 5, 6))) MUST_CHECK;
/* One more header of the answer. */
skr_status reply_header(struct exchange *x, const char *name, const char *value) MUST_CHECK;

/*
 * Signs `payload` (RS256 by header.alg) and appends the compact form. First the mutate(…) faults of this request are
 * applied: "NAME.header.…" and "NAME.payload.…" change what is signed, so that the signature stands and the client's
 * own checks are met; "NAME.raw.header|payload|signature" change the finished text. NAME is "jws" for releases, "jwt"
 * for tokens.
 */
skr_status exchange_sign(struct exchange *x, const char *name, json *header, json *payload, EVP_PKEY *key,
                         struct buf *out) MUST_CHECK;
/* Applies the mutate faults whose path starts with "NAME." to `tree`; NAME NULL: to the answer's body, path as it is.
 */
skr_status exchange_mutate(struct exchange *x, const char *name, json *tree) MUST_CHECK;

/*
 * A route; "*" stands for every method or path. Literal segments match without regard to case, {word} matches any one
 * segment. The first that fits is taken. A handler that fails without a reply becomes a 500 with the sentence of its
 * failure. Handlers run with e->lock held, but those of the sidecar, who is a client of the others.
 */
struct route {
	enum service service;
	const char *method;
	const char *path;      /* "/attest/{type}" */
	const char *operation; /* of faults and log: "maa.attest" */
	skr_status (*handle)(struct emulator *e, struct exchange *x);
};

/* Tables end with a row of zeros. */
extern const struct route vault_routes[], entra_routes[], imds_routes[], control_routes[];
extern const struct route maa_routes[];     /* maa.c */
extern const struct route sidecar_routes[]; /* sidecar.c */

/* Which service answers to a host name on the https port. */
enum service service_of_host(const char *host);

#endif
