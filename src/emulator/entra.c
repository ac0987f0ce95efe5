/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/entra.h"

#include "base/base64.h"
#include "emulator/authority.h"
#include "emulator/certificate.h"
#include "jose/jwk.h"
#include "jose/jws.h"

#include <openssl/pem.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define IDENTITIES 3

struct entra {
	EVP_PKEY *key; /* signs access tokens */
	char kid[64];
	EVP_PKEY *cluster_key; /* signs service-account tokens, as a Kubernetes cluster does */
	X509 *client_certificate;
	struct identity identities[IDENTITIES];
};

static const char assertion_type[] = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
static const char exchange_audience[] = "api://AzureADTokenExchange";

/* ---- opening ---- */

static skr_status text_member(const json *object, const char *name, char *out, size_t size)
{
	const char *text;

	TRY(json_string(object, name, &text));
	if (strlen(text) >= size)
		return FAIL(4, "identity.json: %s is too long", name);
	strcpy(out, text);
	return OK;
}

static const char *const identity_names[IDENTITIES] = {"user", "system", "stranger"};

static json *new_identities(void)
{
	json *file = json_object();
	char guid[37];

	emulator_guid(guid);
	json_set_string(file, "tenant", guid);
	emulator_guid(guid);
	json_set_string(file, "secret", guid);
	for (int i = 0; i < IDENTITIES; i++) {
		json *identity = json_object();
		emulator_guid(guid);
		json_set_string(identity, "client", guid);
		emulator_guid(guid);
		json_set_string(identity, "object", guid);
		json_set(file, identity_names[i], identity);
	}
	return file;
}

static skr_status load_identities(struct emulator *e, json **ret)
{
	auto_buf text = BUF(16 * 1024);

	skr_status status = emulator_read(e, "identity.json", &text);
	if (!status.failure)
		return json_parse(text.data, text.len, ret);
	if (status.failure != 1)
		return status;
	auto_json *file = new_identities();
	TRY(json_print(file, &text));
	TRY(emulator_write(e, "identity.json", text.data, text.len));
	*ret = TAKE(file);
	return OK;
}

static skr_status take_identities(struct emulator *e, const json *file)
{
	TRY(text_member(file, "tenant", e->tenant, sizeof(e->tenant)));
	TRY(text_member(file, "secret", e->secret, sizeof(e->secret)));
	for (int i = 0; i < IDENTITIES; i++) {
		struct identity *identity = &e->entra->identities[i];
		const json *stored = json_get(file, identity_names[i]);
		TRY(text_member(stored, "client", identity->client, sizeof(identity->client)));
		TRY(text_member(stored, "object", identity->object, sizeof(identity->object)));
		snprintf(identity->name, sizeof(identity->name), "%s", identity_names[i]);
		snprintf(identity->resource, sizeof(identity->resource),
		         "/subscriptions/%s/resourcegroups/emulator/providers/%s%s", e->tenant,
		         i == 1 ? "Microsoft.ContainerInstance/containerGroups/"
		                : "Microsoft.ManagedIdentity/userAssignedIdentities/",
		         identity_names[i]);
		identity->may_release = i < 2;
		identity->on_machine = true;
	}
	strcpy(e->client, e->entra->identities[0].client);
	return OK;
}

static skr_status key_id(EVP_PKEY *key, char *out, size_t size)
{
	auto_json *jwk = NULL;
	auto_buf thumbprint = BUF(64);

	TRY(jwk_from_key(key, &jwk));
	TRY(jwk_thumbprint(jwk, &thumbprint));
	snprintf(out, size, "%s", buf_text(&thumbprint));
	return OK;
}

/* The application's certificate: DIR/client.pem holds it and its key, as AZURE_CLIENT_CERTIFICATE_PATH wants them. */
static skr_status open_client_certificate(struct emulator *e)
{
	auto_pkey *key = NULL;
	auto_bio *bio = BIO_new(BIO_s_mem());
	char *pem;

	TRY(emulator_key(e, "client-key.pem", 2048, NULL, &key));
	const struct certificate_name subject[] = {{"CN", "skr-emulator client"}, {NULL, NULL}};
	const struct certificate_plan plan = {
	    .subject = subject,
	    .key = key,
	    .issuer_key = key,
	    .not_before = emulator_now(e) - 86400,
	    .not_after = emulator_now(e) + 3650 * 86400LL,
	};
	TRY(authority_kept_certificate(e, "client-cert.pem", &plan, &e->entra->client_certificate));
	if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_bio_X509(bio, e->entra->client_certificate) != 1)
		return ossl_fail(599, "writing the client certificate");
	long len = BIO_get_mem_data(bio, &pem);
	return emulator_write(e, "client.pem", pem, (size_t)len);
}

