/* SPDX-License-Identifier: Apache-2.0 */
#include "pkcs11/entry.h"
#include "pkcs11/functions.h"

#include "base/ossl.h"
#include "token/login.h"
#include "token/session.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>

/*
 * The functions of PKCS#11 2.40 that this token offers; those of objects are in objects.c. Each checks its arguments,
 * looks up what the handles mean, and hands on; the rest is in stubs.c. What a caller gets wrong is answered before
 * anything changes, but for an operation that is active: whatever goes wrong with it, other than a buffer that is too
 * small, ends it, so that CKR_OPERATION_ACTIVE never sticks.
 */

/* ---- library, slots, tokens ---- */

EXPORT CK_RV C_Initialize(CK_VOID_PTR args)
{
	return module_initialize(args);
}

EXPORT CK_RV C_Finalize(CK_VOID_PTR reserved)
{
	return reserved ? CKR_ARGUMENTS_BAD : module_finalize();
}

EXPORT CK_RV C_GetInfo(CK_INFO *info)
{
	char description[64];

	ENTER();
	if (!info)
		return CKR_ARGUMENTS_BAD;
	*info = (CK_INFO){.cryptokiVersion = {2, 40}, .libraryVersion = {SKR_VERSION_MAJOR, SKR_VERSION_MINOR}};
	snprintf(description, sizeof(description), "Released keys, OpenSSL %s",
	         OpenSSL_version(OPENSSL_VERSION_STRING));
	padded(info->manufacturerID, sizeof(info->manufacturerID), "skr-pkcs11");
	padded(info->libraryDescription, sizeof(info->libraryDescription), description);
	return CKR_OK;
}

/* There is a token in every slot, always, so it does not matter whether only those with one are asked for. */
EXPORT CK_RV C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *count)
{
	(void)present;
	ENTER();
	if (!count)
		return CKR_ARGUMENTS_BAD;
	CK_ULONG room = *count;
	*count = tokens_count();
	if (!list)
		return CKR_OK;
	if (room < *count)
		return CKR_BUFFER_TOO_SMALL;
	for (CK_ULONG i = 0; i < *count; i++)
		list[i] = i;
	return CKR_OK;
}

EXPORT CK_RV C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO *info)
{
	ENTER_TOKEN(slot);
	if (!info)
		return CKR_ARGUMENTS_BAD;
	token_slot_info(token, info);
	return CKR_OK;
}

EXPORT CK_RV C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	ENTER_TOKEN(slot);
	if (!info)
		return CKR_ARGUMENTS_BAD;
	token_info(token, info);
	return CKR_OK;
}

EXPORT CK_RV C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE *list, CK_ULONG *count)
{
	ENTER_TOKEN(slot);
	if (!count)
		return CKR_ARGUMENTS_BAD;
	return mechanism_list(&token->policy, list, count);
}

EXPORT CK_RV C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
	ENTER_TOKEN(slot);
	if (!info)
		return CKR_ARGUMENTS_BAD;
	return mechanism_info(type, &token->policy, info);
}

/* Slots come and go with the configuration only; nobody is ever made to wait. */
EXPORT CK_RV C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID *slot, CK_VOID_PTR reserved)
{
	ENTER();
	if (!slot || reserved || (flags & ~CKF_DONT_BLOCK))
		return CKR_ARGUMENTS_BAD;
	return CKR_NO_EVENT;
}

/* ---- sessions ---- */

EXPORT CK_RV C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR application, CK_NOTIFY notify,
                           CK_SESSION_HANDLE *ret)
{
	(void)application;
	(void)notify;
	ENTER_TOKEN(slot);
	if (!ret)
		return CKR_ARGUMENTS_BAD;
	if (!(flags & CKF_SERIAL_SESSION))
		return CKR_SESSION_PARALLEL_NOT_SUPPORTED;
	return session_open(token, flags, ret);
}

EXPORT CK_RV C_CloseSession(CK_SESSION_HANDLE handle)
{
	ENTER();
	return session_close(handle);
}

EXPORT CK_RV C_CloseAllSessions(CK_SLOT_ID slot)
{
	ENTER_TOKEN(slot);
	sessions_close_all(token);
	return CKR_OK;
}

