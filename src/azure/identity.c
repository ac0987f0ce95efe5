/* SPDX-License-Identifier: Apache-2.0 */
#include "azure/identity.h"

#include "azure/imds.h"
#include "base/base64.h"
#include "base/file.h"
#include "base/ossl.h"
#include "http/http.h"
#include "jose/jws.h"

#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define AUTHORITY_PUBLIC      "https://login.microsoftonline.com"
#define ENTRA_ANSWER_LIMIT    (32 * 1024)
#define ASSERTION_FILE_LIMIT  (32 * 1024)
#define CREDENTIAL_FILE_LIMIT (64 * 1024)
#define ASSERTION_LIFE_S      600

/* The value of a variable that is set and not empty; NULL: none. Nothing in set-uid surroundings. */
static const char *variable(const char *name)
{
	const char *value = secure_getenv(name);

	return value && *value ? value : NULL;
}

/* ---- Entra ID ---- */

enum {
	AADSTS_ASSERTION_EXPIRED = 700024,
	AADSTS_SECRET_WRONG = 7000215,
	AADSTS_SECRET_EXPIRED = 7000222,
	AADSTS_CERTIFICATE_WRONG = 700027
};

static int entra_refusal(const struct service_error *error)
{
	switch (error->aadsts) {
	case AADSTS_ASSERTION_EXPIRED:
		return 311;
	case AADSTS_SECRET_WRONG:
	case AADSTS_SECRET_EXPIRED:
	case AADSTS_CERTIFICATE_WRONG:
		return 314;
	default:
		return 312;
	}
}

static const struct service entra = {
    .name = "Entra ID",
    .step = "identity",
    .throttled = 313,
    .down = 313,
    .refusal = entra_refusal,
};

/* Who we are to Entra, from the configuration or the environment. All borrowed. */
struct application {
	const char *authority, *tenant, *client;
};

static skr_status application_find(const struct azure *azure, struct application *ret)
{
	const struct token_config *token = azure->token;
	const char *authority = variable("AZURE_AUTHORITY_HOST");
	struct application found = {
	    .authority = token->authority ? token->authority : AUTHORITY_PUBLIC,
	    .tenant = token->tenant ? token->tenant : variable("AZURE_TENANT_ID"),
	    .client = token->client ? token->client : variable("AZURE_CLIENT_ID"),
	};

	if (!found.tenant || !found.client)
		return FAIL(305, "%s is not set, nor is %s", found.tenant ? "client =" : "tenant =",
		            found.tenant ? "AZURE_CLIENT_ID" : "AZURE_TENANT_ID");
	/* What the configuration names wins; the variable is how sovereign clouds' clusters name theirs. */
	if (authority && same_endpoint(found.authority, AUTHORITY_PUBLIC)) {
		char host[256];

		if (strncmp(authority, "https://", 8) != 0)
			return FAIL(5, "AZURE_AUTHORITY_HOST is not https");
		snprintf(host, sizeof(host), "%.*s", (int)strcspn(authority + 8, "/?#"), authority + 8);
		if (strchr(host, '@') || !config_endpoint_allowed(azure->config, host))
			return FAIL(5, "AZURE_AUTHORITY_HOST names %s, which is no authority of an Azure cloud", host);
		found.authority = authority;
	}
	*ret = found;
	return OK;
}

static skr_status token_endpoint(const struct application *application, struct buf *url)
{
	size_t len = strlen(application->authority);

	if (application->authority[len - 1] == '/')
		len--;
	TRY(buf_append(url, application->authority, len));
	TRY(buf_append_text(url, "/"));
	TRY(http_escape(application->tenant, url));
	return buf_append_text(url, "/oauth2/v2.0/token");
}

skr_status entra_token_parse(const json *answer, struct buf *ret_token)
{
	const char *type = json_string_or_null(answer, "token_type");
	int64_t life = 0;

	if (!type || strcasecmp(type, "Bearer") != 0)
		return FAIL(304, "token_type is %s, not Bearer", type ? type : "missing");
	if (json_integer(answer, "expires_in", true, &life).failure || life <= 0)
		return FAIL(304, "expires_in is missing or not above 0");
	return bearer_token_take(json_string_or_null(answer, "access_token"), ret_token);
}

