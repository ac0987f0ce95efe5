/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/vault.h"

#include "base/base64.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Secrets, and certificates as far as they are read: an import stores a chain, whose secret has the PEM text. */

/* One version of a secret or certificate; versions of one name follow each other, newest first. */
struct document {
	char *name;
	char id[33];
	json *content; /* what an answer adds to id and attributes */
	json *attributes;
	struct document *next;
};

static void document_free(struct document *document)
{
	if (!document)
		return;
	free(document->name);
	json_free(document->content);
	json_free(document->attributes);
	free(document);
}

void documents_free(struct document *documents)
{
	for (struct document *next; documents; documents = next) {
		next = documents->next;
		document_free(documents);
	}
}

static struct document *document_new(const struct emulator *e, const char *name, const char *id, const json *given)
{
	struct document *document = calloc(1, sizeof(*document));

	if (!document || !(document->name = strdup(name))) {
		free(document);
		return NULL;
	}
	memcpy(document->id, id, sizeof(document->id));
	document->content = json_object();
	document->attributes = json_kind(given) == JSON_OBJECT ? json_copy(given) : json_object();
	json_set_bool(document->attributes, "enabled", json_bool(given, "enabled", true));
	json_set_number(document->attributes, "created", emulator_now(e));
	json_set_number(document->attributes, "updated", emulator_now(e));
	json_set_string(document->attributes, "recoveryLevel", "Recoverable+Purgeable");
	json_set_number(document->attributes, "recoverableDays", 90);
	return document;
}

static void prepend(struct document **list, struct document *document)
{
	document->next = *list;
	*list = document;
}

static const struct document *find(const struct document *list, const char *name, const char *id)
{
	for (; list; list = list->next)
		if (strcasecmp(list->name, name) == 0 && (!id || strcasecmp(list->id, id) == 0))
			return list;
	return NULL;
}

static skr_status set_id(const struct exchange *x, json *object, const char *member, const char *collection,
                         const struct document *document)
{
	auto_buf id = BUF(1024);

	TRY(object_id(x, collection, document->name, document->id, &id));
	json_set_string(object, member, buf_text(&id));
	return OK;
}

static skr_status reply_document(struct exchange *x, const char *collection, const struct document *document)
{
	auto_json *body = json_copy(document->content);
	bool certificate = strcmp(collection, "certificates") == 0;

	TRY(set_id(x, body, "id", collection, document));
	if (certificate) {
		TRY(set_id(x, body, "kid", "keys", document));
		TRY(set_id(x, body, "sid", "secrets", document));
	}
	json_set(body, "attributes", json_copy(document->attributes));
	return reply_json(x, 200, TAKE(body));
}

static skr_status reply_found(struct exchange *x, const char *collection, const struct document *list)
{
	const char *name = exchange_segment(x, "name");
	const struct document *document = find(list, name, exchange_segment(x, "version"));
	bool certificate = strcmp(collection, "certificates") == 0;

	if (document)
		return reply_document(x, collection, document);
	return vault_error(x, 404, certificate ? "CertificateNotFound" : "SecretNotFound", NULL,
	                   "A %s with (name/id) %s was not found in this key vault.",
	                   certificate ? "certificate" : "secret", name);
}

static skr_status reply_versions(struct exchange *x, const char *collection, const struct document *list)
{
	auto_json *items = json_array();

	for (; list; list = list->next) {
		if (strcasecmp(list->name, exchange_segment(x, "name")) != 0)
			continue;
		json *item = json_object();
		json_push(items, item);
		TRY(set_id(x, item, "id", collection, list));
		json_set(item, "attributes", json_copy(list->attributes));
		if (json_get(list->content, "x5t"))
			json_set(item, "x5t", json_copy(json_get(list->content, "x5t")));
	}
	return reply_page(x, TAKE(items));
}

/* As vault_enter; a Managed HSM has neither secrets nor certificates. */
static bool enter(struct emulator *e, struct exchange *x, struct vault **ret_vault, skr_status *ret)
{
	if (!vault_enter(e, x, ret_vault, NULL, ret))
		return false;
	if ((*ret_vault)->hsm)
		*ret = vault_error(x, 404, "NotFound", NULL, "nothing is served at this path");
	return !(*ret_vault)->hsm;
}

/* ---- secrets ---- */

skr_status secret_set(struct emulator *e, struct exchange *x)
{
	const char *name = exchange_segment(x, "name");
	struct vault *vault;
	const json *request;
	skr_status status;
	char id[33];

	if (!enter(e, x, &vault, &status))
		return status;
	bool readable = !exchange_json(x, &request).failure;
	const char *value = readable ? json_string_or_null(request, "value") : NULL;
	if (!value || !object_name_fits(name))
		return vault_error(x, 400, "BadParameter", NULL,
		                   "Property value is missing, or the name is not valid.");
	version_id(id);
	struct document *secret = document_new(e, name, id, json_get(request, "attributes"));
	if (!secret)
		return FAIL(14, "a secret");
	json_set_string(secret->content, "value", value);
	if (json_string_or_null(request, "contentType"))
		json_set_string(secret->content, "contentType", json_string_or_null(request, "contentType"));
	if (json_kind(json_get(request, "tags")) == JSON_OBJECT)
		json_set(secret->content, "tags", json_copy(json_get(request, "tags")));
	prepend(&vault->secrets, secret);
	return reply_document(x, "secrets", secret);
}

