/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vault.h"

#include "base/base64.h"
#include "emulator/dispatch.h"
#include "jose/jwk.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PURGE_AFTER (90 * 86400LL)

struct vaults {
	struct vault *first;
};

skr_status vaults_open(struct emulator *e)
{
	e->vaults = calloc(1, sizeof(*e->vaults));
	return e->vaults ? OK : FAIL(14, "vaults");
}

static void key_free(struct key *key)
{
	for (struct version *v = key->newest, *older; v; v = older) {
		older = v->older;
		version_free(v);
	}
	free(key->name);
	free(key);
}

static void vault_free(struct vault *vault)
{
	for (struct key *key = vault->keys, *next; key; key = next) {
		next = key->next;
		key_free(key);
	}
	documents_free(vault->secrets);
	documents_free(vault->certificates);
	free(vault->host);
	free(vault);
}

void vaults_close(struct emulator *e)
{
	if (!e->vaults)
		return;
	for (struct vault *vault = e->vaults->first, *next; vault; vault = next) {
		next = vault->next;
		vault_free(vault);
	}
	free(TAKE(e->vaults));
}

skr_status vault_of(struct emulator *e, const struct exchange *x, struct vault **ret)
{
	struct vault **end = &e->vaults->first;

	for (; *end; end = &(*end)->next) {
		if (strcmp((*end)->host, x->host) == 0) {
			*ret = *end;
			return OK;
		}
	}
	struct vault *vault = calloc(1, sizeof(*vault));
	if (!vault || !(vault->host = strdup(x->host))) {
		free(vault);
		return FAIL(14, "a vault");
	}
	vault->hsm = host_is_hsm(x->host);
	*end = vault;
	*ret = vault;
	return OK;
}

skr_status vault_error(struct exchange *x, int status, const char *code, const char *inner, const char *message, ...)
{
	char text[2048], guid[37];
	va_list args;

	va_start(args, message);
	vsnprintf(text, sizeof(text), message, args);
	va_end(args);
	if (!host_is_hsm(x->host))
		return reply_error(x, status, code, inner, "%s", text);
	emulator_guid(guid);
	return reply_error(x, status, code, inner, "%s (Activity ID: %s)", text, guid);
}

/* ---- the door ---- */

/* The host's domain: its name without the first label; what is no such name counts as a vault of localhost. */
static const char *domain_of(const char *host)
{
	const char *dot = strchr(host, '.');

	return dot && isalpha((unsigned char)host[0]) ? dot + 1 : "vault.localhost";
}

static skr_status challenge(const struct emulator *e, struct exchange *x, const char *audience, const char *message)
{
	const char *port = strrchr(x->authority, ':');
	const char *login = strstr(audience, ".localhost") ? "login.localhost"
	                    : host_is_hsm(x->host)         ? "login.microsoftonline.com"
	                                                   : "login.windows.net";
	char value[512];

	if (port && !isdigit((unsigned char)port[1]))
		port = NULL;
	snprintf(value, sizeof(value), "Bearer authorization=\"https://%s%s/%s\", resource=\"%s\"", login,
	         port ? port : "", e->tenant, audience);
	if (host_is_hsm(x->host))
		TRY(reply_text(x, 401, NULL, ""));
	else
		TRY(reply_error(x, 401, "Unauthorized", NULL, "%s", message));
	return reply_header(x, "WWW-Authenticate", value);
}

static skr_status refuse_bearer(const struct emulator *e, struct exchange *x, enum bearer bearer, const char *audience)
{
	char text[512];

	switch (bearer) {
	case BEARER_NONE:
		return challenge(e, x, audience, "AKV10000: Request is missing a Bearer or PoP token.");
	case BEARER_EXPIRED:
		return challenge(e, x, audience, "AKV10000: The token is expired.");
	case BEARER_AUDIENCE:
		snprintf(text, sizeof(text), "AKV10022: Invalid audience. Expected %s, found: %s", audience,
		         x->audience);
		return challenge(e, x, audience, text);
	default:
		return challenge(e, x, audience, "AKV10032: Invalid issuer or signature.");
	}
}

