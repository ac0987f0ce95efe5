/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_PKCS11_ENTRY_H
#define SKR_PKCS11_ENTRY_H

#include "pkcs11/module.h"
#include "token/session.h"

/* How every function of ours begins: the library, then what its first argument names, held until it returns. */

#define ENTER()                                      \
	auto_call call_ = {0};                       \
	do {                                         \
		CK_RV entered_ = call_enter(&call_); \
		if (entered_ != CKR_OK)              \
			return entered_;             \
	} while (0)

#define ENTER_TOKEN(slot_)                                \
	ENTER();                                          \
	struct token *const token = token_in_slot(slot_); \
	if (!token)                                       \
	return CKR_SLOT_ID_INVALID

#define ENTER_SESSION(handle_)                        \
	ENTER();                                      \
	auto_session session = session_find(handle_); \
	if (!session)                                 \
	return CKR_SESSION_HANDLE_INVALID

/* No process has that much memory: a length above it is a mistake, and must not be believed. */
#define LENGTH_MAX ((CK_ULONG)1 << 46)

static inline bool bad_bytes(const void *data, CK_ULONG len)
{
	return len > LENGTH_MAX || (!data && len > 0);
}

static inline bool bad_mechanism(const CK_MECHANISM *mechanism)
{
	return bad_bytes(mechanism->pParameter, mechanism->ulParameterLen);
}

#endif
