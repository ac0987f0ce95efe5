/* SPDX-License-Identifier: Apache-2.0 */
#include "token/login.h"

#include "base/audit.h"
#include "base/base64.h"
#include "base/log.h"
#include "token/session.h"

#include <string.h>

/* Under the state lock. */
static unsigned outside; /* attempts between begin and report */
static unsigned working; /* of these, the ones that do the work themselves and have not settled */
static bool releasing;   /* one of them is in release_run */
static bool none_wanted; /* C_Finalize waits */

/* ---- what a failure means to the caller, and to the next attempt ---- */

CK_RV status_rv(skr_status status)
{
	switch (status.failure) {
	case 0:
		return CKR_OK;
	case 11:
	case 12:
	case 14:
		return CKR_HOST_MEMORY;
	case 403:
		return CKR_FUNCTION_CANCELED;
	case 410:
		return CKR_PIN_INCORRECT;
	case 412:
		return CKR_PIN_LOCKED;
	}
	switch (failure_row(status.failure)->family) {
	case FAMILY_TRANSIENT:
		return CKR_DEVICE_ERROR;
	case FAMILY_REFUSED:
	case FAMILY_UNTRUSTED:
		return CKR_FUNCTION_FAILED;
	default:
		return CKR_GENERAL_ERROR;
	}
}

/* Between 0.8 and 1.3 times ms, so that machines which failed together do not come back together. */
static int64_t spread(int64_t ms)
{
	uint8_t r = 128;

	if (random_bytes(&r, 1).failure)
		r = (uint8_t)monotonic_ms();
	return ms * (800 + 500 * r / 256) / 1000;
}

static int64_t wait_after(int failure, int failures)
{
	int64_t seconds = 1;

	switch (failure_row(failure)->family) {
	case FAMILY_TRANSIENT:
		for (int i = 1; i < failures && seconds < 60; i++)
			seconds *= 2;
		return spread(1000 * (seconds < 60 ? seconds : 60));
	case FAMILY_REFUSED:
		return 30 * 1000;
	case FAMILY_UNTRUSTED:
		return 60 * 1000;
	default:
		return 0;
	}
}

static CK_RV suppressed(const struct token *token, int64_t wait)
{
	char line[768];

	status_line(&token->login.failure, line, sizeof(line));
	FAIL(90, "token %s: next attempt in %lld ms, after %.400s", token->settings->label, (long long)wait, line);
	log_line(LOG_LEVEL_DEBUG, "%s", status_message());
	return status_rv((skr_status){token->login.failure.failure});
}

/* ---- begin ---- */

static bool expired(const struct login *login)
{
	if (login->loaded_until == INT64_MAX && login->kept_until == INT64_MAX)
		return false;
	int64_t now = monotonic_ms();
	return now >= login->loaded_until || now >= login->kept_until;
}

CK_RV login_begin(struct token *token, const void *pin, size_t len, struct login_attempt *ret)
{
	struct login *login = &token->login;

	*ret = (struct login_attempt){.token = token, .pin = pin, .pin_len = len, .started = monotonic_ms()};
	login_tidy(token);
	auto_state_lock lock = state_lock();
	if (login->state == LOGIN_IN)
		return CKR_USER_ALREADY_LOGGED_IN;
	if (none_wanted)
		return CKR_FUNCTION_CANCELED;

	ret->generation = tokens_generation();
	ret->ours = login->state == LOGIN_OUT;
	if (ret->ours) {
		int64_t wait = login->not_before - ret->started;
		if (wait > 0 && !login->loaded)
			return suppressed(token, wait);
		login->state = LOGIN_IN_FLIGHT;
		login->number++;
		atomic_store(&login->cancel, false);
		ret->have_keys = login->loaded;
		working++;
	}
	ret->number = login->number;
	ret->pending = true;
	outside++;
	return CKR_OK;
}

/* ---- run ---- */

static int cancelled(void *with)
{
	struct token *token = with;
	return atomic_load(&token->login.cancel);
}

static skr_status release_begin(struct token *token)
{
	auto_state_lock lock = state_lock();

	while (releasing && !atomic_load(&token->login.cancel))
		state_wait();
	if (releasing)
		return FAIL(403, "token %s: while another token's keys were released", token->settings->label);
	releasing = true;
	return OK;
}

static void release_end(void)
{
	auto_state_lock lock = state_lock();

	releasing = false;
	state_changed();
}

static json *record_of_token(const struct token *token, const char *event)
{
	json *record = audit_record(event);

	json_set_string(record, "token", token->settings->label);
	json_set_number(record, "slot", (int64_t)token->slot);
	return record;
}

static json *record_of(const struct login_attempt *attempt, const char *event)
{
	const struct token_config *settings = attempt->token->settings;
	json *record = record_of_token(attempt->token, event);

	json_set_string(record, "attestation", settings->attestation);
	return record;
}

