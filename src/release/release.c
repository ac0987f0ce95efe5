/* SPDX-License-Identifier: Apache-2.0 */
#include "release/release.h"

#include "agent/protocol.h"
#include "base/base64.h"
#include "base/file.h"
#include "jose/jwk.h"
#include "jose/jws.h"
#include "jose/keywrap.h"
#include "release/agent_client.h"
#include "release/turn.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* Threat model 10. */
#define WRAPPED_LIMIT  (16 * 1024)
#define PKCS8_LIMIT    (8 * 1024)
#define OCT_LEAST      16
#define OCT_MOST       64
#define VERSION_MOST   64
#define LEEWAY         300 /* seconds, for dates that begin; none for dates that end (D-8) */
#define ANCHORS_LIMIT  (2 * 1024 * 1024)
#define SIGNATURE_ALG  "RS256"
#define API_VERSION    "7.4"
#define ATTEMPTS_DEATH 2    /* of the agent (G-04) */
#define ATTEMPTS_CROWD 4    /* too many agents (G-09) */
#define WARM_UP_BITS   1152 /* the least that OAEP with SHA-384 and a key of 32 bytes fit into, and then some */

static void released_key_done(struct released_key *key)
{
	EVP_PKEY_free(key->key);
	buf_done(&key->secret);
	memset(key, 0, sizeof(*key));
}
#define auto_released_key __attribute__((cleanup(released_key_done))) struct released_key

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

/* ---- key identifiers ---- */

/* https://HOST/keys/NAME[/VERSION], taken apart. */
struct kid {
	char host[256], name[128], version[VERSION_MOST + 1];
};

static bool take_segment(const char **at, char *ret, size_t size)
{
	size_t len = strcspn(*at, "/?#");

	if (len >= size)
		return false;
	memcpy(ret, *at, len);
	ret[len] = '\0';
	*at += len;
	return true;
}

static bool kid_parse(const char *text, struct kid *ret)
{
	static const char scheme[] = "https://", keys[] = "/keys/";
	const char *at = text;

	*ret = (struct kid){.host = ""};
	if (strncmp(at, scheme, sizeof(scheme) - 1) != 0)
		return false;
	at += sizeof(scheme) - 1;
	if (!take_segment(&at, ret->host, sizeof(ret->host)) || strncmp(at, keys, sizeof(keys) - 1) != 0)
		return false;
	at += sizeof(keys) - 1;
	if (!take_segment(&at, ret->name, sizeof(ret->name)) || !ret->name[0])
		return false;
	if (*at == '/') {
		at++;
		if (!take_segment(&at, ret->version, sizeof(ret->version)))
			return false;
	}
	return *at == '\0';
}

/* Hosts are equal without regard to case; :443 says nothing for https. */
static bool same_host(const char *a, const char *b)
{
	static const char usual[] = ":443";
	size_t len_a = strlen(a), len_b = strlen(b), tail = sizeof(usual) - 1;

	if (len_a > tail && strcmp(a + len_a - tail, usual) == 0)
		len_a -= tail;
	if (len_b > tail && strcmp(b + len_b - tail, usual) == 0)
		len_b -= tail;
	return len_a == len_b && strncasecmp(a, b, len_a) == 0;
}

static bool same_key(const struct kid *kid, const struct key_config *key)
{
	return same_host(kid->host, key->host) && strcmp(kid->name, key->name) == 0;
}

/* The name a certificate must cover: the host without its port, an IPv6 address without its brackets. */
static skr_status host_without_port(const char *host, char ret[256])
{
	size_t len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");

	if (host[0] == '[') {
		host++;
		len--;
	}
	if (len >= 256)
		return FAIL(599, "a host of %zu bytes", len);
	memcpy(ret, host, len);
	ret[len] = '\0';
	return OK;
}

/* ---- one answer: checks 1 to 5 ---- */

