/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/remedy.h"

#include "base/alloc.h"
#include "base/log.h"
#include "claims/claims_priv.h"
#include "claims/settings.h"
#include "claims/stock.h"
#include "core/recover.h"

size_t remedy_originals(const struct claims *claims, const struct bdf *functions, size_t n, struct original **ret)
{
        struct original *list = xcalloc(n, sizeof(*list));
        size_t n_known = 0;

        for (size_t i = 0; i < n; i++) {
                const struct original *original = ledger_original(claims->ledger, functions[i]);
                if (original)
                        list[n_known++] = *original;
        }
        *ret = list;
        return n_known;
}

static bool any_under_way(const struct original *list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (list[i].state != ORIGINAL_BOUND)
                        return true;
        return false;
}

bool remedy_needed(const struct claims *claims, const struct bdf *functions, size_t n)
{
        _cleanup_free_ struct original *list = NULL;

        n = remedy_originals(claims, functions, n, &list);
        bool any = any_under_way(list, n);
        for (size_t i = 0; i < n; i++)
                any = any || settings_owed(claims, &list[i]);
        return any;
}

struct search {
        const struct claims *claims;
        const struct device *const *devices;
        size_t n_devices;
        struct bdf *half;
        size_t n_half;
};

static bool is_of(const struct search *search, const struct function *fn)
{
        for (size_t i = 0; i < search->n_devices; i++) {
                const struct device *device = search->devices[i];
                if (bdf_equal(device->bdf, fn->bdf) || (fn->group >= 0 && fn->group == device->group))
                        return true;
        }
        return false;
}

static void look_at(void *ctx, const struct original *original)
{
        struct search *search = ctx;
        const struct claims_world *world = &search->claims->world;
        const struct function *fn;

        if (original_look_up(world->inventory(world->ctx), original, &fn) == FATE_HALF && fn && is_of(search, fn) &&
            search->n_half < PLAN_FUNCTIONS_MAX)
                search->half[search->n_half++] = fn->bdf;
}

size_t remedy_half(const struct claims *claims, const struct device *const *devices, size_t n_devices, struct bdf ret[PLAN_FUNCTIONS_MAX])
{
        struct search search = { .claims = claims, .devices = devices, .n_devices = n_devices, .half = ret };

        ledger_each_original(claims->ledger, look_at, &search);
        return search.n_half;
}

static bool all_ours(const struct claims *claims, const struct original *list, size_t n)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);

        for (size_t i = 0; i < n; i++) {
                const struct function *fn;
                if (original_look_up(inv, &list[i], &fn) != FATE_OURS)
                        return false;
        }
        return true;
}

static void adopt(struct claims *claims, struct original *list, size_t n)
{
        struct err unused;

        log_info("the bind of " BDF_FMT " that was under way is complete: it stays bound to %s", BDF_ARGS(list[0].bdf), list[0].target);
        for (size_t i = 0; i < n; i++)
                list[i].state = ORIGINAL_BOUND;
        (void)ledger_put_originals(claims->ledger, list, n, NULL, NULL, &unused); /* they are in the ledger: there is room */
}

/* @undone: by a plan of ours. */
static void forget(struct claims *claims, const struct original *list, size_t n, bool undone)
{
        for (size_t i = 0; i < n; i++) {
                if (undone)
                        log_info("what was under way on " BDF_FMT " is undone: it is on %s again", BDF_ARGS(list[i].bdf),
                                 *list[i].driver ? list[i].driver : "no driver");
                else
                        log_info("what was under way on " BDF_FMT " is forgotten: there is nothing of it to be undone",
                                 BDF_ARGS(list[i].bdf));
                ledger_remove_originals(claims->ledger, &list[i].bdf, 1, NULL, NULL);
        }
}

/* The plan; without a step all is as it shall be, and that is written down. */
static enum reason make(struct claims *claims, const struct original *list, size_t n, enum remedy *ret, struct plan *plan, struct err *err)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        _cleanup_free_ const struct original **originals = xcalloc(n + 1, sizeof(*originals));

        for (size_t i = 0; i < n; i++)
                originals[i] = &list[i];
        enum reason reason =
                *ret == REMEDY_RESTORE ? plan_restore(inv, originals, n, plan, err) : plan_settings_back(inv, originals, n, plan, err);
        if (reason || plan->n_steps > 0)
                return reason;
        if (*ret == REMEDY_RESTORE)
                forget(claims, list, n, false);
        else
                settings_given_back(claims, list, n);
        *ret = REMEDY_NONE;
        return REASON_NONE;
}

enum reason remedy_decide(struct claims *claims, const struct bdf *functions, size_t n, enum remedy *ret, struct plan *plan,
                          struct err *err)
{
        _cleanup_free_ struct original *list = NULL;

        n = remedy_originals(claims, functions, n, &list);
        n = stock_forget(claims, list, n);
        bool under_way = any_under_way(list, n);
        *ret = under_way && !all_ours(claims, list, n) ? REMEDY_RESTORE : REMEDY_SETTINGS;
        if (*ret == REMEDY_RESTORE)
                return make(claims, list, n, ret, plan, err);
        if (under_way)
                adopt(claims, list, n);
        return make(claims, list, settings_owed_of(claims, list, n), ret, plan, err);
}

void remedy_done(struct claims *claims, const struct bdf *functions, size_t n, enum remedy remedy)
{
        _cleanup_free_ struct original *list = NULL;

        size_t n_known = remedy_originals(claims, functions, n, &list);
        if (remedy == REMEDY_SETTINGS) {
                settings_given_back(claims, list, settings_owed_of(claims, list, n_known));
                return;
        }
        forget(claims, list, n_known, true);
}
