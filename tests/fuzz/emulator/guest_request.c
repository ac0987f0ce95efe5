/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Target: guest_request_parse(), tpm_public_read(), tpm_quote_read(), tpm_certify_read(). The input is the body of POST
 * /attest/AzureGuest, what is inside its AttestationInfo, or what a TPM wrote: one after the other.
 */
#include "base/base64.h"
#include "emulator/guest_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const void *body, size_t len)
{
	auto_guest_request request = {0};
	if (guest_request_parse(body, len, &request).failure &&
	    (request.info || request.runtime || request.quote.data || request.client_payload))
		__builtin_trap(); /* a refusal hands nothing out */
}

/* So that the inner document is reached without getting base64 right. */
static void parse_inside(const uint8_t *data, size_t size)
{
	auto_buf encoded = BUF(GUEST_REQUEST_LIMIT), body = BUF(GUEST_REQUEST_LIMIT);
	if (base64url_encode(data, size, &encoded).failure ||
	    buf_printf(&body, "{\"AttestationInfo\":\"%s\"}", buf_text(&encoded)).failure)
		return;
	parse(body.data, body.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_tpm_public public = {0};
	struct tpm_attest quote, certified;

	if (ossl_open().failure)
		__builtin_trap();
	parse(data, size);
	parse_inside(data, size);
	if (tpm_public_read(data, size, &public).failure && public.key)
		__builtin_trap();
	if (!tpm_quote_read(data, size, &quote).failure && !tpm_certify_read(data, size, &certified).failure)
		__builtin_trap(); /* nothing is both */
	return 0;
}