/* What the signature vouches for, taken out of the payload; nothing of it is opened yet. */
struct announced_key {
	char kid[512];
	char version[VERSION_MOST + 1];
	unsigned ops;
	bool oct, nonce_echoed;
	EVP_PKEY *public_key;  /* NULL for oct */
	struct buf ciphertext; /* base64url text of C1 || C2 */
};
#define auto_announced_key __attribute__((cleanup(announced_key_done))) struct announced_key
static void announced_key_done(struct announced_key *announced)
{
	EVP_PKEY_free(announced->public_key);
	buf_done(&announced->ciphertext);
}

/* A string of the payload that must be there. */
static skr_status payload_text(const json *object, const char *name, const char **ret)
{
	skr_status status = json_string(object, name, ret);
	return status.failure ? FAIL(340, "check 5: %s", status_message()) : OK;
}

static skr_status check_signed(const struct release_expectation *expected, const char *text, size_t len,
                               struct jws *ret)
{
	char host[256];
	struct jws_trust trust = {
	    .alg = SIGNATURE_ALG, .host = host, .anchors = expected->anchors, .now = expected->now};

	TRY(host_without_port(expected->key->host, host));
	TRY(jws_parse(text, len, ret));
	TRY(jws_verify_with_chain(ret, &trust));
	return jws_payload(ret);
}

static skr_status check_request_kid(const json *request, const struct key_config *key)
{
	const char *text;
	struct kid kid;

	TRY(payload_text(request, "kid", &text));
	const char *version = key->version ? key->version : "";
	if (!kid_parse(text, &kid) || !same_key(&kid, key) || strcmp(kid.version, version) != 0)
		return FAIL(343, "check 5: request.kid %.300s, asked for %s", text, key->url);
	return OK;
}

/* Freshness rests on the transport key, which is new each time; the nonce is one more proof where the service echoes
 * it. */
static skr_status check_nonce(const json *request, const char *nonce, bool *ret_echoed)
{
	const char *text;

	*ret_echoed = json_get(request, "nonce") != NULL;
	if (!*ret_echoed)
		return OK;
	TRY(payload_text(request, "nonce", &text));
	if (strcmp(text, nonce) != 0)
		return FAIL(343, "check 5: request.nonce is not the one of this login");
	return OK;
}

static skr_status check_enc(const json *object, const char *where, const char *enc)
{
	const char *text;

	TRY(payload_text(object, "enc", &text));
	if (strcmp(text, enc) != 0)
		return FAIL(340, "check 5: %s.enc is %.64s, asked for %s", where, text, enc);
	return OK;
}

static skr_status check_request(const struct release_expectation *expected, const json *request,
                                struct announced_key *ret)
{
	const char *version;

	TRY(check_request_kid(request, expected->key));
	TRY(check_enc(request, "request", expected->token->enc));
	TRY(payload_text(request, "api-version", &version));
	if (strcmp(version, API_VERSION) != 0)
		return FAIL(340, "check 5: request.api-version is %.32s, asked for " API_VERSION, version);
	return check_nonce(request, expected->nonce, &ret->nonce_echoed);
}

