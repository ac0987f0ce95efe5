/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor_key.h"

#include "azure/attestation.h"
#include "azure/identity.h"
#include "azure/service.h"
#include "azure/vault.h"
#include "cli/facts.h"
#include "jose/jwk.h"
#include "jose/jws.h"

#include <openssl/x509.h>

#include <stdlib.h>
#include <string.h>

#define CLOCK_TOLERANCE_S  60
#define SERVICE_ANSWER     (512 * 1024)
#define ACCESS_TOKEN_LIMIT (32 * 1024)

/* ---- saying what was found ---- */

/*
 * A failure of a look. After a login that went well it is only that this user cannot see something; what the login
 * failed of has been said.
 */
static void show_look(struct inquiry *q, const char *name, int64_t began, const struct key_config *key)
{
	const struct status_record record = *status_last();
	const struct ailment ailment = {
	    .config = q->visit->config, .token = q->visit->token, .key = key, .object_id = q->object_id};
	char fix[1024];

	if (q->outcome->failure && record.failure == q->outcome->failure)
		return;
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(q->visit, q->outcome->failure ? VERDICT_BAD : VERDICT_NOTE, name, monotonic_ms() - began, &record,
	             fix);
}

/* ---- attestation instance, clock ---- */

static const char *host_of(const char *url)
{
	const char *host = strstr(url, "://");

	return host ? host + 3 : url;
}

static void check_instance(struct inquiry *q)
{
	const char *host = host_of(q->visit->token->attestation);

	if (strncmp(host, "shared", 6) == 0)
		visit_found(
		    q->visit, VERDICT_WARNING, "instance",
		    "az attestation create -n NAME -g GROUP -l REGION    # then attestation = its attestUri, and "
		    "new keys with that authority",
		    "%.*s is shared by everybody in its region: its rules are Microsoft's and may change under "
		    "you",
		    (int)strcspn(host, ":/"), host);
}

/* It is never a step down by itself, but by the configuration it may be one. */
static void note_trusted_launch(struct visit *v)
{
	char fix[512];

	snprintf(fix, sizeof(fix), "sudoedit %s    # evidence = auto, if this is a confidential VM", v->config->path);
	visit_found(v, VERDICT_WARNING, "evidence", fix,
	            "trusted-launch: no hardware vouches for this machine, only its vTPM does");
}

/* Any answer at all will do: its Date is what we are after. */
static skr_status ask_for_date(struct inquiry *q)
{
	auto_buf url = BUF(512);
	auto_http_answer answer = {.status = 0};

	TRY(buf_printf(&url, "%s/certs", q->visit->token->attestation));
	return http_call(
	    q->look.http,
	    &(struct http_request){
	        .method = "GET", .url = buf_text(&url), .answer_limit = SERVICE_ANSWER, .limits = &http_limits_service},
	    deadline_within(q->look.azure.deadline, 10000), &answer);
}

static void check_clock(struct inquiry *q)
{
	int64_t ahead = 0, began = monotonic_ms();
	const char *host = host_of(q->visit->token->attestation);
	int len = (int)strcspn(host, "/");

	visit_waiting(q->visit, "clock");
	skr_status status = ask_for_date(q);
	bool known = http_clock(q->look.http, &ahead);
	if (status.failure && !known)
		return show_look(q, "attestation", began, NULL);
	if (llabs((long long)ahead) <= CLOCK_TOLERANCE_S) {
		visit_found(q->visit, VERDICT_GOOD, "clock", NULL, "within %lld s of %.*s", llabs((long long)ahead) + 1,
		            len, host);
		return;
	}
	(void)FAIL(19, "this machine's clock is %lld s %s that of %.*s", llabs((long long)ahead),
	           ahead > 0 ? "behind" : "ahead of", len, host);
	const struct status_record record = *status_last();
	const struct ailment ailment = {.config = q->visit->config};
	char fix[256];
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(q->visit, q->outcome->failure ? VERDICT_BAD : VERDICT_WARNING, "clock", -1, &record, fix);
}

/* ---- evidence, attestation ---- */

static void check_debugging(struct inquiry *q)
{
	bool debuggable = false;

	if (facts_debuggable(&q->look.evidence, &debuggable).failure)
		return;
	if (debuggable)
		visit_found(q->visit, VERDICT_WARNING, "debugging", NULL,
		            "this guest's policy lets its host debug it: its memory, released keys included, is no "
		            "secret; make the machine or container group anew, without debugging");
	else
		visit_found(q->visit, VERDICT_GOOD, "debugging", NULL,
		            "the host may not look into this guest's memory");
}

