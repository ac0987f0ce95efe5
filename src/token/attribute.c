/* SPDX-License-Identifier: Apache-2.0 */
#include "token/attribute.h"

#include <stdlib.h>
#include <string.h>

/* A secret attribute is stored with this length and no value. */
#define SECRET CK_UNAVAILABLE_INFORMATION

static CK_ATTRIBUTE *append(struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	if (a->failed)
		return NULL;
	CK_ATTRIBUTE *grown = realloc(a->item, (a->count + 1) * sizeof(*grown));
	if (!grown) {
		a->failed = true;
		return NULL;
	}
	a->item = grown;
	a->item[a->count] = (CK_ATTRIBUTE){.type = type};
	return &a->item[a->count++];
}

void attributes_add(struct attributes *a, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
	CK_ATTRIBUTE *item = append(a, type);

	if (!item || len == 0)
		return;
	item->pValue = malloc(len);
	if (!item->pValue) {
		a->failed = true;
		return;
	}
	memcpy(item->pValue, value, len);
	item->ulValueLen = len;
}

void attributes_add_bool(struct attributes *a, CK_ATTRIBUTE_TYPE type, bool value)
{
	attributes_add(a, type, &(CK_BBOOL){value ? CK_TRUE : CK_FALSE}, sizeof(CK_BBOOL));
}

void attributes_add_ulong(struct attributes *a, CK_ATTRIBUTE_TYPE type, CK_ULONG value)
{
	attributes_add(a, type, &value, sizeof(value));
}

void attributes_add_text(struct attributes *a, CK_ATTRIBUTE_TYPE type, const char *value)
{
	attributes_add(a, type, value, strlen(value));
}

void attributes_add_secret(struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	CK_ATTRIBUTE *item = append(a, type);

	if (item)
		item->ulValueLen = SECRET;
}

static CK_ATTRIBUTE *find_own(struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	for (CK_ULONG i = 0; i < a->count; i++)
		if (a->item[i].type == type)
			return &a->item[i];
	return NULL;
}

void attributes_set(struct attributes *a, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
	CK_ATTRIBUTE *item = a->failed ? NULL : find_own(a, type);

	if (!item) {
		attributes_add(a, type, value, len);
		return;
	}
	free(item->pValue);
	item->pValue = len ? malloc(len) : NULL;
	item->ulValueLen = item->pValue ? len : 0;
	a->failed = len > 0 && !item->pValue;
	if (item->pValue)
		memcpy(item->pValue, value, len);
}

struct attributes attributes_copy(const struct attributes *a)
{
	struct attributes copy = {0};

	for (CK_ULONG i = 0; i < a->count; i++) {
		const CK_ATTRIBUTE *item = &a->item[i];
		if (item->ulValueLen == SECRET)
			attributes_add_secret(&copy, item->type);
		else
			attributes_add(&copy, item->type, item->pValue, item->ulValueLen);
	}
	return copy;
}

void attributes_free(struct attributes *a)
{
	for (CK_ULONG i = 0; i < a->count; i++)
		free(a->item[i].pValue);
	free(a->item);
	*a = (struct attributes){0};
}

static const CK_ATTRIBUTE *find(const struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	for (CK_ULONG i = 0; i < a->count; i++)
		if (a->item[i].type == type)
			return &a->item[i];
	return NULL;
}

const CK_ATTRIBUTE *attributes_get(const struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *item = find(a, type);
	return item && item->ulValueLen != SECRET ? item : NULL;
}

bool attributes_flag(const struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *item = attributes_get(a, type);
	return item && item->ulValueLen == sizeof(CK_BBOOL) && *(const CK_BBOOL *)item->pValue;
}

bool attributes_is_secret(const struct attributes *a, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *item = find(a, type);
	return item && item->ulValueLen == SECRET;
}

CK_ULONG attributes_size(const struct attributes *a)
{
	CK_ULONG sum = 0;

	for (CK_ULONG i = 0; i < a->count; i++)
		sum += a->item[i].ulValueLen == SECRET ? 0 : a->item[i].ulValueLen;
	return sum;
}

bool attributes_match(const struct attributes *a, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	for (CK_ULONG i = 0; i < count; i++) {
		const CK_ATTRIBUTE *item = attributes_get(a, template[i].type);

		if (!item || item->ulValueLen != template[i].ulValueLen)
			return false;
		if (item->ulValueLen && memcmp(item->pValue, template[i].pValue, item->ulValueLen) != 0)
			return false;
	}
	return true;
}

/* PKCS#11 2.40 section 5.7, C_GetAttributeValue, cases 1 to 5. */
CK_RV attributes_read_one(const struct attributes *a, CK_ATTRIBUTE *want)
{
	const CK_ATTRIBUTE *item = find(a, want->type);

	if (item && item->ulValueLen != SECRET)
		return attribute_answer(want, item->pValue, item->ulValueLen);
	want->ulValueLen = CK_UNAVAILABLE_INFORMATION;
	return item ? CKR_ATTRIBUTE_SENSITIVE : CKR_ATTRIBUTE_TYPE_INVALID;
}

CK_RV attribute_answer(CK_ATTRIBUTE *want, const void *value, size_t len)
{
	CK_ULONG room = want->ulValueLen;

	want->ulValueLen = CK_UNAVAILABLE_INFORMATION;
	if (want->pValue && room < len)
		return CKR_BUFFER_TOO_SMALL;
	if (want->pValue && len)
		memcpy(want->pValue, value, len);
	want->ulValueLen = len;
	return CKR_OK;
}

CK_RV attributes_read(const struct attributes *a, CK_ATTRIBUTE *template, CK_ULONG count)
{
	CK_RV first = CKR_OK;

	for (CK_ULONG i = 0; i < count; i++) {
		CK_RV rv = attributes_read_one(a, &template[i]);
		if (first == CKR_OK)
			first = rv;
	}
	return first;
}

CK_RV template_check(const CK_ATTRIBUTE *template, CK_ULONG count)
{
	if (count > TEMPLATE_COUNT_MAX || (!template && count > 0))
		return CKR_ARGUMENTS_BAD;
	for (CK_ULONG i = 0; i < count; i++)
		if (template[i].ulValueLen > TEMPLATE_VALUE_MAX || (!template[i].pValue && template[i].ulValueLen > 0))
			return CKR_ARGUMENTS_BAD;
	return CKR_OK;
}

const CK_ATTRIBUTE *template_get(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type)
{
	for (CK_ULONG i = 0; i < count; i++)
		if (template[i].type == type)
			return &template[i];
	return NULL;
}

bool template_bool(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type, bool otherwise)
{
	const CK_ATTRIBUTE *item = template_get(template, count, type);
	return item ? *(const CK_BBOOL *)item->pValue : otherwise;
}

CK_ULONG template_ulong(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type, CK_ULONG otherwise)
{
	const CK_ATTRIBUTE *item = template_get(template, count, type);
	CK_ULONG value = otherwise;

	if (item)
		memcpy(&value, item->pValue, sizeof(value)); /* callers' structs may be packed */
	return value;
}