EXPORT CK_RV C_GetSessionInfo(CK_SESSION_HANDLE handle, CK_SESSION_INFO *info)
{
	ENTER_SESSION(handle);
	if (!info)
		return CKR_ARGUMENTS_BAD;
	return session_info(session, info);
}

static CK_RV token_of_session(CK_SESSION_HANDLE handle, struct token **ret)
{
	auto_session session = session_find(handle);

	if (!session)
		return CKR_SESSION_HANDLE_INVALID;
	*ret = session->token;
	return CKR_OK;
}

static CK_RV check_user(CK_USER_TYPE user)
{
	if (user == CKU_USER)
		return CKR_OK;
	return user == CKU_CONTEXT_SPECIFIC ? CKR_OPERATION_NOT_INITIALIZED : CKR_USER_TYPE_INVALID;
}

/* token/login.h says which step holds what. */
EXPORT CK_RV C_Login(CK_SESSION_HANDLE handle, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG pin_len)
{
	struct token *token;
	struct login_attempt attempt;

	ENTER();
	CK_RV rv = token_of_session(handle, &token);
	if (rv == CKR_OK)
		rv = check_user(user);
	if (rv != CKR_OK)
		return rv;
	if (bad_bytes(pin, pin_len) || (!pin && token->settings->pin_hash))
		return CKR_ARGUMENTS_BAD;

	rv = login_begin(token, pin, pin_len, &attempt);
	if (!attempt.pending)
		return rv;
	call_pause(&call_);
	login_run(&attempt);
	call_resume(&call_);
	login_settle(&attempt);
	call_pause(&call_);
	rv = login_report(&attempt);
	call_resume(&call_);
	return rv;
}

/* 3.0. A token of ours has one user, whatever his name. */
EXPORT CK_RV C_LoginUser(CK_SESSION_HANDLE handle, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG pin_len,
                         CK_UTF8CHAR *name, CK_ULONG name_len)
{
	return bad_bytes(name, name_len) ? CKR_ARGUMENTS_BAD : C_Login(handle, user, pin, pin_len);
}

EXPORT CK_RV C_Logout(CK_SESSION_HANDLE handle)
{
	struct token *token;

	ENTER();
	CK_RV rv = token_of_session(handle, &token);
	return rv == CKR_OK ? login_out(token) : rv;
}

/* ---- searching ---- */

EXPORT CK_RV C_FindObjectsInit(CK_SESSION_HANDLE handle, CK_ATTRIBUTE *template, CK_ULONG count)
{
	ENTER_SESSION(handle);
	CK_RV rv = template_check(template, count);
	return rv == CKR_OK ? search_begin(session, template, count) : rv;
}

EXPORT CK_RV C_FindObjects(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE *out, CK_ULONG max, CK_ULONG *count)
{
	ENTER_SESSION(handle);
	if (!count || (!out && max > 0))
		return CKR_ARGUMENTS_BAD;
	return search_next(session, out, max, count);
}

EXPORT CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE handle)
{
	ENTER_SESSION(handle);
	return search_end(session);
}

/* ---- operations: the five kinds are alike ---- */

/* PKCS#11 3.0 section 5.6.5; p11-kit's header does not have it. */
#ifndef CKF_FIND_OBJECTS
#define CKF_FIND_OBJECTS 0x40UL
#endif

/* 3.0. What is not active is cancelled, too. */
EXPORT CK_RV C_SessionCancel(CK_SESSION_HANDLE handle, CK_FLAGS flags)
{
	static const CK_FLAGS kinds[OPERATION_KINDS] = {
	    [OPERATION_SIGN] = CKF_SIGN,       [OPERATION_VERIFY] = CKF_VERIFY, [OPERATION_ENCRYPT] = CKF_ENCRYPT,
	    [OPERATION_DECRYPT] = CKF_DECRYPT, [OPERATION_DIGEST] = CKF_DIGEST,
	};

	ENTER_SESSION(handle);
	for (int kind = 0; kind < OPERATION_KINDS; kind++)
		if (flags & kinds[kind])
			session_begin(session, kind, NULL, CK_INVALID_HANDLE);
	if (flags & CKF_FIND_OBJECTS)
		search_end(session);
	return CKR_OK;
}

