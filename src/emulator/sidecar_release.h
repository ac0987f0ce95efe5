/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_SIDECAR_RELEASE_H
#define SKR_EMULATOR_SIDECAR_RELEASE_H

#include "emulator/sidecar.h"

/* What a client of POST /key/release asks for. */
struct sidecar_wish {
	const char *attestation, *vault; /* HOST or HOST:PORT */
	const char *kid;                 /* NAME or NAME/VERSION */
	const char *access_token;        /* NULL: the machine's own identity asks */
};

/* Attests, has the key released, verifies and unwraps; the private JWK as text, appended. */
skr_status sidecar_release(struct errand *errand, const struct sidecar_wish *wish, struct buf *ret_jwk) MUST_CHECK;

#endif
