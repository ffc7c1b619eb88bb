/* SPDX-License-Identifier: Apache-2.0 */
/* The way to VFIO, and what is asked before a device is given. */
#include <errno.h>

#include "base/str.h"
#include "core/plan_priv.h"
#include "core/vfio_driver.h"

/* ---- collecting what is to be bound ---- */

struct members {
        const struct inventory *inv;
        bool load_modules;
        const struct function *list[PLAN_STEPS_MAX];
        bool persistence_off[PLAN_STEPS_MAX]; /* beside it: its device's rule says so */
        size_t n;
        const struct function *powers[PLAN_STEPS_MAX]; /* that are to be kept awake; of @list, or bound already */
        size_t n_powers;
};

static bool has_member(const struct members *members, const struct function *fn)
{
        for (size_t i = 0; i < members->n; i++)
                if (members->list[i] == fn)
                        return true;
        return false;
}

static bool is_bound(const struct function *fn)
{
        return group_on_vfio(fn);
}

/* GPU and companions: those on a host driver must be bound for the group to be viable. When that happens, those without a
 * driver are bound along, so that no module that is loaded later takes them out from under a VM. */
static void collect_group(const struct inventory *inv, const struct rules *rules, const struct function *gpu, bool persistence_off,
                          struct members *ret)
{
        bool needed = !is_bound(gpu);

        for (size_t i = 0; i < inv->n_functions && !needed; i++) {
                const struct function *fn = &inv->functions[i];
                needed = fn->group == gpu->group && group_member_role(inv, rules, fn) != MEMBER_BRIDGE && !is_bound(fn) && fn->driver[0] &&
                         !streq(fn->driver, "pci-stub");
        }
        for (size_t i = 0; i < inv->n_functions && needed; i++) {
                const struct function *fn = &inv->functions[i];
                enum member_role role = group_member_role(inv, rules, fn);
                if (fn->group != gpu->group || is_bound(fn) || (fn != gpu && streq(fn->driver, "pci-stub")))
                        continue;
                if ((fn == gpu || role == MEMBER_GPU || role == MEMBER_COMPANION) && !has_member(ret, fn) && ret->n < PLAN_STEPS_MAX) {
                        ret->persistence_off[ret->n] = persistence_off && streq(fn->driver, "nvidia") && !fn->is_vf;
                        ret->list[ret->n++] = fn;
                }
        }
}

/* After collect_group(): of the group that will be on VFIO then. */
static void collect_powers(const struct inventory *inv, const struct rules *rules, const struct function *gpu, struct members *ret)
{
        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *fn = &inv->functions[i];
                bool to_bind = has_member(ret, fn), known = false;
                if (fn->group != gpu->group || (!to_bind && (!is_bound(fn) || !*fn->driver)) || !plan_needs_power(fn, to_bind))
                        continue;
                enum member_role role = group_member_role(inv, rules, fn);
                for (size_t k = 0; k < ret->n_powers; k++)
                        known = known || ret->powers[k] == fn;
                if (!known && (fn == gpu || role == MEMBER_GPU || role == MEMBER_COMPANION) && ret->n_powers < PLAN_STEPS_MAX)
                        ret->powers[ret->n_powers++] = fn;
        }
}

static enum reason refuse(struct err *err, int code, enum reason reason, const struct device *device, const char *detail)
{
        (void)err_say(err, code, "device %s cannot be bound: %s%s%s", device->id, reason_sentence(reason), *detail ? ": " : "", detail);
        return reason;
}

static enum reason collect_device(const struct inventory *inv, const struct rules *rules, const struct device *device, bool claim,
                                  struct members *ret, struct err *err)
{
        enum group_rule group_rule = GROUP_WITHHOLD;
        bool persistence_off = false, power_on = false;

        const struct function *gpu = inventory_function(inv, device->bdf);
        if (!gpu)
                return refuse(err, ENODEV, REASON_GONE, device, "");
        if (device->rule > 0 && device->rule <= rules->n_rules) {
                group_rule = rules->rules[device->rule - 1].group;
                persistence_off = rules->rules[device->rule - 1].persistence == PERSISTENCE_TURN_OFF;
                power_on = claim && rules->rules[device->rule - 1].power == POWER_ON;
        }
        /* The offer was made a moment ago; the host may have changed since. */
        struct group_verdict verdict = group_judge(inv, rules, gpu, group_rule, false);
        if (verdict.reason)
                return refuse(err, EPERM, verdict.reason, device, verdict.detail);
        size_t before = ret->n;
        collect_group(inv, rules, gpu, persistence_off, ret);
        if (ret->n > before && device->bind == BIND_NEVER)
                return refuse(err, EPERM, REASON_NOT_BOUND, device, "its rule says 'bind: never'");
        if (power_on)
                collect_powers(inv, rules, gpu, ret);
        return REASON_NONE;
}

