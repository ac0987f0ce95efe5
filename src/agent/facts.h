/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AGENT_FACTS_H
#define SKR_AGENT_FACTS_H

#include "base/json.h"
#include "evidence/evidence.h"

/*
 * What the agent tells the module for the audit trail, for people: names and short texts, as protocol.h bounds them.
 * The module cannot verify any of it, and decides nothing by it. Each gives an object that the caller owns; NULL
 * without memory.
 */

/* tee, evidence, endorsements. */
json *facts_of_evidence(const struct evidence *evidence);

/* The claims that policies usually ask for, of a token that is looked at but not verified, and its id (jti). */
json *facts_of_attestation(const struct buf *token);

/* NAME = the service's id of the request, and NAME-attempts if there were several. */
json *facts_of_request(const char *name, const struct azure *azure);

#endif
