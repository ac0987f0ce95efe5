/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AGENT_STEPS_H
#define SKR_AGENT_STEPS_H

#include "agent/protocol.h"
#include "config/config.h"

/* Where messages to the module go; a failure of it ends the steps. */
typedef skr_status agent_tell_fn(const struct agent_message *message, void *with);

/* Waits for what the module wants opened. */
typedef skr_status agent_hear_fn(struct agent_open *ret, void *with);

struct steps_errand {
	const struct config *config;
	const struct token_config *token;
	const struct agent_request *request;
	struct deadline deadline;
	agent_tell_fn *tell;
	agent_hear_fn *hear;
	void *with; /* for both */
};

/*
 * The four steps of a login in order: evidence, attestation, identity, release; the last once per key of the token, in
 * the configuration's order. Tells `step` before and `done` after each of them, and `key` per key; `failure` and `end`
 * are the caller's to tell. The record of a failure names its step.
 *
 * With a transport key of the TPM: tells `transport` before the first key, and answers the `open` that follows each.
 * With a sidecar: the first two steps are its own, and keys are `handed`.
 */
skr_status steps_run(const struct steps_errand *errand) MUST_CHECK;

#endif