bool vault_enter(struct emulator *e, struct exchange *x, struct vault **ret_vault, struct identity **ret_caller,
                 skr_status *ret)
{
	struct identity *caller = NULL;
	char audience[300];

	snprintf(audience, sizeof(audience), "https://%s", domain_of(x->host));
	enum bearer bearer = entra_bearer(e, x, audience, &caller);
	if (bearer != BEARER_OK) {
		*ret = refuse_bearer(e, x, bearer, audience);
		return false;
	}
	if (!exchange_query(x, "api-version")) {
		*ret = vault_error(x, 400, "MissingApiVersionParameter", NULL,
		                   "The api-version query parameter (?api-version=) is required for all requests.");
		return false;
	}
	*ret = vault_of(e, x, ret_vault);
	if (ret_caller)
		*ret_caller = caller;
	return !ret->failure;
}

/* ---- finding ---- */

struct key *vault_key(const struct vault *vault, const char *name)
{
	struct key *key = vault->keys;

	while (key && strcasecmp(key->name, name) != 0)
		key = key->next;
	return key;
}

static skr_status key_not_found(struct exchange *x, const char *name)
{
	return vault_error(x, 404, "KeyNotFound", NULL,
	                   "A key with (name/id) %s was not found in this key vault. If you recently deleted this key "
	                   "you may be able to "
	                   "recover it using the correct recovery command. For help resolving this issue, please see "
	                   "https://go.microsoft.com/fwlink/?linkid=2125182",
	                   name);
}

static struct key *live_key(struct vault *vault, struct exchange *x, skr_status *ret)
{
	const char *name = exchange_segment(x, "name");
	struct key *key = vault_key(vault, name);

	if (key && !key->deleted)
		return key;
	*ret = key_not_found(x, name);
	return NULL;
}

struct version *vault_version(struct vault *vault, struct exchange *x, skr_status *ret)
{
	const char *id = exchange_segment(x, "version");
	struct key *key = live_key(vault, x, ret);

	if (!key)
		return NULL;
	struct version *version = key->newest;
	while (id && version && strcasecmp(version->id, id) != 0)
		version = version->older;
	if (!version)
		*ret = key_not_found(x, exchange_segment(x, "name"));
	return version;
}

/* ---- showing ---- */

skr_status object_id(const struct exchange *x, const char *collection, const char *name, const char *version,
                     struct buf *out)
{
	TRY(exchange_origin(x, out));
	return buf_printf(out, "/%s/%s%s%s", collection, name, version ? "/" : "", version ? version : "");
}

static skr_status copy_public_members(const struct version *version, json *jwk)
{
	static const char *const names[] = {"n", "e", "crv", "x", "y"};
	auto_json *public = NULL;

	TRY(jwk_from_key(version->key, &public));
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (json_get(public, names[i]))
			json_set(jwk, names[i], json_copy(json_get(public, names[i])));
	const char *e = json_string_or_null(jwk, "e");
	if (version->wide_exponent && e && strcmp(e, "AQAB") == 0)
		json_set_string(jwk, "e", "AAEAAQ");
	return OK;
}

skr_status version_jwk(const struct exchange *x, const char *name, const struct version *version, const char *kty,
                       json **ret)
{
	auto_json *jwk = json_object();
	auto_buf kid = BUF(1024);

	TRY(object_id(x, "keys", name, version->id, &kid));
	json_set_string(jwk, "kid", buf_text(&kid));
	json_set_string(jwk, "kty", kty);
	json_set(jwk, "key_ops", json_copy(version->ops));
	if (version->key)
		TRY(copy_public_members(version, jwk));
	*ret = TAKE(jwk);
	return OK;
}

static skr_status bundle_of(const struct exchange *x, const char *name, const struct version *version, json **ret)
{
	json *jwk;
	auto_json *bundle = json_object();

	TRY(version_jwk(x, name, version, version->kty, &jwk));
	json_set(bundle, "key", jwk);
	json_set(bundle, "attributes", json_copy(version->attributes));
	if (version->tags)
		json_set(bundle, "tags", json_copy(version->tags));
	if (version->policy)
		json_set(bundle, "release_policy", json_copy(version->policy));
	*ret = TAKE(bundle);
	return OK;
}

static skr_status reply_bundle(struct exchange *x, const char *name, const struct version *version)
{
	json *bundle;

	TRY(bundle_of(x, name, version, &bundle));
	return reply_json(x, 200, bundle);
}