static void show_endorsements(struct inquiry *q)
{
	auto_json *document = json_object();

	if (facts_of_evidence(&q->look.evidence, document).failure)
		return;
	const json *root = json_get(json_get(document, "verification"), "root");
	const char *tcb = json_string_or_null(json_get(json_get(document, "report"), "reported_tcb"), "value");
	const char *whose = json_string_or_null(root, "value");
	if (whose)
		visit_found(q->visit, json_bool(root, "genuine", false) ? VERDICT_GOOD : VERDICT_NOTE, "endorsements",
		            NULL, "from %s%s%s, and they verify it; their root is %s",
		            q->look.evidence.endorsement_source, tcb ? ", for the report's TCB " : "", tcb ? tcb : "",
		            whose);
}

static void check_attestation_key(struct inquiry *q)
{
	const struct vtpm_machine *vtpm = &q->look.evidence.vtpm;
	const struct ailment ailment = {.config = q->visit->config, .token = q->visit->token};
	char fix[256];

	if (q->look.evidence.form != EVIDENCE_GUEST || vtpm->ak_certificate_state == AK_CERTIFICATE_GOOD)
		return;
	(void)FAIL(148, "%d days are left of the one by %s", vtpm->ak_certificate_days, vtpm->ak_certificate_issuer);
	const struct status_record record = *status_last();
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(q->visit, VERDICT_WARNING, "vTPM", -1, &record, fix);
}

/* Which steps the login did not come to, so that a look is all there is to say of them. */
static bool came_to(const struct outcome *outcome, const char *step)
{
	static const char *const order[] = {"evidence", "attestation", "identity", "release", "verify", "unwrap"};
	int reached = -1, wanted = -1;

	if (!outcome->failure)
		return true;
	for (int i = 0; i < (int)(sizeof(order) / sizeof(order[0])); i++) {
		reached = strcmp(order[i], outcome->step) == 0 ? i : reached;
		wanted = strcmp(order[i], step) == 0 ? i : wanted;
	}
	return reached >= wanted;
}

static bool has_evidence(struct inquiry *q)
{
	int64_t began = monotonic_ms();

	visit_waiting(q->visit, "evidence");
	skr_status status = look_at_evidence(&q->look);
	if (status.failure && came_to(q->outcome, "attestation")) {
		visit_found(q->visit, VERDICT_NOTE, "debugging", NULL,
		            "not looked at: the agent has evidence, this user has none (SKR-%03d %s); run this as root",
		            status.failure, failure_row(status.failure)->sentence);
		return false;
	}
	if (status.failure) {
		show_look(q, "evidence", began, NULL);
		return false;
	}
	if (!came_to(q->outcome, "evidence")) {
		char line[256];
		evidence_describe(&q->look.evidence, line, sizeof(line));
		visit_timed(q->visit, VERDICT_GOOD, "evidence", monotonic_ms() - began, "%s", line);
	}
	return true;
}

static void look_at_token(struct inquiry *q)
{
	int64_t began = monotonic_ms();

	visit_waiting(q->visit, "attestation");
	if (look_at_attestation(&q->look).failure)
		return show_look(q, "attestation", began, NULL);
	visit_timed(q->visit, VERDICT_GOOD, "attestation", monotonic_ms() - began, "%s gives a token",
	            q->visit->token->attestation);
	if (attestation_claims(buf_text(&q->look.attestation), q->look.attestation.len, &q->claims).failure)
		q->claims = NULL;
}

static void check_machine(struct inquiry *q)
{
	bool failed_of_it = q->outcome->failure && strcmp(q->outcome->step, "evidence") == 0;

	if (failed_of_it || !has_evidence(q))
		return;
	show_endorsements(q);
	check_attestation_key(q);
	check_debugging(q);
	if (!came_to(q->outcome, "attestation"))
		look_at_token(q);
}

/* ---- identity ---- */

/* Who it is, unverified: for the command that gives rights. */
static void read_object_id(const struct buf *token, char out[64])
{
	auto_jws parsed = {0};

	if (jws_parse(buf_text(token), token->len, &parsed).failure || jws_payload(&parsed).failure)
		return;
	const char *id = json_string_or_null(parsed.payload, "oid");
	if (id && strspn(id, "0123456789abcdefABCDEF-") == strlen(id))
		snprintf(out, 64, "%s", id);
}

static skr_status take_access(struct look *look, const struct key_config *key, struct buf *access, char object_id[64],
                              const char **ret_source)
{
	auto_buf audience = BUF(512);

	TRY(vault_audience(key, &audience));
	TRY(identity_token(&look->azure, buf_text(&audience), access, ret_source));
	read_object_id(access, object_id);
	return OK;
}

