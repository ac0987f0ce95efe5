/* SPDX-License-Identifier: Apache-2.0 */
#include "emulator/hcl_maker.h"

#include "jose/jwk.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { REQUEST_AK_CERTIFICATE = 2, HASH_SHA256 = 1, HEADER = 20 };

/* ---- claims ---- */

/* Members in the paravisor's order, which is not ours. */
static skr_status claimed_key(EVP_PKEY *key, const char *kid, const char *use, json **ret)
{
	auto_json *jwk = NULL;

	TRY(jwk_from_key(key, &jwk));
	json *claimed = json_object(), *ops = json_array();
	json_push(ops, json_of_string(use));
	json_set_string(claimed, "kid", kid);
	json_set(claimed, "key_ops", ops);
	json_set_string(claimed, "kty", "RSA");
	json_set_string(claimed, "e", json_string_or_null(jwk, "e"));
	json_set_string(claimed, "n", json_string_or_null(jwk, "n"));
	*ret = claimed;
	return OK;
}

static skr_status claimed_keys(const struct hcl_claims *claims, json *array)
{
	json *key;

	TRY(claimed_key(claims->ak, "HCLAkPub", "sign", &key));
	json_push(array, key);
	TRY(claimed_key(claims->ek, "HCLEkPub", "encrypt", &key));
	json_push(array, key);
	return OK;
}

static json *configuration(const struct hcl_claims *claims)
{
	char id[40];
	json *made = json_object();

	snprintf(id, sizeof(id), "%s", claims->vm_id);
	for (char *c = id; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	json_set_bool(made, "console-enabled", true);
	/* SHA-256 of nothing that the guest can see: the root of the paravisor's own key releases. */
	json_set_string(made, "root-cert-thumbprint", "cmtyLXBrY3MxMSBlbXVsYXRvciBwYXJhdmlzb3Igcm8");
	json_set_bool(made, "secure-boot", claims->secure_boot);
	json_set_bool(made, "tpm-enabled", true);
	json_set_bool(made, "tpm-persisted", true);
	json_set_string(made, "vmUniqueId", id);
	return made;
}

skr_status hcl_claims_make(const struct hcl_claims *claims, struct buf *out, uint8_t ret_report_data[64])
{
	auto_json *document = json_object();
	json *keys = json_array();
	char user_data[2 * 64 + 1];
	size_t start = out->len;

	json_set(document, "keys", keys);
	TRY(claimed_keys(claims, keys));
	json_set(document, "vm-configuration", configuration(claims));
	for (size_t i = 0; i < 64; i++)
		snprintf(user_data + 2 * i, 3, "%02X", claims->user_data[i]);
	json_set_string(document, "user-data", user_data);
	TRY(json_print(document, out));
	memset(ret_report_data, 0, 64);
	return sha256(out->data + start, out->len - start, ret_report_data);
}

/* ---- report ---- */

static skr_status put_numbers(struct buf *out, const size_t *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const uint8_t bytes[4] = {(uint8_t)numbers[i], (uint8_t)(numbers[i] >> 8), (uint8_t)(numbers[i] >> 16),
		                          (uint8_t)(numbers[i] >> 24)};
		TRY(buf_append(out, bytes, 4));
	}
	return OK;
}

skr_status hcl_report_make(enum hcl_type type, const void *hardware, size_t len, const struct buf *claims,
                           struct buf *out)
{
	static const uint8_t zeros[HCL_HARDWARE_AREA];
	const size_t size = 32 + HCL_HARDWARE_AREA + HEADER + claims->len;
	/* signature "HCLA", version, size, request, status, reserved */
	const size_t head[] = {0x414C4348, 2, size, REQUEST_AK_CERTIFICATE, 0, 0, 0, 0};
	const size_t data[] = {HEADER + claims->len, 1, type, HASH_SHA256, claims->len};

	if (len > HCL_HARDWARE_AREA)
		return FAIL(599, "a hardware report of %zu bytes", len);
	TRY(put_numbers(out, head, sizeof(head) / sizeof(head[0])));
	TRY(buf_append(out, hardware, len));
	TRY(buf_append(out, zeros, HCL_HARDWARE_AREA - len));
	TRY(put_numbers(out, data, sizeof(data) / sizeof(data[0])));
	return buf_append(out, claims->data, claims->len);
}
