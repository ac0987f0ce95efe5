/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/log.h"
#include "token/token.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/*
 * What a token shows before anybody logs in: the certificates and public keys of the files its section names.
 *
 * A label must be known offline and must not change at login, but which certificate belongs to which key is only
 * certain when the key is there. So it is decided from the configuration alone, in this order:
 *
 *   1. a key with public_key_sha256 has the certificate (or public key file) with that public half, and no other;
 *   2. a file named like a key (the key's label or name, and any extension) is that key's;
 *   3. the keys that are left, in their order, have the first certificates of the files that are left, in their order:
 *      those that are no CA's first, then, if keys remain, those that are (a self-signed certificate made for a test
 *      says CA:TRUE).
 *
 * A certificate that belongs to a key has the key's label; another has its common name. At login a key whose public
 * half is not that of its certificate is published all the same, under the CKA_ID that is its own, and a warning says
 * so.
 */

#define FILE_LIMIT  (256 * 1024)
#define ITEMS_MAX   256 /* certificates and public keys of one token */
#define LABEL_LIMIT 256

/* One certificate or public key of a file. */
struct item {
	X509 *certificate; /* NULL: a bare public key */
	EVP_PKEY *pkey;
	uint8_t sha256[32];
	const char *path;
	bool first; /* of its file */
	const struct key_config *owner;
};

struct items {
	struct item item[ITEMS_MAX];
	size_t count;
};

static void items_free(struct items **items)
{
	for (size_t i = 0; *items && i < (*items)->count; i++) {
		X509_free((*items)->item[i].certificate);
		EVP_PKEY_free((*items)->item[i].pkey);
	}
	free(*items);
}

/* ---- reading the files ---- */

/* Takes both over, also on failure. */
static skr_status items_add(struct items *items, X509 *certificate, EVP_PKEY *pkey, const char *path, bool first)
{
	auto_x509 *owned_certificate = certificate;
	auto_pkey *owned_pkey = pkey;
	auto_public_half half = {0};

	if (items->count == ITEMS_MAX)
		return FAIL(4, "more than %d certificates and public keys", ITEMS_MAX);
	if (!pkey)
		return ossl_fail(4, "public key");
	TRY(public_half_of(pkey, &half));

	struct item *item = &items->item[items->count++];
	*item = (struct item){
	    .certificate = TAKE(owned_certificate), .pkey = TAKE(owned_pkey), .path = path, .first = first};
	memcpy(item->sha256, half.sha256, sizeof(item->sha256));
	return OK;
}

static skr_status read_certificates(const char *path, struct items *items)
{
	auto_buf pem = BUF(FILE_LIMIT);
	auto_x509s *certificates = NULL;

	TRY(file_read_named(path, &pem));
	TRY(certificates_from_pem(pem.data, pem.len, &certificates));
	for (int i = 0; i < sk_X509_num(certificates); i++) {
		X509 *certificate = sk_X509_value(certificates, i);
		X509_up_ref(certificate);
		TRY(items_add(items, certificate, X509_get_pubkey(certificate), path, i == 0));
	}
	return OK;
}

static skr_status read_public_key(const char *path, struct items *items)
{
	auto_buf pem = BUF(FILE_LIMIT);

	TRY(file_read_named(path, &pem));
	auto_bio *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
	if (!bio)
		return FAIL(14, "reading a public key");
	return items_add(items, NULL, PEM_read_bio_PUBKEY_ex(bio, NULL, NULL, NULL, ossl, NULL), path, true);
}

/* A file that cannot be read must not take the token away: keys work without certificates. */
static void read_or_log(skr_status (*read)(const char *, struct items *), const char *path, struct items *items)
{
	size_t before = items->count;
	skr_status status = read(path, items);

	if (!status.failure)
		return;
	status_prefix(status, "%s", path);
	log_failure();
	while (items->count > before) {
		struct item *item = &items->item[--items->count];
		X509_free(item->certificate);
		EVP_PKEY_free(item->pkey);
	}
}

/* ---- whose is it? ---- */

