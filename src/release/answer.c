/* SPDX-License-Identifier: Apache-2.0 */
#include "release/answer.h"

#include "base/base64.h"
#include "jose/jwk.h"
#include "jose/jws.h"
#include "jose/keywrap.h"

#include <openssl/err.h>

#include <stdio.h>
#include <string.h>

/* Threat model 10. */
#define WRAPPED_LIMIT (16 * 1024)
#define PKCS8_LIMIT   (8 * 1024)
#define OCT_LEAST     16
#define OCT_MOST      64
#define LEEWAY        300 /* seconds, for dates that begin; none for dates that end (D-8) */
#define SIGNATURE_ALG "RS256"
#define API_VERSION   "7.4"

void released_key_done(struct released_key *key)
{
	EVP_PKEY_free(key->key);
	buf_done(&key->secret);
	memset(key, 0, sizeof(*key));
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

void announced_key_done(struct announced_key *announced)
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

static skr_status check_key_kid(const json *jwk, const struct key_config *key, struct announced_key *ret)
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

	ret->ciphertext = BUF(WRAPPED_LIMIT);
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
	if (base64url_decode(ciphertext, strlen(ciphertext), &ret->ciphertext).failure)
		buf_clear(&ret->ciphertext); /* which opens as little as any other broken one, with the same words */
	return OK;
}

skr_status answer_check(const struct release_expectation *expected, const char *text, size_t len,
                        struct announced_key *ret)
{
	auto_jws jws = {.header = NULL};

	TRY(check_signed(expected, text, len, &jws));
	const json *bundle = json_get(json_get(jws.payload, "response"), "key");
	const json *jwk = json_get(bundle, "key");
	TRY(check_request(expected, json_get(jws.payload, "request"), ret));
	TRY(check_key_kid(jwk, expected->key, ret));
	TRY(check_attributes(json_get(bundle, "attributes"), expected->now));
	TRY(read_public_key(jwk, ret));
	return check_key_hsm(expected, jwk, ret);
}

skr_status answer_check_handed(const struct release_expectation *expected, const json *bundle, struct buf *wrapped,
                               struct announced_key *ret)
{
	const json *jwk = json_get(bundle, "key");

	TRY(check_key_kid(jwk, expected->key, ret));
	TRY(check_attributes(json_get(bundle, "attributes"), expected->now));
	TRY(read_public_key(jwk, ret));
	buf_move(&ret->ciphertext, wrapped);
	return OK;
}

/* ---- one answer: checks 6 and 7 ---- */

/*
 * Everything on the way from the wrapped key to the target's bytes is in the ephemeral arena: AES key, bytes.
 * Nothing is fetched or made in libcrypto here for the first time: transport_warm_up did.
 */
static skr_status open_wrapped(const struct release_expectation *expected, const struct announced_key *announced,
                               struct buf *ret_target)
{
	auto_arena(ARENA_EPHEMERAL);

	return keywrap_open(expected->token->enc, expected->transport, announced->ciphertext.data,
	                    announced->ciphertext.len, ret_target);
}

/* The sentence of keywrap_open: one for all causes on the way to a key. */
static skr_status does_not_open(void)
{
	ERR_clear_error();
	return FAIL(341, "the wrapped key cannot be opened");
}

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

skr_status answer_open(const struct release_expectation *expected, const struct announced_key *announced,
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