static bool version_is_plain(const char *version)
{
	return version[0] &&
	       !version[strspn(version, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")];
}

static skr_status check_response_kid(const json *jwk, const struct key_config *key, struct announced_key *ret)
{
	const char *text;
	struct kid kid;

	TRY(payload_text(jwk, "kid", &text));
	if (strlen(text) >= sizeof(ret->kid) || !kid_parse(text, &kid) || !same_key(&kid, key) ||
	    !version_is_plain(kid.version))
		return FAIL(343, "check 5: the key is %.300s, asked for %s", text, key->url);
	if (key->version && strcmp(kid.version, key->version) != 0)
		return FAIL(343, "check 5: the key is version %s, asked for %s", kid.version, key->version);
	memcpy(ret->kid, text, strlen(text) + 1);
	memcpy(ret->version, kid.version, sizeof(ret->version));
	return OK;
}

/* A date of the attributes; `otherwise` if it is not there. */
static skr_status read_date(const json *attributes, const char *name, int64_t otherwise, int64_t *ret)
{
	if (!json_get(attributes, name) || json_kind(json_get(attributes, name)) == JSON_NULL) {
		*ret = otherwise;
		return OK;
	}
	skr_status status = json_integer(attributes, name, false, ret);
	return status.failure ? FAIL(340, "check 5: attributes.%s: %s", name, status_message()) : OK;
}

static skr_status check_attributes(const json *attributes, int64_t now)
{
	int64_t begins, ends;

	if (json_kind(attributes) != JSON_OBJECT)
		return FAIL(340, "check 5: response.key.attributes is missing");
	TRY(read_date(attributes, "nbf", INT64_MIN, &begins));
	TRY(read_date(attributes, "exp", INT64_MAX, &ends));
	if (!json_bool(attributes, "enabled", false))
		return FAIL(333, "check 5: the key is not enabled");
	if (begins != INT64_MIN && begins > now + LEEWAY)
		return FAIL(333, "check 5: the key is not valid before %lld, it is %lld", (long long)begins,
		            (long long)now);
	if (now >= ends)
		return FAIL(333, "check 5: the key expired at %lld, it is %lld", (long long)ends, (long long)now);
	return OK;
}

static skr_status read_public_key(const json *jwk, struct announced_key *ret)
{
	const char *kty;

	TRY(payload_text(jwk, "kty", &kty));
	ret->ops = key_ops_from_json(jwk);
	ret->oct = strcmp(kty, "oct") == 0 || strcmp(kty, "oct-HSM") == 0;
	if (ret->oct)
		return OK;
	skr_status status = jwk_public_key(jwk, &ret->public_key);
	return status.failure ? FAIL(342, "check 5: public members: %s", status_message()) : OK;
}

/* "key_hsm": base64url of {"schema_version","header":{"kid","alg","enc"},"ciphertext"}. */
static skr_status parse_key_hsm(const json *jwk, json **ret)
{
	const char *text;
	auto_buf bytes = BUF(2 * WRAPPED_LIMIT);

	TRY(payload_text(jwk, "key_hsm", &text));
	skr_status status = base64url_decode(text, strlen(text), &bytes);
	if (!status.failure)
		status = json_parse(bytes.data, bytes.len, ret);
	return status.failure ? FAIL(340, "check 5: key_hsm: %s", status_message()) : OK;
}

static skr_status check_key_hsm(const struct release_expectation *expected, const json *jwk, struct announced_key *ret)
{
	auto_json *key_hsm = NULL;
	const char *kid, *alg, *schema, *ciphertext;

	TRY(parse_key_hsm(jwk, &key_hsm));
	const json *header = json_get(key_hsm, "header");
	TRY(payload_text(header, "kid", &kid));
	if (strcmp(kid, expected->transport_kid) != 0)
		return FAIL(343, "check 5: key_hsm is for the transport key %.64s, not for this login's", kid);
	TRY(payload_text(header, "alg", &alg));
	TRY(payload_text(key_hsm, "schema_version", &schema));
	if (strcmp(alg, "dir") != 0 || strcmp(schema, "1.0") != 0)
		return FAIL(340, "check 5: key_hsm has alg %.32s and schema %.32s, not dir and 1.0", alg, schema);
	TRY(check_enc(header, "key_hsm.header", expected->token->enc));
	TRY(payload_text(key_hsm, "ciphertext", &ciphertext));
	return buf_append_text(&ret->ciphertext, ciphertext);
}

/* Checks 1 to 5 of threat model section 9. */
static skr_status answer_check(const struct release_expectation *expected, const char *text, size_t len,
                               struct announced_key *ret)
{
	auto_jws jws = {.header = NULL};

	TRY(check_signed(expected, text, len, &jws));
	const json *bundle = json_get(json_get(jws.payload, "response"), "key");
	const json *jwk = json_get(bundle, "key");
	TRY(check_request(expected, json_get(jws.payload, "request"), ret));
	TRY(check_response_kid(jwk, expected->key, ret));
	TRY(check_attributes(json_get(bundle, "attributes"), expected->now));
	TRY(read_public_key(jwk, ret));
	ret->ciphertext = BUF(2 * WRAPPED_LIMIT);
	return check_key_hsm(expected, jwk, ret);
}

/* ---- one answer: checks 6 and 7 ---- */

/*
 * Everything on the way from the wrapped blob to the target's bytes is in the ephemeral arena: blob, AES key, bytes.
 * Nothing is fetched or made in libcrypto here for the first time: transport_warm_up did.
 */
static skr_status open_wrapped(const struct release_expectation *expected, const struct announced_key *announced,
                               struct buf *ret_target)
{
	auto_arena(ARENA_EPHEMERAL);
	auto_buf wrapped = BUF(WRAPPED_LIMIT);
	const char *text = buf_text(&announced->ciphertext);

	if (base64url_decode(text, strlen(text), &wrapped).failure)
		buf_clear(&wrapped); /* which opens as little as any other broken one, with the same words */
	return keywrap_open(expected->token->enc, expected->transport, wrapped.data, wrapped.len, ret_target);
}

/* The sentence of keywrap_open: one for all causes on the way to a key. */
static skr_status does_not_open(void)
{
	ERR_clear_error();
	return FAIL(341, "the wrapped key cannot be opened");
}

AUTO_OSSL(pkcs8, PKCS8_PRIV_KEY_INFO, PKCS8_PRIV_KEY_INFO_free)
#define auto_pkcs8 __attribute__((cleanup(pkcs8_done))) PKCS8_PRIV_KEY_INFO

/* PKCS#8 PrivateKeyInfo, unencrypted, nothing behind it. */
static skr_status parse_pkcs8(const struct buf *der, EVP_PKEY **ret)
{
	const uint8_t *p = der->data;
	auto_pkcs8 *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)der->len);

	if (!info || p != der->data + der->len)
		return does_not_open();
	*ret = EVP_PKCS82PKEY_ex(info, ossl, NULL);
	return *ret ? OK : does_not_open();
}

