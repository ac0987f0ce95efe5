/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_EVENT_LOG_H
#define SKR_EMULATOR_EVENT_LOG_H

#include "base/buf.h"

#include <stdbool.h>

/*
 * A measured boot log in the crypto-agile form, as /sys/kernel/security/tpm0/binary_bios_measurements has it: one event
 * of the old form that names the digests of the others, then the others.
 *
 * Source: TCG "PC Client Platform Firmware Profile" 1.05, sections 10.2 (TCG_PCR_EVENT2), 10.4.5 (events that extend
 * nothing, the locality of the start) and 10.4.1 (UEFI_VARIABLE_DATA).
 */
#define EVENT_LOG_PCRS   24
#define EVENT_LOG_DIGEST 32 /* bytes of SHA-256, the bank that is followed */

/*
 * What the log makes of a TPM's SHA-256 bank: each PCR from its value after a restart on. SKR-213 if the log is cut,
 * has other parts, or an event without SHA-256 digest. `ret` untouched on failure.
 */
skr_status event_log_replay(const void *log, size_t len, uint8_t ret[EVENT_LOG_PCRS][EVENT_LOG_DIGEST]) MUST_CHECK;

/*
 * Whether PCR 7 was extended with the variable SecureBoot, of the global GUID, at 1; false if never. SKR-213 as above,
 * and if the event is not what its digest stands for: then the log could say anything.
 */
skr_status event_log_secure_boot(const void *log, size_t len, bool *ret) MUST_CHECK;

#endif
