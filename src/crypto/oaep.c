/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/oaep.h"

#include <openssl/rsa.h>

bool oaep_set(EVP_PKEY_CTX *ctx, const struct mechanism_params *params)
{
	if (EVP_PKEY_CTX_set_rsa_oaep_md(ctx, digest_md(params->digest)) <= 0 ||
	    EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, digest_md(params->mgf)) <= 0)
		return false;
	if (params->label_len == 0)
		return true;

	void *label = OPENSSL_memdup(params->label, params->label_len);
	if (label && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, label, (int)params->label_len) > 0)
		return true; /* it is the context's now */
	OPENSSL_free(label);
	return false;
}
