/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_ATTEST_H
#define SKR_EVIDENCE_ATTEST_H

#include "evidence/evidence.h"

/*
 * The bytes that the hardware vouches for: {"keys":[{"e","key_ops":["encrypt"],"kid","kty","n"}]}, members in this
 * order, appended to `out`. SKR-504 if the transport key is no RSA JWK with a kid.
 */
skr_status runtime_data_print(const json *transport_key, struct buf *out) MUST_CHECK;

/*
 * Has the attestation service turn `evidence`, which was collected for `runtime_data`, into a token, by the route that
 * its form takes. A sealed answer is opened in the TPM. Where PCRs moved or the TPM restarted meanwhile (SKR-138, 139)
 * `evidence` is collected anew, once.
 *
 * `ret_token` is replaced. SKR-145 for the direct forms, whose token no key may be released by: the vault would wrap it
 * to a key of the vTPM that nobody can use. SKR-320 to 323, and those of evidence_collect.
 */
skr_status evidence_attest(struct azure *azure, const struct buf *runtime_data, struct evidence *evidence,
                           struct buf *ret_token) MUST_CHECK;

/* The direct forms alone, for looking at. `ret_token` is replaced. SKR-320 to 323. */
skr_status evidence_attest_direct(struct azure *azure, const struct evidence *evidence,
                                  struct buf *ret_token) MUST_CHECK;

#endif
