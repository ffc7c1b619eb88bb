/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's side of the hands: starts the zygote (before grpc_init), keeps one warm worker, runs plans with a deadline.
 * Loop thread. The loop never waits: a worker past its deadline is abandoned (told to stop before its next step; what it still says is
 * dropped, the process is left to the kernel) and the plan ends as PLAN_STUCK; another worker takes the next plan. An abandoned worker
 * counts as stuck until its socket closes, that is, until the process ends, whoever its parent is by then. */
#ifndef SLUICE_HANDS_HANDS_H
#define SLUICE_HANDS_HANDS_H

#include <uv.h>

#include "hands/wire.h"

struct hands;
struct hands_config {         /* copied */
        const char *program;  /* path of sluice-hand */
        const char *sim_dir;  /* NULL = the machine; shorter than 512 bytes */
        const char *mounts;   /* kernel_open_mounts; NULL = on the host itself; shorter than 512 bytes */
        const char *lock_dir; /* directory of the card locks, exists; shorter than 512 bytes */
};
enum { HANDS_MAX_STUCK = 32 }; /* with that many stuck no further plan is started: PLAN_LOST with a sentence */

/* Spawns the zygote (posix_spawn in a session of its own; only stderr and the control socket are inherited, no blocked or
 * ignored signal), which comes up while the caller goes on. Call before grpc_init and before any thread. A zygote that dies, or does
 * not answer for 5 s, is spawned again: at once, then after growing pauses of at most 5 s; plans at work are not disturbed, plans waiting
 * go on waiting. */
int hands_start(struct hands **ret, const struct hands_config *config, struct err *err);
/* Asks for the first worker: what it opens (host, lock directory) exists by now. Once; before hands_run and hands_stop. */
void hands_attach(struct hands *hands, uv_loop_t *loop);

struct hands_result {
        enum plan_end end;
        enum reason reason;     /* of what failed; REASON_NONE when done */
        uint32_t step;          /* index of the failed (or hanging) step; n_steps when none */
        char text[ERR_MSG_MAX]; /* sentence; "" when done */
};
/* Report of each step that tells something as it arrives: @result 0 and the value, or -errno and why not. */
typedef void hands_value_fn(void *ctx, uint32_t step, int result, const char *text);
typedef void hands_done_fn(void *ctx, const struct hands_result *result);
/* Copies @plan. @value may be NULL. @done is called exactly once, later, from the loop; it may call hands_run.
 * @deadline_ms from now, the whole plan, with the time it waits for a worker: then a plan that was at work ends as
 * PLAN_STUCK, one that never got a worker as PLAN_LOST (nothing was touched). With @value (a plan that only reads) it is the
 * time from each report to the next. */
void hands_run(struct hands *hands, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done, void *ctx);

/* Runs the plans of one request side by side, each by a hand of its own: all of them end as PLAN_DONE, or none. The first that
 * ends otherwise calls off the others, which undo what they did and have @deadline_ms from then for it. No plan acts before the
 * conditions of all hold. @done is called once for each plan, later, from the loop; after the first that is not PLAN_DONE the
 * request's fate is known. The plans concern different cards; a single one is run as by hands_run. */
typedef void hands_each_fn(void *ctx, size_t index, const struct hands_result *result);
/* What driver_override read before STEP_OVERRIDE @step of plan @index, as soon as that is done; "" = nothing. May be NULL. */
typedef void hands_override_fn(void *ctx, size_t index, uint32_t step, const char *before);
void hands_run_all(struct hands *hands, const struct plan *plans, size_t n_plans, unsigned deadline_ms, hands_override_fn *override,
                   hands_each_fn *done, void *ctx);

unsigned hands_stuck(const struct hands *hands); /* abandoned workers that have not ended */

/* Stops: no new plans; plans get @done with PLAN_LOST; workers at work are left alone and carry on. Then closed() from the
 * loop, once, after the last @done. */
void hands_stop(struct hands *hands, void (*closed)(void *ctx), void *ctx);
struct hands *hands_free(struct hands *hands); /* after closed(), or never attached. NULL-safe, returns NULL */
static inline void hands_freep(struct hands **hands)
{
        *hands = hands_free(*hands);
}

#endif
