/* SPDX-License-Identifier: Apache-2.0 */
/* Milliseconds. Sampled once per turn of the loop and passed on as a parameter; pure code never calls it. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t clock_ms(void) /* monotonic */
{
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static inline int64_t clock_unix_ms(void) /* for what outlives the boot and is shown; it may jump */
{
        struct timespec t;

        (void)clock_gettime(CLOCK_REALTIME, &t);
        return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* When that is due which is done every @every_ms and has time: at the beat nearest to then. All such things fall on the same
 * moments, so that an idle process wakes once for them. Less than a beat stays what it is. */
enum { CLOCK_BEAT_MS = 5000 };
static inline int64_t clock_beat(int64_t now_ms, int64_t every_ms)
{
        int64_t due_ms = now_ms + every_ms;

        return every_ms < CLOCK_BEAT_MS ? due_ms : (due_ms + CLOCK_BEAT_MS / 2) / CLOCK_BEAT_MS * CLOCK_BEAT_MS;
}

#endif