static skr_status check_consistency(EVP_PKEY *key)
{
	auto_pkey_ctx *ctx = EVP_PKEY_CTX_new_from_pkey(ossl, key, NULL);

	/* For RSA: primes, exponents, coefficient; for EC: the point, its order, and that d gives it. */
	if (!ctx || EVP_PKEY_check(ctx) != 1)
		return ossl_fail(342, "check 7: the parts of the key do not fit together");
	return OK;
}

static skr_status public_key_hash(EVP_PKEY *key, uint8_t ret[32])
{
	auto_buf der = BUF(4096);
	uint8_t *place;

	int size = i2d_PUBKEY(key, NULL);
	if (size <= 0)
		return ossl_fail(599, "encoding a public key");
	TRY(buf_reserve(&der, (size_t)size, &place));
	if (i2d_PUBKEY(key, &place) != size)
		return ossl_fail(599, "encoding a public key");
	return sha256(der.data, (size_t)size, ret);
}

static skr_status check_pin(const struct key_config *config, const uint8_t hash[32])
{
	if (config->pinned && memcmp(hash, config->public_key_sha256, 32) != 0)
		return FAIL(342, "check 7: the key is not the one of public_key_sha256");
	return OK;
}

static skr_status accept_pair(const struct key_config *config, const struct announced_key *announced,
                              const struct buf *target, struct released_key *ret)
{
	auto_pkey *key = NULL;

	TRY(parse_pkcs8(target, &key));
	if (EVP_PKEY_eq(key, announced->public_key) != 1) {
		ERR_clear_error();
		return FAIL(342, "check 7: the key is not the private half of the one announced");
	}
	TRY(check_consistency(key));
	TRY(public_key_hash(announced->public_key, ret->public_key_sha256));
	TRY(check_pin(config, ret->public_key_sha256));
	ret->key = TAKE(key);
	return OK;
}