/* May this member be taken from its driver at all? */
static enum reason check_member(const struct inventory *inv, const struct function *fn, bool load_modules, struct err *err)
{
        char target[DRIVER_LEN];

        if (fn->override_known && fn->driver_override[0] && !vfio_driver_is(fn->driver_override)) {
                (void)err_say(err, EPERM, "%s has set driver_override of " BDF_FMT " to %s",
                              *fn->override_owner ? fn->override_owner : "somebody", BDF_ARGS(fn->bdf), fn->driver_override);
                return REASON_FOREIGN_OWNER;
        }
        /* Of vfio-pci itself the hand says so, since it may have been loaded since. */
        if (!vfio_driver_pick(inv, fn, target) && !load_modules && !streq(target, VFIO_PCI)) {
                (void)err_say(err, ENODEV, "the kernel has the VFIO driver %s for " BDF_FMT ", and it is not loaded", target,
                              BDF_ARGS(fn->bdf));
                return REASON_VARIANT_MISSING;
        }
        if (!inv->holders_visible && fn->driver[0] && !fn->unbind_lock) {
                (void)err_say(err, EPERM, BDF_FMT " is on %s and it cannot be seen who has it open", BDF_ARGS(fn->bdf), fn->driver);
                return REASON_HOLDERS_UNKNOWN;
        }
        return REASON_NONE;
}

/* ---- writing the plan ---- */

/* nvidia-persistenced has the node open that is looked at next. */
static bool add_guards(struct plan *plan, const struct function *fn, bool persistence_off)
{
        return plan_add_function(plan, fn) &&
               (!persistence_off || plan_add(plan, (struct step){ .kind = STEP_PERSISTENCE_OFF, .bdf = fn->bdf }, "")) &&
               (!fn->driver[0] || plan_add(plan, (struct step){ .kind = STEP_GUARD_NODES, .bdf = fn->bdf }, ""));
}

static bool add_actions(struct plan *plan, const struct inventory *inv, const struct function *fn)
{
        char target[DRIVER_LEN];

        (void)vfio_driver_pick(inv, fn, target);
        return plan_add(plan, (struct step){ .kind = STEP_OVERRIDE, .bdf = fn->bdf }, target) &&
               (!fn->driver[0] ||
                plan_add(plan, (struct step){ .kind = STEP_UNBIND, .bdf = fn->bdf, .wait_ms = READ_BACK_MS }, fn->driver)) &&
               plan_add(plan, (struct step){ .kind = STEP_PROBE, .bdf = fn->bdf, .wait_ms = READ_BACK_MS }, "") &&
               plan_add(plan, (struct step){ .kind = STEP_AWAIT_DRIVER, .bdf = fn->bdf, .wait_ms = READ_BACK_MS }, target);
}

/* One node per group, however many members were bound. */
static bool add_nodes(struct plan *plan, const struct members *members)
{
        for (size_t i = 0; i < members->n; i++) {
                bool first = true;
                for (size_t k = 0; k < i; k++)
                        first = first && members->list[k]->group != members->list[i]->group;
                if (first && !plan_add(plan,
                                       (struct step){ .kind = STEP_AWAIT_NODE,
                                                      .bdf = members->list[i]->bdf,
                                                      .number = (uint32_t)members->list[i]->group,
                                                      .wait_ms = READ_BACK_MS },
                                       ""))
                        return false;
        }
        return true;
}

/* Each driver once. The steps that ask for one are the plan's first. */
static bool add_driver(struct plan *plan, const struct members *members, const struct function *fn)
{
        char target[DRIVER_LEN];

        bool there = vfio_driver_pick(members->inv, fn, target);
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (streq(plan->steps[i].text, target))
                        return true;
        return (there || !members->load_modules || plan_add(plan, (struct step){ .kind = STEP_LOAD_MODULE, .bdf = fn->bdf }, target)) &&
               plan_add(plan, (struct step){ .kind = STEP_NEED_DRIVER }, target);
}

