/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_UVM_H
#define SKR_EMULATOR_UVM_H

#include "emulator/emulator.h"

/* Who endorses utility VMs, and the endorsement ("reference info") of the one that the played machine runs. */
struct uvm_signer {
	EVP_PKEY *key;
	STACK_OF(X509) *chain;
	uint8_t root[32]; /* SHA-256 of the certificate at the end */
};
skr_status uvm_open(struct emulator *e, struct uvm_signer *ret) MUST_CHECK;
void uvm_done(struct uvm_signer *signer); /* takes an all-zero one */

/* The COSE_Sign1, appended to `out`. */
skr_status uvm_reference_info(const struct uvm_signer *signer, const char *feed, uint32_t svn,
                              const uint8_t measurement[48], struct buf *out) MUST_CHECK;

#endif
