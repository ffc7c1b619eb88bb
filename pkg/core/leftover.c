/* SPDX-License-Identifier: Apache-2.0 */
#include "core/leftover.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/group.h"
#include "core/recover.h"

static const struct {
        const char *word, *remedy;
        bool counts;
} kinds[] = {
#define X(id, word, counts, remedy) { word, remedy, counts },
        LEFTOVER_TABLE(X)
#undef X
};

const char *leftover_word(enum leftover_kind kind)
{
        return kinds[kind].word;
}

const char *leftover_remedy(enum leftover_kind kind)
{
        return kinds[kind].remedy;
}

bool leftover_counts(enum leftover_kind kind)
{
        return kinds[kind].counts;
}

void leftovers_add(struct leftovers *leftovers, enum leftover_kind kind, const char *what, const char *fmt, ...)
{
        char text[LEFTOVER_TEXT_MAX];
        va_list ap;

        if (leftovers->n == LEFTOVERS_MAX) {
                leftovers->n_more++;
                return;
        }
        va_start(ap, fmt);
        (void)vsnprintf(text, sizeof(text), fmt, ap);
        va_end(ap);
        GROW(leftovers->list, leftovers->n, leftovers->cap);
        struct leftover *l = &leftovers->list[leftovers->n++];
        l->kind = kind;
        str_clean(l->what, sizeof(l->what), what);
        str_clean(l->text, sizeof(l->text), text);
}

void leftovers_done(struct leftovers *leftovers)
{
        free(leftovers->list);
        *leftovers = (struct leftovers){ 0 };
}

size_t leftovers_counted(const struct leftovers *leftovers)
{
        size_t n = leftovers->n_more;

        for (size_t i = 0; i < leftovers->n; i++)
                n += leftover_counts(leftovers->list[i].kind);
        return n;
}

static const char *or_none(const char *s)
{
        return *s ? s : "none";
}

static void add_power(struct leftovers *leftovers, const char *bdf, const char *attribute, const char *before, const char *now)
{
        if (*before && *now && !streq(before, now))
                leftovers_add(leftovers, LEFTOVER_POWER, bdf, "%s says %s, and said %s before a claim", attribute, now, before);
}

static void add_binding(struct leftovers *leftovers, const char *bdf, const struct original *o, const struct function *fn,
                        const char *override)
{
        if (streq(fn->driver, o->target))
                leftovers_add(leftovers, LEFTOVER_BOUND, bdf, "on %s, driver before: %s, driver_override before: %s", fn->driver,
                              or_none(o->driver), or_none(o->driver_override));
        else if (!*fn->driver && *o->driver)
                leftovers_add(leftovers, LEFTOVER_BOUND, bdf, "on no driver; Sluice bound it to %s, driver before: %s", o->target,
                              o->driver);
        else if (override && streq(override, o->target) && !streq(o->driver_override, o->target))
                leftovers_add(leftovers, LEFTOVER_OVERRIDE, bdf, "driver_override says %s, as Sluice set it, and said %s before", override,
                              or_none(o->driver_override));
}

void leftovers_of_original(struct leftovers *leftovers, const struct inventory *inv, const struct original *original, const char *override)
{
        const struct function *fn;
        enum original_fate fate = original_look_up(inv, original, &fn);
        char bdf[BDF_TEXT_MAX];

        bdf_format(original->bdf, bdf);
        if (fate == FATE_UNREAD) {
                leftovers_add(leftovers, LEFTOVER_UNREADABLE, bdf, "originals: it may be on %s still: %s", original->target,
                              inventory_unread(inv, original->bdf)->detail);
                return;
        }
        if (fate == FATE_OTHER_BOOT || fate == FATE_GONE || fate == FATE_REPLACED) {
                leftovers_add(leftovers, LEFTOVER_RECORD, bdf, "originals: of a binding that is no more");
                return;
        }
        size_t n = leftovers->n;
        if (original_is_bound_by_us(original))
                add_binding(leftovers, bdf, original, fn, override);
        add_power(leftovers, bdf, POWER_CONTROL, original->power_control, fn->power_control);
        add_power(leftovers, bdf, POWER_D3COLD, original->d3cold_allowed, fn->d3cold_allowed);
        if (*original->reset_methods && *fn->reset_methods && !streq(original->reset_methods, fn->reset_methods))
                leftovers_add(leftovers, LEFTOVER_RESET_METHOD, bdf,
                              "reset_method says %s, and said %s before a release that was cut short", fn->reset_methods,
                              original->reset_methods);
        if (leftovers->n == n)
                leftovers_add(leftovers, LEFTOVER_RECORD, bdf, "originals: it is on %s again", or_none(fn->driver));
}

void leftovers_of_others(struct leftovers *leftovers, const struct inventory *inv, const struct original *originals, size_t n)
{
        char bdf[BDF_TEXT_MAX];

        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *fn = &inv->functions[i];
                bool known = !group_on_vfio(fn);
                for (size_t k = 0; k < n && !known; k++)
                        known = bdf_equal(originals[k].bdf, fn->bdf);
                if (!known)
                        leftovers_add(leftovers, LEFTOVER_FOREIGN, bdf_format(fn->bdf, bdf), "on %s", fn->driver);
        }
}