static CK_RV begin(CK_SESSION_HANDLE handle, enum operation_kind kind, const CK_MECHANISM *mechanism,
                   CK_OBJECT_HANDLE key)
{
	ENTER_SESSION(handle);
	if (mechanism && bad_mechanism(mechanism))
		return CKR_MECHANISM_PARAM_INVALID;
	return session_begin(session, kind, mechanism, key);
}

static CK_RV single(CK_SESSION_HANDLE handle, enum operation_kind kind, const CK_BYTE *in, CK_ULONG in_len,
                    CK_BYTE *out, CK_ULONG *out_len)
{
	ENTER_SESSION(handle);
	struct operation *operation = session_operation(session, kind);
	if (!operation)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (bad_bytes(in, in_len) || !out_len)
		return session_ended(session, kind, CKR_ARGUMENTS_BAD, false);
	CK_RV rv = operation_single(operation, in, in_len, out, out_len);
	return session_ended(session, kind, rv, operation_goes_on(rv, out));
}

static CK_RV update(CK_SESSION_HANDLE handle, enum operation_kind kind, const CK_BYTE *in, CK_ULONG in_len)
{
	ENTER_SESSION(handle);
	struct operation *operation = session_operation(session, kind);
	if (!operation)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (bad_bytes(in, in_len))
		return session_ended(session, kind, CKR_ARGUMENTS_BAD, false);
	CK_RV rv = operation_update(operation, in, in_len, NULL, NULL);
	return session_ended(session, kind, rv, rv == CKR_OK);
}

static CK_RV update_out(CK_SESSION_HANDLE handle, enum operation_kind kind, const CK_BYTE *in, CK_ULONG in_len,
                        CK_BYTE *out, CK_ULONG *out_len)
{
	ENTER_SESSION(handle);
	struct operation *operation = session_operation(session, kind);
	if (!operation)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (bad_bytes(in, in_len) || !out_len)
		return session_ended(session, kind, CKR_ARGUMENTS_BAD, false);
	CK_RV rv = operation_update(operation, in, in_len, out, out_len);
	return session_ended(session, kind, rv, rv == CKR_OK || operation_goes_on(rv, out));
}

static CK_RV final(CK_SESSION_HANDLE handle, enum operation_kind kind, CK_BYTE *out, CK_ULONG *out_len)
{
	ENTER_SESSION(handle);
	struct operation *operation = session_operation(session, kind);
	if (!operation)
		return CKR_OPERATION_NOT_INITIALIZED;
	if (!out_len)
		return session_ended(session, kind, CKR_ARGUMENTS_BAD, false);
	CK_RV rv = operation_final(operation, out, out_len);
	return session_ended(session, kind, rv, operation_goes_on(rv, out));
}

EXPORT CK_RV C_SignInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	return begin(handle, OPERATION_SIGN, mechanism, key);
}

EXPORT CK_RV C_Sign(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len, CK_BYTE *signature, CK_ULONG *signature_len)
{
	return single(handle, OPERATION_SIGN, data, len, signature, signature_len);
}

EXPORT CK_RV C_SignUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG len)
{
	return update(handle, OPERATION_SIGN, part, len);
}

EXPORT CK_RV C_SignFinal(CK_SESSION_HANDLE handle, CK_BYTE *signature, CK_ULONG *signature_len)
{
	return final(handle, OPERATION_SIGN, signature, signature_len);
}

EXPORT CK_RV C_VerifyInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	return begin(handle, OPERATION_VERIFY, mechanism, key);
}

EXPORT CK_RV C_Verify(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len, CK_BYTE *signature, CK_ULONG signature_len)
{
	ENTER_SESSION(handle);
	struct operation *operation = session_operation(session, OPERATION_VERIFY);
	if (!operation)
		return CKR_OPERATION_NOT_INITIALIZED;
	CK_RV rv = CKR_ARGUMENTS_BAD;
	if (!bad_bytes(data, len) && !bad_bytes(signature, signature_len))
		rv = operation_verify(operation, data, len, signature, signature_len);
	return session_ended(session, OPERATION_VERIFY, rv, false);
}

EXPORT CK_RV C_VerifyUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG len)
{
	return update(handle, OPERATION_VERIFY, part, len);
}

