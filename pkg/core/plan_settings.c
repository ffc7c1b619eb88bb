/* SPDX-License-Identifier: Apache-2.0 */
/* What is set of a function for its claim, and what is given back: power management, and reset_method, which a release that was cut off
 * has left narrowed. Kernel facts: a VFIO driver writes power/control itself, "auto" when it takes a function and
 * "on" when it leaves it (drivers/vfio/pci/vfio_pci_core.c, pm_runtime_allow and pm_runtime_forbid, since 5.19), and no driver
 * writes d3cold_allowed. */
#include <errno.h>

#include "base/str.h"
#include "core/plan_priv.h"
#include "core/reset.h"

static bool add(struct plan *plan, struct bdf bdf, const char *attribute, const char *value)
{
        struct step step = { .kind = STEP_SETTING, .bdf = bdf };

        (void)str_copy(step.about, sizeof(step.about), attribute);
        return plan_add(plan, step, value);
}

static bool needs_control(const struct function *fn, bool to_bind)
{
        return *fn->power_control && (to_bind || !streq(fn->power_control, "on"));
}

static bool needs_d3cold(const struct function *fn)
{
        return *fn->d3cold_allowed && !streq(fn->d3cold_allowed, "0");
}

bool plan_needs_power(const struct function *fn, bool to_bind)
{
        return needs_control(fn, to_bind) || needs_d3cold(fn);
}

bool plan_add_power(struct plan *plan, const struct function *fn, bool to_bind)
{
        return (!needs_control(fn, to_bind) || add(plan, fn->bdf, POWER_CONTROL, "on")) &&
               (!needs_d3cold(fn) || add(plan, fn->bdf, POWER_D3COLD, "0"));
}

/* What became of power/control when it lost its driver was that driver's doing. */
static bool owes_control(const struct original *original, const struct function *fn)
{
        return *original->power_control && streq(fn->driver, original->target);
}

static bool owes_methods(const struct original *original, const struct function *fn)
{
        return !streq(reset_methods_of(fn, original->reset_methods), fn->reset_methods);
}

static bool owes(const struct original *original, const struct function *fn)
{
        return owes_control(original, fn) || *original->d3cold_allowed || owes_methods(original, fn);
}

bool plan_add_settings_back(struct plan *plan, const struct original *original, const struct function *fn)
{
        return (!owes_control(original, fn) || add(plan, fn->bdf, POWER_CONTROL, original->power_control)) &&
               (!*original->d3cold_allowed || add(plan, fn->bdf, POWER_D3COLD, original->d3cold_allowed)) &&
               (!owes_methods(original, fn) || add(plan, fn->bdf, "reset_method", original->reset_methods));
}

enum reason plan_settings_back(const struct inventory *inv, const struct original *const *originals, size_t n_originals, struct plan *ret,
                               struct err *err)
{
        struct plan plan = { 0 };
        bool fits = true;

        for (size_t i = 0; i < n_originals; i++) {
                const struct function *fn = inventory_function(inv, originals[i]->bdf);
                enum reason reason = fn ? REASON_NONE : plan_check_read(inv, originals[i]->bdf, err);
                if (reason)
                        return reason;
                if (fn && owes(originals[i], fn))
                        fits = fits && plan_add_function(&plan, fn);
        }
        for (size_t i = 0; i < n_originals; i++) {
                const struct function *fn = inventory_function(inv, originals[i]->bdf);
                if (fn)
                        fits = fits && plan_add_settings_back(&plan, originals[i], fn);
        }
        if (!fits) {
                (void)err_say(err, E2BIG, "giving back what was set of %zu functions at once needs more than %d steps or %d cards",
                              n_originals, PLAN_STEPS_MAX, PLAN_CARDS_MAX);
                return REASON_PLAN_TOO_LARGE;
        }
        *ret = plan;
        return REASON_NONE;
}
