/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_FAULTS_H
#define SKR_EMULATOR_FAULTS_H

#include "emulator/exchange.h"

/*
 * Faults on demand. A rule is one line:
 *
 *     [F:] SERVICE.OPERATION['[' N ['..' [M]] ']'] ACTION ['(' ARGUMENTS ')'] …
 *
 * SERVICE.OPERATION is one of the operations of the routes, or SERVICE.* for all of one service; [N], [N..M], [N..]
 * count the requests that matched since the rule was set. All rules that match act; of two that set the same thing the
 * later wins. docs/emulator.md has the actions.
 */

struct mutation {
	char *path, *value; /* value NULL: the member is removed */
	struct mutation *next;
};

#define AT_NOWHERE (-1)
#define AT_BODY    (-2) /* in the middle of the body */
#define AT_END     (-3) /* after the whole answer */

/* What happens to the bytes of one answer on their way out. */
struct wire {
	int64_t cut_at;  /* after so many bytes the connection ends, or AT_… */
	int64_t body_at; /* the same counted from the first byte of the body; AT_NOWHERE: no */
	bool reset;      /* it ends with RST … */
	bool abrupt;     /* … or, over TLS, without close_notify */
	bool stall;      /* no byte is sent, the connection stays */
	int64_t drip;    /* bytes per second; 0: as fast as it goes */
	uint64_t garble; /* seed of the bytes that are changed; 0: none */
	char *raw;       /* sent in place of the answer; then the connection ends */
	char *prefix;    /* sent before the answer: interim answers */
	bool bad_record; /* a TLS record that does not authenticate comes first */
};

enum swap { SWAP_NONE, SWAP_REPLAY, SWAP_PAIR };

/* What the rules that match one request add up to. */
struct fault_plan {
	char text[160]; /* the rules, for the log */
	int64_t delay_ms;
	int status; /* 0: the true one */
	char *code, *inner, *message;
	struct pairs headers; /* to add or replace; value "" removes */
	char *redirect;
	char *body; /* in place of the true one */
	int64_t grow;
	bool endless;
	bool early; /* answer before the body was read, then reset */
	enum leaf signer;
	enum swap swap;
	struct mutation *mutations;
	struct wire wire;
};
void fault_plan_done(struct fault_plan *plan);

/* What the rules do to a connection before its first request is known: matched by service alone. */
struct connect_plan {
	bool refuse;    /* ended when its first bytes come … */
	bool handshake; /* … or in the middle of the handshake */
	bool reset;     /* with RST */
	enum leaf leaf;
	bool tls11, alert, bad_record;
};

/* Checks the rules of `text`, one a line (empty lines and # comments allowed), and adds them, all or none. SKR-4 with
 * line and reason. */
skr_status faults_add(struct emulator *e, const char *text) MUST_CHECK;
skr_status faults_open(struct emulator *e) MUST_CHECK;
void faults_close(struct emulator *e);
void faults_clear(struct emulator *e);
/* [{"rule","matched"}], owned by the caller. */
json *faults_list(struct emulator *e);

/* The plan for a request of `operation` ("akv.release"); counts it. SKR-014. `ret` is for fault_plan_done. */
skr_status faults_plan(struct emulator *e, const char *operation, struct fault_plan *ret) MUST_CHECK;
/* The plan for a new connection to `service` ("akv"); counts it. */
struct connect_plan faults_connect(struct emulator *e, const char *service);

#endif
