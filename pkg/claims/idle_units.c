/* SPDX-License-Identifier: Apache-2.0 */
/* What there is to give back: the functions that Sluice bound, in units that are bound and given back together. */
#include "claims/idle_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/recover.h"

static bool has_function(const struct unit *unit, struct bdf bdf)
{
        for (size_t i = 0; i < unit->n_functions; i++)
                if (bdf_equal(unit->functions[i], bdf))
                        return true;
        return false;
}

static bool has_device(const struct unit *unit, const struct device *device)
{
        const struct claims_world *world = &unit->idle->claims->world;

        if (device->kind == DEVICE_VGPU_MDEV)
                return false;
        if (has_function(unit, device->bdf))
                return true;
        for (size_t i = 0; i < unit->n_functions && device->group >= 0; i++) {
                const struct function *fn = inventory_function(world->inventory(world->ctx), unit->functions[i]);
                if (fn && fn->group == device->group)
                        return true;
        }
        return false;
}

const struct device *unit_next_device(const struct unit *unit, size_t *at)
{
        const struct claims_world *world = &unit->idle->claims->world;
        const struct offer *offer = world->offer(world->ctx);

        while (*at < offer->n_devices) {
                const struct device *device = &offer->devices[(*at)++];
                if (has_device(unit, device))
                        return device;
        }
        return NULL;
}

struct originals {
        struct original *list;
        size_t n, cap;
};

static void add_original(void *ctx, const struct original *original)
{
        struct originals *originals = ctx;

        if (!original_is_bound_by_us(original))
                return;
        GROW(originals->list, originals->n, originals->cap);
        originals->list[originals->n++] = *original;
}

static int by_address(const void *a, const void *b)
{
        return bdf_compare(((const struct original *)a)->bdf, ((const struct original *)b)->bdf);
}

static size_t add_card(struct bdf *cards, size_t n, struct bdf card)
{
        size_t at = 0;

        while (at < n && bdf_compare(cards[at], card) < 0)
                at++;
        if (at < n && bdf_equal(cards[at], card))
                return n;
        memmove(cards + at + 1, cards + at, (n - at) * sizeof(*cards));
        cards[at] = card;
        return n + 1;
}

/* The unit of those of @all whose unit[] is @first. */
static void make_unit(struct unit *unit, struct idle *idle, const struct originals *all, const size_t *units, size_t first)
{
        const struct device *device;
        size_t at = 0;

        *unit = (struct unit){ .idle = idle };
        unit->functions = xcalloc(all->n, sizeof(*unit->functions));
        unit->cards = xcalloc(all->n, sizeof(*unit->cards));
        for (size_t i = first; i < all->n; i++)
                if (units[i] == first) {
                        unit->functions[unit->n_functions++] = all->list[i].bdf;
                        unit->turn.n_cards = add_card(unit->cards, unit->turn.n_cards, all->list[i].card);
                }
        unit->turn.cards = unit->cards;
        device = unit_next_device(unit, &at);
        if (device)
                (void)str_copy(unit->outcome.name, sizeof(unit->outcome.name), device->id);
        else
                (void)bdf_format(unit->functions[0], unit->outcome.name);
}

bool unit_is_named(const struct unit *unit, const char *name)
{
        const struct device *device;
        struct bdf bdf;

        if (bdf_parse(name, &bdf) && has_function(unit, bdf))
                return true;
        for (size_t at = 0; (device = unit_next_device(unit, &at));)
                if (streq(device->id, name))
                        return true;
        return false;
}

static bool is_wanted(const struct unit *unit, const struct idle_request *request)
{
        for (size_t i = 0; i < request->n_names; i++)
                if (unit_is_named(unit, request->names[i]))
                        return true;
        return request->n_names == 0;
}

static void unit_drop(struct unit *unit)
{
        free(unit->functions);
        free(unit->cards);
}

int idle_make_units(struct idle *idle, const struct idle_request *request, struct err *err)
{
        const struct claims_world *world = &idle->claims->world;
        struct originals all = { 0 };
        int r = 0;

        ledger_each_original(idle->claims->ledger, add_original, &all);
        if (all.n > 0)
                qsort(all.list, all.n, sizeof(*all.list), by_address);
        _cleanup_free_ size_t *units = xcalloc(all.n + 1, sizeof(*units));
        original_units(world->inventory(world->ctx), all.list, all.n, units);
        for (size_t i = 0; i < all.n && r == 0; i++) {
                struct unit *unit = &idle->units[idle->n_units];
                if (units[i] != i)
                        continue;
                make_unit(unit, idle, &all, units, i);
                if (!is_wanted(unit, request))
                        unit_drop(unit);
                else if (++idle->n_units > IDLE_UNITS_MAX)
                        r = err_say(err, E2BIG, "more than %d devices would have to be given back: name some of them", IDLE_UNITS_MAX);
        }
        free(all.list);
        return r;
}