static size_t number_of(const char *text, size_t otherwise)
{
	unsigned long value = text ? strtoul(text, NULL, 10) : 0;

	return value > 0 ? value : otherwise;
}

static skr_status next_link(const struct exchange *x, size_t from, size_t page, json *body)
{
	auto_buf link = BUF(2048);

	TRY(exchange_origin(x, &link));
	TRY(buf_printf(&link, "%.*s?api-version=%s&$skiptoken=%zu&maxresults=%zu", (int)strcspn(x->path, "?"), x->path,
	               exchange_query(x, "api-version"), from, page));
	json_set_string(body, "nextLink", buf_text(&link));
	return OK;
}

skr_status reply_page(struct exchange *x, json *items)
{
	auto_json *all = items, *body = json_object();
	json *value = json_array();
	size_t page = number_of(exchange_query(x, "maxresults"), 25),
	       from = number_of(exchange_query(x, "$skiptoken"), 0);
	size_t i = 0;

	for (const json *item = json_first(all); item; item = json_next(item), i++)
		if (i >= from && i - from < page)
			json_push(value, json_copy(item));
	json_set(body, "value", value);
	if (i > from + page)
		TRY(next_link(x, from + page, page, body));
	else
		json_set_null(body, "nextLink");
	return reply_json(x, 200, TAKE(body));
}

static skr_status push_item(const struct exchange *x, const char *name, const char *id, const struct version *version,
                            json *items)
{
	json *item = json_object();
	auto_buf kid = BUF(1024);

	json_push(items, item);
	TRY(object_id(x, "keys", name, id, &kid));
	json_set_string(item, "kid", buf_text(&kid));
	json_set(item, "attributes", json_copy(version->attributes));
	if (version->tags)
		json_set(item, "tags", json_copy(version->tags));
	return OK;
}

/* ---- keys ---- */

bool object_name_fits(const char *name)
{
	size_t len = strlen(name);

	if (len < 1 || len > 127)
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && *name != '-')
			return false;
	return true;
}

static skr_status conflict_with_deleted(struct exchange *x, const char *name)
{
	return vault_error(x, 409, "Conflict", "ObjectIsDeletedButRecoverable",
	                   "Key %s is currently in a deleted but recoverable state, and its name cannot be reused; in "
	                   "this state, the key can "
	                   "only be recovered or purged.",
	                   name);
}

/* The new version becomes the newest of its key, which is made if need be. */
static skr_status add_version(struct vault *vault, const char *name, struct version *version)
{
	struct key *key = vault_key(vault, name), **end = &vault->keys;

	if (!key) {
		key = calloc(1, sizeof(*key));
		if (!key || !(key->name = strdup(name))) {
			free(key);
			version_free(version);
			return FAIL(14, "a key");
		}
		while (*end)
			end = &(*end)->next;
		*end = key;
	}
	version->older = key->newest;
	key->newest = version;
	return OK;
}

typedef skr_status make_fn(struct emulator *e, struct exchange *x, const struct vault *vault, const json *request,
                           struct version **ret);

static skr_status make_key(struct emulator *e, struct exchange *x, make_fn *make)
{
	const char *name = exchange_segment(x, "name");
	struct version *version = NULL;
	struct vault *vault;
	const json *request;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	if (!object_name_fits(name))
		return vault_error(x, 400, "BadParameter", NULL, "The request URI contains an invalid name: %s", name);
	if (exchange_json(x, &request).failure)
		return vault_error(x, 400, "BadParameter", NULL, "The body is no JSON: %s", status_message());
	struct key *key = vault_key(vault, name);
	if (key && key->deleted)
		return conflict_with_deleted(x, name);
	TRY(make(e, x, vault, request, &version));
	if (!version)
		return OK;
	TRY(add_version(vault, name, version));
	return reply_bundle(x, name, version);
}

static skr_status create(struct emulator *e, struct exchange *x)
{
	return make_key(e, x, version_create);
}

static skr_status import(struct emulator *e, struct exchange *x)
{
	return make_key(e, x, version_import);
}

static skr_status rotate(struct emulator *e, struct exchange *x)
{
	const char *name = exchange_segment(x, "name");
	struct version *version;
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	struct key *key = live_key(vault, x, &status);
	if (!key)
		return status;
	TRY(version_rotate(e, key->newest, &version));
	TRY(add_version(vault, name, version));
	return reply_bundle(x, name, version);
}

