/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a device when its claim has ended. */
#include <errno.h>

#include "base/str.h"
#include "core/offer_priv.h"
#include "core/plan_priv.h"
#include "core/reset.h"

enum { ANSWER_MS = 2000 };

/* What the resets of a release come to; gathered before a step is written, since conditions of all come first. */
struct resets {
        struct {
                const struct function *fn;
                const char *methods; /* that it has */
                char method[RESET_LEN];
        } list[PLAN_STEPS_MAX];
        size_t n;
};

/* Functions of @group that would be reset. */
static size_t n_resets(const struct inventory *inv, int group)
{
        char method[RESET_LEN], why[160];
        size_t n = 0;

        for (size_t i = 0; group >= 0 && i < inv->n_functions; i++) {
                const struct function *fn = &inv->functions[i];
                n += fn->group == group && reset_choose(inv, fn, fn->reset_methods, method, why, sizeof(why));
        }
        return n;
}

enum reason plan_release_possible(const struct inventory *inv, const struct function *fn, enum release_policy policy, char *detail,
                                  size_t detail_size)
{
        char method[RESET_LEN];

        if (!release_resets(policy))
                return REASON_NONE;
        size_t n = n_resets(inv, fn->group);
        if (n > PLAN_FUNCTIONS_MAX) {
                str_format(detail, detail_size, "its IOMMU group has %zu functions to reset, and a plan holds %d", n, PLAN_FUNCTIONS_MAX);
                return REASON_NO_RESET;
        }
        return !reset_choose(inv, fn, fn->reset_methods, method, detail, detail_size) ? REASON_NO_RESET : REASON_NONE;
}

/* What is remembered of its reset_method: an earlier release of it was cut off. */
static const char *methods_of(const struct function *fn, const struct original *const *originals, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (bdf_equal(originals[i]->bdf, fn->bdf))
                        return reset_methods_of(fn, originals[i]->reset_methods);
        return fn->reset_methods;
}

static enum reason add_reset(const struct inventory *inv, const struct function *fn, const char *methods, bool must, struct resets *ret,
                             struct err *err)
{
        char why[160];

        for (size_t i = 0; i < ret->n; i++)
                if (ret->list[i].fn == fn)
                        return REASON_NONE;
        if (ret->n == PLAN_STEPS_MAX)
                return REASON_NONE; /* no plan holds so many: writing it says so */
        if (reset_choose(inv, fn, methods, ret->list[ret->n].method, why, sizeof(why))) {
                ret->list[ret->n].methods = methods;
                ret->list[ret->n++].fn = fn;
                return REASON_NONE;
        }
        if (!must)
                return REASON_NONE;
        (void)err_say(err, EOPNOTSUPP, "no reset: %s", why);
        return REASON_NO_RESET;
}

/* The functions of the device's group that a VM had: what is on VFIO. */
static enum reason collect_resets(const struct inventory *inv, const struct rules *rules, const struct device *device,
                                  const struct original *const *originals, size_t n_originals, struct resets *ret, struct err *err)
{
        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *fn = &inv->functions[i];
                bool own = bdf_equal(fn->bdf, device->bdf);
                if (!group_on_vfio(fn) || (!own && (fn->group < 0 || fn->group != device->group)))
                        continue;
                enum reason reason = add_reset(inv, fn, methods_of(fn, originals, n_originals),
                                               own || group_member_role(inv, rules, fn) == MEMBER_GPU, ret, err);
                if (reason)
                        return reason;
        }
        return REASON_NONE;
}

static bool has_vendor_driver(const struct device *device)
{
        return device->kind == DEVICE_VGPU_MDEV || device->kind == DEVICE_VGPU_VF;
}

static enum reason check_sight(const struct inventory *inv, const struct device *device, enum release_policy policy, struct err *err)
{
        if (policy == RELEASE_KEEP || inv->holders_visible)
                return REASON_NONE;
        (void)err_say(err, EPERM, "the release of %s ('release: %s') did not run: it cannot be seen who has it open", device->id,
                      release_policy_name(policy));
        return REASON_HOLDERS_UNKNOWN;
}

static bool belongs(const struct inventory *inv, const struct original *original, const struct device *device)
{
        const struct function *fn = inventory_function(inv, original->bdf);

        const struct broken *unread = fn ? NULL : inventory_unread(inv, original->bdf);
        int group = fn ? fn->group : unread ? unread->group : -1;

        return bdf_equal(original->bdf, device->bdf) || (group >= 0 && group == device->group) ||
               (unread && group < 0 && bdf_equal(original->card, device->card));
}

/* What is in its group has to be reset and given back with it. */
static enum reason check_group_read(const struct inventory *inv, const struct device *device, struct err *err)
{
        enum reason reason = plan_check_read(inv, device->bdf, err);

