/* SPDX-License-Identifier: Apache-2.0 */
#include "token/rules.h"

#include "crypto/key.h"
#include "token/attribute.h"
#include "token/object.h"

#include <string.h>

enum shape { FLAG, NEVER_TRUE, NUMBER, BYTES, DATE, NUMBERS };

struct rule {
	CK_ATTRIBUTE_TYPE type;
	unsigned kinds, uses; /* 0: nobody may give it */
	enum shape shape;
};

#define PAIRS (KINDS_PUBLIC | KINDS_PRIVATE)
#define KEYS  (PAIRS | KIND_SECRET)
#define ALL   (KEYS | KIND_DATA | KIND_CERTIFICATE)
#define RSA   (KIND_RSA_PUBLIC | KIND_RSA_PRIVATE)
#define EC    (KIND_EC_PUBLIC | KIND_EC_PRIVATE)
#define MAKE  (TO_CREATE | TO_GENERATE | TO_UNWRAP | TO_DERIVE)
#define LATER (TO_COPY | TO_CHANGE)

/* clang-format off */
static const struct rule rules[] = {
	{CKA_CLASS,                       ALL,                              MAKE,                     NUMBER},
	{CKA_TOKEN,                       ALL,                              MAKE | TO_COPY,           FLAG},
	{CKA_PRIVATE,                     ALL,                              MAKE | TO_COPY,           FLAG},
	{CKA_LABEL,                       ALL,                              MAKE | LATER,             BYTES},
	{CKA_MODIFIABLE,                  ALL,                              MAKE | TO_COPY,           FLAG},
	{CKA_COPYABLE,                    ALL,                              MAKE | LATER,             FLAG},
	{CKA_DESTROYABLE,                 ALL,                              MAKE | LATER,             FLAG},
	{CKA_UNIQUE_ID,                   ALL,                              0,                        BYTES},
	{CKA_APPLICATION,                 KIND_DATA,                        TO_CREATE,                BYTES},
	{CKA_OBJECT_ID,                   KIND_DATA,                        TO_CREATE,                BYTES},
	{CKA_VALUE,                       KIND_DATA | KIND_CERTIFICATE | KIND_EC_PRIVATE | KIND_SECRET, TO_CREATE, BYTES},
	{CKA_CERTIFICATE_TYPE,            KIND_CERTIFICATE,                 TO_CREATE,                NUMBER},
	{CKA_CERTIFICATE_CATEGORY,        KIND_CERTIFICATE,                 TO_CREATE,                NUMBER},
	{CKA_ISSUER,                      KIND_CERTIFICATE,                 TO_CREATE,                BYTES},
	{CKA_SERIAL_NUMBER,               KIND_CERTIFICATE,                 TO_CREATE,                BYTES},
	{CKA_URL,                         KIND_CERTIFICATE,                 0,                        BYTES},
	{CKA_HASH_OF_SUBJECT_PUBLIC_KEY,  KIND_CERTIFICATE,                 0,                        BYTES},
	{CKA_HASH_OF_ISSUER_PUBLIC_KEY,   KIND_CERTIFICATE,                 0,                        BYTES},
	{CKA_NAME_HASH_ALGORITHM,         KIND_CERTIFICATE,                 0,                        NUMBER},
	{CKA_JAVA_MIDP_SECURITY_DOMAIN,   KIND_CERTIFICATE,                 0,                        NUMBER},
	{CKA_CHECK_VALUE,                 KIND_CERTIFICATE | KIND_SECRET,   0,                        BYTES},
	{CKA_TRUSTED,                     KIND_CERTIFICATE | KINDS_PUBLIC | KIND_SECRET, MAKE,        NEVER_TRUE},
	{CKA_SUBJECT,                     KIND_CERTIFICATE | PAIRS,         MAKE,                     BYTES},
	{CKA_ID,                          KIND_CERTIFICATE | KEYS,          MAKE | LATER,             BYTES},
	{CKA_START_DATE,                  KIND_CERTIFICATE | KEYS,          MAKE,                     DATE},
	{CKA_END_DATE,                    KIND_CERTIFICATE | KEYS,          MAKE,                     DATE},
	{CKA_KEY_TYPE,                    KEYS,                             MAKE,                     NUMBER},
	{CKA_LOCAL,                       KEYS,                             0,                        FLAG},
	{CKA_KEY_GEN_MECHANISM,           KEYS,                             0,                        NUMBER},
	{CKA_ALLOWED_MECHANISMS,          KEYS,                             MAKE,                     NUMBERS},
	{CKA_ENCRYPT,                     KINDS_PUBLIC | KIND_SECRET,       MAKE,                     FLAG},
	{CKA_VERIFY,                      KINDS_PUBLIC | KIND_SECRET,       MAKE,                     FLAG},
	{CKA_VERIFY_RECOVER,              KINDS_PUBLIC,                     MAKE,                     NEVER_TRUE},
	{CKA_WRAP,                        KINDS_PUBLIC | KIND_SECRET,       MAKE,                     FLAG},
	{CKA_DECRYPT,                     KINDS_HIDDEN,                     MAKE,                     FLAG},
	{CKA_SIGN,                        KINDS_HIDDEN,                     MAKE,                     FLAG},
	{CKA_SIGN_RECOVER,                KINDS_PRIVATE,                    MAKE,                     NEVER_TRUE},
	{CKA_UNWRAP,                      KINDS_HIDDEN,                     MAKE,                     FLAG},
	{CKA_DERIVE,                      KEYS,                             MAKE,                     FLAG},
	{CKA_SENSITIVE,                   KINDS_HIDDEN,                     MAKE | LATER,             FLAG},
	{CKA_EXTRACTABLE,                 KINDS_HIDDEN,                     MAKE | LATER,             FLAG},
	{CKA_WRAP_WITH_TRUSTED,           KINDS_HIDDEN,                     MAKE | LATER,             FLAG},
	{CKA_ALWAYS_SENSITIVE,            KINDS_HIDDEN,                     0,                        FLAG},
	{CKA_NEVER_EXTRACTABLE,           KINDS_HIDDEN,                     0,                        FLAG},
	{CKA_ALWAYS_AUTHENTICATE,         KINDS_PRIVATE,                    MAKE,                     NEVER_TRUE},
	{CKA_PUBLIC_KEY_INFO,             KIND_CERTIFICATE | PAIRS,         0,                        BYTES},
	{CKA_MODULUS,                     RSA,                              TO_CREATE,                BYTES},
	{CKA_MODULUS_BITS,                KIND_RSA_PUBLIC,                  TO_GENERATE,              NUMBER},
	{CKA_PUBLIC_EXPONENT,             RSA,                              TO_CREATE | TO_GENERATE,  BYTES},
	{CKA_PRIVATE_EXPONENT,            KIND_RSA_PRIVATE,                 TO_CREATE,                BYTES},
	{CKA_PRIME_1,                     KIND_RSA_PRIVATE,                 TO_CREATE,                BYTES},
	{CKA_PRIME_2,                     KIND_RSA_PRIVATE,                 TO_CREATE,                BYTES},
	{CKA_EXPONENT_1,                  KIND_RSA_PRIVATE,                 TO_CREATE,                BYTES},
	{CKA_EXPONENT_2,                  KIND_RSA_PRIVATE,                 TO_CREATE,                BYTES},
	{CKA_COEFFICIENT,                 KIND_RSA_PRIVATE,                 TO_CREATE,                BYTES},
	{CKA_EC_PARAMS,                   EC,                               TO_CREATE | TO_GENERATE,  BYTES},
	{CKA_EC_POINT,                    KIND_EC_PUBLIC,                   TO_CREATE,                BYTES},
	{CKA_VALUE_LEN,                   KIND_SECRET,                      TO_GENERATE | TO_UNWRAP | TO_DERIVE, NUMBER},
};
/* clang-format on */

