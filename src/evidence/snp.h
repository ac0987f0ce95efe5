/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_SNP_H
#define SKR_EVIDENCE_SNP_H

#include "base/buf.h"
#include "base/deadline.h"

#include <stdbool.h>

/* What a guest's interface is asked, and what it gives. The same for the three interfaces (tsm.h has the third). */
struct snp_question {
	uint8_t report_data[64];
	bool want_table; /* the certificate table too, where the interface can */
	struct deadline deadline;
};

struct snp_answer {
	struct buf report; /* 1184 bytes as the firmware gave them, not parsed */
	struct buf table;  /* certificate table; empty: none, or not asked for */
};
#define auto_snp_answer __attribute__((cleanup(snp_answer_done))) struct snp_answer
void snp_answer_done(struct snp_answer *answer); /* takes an all-zero one */

/*
 * Asks the SNP firmware for a report of VMPL 0 through /dev/sev-guest (Linux 5.19 and later), or through /dev/sev as
 * Azure's 5.15 kernels have it (there without a table). One request is under way at a time in this process. The driver
 * knows nothing of the deadline: while the host is busy it sleeps by itself for up to 60 s, and cannot be interrupted.
 *
 * SKR-100  no such device, or /dev/sev is the one of a host
 * SKR-101  not allowed to open it; SKR-021 hidden from this service; SKR-016 out of descriptors
 * SKR-110  the host throttles, or the answer came after the deadline
 * SKR-111  the driver has shut its channel: never a second try, it would use the channel's counter twice
 * SKR-112  the driver's channel key is disabled
 * SKR-113  the certificate table is above 64 KiB, or grew between the two requests
 * SKR-114  busy, three times
 * SKR-116  the firmware's answer is no report
 *
 * Source: Linux, include/uapi/linux/sev-guest.h and Documentation/virt/coco/sev-guest.rst; AMD 56860, tables 21 to 24.
 */
skr_status snp_from_sev_guest(const struct snp_question *question, struct snp_answer *ret) MUST_CHECK;
skr_status snp_from_sev(const struct snp_question *question, struct snp_answer *ret) MUST_CHECK;

/*
 * Waits before attempt 2 or 3 as the failure matrix says (0.8 s, 2.4 s, each times 0.8 to 1.3). False, at once: there
 * is not that much time left.
 */
bool snp_wait(int attempt, struct deadline deadline);

#endif