/* The keys that are, or were, asked for; of those released, keys_of knows more. */
static json *keys_wanted(const struct token_config *settings)
{
	json *keys = json_array();

	for (size_t i = 0; i < settings->key_count; i++) {
		json *key = json_object();
		json_set_string(key, "host", settings->keys[i].host);
		json_set_string(key, "name", settings->keys[i].name);
		if (settings->keys[i].version)
			json_set_string(key, "version", settings->keys[i].version);
		json_push(keys, key);
	}
	return keys;
}

/* With audit = required nothing is released that is not on record. */
static skr_status audit_intent(const struct login_attempt *attempt)
{
	const struct config *config = attempt->token->config;

	if (config->audit != AUDIT_REQUIRED)
		return OK;
	json *record = record_of(attempt, "login-begins");
	json_set(record, "keys", keys_wanted(attempt->token->settings));
	return audit_write(&config->trail, record, 18);
}

static bool is_offline_public_key(const struct object *object)
{
	return object && object->class == CKO_PUBLIC_KEY && !object->released;
}

/* The files' public key under this label is another one: clients that go by the certificate will not find the key. */
static void warn_of_other_key(const struct token *token, const struct released_key *released)
{
	for (size_t i = 0; i < token->objects.count; i++) {
		const struct object *object = token->objects.item[i];
		CK_ATTRIBUTE label = {CKA_LABEL, (void *)released->config->label, strlen(released->config->label)};

		if (is_offline_public_key(object) && attributes_match(&object->attributes, &label, 1)) {
			log_line(LOG_LEVEL_WARNING,
			         "token %s: the certificate or public key taken for key %s is not that of %s: name its "
			         "file like the key, or "
			         "give the key its public_key_sha256",
			         token->settings->label, released->config->label, released->kid);
			return;
		}
	}
}

static skr_status add_released(const struct token *token, const struct released_key *released, struct objects *list)
{
	auto_public_half half = {0};
	struct object *object;

	if (!released->key) {
		TRY(object_of_released_secret(token->serial, released, &object));
		return objects_add(list, object);
	}
	TRY(public_half_of(released->key, &half));
	struct object *certificate = objects_with_id(&token->objects, CKO_CERTIFICATE, half.id, sizeof(half.id));
	const CK_ATTRIBUTE *subject = certificate ? attributes_get(&certificate->attributes, CKA_SUBJECT) : NULL;
	TRY(object_of_released_key(token->serial, released, subject, &object));
	TRY(objects_add(list, object));

	if (is_offline_public_key(objects_with_id(&token->objects, CKO_PUBLIC_KEY, half.id, sizeof(half.id))))
		return OK;
	warn_of_other_key(token, released);
	TRY(object_of_public_key(token->serial, released->key, released->config->label, subject, released->kid,
	                         &object));
	return objects_add(list, object);
}

static skr_status release_keys(struct login_attempt *attempt)
{
	struct token *token = attempt->token;
	struct release_options options = {
	    .deadline = deadline_in((int64_t)token->config->login_deadline * 1000),
	    .cancelled = cancelled,
	    .with = token,
	    .facts = attempt->facts = json_object(),
	};

	TRY(audit_intent(attempt));
	TRY(release_run(token->config, token->settings, &options, &attempt->release));
	for (size_t i = 0; i < attempt->release.key_count; i++)
		TRY(add_released(token, &attempt->release.keys[i], &attempt->objects));
	return OK;
}

static skr_status run_ours(struct login_attempt *attempt)
{
	struct token *token = attempt->token;

	if (token->settings->pin_hash)
		TRY(pin_check(token->settings->pin_hash, attempt->pin, attempt->pin_len, &token->login.pin));
	if (attempt->have_keys)
		return OK;
	TRY(release_begin(token));
	skr_status status = release_keys(attempt);
	release_end();
	return status;
}

static CK_RV wait_for_other(const struct login_attempt *attempt)
{
	const struct login *login = &attempt->token->login;
	auto_state_lock lock = state_lock();

	while (tokens_generation() == attempt->generation && login->number == attempt->number &&
	       login->state == LOGIN_IN_FLIGHT)
		state_wait();
	if (tokens_generation() != attempt->generation)
		return CKR_FUNCTION_CANCELED;
	if (login->state == LOGIN_IN)
		return CKR_USER_ALREADY_LOGGED_IN;
	return login->result != CKR_OK ? login->result : CKR_FUNCTION_CANCELED;
}

void login_run(struct login_attempt *attempt)
{
	if (!attempt->ours) {
		attempt->rv = wait_for_other(attempt);
		return;
	}
	attempt->status = run_ours(attempt);
}

/* ---- settle ---- */

static bool is_released(const struct object *object)
{
	return object->released;
}