void doctor_object_id(struct visit *v, const struct key_config *key, char out[64])
{
	auto_look look = {.http = NULL};
	auto_buf access = BUF(ACCESS_TOKEN_LIMIT);
	const struct status_record before = *status_last();

	out[0] = '\0';
	if (look_open(v->config, v->token, &look).failure || take_access(&look, key, &access, out, NULL).failure)
		out[0] = '\0';
	*status_amend() = before;
}

static bool has_access(struct inquiry *q, const struct key_config *key, struct buf *access)
{
	int64_t began = monotonic_ms();
	const char *source = "";

	visit_waiting(q->visit, "identity");
	if (take_access(&q->look, key, access, q->object_id, &source).failure) {
		if (!q->identity_shown)
			show_look(q, "identity", began, key);
		q->identity_shown = true;
		return false;
	}
	if (!came_to(q->outcome, "identity") && !q->identity_shown)
		visit_timed(q->visit, VERDICT_GOOD, "identity", monotonic_ms() - began, "%s, object id %s", source,
		            q->object_id[0] ? q->object_id : "not told");
	q->identity_shown = true;
	return true;
}

/* ---- keys ---- */

/* Without an identity a vault that is there says 401. */
static void check_vault_answers(struct inquiry *q, const struct key_config *key)
{
	int64_t began = monotonic_ms();
	auto_json *bundle = NULL;

	visit_waiting(q->visit, "vault");
	skr_status status = vault_key(&q->look.azure, key, "none", &bundle);
	if (!status.failure || status.failure == 330)
		visit_timed(q->visit, VERDICT_GOOD, "vault", monotonic_ms() - began, "%s answers", key->host);
	else
		show_look(q, "vault", began, key);
}

static void remember_public_half(struct inquiry *q, const json *bundle)
{
	EVP_PKEY *key = NULL;

	if (q->key_count < CONFIG_KEYS_MAX && !jwk_public_key(json_get(bundle, "key"), &key).failure)
		q->keys[q->key_count++] = key;
}

static void check_key(struct inquiry *q, const struct key_config *key)
{
	auto_buf access = BUF(ACCESS_TOKEN_LIMIT);
	auto_json *bundle = NULL;
	int64_t began = monotonic_ms();

	if (!has_access(q, key, &access))
		return check_vault_answers(q, key);
	visit_waiting(q->visit, "vault");
	skr_status status = vault_key(&q->look.azure, key, buf_text(&access), &bundle);
	if (status.failure == 331)
		visit_found(q->visit, VERDICT_NOTE, "policy", NULL,
		            "key %s: this identity may not read it (permission \"get\"), so its release policy is not "
		            "looked at",
		            key->name);
	else if (status.failure)
		return show_look(q, "vault", began, key);
	else {
		remember_public_half(q, bundle);
		doctor_key(q, key, bundle);
	}
}

/* ---- the whole ---- */

static void inquiry_done(struct inquiry *q)
{
	look_done(&q->look);
	json_free(q->claims);
	for (size_t i = 0; i < q->key_count; i++)
		EVP_PKEY_free(q->keys[i]);
}

static void check_certificates(struct inquiry *q)
{
	const struct release *release = &q->outcome->release;
	EVP_PKEY *keys[CONFIG_KEYS_MAX];

	if (q->outcome->failure)
		return doctor_certificates(q->visit, q->keys, q->key_count);
	for (size_t i = 0; i < release->key_count; i++)
		keys[i] = release->keys[i].key;
	doctor_certificates(q->visit, keys, release->key_count);
}

void doctor_beyond(struct visit *v, const struct outcome *outcome)
{
	__attribute__((cleanup(inquiry_done))) struct inquiry q = {.visit = v, .outcome = outcome};
	bool sidecar = strcmp(v->token->evidence, "sidecar") == 0;

	if (outcome->failure)
		visit_heading(v, "token %s, what can still be looked at", v->token->label);
	if (!sidecar)
		check_instance(&q);
	if (strcmp(v->token->evidence, "trusted-launch") == 0)
		note_trusted_launch(v);
	if (look_open(v->config, v->token, &q.look).failure)
		return show_look(&q, "http", monotonic_ms(), NULL);
	check_clock(&q);
	if (!sidecar)
		check_machine(&q);
	for (size_t i = 0; i < v->token->key_count; i++)
		check_key(&q, &v->token->keys[i]);
	check_certificates(&q);
}
