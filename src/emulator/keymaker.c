/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vault.h"

#include "base/base64.h"
#include "emulator/policy.h"
#include "jose/jwk.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RECOVERABLE_DAYS 90

void version_free(struct version *version)
{
	if (!version)
		return;
	EVP_PKEY_free(version->key);
	buf_done(&version->oct);
	json_free(version->ops);
	json_free(version->attributes);
	json_free(version->tags);
	json_free(version->policy);
	free(version);
}

static void version_done(struct version **version)
{
	version_free(*version);
}
#define auto_version __attribute__((cleanup(version_done))) struct version

void version_id(char out[33])
{
	char guid[37], *to = out;

	emulator_guid(guid);
	for (const char *c = guid; *c; c++)
		if (*c != '-')
			*to++ = *c;
	*to = '\0';
}

/* ---- what both ways of making have in common ---- */

static struct version *version_new(const struct emulator *e, bool hsm)
{
	struct version *version = calloc(1, sizeof(*version));

	if (!version)
		return NULL;
	version_id(version->id);
	version->oct = BUF(64);
	version->attributes = json_object();
	json_set_bool(version->attributes, "enabled", true);
	json_set_number(version->attributes, "created", emulator_now(e));
	json_set_number(version->attributes, "updated", emulator_now(e));
	json_set_string(version->attributes, "recoveryLevel", "Recoverable+Purgeable");
	json_set_number(version->attributes, "recoverableDays", RECOVERABLE_DAYS);
	json_set_bool(version->attributes, "exportable", false);
	if (hsm)
		json_set_string(version->attributes, "hsmPlatform", "2");
	return version;
}

static void default_ops(struct version *version)
{
	static const char *const rsa[] = {"encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey", NULL};
	static const char *const ec[] = {"sign", "verify", NULL};
	static const char *const oct[] = {"encrypt", "decrypt", "wrapKey", "unwrapKey", NULL};
	const char *const *ops = strncmp(version->kty, "RSA", 3) == 0  ? rsa
	                         : strncmp(version->kty, "EC", 2) == 0 ? ec
	                                                               : oct;

	version->ops = json_array();
	for (; *ops; ops++)
		json_push(version->ops, json_of_string(*ops));
}

static void take_ops(struct version *version, const json *ops)
{
	if (json_kind(ops) == JSON_ARRAY && json_count(ops) > 0)
		version->ops = json_copy(ops);
	else
		default_ops(version);
}

static void take_attributes(struct version *version, const json *attributes)
{
	static const char *const times[] = {"nbf", "exp"};
	int64_t value;

	json_set_bool(version->attributes, "enabled", json_bool(attributes, "enabled", true));
	json_set_bool(version->attributes, "exportable", json_bool(attributes, "exportable", false));
	for (int i = 0; i < 2; i++)
		if (json_get(attributes, times[i]) && !json_integer(attributes, times[i], false, &value).failure)
			json_set_number(version->attributes, times[i], value);
}

/* The policy as the service stores it: parsed and printed anew, version first. */
static skr_status policy_text(const json *stated, struct buf *out)
{
	const char *data;
	auto_buf text = BUF(64 * 1024), fresh = BUF(64 * 1024);
	auto_json *policy = NULL, *ordered = json_object();

	TRY(json_string(stated, "data", &data));
	TRY(base64_decode_any(data, strlen(data), &text));
	TRY(json_parse(text.data, text.len, &policy));
	TRY(policy_check(policy));
	json_set(ordered, "version", json_copy(json_get(policy, "version")));
	for (const json *m = json_first(policy); m; m = json_next(m))
		if (strcmp(json_name(m), "version") != 0)
			json_set(ordered, json_name(m), json_copy(m));
	TRY(json_print(ordered, &fresh));
	return base64url_encode(fresh.data, fresh.len, out);
}

skr_status version_set_policy(struct exchange *x, struct version *version, const json *policy, bool *ret_refused)
{
	auto_buf data = BUF(128 * 1024);

	*ret_refused = true;
	skr_status status = policy_text(policy, &data);
	if (status.failure == 213)
		return vault_error(x, 400, "BadParameter", NULL, "%s", status_message());
	TRY(status);
	const char *type = json_string_or_null(policy, "contentType");
	json_free(version->policy);
	version->policy = json_object();
	json_set_string(version->policy, "contentType", type ? type : "application/json; charset=utf-8");
	json_set_string(version->policy, "data", buf_text(&data));
	json_set_bool(version->policy, "immutable", json_bool(policy, "immutable", false));
	*ret_refused = false;
	return OK;
}

