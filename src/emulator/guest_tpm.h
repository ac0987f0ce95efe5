/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_GUEST_TPM_H
#define SKR_EMULATOR_GUEST_TPM_H

#include "base/ossl.h"

/*
 * What a TPM signs and publishes, as the attestation service reads it. It shares no code with evidence/ on purpose: two
 * readings of one document, both held to the quotes of real machines in tests/data/cvm.
 *
 * Source: TCG "Trusted Platform Module Library" part 2 (structures) 10.12 and 12.2, part 3, TPM2_PolicyPCR.
 */
#define TPM_PCRS      24
#define TPM_DIGEST    32 /* bytes of SHA-256, the one bank and name algorithm of Azure's vTPM */
#define TPM_SIGNATURE 256
#define TPM_NAME      (2 + TPM_DIGEST)

enum tpm_attribute { /* TPMA_OBJECT */
	             TPM_FIXED_TPM = 1 << 1,
	             TPM_FIXED_PARENT = 1 << 4,
	             TPM_SENSITIVE_DATA_ORIGIN = 1 << 5,
	             TPM_USER_WITH_AUTH = 1 << 6,
	             TPM_NO_DA = 1 << 10,
	             TPM_RESTRICTED = 1 << 16,
	             TPM_DECRYPT = 1 << 17,
	             TPM_SIGN = 1 << 18,
};

enum tpm_algorithm { TPM_SHA256 = 0x000B, TPM_NULL = 0x0010, TPM_RSASSA = 0x0014 };

/* An RSA-2048 key's public area. */
struct tpm_public {
	uint32_t attributes;
	uint8_t policy[TPM_DIGEST];
	size_t policy_len;            /* 0 or 32 */
	uint16_t scheme, scheme_hash; /* scheme TPM_NULL: no hash */
	uint8_t name[TPM_NAME];
	EVP_PKEY *key;
};
#define auto_tpm_public __attribute__((cleanup(tpm_public_done))) struct tpm_public
static inline void tpm_public_done(struct tpm_public *public)
{
	EVP_PKEY_free(public->key);
}

/* TPM2B_PUBLIC, size included, nothing behind it. SKR-117 says what is not as it must be; `ret` all zero on failure. */
skr_status tpm_public_read(const void *data, size_t len, struct tpm_public *ret) MUST_CHECK;

struct tpm_attest {
	uint8_t digest[TPM_DIGEST]; /* of a quote: over the values of the PCRs selected */
	uint32_t pcrs;              /* of a quote: bit n for PCR n of the SHA-256 bank */
	uint8_t name[TPM_NAME];     /* of a certification: the key's */
};

/* TPMS_ATTEST without a size, of TPM2_Quote, of TPM2_Certify. SKR-117; `ret` untouched on failure. */
skr_status tpm_quote_read(const void *data, size_t len, struct tpm_attest *ret) MUST_CHECK;
skr_status tpm_certify_read(const void *data, size_t len, struct tpm_attest *ret) MUST_CHECK;

/* SKR-117 unless `signature` is RSASSA-PKCS1-v1_5 with SHA-256 over `data`, 256 bytes, by `key`. */
skr_status tpm_signed(EVP_PKEY *key, const struct buf *data, const struct buf *signature) MUST_CHECK;

/* SHA-256 over the values in ascending order of `pcrs` (bit n for PCR n): a quote's digest and PolicyPCR's. */
skr_status tpm_pcr_digest(uint32_t pcrs, const uint8_t values[TPM_PCRS][TPM_DIGEST],
                          uint8_t ret[TPM_DIGEST]) MUST_CHECK;
/* The digest of a policy that is one PolicyPCR over these PCRs of the SHA-256 bank. */
skr_status tpm_policy_pcr(uint32_t pcrs, const uint8_t pcr_digest[TPM_DIGEST], uint8_t ret[TPM_DIGEST]) MUST_CHECK;

#endif
