/* SPDX-License-Identifier: Apache-2.0 */
#include "core/recover.h"

#include "base/str.h"

static bool is_replaced(const struct original *o, const struct function *fn)
{
        return o->vendor != fn->vendor || o->device != fn->device || o->subvendor != fn->subvendor || o->subdevice != fn->subdevice;
}

static bool has_node(const struct function *fn)
{
        return fn->group_node || fn->cdev_node;
}

enum original_fate original_judge(const struct original *original, const struct function *fn, const char *boot_id)
{
        bool bound = original->state == ORIGINAL_BOUND;

        if (original_is_of_other_boot(original, boot_id))
                return FATE_OTHER_BOOT;
        if (!fn)
                return FATE_GONE;
        if (is_replaced(original, fn))
                return FATE_REPLACED;
        if (streq(fn->driver, original->target))
                return bound || has_node(fn) ? FATE_OURS : FATE_HALF;
        if (!*fn->driver)
                return bound ? FATE_UNBOUND : FATE_HALF;
        return !bound && streq(fn->driver, original->driver) ? FATE_HALF : FATE_TAKEN;
}

enum original_fate original_look_up(const struct inventory *inv, const struct original *original, const struct function **ret_fn)
{
        *ret_fn = inventory_function(inv, original->bdf);
        enum original_fate fate = original_judge(original, *ret_fn, inv->boot_id);

        return fate == FATE_GONE && inventory_unread(inv, original->bdf) ? FATE_UNREAD : fate;
}

void original_say(const struct original *original, const struct function *fn, enum original_fate fate, char *out, size_t size)
{
        char bdf[BDF_TEXT_MAX];

        bdf_format(original->bdf, bdf);
        if (!original_is_bound_by_us(original)) {
                str_format(out, size, "%s was on %s when Sluice set attributes of it, and that has changed: %s", bdf, original->target,
                           fate_is_forgotten(fate) ? "they are forgotten" : "they are given back when its claim has ended");
                return;
        }
        switch (fate) {
        case FATE_OTHER_BOOT:
                str_format(out, size, "%s was bound to %s by Sluice before the host rebooted: that is forgotten", bdf, original->target);
                return;
        case FATE_GONE:
                str_format(out, size, "%s was bound to %s by Sluice and is gone from the host: that is forgotten", bdf, original->target);
                return;
        case FATE_REPLACED:
                str_format(out, size, "%s is %04x:%04x now, and what Sluice bound to %s was %04x:%04x: another device is left alone", bdf,
                           fn->vendor, fn->device, original->target, original->vendor, original->device);
                return;
        case FATE_TAKEN:
                str_format(out, size, "%s was bound to %s by Sluice and is on %s now: it is left to whoever did that", bdf,
                           original->target, fn->driver);
                return;
        case FATE_UNBOUND:
                str_format(out, size, "%s was bound to %s by Sluice and has no driver now: the next request for it binds it again", bdf,
                           original->target);
                return;
        case FATE_OURS:
        case FATE_HALF:
        case FATE_UNREAD:
                break;
        }
        str_format(out, size, "%s was being %s %s when the last sluiced or its hand ended", bdf,
                   original->state == ORIGINAL_RESTORING ? "given back by" : "bound to",
                   original->state == ORIGINAL_RESTORING ? "Sluice" : original->target);
}

static int group_of(const struct inventory *inv, const struct original *original)
{
        const struct function *fn = inventory_function(inv, original->bdf);

        return fn ? fn->group : -1;
}

void original_units(const struct inventory *inv, const struct original *originals, size_t n, size_t *ret)
{
        for (size_t i = 0; i < n; i++) {
                int group = group_of(inv, &originals[i]);
                ret[i] = i;
                for (size_t k = 0; k < i && group >= 0 && ret[i] == i; k++)
                        if (group == group_of(inv, &originals[k]))
                                ret[i] = ret[k];
        }
}
