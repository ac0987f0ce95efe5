/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/handover.h"

#include "azure/sidecar.h"
#include "base/base64.h"
#include "base/ossl.h"
#include "jose/jwk.h"
#include "jose/keywrap.h"

#include <string.h>

#define TARGET_LIMIT  (8 * 1024)
#define WRAPPED_LIMIT (16 * 1024)

static skr_status print_pkcs8(EVP_PKEY *key, struct buf *out)
{
	auto_pkcs8 *info = EVP_PKEY2PKCS8(key);
	int len = info ? i2d_PKCS8_PRIV_KEY_INFO(info, NULL) : -1;
	uint8_t *place;

	if (len <= 0)
		return ossl_fail(599, "PKCS#8");
	TRY(buf_reserve(out, (size_t)len, &place));
	if (i2d_PKCS8_PRIV_KEY_INFO(info, &place) != len)
		return ossl_fail(599, "PKCS#8");
	out->len += (size_t)len;
	return OK;
}

/* What a vault would have wrapped. */
static skr_status print_target(const json *jwk, struct buf *out)
{
	const char *kty = json_string_or_null(jwk, "kty"), *k = json_string_or_null(jwk, "k");
	auto_pkey *key = NULL;

	if (kty && strncmp(kty, "oct", 3) == 0) {
		if (!k || base64url_decode(k, strlen(k), out).failure)
			return FAIL(162, "the sidecar's symmetric key is not base64url");
		return OK;
	}
	if (jwk_private_key(jwk, &key).failure)
		return FAIL(162, "the sidecar's key: %s", status_message());
	return print_pkcs8(key, out);
}

skr_status handover_seal(struct azure *azure, const struct key_config *key, const json *transport_key,
                         struct buf *ret_wrapped)
{
	auto_json *jwk = NULL;
	auto_buf target = BUF(TARGET_LIMIT), wrapped = BUF(WRAPPED_LIMIT);
	auto_pkey *transport = NULL;

	TRY(jwk_public_key(transport_key, &transport));
	TRY(sidecar_release(azure, key, &jwk));
	TRY(print_target(jwk, &target));
	TRY(keywrap_seal(azure->token->enc, transport, target.data, target.len, &wrapped));
	buf_move(ret_wrapped, &wrapped);
	return OK;
}
