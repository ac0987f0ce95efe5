/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_RULES_H
#define SKR_TOKEN_RULES_H

#include <p11-kit/pkcs11.h>
#include <stdbool.h>

/*
 * What a template may say of a session object: which attributes it may name when, in which form, and what must not come
 * together.
 *
 * The rules that keep keys apart are these (Delaune, Kremer, Steel; Bortolozzo, Centenaro, Focardi, Steel: "Tookan"):
 *
 *   1. A key either wraps and unwraps, or does everything else. So nothing that was wrapped can be decrypted, and
 *      nothing that was encrypted can be unwrapped. (Not so for a public key that is imported: what it does can be
 *      done without us, and pkcs11-provider asks for all of it.)
 *   2. A key that wraps or unwraps is not extractable, so that it has no second life under other rules.
 *   3. What is unwrapped is sensitive, and neither wraps nor unwraps; what is derived neither wraps nor unwraps.
 *   4. A sensitive key is wrapped only by a secret key of the token, or one of the session that has always been
 *      sensitive: nobody knows those. Public keys may be anybody's, so they wrap what is not sensitive.
 *   5. A sensitive key neither wraps nor unwraps by CKM_AES_CBC_PAD: whether a padding is right, asked often enough,
 *      opens every block that the key has encrypted (Bardou, Focardi, Kawamoto, Simionato, Steel, Tsay 2012).
 *   6. Nothing about it can be loosened later: flags change in one direction, uses not at all.
 */

/* Bits: what kind of object it is. */
enum object_kind {
	KIND_DATA = 1,
	KIND_CERTIFICATE = 2,
	KIND_RSA_PUBLIC = 4,
	KIND_EC_PUBLIC = 8,
	KIND_RSA_PRIVATE = 16,
	KIND_EC_PRIVATE = 32,
	KIND_SECRET = 64,
	KINDS_PUBLIC = KIND_RSA_PUBLIC | KIND_EC_PUBLIC,
	KINDS_PRIVATE = KIND_RSA_PRIVATE | KIND_EC_PRIVATE,
	KINDS_HIDDEN = KINDS_PRIVATE | KIND_SECRET,
};
/* 0: none of ours. The type is looked at for keys only. */
enum object_kind object_kind(CK_OBJECT_CLASS class, CK_KEY_TYPE type);

/* Bits: what a template is given for. */
enum template_use {
	TO_CREATE = 1,
	TO_GENERATE = 2,
	TO_UNWRAP = 4,
	TO_DERIVE = 8,
	TO_COPY = 16,
	TO_CHANGE = 32,
};

/*
 * Every item by itself, and twice the same: CKR_ATTRIBUTE_TYPE_INVALID, CKR_ATTRIBUTE_READ_ONLY,
 * CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCONSISTENT.
 */
CK_RV rules_check(enum object_kind kind, enum template_use use, const CK_ATTRIBUTE *template, CK_ULONG count);

/* The KEY_USE_… bits that the template gives, or the usual ones of the kind for those it does not name. */
unsigned rules_uses(enum object_kind kind, CK_KEY_TYPE type, const CK_ATTRIBUTE *template, CK_ULONG count);

/* Rules 1 to 3: CKR_TEMPLATE_INCONSISTENT. `uses` are those of one key, or of both halves of a pair. */
CK_RV rules_separation(enum template_use use, unsigned uses, bool sensitive, bool extractable);

/* Rule 1 for a key of the token: what is left of its key_ops. */
unsigned rules_separated(unsigned ops);

#endif