static int64_t later(unsigned seconds)
{
	return seconds == 0 ? INT64_MAX : monotonic_ms() + (int64_t)seconds * 1000;
}

/* The state lock is held. What is replaced, or not needed after all, is left in attempt->objects. */
static skr_status publish(struct login_attempt *attempt)
{
	struct token *token = attempt->token;

	if (atomic_load(&token->login.cancel) || token->sessions == 0)
		return FAIL(403, "token %s: its sessions were closed meanwhile", token->settings->label);
	if (!attempt->have_keys) {
		TRY(objects_replace(&token->objects, is_released, &attempt->objects));
		token->login.loaded = true;
		token->login.loaded_until = later(token->settings->key_max_age);
	}
	token->login.kept_until = INT64_MAX;
	return OK;
}

static void settle_ours(struct login_attempt *attempt)
{
	struct login *login = &attempt->token->login;

	if (!attempt->status.failure)
		attempt->status = publish(attempt);
	attempt->rv = status_rv(attempt->status);
	login->result = attempt->rv;
	login->state = attempt->status.failure ? LOGIN_OUT : LOGIN_IN;
	if (attempt->status.failure) {
		login->failure = *status_last();
		login->failures += failure_row(attempt->status.failure)->family != FAMILY_LOCAL;
		login->not_before = monotonic_ms() + wait_after(attempt->status.failure, login->failures);
	} else {
		login->failure.failure = 0;
		login->failures = 0;
		login->not_before = 0;
	}
}

void login_settle(struct login_attempt *attempt)
{
	if (!attempt->ours)
		return;
	{
		auto_state_lock lock = state_lock();
		if (tokens_generation() == attempt->generation) {
			settle_ours(attempt);
			working--;
			state_changed();
		} else {
			attempt->status = FAIL(403, "the library was finalized meanwhile");
			attempt->rv = CKR_FUNCTION_CANCELED;
		}
		attempt->failure = *status_last();
	}
	objects_free(&attempt->objects);
}

/* ---- report ---- */

static json *steps_of(const struct release *release)
{
	json *steps = json_array();

	for (size_t i = 0; i < release->step_count; i++) {
		json *step = json_object();
		json_set_string(step, "name", release->steps[i].name);
		json_set_number(step, "ms", release->steps[i].ms);
		if (release->steps[i].detail[0])
			json_set_string(step, "detail", release->steps[i].detail);
		json_push(steps, step);
	}
	return steps;
}

static json *keys_of(const struct release *release)
{
	json *keys = json_array();

	for (size_t i = 0; i < release->key_count; i++) {
		const struct released_key *released = &release->keys[i];
		json *key = json_object();
		auto_buf hash = BUF(65);

		json_set_string(key, "host", released->config->host);
		json_set_string(key, "name", released->config->name);
		json_set_string(key, "version", released->version);
		if (released->key && !hex_encode(released->public_key_sha256, 32, &hash).failure)
			json_set_string(key, "public_key_sha256", buf_text(&hash));
		json_push(keys, key);
	}
	return keys;
}

static void set_if_known(json *record, const char *name, const char *value)
{
	if (value[0])
		json_set_string(record, name, value);
}

/* What must verify and did not, a PIN guessed at, a peer that is somebody else. */
static bool is_security_event(int failure)
{
	return failure_row(failure)->family == FAMILY_UNTRUSTED || failure == 412 || failure == 507;
}

static json *record_of_failure(const struct login_attempt *attempt)
{
	const struct status_record *failure = &attempt->failure;
	json *record = record_of(attempt, is_security_event(failure->failure) ? "security" : "login");

	json_set_string(record, "result", "failed");
	json_set_number(record, "failure", failure->failure);
	json_set_string(record, "sentence", failure->sentence);
	set_if_known(record, "step", failure->step);
	set_if_known(record, "host", failure->host);
	set_if_known(record, "svc_code", failure->svc_code);
	set_if_known(record, "request_id", failure->reqid);
	if (failure->http)
		json_set_number(record, "http", failure->http);
	if (failure->attempts)
		json_set_number(record, "attempts", failure->attempt);
	json_set(record, "keys", keys_wanted(attempt->token->settings));
	return record;
}

static json *record_of_success(const struct login_attempt *attempt)
{
	json *record = record_of(attempt, "login");

	json_set_string(record, "result", "ok");
	json_set_bool(record, "released", !attempt->have_keys);
	if (!attempt->have_keys) {
		json_set(record, "keys", keys_of(&attempt->release));
		json_set(record, "steps", steps_of(&attempt->release));
	}
	return record;
}

