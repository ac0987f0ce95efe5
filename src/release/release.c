/* SPDX-License-Identifier: Apache-2.0 */
#include "release/release.h"

#include "agent/protocol.h"
#include "base/base64.h"
#include "base/file.h"
#include "jose/jwk.h"
#include "jose/keywrap.h"
#include "release/agent_client.h"
#include "release/answer.h"
#include "release/turn.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define ANCHORS_LIMIT  (2 * 1024 * 1024)
#define ATTEMPTS_DEATH 2 /* of the agent (G-04) */
#define ATTEMPTS_CROWD 4 /* too many agents (G-09) */
#define FACTS_MAX      (2 * CONFIG_KEYS_MAX + 32)
#define WARM_UP_BITS   1152 /* the least that OAEP with SHA-384 and a key of 32 bytes fit into, and then some */

void release_done(struct release *release)
{
	for (size_t i = 0; release->keys && i < release->key_count; i++)
		released_key_done(&release->keys[i]);
	OPENSSL_free(release->keys);
	memset(release, 0, sizeof(*release));
}

/* ---- trust ---- */

/* Where distributions keep their bundle: Debian, Fedora, SUSE. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
};
#define BUNDLES (sizeof(bundles) / sizeof(bundles[0]))

static skr_status anchors_from(const char *path, STACK_OF(X509) **ret)
{
	auto_buf pem = BUF(ANCHORS_LIMIT);

	skr_status status = file_read_trusted(path, &pem);
	if (!status.failure && pem.len == 0)
		return FAIL(7, "%s is empty", path);
	if (!status.failure)
		status = certificates_from_pem(pem.data, pem.len, ret);
	if (status.failure && status.failure != 14 && status.failure != 16)
		return FAIL(7, "%s: %s", path, status_message());
	return status;
}

skr_status release_anchors(const struct config *config, STACK_OF(X509) **ret)
{
	const char *path = config->release_ca_file ? config->release_ca_file : config->ca_file;

	if (path)
		return anchors_from(path, ret);
	for (size_t i = 0; i < BUNDLES; i++) {
		auto_x509s *anchors = NULL;
		if (anchors_from(bundles[i], &anchors).failure)
			continue;
		*ret = TAKE(anchors);
		return OK;
	}
	return FAIL(7, "none of %s, %s, %s can be used", bundles[0], bundles[1], bundles[2]);
}

/* ---- one login ---- */

/* One attempt at a login; everything of it is gone when it ends, but what `release` takes over. */
struct attempt {
	const struct config *config;
	const struct token_config *token;
	const struct release_options *options;
	EVP_PKEY *transport;
	json *transport_jwk;
	STACK_OF(X509) *anchors;
	struct buf nonce, kid;
	char tpm_kid[65];  /* the vault wraps to this key of the machine's TPM, not to ours; empty: to ours */
	size_t outer_size; /* bytes that the TPM's key encrypts */
	struct agent_client agent;
	struct release release;
	bool arrived[CONFIG_KEYS_MAX];
	char announced_step[24]; /* what the agent said last */
	int64_t verify_ms, unwrap_ms;
	size_t echoes;
};
#define auto_attempt __attribute__((cleanup(attempt_done))) struct attempt
static void attempt_done(struct attempt *attempt)
{
	agent_client_done(&attempt->agent);
	EVP_PKEY_free(attempt->transport);
	json_free(attempt->transport_jwk);
	x509s_done(&attempt->anchors);
	buf_done(&attempt->nonce);
	buf_done(&attempt->kid);
	release_done(&attempt->release);
}

static void tell(const struct attempt *attempt, const struct release_step *step)
{
	if (attempt->options->progress)
		attempt->options->progress(step, attempt->options->with);
}

static void step_begins(const struct attempt *attempt, const char *name)
{
	struct release_step step = {.ms = -1};

	snprintf(step.name, sizeof(step.name), "%s", name);
	tell(attempt, &step);
}

/* The agent may come back to a step; its times are then added up. */
static void step_ended(struct attempt *attempt, const char *name, int64_t ms, const char *detail)
{
	struct release *release = &attempt->release;
	size_t i = 0;

	while (i < release->step_count && strcmp(release->steps[i].name, name) != 0)
		i++;
	if (i == sizeof(release->steps) / sizeof(release->steps[0]))
		return;
	struct release_step *step = &release->steps[i];
	if (i == release->step_count)
		release->step_count++;
	snprintf(step->name, sizeof(step->name), "%s", name);
	snprintf(step->detail, sizeof(step->detail), "%s", detail);
	step->ms += ms;
	tell(attempt, step);
}

