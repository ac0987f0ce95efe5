/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_OAEP_H
#define SKR_CRYPTO_OAEP_H

#include "crypto/mechanism.h"

/* Sets digests and label of a context that encrypts or decrypts and has the padding already. */
bool oaep_set(EVP_PKEY_CTX *ctx, const struct mechanism_params *params);

#endif
