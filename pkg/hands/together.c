/* SPDX-License-Identifier: Apache-2.0 */
/* The plans of one request: all are kept, or none. A hand that is done keeps its card's lock and waits. When the last one is
 * done, all hear "keep"; when one fails, hangs or dies, the others hear "undo", wherever they are. */
#include <stdlib.h>

#include "base/alloc.h"
#include "hands/hands_priv.h"

struct member {
        struct together *all;
        struct job *job; /* NULL = ended */
        size_t index;
};

struct together {
        size_t n, n_ready, n_ended;
        char word; /* what all were told; 0 = nothing yet */
        hands_each_fn *done;
        void *ctx;
        struct member members[];
};

static void tell_all(struct together *all, char word)
{
        all->word = word;
        for (size_t i = 0; i < all->n; i++)
                if (all->members[i].job)
                        job_tell(all->members[i].job, word);
}

static void on_ready(void *ctx)
{
        struct together *all = ((struct member *)ctx)->all;

        if (++all->n_ready == all->n)
                tell_all(all, WIRE_KEEP);
}

static void on_end(void *ctx, const struct hands_result *result)
{
        static const struct hands_result kept = { .end = PLAN_DONE };
        struct member *member = ctx;
        struct together *all = member->all;

        member->job = NULL;
        if (result->end != PLAN_DONE && !all->word)
                tell_all(all, WIRE_UNDO);
        /* A hand that ended between "ready" and its last report had nothing left to do. */
        all->done(all->ctx, member->index, all->word == WIRE_KEEP ? &kept : result);
        if (++all->n_ended == all->n)
                free(all);
}

void hands_run_all(struct hands *hands, const struct plan *plans, size_t n_plans, unsigned deadline_ms, hands_each_fn *done, void *ctx)
{
        struct together *all = xcalloc(1, sizeof(*all) + n_plans * sizeof(all->members[0]));

        *all = (struct together){ .n = n_plans, .done = done, .ctx = ctx };
        for (size_t i = 0; i < n_plans; i++) {
                struct job *job = job_new(hands, &plans[i], deadline_ms, on_end, &all->members[i]);
                job->plan.awaits_word = n_plans > 1;
                job->ready = on_ready;
                all->members[i] = (struct member){ .all = all, .job = job, .index = i };
                job_start(job);
        }
}
