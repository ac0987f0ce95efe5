/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SKR_BASE_DEADLINE_H
#define SKR_BASE_DEADLINE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* Points in time are milliseconds of CLOCK_MONOTONIC: the host sets the wall clock (threat model D-8). */
static inline int64_t monotonic_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct deadline {
	int64_t at; /* monotonic_ms() of the end */
};

static inline struct deadline deadline_in(int64_t ms)
{
	return (struct deadline){monotonic_ms() + ms};
}

/* Milliseconds left, never negative. */
static inline int64_t deadline_left(struct deadline d)
{
	int64_t left = d.at - monotonic_ms();
	return left > 0 ? left : 0;
}

/* The earlier of the deadline and `ms` from now. */
static inline struct deadline deadline_within(struct deadline d, int64_t ms)
{
	struct deadline sooner = deadline_in(ms);
	return sooner.at < d.at ? sooner : d;
}

/* Until a point in time: a signal does not make it longer. */
static inline void sleep_until(int64_t at)
{
	struct timespec point = {.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &point, NULL) == EINTR)
		continue;
}

/* Waits, where nothing can cancel it: in the agent. False, at once: there is not that much time left. */
static inline bool deadline_pause(int64_t ms, struct deadline d)
{
	if (ms >= deadline_left(d))
		return false;
	sleep_until(monotonic_ms() + ms);
	return true;
}

#endif