static const char *file_stem(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void match_pins(const struct token_config *settings, struct items *items)
{
	for (size_t k = 0; k < settings->key_count; k++) {
		const struct key_config *key = &settings->keys[k];

		for (size_t i = 0; key->pinned && i < items->count; i++)
			if (memcmp(items->item[i].sha256, key->public_key_sha256, 32) == 0)
				items->item[i].owner = key;
	}
}

static bool has_item(const struct items *items, const struct key_config *key)
{
	for (size_t i = 0; i < items->count; i++)
		if (items->item[i].owner == key)
			return true;
	return false;
}

/* The next key, in order, that has neither a pin nor an item. */
static const struct key_config *next_without(const struct token_config *settings, const struct items *items)
{
	for (size_t k = 0; k < settings->key_count; k++)
		if (!settings->keys[k].pinned && !has_item(items, &settings->keys[k]))
			return &settings->keys[k];
	return NULL;
}

/* "/etc/ssl/certs/www.pem" is named like "www", and not like "WWW". */
static bool is_named_like(const char *path, const char *name)
{
	const char *stem = file_stem(path), *dot = strrchr(stem, '.');
	size_t len = dot && dot != stem ? (size_t)(dot - stem) : strlen(stem);

	return strlen(name) == len && memcmp(stem, name, len) == 0;
}

static void match_names(const struct token_config *settings, struct items *items)
{
	for (size_t i = 0; i < items->count; i++) {
		struct item *item = &items->item[i];

		for (size_t k = 0; k < settings->key_count && !item->owner && item->first; k++) {
			const struct key_config *key = &settings->keys[k];
			if (!key->pinned &&
			    (is_named_like(item->path, key->label) || is_named_like(item->path, key->name)))
				item->owner = key;
		}
	}
}

static bool is_authority(const struct item *item)
{
	return item->certificate && X509_check_ca(item->certificate) > 0;
}

/* A certificate and a public key file may show the same key: then they have the same owner. */
static const struct key_config *owner_of_same_key(const struct items *items, const struct item *item)
{
	for (size_t i = 0; i < items->count; i++)
		if (items->item[i].owner && memcmp(items->item[i].sha256, item->sha256, 32) == 0)
			return items->item[i].owner;
	return NULL;
}

static void match_in_order(const struct token_config *settings, struct items *items, bool authorities)
{
	for (size_t i = 0; i < items->count; i++) {
		struct item *item = &items->item[i];

		if (item->owner || !item->first || is_authority(item) != authorities)
			continue;
		item->owner = owner_of_same_key(items, item);
		if (!item->owner)
			item->owner = next_without(settings, items);
	}
}

/* ---- objects ---- */

static void label_of(const struct item *item, char *ret, size_t size)
{
	char name[LABEL_LIMIT] = "";

	if (item->certificate && !item->owner)
		X509_NAME_get_text_by_NID(X509_get_subject_name(item->certificate), NID_commonName, name, sizeof(name));
	snprintf(ret, size, "%s", item->owner ? item->owner->label : name[0] ? name : file_stem(item->path));
}

static skr_status add_certificate(const char *serial, const struct item *item, struct objects *list)
{
	char label[LABEL_LIMIT];
	struct object *object;

	label_of(item, label, sizeof(label));
	TRY(object_of_certificate(serial, item->certificate, label, !item->owner && is_authority(item), &object));
	return objects_add(list, object);
}

/* The subject of the certificate with the same key, if there is one. */
static const CK_ATTRIBUTE *subject_for(const struct objects *list, EVP_PKEY *pkey)
{
	auto_public_half half = {0};

	if (public_half_of(pkey, &half).failure)
		return NULL;
	struct object *certificate = objects_with_id(list, CKO_CERTIFICATE, half.id, sizeof(half.id));
	return certificate ? attributes_get(&certificate->attributes, CKA_SUBJECT) : NULL;
}

/* The public keys of issuing CAs are nobody's business: only keys of ours, and those that have a file of their own. */
static bool shows_public_key(const struct item *item)
{
	return item->owner || !item->certificate;
}

static skr_status add_public_key(const char *serial, const struct item *item, struct objects *list)
{
	char label[LABEL_LIMIT];
	struct object *object;

	label_of(item, label, sizeof(label));
	TRY(object_of_public_key(serial, item->pkey, label, subject_for(list, item->pkey), NULL, &object));
	return objects_add(list, object);
}

skr_status offline_objects(const char *serial, const struct token_config *settings, struct objects *ret)
{
	__attribute__((cleanup(items_free))) struct items *items = calloc(1, sizeof(*items));
	auto_objects list = {0};

	if (!items)
		return FAIL(14, "certificates of token %s", settings->label);
	for (size_t i = 0; i < settings->certificate_count; i++)
		read_or_log(read_certificates, settings->certificates[i], items);
	for (size_t i = 0; i < settings->public_key_count; i++)
		read_or_log(read_public_key, settings->public_keys[i], items);

	match_pins(settings, items);
	match_names(settings, items);
	match_in_order(settings, items, false);
	match_in_order(settings, items, true);

	for (size_t i = 0; i < items->count; i++)
		if (items->item[i].certificate)
			TRY(add_certificate(serial, &items->item[i], &list));
	for (size_t i = 0; i < items->count; i++)
		if (shows_public_key(&items->item[i]))
			TRY(add_public_key(serial, &items->item[i], &list));
	*ret = list;
	list = (struct objects){0};
	return OK;
}
