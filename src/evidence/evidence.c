/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/evidence.h"

#include "azure/imds.h"
#include "base/log.h"
#include "base/ossl.h"
#include "evidence/endorsement.h"
#include "evidence/security_context.h"
#include "evidence/snp.h"
#include "evidence/snp_report.h"
#include "evidence/td_quote.h"
#include "evidence/tdx.h"
#include "evidence/tsm.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define CHAIN_LIMIT    (64 * 1024)
#define TD_REPORT_DATA 128 /* where a TDREPORT has its report data */
#define ROUNDS         2   /* one fresh report, for a report that is not ours or a TCB that moved */

void evidence_done(struct evidence *evidence)
{
	buf_done(&evidence->report);
	buf_done(&evidence->chain_pem);
	buf_done(&evidence->uvm_endorsement);
	vtpm_machine_done(&evidence->vtpm);
	*evidence = (struct evidence){0};
}

/*
 * The interfaces of machines that choose their own report data, in the order in which `auto` tries them. /dev/sev comes
 * after its newer name: it is also that of a host's device.
 */
static const struct provider {
	const char *name;
	const char *family;  /* evidence = this: all of it */
	const char *setting; /* evidence = this one alone */
	enum evidence_form form;
	skr_status (*ask)(const struct snp_question *question, struct snp_answer *ret);
} providers[] = {
    {"snp-configfs", "snp", "snp-configfs", EVIDENCE_SNP, snp_from_tsm},
    {"snp-ioctl", "snp", "snp-ioctl", EVIDENCE_SNP, snp_from_sev_guest},
    {"snp-ioctl-5", "snp", "snp-ioctl", EVIDENCE_SNP, snp_from_sev},
    {"tdx-configfs", "tdx", "tdx", EVIDENCE_TDX, tdx_from_tsm},
};
#define PROVIDERS (sizeof(providers) / sizeof(providers[0]))

static bool is(const char *setting, const char *value)
{
	return strcmp(setting, value) == 0;
}

/* Failures after which another interface may still do: the firmware has not been asked. */
static bool may_try_next(int failure)
{
	return failure == 100 || failure == 101 || failure == 21 || failure == 122;
}

/* What was learnt from the interfaces that could not be used: who is absent, and the first that refuses. */
struct search_for_tee {
	struct buf absent;
	struct status_record refused;
};
#define auto_search_for_tee __attribute__((cleanup(search_for_tee_done))) struct search_for_tee
static void search_for_tee_done(struct search_for_tee *search)
{
	buf_done(&search->absent);
}

static skr_status remember(struct search_for_tee *search, skr_status status)
{
	if (status.failure == 100)
		return buf_printf(&search->absent, "%s%s", search->absent.len ? "; " : "", status_message());
	if (!search->refused.failure)
		search->refused = *status_last();
	return OK;
}

/* Asks the first interface that can be used. `ret_provider` stays NULL if there is none. */
static skr_status ask_provider(const char *setting, const struct snp_question *question, struct search_for_tee *found,
                               const struct provider **ret_provider, struct snp_answer *ret)
{
	for (size_t i = 0; i < PROVIDERS; i++) {
		if (!is(setting, "auto") && !is(setting, providers[i].family) && !is(setting, providers[i].setting))
			continue;
		skr_status status = providers[i].ask(question, ret);
		if (!status.failure) {
			*ret_provider = &providers[i];
			return OK;
		}
		if (!may_try_next(status.failure))
			return status;
		TRY(remember(found, status));
	}
	return OK;
}

/* The failure of the first interface that is there but refuses tells more than that others are absent. */
static skr_status no_tee(const struct search_for_tee *found)
{
	if (found->refused.failure)
		return status_adopt(&found->refused);
	return FAIL(100, "%s", buf_text(&found->absent));
}

/* --- Endorsements: the first source that has some for the report's TCB --- */

struct search {
	struct azure *azure;
	const struct snp_report *report;
	const struct snp_answer *answer;
	const struct security_context *context;
};

/* Each leaves `ret` all zero when it has nothing. */
static skr_status from_report(const struct search *search, struct endorsement *ret)
{
	return endorsement_from_table(search->answer->table.data, search->answer->table.len, search->report, ret);
}

static skr_status from_security_context(const struct search *search, struct endorsement *ret)
{
	if (!search->context->amd_certificates)
		return OK;
	return endorsement_from_thim(search->context->amd_certificates, "security-context", ret);
}