static skr_status write_federated_token(struct emulator *e)
{
	auto_buf token = BUF(16 * 1024);

	TRY(entra_federated_token(e, 86400, &token));
	return emulator_write(e, "federated-token", token.data, token.len);
}

skr_status entra_make_keys(const struct emulator *e)
{
	auto_pkey *own = NULL, *client = NULL;

	TRY(emulator_key(e, "entra-key.pem", 2048, NULL, &own));
	return emulator_key(e, "client-key.pem", 2048, NULL, &client);
}

skr_status entra_open(struct emulator *e)
{
	auto_json *file = NULL;

	e->entra = calloc(1, sizeof(*e->entra));
	if (!e->entra)
		return FAIL(14, "Entra");
	TRY(load_identities(e, &file));
	TRY(take_identities(e, file));
	TRY(emulator_key(e, "entra-key.pem", 2048, NULL, &e->entra->key));
	TRY(emulator_key(e, "cluster-key.pem", 0, "P-256", &e->entra->cluster_key));
	TRY(key_id(e->entra->key, e->entra->kid, sizeof(e->entra->kid)));
	TRY(open_client_certificate(e));
	return write_federated_token(e);
}

void entra_close(struct emulator *e)
{
	if (!e->entra)
		return;
	EVP_PKEY_free(e->entra->key);
	EVP_PKEY_free(e->entra->cluster_key);
	X509_free(e->entra->client_certificate);
	free(TAKE(e->entra));
}

struct identity *entra_find(struct emulator *e, const char *word)
{
	for (int i = 0; i < IDENTITIES; i++) {
		struct identity *identity = &e->entra->identities[i];
		if (strcasecmp(identity->client, word) == 0 || strcasecmp(identity->object, word) == 0 ||
		    strcasecmp(identity->resource, word) == 0 || strcmp(identity->name, word) == 0)
			return identity;
	}
	return NULL;
}

/* ---- tokens ---- */

static json *access_claims(const struct emulator *e, const struct identity *identity, const char *audience,
                           int64_t lifetime)
{
	json *claims = json_object();
	int64_t now = emulator_now(e);
	char issuer[96], guid[37];

	snprintf(issuer, sizeof(issuer), "https://sts.windows.net/%s/", e->tenant);
	emulator_guid(guid);
	json_set_string(claims, "aud", audience);
	json_set_string(claims, "iss", issuer);
	json_set_number(claims, "iat", now);
	json_set_number(claims, "nbf", now);
	json_set_number(claims, "exp", now + lifetime);
	json_set_string(claims, "appid", identity->client);
	json_set_string(claims, "appidacr", "2");
	json_set_string(claims, "idp", issuer);
	json_set_string(claims, "idtyp", "app");
	json_set_string(claims, "oid", identity->object);
	json_set_string(claims, "sub", identity->object);
	json_set_string(claims, "tid", e->tenant);
	json_set_string(claims, "uti", guid);
	json_set_string(claims, "ver", "1.0");
	json_set_string(claims, "xms_az_rid", identity->resource);
	json_set_string(claims, "xms_mirid", identity->resource);
	return claims;
}

skr_status entra_issue(struct emulator *e, struct exchange *x, const struct identity *identity, const char *audience,
                       int64_t lifetime, struct buf *out)
{
	auto_json *header = json_object(), *claims = access_claims(e, identity, audience, lifetime);

	json_set_string(header, "typ", "JWT");
	json_set_string(header, "alg", "RS256");
	json_set_string(header, "x5t", e->entra->kid);
	json_set_string(header, "kid", e->entra->kid);
	return exchange_sign(x, "jwt", header, claims, e->entra->key, out);
}

skr_status entra_federated_token(struct emulator *e, int64_t lifetime, struct buf *out)
{
	auto_json *header = json_object(), *claims = json_object();
	json *audiences = json_array();
	auto_buf text = BUF(4096);
	int64_t now = emulator_now(e);

	json_set_string(header, "alg", "ES256");
	json_set_string(header, "kid", "cluster");
	json_push(audiences, json_of_string(exchange_audience));
	json_set(claims, "aud", audiences);
	json_set_number(claims, "exp", now + lifetime);
	json_set_number(claims, "iat", now);
	json_set_number(claims, "nbf", now);
	json_set_string(claims, "iss", "https://cluster.localhost/");
	json_set_string(claims, "sub", "system:serviceaccount:default:skr");
	TRY(json_print(claims, &text));
	return jws_sign(header, text.data, text.len, e->entra->cluster_key, out);
}

