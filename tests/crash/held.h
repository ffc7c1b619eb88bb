/* SPDX-License-Identifier: Apache-2.0 */
/* The campaign's side of hold.h: says where a process is to stop, hears that it has, and ends what is to end. One per process of the
 * campaign, which is the subreaper of all that it starts: who has ended is known by waiting, not by looking again and again. */
#ifndef SLUICE_TESTS_CRASH_HELD_H
#define SLUICE_TESTS_CRASH_HELD_H

#include <stdbool.h>
#include <sys/types.h>

struct held {
        char dir[48];
        int fifo;
};

void held_open(struct held *held); /* sets $SLUICE_HOLD: before any thread */
void held_close(struct held *held);

/* Ends what was arranged before. Every process that comes to a point that fits the glob @point stops there. NULL: nobody stops. */
void held_arrange(struct held *held, const char *point);
/* From now on points are written down; what was so far is forgotten. */
void held_trace(struct held *held);
char *held_traced(const struct held *held); /* one a line; the caller frees it */
/* Until a point was passed whose name ends with @last. */
void held_await_trace(const struct held *held, const char *last);

/* The process that has stopped at the point arranged; 0: none in time. */
pid_t held_wait(struct held *held, unsigned timeout_ms);
/* The group of all hands of the newest daemon, whose start may be a moment ago; 0: it has none. */
pid_t held_hands(struct held *held);

void held_go_on(pid_t pid); /* once it has really stopped */
/* All of the group have ended, whose leader or its parent has; the group is known by held_hands(). */
void held_await_hands(pid_t group);
void held_kill_hands(struct held *held); /* all that were ever started, and forgets them */

#endif