/* Says in the record at which step of ours a failure happened. */
static skr_status at_step(skr_status status, const char *step, const char *host)
{
	struct status_record *record = status_amend();

	if (status.failure && !record->step[0])
		snprintf(record->step, sizeof(record->step), "%s", step);
	if (status.failure && host && !record->host[0])
		snprintf(record->host, sizeof(record->host), "%s", host);
	return status;
}

static bool is_cancelled(const struct release_options *options)
{
	return options->cancelled && options->cancelled(options->with);
}

/* Called by libcrypto while it looks for primes, which may take seconds; 0 makes it give up. */
static int keep_looking(EVP_PKEY_CTX *ctx)
{
	const struct release_options *options = EVP_PKEY_CTX_get_app_data(ctx);

	return deadline_left(options->deadline) > 0 && !is_cancelled(options);
}

static EVP_PKEY *rsa_generate(unsigned bits, const struct release_options *options)
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_name(ossl, "RSA", NULL);
	EVP_PKEY *key = NULL;

	if (!ctx || EVP_PKEY_keygen_init(ctx) <= 0 || EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, (int)bits) <= 0)
		return NULL;
	EVP_PKEY_CTX_set_app_data(ctx, (void *)(uintptr_t)options);
	EVP_PKEY_CTX_set_cb(ctx, keep_looking);
	return EVP_PKEY_generate(ctx, &key) > 0 ? key : NULL;
}

/* Why rsa_generate gave up. */
static skr_status no_key(unsigned bits, const struct release_options *options)
{
	if (is_cancelled(options))
		return FAIL(403, "while the transport key was made");
	if (!deadline_left(options->deadline))
		return FAIL(506, "the deadline passed while the transport key was made");
	return ossl_fail(599, bits == WARM_UP_BITS ? "a throw-away key" : "a transport key");
}

/*
 * libcrypto makes much at first use and keeps it: fetched algorithms, names, the generators and error state of the
 * thread. What it keeps must never lie in the ephemeral arena, which reads as zeros in a forked child. So everything
 * that is done there later is first done here, in the key arena, with a throw-away key; it costs some milliseconds. A
 * test counts that no block is left in the ephemeral arena after a login, on a new thread, in a new process, and after
 * failures.
 */
static skr_status transport_warm_up(const char *enc, const struct release_options *options)
{
	auto_arena(ARENA_KEYS);
	auto_pkey *key = rsa_generate(WARM_UP_BITS, options);
	auto_buf sealed = BUF(1024), opened = BUF(64);

	if (!key)
		return no_key(WARM_UP_BITS, options);
	TRY(keywrap_seal(enc, key, "warm", 4, &sealed));
	TRY(keywrap_open(enc, key, sealed.data, sealed.len, &opened));
	sealed.data[0] ^= 1;
	if (!keywrap_open(enc, key, sealed.data, sealed.len, &opened).failure)
		return FAIL(599, "a broken wrapping opens");
	status_clear();
	return OK;
}

static void transport_generate(struct attempt *attempt)
{
	auto_arena(ARENA_EPHEMERAL);

	attempt->transport = rsa_generate(attempt->token->transport_bits, attempt->options);
	ERR_clear_error(); /* before the arena changes: errors carry text of their own */
}

static skr_status transport_new(struct attempt *attempt)
{
	int64_t start = monotonic_ms();
	uint8_t nonce[32];

	step_begins(attempt, "transport-key");
	/* The nonce first: without randomness there is no key either, and only this says so. */
	TRY(random_bytes(nonce, sizeof(nonce)));
	TRY(base64url_encode(nonce, sizeof(nonce), &attempt->nonce));
	TRY(transport_warm_up(attempt->token->enc, attempt->options));
	transport_generate(attempt);
	if (!attempt->transport)
		return no_key(attempt->token->transport_bits, attempt->options);

	TRY(jwk_from_key(attempt->transport, &attempt->transport_jwk));
	TRY(jwk_thumbprint(attempt->transport_jwk, &attempt->kid));
	json_set_string(attempt->transport_jwk, "kid", buf_text(&attempt->kid));
	key_ops_to_json(attempt->transport_jwk, KEY_OP_ENCRYPT);

	char detail[64];
	snprintf(detail, sizeof(detail), "RSA %u", attempt->token->transport_bits);
	step_ended(attempt, "transport-key", monotonic_ms() - start, detail);
	return OK;
}

