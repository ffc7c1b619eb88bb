/* SPDX-License-Identifier: Apache-2.0 */
/* The way back from VFIO. Kernel facts (drivers/base/dd.c, drivers/pci/pci-driver.c): a function without driver stays without
 * one until it is probed, and a probe gives it to whichever driver its override or its ids match. */
#include <errno.h>
#include <stdlib.h>

#include "base/str.h"
#include "core/plan_priv.h"

/* An original whose function is still there. */
struct given {
        const struct original *original;
        const struct function *fn;
};

struct givens {
        struct given list[PLAN_STEPS_MAX];
        size_t n;
};

static bool is_target(const struct given *g)
{
        return *g->fn->driver && streq(g->fn->driver, g->original->target) && !streq(g->original->driver, g->original->target);
}

static bool is_back(const struct given *g)
{
        return streq(g->fn->driver, g->original->driver);
}

static enum reason check_identity(const struct given *g, struct err *err)
{
        const struct original *o = g->original;
        const struct function *fn = g->fn;

        if (fn->vendor == o->vendor && fn->device == o->device && fn->subvendor == o->subvendor && fn->subdevice == o->subdevice)
                return REASON_NONE;
        (void)err_say(err, ENODEV, BDF_FMT " is now %04x:%04x (subsystem %04x:%04x) instead of %04x:%04x (%04x:%04x): it is left alone",
                      BDF_ARGS(o->bdf), fn->vendor, fn->device, fn->subvendor, fn->subdevice, o->vendor, o->device, o->subvendor,
                      o->subdevice);
        return REASON_IDENTITY;
}

/* A hand that was killed while it undid an unbind had the override name the former driver for that moment. */
static bool is_undoing(const struct original *o, const char *override)
{
        return o->state != ORIGINAL_BOUND && streq(override, o->driver);
}

static enum reason check(const struct inventory *inv, const struct given *g, struct err *err)
{
        const struct original *o = g->original;
        const struct function *fn = g->fn;

        enum reason reason = check_identity(g, err);
        if (reason)
                return reason;
        if (*fn->driver && !is_target(g) && !is_back(g)) {
                (void)err_say(err, EPERM, BDF_FMT " was bound to %s by Sluice and is on %s now", BDF_ARGS(o->bdf), o->target, fn->driver);
                return REASON_TAKEN_OVER;
        }
        if (fn->override_known && *fn->driver_override && !streq(fn->driver_override, o->target) &&
            !streq(fn->driver_override, o->driver_override) && !is_undoing(o, fn->driver_override)) {
                (void)err_say(err, EPERM, "somebody has set driver_override of " BDF_FMT " to %s", BDF_ARGS(o->bdf), fn->driver_override);
                return REASON_FOREIGN_OWNER;
        }
        if (!is_back(g) && *o->driver && !inventory_has_driver(inv, o->driver)) {
                (void)err_say(err, ENODEV, BDF_FMT " was on %s before, and that driver is not loaded on this host", BDF_ARGS(o->bdf),
                              o->driver);
                return REASON_FORMER_DRIVER;
        }
        return REASON_NONE;
}

static int by_address(const void *a, const void *b)
{
        return bdf_compare(((const struct given *)a)->fn->bdf, ((const struct given *)b)->fn->bdf);
}

static enum reason collect(const struct inventory *inv, const struct original *const *originals, size_t n, struct givens *ret,
                           struct err *err)
{
        for (size_t i = 0; i < n; i++) {
                const struct given g = { originals[i], inventory_function(inv, originals[i]->bdf) };
                enum reason reason = g.fn ? check(inv, &g, err) : plan_check_read(inv, originals[i]->bdf, err);
                if (reason)
                        return reason;
                if (!g.fn)
                        continue;
                if (ret->n == PLAN_STEPS_MAX)
                        break; /* no plan holds so many: writing it says so */
                ret->list[ret->n++] = g;
        }
        qsort(ret->list, ret->n, sizeof(ret->list[0]), by_address);
        return REASON_NONE;
}

static bool add_guards(struct plan *plan, const struct given *g)
{
        return plan_add_function(plan, g->fn) &&
               (!is_target(g) || plan_add(plan, (struct step){ .kind = STEP_GUARD_NODES, .bdf = g->fn->bdf }, ""));
}

static bool add_leaving(struct plan *plan, const struct given *g)
{
        const struct original *o = g->original;
        struct step override = { .kind = STEP_OVERRIDE, .bdf = o->bdf };

        (void)str_copy(override.about, sizeof(override.about), o->target);
        return (streq(o->driver, o->target) || plan_add(plan, override, o->driver_override)) &&
               (!is_target(g) || plan_add(plan, (struct step){ .kind = STEP_UNBIND, .bdf = o->bdf, .wait_ms = READ_BACK_MS }, o->target));
}

static bool add_coming_back(struct plan *plan, const struct given *g)
{
        const struct original *o = g->original;
        const struct step await = { .kind = STEP_AWAIT_DRIVER, .bdf = o->bdf, .wait_ms = READ_BACK_MS };
        bool locked = g->fn->unbind_lock && o->state == ORIGINAL_BINDING;

        if (is_back(g)) /* a bind that was cut short may have the GPU locked against new clients */
                return (!locked || plan_add(plan, (struct step){ .kind = STEP_RELEASE_UNBIND_LOCK, .bdf = o->bdf }, "")) &&
                       (o->state == ORIGINAL_BOUND || plan_add(plan, await, o->driver));
        return (!*o->driver || plan_add(plan, (struct step){ .kind = STEP_PROBE, .bdf = o->bdf, .wait_ms = READ_BACK_MS }, "")) &&
               plan_add(plan, await, o->driver);
}

static bool write_plan(struct plan *plan, const struct givens *givens)
{
        bool fits = true;

        for (size_t i = 0; i < givens->n; i++)
                fits = fits && add_guards(plan, &givens->list[i]);
        if (plan->n_steps > 0)
                fits = fits && plan_add_wedged(plan, givens->list[0].fn->bdf);
        for (size_t i = 0; i < givens->n; i++)
                fits = fits && plan_add_settings_back(plan, givens->list[i].original, givens->list[i].fn);
        for (size_t i = givens->n; i-- > 0;)
                fits = fits && add_leaving(plan, &givens->list[i]);
        for (size_t i = 0; i < givens->n; i++)
                fits = fits && add_coming_back(plan, &givens->list[i]);
        return fits;
}

enum reason plan_restore(const struct inventory *inv, const struct original *const *originals, size_t n_originals, struct plan *ret,
                         struct err *err)
{
        struct givens givens = { .n = 0 };
        struct plan plan = { 0 };

        enum reason reason = collect(inv, originals, n_originals, &givens, err);
        if (reason)
                return reason;
        if (!write_plan(&plan, &givens)) {
                (void)err_say(err, E2BIG, "giving %zu functions back at once needs more than %d steps or %d cards", givens.n,
                              PLAN_STEPS_MAX, PLAN_CARDS_MAX);
                return REASON_PLAN_TOO_LARGE;
        }
        *ret = plan;
        return REASON_NONE;
}