/* `proof` is client_secret or client_assertion; `value` its text. */
static skr_status form_print(const struct application *application, const char *audience, const char *proof,
                             const char *value, struct buf *form)
{
	TRY(buf_append_text(form, "grant_type=client_credentials&client_id="));
	TRY(http_escape(application->client, form));
	TRY(buf_append_text(form, "&scope="));
	TRY(http_escape(audience, form));
	TRY(buf_append_text(form, "%2F.default"));
	if (strcmp(proof, "client_assertion") == 0)
		TRY(buf_append_text(
		    form, "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"));
	TRY(buf_printf(form, "&%s=", proof));
	return http_escape(value, form);
}

static skr_status entra_token(struct azure *azure, const struct application *application, const char *audience,
                              const char *proof, const char *value, struct buf *ret_token)
{
	auto_buf url = BUF(1024), form = BUF(128 * 1024), token = BUF(ENTRA_ANSWER_LIMIT);
	auto_json *answer = NULL;

	TRY(token_endpoint(application, &url));
	TRY(form_print(application, audience, proof, value, &form));
	skr_status status =
	    service_call_json(azure, &entra,
	                      &(struct http_request){.method = "POST",
	                                             .url = buf_text(&url),
	                                             .content_type = "application/x-www-form-urlencoded",
	                                             .body = form.data,
	                                             .body_len = form.len,
	                                             .answer_limit = ENTRA_ANSWER_LIMIT,
	                                             .limits = &http_limits_entra},
	                      &answer, NULL);
	if (status.failure)
		return status_prefix(status, "application %s, tenant %s", application->client, application->tenant);
	status = entra_token_parse(answer, &token);
	if (status.failure)
		return service_blame(status, &entra, buf_text(&url));
	buf_move(ret_token, &token);
	return OK;
}

/* ---- workload identity ---- */

/* Read anew at each use: the kubelet renews it. */
static skr_status federated_token_read(const char *path, struct buf *ret_assertion)
{
	auto_buf text = BUF(ASSERTION_FILE_LIMIT);
	skr_status status = file_read(path, &text);

	if (status.failure) {
		struct status_record record = *status_last();
		record.failure = 310;
		return status_adopt(&record);
	}
	size_t skip = strspn(buf_text(&text), " \t\r\n");
	size_t len = strcspn(buf_text(&text) + skip, " \t\r\n");
	const char *assertion = buf_text(&text) + skip;
	auto_jws jws = {0};
	if (len == 0)
		return FAIL(310, "%s is empty", path);
	if (assertion[len + strspn(assertion + len, " \t\r\n")] != '\0' || jws_parse(assertion, len, &jws).failure)
		return FAIL(310, "%s does not hold a token", path);
	return buf_append(ret_assertion, assertion, len);
}

/* Says of a token that Entra calls expired when it did, by its own words and our clock. */
static skr_status federated_token_expired(const char *path, const struct buf *assertion)
{
	struct status_record record = *status_last();
	auto_jws jws = {0};
	int64_t until = 0;
	bool known = !jws_parse(buf_text(assertion), assertion->len, &jws).failure && !jws_payload(&jws).failure &&
	             !json_integer(jws.payload, "exp", false, &until).failure;
	long long ago = (long long)(wall_clock() - until);
	skr_status status = status_adopt(&record);

	if (!known)
		return status_prefix(status, "%s", path);
	if (ago >= 0)
		return status_prefix(status, "%s, whose token expired %lld s ago", path, ago);
	return status_prefix(status, "%s, whose token is good for %lld s by the clock here", path, -ago);
}

