/* SPDX-License-Identifier: Apache-2.0 */
#include "core/claim.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/group.h"

const char *claim_owner_name(enum claim_owner owner)
{
        static const char *const names[] = {
                [OWNER_KUBELET] = "kubelet",
                [OWNER_NODE_API] = "node-api",
                [OWNER_RECONCILE] = "reconcile",
        };

        return names[owner];
}

const char *claim_state_name(enum claim_state state)
{
        static const char *const names[] = {
                [CLAIM_PREPARING] = "preparing",
                [CLAIM_ANSWERED] = "answered",
                [CLAIM_SEEN] = "seen",
                [CLAIM_RELEASING] = "releasing",
        };

        return names[state];
}

const char *original_state_name(enum original_state state)
{
        static const char *const names[] = {
                [ORIGINAL_BINDING] = "binding",
                [ORIGINAL_BOUND] = "bound",
                [ORIGINAL_RESTORING] = "restoring",
        };

        return names[state];
}

void claim_key_of_kubelet(const char *device, char out[static CLAIM_KEY_MAX])
{
        str_format(out, CLAIM_KEY_MAX, "kubelet:%s", device);
}

void claim_copy(struct claim *to, const struct claim *from)
{
        *to = *from;
        to->devices = xmemdup(from->devices, from->n_devices * sizeof(*from->devices));
}

void claim_done(struct claim *claim)
{
        free(claim->devices);
        claim->devices = NULL;
        claim->n_devices = 0;
}

const struct claim_device *claim_device(const struct claim *claim, const char *id)
{
        for (size_t i = 0; i < claim->n_devices; i++)
                if (streq(claim->devices[i].id, id))
                        return &claim->devices[i];
        return NULL;
}

bool claim_device_is(const struct claim_device *told, const struct device *now)
{
        return told->group == now->group && told->vendor == now->vendor && told->device == now->device_id;
}

static bool is_of(const struct original *original, const struct function *fn)
{
        return original->vendor == fn->vendor && original->device == fn->device && original->subvendor == fn->subvendor &&
               original->subdevice == fn->subdevice;
}

bool original_is_of_other_boot(const struct original *original, const char *boot_id)
{
        return *boot_id && *original->boot_id && !streq(original->boot_id, boot_id);
}

static bool is_ours_still(const struct original *former, const struct function *fn, const char *boot_id, const char *target)
{
        return !original_is_of_other_boot(former, boot_id) && streq(former->target, target) && is_of(former, fn) &&
               (!*fn->driver || streq(fn->driver, former->driver)) &&
               (!fn->override_known || streq(fn->driver_override, target) || streq(fn->driver_override, former->driver_override));
}

bool original_is_bound_by_us(const struct original *original)
{
        return !streq(original->driver, original->target);
}

static struct original of_function(const struct function *fn, const char *boot_id, const char *target)
{
        struct original made = {
                .bdf = fn->bdf,
                .card = card_of(fn),
                .state = ORIGINAL_BINDING,
                .vendor = fn->vendor,
                .device = fn->device,
                .subvendor = fn->subvendor,
                .subdevice = fn->subdevice,
                .override_known = fn->override_known,
        };

        (void)str_copy(made.driver, sizeof(made.driver), fn->driver);
        (void)str_copy(made.driver_override, sizeof(made.driver_override), fn->driver_override);
        (void)str_copy(made.target, sizeof(made.target), target);
        (void)str_copy(made.boot_id, sizeof(made.boot_id), boot_id);
        return made;
}

static struct original former_of(const struct original *former, const char *boot_id)
{
        struct original kept = *former;

        if (!*kept.boot_id)
                (void)str_copy(kept.boot_id, sizeof(kept.boot_id), boot_id);
        return kept;
}

void original_make(const struct original *former, const struct function *fn, const char *boot_id, const char *target, struct original *ret)
{
        if (former && is_ours_still(former, fn, boot_id, target)) {
                *ret = former_of(former, boot_id);
                ret->state = ORIGINAL_BINDING;
                return;
        }
        *ret = of_function(fn, boot_id, target);
}

void original_keep(const struct original *former, const struct function *fn, const char *boot_id, struct original *ret)
{
        if (former && !original_is_of_other_boot(former, boot_id) && is_of(former, fn) && streq(former->target, fn->driver)) {
                *ret = former_of(former, boot_id);
                return;
        }
        *ret = of_function(fn, boot_id, fn->driver);
        ret->state = ORIGINAL_BOUND;
}

/* What was remembered first is what was before. A VFIO driver says "auto" when it takes a function (drivers/vfio/pci/
 * vfio_pci_core.c, pm_runtime_allow); before 5.19 it does not, and "auto" then changes nothing: the function stays in use. */
void original_note_power(struct original *original, const struct function *fn, const char *attribute)
{
        if (streq(attribute, POWER_D3COLD) && !*original->d3cold_allowed)
                (void)str_copy(original->d3cold_allowed, sizeof(original->d3cold_allowed), fn->d3cold_allowed);
        if (streq(attribute, POWER_CONTROL) && !*original->power_control)
                (void)str_copy(original->power_control, sizeof(original->power_control), group_on_vfio(fn) ? fn->power_control : "auto");
}
