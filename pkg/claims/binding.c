/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/binding.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "claims/request.h"

struct binding {
        const struct claims_world *world;
        struct plan *plans;
        bool ended[REQUEST_DEVICES_MAX];         /* beside plans ... */
        enum plan_end ends[REQUEST_DEVICES_MAX]; /* ... how */
        size_t n_plans, cap_plans, n_ended;
        struct {
                char id[DEVICE_ID_MAX];
                size_t plan;
        } * devices; /* those that a plan concerns */
        size_t n_devices;
        bool claim; /* somebody is given them */
        bool failed;
        binding_override_fn *on_override;
        binding_failed_fn *on_failed;
        binding_over_fn *on_over;
        void *ctx;
};

struct binding *binding_free(struct binding *binding)
{
        if (!binding)
                return NULL;
        free(binding->plans);
        free(binding->devices);
        free(binding);
        return NULL;
}

/* The plan of the unit that device @first is the first of. One without steps is forgotten: all of the unit is bound. */
static enum reason add_unit(struct binding *binding, const struct device *const *devices, const size_t *unit, size_t n_devices,
                            size_t first, struct err *err)
{
        const struct claims_world *world = binding->world;
        const struct device *members[REQUEST_DEVICES_MAX];
        struct plan plan;
        size_t n = 0;

        for (size_t i = first; i < n_devices; i++)
                if (unit[i] == first)
                        members[n++] = devices[i];
        enum reason reason = plan_bind(world->inventory(world->ctx), world->rules(world->ctx), members, n, binding->claim, &plan, err);
        if (reason || plan.n_steps == 0)
                return reason;
        for (size_t i = 0; i < n; i++) {
                (void)str_copy(binding->devices[binding->n_devices].id, DEVICE_ID_MAX, members[i]->id);
                binding->devices[binding->n_devices++].plan = binding->n_plans;
        }
        GROW(binding->plans, binding->n_plans, binding->cap_plans);
        binding->plans[binding->n_plans++] = plan;
        return REASON_NONE;
}

enum reason binding_new(struct binding **ret, const struct claims_world *world, const struct device *const *devices, size_t n_devices,
                        bool claim, struct err *err)
{
        size_t unit[REQUEST_DEVICES_MAX];
        enum reason reason = REASON_NONE;

        request_units(world->inventory(world->ctx), devices, n_devices, unit);
        struct binding *binding = xcalloc(1, sizeof(*binding));
        binding->world = world;
        binding->claim = claim;
        binding->devices = xcalloc(n_devices, sizeof(*binding->devices));
        for (size_t i = 0; i < n_devices && !reason; i++)
                if (unit[i] == i)
                        reason = add_unit(binding, devices, unit, n_devices, i, err);
        if (reason || binding->n_plans == 0)
                binding = binding_free(binding);
        if (!reason)
                *ret = binding;
        return reason;
}

const struct plan *binding_plans(const struct binding *binding, size_t *ret_n)
{
        *ret_n = binding->n_plans;
        return binding->plans;
}

/* What is not as it was; all of the plan's devices when that cannot be told (an override that could not be taken back). */
static void mark_broken(struct binding *binding, size_t plan, const char *detail)
{
        const struct claims_world *world = binding->world;
        const struct inventory *inv = world->rescan(world->ctx);
        const struct offer *offer = world->offer(world->ctx);
        bool any = false;

        for (int pass = 0; pass < 2 && !any; pass++)
                for (size_t i = 0; i < binding->n_devices; i++) {
                        const struct device *d = offer_device(offer, binding->devices[i].id);
                        if (binding->devices[i].plan != plan || !d ||
                            (pass == 0 && !request_group_is_broken(inv, &binding->plans[plan], d->group)))
                                continue;
                        world->mark(world->ctx, d->id, REASON_BROKEN_BINDING, detail);
                        any = true;
                }
}

/* A failed plan names devices unfit: stuck for this boot is all that its hand holds the locks of, broken until somebody has
 * mended it is what could not be undone. */
static void mark_failed(struct binding *binding, size_t index, const struct hands_result *result)
{
        const struct claims_world *world = binding->world;
        const struct plan *plan = &binding->plans[index];
        char detail[DETAIL_MAX];

        str_clean(detail, sizeof(detail), result->text); /* names the step */
        for (uint32_t i = 0; result->end == PLAN_STUCK && i < plan->n_cards; i++)
                world->mark_stuck(world->ctx, plan->cards[i], detail);
        if (result->end == PLAN_BROKEN)
                mark_broken(binding, index, detail);
}

static void on_end(void *ctx, size_t index, const struct hands_result *result)
{
        struct binding *binding = ctx;
        bool first = result->end != PLAN_DONE && !binding->failed;

        binding->ended[index] = true;
        binding->ends[index] = result->end;
        binding->n_ended++;
        if (result->end != PLAN_DONE) {
                binding->failed = true;
                mark_failed(binding, index, result);
                (void)binding->world->rescan(binding->world->ctx);
        }
        if (first)
                binding->on_failed(binding->ctx, result);
        if (binding->n_ended == binding->n_plans)
                binding->on_over(binding->ctx, !binding->failed);
}

static void on_override(void *ctx, size_t index, uint32_t step, const char *before)
{
        struct binding *binding = ctx;

        binding->on_override(binding->ctx, binding->plans[index].steps[step].bdf, before);
}

void binding_run(struct binding *binding, struct hands *hands, unsigned deadline_ms, binding_override_fn *override,
                 binding_failed_fn *failed, binding_over_fn *over, void *ctx)
{
        binding->on_override = override;
        binding->on_failed = failed;
        binding->on_over = over;
        binding->ctx = ctx;
        for (size_t i = 0; i < binding->n_plans; i++)
                plan_limit_waits(&binding->plans[i], (int32_t)(deadline_ms / 4));
        hands_run_all(hands, binding->plans, binding->n_plans, deadline_ms, on_override, on_end, binding);
}

enum plan_end binding_end(const struct binding *binding, size_t plan)
{
        return binding->ends[plan];
}

static bool has_card(const struct plan *plan, struct bdf card)
{
        for (uint32_t i = 0; i < plan->n_cards; i++)
                if (bdf_equal(plan->cards[i], card))
                        return true;
        return false;
}

bool binding_at_work(const struct binding *binding, struct bdf card)
{
        for (size_t i = 0; i < binding->n_plans; i++)
                if (!binding->ended[i] && has_card(&binding->plans[i], card))
                        return true;
        return false;
}

bool binding_concerns(const struct binding *binding, struct bdf card)
{
        for (size_t i = 0; i < binding->n_plans; i++)
                if (has_card(&binding->plans[i], card))
                        return true;
        return false;
}