        for (size_t i = 0; !reason && i < inv->n_broken; i++) {
                struct bdf bdf;
                if (device->group >= 0 && inv->broken[i].group == device->group && bdf_parse(inv->broken[i].name, &bdf))
                        reason = plan_check_read(inv, bdf, err);
        }
        return reason;
}

static bool has_step(const struct plan *plan, enum step_kind kind, struct bdf bdf)
{
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].kind == kind && bdf_equal(plan->steps[i].bdf, bdf))
                        return true;
        return false;
}

static bool add_reset_guards(struct plan *plan, const struct function *fn)
{
        return (has_step(plan, STEP_NEED_IDENTITY, fn->bdf) || plan_add_function(plan, fn)) &&
               (has_step(plan, STEP_GUARD_NODES, fn->bdf) || plan_add(plan, (struct step){ .kind = STEP_GUARD_NODES, .bdf = fn->bdf }, ""));
}

/* Is it what the kernel would try first? Then it need not be told. */
static bool is_first(const char *method, const char *methods)
{
        return str_has_prefix(methods, method) && (methods[strlen(method)] == ' ' || methods[strlen(method)] == '\0');
}

/* By a hand that was killed. The kernel tries what is left then, and what is remembered is forgotten when it is there again. */
static bool is_narrowed(const struct function *fn, const char *methods)
{
        return !streq(fn->reset_methods, methods);
}

static bool add_reset_steps(struct plan *plan, const struct function *fn, const char *methods, const char *method)
{
        const uint32_t identity = (uint32_t)fn->vendor << 16 | fn->device;
        struct step reset = { .kind = STEP_RESET, .bdf = fn->bdf, .number = !is_first(method, methods) || is_narrowed(fn, methods) };

        (void)str_copy(reset.about, sizeof(reset.about), methods);
        return plan_add(plan, reset, method) &&
               plan_add(
                       plan,
                       (struct step){ .kind = STEP_AWAIT_ANSWER, .bdf = fn->bdf, .number = fn->is_vf ? 0 : identity, .wait_ms = ANSWER_MS },
                       "") &&
               (fn->is_vf || plan_add(plan, (struct step){ .kind = STEP_COMPARE_BARS, .bdf = fn->bdf }, ""));
}

/* The conditions of both, the resets, then what @restore does. */
static bool weave(struct plan *plan, const struct resets *resets, const struct plan *restore)
{
        uint32_t acts = 0;
        bool fits = true;

        while (acts < restore->n_steps && !step_acts(restore->steps[acts].kind))
                acts++;
        *plan = *restore; /* its cards and conditions */
        plan->n_steps = acts;
        for (size_t i = 0; i < resets->n; i++)
                fits = fits && add_reset_guards(plan, resets->list[i].fn);
        if (resets->n > 0 && restore->n_steps == 0) /* a reset waits for the device's lock, too */
                fits = fits && plan_add_wedged(plan, resets->list[0].fn->bdf);
        for (size_t i = 0; i < resets->n; i++)
                fits = fits && add_reset_steps(plan, resets->list[i].fn, resets->list[i].methods, resets->list[i].method);
        for (uint32_t i = acts; i < restore->n_steps; i++)
                fits = fits && plan_add(plan, restore->steps[i], restore->steps[i].text);
        return fits;
}

enum reason plan_release(const struct inventory *inv, const struct rules *rules, const struct device *const *devices, size_t n_devices,
                         const struct original *const *originals, size_t n_originals, struct plan *ret, struct err *err)
{
        const struct original *back[PLAN_STEPS_MAX];
        struct plan restore, plan;
        struct resets resets = { .n = 0 };
        size_t n_back = 0;

        for (size_t i = 0; i < n_devices; i++) {
                enum release_policy policy = offer_rule(rules, devices[i]->rule)->release;
                if (has_vendor_driver(devices[i]))
                        continue;
                enum reason reason = check_group_read(inv, devices[i], err); /* nor is its rule known then */
                if (reason == REASON_NONE)
                        reason = check_sight(inv, devices[i], policy, err);
                if (reason == REASON_NONE && release_resets(policy))
                        reason = collect_resets(inv, rules, devices[i], originals, n_originals, &resets, err);
                if (reason)
                        return reason;
                for (size_t k = 0; k < n_originals && release_restores(policy) && n_back < PLAN_STEPS_MAX; k++)
                        if (belongs(inv, originals[k], devices[i]))
                                back[n_back++] = originals[k];
        }
        enum reason reason = plan_restore(inv, back, n_back, &restore, err);
        if (reason)
                return reason;
        if (!weave(&plan, &resets, &restore)) {
                (void)err_say(err, E2BIG, "releasing %zu devices at once needs more than %d steps or %d cards", n_devices, PLAN_STEPS_MAX,
                              PLAN_CARDS_MAX);
                return REASON_PLAN_TOO_LARGE;
        }
        *ret = plan;
        return REASON_NONE;
}
