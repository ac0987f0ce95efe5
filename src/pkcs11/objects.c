/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/entry.h"
#include "pkcs11/functions.h"

#include "token/session_key.h"
#include "token/session_object.h"

/*
 * Objects: the token's can be read, a session's own do what PKCS#11 2.40 says. What a handle and a template mean is
 * decided in token/.
 */

#define CHECK_TEMPLATE(template_, count_)                               \
	do {                                                            \
		CK_RV checked_ = template_check((template_), (count_)); \
		if (checked_ != CKR_OK)                                 \
			return checked_;                                \
	} while (0)

EXPORT CK_RV C_GetAttributeValue(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                                 CK_ULONG count)
{
	ENTER_SESSION(handle);
	if (!template || count == 0 || count > TEMPLATE_COUNT_MAX)
		return CKR_ARGUMENTS_BAD;
	return session_read(session, object, template, count);
}

/* What its attributes take: there is no other memory to speak of. */
EXPORT CK_RV C_GetObjectSize(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ULONG *size)
{
	ENTER_SESSION(handle);
	return size ? session_object_size(session, object, size) : CKR_ARGUMENTS_BAD;
}

EXPORT CK_RV C_SetAttributeValue(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template,
                                 CK_ULONG count)
{
	ENTER_SESSION(handle);
	CHECK_TEMPLATE(template, count);
	return count ? session_change(session, object, template, count) : CKR_ARGUMENTS_BAD;
}

EXPORT CK_RV C_CopyObject(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *template, CK_ULONG count,
                          CK_OBJECT_HANDLE *ret)
{
	ENTER_SESSION(handle);
	CHECK_TEMPLATE(template, count);
	return ret ? session_copy(session, object, template, count, ret) : CKR_ARGUMENTS_BAD;
}

EXPORT CK_RV C_DestroyObject(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE object)
{
	ENTER_SESSION(handle);
	return session_destroy(session, object);
}

EXPORT CK_RV C_CreateObject(CK_SESSION_HANDLE handle, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	ENTER_SESSION(handle);
	CHECK_TEMPLATE(template, count);
	return ret && count ? session_create(session, template, count, ret) : CKR_ARGUMENTS_BAD;
}

/* ---- keys ---- */

EXPORT CK_RV C_GenerateKey(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_ATTRIBUTE *template, CK_ULONG count,
                           CK_OBJECT_HANDLE *ret)
{
	ENTER_SESSION(handle);
	CHECK_TEMPLATE(template, count);
	if (!mechanism || !ret)
		return CKR_ARGUMENTS_BAD;
	if (bad_mechanism(mechanism))
		return CKR_MECHANISM_PARAM_INVALID;
	return session_generate(session, mechanism, template, count, ret);
}

EXPORT CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public,
                               CK_ULONG public_count, CK_ATTRIBUTE *private, CK_ULONG private_count,
                               CK_OBJECT_HANDLE *ret_public, CK_OBJECT_HANDLE *ret_private)
{
	const struct pair_templates templates = {public, private, public_count, private_count};

	ENTER_SESSION(handle);
	CHECK_TEMPLATE(public, public_count);
	CHECK_TEMPLATE(private, private_count);
	if (!mechanism || !ret_public || !ret_private)
		return CKR_ARGUMENTS_BAD;
	if (bad_mechanism(mechanism))
		return CKR_MECHANISM_PARAM_INVALID;
	return session_generate_pair(session, mechanism, &templates, ret_public, ret_private);
}

EXPORT CK_RV C_DeriveKey(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE base,
                         CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	ENTER_SESSION(handle);
	CHECK_TEMPLATE(template, count);
	if (!mechanism || !ret)
		return CKR_ARGUMENTS_BAD;
	if (bad_mechanism(mechanism))
		return CKR_MECHANISM_PARAM_INVALID;
	return session_derive(session, mechanism, base, template, count, ret);
}

EXPORT CK_RV C_WrapKey(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                       CK_OBJECT_HANDLE key, CK_BYTE *wrapped, CK_ULONG *len)
{
	ENTER_SESSION(handle);
	if (!mechanism || !len)
		return CKR_ARGUMENTS_BAD;
	if (bad_mechanism(mechanism))
		return CKR_MECHANISM_PARAM_INVALID;
	return session_wrap(session, mechanism, wrapping, key, wrapped, len);
}

EXPORT CK_RV C_UnwrapKey(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
                         CK_BYTE *wrapped, CK_ULONG len, CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *ret)
{
	ENTER_SESSION(handle);
	CHECK_TEMPLATE(template, count);
	if (!mechanism || !ret || bad_bytes(wrapped, len))
		return CKR_ARGUMENTS_BAD;
	if (bad_mechanism(mechanism))
		return CKR_MECHANISM_PARAM_INVALID;
	return session_unwrap(session, mechanism, unwrapping, wrapped, len, template, count, ret);
}
