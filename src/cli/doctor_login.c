/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor.h"

#include "base/base64.h"
#include "jose/jwk.h"

#include <string.h>
#include <time.h>

void outcome_done(struct outcome *outcome)
{
	release_done(&outcome->release);
}

/* The step that is under way. */
struct progress {
	struct visit *visit;
	char step[24];
	int64_t began;
};

static void show_progress(const struct release_step *step, void *with)
{
	struct progress *progress = with;

	if (step->ms < 0) {
		snprintf(progress->step, sizeof(progress->step), "%s", step->name);
		progress->began = monotonic_ms();
		visit_waiting(progress->visit, step->name);
		return;
	}
	visit_timed(progress->visit, VERDICT_GOOD, step->name, step->ms, "%s", step->detail);
	progress->step[0] = '\0';
}

static int64_t monotonic_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* One signature as a program would have it made, verified by the public half. `ret_us`: the signing alone. */
static skr_status sign_once(EVP_PKEY *key, int64_t *ret_us)
{
	static const uint8_t text[] = "skr-pkcs11 doctor";
	auto_md_ctx *signing = EVP_MD_CTX_new(), *verifying = EVP_MD_CTX_new();
	uint8_t signature[1024];
	size_t len = sizeof(signature);

	if (!signing || EVP_DigestSignInit_ex(signing, NULL, "SHA2-256", ossl, NULL, key, NULL) != 1)
		return ossl_fail(599, "preparing a signature");
	int64_t began = monotonic_us();
	if (EVP_DigestSign(signing, signature, &len, text, sizeof(text)) != 1)
		return ossl_fail(599, "a signature");
	*ret_us = monotonic_us() - began;
	if (!verifying || EVP_DigestVerifyInit_ex(verifying, NULL, "SHA2-256", ossl, NULL, key, NULL) != 1 ||
	    EVP_DigestVerify(verifying, signature, len, text, sizeof(text)) != 1)
		return ossl_fail(342, "its signature does not verify by its own public half");
	return OK;
}

static void show_signature(struct visit *v, const struct released_key *key)
{
	int64_t us = 0;

	if (!key->key || !(key->ops & KEY_OP_SIGN))
		return;
	if (!sign_once(key->key, &us).failure) {
		visit_timed(v, VERDICT_GOOD, "sign", (us + 500) / 1000, "%s with SHA-256: %lld us, verified",
		            key->config->label, (long long)us);
		return;
	}
	struct status_record record = *status_last();
	visit_failed(v, VERDICT_BAD, "sign", -1, &record, NULL);
}

static void show_keys(struct visit *v, const struct release *release)
{
	for (size_t i = 0; i < release->key_count; i++) {
		const struct released_key *key = &release->keys[i];
		auto_buf hash = BUF(2 * sizeof(key->public_key_sha256));
		visit_found(v, VERDICT_GOOD, "key", NULL, "%s", key->kid);
		if (key->key && !hex_encode(key->public_key_sha256, sizeof(key->public_key_sha256), &hash).failure)
			visit_more(v, "public_key_sha256", buf_text(&hash));
		show_signature(v, key);
	}
}

/* The key that a sentence is about ("key NAME: …"), else the only one or the first. */
static const struct key_config *key_named(const struct token_config *token, const char *sentence)
{
	for (size_t i = 0; i < token->key_count; i++) {
		size_t len = strlen(token->keys[i].name);
		const char *at = strstr(sentence, token->keys[i].name);
		if (at && strchr(":, ", at[len]))
			return &token->keys[i];
	}
	return token->key_count ? &token->keys[0] : NULL;
}

static const char *state_named(const char *sentence)
{
	static const struct {
		const char *words, *state;
	} states[] = {{"is the clock right", "clock"}, {"Multiple user assigned", "several"},
	              {"is disabled", "disabled"},     {"it expired", "expired"},
	              {"is valid only in", "not-yet"}, {"irewall", "firewall"},
	              {"expired", "expired"},          {"not yet valid", "not-yet"}};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (strstr(sentence, states[i].words))
			return states[i].state;
	return NULL;
}

static void show_failure(struct visit *v, const struct progress *progress, int64_t began, struct outcome *ret)
{
	const struct status_record record = *status_last();
	struct ailment ailment = {.config = v->config,
	                          .token = v->token,
	                          .key = key_named(v->token, record.sentence),
	                          .state = state_named(record.sentence)};
	const char *step = progress->step[0] ? progress->step : record.step[0] ? record.step : "login";
	int64_t ms = monotonic_ms() - (progress->step[0] ? progress->began : began);
	char fix[1024], object_id[64] = "";

	if (record.failure == 331 && ailment.key)
		doctor_object_id(v, ailment.key, object_id);
	ailment.object_id = object_id;
	ret->failure = record.failure;
	snprintf(ret->step, sizeof(ret->step), "%s", step);
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(v, VERDICT_BAD, step, ms, &record, fix);
}

void doctor_login(struct visit *v, struct outcome *ret)
{
	struct progress progress = {.visit = v};
	struct release_options options = {.deadline = deadline_in((int64_t)v->config->login_deadline * 1000),
	                                  .progress = show_progress,
	                                  .with = &progress};
	int64_t began = monotonic_ms();

	skr_status status = release_run(v->config, v->token, &options, &ret->release);
	if (status.failure)
		return show_failure(v, &progress, began, ret);
	show_keys(v, &ret->release);
	visit_timed(v, VERDICT_GOOD, "login", monotonic_ms() - began, "%zu key%s", ret->release.key_count,
	            ret->release.key_count == 1 ? "" : "s");
}
