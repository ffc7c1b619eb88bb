/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/intent.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"

struct intended {
        struct original original, former; /* @former: what the ledger said before */
        bool had_former;
        bool is_bound; /* and stays so: only its power is set */
        size_t plan;
};

struct intent {
        struct intended *list; /* at least one: each plan binds something or sets its power */
        size_t n, cap;
};

static struct intended *find(const struct intent *intent, struct bdf bdf)
{
        for (size_t i = 0; i < intent->n; i++)
                if (bdf_equal(intent->list[i].original.bdf, bdf))
                        return &intent->list[i];
        return NULL;
}

/* A plan binds before it sets power. */
static void add(struct intent *intent, const struct ledger *ledger, const struct inventory *inv, const struct step *step, size_t plan)
{
        const struct function *fn = inventory_function(inv, step->bdf);
        const struct original *former = ledger_original(ledger, step->bdf);

        if (!fn)
                return; /* a plan is made of what the inventory has */
        if (step->kind == STEP_SETTING && find(intent, step->bdf)) {
                original_note_power(&find(intent, step->bdf)->original, fn, step->about);
                return;
        }
        GROW(intent->list, intent->n, intent->cap);
        struct intended *intended = &intent->list[intent->n++];
        *intended = (struct intended){ .plan = plan, .had_former = former != NULL };
        if (former)
                intended->former = *former;
        intended->is_bound = step->kind == STEP_SETTING;
        if (intended->is_bound) {
                original_keep(former, fn, inv->boot_id, &intended->original);
                original_note_power(&intended->original, fn, step->about);
        } else {
                original_make(former, fn, inv->boot_id, step->text, &intended->original);
        }
}

struct intent *intent_new(const struct ledger *ledger, const struct inventory *inv, const struct plan *plans, size_t n_plans)
{
        struct intent *intent = xcalloc(1, sizeof(*intent));

        for (size_t p = 0; p < n_plans; p++)
                for (uint32_t i = 0; i < plans[p].n_steps; i++)
                        if (plans[p].steps[i].kind == STEP_OVERRIDE || plans[p].steps[i].kind == STEP_SETTING)
                                add(intent, ledger, inv, &plans[p].steps[i], p);
        return intent;
}

struct intent *intent_free(struct intent *intent)
{
        if (!intent)
                return NULL;
        free(intent->list);
        free(intent);
        return NULL;
}

static int put(const struct intent *intent, struct ledger *ledger, enum original_state state, recorded_fn *done, void *ctx, struct err *err)
{
        _cleanup_free_ struct original *list = xcalloc(intent->n, sizeof(*list));

        for (size_t i = 0; i < intent->n; i++) {
                list[i] = intent->list[i].original;
                if (!intent->list[i].is_bound)
                        list[i].state = state;
        }
        return ledger_put_originals(ledger, list, intent->n, done, ctx, err);
}

int intent_put(const struct intent *intent, struct ledger *ledger, recorded_fn *done, void *ctx, struct err *err)
{
        return put(intent, ledger, ORIGINAL_BINDING, done, ctx, err);
}

void intent_complete(const struct intent *intent, struct ledger *ledger, recorded_fn *done, void *ctx)
{
        struct err unused;

        (void)put(intent, ledger, ORIGINAL_BOUND, done, ctx, &unused); /* they are in the ledger: there is room */
}

static void forget(struct ledger *ledger, const struct intended *intended)
{
        const struct original *original = &intended->original;

        if (intended->is_bound)
                log_info(BDF_FMT " was to have its power set for a claim, and has not: that is forgotten", BDF_ARGS(original->bdf));
        else
                log_info(BDF_FMT " was to be bound to %s, and is not: that is forgotten", BDF_ARGS(original->bdf), original->target);
        ledger_remove_originals(ledger, &original->bdf, 1, NULL, NULL);
}

void intent_withdraw(const struct intent *intent, struct ledger *ledger, size_t plan)
{
        struct err unused;

        for (size_t i = 0; i < intent->n; i++) {
                const struct intended *intended = &intent->list[i];
                if (intended->plan != plan)
                        continue;
                if (intended->had_former)
                        (void)ledger_put_originals(ledger, &intended->former, 1, NULL, NULL, &unused);
                else
                        forget(ledger, intended);
        }
}

size_t intent_functions(const struct intent *intent, size_t plan, struct bdf ret[static PLAN_STEPS_MAX])
{
        size_t n = 0;

        for (size_t i = 0; i < intent->n; i++)
                if (intent->list[i].plan == plan)
                        ret[n++] = intent->list[i].original.bdf;
        return n;
}

void intent_override_was(struct intent *intent, struct ledger *ledger, struct bdf bdf, const char *before)
{
        struct err unused;

        for (size_t i = 0; i < intent->n; i++) {
                struct original *original = &intent->list[i].original;
                if (!bdf_equal(original->bdf, bdf) || original->override_known)
                        continue;
                (void)str_copy(original->driver_override, sizeof(original->driver_override), before);
                original->override_known = true;
                (void)ledger_put_originals(ledger, original, 1, NULL, NULL, &unused); /* it is there: there is room */
        }
}
