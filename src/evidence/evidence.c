/* SPDX-License-Identifier: Apache-2.0 */
#include "evidence/evidence.h"

#include "azure/imds.h"
#include "base/log.h"
#include "base/ossl.h"
#include "evidence/endorsement.h"
#include "evidence/security_context.h"
#include "evidence/snp.h"
#include "evidence/snp_report.h"
#include "evidence/tsm.h"

#include <string.h>
#include <time.h>

#define CHAIN_LIMIT (64 * 1024)
#define ROUNDS      2 /* one fresh report, for a report that is not ours or a TCB that moved */

void evidence_done(struct evidence *evidence)
{
	buf_done(&evidence->report);
	buf_done(&evidence->chain_pem);
	buf_done(&evidence->uvm_endorsement);
	*evidence = (struct evidence){0};
}

/*
 * The interfaces in the order in which `auto` tries them. /dev/sev comes last: the name is also that of a host's
 * device.
 */
static const struct provider {
	const char *name;
	const char *setting; /* evidence = this one alone; auto and snp: all */
	skr_status (*ask)(const struct snp_question *question, struct snp_answer *ret);
} providers[] = {
    {"snp-configfs", "snp-configfs", snp_from_tsm},
    {"snp-ioctl", "snp-ioctl", snp_from_sev_guest},
    {"snp-ioctl-5", "snp-ioctl", snp_from_sev},
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

/*
 * Asks the first interface that can be used. If none can, the failure of the first that is there but refuses tells more
 * than that others are absent.
 */
static skr_status ask_provider(const char *setting, const struct snp_question *question, const char **ret_name,
                               struct snp_answer *ret)
{
	struct status_record refused = {0};
	auto_buf absent = BUF(1024);

	for (size_t i = 0; i < PROVIDERS; i++) {
		if (!is(setting, "auto") && !is(setting, "snp") && !is(setting, providers[i].setting))
			continue;
		skr_status status = providers[i].ask(question, ret);
		if (!status.failure) {
			*ret_name = providers[i].name;
			return OK;
		}
		if (!may_try_next(status.failure))
			return status;
		if (status.failure == 100)
			TRY(buf_printf(&absent, "%s%s", absent.len ? "; " : "", status_message()));
		else if (!refused.failure)
			refused = *status_last();
	}
	if (refused.failure)
		return status_adopt(&refused);
	return FAIL(100, "%s", buf_text(&absent));
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

static skr_status check_report_data(const struct snp_question *question, const struct snp_report *report)
{
	if (memcmp(report->report_data, question->report_data, sizeof(report->report_data)) != 0)
		return FAIL(115, "the report carries other report data than we asked for");
	return OK;
}

/* No reason to refuse: whether such a machine gets the key is for the key's release policy to say. */
static void warn_of_debug(const struct snp_report *report)
{
	if (report->policy & SNP_POLICY_DEBUG)
		log_line(LOG_LEVEL_WARNING, "this guest's policy lets its host debug it: its memory is no secret");
}

static skr_status collect_once(struct azure *azure, const uint8_t report_data[64],
                               const struct security_context *context, struct evidence *ret)
{
	auto_snp_answer answer = {0};
	auto_endorsement endorsement = {0};
	auto_evidence evidence = {.chain_pem = BUF(CHAIN_LIMIT)};
	struct snp_report report;
	struct snp_question question = {
	    .want_table = want_table(azure->token->endorsements, context),
	    .deadline = azure->deadline,
	};

	memcpy(question.report_data, report_data, sizeof(question.report_data));
	TRY(ask_provider(azure->token->evidence, &question, &evidence.provider, &answer));
	TRY(snp_report_parse(answer.report.data, answer.report.len, &report));
	TRY(check_report_data(&question, &report));

	struct search search = {azure, &report, &answer, context};
	TRY(find_endorsement(&search, &endorsement));
	TRY(snp_report_verify(&report, endorsement.chain, time(NULL)));
	warn_of_debug(&report);

	evidence.endorsement_source = endorsement.source;
	TRY(endorsement_print(&endorsement, &evidence.chain_pem));
	buf_move(&evidence.report, &answer.report);
	*ret = evidence;
	evidence = (struct evidence){0};
	return OK;
}

skr_status evidence_collect(struct azure *azure, const void *runtime_data, size_t len, struct evidence *ret)
{
	uint8_t report_data[64] = {0};
	auto_security_context context = {0};

	TRY(sha256(runtime_data, len, report_data));
	TRY(security_context_read(&context));
	for (int round = 1;; round++) {
		skr_status status = collect_once(azure, report_data, &context, ret);
		if (!status.failure)
			break;
		if ((status.failure != 115 && status.failure != 142) || round == ROUNDS)
			return status;
		log_line(LOG_LEVEL_WARNING, "SKR-%03d %s; asking for a new report", status.failure, status_message());
	}
	buf_move(&ret->uvm_endorsement, &context.reference_info);
	return OK;
}
