/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EVIDENCE_DEVICE_H
#define SKR_EVIDENCE_DEVICE_H

#include "base/status.h"

/* A device node of the guest, for messages about it. */
struct device {
	const char *path;
	const char *in_sysfs; /* where its driver shows that it is there; NULL: nowhere */
	int busy;             /* SKR-number of EBUSY */
	const char *advice;   /* said where nobody but root may open it; NULL: none */
};

/*
 * Why it could not be opened, by errno: SKR-100 not there, 021 hidden from this service, 101 no right to, 016 no
 * descriptors, `busy`.
 */
skr_status device_refused(const struct device *device, int error);

#endif
