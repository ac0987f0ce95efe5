/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/facts.h"

#include "agent/protocol.h"
#include "azure/attestation.h"

#include <stdio.h>
#include <string.h>

/* Cut, and of printable ASCII: services supply some of it. */
static void set(json *facts, const char *name, const char *value)
{
	char text[PROTOCOL_FACT_SIZE];

	if (!value || !*value)
		return;
	snprintf(text, sizeof(text), "%s", value);
	for (char *c = text; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			*c = '?';
	json_set_string(facts, name, text);
}

json *facts_of_evidence(const struct evidence *evidence)
{
	json *facts = json_object();

	set(facts, "tee", evidence_tee(evidence));
	set(facts, "evidence", evidence->provider);
	set(facts, "endorsements", evidence->endorsement_source);
	return facts;
}

static void set_claim(json *facts, const char *name, const json *claim)
{
	char room[24];

	set(facts, name, json_scalar_text(claim, room));
}

json *facts_of_attestation(const struct buf *token)
{
	static const char *const names[] = {"jti",
	                                    "x-ms-attestation-type",
	                                    "x-ms-compliance-status",
	                                    "x-ms-sevsnpvm-hostdata",
	                                    "x-ms-sevsnpvm-launchmeasurement",
	                                    "x-ms-sevsnpvm-is-debuggable",
	                                    "tdx_mrtd",
	                                    "attester_tcb_status",
	                                    "x-ms-azurevm-vmid",
	                                    "secureboot"};
	json *facts = json_object();
	auto_json *claims = NULL;

	if (attestation_claims(buf_text(token), token->len, &claims).failure)
		return facts;
	/* Behind a paravisor the hardware's claims stand one level deeper, and policies name them so. */
	const json *tee = json_get(claims, "x-ms-isolation-tee");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char nested[64];
		snprintf(nested, sizeof(nested), "x-ms-isolation-tee.%s", names[i]);
		set_claim(facts, names[i], json_get(claims, names[i]));
		set_claim(facts, nested, json_get(tee, names[i]));
	}
	return facts;
}

json *facts_of_request(const char *name, const struct azure *azure)
{
	json *facts = json_object();
	char attempts[PROTOCOL_FACT_NAME_SIZE], number[16];

	set(facts, name, azure->request_id);
	if (azure->attempts > 1) {
		snprintf(attempts, sizeof(attempts), "%s-attempts", name);
		snprintf(number, sizeof(number), "%d", azure->attempts);
		set(facts, attempts, number);
	}
	return facts;
}
