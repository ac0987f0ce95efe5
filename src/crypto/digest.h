/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_CRYPTO_DIGEST_H
#define SKR_CRYPTO_DIGEST_H

#include "base/ossl.h"

enum digest { DIGEST_NONE, DIGEST_SHA1, DIGEST_SHA224, DIGEST_SHA256, DIGEST_SHA384, DIGEST_SHA512, DIGEST_COUNT };

#define DIGEST_MAX 64 /* bytes of the longest */

size_t digest_size(enum digest digest); /* bytes; 0 for DIGEST_NONE */

/*
 * What libcrypto fetched for `ossl`, once: a fetch takes locks that signatures in other threads want too. Borrowed,
 * valid as long as `ossl` is the same. NULL if libcrypto has no memory, or for DIGEST_NONE.
 */
const EVP_MD *digest_md(enum digest digest);
EVP_MAC *digest_hmac(void);

#endif
