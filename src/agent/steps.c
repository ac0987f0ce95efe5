/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/steps.h"

#include "agent/facts.h"
#include "agent/handover.h"
#include "azure/attestation.h"
#include "azure/identity.h"
#include "azure/vault.h"
#include "base/ossl.h"
#include "evidence/attest.h"
#include "http/http.h"
#include "jose/jwk.h"
#include "jose/jws.h"
#include "jose/keywrap.h"

#include <stdio.h>
#include <string.h>

#define ACCESS_TOKEN_LIMIT (32 * 1024)
#define RUNTIME_DATA_LIMIT (8 * 1024)
#define AUDIENCES_MAX      8

/* One access token per audience: a vault's never goes to a Managed HSM. */
struct access {
	struct buf audience, token;
	const char *source;
};

/* What the steps hand on to each other. */
struct course {
	const struct steps_errand *errand;
	struct azure azure;
	struct buf runtime_data;
	struct evidence evidence;
	struct buf attestation;
	bool attested_again;
	struct access access[AUDIENCES_MAX];
	size_t access_count;
};
#define auto_course __attribute__((cleanup(course_done))) struct course
static void course_done(struct course *course)
{
	buf_done(&course->runtime_data);
	evidence_done(&course->evidence);
	buf_done(&course->attestation);
	for (size_t i = 0; i < course->access_count; i++) {
		buf_done(&course->access[i].audience);
		buf_done(&course->access[i].token);
	}
}

/* Takes `facts`. */
static skr_status tell_facts(const struct course *course, json *facts)
{
	auto_agent_message message = {.type = AGENT_FACTS, .facts = facts};

	return course->errand->tell(&message, course->errand->with);
}

/* ---- the steps, each with one line of detail for people ---- */

static skr_status evidence_step(struct course *course, char *detail, size_t size)
{
	struct evidence *evidence = &course->evidence;

	TRY(evidence_collect(&course->azure, course->runtime_data.data, course->runtime_data.len, evidence));
	evidence_describe(evidence, detail, size);
	TRY(tell_facts(course, facts_of_evidence(evidence)));
	if (evidence->form == EVIDENCE_DIRECT_SNP || evidence->form == EVIDENCE_DIRECT_TDX)
		return FAIL(145,
		            "evidence = %s: the vault would wrap the key to the vTPM's endorsement key, which may not "
		            "decrypt such a thing",
		            course->azure.token->evidence);
	return OK;
}

/* "8 h", "45 min", "30 s" */
static void duration_text(int64_t seconds, char out[32])
{
	if (seconds >= 2 * 3600)
		snprintf(out, 32, "%lld h", (long long)(seconds + 1800) / 3600);
	else if (seconds >= 120)
		snprintf(out, 32, "%lld min", (long long)seconds / 60);
	else
		snprintf(out, 32, "%lld s", (long long)seconds);
}

static skr_status attest(struct course *course)
{
	TRY(evidence_attest(&course->azure, &course->runtime_data, &course->evidence, &course->attestation));
	TRY(tell_facts(course, facts_of_request("request-attestation", &course->azure)));
	return tell_facts(course, facts_of_attestation(&course->attestation));
}

static skr_status attestation_step(struct course *course, char *detail, size_t size)
{
	char life[32];

	if (course->evidence.form == EVIDENCE_NONE) {
		snprintf(detail, size, "left to the sidecar");
		return OK;
	}
	TRY(attest(course));
	const struct buf *token = &course->attestation;
	duration_text(attestation_expiry(buf_text(token), token->len) - wall_clock(), life);
	snprintf(detail, size, "token %zu.%zu KiB, valid %s", token->len / 1024, token->len % 1024 * 10 / 1024, life);
	return OK;
}

static struct access *access_find(struct course *course, const char *audience)
{
	for (size_t i = 0; i < course->access_count; i++)
		if (strcmp(buf_text(&course->access[i].audience), audience) == 0)
			return &course->access[i];
	return NULL;
}

static skr_status access_renew(struct course *course, struct access *access)
{
	auto_buf token = BUF(ACCESS_TOKEN_LIMIT);

	TRY(identity_token(&course->azure, buf_text(&access->audience), &token, &access->source));
	buf_move(&access->token, &token);
	return OK;
}

static skr_status access_for(struct course *course, const struct key_config *key, struct access **ret_access)
{
	auto_buf audience = BUF(512);

	TRY(vault_audience(key, &audience));
	struct access *access = access_find(course, buf_text(&audience));
	if (!access) {
		if (course->access_count == AUDIENCES_MAX)
			return FAIL(5, "keys of more than %d kinds of vault in one token", AUDIENCES_MAX);
		access = &course->access[course->access_count++];
		buf_move(&access->audience, &audience);
		TRY(access_renew(course, access));
	}
	*ret_access = access;
	return OK;
}

