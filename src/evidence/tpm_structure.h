/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_TPM_STRUCTURE_H
#define SKR_EVIDENCE_TPM_STRUCTURE_H

#include "azure/guest.h"
#include "base/ossl.h"

/*
 * What the TPM's structures say, and whether it is true (TPM 2.0 Part 2; taken apart by tpm2-tss's marshalling library
 * alone). Structures are bytes as the TPM marshals them, and nothing may stand behind them: SKR-137.
 */

#define TPM_NAME_SIZE   34 /* of a SHA-256 name: algorithm, digest */
#define TPM_GUEST_PCRS  ((1U << GUEST_PCRS) - 1)
#define TPM_PUBLIC_SIZE 1024 /* more than any TPM2B_PUBLIC of an RSA-2048 key */
#define TPM_ATTEST_SIZE 1024

/* The name of the object with this TPM2B_PUBLIC. */
skr_status tpm_public_name(const struct buf *public_area, uint8_t ret[TPM_NAME_SIZE]) MUST_CHECK;

/*
 * The key of a TPM2B_PUBLIC that is an attestation key: RSA-2048, RSASSA with SHA-256, made in this TPM, restricted to
 * signing what the TPM made itself. SKR-147 names what it is not.
 */
skr_status tpm_attestation_key(const struct buf *public_area, EVP_PKEY **ret) MUST_CHECK;

/* PCR values of the SHA-256 bank, as a policy and a quote name them. Bit n of `mask` is PCR n, 0 to 23. */
skr_status tpm_pcr_digest(const uint8_t (*values)[32], size_t count, uint8_t ret[32]) MUST_CHECK;
skr_status tpm_pcr_policy(uint32_t mask, const uint8_t pcr_digest[32], uint8_t ret[32]) MUST_CHECK;

/* TPM2B_PUBLIC to give to CreatePrimary for a transport key: 256 random bytes make it one of its own. */
skr_status tpm_transport_template(const uint8_t policy[32], struct buf *ret) MUST_CHECK;

/* That a TPM2B_PUBLIC is a transport key: decrypts in this TPM, and under `policy` alone. SKR-150. */
skr_status tpm_transport_check(const struct buf *public_area, const uint8_t policy[32]) MUST_CHECK;

/*
 * Whether `key` signed (RSASSA, SHA-256) a TPMS_ATTEST made by a TPM: of a quote over exactly the PCRs of `mask`, of
 * the certification of the object with `name`. SKR-150. A good quote of other values than `pcr_digest`: `ret_current`
 * false.
 */
skr_status tpm_quote_check(const struct buf *quote, const struct buf *signature, EVP_PKEY *key, uint32_t mask,
                           const uint8_t pcr_digest[32], bool *ret_current) MUST_CHECK;
skr_status tpm_certify_check(const struct buf *certify, const struct buf *signature, EVP_PKEY *key,
                             const uint8_t name[TPM_NAME_SIZE]) MUST_CHECK;

#endif
