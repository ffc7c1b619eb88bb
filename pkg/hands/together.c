/* SPDX-License-Identifier: Apache-2.0 */
/* The plans of one request: nothing is begun before the conditions of all hold, and all are kept, or none. Twice a hand waits,
 * with its card locked, until the last one is as far; when one refuses, fails, hangs or dies, the others are called off,
 * wherever they are. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "hands/hands_priv.h"

struct member {
        struct together *all;
        struct job *job; /* NULL = ended */
        size_t index;
};

struct together {
        uv_loop_t *loop;
        uint64_t half_time; /* uv_now() */
        unsigned deadline_ms;
        size_t n, n_waiting, n_ended;
        unsigned stage; /* of all; as job.stage */
        bool called_off, late;
        hands_override_fn *override;
        hands_each_fn *done;
        void *ctx;
        struct member members[];
};

static void call_off(struct together *all)
{
        all->called_off = true;
        for (size_t i = 0; i < all->n; i++)
                if (all->members[i].job)
                        job_call_off(all->members[i].job);
}

static void go_on(struct together *all)
{
        all->n_waiting = 0;
        all->stage++;
        for (size_t i = 0; i < all->n; i++)
                if (all->members[i].job)
                        job_go_on(all->members[i].job);
}

static void on_waiting(void *ctx)
{
        struct together *all = ((struct member *)ctx)->all;

        /* A hand that died had said so before: its word may come after its end. */
        if (all->called_off || ++all->n_waiting < all->n)
                return;
        /* A device whose driver is given too little time to let go would be taken for one that hangs. */
        all->late = all->stage == 0 && uv_now(all->loop) > all->half_time;
        if (all->late)
                call_off(all);
        else
                go_on(all);
}

static void on_override(void *ctx, uint32_t step, int result, const char *before)
{
        const struct member *member = ctx;

        (void)result;
        member->all->override(member->all->ctx, member->index, step, before);
}

static void on_end(void *ctx, const struct hands_result *result)
{
        struct member *member = ctx;
        struct together *all = member->all;
        struct hands_result end = *result;

        member->job = NULL;
        if (all->stage == 2) /* what a hand that was told so had left to do was to end */
                end = (struct hands_result){ .end = PLAN_DONE };
        else if (!all->called_off && end.end != PLAN_DONE && all->n > 1)
                call_off(all);
        if (all->late && end.end == PLAN_REFUSED) {
                end.reason = REASON_HAND_LOST;
                str_format(end.text, sizeof(end.text), "not all devices of the request were looked at within %u ms; nothing was touched",
                           all->deadline_ms / 2);
        }
        all->done(all->ctx, member->index, &end);
        if (++all->n_ended == all->n)
                free(all);
}

void hands_run_all(struct hands *hands, const struct plan *plans, size_t n_plans, unsigned deadline_ms, hands_override_fn *override,
                   hands_each_fn *done, void *ctx)
{
        struct together *all = xcalloc(1, sizeof(*all) + n_plans * sizeof(all->members[0]));

        *all = (struct together){
                .loop = hands->loop, .deadline_ms = deadline_ms, .n = n_plans, .override = override, .done = done, .ctx = ctx
        };
        all->half_time = uv_now(hands->loop) + deadline_ms / 2;
        for (size_t i = 0; i < n_plans; i++) {
                struct job *job = job_new(hands, &plans[i], deadline_ms, on_end, &all->members[i]);
                job->plan.awaits_word = n_plans > 1;
                job->waiting = on_waiting;
                job->override = override ? on_override : NULL;
                all->members[i] = (struct member){ .all = all, .job = job, .index = i };
                job_start(job);
        }
}
