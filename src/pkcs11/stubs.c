/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/functions.h"
#include "pkcs11/module.h"

#include "token/session.h"

/*
 * The functions of PKCS#11 2.40 and 3.0 that a read-only token has no work for. A
 * stranger's handle is told so first, as in any other function.
 */

static CK_RV refuse_token(CK_SLOT_ID slot, CK_RV answer)
{
	auto_call call = {0};
	CK_RV rv = call_enter(&call);

	if (rv != CKR_OK)
		return rv;
	return token_in_slot(slot) ? answer : CKR_SLOT_ID_INVALID;
}

static CK_RV refuse_session(CK_SESSION_HANDLE handle, CK_RV read_only, CK_RV read_write)
{
	auto_call call = {0};
	CK_RV rv = call_enter(&call);

	if (rv != CKR_OK)
		return rv;
	auto_session session = session_find(handle);
	if (!session)
		return CKR_SESSION_HANDLE_INVALID;
	return session->read_write ? read_write : read_only;
}

#define NAMES(...) __VA_ARGS__
/* A function that answers NOT_SUPPORTED in every session; `rest_` are its parameters after the session, unused. */
#define NOT_SUPPORTED(name_, rest_)                                                                     \
	EXPORT CK_RV name_(CK_SESSION_HANDLE session, NAMES rest_)                                      \
	{                                                                                               \
		return refuse_session(session, CKR_FUNCTION_NOT_SUPPORTED, CKR_FUNCTION_NOT_SUPPORTED); \
	}

#define NOT_SUPPORTED_ALONE(name_)                                                                      \
	EXPORT CK_RV name_(CK_SESSION_HANDLE session)                                                   \
	{                                                                                               \
		return refuse_session(session, CKR_FUNCTION_NOT_SUPPORTED, CKR_FUNCTION_NOT_SUPPORTED); \
	}

#pragma GCC diagnostic ignored "-Wunused-parameter"

NOT_SUPPORTED(C_GetOperationState, (CK_BYTE * state, CK_ULONG *len))
NOT_SUPPORTED(C_SetOperationState,
              (CK_BYTE * state, CK_ULONG len, CK_OBJECT_HANDLE encryption_key, CK_OBJECT_HANDLE authentication_key))
NOT_SUPPORTED(C_SignRecoverInit, (CK_MECHANISM * mechanism, CK_OBJECT_HANDLE key))
NOT_SUPPORTED(C_SignRecover, (CK_BYTE * data, CK_ULONG len, CK_BYTE *signature, CK_ULONG *signature_len))
NOT_SUPPORTED(C_VerifyRecoverInit, (CK_MECHANISM * mechanism, CK_OBJECT_HANDLE key))
NOT_SUPPORTED(C_VerifyRecover, (CK_BYTE * signature, CK_ULONG signature_len, CK_BYTE *data, CK_ULONG *len))
NOT_SUPPORTED(C_DigestEncryptUpdate, (CK_BYTE * part, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len))
NOT_SUPPORTED(C_DecryptDigestUpdate, (CK_BYTE * part, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len))
NOT_SUPPORTED(C_SignEncryptUpdate, (CK_BYTE * part, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len))
NOT_SUPPORTED(C_DecryptVerifyUpdate, (CK_BYTE * part, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len))

/* PKCS#11 3.0: messages, where one initialisation serves many. No mechanism here says that it does them. */
NOT_SUPPORTED(C_MessageEncryptInit, (CK_MECHANISM * mechanism, CK_OBJECT_HANDLE key))
NOT_SUPPORTED(C_EncryptMessage,
              (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *associated, CK_ULONG associated_len, CK_BYTE *in,
               CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len))
NOT_SUPPORTED(C_EncryptMessageBegin,
              (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *associated, CK_ULONG associated_len))
NOT_SUPPORTED(C_EncryptMessageNext, (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *in, CK_ULONG in_len,
                                     CK_BYTE *out, CK_ULONG *out_len, CK_FLAGS flags))
