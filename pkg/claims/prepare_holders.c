/* SPDX-License-Identifier: Apache-2.0 */
/* A device that is usable as it is may be open still: its former VM is waited for, for a moment, and then named. */
#include "claims/prepare_priv.h"

#include <errno.h>

#include "base/clock.h"
#include "hands/hands.h"

enum {
        HELD_WAIT_MS = 2000, /* a former user's descriptor may be open for a moment */
        HELD_RETRY_MS = 100,
};

static void on_retry(uv_timer_t *timer)
{
        struct claims *claims = timer->data;

        for (struct turn *turn = claims->turns; turn; turn = turn->next) {
                struct job *job = job_of_turn(turn);
                if (job && job->state == JOB_HELD)
                        job_wait_again(job);
        }
        turns_pump(claims);
}

/* Somebody has a device open that is usable as it is: waits a moment for a former VM to go, then refuses with its name. */
static void job_held(struct job *job, const struct hands_result *result)
{
        struct claims *claims = job->claims;
        struct err err;

        int64_t now = clock_ms();
        if (job->held_until_ms == 0)
                job->held_until_ms = now + HELD_WAIT_MS;
        if (now < job->held_until_ms && !claims->stopping) {
                job->state = JOB_HELD;
                (void)uv_timer_start(claims->retry, on_retry, HELD_RETRY_MS, 0);
                return;
        }
        (void)err_say(&err, EBUSY, "%s", result->text);
        job_refuse(job, REASON_HELD, &err);
}

static void holders_asked(void *ctx, const struct hands_result *result)
{
        struct job *job = ctx;
        struct claims *claims = job->claims;
        struct err err;

        if (result->end == PLAN_DONE || result->reason == REASON_HOLDERS_UNKNOWN) {
                /* Nobody; or it cannot be seen of all: then kubelet's word counts, nothing is touched. */
                job->nobody_holds = true;
                job_wait_again(job);
        } else if (result->reason == REASON_HELD) {
                job_held(job, result);
        } else {
                (void)err_say(&err, EIO, "%s", result->text);
                job_refuse(job, result->reason ? result->reason : REASON_STEP_FAILED, &err);
        }
        turns_pump(claims);
}

/* True: a hand asks, and the job goes on when it has answered. Not for what has to be bound (its plan asks), nor for
 * verification: the container that is about to start may be the holder's own pod. */
bool job_asks_holders(struct job *job, const struct device *const *devices)
{
        const struct claims_world *world = &job->claims->world;
        const struct device *open[REQUEST_DEVICES_MAX];
        struct plan plan;
        size_t n = 0;

        if (job->owner == OWNER_RECONCILE || job->verify_only || job->nobody_holds)
                return false;
        for (size_t i = 0; i < job->n_devices; i++)
                if (!devices[i]->needs_bind && world->may_be_held(world->ctx, devices[i]))
                        open[n++] = devices[i];
        if (n == 0)
                return false;
        plan_ask_holders(open, n, &plan);
        job->state = JOB_RUNNING;
        hands_run(job->claims->hands, &plan, job->claims->deadline_ms, NULL, holders_asked, job);
        return true;
}