enum object_kind object_kind(CK_OBJECT_CLASS class, CK_KEY_TYPE type)
{
	switch (class) {
	case CKO_DATA:
		return KIND_DATA;
	case CKO_CERTIFICATE:
		return KIND_CERTIFICATE;
	case CKO_PUBLIC_KEY:
		return type == CKK_RSA ? KIND_RSA_PUBLIC : type == CKK_EC ? KIND_EC_PUBLIC : 0;
	case CKO_PRIVATE_KEY:
		return type == CKK_RSA ? KIND_RSA_PRIVATE : type == CKK_EC ? KIND_EC_PRIVATE : 0;
	case CKO_SECRET_KEY:
		return KIND_SECRET;
	default:
		return 0;
	}
}

static const struct rule *rule_of(enum object_kind kind, CK_ATTRIBUTE_TYPE type)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].type == type)
			return rules[i].kinds & kind ? &rules[i] : NULL;
	return NULL;
}

static bool has_shape(enum shape shape, const CK_ATTRIBUTE *item)
{
	const CK_BBOOL *flag = item->pValue;

	switch (shape) {
	case FLAG:
		return item->ulValueLen == sizeof(*flag) && (*flag == CK_TRUE || *flag == CK_FALSE);
	case NEVER_TRUE:
		return item->ulValueLen == sizeof(*flag) && *flag == CK_FALSE;
	case NUMBER:
		return item->ulValueLen == sizeof(CK_ULONG);
	case DATE:
		return item->ulValueLen == 0 || item->ulValueLen == sizeof(CK_DATE);
	case NUMBERS:
		return item->ulValueLen % sizeof(CK_ULONG) == 0;
	case BYTES:
		break;
	}
	return true;
}

