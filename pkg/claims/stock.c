/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/stock.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "claims/claims_priv.h"
#include "core/group.h"
#include "core/recover.h"

struct originals {
        struct original *list;
        size_t n, cap;
};

static void add_original(void *ctx, const struct original *original)
{
        struct originals *originals = ctx;

        GROW(originals->list, originals->n, originals->cap);
        originals->list[originals->n++] = *original;
}

size_t stock_all(const struct claims *claims, struct original **ret)
{
        struct originals all = { 0 };

        ledger_each_original(claims->ledger, add_original, &all);
        *ret = all.list;
        return all.n;
}

/* What is forgotten is not to be had back: not for what a single look has not found. */
static void look_before_forgetting(struct claims *claims, const struct original *list, size_t n)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);

        for (size_t i = 0; i < n; i++) {
                const struct function *fn;
                enum original_fate fate = original_look_up(inv, &list[i], &fn);
                if (!fate_is_forgotten(fate) || fate == FATE_OTHER_BOOT)
                        continue;
                (void)claims->world.rescan(claims->world.ctx);
                return;
        }
}

size_t stock_forget(struct claims *claims, struct original *list, size_t n)
{
        look_before_forgetting(claims, list, n);
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        char text[ERR_MSG_MAX];
        size_t n_left = 0;

        for (size_t i = 0; i < n; i++) {
                const struct function *fn;
                enum original_fate fate = original_look_up(inv, &list[i], &fn);
                if (!fate_is_forgotten(fate)) {
                        list[n_left++] = list[i];
                        continue;
                }
                original_say(&list[i], fn, fate, text, sizeof(text));
                log_info("%s", text);
                ledger_remove_originals(claims->ledger, &list[i].bdf, 1, NULL, NULL);
        }
        return n_left;
}

/* Of what is not under way: forgets and says; what is kept without being bound is said too. */
static size_t take(struct claims *claims, struct original *list, size_t n)
{
        look_before_forgetting(claims, list, n);
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        size_t n_left = 0, n_old = 0, n_ours = 0;
        char text[ERR_MSG_MAX];

        for (size_t i = 0; i < n; i++) {
                const struct original *original = &list[i];
                const struct function *fn;
                enum original_fate fate = original_look_up(inv, original, &fn);
                bool under_way = original->state != ORIGINAL_BOUND;
                if (!fate_is_forgotten(fate) || (fate == FATE_TAKEN && under_way)) {
                        n_ours += fate == FATE_OURS && !under_way;
                        if (fate == FATE_UNBOUND) {
                                original_say(original, fn, fate, text, sizeof(text));
                                log_warn("%s", text);
                        }
                        list[n_left++] = *original;
                        continue;
                }
                n_old += fate == FATE_OTHER_BOOT;
                original_say(original, fn, fate, text, sizeof(text));
                if (fate == FATE_OTHER_BOOT)
                        log_debug("%s", text);
                else
                        log_info("%s", text);
                ledger_remove_originals(claims->ledger, &original->bdf, 1, NULL, NULL);
        }
        if (n_old > 0)
                log_info("the host has rebooted: %zu bindings of before are forgotten", n_old);
        if (n_ours > 0)
                log_info("%zu functions are bound by an earlier sluiced: adopted", n_ours);
        return n_left;
}

/* Was bound, and somebody has it now. */
static bool is_taken(const struct claims *claims, const struct original *original, const struct function **ret_fn, enum original_fate *ret)
{
        *ret = original_look_up(claims->world.inventory(claims->world.ctx), original, ret_fn);
        return original->state == ORIGINAL_BOUND && (*ret == FATE_TAKEN || *ret == FATE_REPLACED) &&
               !turns_any_on(claims, &original->card, 1);
}

static void forget_taken(void *ctx, const struct original *original)
{
        struct claims *claims = ctx;
        const struct function *fn;
        enum original_fate fate;
        const struct bdf bdf = original->bdf;
        char text[ERR_MSG_MAX];

        if (!is_taken(claims, original, &fn, &fate))
                return;
        original_say(original, fn, fate, text, sizeof(text));
        log_info("%s", text);
        ledger_remove_originals(claims->ledger, &bdf, 1, NULL, NULL);
}

struct taken {
        const struct claims *claims;
        bool any;
};

static void see_taken(void *ctx, const struct original *original)
{
        struct taken *taken = ctx;
        const struct function *fn;
        enum original_fate fate;

        taken->any = taken->any || is_taken(taken->claims, original, &fn, &fate);
}

void stock_forget_taken(struct claims *claims)
{
        struct taken taken = { .claims = claims };

        if (claims->stopping)
                return;
        ledger_each_original(claims->ledger, see_taken, &taken);
        if (!taken.any)
                return;
        (void)claims->world.rescan(claims->world.ctx); /* as look_before_forgetting() */
        ledger_each_original(claims->ledger, forget_taken, claims);
}

/* A state directory that was lost looks like this too: what Sluice cannot know to be its own is an administrator's. */
static void say_foreign(struct claims *claims)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        size_t n = 0;

        for (size_t i = 0; i < inv->n_functions; i++)
                n += group_on_vfio(&inv->functions[i]) && !claims_original(claims, inv->functions[i].bdf);
        if (n > 0)
                log_info("%zu functions are on a VFIO driver and no record says that Sluice bound them: they count as an administrator's",
                         n);
}

/* Kubelet does not ask again for what it has given; where it skips PreStartContainer too, this is the only word of it. */
static void say_outdated(void *ctx, const struct claim *claim)
{
        const struct claims *claims = ctx;
        const struct offer *offer = claims->world.offer(claims->world.ctx);

        for (size_t i = 0; i < claim->n_devices && claim->state != CLAIM_RELEASING; i++) { /* else its pod has gone */
                const struct claim_device *told = &claim->devices[i];
                const struct device *now = offer_device(offer, told->id);
                if (now && claim_device_is(told, now))
                        continue;
                log_warn("device %s of %s, given to %s%s%s, was %04x:%04x in IOMMU group %d then and %s: a pod that still has it must be "
                         "deleted",
                         told->id, claim->resource, *claim->pod ? claim->pod_namespace : "a pod", *claim->pod ? "/" : "", claim->pod,
                         told->vendor, told->device, told->group, now ? "is not now" : "is not there now");
        }
}

size_t stock_take(struct claims *claims, struct original **ret)
{
        size_t n = stock_all(claims, ret);

        n = take(claims, *ret, n);
        say_foreign(claims);
        ledger_each_claim(claims->ledger, say_outdated, claims);
        return n;
}