static skr_status from_thim(const struct search *search, struct endorsement *ret)
{
	auto_json *answer = NULL;

	TRY(imds_amd_certification(search->azure, &answer));
	return endorsement_from_thim(answer, "thim", ret);
}

static const struct source {
	const char *setting;
	skr_status (*find)(const struct search *search, struct endorsement *ret);
} sources[] = {
    {"report", from_report},
    {"security-context", from_security_context},
    {"thim", from_thim},
};
#define SOURCES (sizeof(sources) / sizeof(sources[0]))

/* A source whose endorsements are for another TCB is remembered: the next one may be fresher. */
static skr_status find_endorsement(const struct search *search, struct endorsement *ret)
{
	const char *setting = search->azure->token->endorsements;
	struct status_record stale = {0};

	for (size_t i = 0; i < SOURCES; i++) {
		auto_endorsement found = {0};
		if (!is(setting, "auto") && !is(setting, sources[i].setting))
			continue;
		skr_status status = sources[i].find(search, &found);
		if (!status.failure && !found.chain)
			continue;
		if (!status.failure)
			status = endorsement_matches(&found, search->report);
		if (!status.failure) {
			*ret = found;
			found = (struct endorsement){0};
			return OK;
		}
		if (status.failure == 141 && stale.failure)
			return FAIL(142, "%.250s; no newer ones: %.250s", stale.sentence, status_message());
		if (status.failure != 142)
			return status;
		stale = *status_last();
	}
	if (stale.failure)
		return status_adopt(&stale);
	return FAIL(118, "endorsements = %s gives none", setting);
}

/* --- One report --- */

/*
 * Extended reports are asked for only where no certificates are at hand: nobody has written down what Azure's hosts
 * answer to that, and an answer the driver does not expect makes it shut its channel until the machine restarts.
 */
static bool want_table(const char *setting, const struct security_context *context)
{
	return is(setting, "report") || (is(setting, "auto") && !context->amd_certificates);
}

static skr_status check_report_data(const struct snp_question *question, const uint8_t report_data[64])
{
	if (memcmp(report_data, question->report_data, sizeof(question->report_data)) != 0)
		return FAIL(115, "the report carries other report data than we asked for");
	return OK;
}

/* No reason to refuse: whether such a machine gets the key is for the key's release policy to say. */
static void warn_of_debug(bool debug)
{
	if (debug)
		log_line(LOG_LEVEL_WARNING, "this guest's policy lets its host debug it: its memory is no secret");
}

/* Finds the chain for an SNP report, and verifies the report with it. */
static skr_status endorse(const struct search *search, const char **ret_source, struct buf *ret_chain_pem)
{
	auto_endorsement endorsement = {0};

	TRY(find_endorsement(search, &endorsement));
	TRY(snp_report_verify(search->report, endorsement.chain, time(NULL)));
	warn_of_debug(search->report->policy & SNP_POLICY_DEBUG);
	*ret_source = endorsement.source;
	ret_chain_pem->limit = CHAIN_LIMIT;
	return endorsement_print(&endorsement, ret_chain_pem);
}

static skr_status conclude_snp(struct azure *azure, const struct snp_question *question, struct snp_answer *answer,
                               const struct security_context *context, struct evidence *ret)
{
	struct snp_report report;
	struct search search = {azure, &report, answer, context};

	TRY(snp_report_parse(answer->report.data, answer->report.len, &report));
	TRY(check_report_data(question, report.report_data));
	TRY(endorse(&search, &ret->endorsement_source, &ret->chain_pem));
	buf_move(&ret->report, &answer->report);
	return OK;
}

static skr_status check_quote(const struct buf *bytes, struct td_quote *ret)
{
	TRY(td_quote_parse(bytes->data, bytes->len, ret));
	TRY(td_quote_verify(bytes->data, bytes->len, time(NULL)));
	warn_of_debug(ret->debug);
	return OK;
}

static skr_status conclude_tdx(const struct snp_question *question, struct snp_answer *answer, struct evidence *ret)
{
	struct td_quote quote;

	TRY(check_quote(&answer->report, &quote));
	TRY(check_report_data(question, quote.report_data));
	ret->endorsement_source = "quote";
	buf_move(&ret->report, &answer->report);
	return OK;
}

/* --- Behind a paravisor --- */

/* The paravisor's SNP report: only the metadata service has its chip's certificates. */
static skr_status endorse_paravisor_snp(struct azure *azure, struct evidence *ret, struct buf *ret_chain_pem)
{
	const struct hcl_report *hcl = &ret->vtpm.hcl;
	static const struct snp_answer no_table;
	static const struct security_context no_context;
	struct snp_report report;
	const struct search search = {azure, &report, &no_table, &no_context};

	TRY(snp_report_parse(hcl->hardware, SNP_REPORT_SIZE, &report));
	return endorse(&search, &ret->endorsement_source, ret_chain_pem);
}