/* The rules of exportable keys (reference: akv-release, section 4.4). */
static skr_status take_policy(struct exchange *x, struct version *version, const json *policy, bool *ret_refused)
{
	bool exportable = json_bool(version->attributes, "exportable", false);
	bool hsm_type = strstr(version->kty, "-HSM") != NULL;

	*ret_refused = true;
	if (exportable && json_kind(policy) != JSON_OBJECT)
		return vault_error(x, 400, "BadParameter", NULL,
		                   "AKV.SKR.1004: Exportable keys must have release policy.");
	if (!exportable && policy)
		return vault_error(x, 400, "BadParameter", NULL,
		                   "AKV.SKR.1005: Non-exportable keys must not have release policy.");
	if (exportable && !hsm_type)
		return vault_error(x, 400, "BadParameter", NULL, "AKV.SKR.1006: Exportable keys must be HSM keys.");
	*ret_refused = false;
	return policy ? version_set_policy(x, version, policy, ret_refused) : OK;
}

static skr_status take_settings(struct exchange *x, struct version *version, const json *request, bool *ret_refused)
{
	const json *tags = json_get(request, "tags");

	take_attributes(version, json_get(request, "attributes"));
	if (json_kind(tags) == JSON_OBJECT)
		version->tags = json_copy(tags);
	return take_policy(x, version, json_get(request, "release_policy"), ret_refused);
}

/* RSA, EC or oct, with "-HSM" where an HSM holds it; false: the vault has no such type. */
static bool take_type(struct version *version, const struct vault *vault, const char *kty, bool hsm)
{
	static const char *const families[] = {"RSA", "EC", "oct"};

	for (int i = 0; i < 3; i++) {
		size_t len = strlen(families[i]);
		if (strncmp(kty, families[i], len) != 0 || (kty[len] && strcmp(kty + len, "-HSM") != 0))
			continue;
		bool in_hsm = hsm || kty[len] || vault->hsm;
		snprintf(version->kty, sizeof(version->kty), "%s%s", families[i], in_hsm ? "-HSM" : "");
		snprintf(version->released_kty, sizeof(version->released_kty), "%s", version->kty);
		return i < 2 || vault->hsm;
	}
	return false;
}

/* ---- create ---- */

static const char *curve_group(const char *curve)
{
	static const char *const curves[][2] = {{"P-256", "P-256"},
	                                        {"P-384", "P-384"},
	                                        {"P-521", "P-521"},
	                                        {"P-256K", "secp256k1"},
	                                        {"SECP256K1", "secp256k1"}};

	for (size_t i = 0; i < sizeof(curves) / sizeof(*curves); i++)
		if (strcmp(curves[i][0], curve) == 0)
			return curves[i][1];
	return NULL;
}

static skr_status make_oct(struct version *version, int64_t bits)
{
	uint8_t *place;

	TRY(buf_reserve(&version->oct, (size_t)bits / 8, &place));
	TRY(random_bytes(place, (size_t)bits / 8));
	version->oct.len = (size_t)bits / 8;
	return OK;
}

/* Making a large RSA key takes seconds, for which others need not wait: no state of ours is touched meanwhile. */
static EVP_PKEY *make_key(struct emulator *e, const char *group, size_t bits)
{
	pthread_mutex_unlock(&e->lock);
	EVP_PKEY *key = group ? EVP_PKEY_Q_keygen(ossl, NULL, "EC", group) : EVP_PKEY_Q_keygen(ossl, NULL, "RSA", bits);
	pthread_mutex_lock(&e->lock);
	return key;
}

/* The parameters of a new key: EC group or size; false: the service does not make such a key. */
static bool key_parameters(const struct version *version, const json *request, const char **ret_group,
                           int64_t *ret_bits)
{
	const char *curve = json_string_or_null(request, "crv");

	*ret_group = NULL;
	*ret_bits = 0;
	if (strncmp(version->kty, "EC", 2) == 0)
		return (*ret_group = curve_group(curve ? curve : "P-256")) != NULL;
	bool rsa = strncmp(version->kty, "RSA", 3) == 0;
	*ret_bits = rsa ? 2048 : 256;
	if (json_get(request, "key_size") && json_integer(request, "key_size", false, ret_bits).failure)
		return false;
	if (rsa)
		return *ret_bits == 2048 || *ret_bits == 3072 || *ret_bits == 4096;
	return *ret_bits == 128 || *ret_bits == 192 || *ret_bits == 256;
}

skr_status version_create(struct emulator *e, struct exchange *x, const struct vault *vault, const json *request,
                          struct version **ret)
{
	auto_version *version = version_new(e, vault->hsm);
	const char *kty = json_string_or_null(request, "kty"), *group;
	bool refused;
	int64_t bits;

