/* SPDX-License-Identifier: Apache-2.0 */
/* One device: may it be handed out, and is it fit right now?
 *
 * A case passes a list of checks; the first that objects names the reason. The order is the explanation's order: what an
 * operator decided, what the device is, what the hardware says (group), what binding says. A group that is hopeless comes
 * before "not bound": whoever binds the device would only find out afterwards. */
#include "core/offer_priv.h"
#include "core/plan.h"

#include "base/str.h"
#include "core/group.h"
#include "core/naming.h"
#include "core/vfio_driver.h"

struct judgement {
        const struct inventory *inv;
        const struct rules *rules;
        const struct function *fn;
        const struct instance *instance; /* NULL for a function */
        unsigned number;                 /* of the rule, 0 = none matches */
        const struct rule *rule;
        bool by_address;
        struct group_verdict group;
        enum device_kind kind;
};

/* REASON_NONE, or the objection; @detail may be filled then. */
typedef enum reason check_fn(const struct judgement *j, char detail[static DETAIL_MAX]);

const struct rule *offer_rule(const struct rules *rules, unsigned number)
{
        static const struct rule implicit = {
                .bind = BIND_NEVER, .mode = MODE_VFIO, .group = GROUP_WITHHOLD, .topology = TOPOLOGY_DROP, .prefer = PREFER_PACK
        };

        return number == 0 || number == RULE_NONE ? &implicit : &rules->rules[number - 1];
}

bool judge_is_candidate(const struct rules *rules, const struct function *fn)
{
        unsigned base = fn->class_code >> 16;

        return base == 0x03 || base == 0x12 || rules_class_is_gpu(rules, fn->class_code) || rules_match(rules, fn, NULL, NULL) > 0;
}

/* ---- checks: what an operator decided, what the device is ---- */

static enum reason check_denied(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (!j->rule->deny)
                return REASON_NONE;
        str_format(detail, DETAIL_MAX, "rule %u", j->number);
        return REASON_DENIED;
}

static enum reason check_bmc(const struct judgement *j, char detail[static DETAIL_MAX])
{
        (void)detail;
        return group_is_bmc(j->fn) && !j->by_address ? REASON_BMC_DISPLAY : REASON_NONE;
}

static enum reason check_selected(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (j->number > 0)
                return REASON_NONE;
        if (!rules_class_is_gpu(j->rules, j->fn->class_code)) {
                str_format(detail, DETAIL_MAX, "class %04x", j->fn->class_code >> 8);
                return REASON_NOT_A_GPU;
        }
        if (!j->rules->implicit)
                return REASON_NO_RULE;
        if (naming_prefix(j->fn->vendor))
                return REASON_NONE;
        str_format(detail, DETAIL_MAX, "vendor %04x", j->fn->vendor);
        return REASON_UNKNOWN_VENDOR;
}

static enum reason check_host_display(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (!group_is_host_display(j->fn) || j->by_address)
                return REASON_NONE;
        str_format(detail, DETAIL_MAX, "%s", j->fn->boot_vga == 1 ? "boot VGA" : "firmware framebuffer");
        return REASON_HOST_DISPLAY;
}

static enum reason check_no_vfs(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (j->fn->n_vfs == 0)
                return REASON_NONE;
        str_format(detail, DETAIL_MAX, "%u %s", j->fn->n_vfs, j->fn->n_vfs == 1 ? "VF" : "VFs");
        return REASON_PF_HAS_VFS;
}

static enum reason check_no_mdev_parent(const struct judgement *j, char detail[static DETAIL_MAX])
{
        unsigned n = 0;

        if (!j->fn->mdev_parent)
                return REASON_NONE;
        for (size_t i = 0; i < j->inv->n_instances; i++)
                n += bdf_equal(j->inv->instances[i].parent, j->fn->bdf);
        str_format(detail, DETAIL_MAX, "%u %s", n, n == 1 ? "instance" : "instances");
        return REASON_IS_MDEV_PARENT;
}

static enum reason check_vgpu_type(const struct judgement *j, char detail[static DETAIL_MAX])
{
        (void)detail;
        return j->kind == DEVICE_VGPU_VF && j->fn->vgpu_type == 0 ? REASON_NO_VGPU_TYPE : REASON_NONE;
}

static enum reason check_domain(const struct judgement *j, char detail[static DETAIL_MAX])
{
        (void)detail;
        return bdf_domain_is_wide(j->fn->bdf) ? REASON_DOMAIN_WIDE : REASON_NONE;
}

/* ---- checks: the group ---- */

static enum reason check_group(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (j->group.reason != REASON_NONE)
                str_format(detail, DETAIL_MAX, "%s", j->group.detail);
        return j->group.reason;
}

/* Why @other may not go along with the first GPU of its group; NULL = it may. */
static const char *objection_to(const struct judgement *j, const struct function *other)
{
        const struct rule *rule = offer_rule(j->rules, rules_match(j->rules, other, NULL, NULL));

        if (rule->group != GROUP_ONE_DEVICE)
                return "its rule does not say 'group: one-device'";
        if (!group_member_accepted(other) && rule->bind == BIND_NEVER)
                return "its rule does not let it be bound";
        return NULL;
}

