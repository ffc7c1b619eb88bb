/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/narrate.h"

#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "core/group.h"

struct telling {
        const struct inventory *old, *now;
        bool (*ours)(void *ctx, struct bdf card);
        void *ctx;
};

/* That a function comes or goes is never ours. */
static bool is_ours(const struct telling *telling, const char *name)
{
        struct bdf bdf;

        if (!bdf_parse(name, &bdf) || !inventory_function(telling->old, bdf))
                return false;
        const struct function *fn = inventory_function(telling->now, bdf);
        return fn && telling->ours(telling->ctx, card_of(fn));
}

static void say_change(void *ctx, const char *name, const char *what)
{
        if (is_ours(ctx, name))
                log_debug("host: %s %s", name, what);
        else
                log_info("host: %s %s", name, what);
}

void narrate_inventory(const struct inventory *old, const struct inventory *now, bool (*ours)(void *ctx, struct bdf card), void *ctx)
{
        if (!old) {
                log_info("host: %zu PCI functions, %zu vGPU instances, %zu unreadable, IOMMU %s", now->n_functions, now->n_instances,
                         now->n_broken, now->iommu ? "on" : "off");
                for (size_t i = 0; i < now->n_broken; i++)
                        log_warn("host: %s left out: %s (%s): %s", now->broken[i].name, reason_sentence(now->broken[i].reason),
                                 reason_word(now->broken[i].reason), now->broken[i].detail);
                return;
        }
        struct telling telling = { .old = old, .now = now, .ours = ours, .ctx = ctx };
        if (!inventory_equal(old, now))
                inventory_diff(old, now, say_change, &telling);
}

static bool same(const struct device *a, const struct device *b)
{
        return a->state == b->state && a->reason == b->reason && streq(a->resource, b->resource) && streq(a->detail, b->detail) &&
               memcmp(a->also, b->also, sizeof(a->also)) == 0;
}

static void say_device(const struct device *d)
{
        const char *in = d->resource[0] ? " in " : "";
        const char *colon = d->detail[0] ? ": " : "";
        _cleanup_strbuf_ struct strbuf also = { 0 };

        for (size_t i = 0; i < WARNINGS_MAX && d->also[i]; i++)
                strbuf_addf(&also, "; %s (%s)", reason_sentence(d->also[i]), reason_word(d->also[i]));
        if (d->reason == REASON_NONE)
                log_info("device %s%s%s: %s", d->id, in, d->resource, device_state_name(d->state));
        else
                log_write(d->state == DEVICE_UNHEALTHY ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "device %s%s%s: %s: %s (%s)%s%s%s", d->id, in,
                          d->resource, device_state_name(d->state), reason_sentence(d->reason), reason_word(d->reason), colon, d->detail,
                          also.text ? also.text : "");
}

void narrate_offer(const struct offer *old, const struct offer *now)
{
        for (size_t i = 0; i < now->n_devices; i++) {
                const struct device *d = &now->devices[i];
                const struct device *before = old ? offer_device(old, d->id) : NULL;
                /* At the first look healthy devices are said by their pool. */
                if (before ? !same(before, d) : (old || d->reason != REASON_NONE))
                        say_device(d);
        }
        for (size_t i = 0; i < now->n_pools; i++)
                if (!old || !offer_pool(old, now->pools[i].resource))
                        log_info("pool %s: %zu devices", now->pools[i].resource, now->pools[i].n_devices);
}
