/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_RUNNER_H
#define SKR_EMULATOR_RUNNER_H

#include "emulator/emulator.h"

#include <limits.h>
#include <signal.h>

/* `skr-emulator run`: a command inside the played machine, with keys, a configuration and an environment for it. */

/*
 * A new private folder whose parents nobody else may write to, as the module demands of its configuration: below
 * XDG_RUNTIME_DIR, /var/lib (root) or the home directory. SKR-003, SKR-017. runner_remove_folder undoes it.
 */
skr_status runner_make_folder(char path[PATH_MAX]) MUST_CHECK;
void runner_remove_folder(const char *path);

/* The signals that server_open must be given for runner_run. */
void runner_signals(sigset_t *ret);

/*
 * Makes two keys in the vault, www (RSA-HSM 2048) and signing (EC-HSM P-256), whose policy fits this machine, and
 * DIR/skr-pkcs11.conf with the token "web". Once everything is open.
 */
skr_status runner_prepare(struct emulator *e) MUST_CHECK;

/*
 * Starts the command and serves until it ends. SIGTERM and SIGHUP are handed on; Ctrl-C reaches it from the terminal.
 * `ret_code`: its exit status, 128 and the signal's number, or 126 or 127 if it cannot be started.
 */
skr_status runner_run(struct emulator *e, char *const *command, int *ret_code) MUST_CHECK;

#endif