skr_status secret_get(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	return enter(e, x, &vault, &status) ? reply_found(x, "secrets", vault->secrets) : status;
}

skr_status secret_versions(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	return enter(e, x, &vault, &status) ? reply_versions(x, "secrets", vault->secrets) : status;
}

/* ---- certificates ---- */

skr_status certificate_get(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	return enter(e, x, &vault, &status) ? reply_found(x, "certificates", vault->certificates) : status;
}

skr_status certificate_versions(struct emulator *e, struct exchange *x)
{
	struct vault *vault;
	skr_status status;

	return enter(e, x, &vault, &status) ? reply_versions(x, "certificates", vault->certificates) : status;
}

/* "cer" and "x5t" of the leaf. */
static skr_status describe(struct document *certificate, X509 *leaf)
{
	auto_buf cer = BUF(64 * 1024), x5t = BUF(64);
	uint8_t digest[20], *der = NULL;
	unsigned digest_len;

	int len = i2d_X509(leaf, &der);
	if (len < 0 || X509_digest(leaf, EVP_sha1(), digest, &digest_len) != 1)
		return ossl_fail(599, "reading a certificate");
	skr_status status = base64_encode(der, (size_t)len, &cer);
	OPENSSL_free(der);
	TRY(status);
	TRY(base64url_encode(digest, digest_len, &x5t));
	json_set_string(certificate->content, "x5t", buf_text(&x5t));
	json_set_string(certificate->content, "cer", buf_text(&cer));
	return OK;
}

static void describe_policy(struct document *certificate, const json *stated, bool has_key)
{
	json *policy = json_kind(stated) == JSON_OBJECT ? json_copy(stated) : json_object();
	json *key = json_object(), *secret = json_object();

	json_set_bool(key, "exportable", has_key);
	json_set_string(secret, "contentType", "application/x-pem-file");
	json_set(policy, "key_props", key);
	json_set(policy, "secret_props", secret);
	json_set(certificate->content, "policy", policy);
}

/* The certificate and the secret of the same name and version, which holds the whole PEM text. */
static skr_status store_certificate(struct emulator *e, struct vault *vault, const char *name, const json *request,
                                    const char *pem, struct document **ret)
{
	auto_x509s *chain = NULL;
	char id[33];

	TRY(certificates_from_pem(pem, strlen(pem), &chain));
	version_id(id);
	struct document *certificate = document_new(e, name, id, json_get(request, "attributes"));
	struct document *secret = document_new(e, name, id, NULL);
	if (!certificate || !secret) {
		document_free(certificate);
		document_free(secret);
		return FAIL(14, "a certificate");
	}
	prepend(&vault->certificates, certificate);
	prepend(&vault->secrets, secret);
	describe_policy(certificate, json_get(request, "policy"), strstr(pem, "PRIVATE KEY-----") != NULL);
	json_set_string(secret->content, "value", pem);
	json_set_string(secret->content, "contentType", "application/x-pem-file");
	json_set_bool(secret->content, "managed", true);
	*ret = certificate;
	return describe(certificate, sk_X509_value(chain, 0));
}

/* PEM as it is, or in base64, as SDKs send what they are given. */
static skr_status pem_of(const char *value, struct buf *out)
{
	if (strncmp(value, "-----BEGIN", 10) == 0)
		return buf_append_text(out, value);
	skr_status status = base64_decode_any(value, strlen(value), out);
	return status.failure ? FAIL(4, "%s", status_message()) : OK;
}

skr_status certificate_import(struct emulator *e, struct exchange *x)
{
	const char *name = exchange_segment(x, "name");
	struct document *certificate;
	struct vault *vault;
	const json *request;
	skr_status status;

	if (!enter(e, x, &vault, &status))
		return status;
	bool readable = !exchange_json(x, &request).failure;
	const char *value = readable ? json_string_or_null(request, "value") : NULL;
	if (!value || !object_name_fits(name))
		return vault_error(x, 400, "BadParameter", NULL,
		                   "Property value is missing, or the name is not valid.");
	auto_buf pem = BUF(EXCHANGE_BODY_LIMIT);
	status = pem_of(value, &pem);
	if (!status.failure)
		status = store_certificate(e, vault, name, request, buf_text(&pem), &certificate);
	if (status.failure == 4)
		return vault_error(x, 400, "BadParameter", NULL, "The certificate is not PEM: %s", status_message());
	TRY(status);
	return reply_document(x, "certificates", certificate);
}