static skr_status get(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	const struct version *version = vault_version(vault, x, &status);
	return version ? reply_bundle(x, exchange_segment(x, "name"), version) : status;
}

static skr_status list(struct emulator *e, struct exchange *x)
{
	auto_json *items = json_array();
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	for (const struct key *key = vault->keys; key; key = key->next)
		if (!key->deleted)
			TRY(push_item(x, key->name, NULL, key->newest, items));
	return reply_page(x, TAKE(items));
}

static skr_status versions(struct emulator *e, struct exchange *x)
{
	auto_json *items = json_array();
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	const struct key *key = live_key(vault, x, &status);
	if (!key)
		return status;
	for (const struct version *v = key->newest; v; v = v->older)
		TRY(push_item(x, key->name, v->id, v, items));
	return reply_page(x, TAKE(items));
}

/* ---- update ---- */

static skr_status update_policy(struct exchange *x, struct version *version, const json *policy, bool *ret_refused)
{
	*ret_refused = true;
	if (exchange_segment(x, "version"))
		return vault_error(x, 400, "BadParameter", NULL,
		                   "AKV.SKR.1016: Key Release Policy can only be set on versionless key.");
	if (!json_bool(version->attributes, "exportable", false))
		return vault_error(x, 400, "BadParameter", NULL,
		                   "AKV.SKR.1005: Non-exportable keys must not have release policy.");
	if (json_bool(version->policy, "immutable", false))
		return vault_error(x, 400, "BadParameter", NULL,
		                   "AKV.SKR.1020: Immutable Key Release Policy cannot be modified.");
	return version_set_policy(x, version, policy, ret_refused);
}

static void update_attributes(struct version *version, const json *attributes)
{
	static const char *const times[] = {"nbf", "exp"};
	int64_t value;

	if (json_kind(json_get(attributes, "enabled")) == JSON_BOOL)
		json_set_bool(version->attributes, "enabled", json_bool(attributes, "enabled", true));
	for (int i = 0; i < 2; i++) {
		if (json_kind(json_get(attributes, times[i])) == JSON_NULL)
			json_remove(version->attributes, times[i]);
		else if (!json_integer(attributes, times[i], false, &value).failure)
			json_set_number(version->attributes, times[i], value);
	}
}

static skr_status apply_update(struct emulator *e, struct exchange *x, struct version *version, const json *request)
{
	const json *attributes = json_get(request, "attributes"), *policy = json_get(request, "release_policy");
	const json *exportable = json_get(attributes, "exportable"), *ops = json_get(request, "key_ops");
	bool refused = false;

	if (exportable && json_is_true(exportable) != json_bool(version->attributes, "exportable", false))
		return vault_error(x, 400, "BadParameter", NULL,
		                   "AKV.SKR.1014: Cannot modify the exportable state of a key.");
	if (policy)
		TRY(update_policy(x, version, policy, &refused));
	if (refused)
		return OK;
	update_attributes(version, attributes);
	if (json_kind(ops) == JSON_ARRAY) {
		json_free(version->ops);
		version->ops = json_copy(ops);
	}
	if (json_kind(json_get(request, "tags")) == JSON_OBJECT) {
		json_free(version->tags);
		version->tags = json_copy(json_get(request, "tags"));
	}
	json_set_number(version->attributes, "updated", emulator_now(e));
	return reply_bundle(x, exchange_segment(x, "name"), version);
}

static skr_status update(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	const json *request;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	struct version *version = vault_version(vault, x, &status);
	if (!version)
		return status;
	if (exchange_json(x, &request).failure)
		return vault_error(x, 400, "BadParameter", NULL, "The body is no JSON: %s", status_message());
	return apply_update(e, x, version, request);
}

/* ---- delete, recover, purge ---- */

static skr_status reply_deleted(struct exchange *x, const struct key *key)
{
	auto_buf id = BUF(1024);
	json *bundle;

	TRY(object_id(x, "deletedkeys", key->name, NULL, &id));
	TRY(bundle_of(x, key->name, key->newest, &bundle));
	json_set_string(bundle, "recoveryId", buf_text(&id));
	json_set_number(bundle, "deletedDate", key->deleted_at);
	json_set_number(bundle, "scheduledPurgeDate", key->deleted_at + PURGE_AFTER);
	return reply_json(x, 200, bundle);
}

