/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_TOKEN_TOKEN_H
#define SKR_TOKEN_TOKEN_H

#include "base/deadline.h"
#include "config/config.h"
#include "crypto/mechanism.h"
#include "token/object.h"
#include "token/pin.h"

#include <stdatomic.h>

enum login_state { LOGIN_OUT, LOGIN_IN_FLIGHT, LOGIN_IN };

/* Who is logged in, since when, and what came of the last attempt. Under the state lock, but for `cancel`. */
struct login {
	enum login_state state;
	bool loaded;          /* private keys are among the objects, whether or not they may be seen now */
	int64_t loaded_until; /* monotonic ms: key_max_age; INT64_MAX: no limit */
	int64_t kept_until; /* monotonic ms: relogin_grace, counted from the last session's end; INT64_MAX: no limit */
	unsigned long number; /* of the attempt in flight, or the last one */
	CK_RV result;         /* of the last attempt */
	atomic_bool cancel;   /* the attempt in flight is no longer wanted */
	atomic_ulong epoch;   /* rises when keys are erased: what sessions keep of an older one must go */

	int failures;                 /* in a row */
	int64_t not_before;           /* monotonic ms: earlier attempts are suppressed (SKR-090) */
	struct status_record failure; /* the last one; failure 0: the last attempt did not fail */
	struct pin_guard pin;
};

/*
 * One token in one slot, for one [token …] section. Slot number, label and serial are pure functions of the
 * configuration; the number is the section's place in the file.
 */
struct token {
	const struct config *config;
	const struct token_config *settings;
	CK_SLOT_ID slot;
	char serial[17];
	struct mechanism_policy policy;
	struct objects objects; /* under the state lock */
	struct login login;
	CK_ULONG sessions, rw_sessions; /* under the state lock */
};

/*
 * Makes the tokens of a configuration, which must outlive them, and reads the certificates and public keys it names.
 * What cannot be read is logged and left out: a token without its certificate still signs. `same_file`: nothing changed
 * since the tokens before, so that suppression of failed logins and the PIN's lockout go on. SKR-014. Nobody else may
 * be inside the library.
 */
skr_status tokens_open(const struct config *config, bool same_file) MUST_CHECK;
/* Erases every key and forgets objects and logins. `abandon`: a login that does not end still looks at them, so they
 * leak. */
void tokens_close(bool abandon);

/*
 * In a child, before anything else: nobody is logged in, and there are no sessions. `clean`: nobody was inside the
 * library at the moment of the fork, so that released keys are kept; otherwise they are forgotten, with the memory they
 * are in.
 */
void tokens_after_fork(bool clean);
/* Erases the released keys of every token; for the child of a process with fork = wipe. */
void tokens_wipe_keys(void);

size_t tokens_count(void);
struct token *token_in_slot(CK_SLOT_ID slot); /* NULL: no such slot */
/* Rises with every tokens_close and fork: what was started under another number no longer counts. */
unsigned long tokens_generation(void);

void token_slot_info(const struct token *token, CK_SLOT_INFO *info);
void token_info(struct token *token, CK_TOKEN_INFO *info);

/* Fills a fixed-size field of PKCS#11 with text, padded by blanks, cut if need be. */
void padded(unsigned char *field, size_t size, const char *text);

/*
 * The state lock: a leaf. Held for table look-ups only, never across cryptography that takes long, input or output.
 *     auto_state_lock lock = state_lock();
 */
int state_lock(void);
void state_unlock(const int *lock);
#define auto_state_lock __attribute__((cleanup(state_unlock), unused)) const int
void state_wait_until(struct deadline deadline);
void state_wait(void); /* until somebody says state_changed; the lock is held before and after */
void state_changed(void);
bool state_lock_within(int64_t ms); /* false: not in that time; for the atfork handler, which must not wait for ever */
void state_lock_renew(void);        /* in a child: the old one may be held by a thread that does not exist here */

/* The public keys and certificates of a token's files, matched to its keys; see token/offline.c. */
skr_status offline_objects(const char *serial, const struct token_config *settings, struct objects *ret) MUST_CHECK;

#endif
