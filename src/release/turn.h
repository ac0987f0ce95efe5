/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_RELEASE_TURN_H
#define SKR_RELEASE_TURN_H

#include "base/deadline.h"
#include "base/status.h"

/*
 * Keeps the logins of a machine's processes apart (failure matrix C-02): at most two at once go to the services,
 * whatever restarts together. Advisory, by record locks on files of `runtime_dir`: they end with the process, and no
 * child inherits them.
 */
struct turn {
	int fd;     /* -1: none is held */
	int64_t ms; /* waited */
};
#define auto_turn __attribute__((cleanup(turn_give))) struct turn

/*
 * Waits for a turn until the deadline; `cancelled` (may be NULL) is asked at least every 200 ms. Without a directory
 * (NULL) at once. A directory that cannot be used is logged and costs a random delay of up to 2 s instead, so that a
 * crowd is spread all the same. SKR-506 at the deadline, SKR-403 when cancelled. `ret` is untouched on failure.
 */
skr_status turn_take(const char *directory, struct deadline deadline, int (*cancelled)(void *), void *with,
                     struct turn *ret) MUST_CHECK;
void turn_give(struct turn *turn); /* takes one that holds nothing */

#endif