static skr_status delete (struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	struct key *key = live_key(vault, x, &status);
	if (!key)
		return status;
	key->deleted = true;
	key->deleted_at = emulator_now(e);
	return reply_deleted(x, key);
}

static struct key *deleted_key(struct vault *vault, struct exchange *x, skr_status *ret)
{
	const char *name = exchange_segment(x, "name");
	struct key *key = vault_key(vault, name);

	if (key && key->deleted)
		return key;
	*ret = vault_error(x, 404, "KeyNotFound", NULL, "Deleted Key not found: %s", name);
	return NULL;
}

static skr_status get_deleted(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	const struct key *key = deleted_key(vault, x, &status);
	return key ? reply_deleted(x, key) : status;
}

static skr_status recover(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	struct key *key = deleted_key(vault, x, &status);
	if (!key)
		return status;
	key->deleted = false;
	return reply_bundle(x, key->name, key->newest);
}

static skr_status purge(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	struct key *key = deleted_key(vault, x, &status);
	if (!key)
		return status;
	for (struct key **p = &vault->keys; *p; p = &(*p)->next) {
		if (*p == key) {
			*p = key->next;
			break;
		}
	}
	key_free(key);
	return reply_text(x, 204, NULL, "");
}

/* Whoever has no token learns nothing of what is served where. */
static skr_status nowhere(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	if (!vault_enter(e, x, &vault, NULL, &status))
		return status;
	return vault_error(x, 404, "NotFound", NULL, "nothing is served at this path");
}

const struct route vault_routes[] = {
    {SERVICE_VAULT, "GET", "/keys", "akv.list", list},
    {SERVICE_VAULT, "POST", "/keys/{name}/create", "akv.create", create},
    {SERVICE_VAULT, "POST", "/keys/{name}/release", "akv.release", release_key},
    {SERVICE_VAULT, "POST", "/keys/{name}/{version}/release", "akv.release", release_key},
    {SERVICE_VAULT, "POST", "/keys/{name}/rotate", "akv.rotate", rotate},
    {SERVICE_VAULT, "PUT", "/keys/{name}", "akv.import", import},
    {SERVICE_VAULT, "GET", "/keys/{name}/versions", "akv.versions", versions},
    {SERVICE_VAULT, "GET", "/keys/{name}", "akv.get", get},
    {SERVICE_VAULT, "GET", "/keys/{name}/{version}", "akv.get", get},
    {SERVICE_VAULT, "PATCH", "/keys/{name}", "akv.update", update},
    {SERVICE_VAULT, "PATCH", "/keys/{name}/{version}", "akv.update", update},
    {SERVICE_VAULT, "DELETE", "/keys/{name}", "akv.delete", delete},
    {SERVICE_VAULT, "GET", "/deletedkeys/{name}", "akv.deleted", get_deleted},
    {SERVICE_VAULT, "DELETE", "/deletedkeys/{name}", "akv.deleted", purge},
    {SERVICE_VAULT, "POST", "/deletedkeys/{name}/recover", "akv.deleted", recover},
    {SERVICE_VAULT, "PUT", "/secrets/{name}", "akv.secret", secret_set},
    {SERVICE_VAULT, "GET", "/secrets/{name}/versions", "akv.secret", secret_versions},
    {SERVICE_VAULT, "GET", "/secrets/{name}", "akv.secret", secret_get},
    {SERVICE_VAULT, "GET", "/secrets/{name}/{version}", "akv.secret", secret_get},
    {SERVICE_VAULT, "POST", "/certificates/{name}/import", "akv.certificate", certificate_import},
    {SERVICE_VAULT, "GET", "/certificates/{name}/versions", "akv.certificate", certificate_versions},
    {SERVICE_VAULT, "GET", "/certificates/{name}", "akv.certificate", certificate_get},
    {SERVICE_VAULT, "GET", "/certificates/{name}/{version}", "akv.certificate", certificate_get},
    {SERVICE_VAULT, "*", "*", "akv.unknown", nowhere},
    {0},
};
