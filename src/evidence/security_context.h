/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_SECURITY_CONTEXT_H
#define SKR_EVIDENCE_SECURITY_CONTEXT_H

#include "base/json.h"

#define REFERENCE_INFO_LIMIT (64 * 1024)

/* What Azure's container hosts mount into a confidential container (reference/snp-evidence section 5). */
struct security_context {
	json *amd_certificates;    /* THIM's answer of when the container started; NULL: none; owned */
	struct buf reference_info; /* COSE_Sign1 that endorses the utility VM's measurement; empty: none */
};
#define auto_security_context __attribute__((cleanup(security_context_done))) struct security_context
void security_context_done(struct security_context *context); /* takes an all-zero one */

/*
 * Reads the directory UVM_SECURITY_CONTEXT_DIR names, else the first entry of / with "security-context-" in its name,
 * else /opt/confidential-containers/share/kata-containers; what no file there gives comes from the older variables
 * UVM_REFERENCE_INFO and UVM_HOST_AMD_CERTIFICATE. None of them: `ret` is empty, and that is no failure. SKR-144 when a
 * directory was named and is not there, or a file in it is not as it should be.
 */
skr_status security_context_read(struct security_context *ret) MUST_CHECK;

/* The two files' contents taken apart, for the reader above and for fuzzing. SKR-144 with what is wrong. */
skr_status security_context_certificates(const char *base64, size_t len, json **ret) MUST_CHECK;
skr_status security_context_reference(const char *base64, size_t len, struct buf *ret) MUST_CHECK;

#endif