/* One device out of several GPUs needs the word of every GPU's own rule: none is bound or handed along unasked. */
static enum reason check_followers(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (j->group.n_gpus < 2)
                return REASON_NONE;
        for (size_t i = 0; i < j->inv->n_functions; i++) {
                const struct function *other = &j->inv->functions[i];

                if (other->group != j->fn->group || bdf_equal(other->bdf, j->fn->bdf) ||
                    group_member_role(j->inv, j->rules, other) != MEMBER_GPU)
                        continue;
                const char *objection = objection_to(j, other);
                if (objection) {
                        str_format(detail, DETAIL_MAX, BDF_FMT ": %s", BDF_ARGS(other->bdf), objection);
                        return REASON_GROUP_SEVERAL;
                }
        }
        return REASON_NONE;
}

/* ---- checks: binding ---- */

static enum reason check_bound(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (j->kind == DEVICE_VGPU_VF || j->rule->bind != BIND_NEVER || group_on_vfio(j->fn))
                return REASON_NONE;
        str_format(detail, DETAIL_MAX, "driver %s", *j->fn->driver ? j->fn->driver : "none");
        return REASON_NOT_BOUND;
}

static enum reason check_members_bound(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (j->rule->bind != BIND_NEVER || j->group.n_to_bind == 0)
                return REASON_NONE;
        str_format(detail, DETAIL_MAX, "%s", j->group.detail);
        return REASON_GROUP_MEMBER_UNBOUND;
}

/* What cannot be reset is not given to a second tenant, so not to a first either. */
static enum reason check_release(const struct judgement *j, char detail[static DETAIL_MAX])
{
        enum reason reason = REASON_NONE;

        if (j->kind == DEVICE_VGPU_VF)
                return reason;
        for (size_t i = 0; i < j->inv->n_functions && !reason; i++) {
                const struct function *fn = &j->inv->functions[i];
                if (fn == j->fn || (fn->group == j->fn->group && group_member_role(j->inv, j->rules, fn) == MEMBER_GPU))
                        reason = plan_release_possible(j->inv, fn, j->rule->release, detail, DETAIL_MAX);
        }
        return reason;
}

static enum reason check_instance_group(const struct judgement *j, char detail[static DETAIL_MAX])
{
        (void)detail;
        return j->instance->group < 0 ? REASON_NO_GROUP : REASON_NONE;
}

static enum reason check_instance_bound(const struct judgement *j, char detail[static DETAIL_MAX])
{
        if (*j->instance->driver)
                return REASON_NONE;
        str_format(detail, DETAIL_MAX, "the instance has no driver");
        return REASON_NOT_BOUND;
}

/* ---- health of what may be listed ---- */

static void set_unhealthy(struct device *d, enum reason reason, const char *detail)
{
        d->state = DEVICE_UNHEALTHY;
        d->reason = reason;
        str_format(d->detail, sizeof(d->detail), "%s", detail);
}

static void check_nodes(struct device *d, bool node)
{
        char path[64];

        str_format(path, sizeof(path), "/dev/vfio/%d", d->group);
        if (!node)
                set_unhealthy(d, REASON_NODE_MISSING, path);
}

static void set_no_driver(struct device *d, const char *driver)
{
        char detail[DETAIL_MAX];

        str_format(detail, sizeof(detail), "the driver %s is not loaded", driver);
        set_unhealthy(d, streq(driver, VFIO_PCI) ? REASON_VFIO_MISSING : REASON_VARIANT_MISSING, detail);
}

/* On VFIO already, so that only companions are to be bound: no kernel has a variant for those. */
static bool has_target(const struct judgement *j, char target[static DRIVER_LEN])
{
        if (!group_on_vfio(j->fn))
                return vfio_driver_pick(j->inv, j->fn, target);
        str_format(target, DRIVER_LEN, "%s", VFIO_PCI);
        return inventory_has_driver(j->inv, VFIO_PCI);
}

static void check_health(const struct judgement *j, struct device *d)
{
        char target[DRIVER_LEN];

        d->state = DEVICE_HEALTHY;
        bool loads = d->needs_bind && j->rules->load_modules;
        if (!j->inv->vfio_node && !loads)
                set_unhealthy(d, REASON_VFIO_MISSING, "no /dev/vfio/vfio");
        else if (d->needs_bind && !loads && !has_target(j, target))
                set_no_driver(d, target);
        else if (j->instance)
                check_nodes(d, j->instance->group_node);
        else if (!d->needs_bind) /* The nodes of what is not bound yet appear when it is. */
                check_nodes(d, j->fn->group_node || (j->fn->vfio_index >= 0 && j->fn->cdev_node));
}

static void add_word(struct device *device, enum reason reason)
{
        for (size_t i = 0; i < WARNINGS_MAX; i++) {
                if (device->also[i] == reason)
                        return;
                if (device->also[i] == REASON_NONE) {
                        device->also[i] = reason;
                        return;
                }
        }
}

