/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_TSM_H
#define SKR_EVIDENCE_TSM_H

#include "evidence/snp.h"

/* What the kernel's drivers for configfs-tsm differ in. */
struct tsm_provider {
	const char *name;    /* as the attribute `provider` says it */
	size_t report_size;  /* of every report; 0: any up to the limit, but not empty */
	size_t report_limit; /* no report is larger */
	bool has_table;      /* auxblob is a certificate table */
	int no_report;       /* the failure if the driver got none from the other side: EIO, or an empty one */
	int no_answer;       /* if it got no answer at all: ETIMEDOUT */
};

/*
 * Asks for a report through configfs-tsm (Linux 6.7 and later, Documentation/ABI/testing/configfs-tsm): makes an entry
 * skr-PID-START-NAMESPACE-RANDOM below /sys/kernel/config/tsm/report, writes the report data, reads report and
 * certificate table, and checks that nobody else used the entry meanwhile. The entry is removed in any case; entries
 * that killed processes of ours left behind are removed first (logged as SKR-121).
 *
 * SKR-100  the directory is not there
 * SKR-101, SKR-021  no entry can be made: permission, or a read-only mount
 * SKR-110  the answer came after the deadline
 * SKR-112  as in snp.h: the driver below is the same
 * SKR-113  the certificate table is above 64 KiB
 * SKR-116  the report has not its size
 * SKR-120  busy or changed under us, three times
 * SKR-122  the kernel has no provider, another one than `provider`, or refuses
 * and provider->no_report, provider->no_answer.
 */
skr_status tsm_report(const struct tsm_provider *provider, const struct snp_question *question,
                      struct snp_answer *ret) MUST_CHECK;

/* The same of provider sev_guest; without a report it is SKR-111 as in snp.h. */
skr_status snp_from_tsm(const struct snp_question *question, struct snp_answer *ret) MUST_CHECK;

#endif