static skr_status accept_secret(const struct key_config *config, const struct buf *target, struct released_key *ret)
{
	if (config->pinned)
		return FAIL(342, "check 7: public_key_sha256 is set, but the key is symmetric");
	if (target->len < OCT_LEAST || target->len > OCT_MOST)
		return FAIL(342, "check 7: a symmetric key of %zu bytes, %d to %d are taken", target->len, OCT_LEAST,
		            OCT_MOST);
	ret->secret = BUF(OCT_MOST);
	return buf_append(&ret->secret, target->data, target->len);
}

/* Checks 6 and 7. The key itself is made in the key arena. */
static skr_status answer_open(const struct release_expectation *expected, const struct announced_key *announced,
                              struct released_key *ret)
{
	auto_arena(ARENA_KEYS);
	auto_released_key key = {
	    .config = expected->key, .ops = announced->ops, .nonce_echoed = announced->nonce_echoed};
	auto_buf target = BUF(PKCS8_LIMIT);

	TRY(open_wrapped(expected, announced, &target));
	if (announced->oct)
		TRY(accept_secret(expected->key, &target, &key));
	else
		TRY(accept_pair(expected->key, announced, &target, &key));
	memcpy(key.kid, announced->kid, sizeof(key.kid));
	memcpy(key.version, announced->version, sizeof(announced->version));
	*ret = key;
	memset(&key, 0, sizeof(key));
	return OK;
}

skr_status release_verify(const struct release_expectation *expected, const char *jws, size_t len,
                          struct released_key *ret)
{
	auto_announced_key announced = {.kid = ""};

	TRY(answer_check(expected, jws, len, &announced));
	return answer_open(expected, &announced, ret);
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

static skr_status take_key(struct attempt *attempt, const struct agent_message *message)
{
	size_t index = (size_t)message->index;
	auto_announced_key announced = {.kid = ""};

	if (index >= attempt->token->key_count || index >= CONFIG_KEYS_MAX)
		return FAIL(504, "an answer for key %zu of %zu", index, attempt->token->key_count);
	if (attempt->arrived[index])
		return FAIL(504, "two answers for key %zu", index);
	attempt->arrived[index] = true;

	const struct key_config *key = &attempt->token->keys[index];
	struct release_expectation expected = {.config = attempt->config,
	                                       .token = attempt->token,
	                                       .key = key,
	                                       .nonce = buf_text(&attempt->nonce),
	                                       .transport_kid = buf_text(&attempt->kid),
	                                       .transport = attempt->transport,
	                                       .anchors = attempt->anchors,
	                                       .now = (int64_t)time(NULL)};
	int64_t start = monotonic_ms();
	TRY(at_step(answer_check(&expected, buf_text(&message->jws), message->jws.len, &announced), "verify",
	            key->host));
	int64_t checked = monotonic_ms();
	attempt->verify_ms += checked - start;
	TRY(at_step(answer_open(&expected, &announced, &attempt->release.keys[index]), "unwrap", key->host));
	attempt->unwrap_ms += monotonic_ms() - checked;
	attempt->echoes += announced.nonce_echoed;
	return OK;
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

/* Sets *ret_last at the last message of an answer. */
static skr_status take_message(struct attempt *attempt, const struct agent_message *message, bool *ret_last)
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
	case AGENT_KEY:
		return take_key(attempt, message);
	case AGENT_FAILURE:
		return status_adopt(&message->failure);
	case AGENT_END:
		return end_of_answer(attempt);
	}
	return FAIL(504, "unknown message");
}

static skr_status receive_message(struct attempt *attempt, struct agent_message *ret)
{
	const struct release_options *options = attempt->options;
	auto_buf body = BUF(PROTOCOL_ANSWER_LIMIT);

	TRY(agent_client_check(&attempt->agent));
	TRY(frame_receive(attempt->agent.fd, &body, options->deadline, options->cancelled, options->with));
	return agent_message_parse(body.data, body.len, ret);
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
