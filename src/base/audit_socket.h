/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_AUDIT_SOCKET_H
#define SKR_BASE_AUDIT_SOCKET_H

#include "base/json.h"

/*
 * Audit records to the system's log, as one datagram each, over a socket that is opened for it and closed again. Unlike
 * syslog(3) and libsystemd these say when a record did not get there, and load nothing into the host.
 *
 * A socket whose reader does not keep up is waited for, 100 ms at most. Both fail with `failure`.
 */
#define AUDIT_SYSLOG_SOCKET    "/dev/log"
#define AUDIT_JOURNALD_SOCKET  "/run/systemd/journal/socket"
#define AUDIT_SOCKET_WAIT_MS   100
#define AUDIT_SOCKET_PATH_SIZE 108

/* RFC 3164 form, facility authpriv: "<85>Nov 22 09:20:00 skr-pkcs11[123]: {…}". Receivers may cut it (rsyslog: 8 KiB).
 */
skr_status audit_to_syslog(const char *socket, const json *record, int failure) MUST_CHECK;

/*
 * The journal's native protocol (systemd, JOURNAL_NATIVE_PROTOCOL.md): MESSAGE is the whole record, and SKR_EVENT,
 * SKR_TOKEN, SKR_RESULT, SKR_FAILURE are there to select by.
 */
skr_status audit_to_journald(const char *socket, const json *record, int failure) MUST_CHECK;

#endif
