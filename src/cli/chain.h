/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CLI_CHAIN_H
#define SKR_CLI_CHAIN_H

#include "base/ossl.h"

#include <stdbool.h>
#include <stdint.h>

/* A certificate, its issuer, the issuer's issuer, …: what a server sends. */

struct chain_look {
	int count;        /* certificates that were given */
	int in_order;     /* so many of them, from the first, are each issued by the next */
	bool self_issued; /* the last of these issued itself */
	bool anchored;    /* its issuer is among the authorities, or it issued itself */
};

/* How `given` stands. `authorities`: those of this machine, which need not be sent; NULL: none are known. */
struct chain_look chain_look(const STACK_OF(X509) *given, X509_STORE *authorities);

/*
 * From `first` upwards, as far as `pool` has the issuers; what issued itself ends it. `ret` owned by the caller, its
 * certificates too. SKR-014.
 */
skr_status chain_build(X509 *first, const STACK_OF(X509) *pool, STACK_OF(X509) **ret) MUST_CHECK;

#endif
