/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/attest.h"

#include "azure/attestation.h"
#include "base/base64.h"
#include "base/log.h"
#include "base/ossl.h"
#include "jose/jws.h"

#include <string.h>

skr_status runtime_data_print(const json *transport_key, struct buf *out)
{
	static const char *const members[] = {"e", "kid", "kty", "n"};
	auto_json *data = json_object();
	json *keys = json_array(), *key = json_object(), *ops = json_array();

	json_set(data, "keys", keys);
	json_push(keys, key);
	json_set(key, "key_ops", ops);
	json_push(ops, json_of_string("encrypt"));
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		const char *value = json_string_or_null(transport_key, members[i]);

		if (!value || !*value)
			return FAIL(504, "the transport key has no %s", members[i]);
		json_set_string(key, members[i], value);
	}
	if (strcmp(json_string_or_null(key, "kty"), "RSA") != 0)
		return FAIL(504, "the transport key is not RSA");
	json_sort(key);
	return json_print(data, out);
}

static skr_status attest_snp(struct azure *azure, const struct buf *runtime_data, const struct evidence *evidence,
                             struct buf *ret_token)
{
	const struct attestation_evidence given = {
	    .report = &evidence->report,
	    .chain_pem = &evidence->chain_pem,
	    .uvm_endorsement = &evidence->uvm_endorsement,
	    .runtime_data = runtime_data,
	};

	return attestation_snp(azure, &given, ret_token);
}

static skr_status attest_tdx(struct azure *azure, const struct buf *runtime_data, const struct evidence *evidence,
                             struct buf *ret_token)
{
	const struct attestation_td given = {.quote = &evidence->report, .runtime_data = runtime_data};

	return attestation_tdx(azure, &given, ret_token);
}

/* SKR-341 is said of a vault; here it is the service's answer that is not for us. */
static skr_status open_inner_key(const struct azure *azure, struct vtpm_transport *transport,
                                 const struct sealed_token *sealed, struct buf *out)
{
	skr_status status = vtpm_transport_open(azure->config->tpm, transport, NULL, sealed->inner_key,
	                                        sizeof(sealed->inner_key), azure->deadline, out);

	if (status.failure != 341)
		return status;
	struct status_record why = *status_last();
	return FAIL(323, "EncryptedInnerKey does not open: %s", why.sentence);
}

/* The answer is sealed to the TPM's transport key: who reads it sits on this machine, as it was attested. */
static skr_status attest_guest(struct azure *azure, struct evidence *evidence, struct buf *ret_token)
{
	const struct guest_evidence *given = &evidence->vtpm.evidence;
	uint8_t random[32];
	auto_buf nonce = BUF(64), inner_key = BUF(GUEST_TRANSPORT);
	auto_sealed_token sealed = {.ciphertext = {.data = NULL}};

	TRY(random_bytes(random, sizeof(random)));
	TRY(base64url_encode(random, sizeof(random), &nonce));
	TRY(guest_attest(azure, given, buf_text(&nonce), &sealed));
	TRY(open_inner_key(azure, &evidence->vtpm.transport, &sealed, &inner_key));
	TRY(sealed_token_open(&sealed, inner_key.data, inner_key.len, ret_token));
	return guest_token_check(azure, given, buf_text(&nonce), buf_text(ret_token), ret_token->len);
}

static skr_status attest_once(struct azure *azure, const struct buf *runtime_data, struct evidence *evidence,
                              struct buf *ret_token)
{
	auto_buf token = BUF(JWT_LIMIT);

	switch (evidence->form) {
	case EVIDENCE_SNP:
		TRY(attest_snp(azure, runtime_data, evidence, &token));
		break;
	case EVIDENCE_TDX:
		TRY(attest_tdx(azure, runtime_data, evidence, &token));
		break;
	case EVIDENCE_GUEST:
		TRY(attest_guest(azure, evidence, &token));
		break;
	case EVIDENCE_DIRECT_SNP:
	case EVIDENCE_DIRECT_TDX:
		return FAIL(145, "a token of evidence = %s names no key that a vault could wrap to",
		            azure->token->evidence);
	case EVIDENCE_NONE:
		return FAIL(599, "nothing to attest with");
	}
	buf_move(ret_token, &token);
	return OK;
}

skr_status evidence_attest(struct azure *azure, const struct buf *runtime_data, struct evidence *evidence,
                           struct buf *ret_token)
{
	auto_evidence fresh = {.provider = NULL};

	skr_status status = attest_once(azure, runtime_data, evidence, ret_token);
	if (status.failure != 138 && status.failure != 139)
		return status;
	log_line(LOG_LEVEL_WARNING, "SKR-%03d %s; collecting the evidence again", status.failure, status_message());
	TRY(evidence_collect(azure, runtime_data->data, runtime_data->len, &fresh));
	evidence_done(evidence);
	*evidence = fresh;
	fresh = (struct evidence){.provider = NULL};
	return attest_once(azure, runtime_data, evidence, ret_token);
}

skr_status evidence_attest_direct(struct azure *azure, const struct evidence *evidence, struct buf *ret_token)
{
	const struct buf *claims = &evidence->vtpm.hcl.claims;
	const struct attestation_evidence snp = {
	    .report = &evidence->report,
	    .chain_pem = &evidence->chain_pem,
	    .uvm_endorsement = &evidence->uvm_endorsement,
	    .runtime_data = claims,
	};
	const struct attestation_td tdx = {.quote = &evidence->report, .runtime_data = claims};
	auto_buf token = BUF(JWT_LIMIT);

	if (evidence->form == EVIDENCE_DIRECT_SNP)
		TRY(attestation_snp_direct(azure, &snp, &token));
	else if (evidence->form == EVIDENCE_DIRECT_TDX)
		TRY(attestation_tdx_direct(azure, &tdx, &token));
	else
		return FAIL(599, "%s is no direct form of evidence", evidence->provider);
	buf_move(ret_token, &token);
	return OK;
}
