/* SPDX-License-Identifier: Apache-2.0 */
#include "present/explanation.h"

#include <limits.h>

#include "base/alloc.h"
#include "core/group.h"
#include "core/reset.h"
#include "core/plan.h"

enum { MEMBERS_MAX = 256 };

/* ---- the group ---- */

static const struct rule *rule_of(const struct rules *rules, const struct device *device)
{
        return device->rule > 0 && device->rule <= rules->n_rules ? &rules->rules[device->rule - 1] : NULL;
}

static void add_member(struct pile *pile, pb_group *m, const char *name, const char *role, const char *driver, bool accepted)
{
        pb_group_member *member;

        if (m->n_members == MEMBERS_MAX)
                return;
        member = m->members[m->n_members++] = pb_new(pile, group_member);
        member->name = pile_text(pile, name);
        member->role = pb_text(role);
        member->driver = pb_text(driver);
        member->accepted = accepted;
}

static void add_members(struct pile *pile, pb_group *m, const struct explanation_input *in, int group)
{
        const struct inventory *inv = in->inventory;
        char name[BDF_TEXT_MAX], resets[4 * RESET_LEN];

        m->members = pile_take(pile, MEMBERS_MAX, sizeof(*m->members));
        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *fn = &inv->functions[i];

                if (fn->group != group || m->n_members == MEMBERS_MAX)
                        continue;
                enum member_role role = group_member_role(inv, in->rules, fn);
                add_member(pile, m, bdf_format(fn->bdf, name), member_role_name(role), fn->driver,
                           role == MEMBER_BRIDGE || group_member_accepted(fn));
                m->members[m->n_members - 1]->class_ = pile_textf(pile, "%06x", fn->class_code);
                m->members[m->n_members - 1]->model = pb_text(fn->model);
                reset_describe(fn, resets, sizeof(resets));
                m->members[m->n_members - 1]->resets = pile_text(pile, resets);
        }
        for (size_t i = 0; i < inv->n_broken; i++)
                if (inv->broken[i].group == group)
                        add_member(pile, m, inv->broken[i].name, "unreadable", "", false);
        for (size_t i = 0; i < inv->n_outsiders; i++) {
                const struct outsider *outsider = &inv->outsiders[i];
                if (outsider->group == group)
                        add_member(pile, m, outsider->name, member_role_name(MEMBER_FOREIGN), outsider->driver,
                                   !*outsider->driver || str_has_prefix(outsider->driver, "vfio-"));
        }
}

static pb_group *group_of(struct pile *pile, const struct explanation_input *in)
{
        const struct device *device = in->device;
        const struct function *fn = inventory_function(in->inventory, device->bdf);
        const struct rule *rule = rule_of(in->rules, device);

        if (device->group < 0)
                return NULL;
        pb_group *m = pb_new(pile, group);
        m->number = device->group;
        m->viable = true;
        if (device->kind != DEVICE_VGPU_MDEV && fn && fn->group == device->group) { /* an mdev is alone in a group of its own */
                const struct group_verdict verdict =
                        group_judge(in->inventory, in->rules, fn, rule ? rule->group : GROUP_WITHHOLD, device->kind == DEVICE_VGPU_VF);
                m->viable = verdict.reason == REASON_NONE;
                m->verdict = pb_reason_of(pile, verdict.reason, pile_text(pile, verdict.detail));
                m->to_bind = verdict.n_to_bind;
        }
        add_members(pile, m, in, device->group);
        return m;
}

/* ---- the rule and the plan ---- */

static pb_rule *rule_message(struct pile *pile, const struct explanation_input *in)
{
        const struct device *device = in->device;
        const struct rule *rule = rule_of(in->rules, device);

        if (device->rule == UINT_MAX)
                return NULL;
        pb_rule *m = pb_new(pile, rule);
        m->number = device->rule;
        m->line = rule ? rule->line : 0;
        m->deny = rule && rule->deny;
        m->bind = pb_text(bind_policy_name(device->bind));
        m->release = pb_text(release_policy_name(rule ? rule->release : RELEASE_KEEP));
        m->group = pb_text(rule && rule->group == GROUP_ONE_DEVICE ? "one-device" : "withhold");
        return m;
}

static pb_step *step_of(struct pile *pile, const struct step *step)
{
        pb_step *m = pb_new(pile, step);
        char text[STEP_TEXT_MAX + 128];

        m->kind = pb_text(step_kind_name(step->kind));
        step_describe(step, text, sizeof(text));
        m->sentence = pile_text(pile, text);
        if (step->kind != STEP_NEED_DRIVER)
                m->bdf = pile_text(pile, bdf_format(step->bdf, text));
        m->acts = step_acts(step->kind);
        m->wait_ms = (uint32_t)step->wait_ms;
        return m;
}

