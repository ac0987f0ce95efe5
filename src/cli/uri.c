/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/uri.h"

#include <ctype.h>
#include <string.h>

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