static skr_status send_request(struct attempt *attempt)
{
	struct agent_request request = {.transport_key = attempt->transport_jwk,
	                                .deadline_ms = deadline_left(attempt->options->deadline)};
	auto_buf body = BUF(PROTOCOL_REQUEST_LIMIT);

	snprintf(request.token, sizeof(request.token), "%s", attempt->token->label);
	snprintf(request.nonce, sizeof(request.nonce), "%s", buf_text(&attempt->nonce));
	TRY(agent_request_print(&request, &body));
	TRY(agent_client_check(&attempt->agent));
	return frame_send(attempt->agent.fd, &body, attempt->options->deadline);
}

/* The agent's silence or death, in words that name the step it was at. */
static skr_status agent_lost(struct attempt *attempt, skr_status status, bool silent, int64_t elapsed)
{
	const char *step = attempt->announced_step;

	if (status.failure == 503 && silent && attempt->config->agent_is_socket)
		return FAIL(508, "%s: hung up before a word: too many agents, or one that cannot start",
		            attempt->config->agent);
	if (status.failure == 503 || status.failure == 506)
		status = status_prefix(status, "%s%s, after %lld ms", step[0] ? "during " : "before its first step",
		                       step, (long long)elapsed);
	return at_step(status, step[0] ? step : "agent", NULL);
}

static skr_status agent_reach(struct attempt *attempt)
{
	const struct release_options *options = attempt->options;
	int64_t start = monotonic_ms();

	step_begins(attempt, "agent");
	TRY(agent_client_open(attempt->config, options->deadline, options->cancelled, options->with, &attempt->agent));
	skr_status status = send_request(attempt);
	if (status.failure)
		return agent_lost(attempt, status, true, monotonic_ms() - start);
	step_ended(attempt, "agent", monotonic_ms() - start, attempt->config->agent);
	return OK;
}

static bool evidence_is_one_of(const struct attempt *attempt, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(attempt->token->evidence, *words) == 0)
			return true;
	return false;
}

/* Only machines whose TPM keeps the transport key have another than ours, and they say so before the first key. */
static skr_status take_transport(struct attempt *attempt, const struct agent_message *message)
{
	static const char *const vtpm[] = {"auto", "azure-cvm", "trusted-launch", NULL};

	for (size_t i = 0; i < attempt->token->key_count; i++)
		if (attempt->arrived[i])
			return FAIL(504, "another transport key after the first key");
	if (attempt->tpm_kid[0] || !message->kid[0] || !evidence_is_one_of(attempt, vtpm))
		return FAIL(504, "another transport key, with evidence = %s", attempt->token->evidence);
	memcpy(attempt->tpm_kid, message->kid, sizeof(attempt->tpm_kid));
	attempt->outer_size = (size_t)message->size;
	return OK;
}

/* The key whose answer comes; each comes once. */
static skr_status begin_key(struct attempt *attempt, int64_t index, struct release_expectation *ret)
{
	if ((size_t)index >= attempt->token->key_count || index >= CONFIG_KEYS_MAX)
		return FAIL(504, "an answer for key %lld of %zu", (long long)index, attempt->token->key_count);
	if (attempt->arrived[index])
		return FAIL(504, "two answers for key %lld", (long long)index);
	attempt->arrived[index] = true;
	*ret = (struct release_expectation){.config = attempt->config,
	                                    .token = attempt->token,
	                                    .key = &attempt->token->keys[index],
	                                    .nonce = buf_text(&attempt->nonce),
	                                    .transport_kid =
	                                        attempt->tpm_kid[0] ? attempt->tpm_kid : buf_text(&attempt->kid),
	                                    .transport = attempt->transport,
	                                    .anchors = attempt->anchors,
	                                    .now = (int64_t)time(NULL)};
	return OK;
}

static skr_status receive_message(struct attempt *attempt, struct agent_message *ret)
{
	const struct release_options *options = attempt->options;
	auto_buf body = BUF(PROTOCOL_ANSWER_LIMIT);

	TRY(agent_client_check(&attempt->agent));
	TRY(frame_receive(attempt->agent.fd, &body, options->deadline, options->cancelled, options->with));
	return agent_message_parse(body.data, body.len, ret);
}

static skr_status send_open(struct attempt *attempt, int64_t index, const struct buf *ciphertext)
{
	auto_agent_open open = {.index = index, .wrapped = BUF(PROTOCOL_OPEN_LIMIT)};
	auto_buf body = BUF(PROTOCOL_REQUEST_LIMIT);

	TRY(buf_append(&open.wrapped, ciphertext->data, attempt->outer_size));
	TRY(agent_open_print(&open, &body));
	TRY(agent_client_check(&attempt->agent));
	return frame_send(attempt->agent.fd, &body, attempt->options->deadline);
}

