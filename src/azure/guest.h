/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_AZURE_GUEST_H
#define SKR_AZURE_GUEST_H

#include "azure/service.h"

/*
 * Attestation of a machine with a vTPM: MAA's AzureGuest route (reference: Microsoft's guest attestation library,
 * protocol version 2.0). Its answer is sealed to a key of the TPM, which the evidence names.
 */

#define GUEST_PCRS         8   /* PCR 0 to 7 of the SHA-256 bank are attested: of more, the service takes none */
#define GUEST_TRANSPORT    256 /* bytes of the TPM's RSA-2048 transport key, and of what is encrypted to it */
#define GUEST_TRANSPORT_ID "TpmEphemeralEncryptionKey" /* its kid in attestation tokens and releases */

enum isolation {
	ISOLATION_TRUSTED_LAUNCH, /* none: no hardware report */
	ISOLATION_SNP,
	ISOLATION_TDX,
};

/* Everything the route is given. TPM structures are big-endian as the TPM marshals them. Owned. */
struct guest_evidence {
	enum isolation isolation;
	struct buf hardware;       /* SNP: the 1184 bytes of the report; TDX: the quote; Trusted Launch: empty */
	struct buf chain_pem;      /* SNP: VCEK, ASK, ARK */
	struct buf claims;         /* the paravisor's runtime claims, byte by byte as the HCL report has them */
	struct buf ak_certificate; /* DER, without the zero bytes behind it in the NV index */
	struct buf ak_public;      /* TPM2B_PUBLIC */
	struct buf quote, quote_signature;     /* TPMS_ATTEST; the 256 bytes of RSASSA alone */
	struct buf transport_public;           /* TPM2B_PUBLIC */
	struct buf certify, certify_signature; /* as the quote's */
	struct buf event_log;                  /* crypto-agile TCG log; empty: could not be read */
	uint8_t pcrs[GUEST_PCRS][32];
	/*
	 * The modulus in transport_public, big-endian, for guest_token_check: this layer reads no TPM structures.
	 * Whoever fills transport_public fills it too. The exponent is 65537.
	 */
	uint8_t transport_modulus[GUEST_TRANSPORT];
};
#define auto_guest_evidence __attribute__((cleanup(guest_evidence_done))) struct guest_evidence
void guest_evidence_done(struct guest_evidence *evidence); /* takes an all-zero one */

/* The sealed answer: inner key under the TPM's key, token under the inner key (AES-GCM). */
struct sealed_token {
	uint8_t inner_key[GUEST_TRANSPORT]; /* RSAES-PKCS1-v1_5 */
	uint8_t iv[12], tag[16];
	struct buf ciphertext;
};
#define auto_sealed_token __attribute__((cleanup(sealed_token_done))) struct sealed_token
void sealed_token_done(struct sealed_token *sealed);

/* What the request says of the operating system. */
struct guest_os {
	char name[128];   /* NAME of os-release, "Linux" if it has none */
	int major, minor; /* VERSION_ID; 1 and 0 if it is missing, no number, or 0 (Microsoft's library refuses 0) */
};
/* Reads the text of /etc/os-release. Whatever it is, something comes out. */
void guest_os_parse(const char *text, size_t len, struct guest_os *ret);

/*
 * The body of the request, appended: {"AttestationInfo":…}, with what this machine's os-release says. `nonce` goes into
 * ClientPayload. SKR-208 above 1.5 MiB, which a boot log of 800 KiB makes.
 */
skr_status guest_request_print(const struct guest_evidence *evidence, const char *nonce, struct buf *out) MUST_CHECK;

/*
 * POST /attest/AzureGuest at the token's instance. SKR-320 to 322 as for other evidence, SKR-323 for an answer that is
 * no sealed token.
 */
skr_status guest_attest(struct azure *azure, const struct guest_evidence *evidence, const char *nonce,
                        struct sealed_token *ret) MUST_CHECK;

/*
 * Base64url of {EncryptedInnerKey, EncryptionParams, AuthenticationData, Jwt}: exactly AES, ChainingModeGCM, PKCS7, an
 * IV of 12 and a tag of 16 bytes. KeySizeInBits is ignored. SKR-323 names the member; `ret` is untouched on failure.
 */
skr_status sealed_token_parse(const char *text, size_t len, struct sealed_token *ret) MUST_CHECK;

/* Opens it with the inner key (16, 24 or 32 bytes); "Transport Key" is the additional data. SKR-323. Appends. */
skr_status sealed_token_open(const struct sealed_token *sealed, const void *key, size_t key_len,
                             struct buf *ret_token) MUST_CHECK;

/*
 * Whether an opened token answers this request: issuer, nonce in x-ms-runtime.client-payload (base64 of it), not
 * expired, and under x-ms-runtime.keys at the top the key that the vault will wrap to, the first for encryption, is
 * ours (transport_modulus). x-ms-runtime inside x-ms-isolation-tee is the paravisor's. Only a look. SKR-323 names the
 * field.
 */
skr_status guest_token_check(const struct azure *azure, const struct guest_evidence *evidence, const char *nonce,
                             const char *token, size_t len) MUST_CHECK;

#endif
