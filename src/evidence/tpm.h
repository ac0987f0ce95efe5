/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_TPM_H
#define SKR_EVIDENCE_TPM_H

#include "azure/guest.h"
#include "base/deadline.h"

/*
 * Commands to the TPM, in as few as the protocol allows. tpm2-tss marshals them (its system API: the enhanced one sends
 * commands of its own accord, repeats some without a pause, and after one malformed reply can no longer flush).
 *
 * Failures of all of them: SKR-130 the device fails or is silent until the deadline, 131 the TPM asks to try later (8
 * tries, 50 ms doubling to 2 s, made here) or refuses in a way nobody foresaw, 132 lockout, 137 the reply is malformed,
 * 101 a hierarchy or key has a password, 139 the TPM was restarted meanwhile. Objects and sessions that a connection
 * made are flushed when it closes, whatever happened between.
 */
struct tpm;

/* An index of the TPM's non-volatile memory. */
struct tpm_nv {
	uint32_t index;
	const char *name; /* for messages */
	int absent;       /* SKR-number if it is not there, or was never written */
};

#define TPM_AK_HANDLE 0x81000003U

/* `tcti`: "device:PATH", "swtpm:host=127.0.0.1,port=2321", or what tpm2-tss loads a library for ("tabrmd:"). */
skr_status tpm_open(const char *tcti, struct deadline deadline, struct tpm **ret) MUST_CHECK;
/* Takes NULL. Half a second of its own for flushing, if the deadline is past. */
void tpm_close(struct tpm *tpm);
static inline void tpm_done(struct tpm **tpm)
{
	tpm_close(*tpm);
}
#define auto_tpm __attribute__((cleanup(tpm_done))) struct tpm

/* Flushes now. */
void tpm_flush(struct tpm *tpm);
/* Commands sent so far, repeated ones included. */
unsigned tpm_commands(const struct tpm *tpm);

/* Appended to `out`; bytes are as the TPM marshals them. */

skr_status tpm_nv_size(struct tpm *tpm, const struct tpm_nv *nv, size_t *ret) MUST_CHECK; /* 0: it is not there */
skr_status tpm_nv_read(struct tpm *tpm, const struct tpm_nv *nv, size_t offset, size_t len, struct buf *out) MUST_CHECK;
/* Owner's and its own empty password read and write it. The three fail with nv->absent if the TPM refuses. */
skr_status tpm_nv_define(struct tpm *tpm, const struct tpm_nv *nv, size_t size) MUST_CHECK;
skr_status tpm_nv_undefine(struct tpm *tpm, const struct tpm_nv *nv) MUST_CHECK;
skr_status tpm_nv_write(struct tpm *tpm, const struct tpm_nv *nv, const void *data, size_t len) MUST_CHECK;

/* TPM2B_PUBLIC of an object; SKR-134 if the handle is empty. */
skr_status tpm_read_public(struct tpm *tpm, uint32_t handle, struct buf *out) MUST_CHECK;
/* PCR 0 to 7 of the SHA-256 bank. */
skr_status tpm_read_pcrs(struct tpm *tpm, uint8_t ret[GUEST_PCRS][32]) MUST_CHECK;

/* A primary key of the NULL hierarchy without a password; `public_area` is TPM2B_PUBLIC. */
skr_status tpm_create_primary(struct tpm *tpm, const struct buf *template, uint32_t *ret_handle,
                              struct buf *public_area) MUST_CHECK;
/* TPMS_CONTEXT, and back. Loading gives handle 0 if the TPM does not take it: it was restarted since. */
skr_status tpm_context_save(struct tpm *tpm, uint32_t handle, struct buf *out) MUST_CHECK;
skr_status tpm_context_load(struct tpm *tpm, const struct buf *context, uint32_t *ret_handle) MUST_CHECK;

/* TPMS_ATTEST, and the signature alone of RSASSA with SHA-256 by the key `signer`. */
skr_status tpm_certify(struct tpm *tpm, uint32_t handle, uint32_t signer, struct buf *certify,
                       struct buf *signature) MUST_CHECK;
skr_status tpm_quote(struct tpm *tpm, uint32_t signer, struct buf *quote, struct buf *signature) MUST_CHECK;

/*
 * Decrypts with a key whose policy is PCR 0 to 7: PKCS#1 v1.5, or OAEP with `digest` ("SHA256"), MGF1 of the same, no
 * label. Repeated, at most 8 times, while other PCRs move (0x128). SKR-138 those of the policy changed, SKR-341.
 */
skr_status tpm_rsa_decrypt(struct tpm *tpm, uint32_t handle, const char *digest, const void *sealed, size_t len,
                           struct buf *out) MUST_CHECK;

#endif