/*
 * Where the TPM keeps the transport key: has the agent open the outer layer and seal it to our own transport key, so
 * that what is left to do is the same everywhere. The agent sees the AES key, never the released one (D-1).
 */
static skr_status change_outer_layer(struct attempt *attempt, int64_t index, struct buf *ciphertext)
{
	auto_agent_message message = {.type = AGENT_END};
	auto_buf changed = BUF(ciphertext->limit + PROTOCOL_OPEN_LIMIT);

	int64_t start = monotonic_ms();

	if (ciphertext->len <= attempt->outer_size)
		return FAIL(341, "the wrapped key cannot be opened");
	skr_status status = send_open(attempt, index, ciphertext);
	if (!status.failure)
		status = receive_message(attempt, &message);
	if (status.failure)
		return agent_lost(attempt, status, false, monotonic_ms() - start);
	if (message.type == AGENT_FAILURE)
		return status_adopt(&message.failure);
	if (message.type != AGENT_OPENED || message.index != index)
		return FAIL(504, "what was to be opened was not answered");
	TRY(buf_append(&changed, message.wrapped.data, message.wrapped.len));
	TRY(buf_append(&changed, ciphertext->data + attempt->outer_size, ciphertext->len - attempt->outer_size));
	buf_move(ciphertext, &changed);
	return OK;
}

static skr_status open_key(struct attempt *attempt, const struct release_expectation *expected, int64_t index,
                           struct announced_key *announced)
{
	int64_t start = monotonic_ms();

	if (attempt->tpm_kid[0])
		TRY(change_outer_layer(attempt, index, &announced->ciphertext));
	TRY(answer_open(expected, announced, &attempt->release.keys[index]));
	attempt->unwrap_ms += monotonic_ms() - start;
	return OK;
}

static skr_status take_key(struct attempt *attempt, const struct agent_message *message)
{
	struct release_expectation expected;
	auto_announced_key announced = {.kid = ""};

	TRY(begin_key(attempt, message->index, &expected));
	int64_t start = monotonic_ms();
	TRY(at_step(answer_check(&expected, buf_text(&message->jws), message->jws.len, &announced), "verify",
	            expected.key->host));
	attempt->verify_ms += monotonic_ms() - start;
	attempt->echoes += announced.nonce_echoed;
	return at_step(open_key(attempt, &expected, message->index, &announced), "unwrap", expected.key->host);
}

/* What a sidecar released. Nobody signed it for us: what can still be compared is compared. */
static skr_status take_handed(struct attempt *attempt, struct agent_message *message)
{
	static const char *const sidecar[] = {"sidecar", NULL};
	struct release_expectation expected;
	auto_announced_key announced = {.kid = ""};

	if (!evidence_is_one_of(attempt, sidecar) || attempt->tpm_kid[0])
		return FAIL(504, "a key of a sidecar, with evidence = %s", attempt->token->evidence);
	TRY(begin_key(attempt, message->index, &expected));
	TRY(at_step(answer_check_handed(&expected, message->bundle, &message->wrapped, &announced), "verify",
	            expected.key->host));
	skr_status status = open_key(attempt, &expected, message->index, &announced);
	if (status.failure == 341 || status.failure == 342) /* which are said of a vault */
		status = FAIL(162, "%s", status_message());
	return at_step(status, "unwrap", expected.key->host);
}

static skr_status end_of_answer(struct attempt *attempt)
{
	uint8_t more;
	char detail[96];

	for (size_t i = 0; i < attempt->token->key_count; i++)
		if (!attempt->arrived[i])
			return FAIL(504, "the answer ended without key %zu of %zu", i, attempt->token->key_count);
	if (recv(attempt->agent.fd, &more, 1, MSG_DONTWAIT | MSG_PEEK) > 0)
		return FAIL(504, "something follows the end of the answer");

	snprintf(detail, sizeof(detail), "%zu keys, nonce echoed by %zu", attempt->token->key_count, attempt->echoes);
	step_begins(attempt, "verify");
	step_ended(attempt, "verify", attempt->verify_ms, detail);
	snprintf(detail, sizeof(detail), "%zu keys", attempt->token->key_count);
	step_begins(attempt, "unwrap");
	step_ended(attempt, "unwrap", attempt->unwrap_ms, detail);
	return OK;
}