static skr_status identity_step(struct course *course, char *detail, size_t size)
{
	const struct token_config *token = course->errand->token;
	struct access *access = NULL;

	for (size_t i = 0; i < token->key_count; i++)
		TRY(access_for(course, &token->keys[i], &access));
	snprintf(detail, size, "%s", access ? access->source : "no keys, nothing to ask for");
	return OK;
}

static bool attestation_expired(const struct course *course)
{
	int64_t expiry = attestation_expiry(buf_text(&course->attestation), course->attestation.len);

	return expiry != 0 && expiry <= wall_clock();
}

/* Once per login, if slow retries outlived the token. */
static skr_status attest_again(struct course *course)
{
	if (course->attested_again)
		return FAIL(324, "the attestation token expired twice before the vault took it");
	course->attested_again = true;
	return attest(course);
}

static skr_status release_key(struct course *course, const struct key_config *key, struct buf *ret_jws)
{
	struct access *access = NULL;
	bool renewed = false;

	for (;;) {
		if (attestation_expired(course))
			TRY(attest_again(course));
		TRY(access_for(course, key, &access));
		skr_status status =
		    vault_release(&course->azure, key, buf_text(&access->token), buf_text(&course->attestation),
		                  course->errand->request->nonce, ret_jws);
		if (status.failure == 330 && !renewed) {
			renewed = true;
			TRY(access_renew(course, access));
			continue;
		}
		if (status.failure == 332 && attestation_expired(course) && !course->attested_again)
			continue;
		return status;
	}
}

static skr_status tell_key(const struct course *course, size_t index, struct buf *jws)
{
	auto_agent_message message = {.type = AGENT_KEY, .index = (int64_t)index};

	buf_move(&message.jws, jws);
	return course->errand->tell(&message, course->errand->with);
}

/* "https://…/keys/NAME/VERSION" of the answer, unverified and only for the eye: the module verifies. */
static void version_text(const struct buf *jws, char out[48])
{
	auto_jws parsed = {0};

	snprintf(out, 48, "an unknown version");
	if (jws_parse(buf_text(jws), jws->len, &parsed).failure || jws_payload(&parsed).failure)
		return;
	const json *key = json_get(json_get(json_get(parsed.payload, "response"), "key"), "key");
	const char *kid = json_string_or_null(key, "kid");
	const char *slash = kid ? strrchr(kid, '/') : NULL;
	if (slash)
		snprintf(out, 48, "version %.32s", slash + 1);
}

/* ---- a transport key of the TPM ---- */

static skr_status tell_transport(const struct course *course)
{
	auto_agent_message message = {.type = AGENT_TRANSPORT, .size = GUEST_TRANSPORT};

	snprintf(message.kid, sizeof(message.kid), "%s", GUEST_TRANSPORT_ID);
	return course->errand->tell(&message, course->errand->with);
}

/* The module verified the JWS: its outer layer is opened by the TPM, and sealed to the module's own transport key. */
static skr_status open_for_module(struct course *course, size_t index)
{
	const struct steps_errand *errand = course->errand;
	const char *enc = errand->token->enc;
	auto_agent_open asked = {.index = 0};
	auto_agent_message answer = {
	    .type = AGENT_OPENED, .index = (int64_t)index, .wrapped = BUF(PROTOCOL_OPEN_LIMIT)};
	auto_buf kek = BUF(GUEST_TRANSPORT);
	auto_pkey *transport = NULL;

	skr_status status = errand->hear(&asked, errand->with);
	if (status.failure)
		return status_prefix(status, "waiting for the module to ask that key %zu be opened", index);
	if (asked.index != (int64_t)index || asked.wrapped.len != GUEST_TRANSPORT)
		return FAIL(504, "%zu bytes of key %lld to be opened, not %d of key %zu", asked.wrapped.len,
		            (long long)asked.index, GUEST_TRANSPORT, index);
	TRY(jwk_public_key(errand->request->transport_key, &transport));
	TRY(vtpm_transport_open(course->azure.config->tpm, &course->evidence.vtpm.transport, keywrap_digest(enc),
	                        asked.wrapped.data, asked.wrapped.len, course->errand->deadline, &kek));
	TRY(keywrap_seal_kek(enc, transport, kek.data, kek.len, &answer.wrapped));
	return errand->tell(&answer, errand->with);
}

/* ---- the last step ---- */