	if (!version)
		return FAIL(14, "a key");
	if (!kty || !take_type(version, vault, kty, false))
		return vault_error(x, 400, "BadParameter", NULL, "Property kty has invalid value.");
	if (!key_parameters(version, request, &group, &bits))
		return vault_error(x, 400, "BadParameter", NULL, "Property %s has invalid value.",
		                   strncmp(version->kty, "EC", 2) == 0 ? "crv" : "key_size");
	skr_status status = take_settings(x, version, request, &refused);
	if (status.failure || refused)
		return status;
	take_ops(version, json_get(request, "key_ops"));
	if (strncmp(version->kty, "oct", 3) == 0)
		TRY(make_oct(version, bits));
	else if (!(version->key = make_key(e, group, (size_t)bits)))
		return ossl_fail(599, "making a key");
	version->wide_exponent = !vault->hsm && strcmp(version->kty, "RSA-HSM") == 0;
	*ret = TAKE(version);
	return OK;
}

skr_status version_rotate(struct emulator *e, const struct version *old, struct version **ret)
{
	auto_version *version = version_new(e, false);

	if (!version)
		return FAIL(14, "a key");
	memcpy(version->kty, old->kty, sizeof(version->kty));
	memcpy(version->released_kty, old->kty, sizeof(version->released_kty));
	version->wide_exponent = old->wide_exponent;
	version->ops = json_copy(old->ops);
	version->tags = old->tags ? json_copy(old->tags) : NULL;
	version->policy = old->policy ? json_copy(old->policy) : NULL;
	json_free(version->attributes);
	version->attributes = json_copy(old->attributes);
	json_set_number(version->attributes, "created", emulator_now(e));
	json_set_number(version->attributes, "updated", emulator_now(e));
	if (!old->key) {
		TRY(make_oct(version, (int64_t)old->oct.len * 8));
	} else {
		char group[32];
		bool ec = EVP_PKEY_get_group_name(old->key, group, sizeof(group), NULL) == 1;
		version->key = make_key(e, ec ? group : NULL, (size_t)EVP_PKEY_get_bits(old->key));
		if (!version->key)
			return ossl_fail(599, "making a key");
	}
	*ret = TAKE(version);
	return OK;
}

/* ---- import ---- */

/* "Hsm" says the specification, "hsm" say others. */
static bool wants_hsm(const json *request)
{
	for (const json *m = json_first(request); m; m = json_next(m))
		if (strcasecmp(json_name(m), "hsm") == 0)
			return json_is_true(m);
	return false;
}

static skr_status import_oct(struct exchange *x, struct version *version, const json *jwk, bool *ret_refused)
{
	const char *k = json_string_or_null(jwk, "k");
	auto_buf bytes = BUF(64 * 1024);

	*ret_refused = true;
	if (!k || base64_decode_any(k, strlen(k), &bytes).failure || bytes.len == 0)
		return vault_error(x, 400, "BadParameter", NULL,
		                   "JSON Web Key: k property is missing or not understood");
	if (bytes.len > 64)
		return vault_error(x, 400, "BadParameter", NULL,
		                   "JSON Web Key: k property of oct key is too large, maximum size is 64");
	*ret_refused = false;
	return buf_append(&version->oct, bytes.data, bytes.len);
}

static skr_status import_numbers(struct exchange *x, struct version *version, const json *jwk, bool *ret_refused)
{
	*ret_refused = false;
	if (strncmp(version->kty, "oct", 3) == 0)
		return import_oct(x, version, jwk, ret_refused);
	skr_status status = jwk_private_key(jwk, &version->key);
	if (status.failure != 213)
		return status;
	*ret_refused = true;
	return vault_error(x, 400, "BadParameter", NULL, "JSON Web Key: %s", status_message());
}

skr_status version_import(struct emulator *e, struct exchange *x, const struct vault *vault, const json *request,
                          struct version **ret)
{
	auto_version *version = version_new(e, vault->hsm);
	const json *jwk = json_get(request, "key");
	const char *kty = json_string_or_null(jwk, "kty");
	bool refused;

	if (!version)
		return FAIL(14, "a key");
	if (!kty || !take_type(version, vault, kty, wants_hsm(request)))
		return vault_error(x, 400, "BadParameter", NULL, "Property kty has invalid value.");
	if (vault->hsm)
		snprintf(version->released_kty, sizeof(version->released_kty), "%s", kty);
	skr_status status = import_numbers(x, version, jwk, &refused);
	if (status.failure || refused)
		return status;
	status = take_settings(x, version, request, &refused);
	if (status.failure || refused)
		return status;
	take_ops(version, json_get(jwk, "key_ops"));
	*ret = TAKE(version);
	return OK;
}
