/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_EVENT_LOG_H
#define SKR_EMULATOR_EVENT_LOG_H

#include "base/buf.h"

#include <stdbool.h>

/*
 * The firmware's event log, crypto-agile, as Linux shows it in binary_bios_measurements.
 * Source: TCG PC Client Platform Firmware Profile 1.05, sections 9 and 10.
 */
#define EVENT_LOG_LIMIT (256 * 1024)
#define EVENT_LOG_PCRS  24

/* Events of a boot of Linux, digests SHA-1 and SHA-256, appended: firmware, secure boot variables, loader, kernel. */
skr_status event_log_make(bool secure_boot, struct buf *out) MUST_CHECK;

struct event_log_reader {
	const uint8_t *at, *end;
	bool begun;
	size_t algorithms;
	struct {
		uint16_t id, size;
	} algorithm[8];
};

/* Borrowed from the log. */
struct event_log_event {
	uint32_t pcr, type;
	const uint8_t *sha1, *sha256; /* NULL: the log has no such digests */
	const uint8_t *data;
	size_t len;
};
#define EVENT_LOG_READER(data_, len_) \
	((struct event_log_reader){.at = (const uint8_t *)(data_), .end = (const uint8_t *)(data_) + (len_)})
/* The next event after the "Spec ID Event03" at the head. `ret_more` false: there are no more. SKR-213 says where. */
skr_status event_log_next(struct event_log_reader *reader, struct event_log_event *ret, bool *ret_more) MUST_CHECK;
/* Whether the event is extended into its PCR: all but EV_NO_ACTION. */
bool event_log_is_extended(const struct event_log_event *event);

struct event_log_state {
	uint8_t pcr[EVENT_LOG_PCRS][32]; /* SHA-256 bank */
	uint32_t extended;               /* bit i: something was extended into PCR i */
	bool secure_boot_measured;       /* the variable SecureBoot is in PCR 7, its digest fits its data */
	bool secure_boot;                /* its value */
};
/* What the PCRs are after these events. SKR-213: no such log, or the digest of a variable is not that of its data. */
skr_status event_log_replay(const void *log, size_t len, struct event_log_state *ret) MUST_CHECK;

#endif
