/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/doctor_key.h"

#include "azure/policy.h"
#include "azure/service.h"

#include <string.h>
#include <strings.h>
#include <time.h>

#define DAY_S       86400
#define SOON_DAYS   30
#define UNMET_LIMIT (4 * 1024)

/* What the login failed of has been said: here it is a line beside others. */
static enum verdict verdict_of(const struct inquiry *q, int failure)
{
	return q->outcome->failure == failure ? VERDICT_NOTE : VERDICT_BAD;
}

static void unusable(struct inquiry *q, const struct key_config *key, int failure, const char *state,
                     const char *sentence)
{
	const struct ailment ailment = {
	    .config = q->visit->config, .token = q->visit->token, .key = key, .state = state};
	char fix[1024];

	(void)FAIL(failure, "key %s: %s", key->name, sentence);
	const struct status_record record = *status_last();
	if (q->outcome->failure == failure)
		return;
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(q->visit, verdict_of(q, failure), "key", -1, &record, fix);
}

static void day_text(int64_t at, char out[16])
{
	time_t seconds = (time_t)at;
	struct tm day;

	snprintf(out, 16, "?");
	if (gmtime_r(&seconds, &day))
		strftime(out, 16, "%Y-%m-%d", &day);
}

static void check_state(struct inquiry *q, const struct key_config *key, const json *bundle)
{
	const json *attributes = json_get(bundle, "attributes");
	int64_t now = wall_clock(), from = 0, until = INT64_MAX;
	char sentence[128], day[16];

	if (!json_bool(attributes, "enabled", true))
		unusable(q, key, 333, "disabled", "it is disabled");
	if (!json_integer(attributes, "exp", false, &until).failure && until <= now) {
		day_text(until, day);
		snprintf(sentence, sizeof(sentence), "it expired on %s", day);
		unusable(q, key, 333, "expired", sentence);
	} else if (until < now + SOON_DAYS * DAY_S) {
		day_text(until, day);
		visit_found(q->visit, VERDICT_WARNING, "key", NULL, "key %s expires on %s, in %lld days", key->name,
		            day, (long long)(until - now) / DAY_S);
	}
	if (!json_integer(attributes, "nbf", false, &from).failure && from > now) {
		day_text(from, day);
		snprintf(sentence, sizeof(sentence), "it is not valid before %s", day);
		unusable(q, key, 333, "not-yet", sentence);
	}
	if (!json_bool(attributes, "exportable", false))
		unusable(q, key, 336, NULL, "it is not exportable, so it cannot be released");
}

/* ---- the policy ---- */

static bool condition_tells_apart(const json *node)
{
	static const char *const telling[] = {
	    "hostdata",   "launchmeasurement", "mrtd",           "rtmr", "mrconfig", "mrowner",  "vmid",
	    "vmuniqueid", "idkeydigest",       "client-payload", "pcr",  "imageid",  "familyid", "chipid"};
	const char *claim = json_string_or_null(node, "claim");

	for (size_t i = 0; claim && i < sizeof(telling) / sizeof(telling[0]); i++)
		if (strcasestr(claim, telling[i]))
			return true;
	return false;
}

/* All of anyOf must, one of allOf is enough. The depth is the parser's. */
static bool node_tells_apart(const json *node)
{
	const json *all = json_get(node, "allOf"), *any = json_get(node, "anyOf");
	bool every = json_count(any) > 0;

	for (const json *child = json_first(all); child; child = json_next(child))
		if (node_tells_apart(child))
			return true;
	for (const json *child = json_first(any); child; child = json_next(child))
		every = every && node_tells_apart(child);
	return every || condition_tells_apart(node);
}

bool policy_tells_machines_apart(const json *policy)
{
	return node_tells_apart(policy);
}

static bool trusts_instance(const json *policy, const char *instance)
{
	const json *any = json_get(policy, "anyOf"), *all = json_get(policy, "allOf");
	auto_json *claims = json_object();

	json_set_string(claims, "iss", instance);
	for (const json *authority = json_first(any ? any : all); authority; authority = json_next(authority))
		if (policy_trusts(authority, claims))
			return true;
	return false;
}

static const char *first_authority(const json *policy)
{
	const json *any = json_get(policy, "anyOf"), *all = json_get(policy, "allOf");
	const char *authority = json_string_or_null(json_first(any ? any : all), "authority");

	return authority ? authority : "nobody";
}

static void check_authority(struct inquiry *q, const struct key_config *key, const json *policy)
{
	char fix[768];

	if (trusts_instance(policy, q->visit->token->attestation))
		return;
	snprintf(fix, sizeof(fix), "sudoedit %s    # attestation = %.200s", q->visit->config->path,
	         first_authority(policy));
	visit_found(q->visit, VERDICT_BAD, "policy", fix, "key %s trusts %.200s, and the token's attestation is %s",
	            key->name, first_authority(policy), q->visit->token->attestation);
}

static void check_strength(struct inquiry *q, const struct key_config *key, const json *policy)
{
	char fix[256];

	if (policy_tells_machines_apart(policy)) {
		visit_found(q->visit, VERDICT_GOOD, "policy", NULL, "key %s asks for more than the kind of machine",
		            key->name);
		return;
	}
	/* No machine has both for certain: Trusted Launch has no image, a bare TD perhaps no workload. */
	snprintf(fix, sizeof(fix), "skr-pkcs11 policy generate \"%s\"    # or, if that names none: --strictness image",
	         q->visit->token->label);
	visit_found(q->visit, VERDICT_WARNING, "policy", fix,
	            "key %s asks for no measurement, host data or machine id: other people's machines of this kind "
	            "satisfy it too",
	            key->name);
}

/* By a token of our own, where the login did not get as far as asking the vault. */
static void check_claims(struct inquiry *q, const struct key_config *key, const json *policy)
{
	const struct ailment ailment = {.config = q->visit->config, .token = q->visit->token, .key = key};
	auto_buf why = BUF(UNMET_LIMIT);
	size_t unmet = 0;
	char fix[1024];

	if (!q->claims || policy_explain(policy, q->claims, &why, &unmet).failure)
		return;
	if (unmet == 0) {
		visit_found(q->visit, VERDICT_GOOD, "policy", NULL, "key %s is satisfied by this machine", key->name);
		return;
	}
	(void)FAIL(332, "key %s: its policy %s", key->name, buf_text(&why));
	const struct status_record record = *status_last();
	fix_for(&record, &ailment, fix, sizeof(fix));
	visit_failed(q->visit, VERDICT_BAD, "policy", -1, &record, fix);
}

void doctor_key(struct inquiry *q, const struct key_config *key, const json *bundle)
{
	auto_json *policy = NULL;

	check_state(q, key, bundle);
	if (!json_get(bundle, "release_policy")) {
		unusable(q, key, 336, NULL, "it has no release policy");
		return;
	}
	if (policy_of_bundle(bundle, &policy).failure) {
		unusable(q, key, 336, NULL, "its release policy is not understood");
		return;
	}
	check_authority(q, key, policy);
	check_claims(q, key, policy);
	check_strength(q, key, policy);
}
