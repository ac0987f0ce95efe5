/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_GUEST_REQUEST_H
#define SKR_EMULATOR_GUEST_REQUEST_H

#include "base/json.h"
#include "emulator/guest_tpm.h"

/* A machine's boot log has some ten thousand bytes, rarely a hundred thousand; base64 is laid around it twice. */
#define GUEST_REQUEST_LIMIT (1024 * 1024)

enum isolation { ISOLATION_NONE, ISOLATION_SNP, ISOLATION_TDX }; /* none: Trusted Launch */

/* The body of POST /attest/AzureGuest, taken apart through all its layers of base64; nothing in it is verified. */
struct guest_request {
	json *info; /* what was inside AttestationInfo; owns what is borrowed below */
	const char *protocol;
	struct buf os_type, os_distro, os_build; /* text */
	int64_t os_major, os_minor;
	const json *client_payload; /* an object as it was sent; NULL: none */

	struct buf ak_certificate; /* DER, perhaps with zero bytes behind */
	struct buf ak_public, quote, quote_signature;
	struct buf key_public, certify, certify_signature; /* of the ephemeral encryption key */
	uint32_t pcrs;                                     /* bit n for PCR n */
	uint8_t pcr_values[TPM_PCRS][TPM_DIGEST];
	struct buf log; /* empty: none was sent */

	enum isolation isolation;
	struct buf report, chain_pem; /* SNP */
	struct buf td_quote;          /* TDX */
	struct buf runtime_bytes;     /* the paravisor's claims, as its report binds them … */
	json *runtime;                /* … and read */
};
#define auto_guest_request __attribute__((cleanup(guest_request_done))) struct guest_request
void guest_request_done(struct guest_request *request); /* takes an all-zero one */

/*
 * Takes "AttestationInfo" and "attestationInfo", both alphabets of base64 with or without padding, numbers and decimal
 * text for the OS version. PcrSet must ascend and PCRs be in its order. SKR-213 names the member; `ret` all zero on
 * failure.
 */
skr_status guest_request_parse(const void *body, size_t len, struct guest_request *ret) MUST_CHECK;

#endif
