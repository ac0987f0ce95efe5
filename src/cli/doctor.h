/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_DOCTOR_H
#define SKR_CLI_DOCTOR_H

#include "cli/command.h"
#include "release/release.h"

/*
 * One visit of the doctor: what is found is shown at once, or kept for `--json`, and counted. Every command that would
 * put something right is a `fix`.
 */
struct visit {
	struct terminal *t;
	json *checks; /* for --json; NULL: lines for people */
	json *last;   /* the newest of them, borrowed */
	const struct config *config;
	const struct token_config *token; /* under way; NULL: what concerns all of them */
	int failed, warned;
	int last_failure;         /* SKR-number of the last FAILED */
	int surroundings_failure; /* not 0: agent, memory or a file is such that no login can be */
};

/* One finding. A warning or failure without a number of its own. `fix` may be NULL. */
void visit_found(struct visit *v, enum verdict verdict, const char *name, const char *fix, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* The same with the time it took. */
void visit_timed(struct visit *v, enum verdict verdict, const char *name, int64_t ms, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* A failure, or (VERDICT_WARNING, VERDICT_NOTE) what one was found to be; with its row's hint, and `fix` if not NULL.
 */
void visit_failed(struct visit *v, enum verdict verdict, const char *name, int64_t ms,
                  const struct status_record *record, const char *fix);

/* What is under way, and its end; only on a terminal. */
void visit_waiting(struct visit *v, const char *name);

void visit_heading(struct visit *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One more line below the last finding: "public_key_sha256=…". */
void visit_more(struct visit *v, const char *name, const char *value);

/* ---- doctor_files.c ---- */

/* Agent, memory, directories and files that do not belong to one token. */
void doctor_surroundings(struct visit *v);
/* Files of v->token that can be looked at before a login. */
void doctor_token_files(struct visit *v);

/* ---- doctor_machine.c ---- */

/* Kernel, and the devices by which hardware can vouch for this machine. */
void doctor_machine(struct visit *v);

/* ---- doctor_login.c ---- */

/* What became of a login. */
struct outcome {
	int failure; /* 0: it went well */
	char step[24];
	struct release release;
};
#define auto_outcome __attribute__((cleanup(outcome_done))) struct outcome
void outcome_done(struct outcome *outcome); /* takes an all-zero one */

/* A login of v->token with the module's own code, and one signature of each key that may sign. */
void doctor_login(struct visit *v, struct outcome *ret);

/* ---- doctor_beyond.c ---- */

/*
 * What a login does not show, or did not come to: debugging, clock, attestation instance, identity, each key and its
 * release policy, certificates. By this process's own rights; where these are not enough that is said, and is no
 * failure after a login that went well.
 */
void doctor_beyond(struct visit *v, const struct outcome *outcome);

/* The object id of the identity that asks for this key, by asking for a token; "" if there is none. */
void doctor_object_id(struct visit *v, const struct key_config *key, char out[64]);

/* ---- doctor_certificates.c ---- */

/* Whether each certificate of v->token is for one of these public keys, and for how long. */
void doctor_certificates(struct visit *v, EVP_PKEY *const *keys, size_t count);

/* ---- doctor_fix.c ---- */

/* What a command needs to be told; NULL and empty: not known. */
struct ailment {
	const struct config *config;
	const struct token_config *token;
	const struct key_config *key;
	const char *object_id; /* of the identity that asks, as its token says */
	const char
	    *state; /* "disabled", "expired", "not-yet", "firewall", "clock", "several"; NULL: not known any better */
};

/* The command that helps against a failure, as one types it; "" if there is none. Never executed by us. */
void fix_for(const struct status_record *record, const struct ailment *ailment, char *out, size_t size);

#endif
