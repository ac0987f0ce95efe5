/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_EMULATOR_CONNECTION_H
#define SKR_EMULATOR_CONNECTION_H

#include "emulator/faults.h"

/*
 * A client's connection, between its socket and the HTTP library: TLS ends here, and faults act here on the very bytes
 * of an answer. Each connection is a thread that passes bytes through a pair of sockets whose other end the HTTP
 * library serves.
 */
struct connections;
struct connection;

/* Gives the other end of the pair to the HTTP library, which owns it then. */
typedef skr_status adopt_fn(void *library, int fd);

skr_status connections_open(struct emulator *e, adopt_fn *adopt, void *library, struct connections **ret) MUST_CHECK;
/* Ends every connection and waits for its thread; the library may still ask about them. */
void connections_end(struct connections *all);
void connections_close(struct connections *all); /* after connections_end */

/* Serves `client` (owned from now on). SERVICE_NONE: TLS, and the service is in the Host header; else plain http. */
skr_status connection_start(struct connections *all, int client, enum service service) MUST_CHECK;

/* The service given to connection_start for the pair's end that the HTTP library knows; -1 if it is none of ours. */
int connection_service(struct connections *all, int library_fd);
/* What to do with the answer that follows, whose body has `body_len` bytes. The texts of `wire` are copied. */
void connection_answer(struct connections *all, int library_fd, const struct wire *wire, size_t body_len);

#endif