pb_plan *pb_plan_of(struct pile *pile, const struct plan *plan, enum reason refusal, const struct err *err)
{
        pb_plan *m = pb_new(pile, plan);
        char text[BDF_TEXT_MAX];

        if (refusal) {
                m->refusal = pb_reason_of(pile, refusal, pile_text(pile, err->msg));
                return m;
        }
        m->steps = pile_take(pile, plan->n_steps, sizeof(*m->steps));
        for (uint32_t i = 0; i < plan->n_steps; i++)
                m->steps[m->n_steps++] = step_of(pile, &plan->steps[i]);
        m->cards = pile_take(pile, plan->n_cards, sizeof(*m->cards));
        for (uint32_t i = 0; i < plan->n_cards; i++)
                m->cards[m->n_cards++] = pile_text(pile, bdf_format(plan->cards[i], text));
        return m;
}

static pb_plan *allocate_of(struct pile *pile, const struct explanation_input *in)
{
        const struct device *devices[] = { in->device };
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        struct err err;

        if (in->device->state == DEVICE_HEALTHY) {
                enum reason refusal = plan_bind(in->inventory, in->rules, devices, 1, true, plan, &err);
                return pb_plan_of(pile, plan, refusal, &err);
        }
        pb_plan *m = pb_new(pile, plan);
        m->refusal = pb_reason_of(pile, in->device->reason, in->device->detail);
        return m;
}

/* Only of what is bound, or needs no binding: before, there is nothing to give back. */
static pb_plan *release_of(struct pile *pile, const struct explanation_input *in)
{
        const struct device *devices[] = { in->device };
        _cleanup_free_ struct plan *plan = xcalloc(1, sizeof(*plan));
        struct err err;

        if (in->device->state == DEVICE_WITHHELD || in->device->needs_bind || in->device->reason == REASON_GONE)
                return NULL;
        enum reason refusal = plan_release(in->inventory, in->rules, devices, 1, in->originals, in->n_originals, plan, &err);
        if (!refusal && plan->n_steps == 0) /* then follows what a claim had set */
                refusal = plan_settings_back(in->inventory, in->originals, in->n_originals, plan, &err);
        return pb_plan_of(pile, plan, refusal, &err);
}

/* ---- claims and originals ---- */

pb_claim *pb_claim_of(struct pile *pile, const struct claim *claim)
{
        pb_claim *m = pb_new(pile, claim);

        m->key = pb_text(claim->key);
        m->owner = pb_text(claim_owner_name(claim->owner));
        m->state = pb_text(claim_state_name(claim->state));
        m->mode = pb_text(device_mode_name(claim->mode));
        m->resource = pb_text(claim->resource);
        m->devices = pile_take(pile, claim->n_devices, sizeof(*m->devices));
        for (size_t i = 0; i < claim->n_devices; i++)
                m->devices[m->n_devices++] = pb_text(claim->devices[i].id);
        m->boot_id = pb_text(claim->boot_id);
        m->since_ms = claim->since_ms;
        if (*claim->pod) {
                m->pod = pb_new(pile, pod);
                m->pod->namespace_ = pb_text(claim->pod_namespace);
                m->pod->name = pb_text(claim->pod);
                m->pod->container = pb_text(claim->container);
        }
        return m;
}

pb_original *pb_original_of(struct pile *pile, const struct original *original)
{
        pb_original *m = pb_new(pile, original);
        char bdf[BDF_TEXT_MAX];

        m->bdf = pile_text(pile, bdf_format(original->bdf, bdf));
        m->state = pb_text(original_state_name(original->state));
        m->driver = pb_text(original->driver);
        m->driver_override = pb_text(original->driver_override);
        m->target = pb_text(original->target);
        m->boot_id = pb_text(original->boot_id);
        return m;
}

/* ---- the whole ---- */

static const struct pool *pool_of(const struct offer *offer, const struct device *device)
{
        const struct pool *pool = *device->resource ? offer_pool(offer, device->resource) : NULL;

        return pool && offer_pool_device(offer, pool, device->id) ? pool : NULL;
}

pb_node_explain_response *pb_explanation_of(struct pile *pile, const struct explanation_input *in)
{
        pb_node_explain_response *m = pb_new(pile, node_explain_response);
        const struct pool *pool = pool_of(in->offer, in->device);

        m->device = pb_device_of(pile, in->inventory, in->device);
        m->warnings = pile_take(pile, WARNINGS_MAX, sizeof(*m->warnings));
        for (size_t i = 0; i < WARNINGS_MAX && in->device->also[i]; i++)
                m->warnings[m->n_warnings++] = pb_reason_of(pile, in->device->also[i], "");
        m->pool = pool ? pb_pool_of(pile, in->offer, pool) : NULL;
        m->group = group_of(pile, in);
        m->rule = rule_message(pile, in);
        m->cordon = in->cordon;
        m->claims = pile_take(pile, in->n_claims, sizeof(*m->claims));
        for (size_t i = 0; i < in->n_claims; i++)
                m->claims[m->n_claims++] = pb_claim_of(pile, in->claims[i]);
        m->holders = in->holders;
        m->originals = pile_take(pile, in->n_originals, sizeof(*m->originals));
        for (size_t i = 0; i < in->n_originals; i++)
                if (original_is_bound_by_us(in->originals[i]))
                        m->originals[m->n_originals++] = pb_original_of(pile, in->originals[i]);
        m->allocate = allocate_of(pile, in);
        m->release = release_of(pile, in);
        return m;
}
