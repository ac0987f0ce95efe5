/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_LOOK_H
#define SKR_CLI_LOOK_H

#include "evidence/attest.h"
#include "http/http.h"

/*
 * What this process finds out by itself, with its own rights and without the agent: the same code as the agent's, so
 * that the answers are the same where the rights are. Nothing is released.
 */
struct look {
	struct token_config token; /* a copy: a look may insist on other evidence than the configuration */
	struct azure azure;
	struct http *http;       /* owned */
	struct buf runtime_data; /* of a transport key that nobody has the private half of any more */
	struct evidence evidence;
	struct buf attestation; /* JWT; empty: none yet */
};
#define auto_look __attribute__((cleanup(look_done))) struct look
void look_done(struct look *look); /* takes an all-zero one */

/* `config` and what `token` points to are borrowed; `ret` must stay where it is. SKR-007, 014. */
skr_status look_open(const struct config *config, const struct token_config *token, struct look *ret) MUST_CHECK;

/* Evidence for a new transport key, as evidence_collect. */
skr_status look_at_evidence(struct look *look) MUST_CHECK;
/*
 * What the hardware says alone, without endorsements or a quote, and so not verified: for when look_at_evidence could
 * not get those. A TD behind a paravisor has its claims alone, and an empty quote. Fails as the interfaces do.
 */
skr_status look_at_report(struct look *look) MUST_CHECK;
/* A token for that evidence, direct forms included; as evidence/attest.h. */
skr_status look_at_attestation(struct look *look) MUST_CHECK;

#endif