static bool same_audience(const char *a, const char *b)
{
	size_t a_len = strlen(a), b_len = strlen(b);

	a_len -= a_len > 0 && a[a_len - 1] == '/';
	b_len -= b_len > 0 && b[b_len - 1] == '/';
	return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

/*
 * Cuts the fractions off the numbers of a JSON text, which the reader refuses: RFC 7519 allows them in dates, and MSAL
 * for Python writes them.
 */
static void cut_fractions(struct buf *text)
{
	bool in_string = false;
	size_t to = 0;

	for (size_t i = 0; i < text->len; i++) {
		uint8_t c = text->data[i];
		if (c == '"' && (i == 0 || text->data[i - 1] != '\\'))
			in_string = !in_string;
		if (!in_string && c == '.')
			while (i + 1 < text->len && isdigit(text->data[i + 1]))
				i++;
		else
			text->data[to++] = c;
	}
	text->len = to;
}

/* Parses and verifies a token signed with `key`. */
static bool open_token(const char *token, EVP_PKEY *key, struct jws *jws)
{
	if (jws_parse(token, strlen(token), jws).failure || jws_verify_with_key(jws, key).failure)
		return false;
	cut_fractions(&jws->payload_bytes);
	return !jws_payload(jws).failure;
}

static bool is_current(const struct emulator *e, const json *claims)
{
	int64_t now = emulator_now(e), exp, nbf;

	return !json_integer(claims, "exp", false, &exp).failure && now < exp + 300 &&
	       (json_integer(claims, "nbf", false, &nbf).failure || now >= nbf - 300);
}

enum bearer entra_bearer(struct emulator *e, struct exchange *x, const char *audience, struct identity **ret_identity)
{
	const char *header = exchange_header(x, "Authorization");
	auto_jws jws = {0};

	if (!header || strncasecmp(header, "Bearer ", 7) != 0 || header[7] == '\0')
		return BEARER_NONE;
	if (!open_token(header + 7, e->entra->key, &jws))
		return BEARER_BAD;
	const char *aud = json_string_or_null(jws.payload, "aud"), *oid = json_string_or_null(jws.payload, "oid");
	snprintf(x->audience, sizeof(x->audience), "%s", aud ? aud : "");
	struct identity *identity = entra_find(e, oid ? oid : "");
	if (!identity)
		return BEARER_BAD;
	if (!is_current(e, jws.payload))
		return BEARER_EXPIRED;
	if (!aud || !same_audience(aud, audience))
		return BEARER_AUDIENCE;
	*ret_identity = identity;
	return BEARER_OK;
}

/* ---- the token endpoint ---- */

static skr_status oauth_error(struct emulator *e, struct exchange *x, int status, const char *error, int number,
                              const char *text)
{
	json *body = json_object(), *codes = json_array();
	char trace[37], correlation[37], time_text[32], description[512];
	struct tm tm;
	time_t now = (time_t)emulator_now(e);

	emulator_guid(trace);
	emulator_guid(correlation);
	strftime(time_text, sizeof(time_text), "%Y-%m-%d %H:%M:%SZ", gmtime_r(&now, &tm));
	snprintf(description, sizeof(description), "AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", number,
	         text, trace, correlation, time_text);
	json_set_string(body, "error", error);
	json_set_string(body, "error_description", description);
	json_push(codes, json_of_number(number));
	json_set(body, "error_codes", codes);
	json_set_string(body, "timestamp", time_text);
	json_set_string(body, "trace_id", trace);
	json_set_string(body, "correlation_id", correlation);
	return reply_json(x, status, body);
}

struct refusal {
	int number; /* 0: none */
	const char *error, *text;
};

static struct refusal check_secret(const struct emulator *e, const char *secret)
{
	if (strlen(secret) == strlen(e->secret) && equal_secret(secret, e->secret, strlen(secret)))
		return (struct refusal){0};
	return (struct refusal){7000215, "invalid_client", "Invalid client secret provided."};
}

static bool has_audience(const json *claims, const char *wanted)
{
	const json *aud = json_get(claims, "aud");

	for (const json *i = json_first(aud); json_kind(aud) == JSON_ARRAY && i; i = json_next(i))
		if (json_text(i) && strcmp(json_text(i), wanted) == 0)
			return true;
	return json_text(aud) && strcmp(json_text(aud), wanted) == 0;
}

/* An assertion signed with the application's certificate, which the header names by its SHA-1 or SHA-256. */
static struct refusal check_own_assertion(const struct emulator *e, const struct exchange *x, const struct jws *jws)
{
	const char *issuer = json_string_or_null(jws->payload, "iss"),
	           *subject = json_string_or_null(jws->payload, "sub");
	const char *audience = json_string_or_null(jws->payload, "aud");

	if (!is_current(e, jws->payload))
		return (struct refusal){700024, "invalid_client",
		                        "Client assertion is not within its valid time range."};
	if (!issuer || !subject || strcmp(issuer, e->client) != 0 || strcmp(subject, e->client) != 0)
		return (struct refusal){700027, "invalid_client",
		                        "The assertion's issuer or subject is not the client."};
	/* The endpoint as the client wrote it; which of a tenant's endpoints is named does not matter. */
	if (!audience || !strstr(audience, x->host))
		return (struct refusal){700027, "invalid_client", "The assertion's audience is not this endpoint."};
	return (struct refusal){0};
}

static struct refusal check_federated(const struct emulator *e, const struct jws *jws)
{
	if (!has_audience(jws->payload, exchange_audience))
		return (struct refusal){
		    700212, "invalid_client",
		    "No matching federated identity record found for presented assertion audience."};
	if (!is_current(e, jws->payload))
		return (struct refusal){700024, "invalid_client",
		                        "Client assertion is not within its valid time range."};
	return (struct refusal){0};
}

static struct refusal check_assertion(const struct emulator *e, const struct exchange *x, const char *text)
{
	auto_jws federated = {0}, own = {0};
	EVP_PKEY *certified = X509_get0_pubkey(e->entra->client_certificate);

	if (open_token(text, e->entra->cluster_key, &federated))
		return check_federated(e, &federated);
	if (open_token(text, certified, &own))
		return check_own_assertion(e, x, &own);
	auto_jws unknown = {0};
	if (jws_parse(text, strlen(text), &unknown).failure)
		return (struct refusal){50027, "invalid_request", "JWT token is invalid or malformed."};
	if (json_get(unknown.header, "x5t") || json_get(unknown.header, "x5t#S256"))
		return (struct refusal){
		    700027, "invalid_client",
		    "Client assertion failed signature validation: the certificate is not registered."};
	return (struct refusal){70021, "invalid_client",
	                        "No matching federated identity record found for presented assertion."};
}

static struct refusal check_client(struct emulator *e, const struct exchange *x)
{
	auto_text *client = exchange_form(x, "client_id"), *secret = exchange_form(x, "client_secret");
	auto_text *grant = exchange_form(x, "grant_type"), *type = exchange_form(x, "client_assertion_type");
	auto_text *assertion = exchange_form(x, "client_assertion");

	if (!grant || strcmp(grant, "client_credentials") != 0)
		return (struct refusal){70003, "unsupported_grant_type", "The grant type is not supported here."};
	if (strcasecmp(exchange_segment(x, "tenant"), e->tenant) != 0)
		return (struct refusal){90002, "invalid_request", "Tenant not found."};
	if (!client || strcasecmp(client, e->client) != 0)
		return (struct refusal){700016, "unauthorized_client", "Application was not found in the directory."};
	if (secret)
		return check_secret(e, secret);
	if (assertion && type && strcmp(type, assertion_type) == 0)
		return check_assertion(e, x, assertion);
	return (struct refusal){7000216, "invalid_client", "'client_assertion' or 'client_secret' is required."};
}

/* "https://vault.azure.net/.default" → "https://vault.azure.net" */
static char *audience_of_scope(char *scope)
{
	char *end = scope ? strstr(scope, "/.default") : NULL;

	if (!end || end[9] != '\0' || strncmp(scope, "https://", 8) != 0 || strchr(scope, ' '))
		return NULL;
	*end = '\0';
	return scope;
}

static skr_status token(struct emulator *e, struct exchange *x)
{
	auto_text *scope = exchange_form(x, "scope");
	auto_buf text = BUF(64 * 1024);

	struct refusal refusal = check_client(e, x);
	if (refusal.number)
		return oauth_error(e, x, refusal.number == 90002 || refusal.number == 70003 ? 400 : 401, refusal.error,
		                   refusal.number, refusal.text);
	if (!audience_of_scope(scope))
		return oauth_error(e, x, 400, "invalid_scope", 70011, "The provided value for 'scope' is not valid.");
	TRY(entra_issue(e, x, &e->entra->identities[0], scope, 3600, &text));
	json *body = json_object();
	json_set_string(body, "token_type", "Bearer");
	json_set_number(body, "expires_in", 3599);
	json_set_number(body, "ext_expires_in", 3599);
	json_set_string(body, "access_token", buf_text(&text));
	return reply_json(x, 200, body);
}

/* ---- metadata ---- */

static void set_url(json *object, const char *name, const struct buf *origin, const char *tenant, const char *path)
{
	char url[512];

	snprintf(url, sizeof(url), "%s/%s%s", buf_text(origin), tenant, path);
	json_set_string(object, name, url);
}

static skr_status metadata(struct emulator *e, struct exchange *x, bool v2)
{
	auto_buf origin = BUF(512);
	json *body = json_object(), *methods = json_array();
	const char *tenant = exchange_segment(x, "tenant");
	char issuer[96];

	(void)e;
	TRY(exchange_origin(x, &origin));
	json_push(methods, json_of_string("client_secret_post"));
	json_push(methods, json_of_string("private_key_jwt"));
	json_set(body, "token_endpoint_auth_methods_supported", methods);
	snprintf(issuer, sizeof(issuer), "https://sts.windows.net/%s/", tenant);
	if (v2)
		set_url(body, "issuer", &origin, tenant, "/v2.0");
	else
		json_set_string(body, "issuer", issuer);
	set_url(body, "token_endpoint", &origin, tenant, v2 ? "/oauth2/v2.0/token" : "/oauth2/token");
	set_url(body, "authorization_endpoint", &origin, tenant, v2 ? "/oauth2/v2.0/authorize" : "/oauth2/authorize");
	set_url(body, "jwks_uri", &origin, tenant, "/discovery/v2.0/keys");
	return reply_json(x, 200, body);
}

static skr_status metadata_v2(struct emulator *e, struct exchange *x)
{
	return metadata(e, x, true);
}

static skr_status metadata_v1(struct emulator *e, struct exchange *x)
{
	return metadata(e, x, false);
}

static skr_status keys(struct emulator *e, struct exchange *x)
{
	auto_json *jwk = NULL;

	TRY(jwk_from_key(e->entra->key, &jwk));
	json_set_string(jwk, "use", "sig");
	json_set_string(jwk, "kid", e->entra->kid);
	json *body = json_object(), *list = json_array();
	json_push(list, TAKE(jwk));
	json_set(body, "keys", list);
	return reply_json(x, 200, body);
}

/* What MSAL asks of an authority it does not know: the alias it gets is where it then sends its requests. */
static skr_status instance_discovery(struct emulator *e, struct exchange *x)
{
	const char *asked = exchange_query(x, "authorization_endpoint");
	json *body = json_object(), *list = json_array(), *entry = json_object(), *aliases = json_array();
	auto_buf origin = BUF(512);
	char host[256] = "";

	TRY(exchange_origin(x, &origin));
	if (asked && strncmp(asked, "https://", 8) == 0)
		snprintf(host, sizeof(host), "%.*s", (int)strcspn(asked + 8, "/"), asked + 8);
	else
		snprintf(host, sizeof(host), "%s", x->authority);
	json_push(aliases, json_of_string(host));
	json_set_string(entry, "preferred_network", host);
	json_set_string(entry, "preferred_cache", host);
	json_set(entry, "aliases", aliases);
	json_push(list, entry);
	set_url(body, "tenant_discovery_endpoint", &origin, e->tenant, "/v2.0/.well-known/openid-configuration");
	json_set_string(body, "api-version", "1.1");
	json_set(body, "metadata", list);
	return reply_json(x, 200, body);
}

const struct route entra_routes[] = {
    {SERVICE_LOGIN, "GET", "/common/discovery/instance", "entra.metadata", instance_discovery},
    {SERVICE_LOGIN, "GET", "/{tenant}/discovery/v2.0/keys", "entra.metadata", keys},
    {SERVICE_LOGIN, "GET", "/{tenant}/discovery/keys", "entra.metadata", keys},
    {SERVICE_LOGIN, "GET", "/{tenant}/v2.0/.well-known/openid-configuration", "entra.metadata", metadata_v2},
    {SERVICE_LOGIN, "GET", "/{tenant}/.well-known/openid-configuration", "entra.metadata", metadata_v1},
    {SERVICE_LOGIN, "POST", "/{tenant}/oauth2/v2.0/token", "entra.token", token},
    {0},
};
