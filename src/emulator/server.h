/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_SERVER_H
#define SKR_EMULATOR_SERVER_H

#include "emulator/emulator.h"

#include <signal.h>

/*
 * Ports, connections, TLS and HTTP. Listeners on loopback: https for all named services, http for the metadata
 * service, the control port and, where the machine has one, the SKR sidecar. Each connection is taken apart by
 * connection.c, so that faults can act on it, and its plain HTTP is given to libmicrohttpd, of which server.c is the
 * only user; what a handler sees is struct exchange (exchange.h).
 *
 * Binds and sets the ports of `e` (0: a free one is chosen). Nothing is answered before server_run.
 */
skr_status server_open(struct emulator *e, const char *listen, const sigset_t *ends) MUST_CHECK;
/* Answers until one of the signals `ends` comes, which every thread must have blocked. May be called again. */
skr_status server_run(struct emulator *e, int *ret_signal) MUST_CHECK;
void server_close(struct emulator *e);

#endif