CK_RV rules_check(enum object_kind kind, enum template_use use, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	for (CK_ULONG i = 0; i < count; i++) {
		const struct rule *rule = rule_of(kind, template[i].type);

		if (!rule)
			return CKR_ATTRIBUTE_TYPE_INVALID;
		if (!(rule->uses & use))
			return CKR_ATTRIBUTE_READ_ONLY;
		if (!has_shape(rule->shape, &template[i]))
			return CKR_ATTRIBUTE_VALUE_INVALID;
		if (template_get(template, i, template[i].type))
			return CKR_TEMPLATE_INCONSISTENT;
	}
	return CKR_OK;
}

/* ---- uses ---- */

static const struct {
	CK_ATTRIBUTE_TYPE type;
	unsigned use;
} flags[] = {
    {CKA_SIGN, KEY_USE_SIGN},       {CKA_VERIFY, KEY_USE_VERIFY}, {CKA_ENCRYPT, KEY_USE_ENCRYPT},
    {CKA_DECRYPT, KEY_USE_DECRYPT}, {CKA_WRAP, KEY_USE_WRAP},     {CKA_UNWRAP, KEY_USE_UNWRAP},
    {CKA_DERIVE, KEY_USE_DERIVE},
};

#define WRAPS (KEY_USE_WRAP | KEY_USE_UNWRAP)

static unsigned usual_uses(enum object_kind kind, CK_KEY_TYPE type)
{
	switch (kind) {
	case KIND_RSA_PUBLIC:
		return KEY_USE_VERIFY | KEY_USE_ENCRYPT;
	case KIND_EC_PUBLIC:
		return KEY_USE_VERIFY;
	case KIND_RSA_PRIVATE:
		return KEY_USE_SIGN | KEY_USE_DECRYPT;
	case KIND_EC_PRIVATE:
		return KEY_USE_SIGN;
	case KIND_SECRET:
		return KEY_USE_SIGN | KEY_USE_VERIFY | (type == CKK_AES ? KEY_USE_ENCRYPT | KEY_USE_DECRYPT : 0);
	default:
		return 0;
	}
}

unsigned rules_uses(enum object_kind kind, CK_KEY_TYPE type, const CK_ATTRIBUTE *template, CK_ULONG count)
{
	bool wraps =
	    template_bool(template, count, CKA_WRAP, false) || template_bool(template, count, CKA_UNWRAP, false);
	unsigned usual = wraps ? 0 : usual_uses(kind, type), uses = 0;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (template_bool(template, count, flags[i].type, usual & flags[i].use))
			uses |= flags[i].use;
	return uses;
}

CK_RV rules_separation(enum template_use use, unsigned uses, bool sensitive, bool extractable)
{
	bool wraps = uses & WRAPS;

	if (wraps && (uses & ~(unsigned)WRAPS || extractable))
		return CKR_TEMPLATE_INCONSISTENT;
	if (wraps && (use == TO_UNWRAP || use == TO_DERIVE))
		return CKR_TEMPLATE_INCONSISTENT;
	return use == TO_UNWRAP && !sensitive ? CKR_TEMPLATE_INCONSISTENT : CKR_OK;
}

unsigned rules_separated(unsigned ops)
{
	unsigned others = KEY_USE_SIGN | KEY_USE_VERIFY | KEY_USE_ENCRYPT | KEY_USE_DECRYPT | KEY_USE_DERIVE;
	return ops & others ? ops & others : ops & WRAPS;
}
