/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_ATTRIBUTE_H
#define SKR_TOKEN_ATTRIBUTE_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stddef.h>

/* PKCS#11 3.0; older headers do not have it. A printable name of the object, the same in every process. */
#ifndef CKA_UNIQUE_ID
#define CKA_UNIQUE_ID 0x4UL
#endif

/*
 * What PKCS#11 shows of an object: a list of attributes, complete when it is published; a token object's never changes
 * afterwards. All of it is public. A secret component is listed by name only (attributes_add_secret), so there is
 * nothing here that could leak.
 */
struct attributes {
	CK_ATTRIBUTE *item;
	CK_ULONG count;
	bool failed; /* an allocation failed on the way: the list is of no use */
};

#define TEMPLATE_COUNT_MAX 128         /* threat model section 10 */
#define TEMPLATE_VALUE_MAX (64 * 1024) /* bytes */

/* Building. Values are copied. After a failed allocation further calls do nothing; whoever built the list looks at
 * `failed` once. */
void attributes_add(struct attributes *a, CK_ATTRIBUTE_TYPE type, const void *value, size_t len);
void attributes_add_bool(struct attributes *a, CK_ATTRIBUTE_TYPE type, bool value);
void attributes_add_ulong(struct attributes *a, CK_ATTRIBUTE_TYPE type, CK_ULONG value);
void attributes_add_text(struct attributes *a, CK_ATTRIBUTE_TYPE type, const char *value);
void attributes_add_secret(struct attributes *a, CK_ATTRIBUTE_TYPE type);
/* In the place of what is there under this type, or at the end. */
void attributes_set(struct attributes *a, CK_ATTRIBUTE_TYPE type, const void *value, size_t len);
struct attributes attributes_copy(const struct attributes *a);
void attributes_free(struct attributes *a); /* takes an all-zero one */

const CK_ATTRIBUTE *attributes_get(const struct attributes *a, CK_ATTRIBUTE_TYPE type); /* NULL: none, or secret */

bool attributes_flag(const struct attributes *a, CK_ATTRIBUTE_TYPE type); /* a CK_BBOOL that is there and true */
bool attributes_is_secret(const struct attributes *a, CK_ATTRIBUTE_TYPE type);

CK_ULONG attributes_size(const struct attributes *a); /* bytes of all values */

/* As C_FindObjects matches: every attribute of the template is there with exactly this value. A secret one never
 * matches. */
bool attributes_match(const struct attributes *a, const CK_ATTRIBUTE *template, CK_ULONG count);

/*
 * As C_GetAttributeValue: every item of the template is answered, whatever happens to the others.
 * CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID, CKR_BUFFER_TOO_SMALL: the first of them, in the order of the
 * template.
 */
CK_RV attributes_read(const struct attributes *a, CK_ATTRIBUTE *template, CK_ULONG count);

/* One item of it. */
CK_RV attributes_read_one(const struct attributes *a, CK_ATTRIBUTE *want);
/* The same with a value of other origin. */
CK_RV attribute_answer(CK_ATTRIBUTE *want, const void *value, size_t len);

/* CKR_ARGUMENTS_BAD for a NULL list that should have items, more than TEMPLATE_COUNT_MAX, or a NULL value that has a
 * length. */
CK_RV template_check(const CK_ATTRIBUTE *template, CK_ULONG count);

/* Of a template that was checked, values included (token/rules.h). NULL, or `otherwise`: it is not there. */
const CK_ATTRIBUTE *template_get(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type);
bool template_bool(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type, bool otherwise);
CK_ULONG template_ulong(const CK_ATTRIBUTE *template, CK_ULONG count, CK_ATTRIBUTE_TYPE type, CK_ULONG otherwise);

#endif