NOT_SUPPORTED(C_MessageDecryptInit, (CK_MECHANISM * mechanism, CK_OBJECT_HANDLE key))
NOT_SUPPORTED(C_DecryptMessage,
              (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *associated, CK_ULONG associated_len, CK_BYTE *in,
               CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len))
NOT_SUPPORTED(C_DecryptMessageBegin,
              (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *associated, CK_ULONG associated_len))
NOT_SUPPORTED(C_DecryptMessageNext, (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *in, CK_ULONG in_len,
                                     CK_BYTE *out, CK_ULONG *out_len, CK_FLAGS flags))
NOT_SUPPORTED(C_MessageSignInit, (CK_MECHANISM * mechanism, CK_OBJECT_HANDLE key))
NOT_SUPPORTED(C_SignMessage, (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *data, CK_ULONG len,
                              CK_BYTE *signature, CK_ULONG *signature_len))
NOT_SUPPORTED(C_SignMessageBegin, (CK_VOID_PTR parameter, CK_ULONG parameter_len))
NOT_SUPPORTED(C_SignMessageNext, (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *data, CK_ULONG len,
                                  CK_BYTE *signature, CK_ULONG *signature_len))
NOT_SUPPORTED(C_MessageVerifyInit, (CK_MECHANISM * mechanism, CK_OBJECT_HANDLE key))
NOT_SUPPORTED(C_VerifyMessage, (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *data, CK_ULONG len,
                                CK_BYTE *signature, CK_ULONG signature_len))
NOT_SUPPORTED(C_VerifyMessageBegin, (CK_VOID_PTR parameter, CK_ULONG parameter_len))
NOT_SUPPORTED(C_VerifyMessageNext, (CK_VOID_PTR parameter, CK_ULONG parameter_len, CK_BYTE *data, CK_ULONG len,
                                    CK_BYTE *signature, CK_ULONG signature_len))
NOT_SUPPORTED_ALONE(C_MessageEncryptFinal)
NOT_SUPPORTED_ALONE(C_MessageDecryptFinal)
NOT_SUPPORTED_ALONE(C_MessageSignFinal)
NOT_SUPPORTED_ALONE(C_MessageVerifyFinal)

EXPORT CK_RV C_InitToken(CK_SLOT_ID slot, CK_UTF8CHAR *pin, CK_ULONG pin_len, CK_UTF8CHAR *label)
{
	return refuse_token(slot, CKR_TOKEN_WRITE_PROTECTED);
}

/* Only the security officer may, and nobody can log in as that. */
EXPORT CK_RV C_InitPIN(CK_SESSION_HANDLE session, CK_UTF8CHAR *pin, CK_ULONG pin_len)
{
	return refuse_session(session, CKR_SESSION_READ_ONLY, CKR_USER_NOT_LOGGED_IN);
}

/* The PIN, if there is one, is in the configuration. */
EXPORT CK_RV C_SetPIN(CK_SESSION_HANDLE session, CK_UTF8CHAR *old_pin, CK_ULONG old_len, CK_UTF8CHAR *new_pin,
                      CK_ULONG new_len)
{
	return refuse_session(session, CKR_SESSION_READ_ONLY, CKR_TOKEN_WRITE_PROTECTED);
}

/* Left over from PKCS#11 1.0, when functions ran in parallel: 2.40 section 5.15 says what to answer. */
EXPORT CK_RV C_GetFunctionStatus(CK_SESSION_HANDLE session)
{
	return refuse_session(session, CKR_FUNCTION_NOT_PARALLEL, CKR_FUNCTION_NOT_PARALLEL);
}

EXPORT CK_RV C_CancelFunction(CK_SESSION_HANDLE session)
{
	return refuse_session(session, CKR_FUNCTION_NOT_PARALLEL, CKR_FUNCTION_NOT_PARALLEL);
}
