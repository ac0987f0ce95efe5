/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_LOGIN_H
#define SKR_TOKEN_LOGIN_H

#include "token/token.h"

/*
 * A login in steps, because none of ours but the last may hold a lock of the library while the agent works:
 *
 *	login_begin   inside    decides: nothing to do, wait for another thread's attempt, or make one (`pending`)
 *	login_run     outside   the PIN, the agent, the verification; or the waiting
 *	login_settle  inside    still wanted? all objects appear, or none
 *	login_report  outside   log and audit trail; returns what C_Login answers
 *
 * "Inside" is under the life lock of pkcs11/module.c, "outside" is without any lock. After a `pending` begin all steps
 *must follow. While an attempt is under way its token, and the configuration, stay where they are (login_wait_for_all).
 *
 * One release at a time in a process; threads that come meanwhile get the same result (C-01). Keys that a parent
 *process released, or that relogin_grace kept, are taken without asking anybody. A release is never tried while a good
 *key is loaded, so no failure can take one away.
 */
struct login_attempt {
	bool pending;
	bool ours;      /* false: another thread's, whose result is waited for */
	bool have_keys; /* nothing to release */
	struct token *token;
	unsigned long generation, number;
	const void *pin; /* borrowed */
	size_t pin_len;
	int64_t started;
	struct release release;
	json *facts;            /* what the agent told; NULL: it was not asked */
	struct objects objects; /* to be published */
	skr_status status;
	struct status_record failure;
	CK_RV rv;
};

CK_RV login_begin(struct token *token, const void *pin, size_t len, struct login_attempt *ret);
void login_run(struct login_attempt *attempt);
void login_settle(struct login_attempt *attempt);
CK_RV login_report(struct login_attempt *attempt);

/* C_Logout: erases the keys at once and ends what uses them. Also lets the next login be tried at once.
 * CKR_USER_NOT_LOGGED_IN. */
CK_RV login_out(struct token *token);
/* The token's last session is gone: logged out, but the keys stay for relogin_grace. The state lock is held. */
void login_last_session_closed(struct token *token);
/* Erases what is past relogin_grace or key_max_age. Without the state lock. */
void login_tidy(struct token *token);
/* Erases the released keys, whoever is logged in. Without the state lock. */
void login_erase_keys(struct token *token);

/* True while a user is logged in and key_max_age has not passed. */
bool login_is_in(struct token *token);

/*
 * The key behind a token object's handle. CKR_KEY_HANDLE_INVALID; CKR_USER_NOT_LOGGED_IN for a private or secret key's
 * handle while nobody is logged in; as object_key_view.
 */
CK_RV login_key(struct token *token, CK_OBJECT_HANDLE handle, CK_MECHANISM_TYPE mechanism, struct key_view *ret);

/* The answer of PKCS#11 to a failure of ours (failure-matrix section 1). */
CK_RV status_rv(skr_status status);

/* The record of the last failure; its `failure` is 0 if the last attempt did not fail. */
void login_last_failure(struct token *token, struct status_record *ret);

/* For C_Finalize: no login is wanted until login_restart; waits for those under way. False: some did not end in time.
 */
bool login_wait_for_all(int64_t ms);
/* True while some thread works on a login outside of all locks, in libcrypto perhaps. The state lock is held. */
bool login_working(void);
/* Nobody is under way any more, or counts any more; `forked`: the threads that were are not here. */
void login_restart(bool forked);

#endif
