/* The daemon's side of the hands: starts the zygote (before grpc_init), keeps one warm worker, runs plans with a deadline.
 * Loop thread. The loop never waits: a worker past its deadline is abandoned (its descriptor is closed, the process is left
 * to the kernel) and the plan ends as PLAN_STUCK; another worker takes the next plan. */
#ifndef SLUICE_HANDS_HANDS_H
#define SLUICE_HANDS_HANDS_H

#include <uv.h>

#include "hands/wire.h"

struct hands;
struct hands_config {
        const char *program;  /* path of sluice-hand */
        const char *sim_dir;  /* NULL = the machine */
        const char *lock_dir; /* directory of the card locks, exists */
};
enum { HANDS_MAX_STUCK = 32 }; /* beyond it no further plan is started: PLAN_LOST with a sentence */

/* Spawns the zygote (posix_spawn; only stderr and the control socket are inherited) and asks for the first worker. Call
 * before grpc_init and before any thread. A zygote that dies is spawned again. */
int hands_start(struct hands **ret, const struct hands_config *config, struct err *err);
void hands_attach(struct hands *hands, uv_loop_t *loop);

struct hands_result {
        enum plan_end end;
        enum reason reason;       /* of what failed; REASON_NONE when done */
        uint32_t step;            /* index of the failed (or hanging) step; n_steps when none */
        char text[ERR_MSG_MAX];   /* sentence; "" when done */
};
/* @value: report of each STEP_READ_LOCKED as it arrives; may be NULL. */
typedef void hands_value_fn(void *ctx, uint32_t step, int result, const char *text);
typedef void hands_done_fn(void *ctx, const struct hands_result *result);
/* Copies @plan. @done is called exactly once, later, from the loop. @deadline_ms from now, the whole plan. */
void hands_run(struct hands *hands, const struct plan *plan, unsigned deadline_ms, hands_value_fn *value, hands_done_fn *done,
               void *ctx);

unsigned hands_stuck(const struct hands *hands);
/* Stops: no new plans; plans at work get @done with PLAN_LOST; workers are left alone. Then closed() from the loop. */
void hands_stop(struct hands *hands, void (*closed)(void *ctx), void *ctx);
struct hands *hands_free(struct hands *hands);

#endif
