/* SPDX-License-Identifier: Apache-2.0 */
#include "token/token.h"

#include "base/base64.h"
#include "token/login.h"
#include "token/session.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Written while nobody else is inside the library; read under its life lock. */
static struct token *tokens;
static size_t token_count;
static unsigned long generation;

static pthread_mutex_t state = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

int state_lock(void)
{
	return pthread_mutex_lock(&state);
}

void state_unlock(const int *lock)
{
	(void)lock;
	pthread_mutex_unlock(&state);
}

void state_wait(void)
{
	pthread_cond_wait(&changed, &state);
}

void state_wait_until(struct deadline deadline)
{
	struct timespec at = {.tv_sec = deadline.at / 1000, .tv_nsec = deadline.at % 1000 * 1000000};
	pthread_cond_clockwait(&changed, &state, CLOCK_MONOTONIC, &at);
}

void state_changed(void)
{
	pthread_cond_broadcast(&changed);
}

bool state_lock_within(int64_t ms)
{
	struct deadline end = deadline_in(ms);

	while (pthread_mutex_trylock(&state) != 0) {
		if (deadline_left(end) == 0)
			return false;
		nanosleep(&(struct timespec){.tv_nsec = 100 * 1000}, NULL);
	}
	return true;
}

void state_lock_renew(void)
{
	pthread_mutex_init(&state, NULL);
	pthread_cond_init(&changed, NULL);
}

size_t tokens_count(void)
{
	return token_count;
}

struct token *token_in_slot(CK_SLOT_ID slot)
{
	return slot < token_count ? &tokens[slot] : NULL;
}

unsigned long tokens_generation(void)
{
	return generation;
}

/* ---- making and forgetting ---- */

/* 16 hexadecimal digits of SHA-256 over label and key addresses: what users write into their configurations must not
 * change. */
static skr_status serial_of(const struct token_config *settings, char ret[17])
{
	uint8_t digest[32];
	auto_buf text = BUF(128 * 1024), hex = BUF(65);

	TRY(buf_append_text(&text, settings->label));
	for (size_t i = 0; i < settings->key_count; i++)
		TRY(buf_printf(&text, "\n%s", settings->keys[i].url));
	TRY(sha256(text.data, text.len, digest));
	TRY(hex_encode(digest, 8, &hex));
	memcpy(ret, hex.data, 17);
	return OK;
}

static skr_status token_open(struct token *token, const struct config *config, size_t place)
{
	const struct token_config *settings = &config->tokens[place];

	token->config = config;
	token->settings = settings;
	token->slot = place;
	token->policy = (struct mechanism_policy){
	    .allow_raw_rsa = settings->allow_raw_rsa,
	    .allow_sha1 = settings->allow_sha1,
	    .rsa_pkcs1_decrypt = settings->rsa_pkcs1_decrypt,
	};
	TRY(serial_of(settings, token->serial));
	return offline_objects(token->serial, settings, &token->objects);
}

/* A program that initialises, fails to log in and finalises in a loop must not escape from waiting its turn. */
static void remember(struct token *token)
{
	for (size_t i = 0; i < token_count; i++) {
		if (strcmp(tokens[i].serial, token->serial) != 0)
			continue;
		token->login.failures = tokens[i].login.failures;
		token->login.not_before = tokens[i].login.not_before;
		token->login.failure = tokens[i].login.failure;
		token->login.pin = tokens[i].login.pin;
	}
}

static void forget(void)
{
	for (size_t i = 0; i < token_count; i++)
		objects_free(&tokens[i].objects);
	free(tokens);
	tokens = NULL;
	token_count = 0;
}

skr_status tokens_open(const struct config *config, bool same_file)
{
	struct token *fresh = calloc(config->token_count + 1, sizeof(*fresh));
	skr_status status = OK;

	if (!fresh)
		return FAIL(14, "%zu tokens", config->token_count);
	for (size_t i = 0; i < config->token_count && !status.failure; i++) {
		status = token_open(&fresh[i], config, i);
		if (same_file)
			remember(&fresh[i]);
	}
	forget();
	tokens = fresh;
	token_count = config->token_count;
	if (status.failure)
		forget();
	return status;
}

static void next_generation(bool forked)
{
	auto_state_lock lock = state_lock();

	generation++;
	login_restart(forked);
	state_changed();
}