/* The host turns the paravisor's TDREPORT into a quote; it must be of that report. */
static skr_status quote_paravisor(struct azure *azure, struct evidence *ret, struct buf *ret_quote)
{
	const uint8_t *report = ret->vtpm.hcl.hardware;
	struct td_quote quote;

	ret_quote->limit = TD_QUOTE_LIMIT;
	TRY(imds_td_quote(azure, report, TD_REPORT_SIZE, ret_quote));
	TRY(check_quote(ret_quote, &quote));
	if (memcmp(quote.report_data, report + TD_REPORT_DATA, sizeof(quote.report_data)) != 0)
		return FAIL(115, "the quote is for another TDREPORT than the one sent");
	ret->endorsement_source = "quote";
	return OK;
}

/* Fills in what the vTPM does not have: the hardware's word. */
static skr_status vouch(struct azure *azure, struct evidence *ret, struct buf *ret_hardware, struct buf *ret_chain_pem)
{
	switch (ret->vtpm.hcl.isolation) {
	case ISOLATION_SNP:
		ret_hardware->limit = SNP_REPORT_SIZE;
		TRY(buf_append(ret_hardware, ret->vtpm.hcl.hardware, SNP_REPORT_SIZE));
		return endorse_paravisor_snp(azure, ret, ret_chain_pem);
	case ISOLATION_TDX:
		return quote_paravisor(azure, ret, ret_hardware);
	case ISOLATION_TRUSTED_LAUNCH:
		ret->endorsement_source = "none";
		break;
	}
	return OK;
}

/* One row per kind of machine that has a vTPM. */
static const struct vtpm_kind {
	const char *setting;
	enum vtpm_want want;
} vtpm_kinds[] = {
    {"azure-cvm", VTPM_CONFIDENTIAL},
    {"azure-cvm-direct", VTPM_REPORT_ALONE},
    {"trusted-launch", VTPM_TRUSTED_LAUNCH},
};
#define VTPM_KINDS (sizeof(vtpm_kinds) / sizeof(vtpm_kinds[0]))

static skr_status collect_vtpm(struct azure *azure, const struct vtpm_kind *kind, const uint8_t user_data[64],
                               struct evidence *ret)
{
	auto_evidence evidence = {.provider = kind->setting, .form = EVIDENCE_GUEST};
	struct guest_evidence *guest = &evidence.vtpm.evidence;

	TRY(vtpm_collect(azure->config->tpm, kind->want, user_data, azure->deadline, &evidence.vtpm));
	if (kind->want == VTPM_REPORT_ALONE) {
		bool snp = evidence.vtpm.hcl.isolation == ISOLATION_SNP;
		evidence.form = snp ? EVIDENCE_DIRECT_SNP : EVIDENCE_DIRECT_TDX;
		TRY(vouch(azure, &evidence, &evidence.report, &evidence.chain_pem));
	} else {
		TRY(vouch(azure, &evidence, &guest->hardware, &guest->chain_pem));
	}
	*ret = evidence;
	evidence = (struct evidence){0};
	return OK;
}

/* --- One piece of evidence --- */

struct quest {
	struct azure *azure;
	uint8_t report_data[64]; /* SHA-256 of the runtime data, zeros */
	uint8_t user_data[64];   /* SHA-512 of it */
	struct security_context context;
};
#define auto_quest __attribute__((cleanup(quest_done))) struct quest
static void quest_done(struct quest *quest)
{
	security_context_done(&quest->context);
}

/* Of a machine that chooses its own report data. Without one `ret` stays all zero. */
static skr_status collect_own(const struct quest *quest, struct search_for_tee *found, struct evidence *ret)
{
	const char *setting = quest->azure->token->evidence;
	auto_snp_answer answer = {0};
	auto_evidence evidence = {0};
	const struct provider *provider = NULL;
	struct snp_question question = {
	    .want_table = want_table(quest->azure->token->endorsements, &quest->context),
	    .deadline = quest->azure->deadline,
	};

	memcpy(question.report_data, quest->report_data, sizeof(question.report_data));
	TRY(ask_provider(setting, &question, found, &provider, &answer));
	if (!provider)
		return OK;
	evidence.provider = provider->name;
	evidence.form = provider->form;
	if (provider->form == EVIDENCE_SNP)
		TRY(conclude_snp(quest->azure, &question, &answer, &quest->context, &evidence));
	else
		TRY(conclude_tdx(&question, &answer, &evidence));
	*ret = evidence;
	evidence = (struct evidence){0};
	return OK;
}