/* All conditions and looks before the first act; among them persistence mode and NVIDIA's lock, which change something, if little. */
static bool write_plan(struct plan *plan, const struct members *members)
{
        bool fits = true;

        for (size_t i = 0; i < members->n; i++)
                fits = fits && add_driver(plan, members, members->list[i]);
        for (size_t i = 0; i < members->n; i++)
                fits = fits && add_guards(plan, members->list[i], members->persistence_off[i]);
        for (size_t i = 0; i < members->n_powers; i++)
                fits = fits && (has_member(members, members->powers[i]) || plan_add_function(plan, members->powers[i]));
        fits = fits && plan_add_wedged(plan, members->n > 0 ? members->list[0]->bdf : members->powers[0]->bdf);
        for (size_t i = 0; i < members->n; i++)
                if (members->list[i]->unbind_lock && members->list[i]->driver[0])
                        fits = fits && plan_add(plan, (struct step){ .kind = STEP_GUARD_UNBIND_LOCK, .bdf = members->list[i]->bdf }, "");
        for (size_t i = 0; i < members->n; i++)
                fits = fits && add_actions(plan, members->inv, members->list[i]);
        fits = fits && add_nodes(plan, members);
        for (size_t i = 0; i < members->n_powers; i++)
                fits = fits && plan_add_power(plan, members->powers[i], has_member(members, members->powers[i]));
        return fits;
}

/* An mdev's nodes are its group's, not its parent's. */
static void add_look_at_nodes(struct plan *plan, enum step_kind kind, const struct device *device)
{
        bool mdev = device->kind == DEVICE_VGPU_MDEV;

        (void)plan_add(plan, (struct step){ .kind = kind, .bdf = device->bdf, .number = mdev ? (uint32_t)device->group : 0 },
                       mdev ? "group" : "");
}

void plan_ask_holders(const struct device *const *devices, size_t n_devices, struct plan *ret)
{
        struct plan plan = { 0 };

        for (size_t i = 0; i < n_devices; i++)
                add_look_at_nodes(&plan, STEP_GUARD_NODES, devices[i]);
        *ret = plan;
}

void plan_list_holders(const struct device *device, struct plan *ret)
{
        struct plan plan = { 0 };

        add_look_at_nodes(&plan, STEP_LIST_HOLDERS, device);
        *ret = plan;
}

/* To be bound, or to have their power set. */
static size_t n_functions(const struct members *members)
{
        size_t n = members->n;

        for (size_t i = 0; i < members->n_powers; i++)
                n += !has_member(members, members->powers[i]);
        return n;
}

/* Apart, so that a request with nothing to bind does not pay for a plan's size. */
static enum reason make_plan(const struct members *members, struct plan *ret, struct err *err)
{
        struct plan plan = { 0 };

        size_t n = n_functions(members);
        if (n > PLAN_FUNCTIONS_MAX || !write_plan(&plan, members)) {
                (void)err_say(err, E2BIG, "it takes the binding of %zu functions at once, and a plan holds %d, of as many cards", n,
                              PLAN_FUNCTIONS_MAX);
                return REASON_PLAN_TOO_LARGE;
        }
        *ret = plan;
        return REASON_NONE;
}

enum reason plan_bind(const struct inventory *inv, const struct rules *rules, const struct device *const *devices, size_t n_devices,
                      bool claim, struct plan *ret, struct err *err)
{
        struct members members = { .inv = inv, .load_modules = rules->load_modules };

        for (size_t i = 0; i < n_devices; i++) {
                if (devices[i]->kind == DEVICE_VGPU_MDEV || devices[i]->kind == DEVICE_VGPU_VF)
                        continue;
                enum reason reason = collect_device(inv, rules, devices[i], claim, &members, err);
                if (reason)
                        return reason;
        }
        for (size_t i = 0; i < members.n; i++) {
                enum reason reason = check_member(inv, members.list[i], rules->load_modules, err);
                if (reason)
                        return reason;
        }
        if (members.n + members.n_powers > 0)
                return make_plan(&members, ret, err);
        ret->n_steps = ret->n_cards = 0;
        return REASON_NONE;
}