EXPORT CK_RV C_VerifyFinal(CK_SESSION_HANDLE handle, CK_BYTE *signature, CK_ULONG signature_len)
{
	ENTER_SESSION(handle);
	struct operation *operation = session_operation(session, OPERATION_VERIFY);
	if (!operation)
		return CKR_OPERATION_NOT_INITIALIZED;
	CK_RV rv = CKR_ARGUMENTS_BAD;
	if (!bad_bytes(signature, signature_len))
		rv = operation_verify_final(operation, signature, signature_len);
	return session_ended(session, OPERATION_VERIFY, rv, false);
}

EXPORT CK_RV C_EncryptInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	return begin(handle, OPERATION_ENCRYPT, mechanism, key);
}

EXPORT CK_RV C_Encrypt(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
	return single(handle, OPERATION_ENCRYPT, data, len, out, out_len);
}

EXPORT CK_RV C_EncryptUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
	return update_out(handle, OPERATION_ENCRYPT, part, len, out, out_len);
}

EXPORT CK_RV C_EncryptFinal(CK_SESSION_HANDLE handle, CK_BYTE *out, CK_ULONG *out_len)
{
	return final(handle, OPERATION_ENCRYPT, out, out_len);
}

EXPORT CK_RV C_DecryptInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
	return begin(handle, OPERATION_DECRYPT, mechanism, key);
}

EXPORT CK_RV C_Decrypt(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
	return single(handle, OPERATION_DECRYPT, data, len, out, out_len);
}

EXPORT CK_RV C_DecryptUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG len, CK_BYTE *out, CK_ULONG *out_len)
{
	return update_out(handle, OPERATION_DECRYPT, part, len, out, out_len);
}

EXPORT CK_RV C_DecryptFinal(CK_SESSION_HANDLE handle, CK_BYTE *out, CK_ULONG *out_len)
{
	return final(handle, OPERATION_DECRYPT, out, out_len);
}

EXPORT CK_RV C_DigestInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism)
{
	return begin(handle, OPERATION_DIGEST, mechanism, CK_INVALID_HANDLE);
}

EXPORT CK_RV C_Digest(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len, CK_BYTE *digest, CK_ULONG *digest_len)
{
	return single(handle, OPERATION_DIGEST, data, len, digest, digest_len);
}

EXPORT CK_RV C_DigestUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG len)
{
	return update(handle, OPERATION_DIGEST, part, len);
}

EXPORT CK_RV C_DigestFinal(CK_SESSION_HANDLE handle, CK_BYTE *digest, CK_ULONG *digest_len)
{
	return final(handle, OPERATION_DIGEST, digest, digest_len);
}

/* No key here gives its value to be digested. */
EXPORT CK_RV C_DigestKey(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key)
{
	(void)key;
	ENTER_SESSION(handle);
	if (!session_operation(session, OPERATION_DIGEST))
		return CKR_OPERATION_NOT_INITIALIZED;
	return session_ended(session, OPERATION_DIGEST, CKR_KEY_INDIGESTIBLE, false);
}

/* ---- random numbers ---- */

#define SEED_MAX   (64 * 1024)
#define RANDOM_MAX ((CK_ULONG)1 << 31)

/* Mixed in beside the kernel's randomness, never in its place: a seed can add to the generator but not steer it. */
EXPORT CK_RV C_SeedRandom(CK_SESSION_HANDLE handle, CK_BYTE *seed, CK_ULONG len)
{
	ENTER_SESSION(handle);
	if (bad_bytes(seed, len) || len > SEED_MAX)
		return CKR_ARGUMENTS_BAD;
	EVP_RAND_CTX *generator = RAND_get0_public(ossl);
	if (len == 0 || (generator && EVP_RAND_reseed(generator, 0, NULL, 0, seed, len)))
		return CKR_OK;
	ossl_fail(15, "reseeding");
	return CKR_DEVICE_ERROR;
}

EXPORT CK_RV C_GenerateRandom(CK_SESSION_HANDLE handle, CK_BYTE *out, CK_ULONG len)
{
	ENTER_SESSION(handle);
	if (bad_bytes(out, len) || len > RANDOM_MAX)
		return CKR_ARGUMENTS_BAD;
	return len == 0 ? CKR_OK : status_rv(random_bytes(out, len));
}