/* Anew, if the agent comes back to a step. Bounded: an agent must not be able to make the audit line too long. */
static skr_status take_facts(struct attempt *attempt, const json *told)
{
	json *facts = attempt->options->facts;

	for (const json *fact = json_first(told); facts && fact; fact = json_next(fact))
		json_set_string(facts, json_name(fact), json_text(fact));
	if (json_count(facts) > FACTS_MAX)
		return FAIL(504, "more than %d facts", FACTS_MAX);
	return OK;
}

/* Sets *ret_last at the last message of an answer. */
static skr_status take_message(struct attempt *attempt, struct agent_message *message, bool *ret_last)
{
	*ret_last = message->type == AGENT_END;
	switch (message->type) {
	case AGENT_STEP:
		memcpy(attempt->announced_step, message->name, sizeof(attempt->announced_step));
		step_begins(attempt, message->name);
		return OK;
	case AGENT_DONE:
		if (strcmp(attempt->announced_step, message->name) != 0)
			return FAIL(504, "step %s ended, which had not begun", message->name);
		step_ended(attempt, message->name, message->ms, message->detail);
		return OK;
	case AGENT_FACTS:
		return take_facts(attempt, message->facts);
	case AGENT_TRANSPORT:
		return take_transport(attempt, message);
	case AGENT_KEY:
		return take_key(attempt, message);
	case AGENT_HANDED:
		return take_handed(attempt, message);
	case AGENT_OPENED:
		return FAIL(504, "something is opened that was not asked for");
	case AGENT_FAILURE:
		return status_adopt(&message->failure);
	case AGENT_END:
		return end_of_answer(attempt);
	}
	return FAIL(504, "unknown message");
}

static skr_status read_answer(struct attempt *attempt)
{
	int64_t start = monotonic_ms();
	bool last = false;

	for (int count = 0; !last; count++) {
		auto_agent_message message = {.type = AGENT_END};
		if (count == PROTOCOL_MESSAGES_LIMIT)
			return FAIL(504, "more than %d messages", PROTOCOL_MESSAGES_LIMIT);
		skr_status status = receive_message(attempt, &message);
		if (status.failure)
			return agent_lost(attempt, status, count == 0, monotonic_ms() - start);
		TRY(take_message(attempt, &message, &last));
	}
	return OK;
}

/* All keys of the token, or none. A new transport key and nonce each time (I-12). */
static skr_status attempt_run(const struct config *config, const struct token_config *token,
                              const struct release_options *options, struct release *ret)
{
	auto_attempt attempt = {.config = config,
	                        .token = token,
	                        .options = options,
	                        .nonce = BUF(64),
	                        .kid = BUF(64),
	                        .agent = AGENT_CLIENT_NONE};

	TRY(at_step(release_anchors(config, &attempt.anchors), "verify", NULL));
	attempt.release.keys = OPENSSL_zalloc((token->key_count ? token->key_count : 1) * sizeof(struct released_key));
	if (!attempt.release.keys)
		return FAIL(14, "%zu released keys", token->key_count);
	attempt.release.key_count = token->key_count;

	TRY(at_step(transport_new(&attempt), "transport-key", NULL));
	TRY(at_step(agent_reach(&attempt), "agent", NULL));
	skr_status status = read_answer(&attempt);
	if (status.failure) {
		agent_client_kill(&attempt.agent);
		return status;
	}
	*ret = attempt.release;
	memset(&attempt.release, 0, sizeof(attempt.release));
	return OK;
}

/* How often a login may be tried that failed so: the agent died, or there were too many of them. */
static int attempts_for(const struct status_record *record)
{
	if (record->attempts) /* connecting has made its own */
		return 1;
	switch (record->failure) {
	case 503:
		return ATTEMPTS_DEATH;
	case 508:
		return ATTEMPTS_CROWD;
	default:
		return 1;
	}
}

skr_status release_run(const struct config *config, const struct token_config *token,
                       const struct release_options *options, struct release *ret)
{
	auto_arena(ARENA_KEYS);
	auto_turn turn = {.fd = -1};

	TRY(turn_take(config->runtime_dir, options->deadline, options->cancelled, options->with, &turn));
	for (int attempt = 1;; attempt++) {
		bool time_left = true;
		skr_status status = attempt_run(config, token, options, ret);
		struct status_record last = *status_last();
		if (!status.failure || attempt >= attempts_for(&last))
			return status;
		TRY(agent_client_pause(attempt + 1, options->deadline, options->cancelled, options->with, &time_left));
		if (!time_left)
			return status_adopt(&last);
	}
}