void judge_warn(struct device *device, enum reason reason, const char *detail)
{
        if (device->state != DEVICE_HEALTHY || device->reason == reason)
                return;
        if (device->reason != REASON_NONE) {
                add_word(device, reason);
                return;
        }
        device->reason = reason;
        str_format(device->detail, sizeof(device->detail), "%s", detail);
}

void judge_warn_first(struct device *device, enum reason reason, const char *detail)
{
        enum reason then = device->reason;

        if (device->state == DEVICE_HEALTHY)
                device->reason = REASON_NONE;
        judge_warn(device, reason, detail);
        if (then != REASON_NONE)
                judge_warn(device, then, "");
}

static bool has_nvswitch(const struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_functions; i++)
                if (inv->functions[i].vendor == 0x10de && inv->functions[i].class_code >> 8 == 0x0680)
                        return true;
        return false;
}

/* ---- the whole ---- */

static void run_checks(const struct judgement *j, check_fn *const *checks, struct device *d)
{
        d->state = DEVICE_WITHHELD;
        for (; *checks && d->reason == REASON_NONE; checks++)
                d->reason = (*checks)(j, d->detail);
        if (d->reason == REASON_NONE)
                check_health(j, d);
        else
                d->needs_bind = false;
}

static void find_rule(struct judgement *j, struct device *d)
{
        j->number = rules_match(j->rules, j->fn, j->instance, &j->by_address);
        j->rule = offer_rule(j->rules, j->number);
        d->rule = j->number == 0 && !j->rules->implicit ? RULE_NONE : j->number;
        d->bind = j->rule->bind;
        d->mode = j->rule->mode;
}

static void fill_from_function(const struct function *fn, struct device *d)
{
        d->bdf = fn->bdf;
        d->card = card_of(fn);
        d->numa_node = fn->numa_node;
        d->vendor = fn->vendor;
        d->device_id = fn->device;
        d->upstream = fn->upstream;
        str_format(d->root, sizeof(d->root), "%s", fn->root);
}

void judge_function(const struct inventory *inv, const struct rules *rules, const struct function *fn, struct device *ret)
{
        static check_fn *const checks[] = {
                check_denied, check_bmc,   check_selected,  check_host_display, check_no_vfs,        check_no_mdev_parent, check_vgpu_type,
                check_domain, check_group, check_followers, check_bound,        check_members_bound, check_release,        NULL,
        };
        struct judgement j = { .inv = inv, .rules = rules, .fn = fn };

        *ret = (struct device){ .group = fn->group };
        bdf_format(fn->bdf, ret->id);
        fill_from_function(fn, ret);
        find_rule(&j, ret);

        ret->kind = j.kind = !fn->is_vf ? DEVICE_GPU : fn->vgpu_capable ? DEVICE_VGPU_VF : DEVICE_VF;
        str_format(ret->driver, sizeof(ret->driver), "%s", fn->driver);
        str_format(ret->model, sizeof(ret->model), "%s", j.kind == DEVICE_VGPU_VF && fn->vgpu_type ? fn->vgpu_name : fn->model);
        if (fn->vgpu_type)
                str_format(ret->type, sizeof(ret->type), "%u", fn->vgpu_type);

        j.group = group_judge(inv, rules, fn, j.rule->group, j.kind == DEVICE_VGPU_VF);
        ret->needs_bind = j.kind != DEVICE_VGPU_VF && j.rule->bind != BIND_NEVER && j.group.n_to_bind > 0;
        run_checks(&j, checks, ret);
        if (j.kind != DEVICE_VGPU_VF && j.rule->release != RELEASE_KEEP && !inv->holders_visible)
                judge_warn(ret, REASON_RELEASE_BLIND, "");
        if (j.kind == DEVICE_GPU && fn->vendor == 0x10de && has_nvswitch(inv))
                judge_warn(ret, REASON_FABRIC, "");
}

void judge_instance(const struct inventory *inv, const struct rules *rules, const struct instance *instance, struct device *ret)
{
        /* Its parent stays with the host: what keeps a parent from being handed out says nothing of the instance. */
        static check_fn *const checks[] = { check_denied, check_selected, check_instance_group, check_instance_bound, NULL };
        struct judgement j = { .inv = inv, .rules = rules, .instance = instance, .kind = DEVICE_VGPU_MDEV };

        *ret = (struct device){ .kind = DEVICE_VGPU_MDEV,
                                .group = instance->group,
                                .bdf = instance->parent,
                                .card = instance->parent,
                                .numa_node = -1,
                                .rule = RULE_NONE };
        str_format(ret->id, sizeof(ret->id), "%s", instance->uuid);
        str_format(ret->driver, sizeof(ret->driver), "%s", instance->driver);
        str_format(ret->model, sizeof(ret->model), "%s", instance->type_name);
        str_format(ret->type, sizeof(ret->type), "%s", instance->type_id);

        j.fn = inventory_function(inv, instance->parent);
        if (!j.fn) {
                ret->reason = REASON_VANISHED;
                str_format(ret->detail, sizeof(ret->detail), "its parent " BDF_FMT " is not there", BDF_ARGS(instance->parent));
                return;
        }
        fill_from_function(j.fn, ret);
        find_rule(&j, ret);
        run_checks(&j, checks, ret);
}
