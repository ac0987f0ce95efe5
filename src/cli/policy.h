/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_POLICY_H
#define SKR_CLI_POLICY_H

#include "base/json.h"
#include "cli/command.h"

/* Release policies and claims as the commands `skr-pkcs11 policy …` are given them, and how they are shown. */

/* "skr-pkcs11 policy WORD: ", then this thread's last sentence, on t->err; EXIT_USAGE. */
enum exit_code policy_bad_input(struct terminal *t, const char *word);

/* A policy in any form that policy_parse takes, which policy_check has passed. The sentence begins with the file. */
skr_status policy_file_read(const char *path, json **ret_policy) MUST_CHECK;

/*
 * Claims of a compact token, whose signature is not verified but which must be whole and valid now, or of a JSON object
 * of claims as it stands. `ret_token` says which. The sentence begins with the file.
 */
skr_status claims_file_read(const char *path, json **ret_claims, bool *ret_token) MUST_CHECK;

/*
 * The policy as a tree, each condition with its mark, what it wants and what the claims have. `failed` gets the names
 * of what counts and is not met, "" if the policy holds.
 */
skr_status policy_tree_print(struct terminal *t, const json *policy, const json *claims, struct buf *failed) MUST_CHECK;

/* "x-ms-sevsnpvm-hostdata = AB", "any of (a = 1, b = 2)": a condition or group on one line, appended. */
skr_status policy_phrase(const json *condition, struct buf *out) MUST_CHECK;

#endif