static skr_status tell_request(const struct course *course, const struct key_config *key)
{
	char name[PROTOCOL_FACT_NAME_SIZE];

	snprintf(name, sizeof(name), "request-release.%s", key->name);
	return tell_facts(course, facts_of_request(name, &course->azure));
}

/* "keys/www -> version 0123…", one after the other. */
static void note_version(const struct key_config *key, const char *version, char *detail, size_t size)
{
	size_t at = strlen(detail);

	snprintf(detail + at, size - at, "%skeys/%s -> %s", at ? ", " : "", key->name, version);
}

static skr_status release_from_vault(struct course *course, size_t index, char *detail, size_t size)
{
	const struct key_config *key = &course->errand->token->keys[index];
	auto_buf jws = BUF(JWS_LIMIT);
	char version[48];

	TRY(release_key(course, key, &jws));
	TRY(tell_request(course, key));
	version_text(&jws, version);
	TRY(tell_key(course, index, &jws));
	if (course->evidence.form == EVIDENCE_GUEST)
		TRY(open_for_module(course, index));
	note_version(key, version, detail, size);
	return OK;
}

/* The version in the vault's own view of the key; NULL: there is none, the newest. Borrowed. */
static const char *version_of(const json *bundle)
{
	const char *kid = json_string_or_null(json_get(bundle, "key"), "kid");
	const char *slash = kid ? strrchr(kid, '/') : NULL;

	return slash && slash[1] && !slash[1 + strspn(slash + 1, "0123456789abcdefABCDEF")] ? slash + 1 : NULL;
}

static skr_status release_from_sidecar(struct course *course, size_t index, char *detail, size_t size)
{
	const struct key_config *key = &course->errand->token->keys[index];
	auto_agent_message message = {.type = AGENT_HANDED, .index = (int64_t)index};
	struct access *access = NULL;

	TRY(access_for(course, key, &access));
	skr_status status = vault_key(&course->azure, key, buf_text(&access->token), &message.bundle);
	if (status.failure == 330) { /* once, with a fresh token */
		TRY(access_renew(course, access));
		status = vault_key(&course->azure, key, buf_text(&access->token), &message.bundle);
	}
	TRY(status);
	TRY(tell_request(course, key));
	struct key_config of_version =
	    *key; /* which the sidecar is to release, though a newer one may come meanwhile */
	of_version.version = version_of(message.bundle);
	TRY(handover_seal(&course->azure, &of_version, course->errand->request->transport_key, &message.wrapped));
	TRY(course->errand->tell(&message, course->errand->with));
	note_version(key, "by the sidecar", detail, size);
	return OK;
}

static skr_status release_step(struct course *course, char *detail, size_t size)
{
	bool sidecar = course->evidence.form == EVIDENCE_NONE;

	if (course->evidence.form == EVIDENCE_GUEST)
		TRY(tell_transport(course));
	for (size_t i = 0; i < course->errand->token->key_count; i++)
		TRY(sidecar ? release_from_sidecar(course, i, detail, size)
		            : release_from_vault(course, i, detail, size));
	return OK;
}

/* ---- the course ---- */

static const struct step {
	const char *name;
	skr_status (*run)(struct course *course, char *detail, size_t size);
} steps[] = {
    {"evidence", evidence_step},
    {"attestation", attestation_step},
    {"identity", identity_step}, /* behind attestation: access tokens live shortest */
    {"release", release_step},
};

static skr_status step_run(struct course *course, const struct step *step)
{
	const struct steps_errand *errand = course->errand;
	struct agent_message begin = {.type = AGENT_STEP}, done = {.type = AGENT_DONE};
	int64_t began = monotonic_ms();

	snprintf(begin.name, sizeof(begin.name), "%s", step->name);
	snprintf(done.name, sizeof(done.name), "%s", step->name);
	TRY(errand->tell(&begin, errand->with));
	skr_status status = step->run(course, done.detail, sizeof(done.detail));
	if (status.failure) {
		if (!status_last()->step[0])
			snprintf(status_amend()->step, sizeof(status_amend()->step), "%s", step->name);
		return status;
	}
	done.ms = monotonic_ms() - began;
	return errand->tell(&done, errand->with);
}

skr_status steps_run(const struct steps_errand *errand)
{
	auto_http *http = NULL;
	auto_course course = {.errand = errand, .runtime_data = BUF(RUNTIME_DATA_LIMIT), .attestation = BUF(JWT_LIMIT)};

	TRY(runtime_data_print(errand->request->transport_key, &course.runtime_data));
	TRY(http_open(errand->config, &http));
	course.azure = (struct azure){
	    .config = errand->config, .token = errand->token, .http = http, .deadline = errand->deadline};
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		TRY(step_run(&course, &steps[i]));
	return OK;
}
