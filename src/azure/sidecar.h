/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_SIDECAR_H
#define SKR_AZURE_SIDECAR_H

#include "azure/service.h"

/*
 * Microsoft's SKR sidecar, where one already runs beside this container: it attests, asks the vault and unwraps, and
 * gives the private key over plain HTTP on loopback. What that gives up is in docs/security.md.
 */

/*
 * POST {sidecar}/key/release for one key. `ret_key` is the JWK with private members that the answer's "key" text holds;
 * owned by the caller. SKR-160 not reachable, SKR-161 with the sidecar's words, SKR-162 for what is no private JWK;
 * SKR-240 and 241 as from any service. No token of ours goes there (I-11): the sidecar has its own identity.
 */
skr_status sidecar_release(struct azure *azure, const struct key_config *key, json **ret_key) MUST_CHECK;

/*
 * The key of its answer, {"key":"{\"kty\":…}"}: the first JSON value alone counts. RSA with all eight numbers, EC, or
 * oct; whether they fit together is not looked at. SKR-162 names the member. `ret_key` is untouched on failure.
 */
skr_status sidecar_answer_parse(const void *text, size_t len, json **ret_key) MUST_CHECK;

#endif