static skr_status workload_token(struct azure *azure, const char *audience, struct buf *ret_token)
{
	const char *path = variable("AZURE_FEDERATED_TOKEN_FILE");
	struct application application;
	auto_buf assertion = BUF(ASSERTION_FILE_LIMIT), again = BUF(ASSERTION_FILE_LIMIT);

	if (!path)
		return FAIL(310, "AZURE_FEDERATED_TOKEN_FILE is not set");
	TRY(application_find(azure, &application));
	TRY(federated_token_read(path, &assertion));
	skr_status status =
	    entra_token(azure, &application, audience, "client_assertion", buf_text(&assertion), ret_token);
	if (status.failure != 311)
		return status;

	struct status_record record = *status_last();
	if (!federated_token_read(path, &again).failure && strcmp(buf_text(&again), buf_text(&assertion)) != 0)
		return entra_token(azure, &application, audience, "client_assertion", buf_text(&again), ret_token);
	(void)status_adopt(&record);
	return federated_token_expired(path, &assertion);
}

/* ---- client secret and certificate ---- */

static skr_status credential_read(const struct azure *azure, struct buf *ret_text)
{
	const char *path = azure->token->identity_argument;

	if (!path)
		return FAIL(314, "identity = names no file");
	if (file_read(path, ret_text).failure) {
		struct status_record record = *status_last();
		record.failure = 314;
		return status_adopt(&record);
	}
	return OK;
}

static skr_status secret_token(struct azure *azure, const char *audience, struct buf *ret_token)
{
	struct application application;
	auto_buf secret = BUF(4096);

	TRY(application_find(azure, &application));
	TRY(credential_read(azure, &secret));
	while (secret.len > 0 && strchr(" \t\r\n", secret.data[secret.len - 1]))
		secret.data[--secret.len] = '\0';
	if (secret.len == 0)
		return FAIL(314, "%s is empty", azure->token->identity_argument);
	return entra_token(azure, &application, audience, "client_secret", buf_text(&secret), ret_token);
}

static int no_password(char *out, int size, int writing, void *with)
{
	(void)out;
	(void)size;
	(void)writing;
	(void)with;
	return -1;
}

static skr_status certificate_read(const struct azure *azure, EVP_PKEY **ret_key, X509 **ret_certificate)
{
	const char *path = azure->token->identity_argument;
	auto_buf pem = BUF(CREDENTIAL_FILE_LIMIT);
	auto_x509s *certificates = NULL;

	TRY(credential_read(azure, &pem));
	if (certificates_from_pem(pem.data, pem.len, &certificates).failure)
		return FAIL(314, "%s holds no certificate in PEM", path);
	auto_bio *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	auto_pkey *key = bio ? PEM_read_bio_PrivateKey_ex(bio, NULL, no_password, NULL, ossl, NULL) : NULL;
	if (!key)
		return ossl_fail(314, "the private key in the file of identity =");
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA ||
	    X509_check_private_key(sk_X509_value(certificates, 0), key) != 1)
		return FAIL(314, "%s: the key is not RSA, or not that of the first certificate", path);
	*ret_certificate = sk_X509_shift(certificates);
	*ret_key = TAKE(key);
	return OK;
}

/* base64url of SHA-256 of the certificate's DER form: "x5t#S256" (RFC 7515 section 4.1.8). */
static skr_status thumbprint(X509 *certificate, struct buf *out)
{
	uint8_t *der = NULL, digest[32];
	int len = i2d_X509(certificate, &der);

	if (len <= 0)
		return ossl_fail(314, "the certificate in the file of identity =");
	skr_status status = sha256(der, (size_t)len, digest);
	OPENSSL_free(der);
	TRY(status);
	return base64url_encode(digest, sizeof(digest), out);
}

/* A JWT signed with our key in place of a secret (reference/identity-tokens section 6). */
static skr_status client_assertion(const struct application *application, EVP_PKEY *key, X509 *certificate,
                                   struct buf *out)
{
	auto_buf endpoint = BUF(1024), claims = BUF(4096), print = BUF(64), id = BUF(64);
	auto_json *header = json_object(), *payload = json_object();
	uint8_t random[16];
	int64_t now = wall_clock();