/* What a login that does not end still looks at, with the configuration it came from. It happens once in a process, if
 * ever. */
static struct left_behind {
	struct token *tokens;
	struct left_behind *next;
} * left_behind;

static void leave_behind(void)
{
	struct left_behind *left = malloc(sizeof(*left));

	if (!left)
		return;
	*left = (struct left_behind){tokens, left_behind};
	left_behind = left;
}

void tokens_close(bool abandon)
{
	next_generation(false);
	if (abandon) {
		leave_behind();
		tokens = NULL;
		token_count = 0;
		return;
	}
	for (size_t i = 0; i < token_count; i++) {
		objects_free(&tokens[i].objects);
		tokens[i].login.loaded = false;
		tokens[i].login.state = LOGIN_OUT;
		tokens[i].sessions = tokens[i].rw_sessions = 0;
	}
}

/* The number of references to a key is not to be trusted, nor are the locks inside: leave it where it is. */
static void forget_key(struct object *object)
{
	object->key = NULL;
}

static void token_after_fork(struct token *token, bool clean)
{
	token->sessions = token->rw_sessions = 0;
	if (token->login.state == LOGIN_IN)
		token->login.kept_until = INT64_MAX;
	token->login.state = LOGIN_OUT;
	atomic_store(&token->login.cancel, false);
	for (size_t i = 0; !clean && i < token->objects.count; i++)
		forget_key(token->objects.item[i]);
	if (!clean)
		login_erase_keys(token);
}

void tokens_after_fork(bool clean)
{
	next_generation(true);
	for (size_t i = 0; i < token_count; i++)
		token_after_fork(&tokens[i], clean);
}

void tokens_wipe_keys(void)
{
	for (size_t i = 0; i < token_count; i++)
		login_erase_keys(&tokens[i]);
}

/* ---- what slots and tokens say of themselves ---- */

void padded(unsigned char *field, size_t size, const char *text)
{
	size_t len = strlen(text);

	memset(field, ' ', size);
	memcpy(field, text, len < size ? len : size);
}

static const CK_VERSION version = {SKR_VERSION_MAJOR, SKR_VERSION_MINOR};

void token_slot_info(const struct token *token, CK_SLOT_INFO *info)
{
	*info = (CK_SLOT_INFO){.flags = CKF_TOKEN_PRESENT, .hardwareVersion = version, .firmwareVersion = version};
	auto_buf description = BUF(128);
	const char *text = token->settings->label;

	if (!buf_printf(&description, "Released keys: %s", token->settings->label).failure)
		text = buf_text(&description);
	padded(info->slotDescription, sizeof(info->slotDescription), text);
	padded(info->manufacturerID, sizeof(info->manufacturerID), "skr-pkcs11");
}

void token_info(struct token *token, CK_TOKEN_INFO *info)
{
	*info = (CK_TOKEN_INFO){
	    .flags =
	        CKF_RNG | CKF_WRITE_PROTECTED | CKF_LOGIN_REQUIRED | CKF_USER_PIN_INITIALIZED | CKF_TOKEN_INITIALIZED,
	    .ulMaxSessionCount = SESSIONS_MAX,
	    .ulMaxRwSessionCount = SESSIONS_MAX,
	    .ulMaxPinLen = 256,
	    .ulTotalPublicMemory = CK_UNAVAILABLE_INFORMATION,
	    .ulFreePublicMemory = CK_UNAVAILABLE_INFORMATION,
	    .ulTotalPrivateMemory = CK_UNAVAILABLE_INFORMATION,
	    .ulFreePrivateMemory = CK_UNAVAILABLE_INFORMATION,
	    .hardwareVersion = version,
	    .firmwareVersion = version,
	};
	if (!token->settings->pin_hash)
		info->flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
	padded(info->label, sizeof(info->label), token->settings->label);
	padded(info->manufacturerID, sizeof(info->manufacturerID), "skr-pkcs11");
	padded(info->model, sizeof(info->model), "Released keys");
	padded(info->serialNumber, sizeof(info->serialNumber), token->serial);
	padded(info->utcTime, sizeof(info->utcTime), "");

	auto_state_lock lock = state_lock();
	info->ulSessionCount = token->sessions;
	info->ulRwSessionCount = token->rw_sessions;
}