static void report(struct login_attempt *attempt)
{
	const struct token *token = attempt->token;
	int64_t took = monotonic_ms() - attempt->started;
	json *record;

	if (attempt->status.failure) {
		*status_amend() = attempt->failure;
		log_failure();
		record = record_of_failure(attempt);
	} else {
		/* Each backend of a database inherits: its line would drown the one that counts. */
		log_line(attempt->have_keys ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "token %s: %zu keys %s in %lld ms",
		         token->settings->label, token->settings->key_count, attempt->have_keys ? "kept" : "released",
		         (long long)took);
		record = record_of_success(attempt);
	}
	json_set_number(record, "ms", took);
	if (json_count(attempt->facts))
		json_set(record, "told_by_agent", TAKE(attempt->facts));
	audit_note(&token->config->trail, record);
}

CK_RV login_report(struct login_attempt *attempt)
{
	CK_RV rv = attempt->rv;

	if (attempt->ours)
		report(attempt);
	release_done(&attempt->release);
	json_free(attempt->facts);
	attempt->facts = NULL;
	auto_state_lock lock = state_lock();
	if (tokens_generation() == attempt->generation) {
		outside--;
		state_changed();
	}
	return rv;
}

/* ---- logged out, expired ---- */

static bool is_released_secret(const struct object *object)
{
	return object->released && object_is_private(object);
}

void login_erase_keys(struct token *token)
{
	auto_objects removed = {0};
	auto_state_lock lock = state_lock();

	objects_remove(&token->objects, is_released_secret, &removed);
	token->login.loaded = false;
	atomic_fetch_add(&token->login.epoch, 1);
	if (token->login.state == LOGIN_IN)
		token->login.state = LOGIN_OUT;
}

static void note_erased(const struct token *token, const char *event, const char *reason)
{
	json *record = record_of_token(token, event);

	json_set_string(record, "reason", reason);
	audit_note(&token->config->trail, record);
}

void login_tidy(struct token *token)
{
	bool of_age;
	{
		auto_state_lock lock = state_lock();
		if (!token->login.loaded || token->login.state == LOGIN_IN_FLIGHT || !expired(&token->login))
			return;
		of_age = monotonic_ms() >= token->login.loaded_until;
		if (token->login.state == LOGIN_IN)
			log_line(LOG_LEVEL_INFO, "SKR-351 : token %s: key_max_age reached", token->settings->label);
	}
	login_erase_keys(token);
	sessions_forget_private(token);
	note_erased(token, "erased", of_age ? "key_max_age" : "relogin_grace");
}

void login_last_session_closed(struct token *token)
{
	struct login *login = &token->login;

	if (login->state == LOGIN_IN_FLIGHT) {
		atomic_store(&login->cancel, true);
		state_changed();
	}
	if (login->state != LOGIN_IN)
		return;
	login->state = LOGIN_OUT;
	login->kept_until = monotonic_ms() + (int64_t)token->settings->relogin_grace * 1000;
}

CK_RV login_out(struct token *token)
{
	bool was_in = login_is_in(token);
	{
		auto_state_lock lock = state_lock();
		token->login.not_before = 0;
		token->login.failures = 0;
	}
	if (!was_in)
		return CKR_USER_NOT_LOGGED_IN;
	login_erase_keys(token);
	sessions_forget_private(token);
	note_erased(token, "logout", "C_Logout");
	return CKR_OK;
}

bool login_is_in(struct token *token)
{
	login_tidy(token);
	auto_state_lock lock = state_lock();
	return token->login.state == LOGIN_IN;
}

static bool is_for_users(CK_OBJECT_CLASS class)
{
	return class == CKO_PRIVATE_KEY || class == CKO_SECRET_KEY;
}

CK_RV login_key(struct token *token, CK_OBJECT_HANDLE handle, CK_MECHANISM_TYPE mechanism, struct key_view *ret)
{
	bool in = login_is_in(token);
	auto_state_lock lock = state_lock();
	struct object *object = objects_find(&token->objects, handle);

	if (!in && is_for_users(handle_class(handle)))
		return CKR_USER_NOT_LOGGED_IN;
	return object ? object_key_view(object, mechanism, ret) : CKR_KEY_HANDLE_INVALID;
}

void login_last_failure(struct token *token, struct status_record *ret)
{
	auto_state_lock lock = state_lock();
	*ret = token->login.failure;
}

/* ---- the end of the library, and of a process ---- */

bool login_wait_for_all(int64_t ms)
{
	struct deadline deadline = deadline_in(ms);
	auto_state_lock lock = state_lock();

	none_wanted = true;
	for (size_t i = 0; i < tokens_count(); i++)
		atomic_store(&token_in_slot(i)->login.cancel, true);
	state_changed();
	while (outside > 0 && deadline_left(deadline) > 0)
		state_wait_until(deadline);
	return outside == 0;
}

bool login_working(void)
{
	return working > 0;
}

void login_restart(bool forked)
{
	outside = working = 0;
	none_wanted = false;
	releasing = releasing && !forked;
}