	TRY(random_bytes(random, sizeof(random)));
	TRY(hex_encode(random, sizeof(random), &id));
	TRY(thumbprint(certificate, &print));
	TRY(token_endpoint(application, &endpoint));
	json_set_string(header, "alg", "PS256");
	json_set_string(header, "typ", "JWT");
	json_set_string(header, "x5t#S256", buf_text(&print));
	json_set_string(payload, "aud", buf_text(&endpoint));
	json_set_string(payload, "iss", application->client);
	json_set_string(payload, "sub", application->client);
	json_set_string(payload, "jti", buf_text(&id));
	json_set_number(payload, "nbf", now);
	json_set_number(payload, "iat", now);
	json_set_number(payload, "exp", now + ASSERTION_LIFE_S);
	TRY(json_print(payload, &claims));
	return jws_sign(header, claims.data, claims.len, key, out);
}

static skr_status certificate_token(struct azure *azure, const char *audience, struct buf *ret_token)
{
	struct application application;
	auto_buf assertion = BUF(16 * 1024);
	auto_pkey *key = NULL;
	auto_x509 *certificate = NULL;

	TRY(application_find(azure, &application));
	TRY(certificate_read(azure, &key, &certificate));
	TRY(client_assertion(&application, key, certificate, &assertion));
	return entra_token(azure, &application, audience, "client_assertion", buf_text(&assertion), ret_token);
}

/* ---- managed identity ---- */

/* In the order of Microsoft's own libraries (reference/identity-tokens section 2). */
static skr_status managed_identity_token(struct azure *azure, const char *audience, struct buf *ret_token,
                                         const char **ret_source)
{
	const char *endpoint = variable("IDENTITY_ENDPOINT"), *header = variable("IDENTITY_HEADER");
	/* With `auto` the variable names a user-assigned identity, as it does for Microsoft's default credential. */
	const char *selector =
	    azure->token->identity == IDENTITY_MANAGED ? azure->token->identity_argument : variable("AZURE_CLIENT_ID");

	if (endpoint && header && variable("IDENTITY_SERVER_THUMBPRINT"))
		return FAIL(305, "this is a Service Fabric application, whose managed identity is not supported");
	if (endpoint && header) {
		*ret_source = "managed identity (App Service endpoint)";
		return app_service_token(azure, endpoint, header, audience, selector, ret_token);
	}
	if (variable("MSI_ENDPOINT"))
		return FAIL(305, "this is %s (MSI_ENDPOINT is set), whose managed identity is not supported",
		            variable("MSI_SECRET") ? "an Azure Machine Learning job" : "Azure Cloud Shell");
	if (endpoint && variable("IMDS_ENDPOINT"))
		return FAIL(305, "this is an Azure Arc server, whose managed identity is not supported");
	*ret_source = "managed identity (metadata service)";
	return imds_token(azure, audience, selector, ret_token);
}

static enum identity_kind kind_of(const struct token_config *token)
{
	if (token->identity != IDENTITY_AUTO)
		return token->identity;
	return variable("AZURE_CLIENT_ID") && variable("AZURE_TENANT_ID") && variable("AZURE_FEDERATED_TOKEN_FILE")
	           ? IDENTITY_WORKLOAD
	           : IDENTITY_MANAGED;
}

skr_status identity_token(struct azure *azure, const char *audience, struct buf *ret_token, const char **ret_source)
{
	const char *source = "";
	skr_status status = OK;

	switch (kind_of(azure->token)) {
	case IDENTITY_WORKLOAD:
		source = "workload identity";
		status = workload_token(azure, audience, ret_token);
		break;
	case IDENTITY_SECRET:
		source = "client secret";
		status = secret_token(azure, audience, ret_token);
		break;
	case IDENTITY_CERTIFICATE:
		source = "client certificate";
		status = certificate_token(azure, audience, ret_token);
		break;
	case IDENTITY_MANAGED:
	case IDENTITY_AUTO:
		status = managed_identity_token(azure, audience, ret_token, &source);
		break;
	}
	TRY(status);
	if (ret_source)
		*ret_source = source;
	return OK;
}
