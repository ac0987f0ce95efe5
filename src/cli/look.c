/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/look.h"

#include "evidence/snp.h"
#include "evidence/snp_report.h"
#include "evidence/tsm.h"
#include "jose/jwk.h"
#include "jose/jws.h"

#include <signal.h>
#include <string.h>

#include <openssl/rsa.h>

#define RUNTIME_DATA_LIMIT (8 * 1024)
#define TRANSPORT_BITS     2048

void look_done(struct look *look)
{
	http_close(look->http);
	buf_done(&look->runtime_data);
	evidence_done(&look->evidence);
	buf_done(&look->attestation);
	*look = (struct look){.http = NULL};
}

skr_status look_open(const struct config *config, const struct token_config *token, struct look *ret)
{
	signal(SIGPIPE, SIG_IGN); /* libssl may raise it */
	TRY(ossl_open());
	TRY(http_open(config, &ret->http));
	ret->token = *token;
	ret->runtime_data = BUF(RUNTIME_DATA_LIMIT);
	ret->attestation = BUF(JWT_LIMIT);
	ret->azure = (struct azure){.config = config,
	                            .token = &ret->token,
	                            .http = ret->http,
	                            .deadline = deadline_in((int64_t)config->login_deadline * 1000)};
	return OK;
}

/* The private half ends here: what is attested for a look can open nothing. */
static skr_status make_runtime_data(struct buf *out)
{
	auto_pkey *key = EVP_PKEY_Q_keygen(ossl, NULL, "RSA", (size_t)TRANSPORT_BITS);
	auto_json *jwk = NULL;
	auto_buf kid = BUF(64);

	if (!key)
		return ossl_fail(599, "a transport key");
	TRY(jwk_from_key(key, &jwk));
	TRY(jwk_thumbprint(jwk, &kid));
	json_set_string(jwk, "kid", buf_text(&kid));
	buf_clear(out);
	return runtime_data_print(jwk, out);
}

skr_status look_at_evidence(struct look *look)
{
	TRY(make_runtime_data(&look->runtime_data));
	evidence_done(&look->evidence);
	return evidence_collect(&look->azure, look->runtime_data.data, look->runtime_data.len, &look->evidence);
}

static skr_status own_report(struct look *look, struct evidence *ret)
{
	static const struct {
		const char *name;
		skr_status (*ask)(const struct snp_question *question, struct snp_answer *ret);
	} interfaces[] = {
	    {"snp-configfs", snp_from_tsm}, {"snp-ioctl", snp_from_sev_guest}, {"snp-ioctl-5", snp_from_sev}};
	struct snp_question question = {.deadline = look->azure.deadline};
	skr_status status = OK;

	TRY(sha256(look->runtime_data.data, look->runtime_data.len, question.report_data));
	for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++) {
		auto_snp_answer answer = {.report = {.data = NULL}};
		status = interfaces[i].ask(&question, &answer);
		if (status.failure)
			continue;
		*ret = (struct evidence){
		    .form = EVIDENCE_SNP, .provider = interfaces[i].name, .endorsement_source = "none"};
		buf_move(&ret->report, &answer.report);
		break;
	}
	return status;
}

static skr_status paravisor_report(struct look *look, struct evidence *ret)
{
	auto_evidence evidence = {.provider = "azure-cvm-direct", .endorsement_source = "none"};
	uint8_t user_data[64] = {0};

	TRY(sha256(look->runtime_data.data, look->runtime_data.len, user_data)); /* 64 bytes that nobody checks */
	TRY(vtpm_collect(look->azure.config->tpm, VTPM_REPORT_ALONE, user_data, look->azure.deadline, &evidence.vtpm));
	evidence.form = EVIDENCE_DIRECT_TDX;
	if (evidence.vtpm.hcl.isolation == ISOLATION_SNP) {
		evidence.form = EVIDENCE_DIRECT_SNP;
		evidence.report.limit = SNP_REPORT_SIZE;
		TRY(buf_append(&evidence.report, evidence.vtpm.hcl.hardware, SNP_REPORT_SIZE));
	}
	*ret = evidence;
	evidence = (struct evidence){.provider = NULL};
	return OK;
}

skr_status look_at_report(struct look *look)
{
	const char *setting = look->token.evidence;
	auto_evidence found = {.provider = NULL};

	TRY(make_runtime_data(&look->runtime_data));
	if (strncmp(setting, "azure-cvm", 9) == 0 || (own_report(look, &found).failure && strcmp(setting, "auto") == 0))
		TRY(paravisor_report(look, &found));
	if (!found.provider)
		return FAIL(100, "no report without endorsements either");
	evidence_done(&look->evidence);
	look->evidence = found;
	found = (struct evidence){.provider = NULL};
	return OK;
}

skr_status look_at_attestation(struct look *look)
{
	if (look->evidence.form == EVIDENCE_DIRECT_SNP || look->evidence.form == EVIDENCE_DIRECT_TDX)
		return evidence_attest_direct(&look->azure, &look->evidence, &look->attestation);
	return evidence_attest(&look->azure, &look->runtime_data, &look->evidence, &look->attestation);
}
