/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/release_intent.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "claims/claims_priv.h"
#include "core/reset.h"

struct originals {
        struct original *list; /* one for each function */
        size_t n;
};

static void originals_done(struct originals *originals)
{
        free(originals->list);
}

static const struct function *function(const struct claims *claims, struct bdf bdf)
{
        return inventory_function(claims->world.inventory(claims->world.ctx), bdf);
}

/* The original that @list has of @bdf, or else the ledger's, added; NULL = there is none. */
static struct original *find(struct originals *list, const struct claims *claims, struct bdf bdf)
{
        for (size_t i = 0; i < list->n; i++)
                if (bdf_equal(list->list[i].bdf, bdf))
                        return &list->list[i];
        const struct original *original = ledger_original(claims->ledger, bdf);
        if (!original)
                return NULL;
        list->list[list->n] = *original;
        return &list->list[list->n++];
}

/* What an administrator bound has none until something of it is to be remembered. */
static struct original *find_or_make(struct originals *list, const struct claims *claims, struct bdf bdf)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        const struct function *fn = function(claims, bdf);
        struct original *original = find(list, claims, bdf);

        if (original || !fn)
                return original;
        original_keep(NULL, fn, inv->boot_id, &list->list[list->n]);
        return &list->list[list->n++];
}

static bool narrows(const struct step *step)
{
        return step->kind == STEP_RESET && step->number;
}

/* Those of @plan, as they are. */
static void collect(const struct claims *claims, const struct plan *plan, struct originals *ret)
{
        *ret = (struct originals){ .list = xcalloc(plan->n_steps + 1, sizeof(*ret->list)) };
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].kind == STEP_OVERRIDE || narrows(&plan->steps[i]))
                        (void)find(ret, claims, plan->steps[i].bdf);
}

int release_intent_put(struct claims *claims, const struct plan *plan, recorded_fn *done, void *ctx, struct err *err)
{
        _cleanup_(originals_done) struct originals all = { .list = xcalloc(plan->n_steps + 1, sizeof(*all.list)) };

        for (uint32_t i = 0; i < plan->n_steps; i++) {
                const struct step *step = &plan->steps[i];
                struct original *original = step->kind == STEP_OVERRIDE ? find(&all, claims, step->bdf)
                                            : narrows(step)             ? find_or_make(&all, claims, step->bdf)
                                                                        : NULL;
                if (original && narrows(step))
                        (void)str_copy(original->reset_methods, sizeof(original->reset_methods), step->about);
                else if (original)
                        original->state = ORIGINAL_RESTORING;
        }
        if (all.n == 0)
                return 0;
        int r = ledger_put_originals(claims->ledger, all.list, all.n, done, ctx, err);
        return r < 0 ? r : 1;
}

/* What reset_method said is remembered for as long as it does not say so. */
static void put_back(struct claims *claims, struct original *original)
{
        const struct function *fn = function(claims, original->bdf);
        struct err unused;

        if (!fn || streq(reset_methods_of(fn, original->reset_methods), fn->reset_methods))
                original->reset_methods[0] = '\0';
        if (original_is_bound_by_us(original) || original_has_settings(original)) { /* it is in the ledger: there is room */
                (void)ledger_put_originals(claims->ledger, original, 1, NULL, NULL, &unused);
                return;
        }
        log_debug("nothing of " BDF_FMT " is left to be given back", BDF_ARGS(original->bdf));
        ledger_remove_originals(claims->ledger, &original->bdf, 1, NULL, NULL);
}

void release_intent_withdraw(struct claims *claims, const struct plan *plan)
{
        _cleanup_(originals_done) struct originals all = { 0 };

        collect(claims, plan, &all);
        for (size_t i = 0; i < all.n; i++) {
                all.list[i].state = ORIGINAL_BOUND;
                put_back(claims, &all.list[i]);
        }
}

void release_intent_complete(struct claims *claims, const struct plan *plan)
{
        _cleanup_(originals_done) struct originals all = { 0 };

        collect(claims, plan, &all);
        for (size_t i = 0; i < all.n; i++) {
                if (all.list[i].state == ORIGINAL_RESTORING)
                        ledger_remove_originals(claims->ledger, &all.list[i].bdf, 1, NULL, NULL);
                else
                        put_back(claims, &all.list[i]);
        }
}