static skr_status collect_once(const struct quest *quest, struct evidence *ret)
{
	const char *setting = quest->azure->token->evidence;
	auto_search_for_tee found = {.absent = BUF(2048)};

	for (size_t i = 0; i < VTPM_KINDS; i++)
		if (is(setting, vtpm_kinds[i].setting))
			return collect_vtpm(quest->azure, &vtpm_kinds[i], quest->user_data, ret);
	TRY(collect_own(quest, &found, ret));
	if (ret->provider)
		return OK;
	if (!is(setting, "auto"))
		return no_tee(&found);
	skr_status status = collect_vtpm(quest->azure, &vtpm_kinds[0], quest->user_data, ret);
	if (!may_try_next(status.failure))
		return status;
	TRY(remember(&found, status));
	return no_tee(&found);
}

/* Failures that a fresh report may cure. */
static bool cured_by_another(int failure)
{
	return failure == 115 || failure == 142;
}

skr_status evidence_collect(struct azure *azure, const void *runtime_data, size_t len, struct evidence *ret)
{
	auto_quest quest = {.azure = azure};

	if (is(azure->token->evidence, "sidecar")) {
		*ret = (struct evidence){.form = EVIDENCE_NONE, .provider = "sidecar", .endorsement_source = "none"};
		return OK;
	}
	TRY(sha256(runtime_data, len, quest.report_data));
	if (!EVP_Q_digest(ossl, "SHA2-512", NULL, runtime_data, len, quest.user_data, NULL))
		return ossl_fail(599, "SHA-512");
	TRY(security_context_read(&quest.context));
	for (int round = 1;; round++) {
		skr_status status = collect_once(&quest, ret);
		if (!status.failure)
			break;
		if (!cured_by_another(status.failure) || round == ROUNDS)
			return status;
		log_line(LOG_LEVEL_WARNING, "SKR-%03d %s; asking for a new report", status.failure, status_message());
	}
	if (ret->form == EVIDENCE_SNP)
		buf_move(&ret->uvm_endorsement, &quest.context.reference_info);
	return OK;
}

static const char *isolation_name(enum isolation isolation)
{
	static const char *const names[] = {"Trusted Launch", "AMD SEV-SNP", "Intel TDX"};

	return names[isolation];
}

const char *evidence_tee(const struct evidence *evidence)
{
	switch (evidence->form) {
	case EVIDENCE_SNP:
		return isolation_name(ISOLATION_SNP);
	case EVIDENCE_TDX:
		return isolation_name(ISOLATION_TDX);
	case EVIDENCE_GUEST:
		return isolation_name(evidence->vtpm.evidence.isolation);
	case EVIDENCE_DIRECT_SNP:
	case EVIDENCE_DIRECT_TDX:
		return isolation_name(evidence->vtpm.hcl.isolation);
	case EVIDENCE_NONE:
		break;
	}
	return NULL;
}

void evidence_describe(const struct evidence *evidence, char *out, size_t size)
{
	const struct vtpm_machine *vtpm = &evidence->vtpm;

	switch (evidence->form) {
	case EVIDENCE_NONE:
		snprintf(out, size, "%s: it attests, this machine does not", evidence->provider);
		return;
	case EVIDENCE_SNP:
		snprintf(out, size, "%s, endorsements from %s%s", evidence->provider, evidence->endorsement_source,
		         evidence->uvm_endorsement.len ? ", utility VM endorsed" : ", no utility VM endorsement");
		return;
	case EVIDENCE_TDX:
		snprintf(out, size, "%s, quote of %zu bytes", evidence->provider, evidence->report.len);
		return;
	case EVIDENCE_GUEST:
		snprintf(out, size, "%s (%s), endorsements from %s, %u TPM commands%s", evidence->provider,
		         isolation_name(vtpm->evidence.isolation), evidence->endorsement_source,
		         vtpm->transport.commands, vtpm->evidence.event_log.len ? "" : ", no event log");
		return;
	case EVIDENCE_DIRECT_SNP:
	case EVIDENCE_DIRECT_TDX:
		snprintf(out, size, "%s (%s), endorsements from %s", evidence->provider,
		         isolation_name(vtpm->hcl.isolation), evidence->endorsement_source);
		return;
	}
}
