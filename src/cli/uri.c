/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/uri.h"

#include "base/ossl.h"

#include <ctype.h>
#include <string.h>

#include <openssl/asn1.h>
#include <openssl/pem.h>

size_t uri_field_length(const CK_UTF8CHAR *field, size_t size)
{
	while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0'))
		size--;
	return size;
}

static skr_status append_encoded(struct buf *out, const uint8_t *bytes, size_t len, bool all)
{
	for (size_t i = 0; i < len; i++) {
		bool plain = bytes[i] < 0x80 && (isalnum(bytes[i]) || strchr("-._~", bytes[i])) && bytes[i] != 0;
		if (plain && !all)
			TRY(buf_append(out, &bytes[i], 1));
		else
			TRY(buf_printf(out, "%%%02X", bytes[i]));
	}
	return OK;
}

/* ";name=value", or "name=value" as the first. */
static skr_status append_attribute(struct buf *out, const char *name, const uint8_t *value, size_t len, bool all)
{
	static const char scheme[] = "pkcs11:";

	if (len == 0)
		return OK;
	bool first = out->len >= sizeof(scheme) - 1 &&
	             memcmp(out->data + out->len - (sizeof(scheme) - 1), scheme, sizeof(scheme) - 1) == 0;
	TRY(buf_printf(out, "%s%s=", first ? "" : ";", name));
	return append_encoded(out, value, len, all);
}

#define APPEND_FIELD(out, name, field) \
	TRY(append_attribute((out), (name), (field), uri_field_length((field), sizeof(field)), false))

skr_status uri_of_token(const CK_TOKEN_INFO *token, struct buf *out)
{
	TRY(buf_append_text(out, "pkcs11:"));
	APPEND_FIELD(out, "model", token->model);
	APPEND_FIELD(out, "manufacturer", token->manufacturerID);
	APPEND_FIELD(out, "serial", token->serialNumber);
	APPEND_FIELD(out, "token", token->label);
	return OK;
}

static const char *type_of(CK_OBJECT_CLASS class)
{
	switch (class) {
	case CKO_PRIVATE_KEY:
		return "private";
	case CKO_PUBLIC_KEY:
		return "public";
	case CKO_CERTIFICATE:
		return "cert";
	case CKO_SECRET_KEY:
		return "secret-key";
	default:
		return "";
	}
}

skr_status uri_of_object(const CK_TOKEN_INFO *token, const struct uri_object *object, struct buf *out)
{
	const char *type = type_of(object->class);

	TRY(uri_of_token(token, out));
	TRY(append_attribute(out, "id", object->id, object->id_len, true));
	TRY(append_attribute(out, "object", object->label, object->label_len, false));
	return append_attribute(out, "type", (const uint8_t *)type, strlen(type), false);
}

skr_status uri_of_label(const char *token, const char *label, CK_OBJECT_CLASS class, struct buf *out)
{
	const char *type = type_of(class);

	TRY(buf_append_text(out, "pkcs11:"));
	TRY(append_attribute(out, "token", (const uint8_t *)token, strlen(token), false));
	TRY(append_attribute(out, "object", (const uint8_t *)label, strlen(label), false));
	return append_attribute(out, "type", (const uint8_t *)type, strlen(type), false);
}

/* SEQUENCE { VisibleString, UTF8String } */
static skr_status encode_uri(const char *uri, struct buf *der)
{
	static const char version[] = "PKCS#11 Provider URI v1.0";
	int uri_len = (int)strlen(uri), version_len = sizeof(version) - 1;
	int inside =
	    ASN1_object_size(0, version_len, V_ASN1_VISIBLESTRING) + ASN1_object_size(0, uri_len, V_ASN1_UTF8STRING);
	size_t size = (size_t)ASN1_object_size(1, inside, V_ASN1_SEQUENCE);
	uint8_t *place;

	TRY(buf_reserve(der, size, &place));
	ASN1_put_object(&place, 1, inside, V_ASN1_SEQUENCE, V_ASN1_UNIVERSAL);
	ASN1_put_object(&place, 0, version_len, V_ASN1_VISIBLESTRING, V_ASN1_UNIVERSAL);
	memcpy(place, version, (size_t)version_len);
	place += version_len;
	ASN1_put_object(&place, 0, uri_len, V_ASN1_UTF8STRING, V_ASN1_UNIVERSAL);
	memcpy(place, uri, (size_t)uri_len);
	der->len += size;
	return OK;
}

skr_status uri_to_pem(const char *uri, struct buf *out)
{
	auto_buf der = BUF(16 * 1024);
	auto_bio *bio = BIO_new(BIO_s_mem());
	char *text;

	TRY(encode_uri(uri, &der));
	if (!bio || PEM_write_bio(bio, "PKCS#11 PROVIDER URI", "", der.data, (long)der.len) <= 0)
		return ossl_fail(14, "a PEM-URI file");
	long len = BIO_get_mem_data(bio, &text);
	return buf_append(out, text, (size_t)len);
}
