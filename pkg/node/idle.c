/* SPDX-License-Identifier: Apache-2.0 */
/* NodeReleaseIdle: every name is checked, then the claims give back what nobody has, and their answer becomes a message. */
#include <errno.h>

#include "base/alloc.h"
#include "base/str.h"
#include "node/node_priv.h"

struct releasing {
        struct node *node;
        struct rpc_call *call;
        bool dry_run;
};

static const char *outcome_word(const struct idle_outcome *outcome, bool dry_run)
{
        switch (outcome->end) {
        case IDLE_GIVEN_BACK:
                return dry_run ? "would-be-given-back" : "given-back";
        case IDLE_LEFT:
                return "left";
        case IDLE_NOTHING:
                break;
        }
        return "nothing-to-do";
}

static pb_release_outcome *outcome_of(struct pile *pile, const struct idle_outcome *outcome, bool dry_run)
{
        pb_release_outcome *m = pb_new(pile, release_outcome);
        struct err none;

        m->device = pb_text(outcome->name);
        m->outcome = pb_text(outcome_word(outcome, dry_run));
        if (outcome->end == IDLE_LEFT)
                m->reason = pb_reason_of(pile, outcome->reason, outcome->text);
        else
                m->note = pb_text(outcome->text);
        m->originals = pile_take(pile, outcome->n_originals, sizeof(*m->originals));
        for (size_t i = 0; i < outcome->n_originals; i++)
                m->originals[m->n_originals++] = pb_original_of(pile, &outcome->originals[i]);
        m->plan = outcome->plan ? pb_plan_of(pile, outcome->plan, REASON_NONE, &none) : NULL;
        return m;
}

static void on_released(void *ctx, const struct idle_outcome *list, size_t n)
{
        _cleanup_free_ struct releasing *releasing = ctx;
        _cleanup_pile_ struct pile pile = { 0 };
        pb_node_release_idle_response *answer = pb_new(&pile, node_release_idle_response);

        answer->outcomes = pile_take(&pile, n, sizeof(*answer->outcomes));
        for (size_t i = 0; i < n; i++)
                answer->outcomes[answer->n_outcomes++] = outcome_of(&pile, &list[i], releasing->dry_run);
        node_reply(releasing->call, &answer->base);
}

/* A device, or a function whose device is none any more. */
static bool is_known(const struct node_world *world, const char *name)
{
        struct bdf bdf;

        return offer_device(world->offer(world->ctx), name) || (bdf_parse(name, &bdf) && ledger_original(world->ledger(world->ctx), bdf));
}

void node_release_idle(struct node *node, struct rpc_call *call, const pb_node_release_idle_request *request)
{
        const struct node_world *world = &node->world;
        const struct idle_request idle = { .names = request->devices, .n_names = request->n_devices, .dry_run = request->dry_run };
        struct err err;

        if (request->n_devices > IDLE_UNITS_MAX) {
                rpc_fail(call, RPC_INVALID_ARGUMENT, "more than 256 devices are named");
                return;
        }
        for (size_t i = 0; i < request->n_devices; i++)
                if (!is_known(world, request->devices[i])) {
                        node_not_found(node, call, "device", request->devices[i]);
                        return;
                }
        struct releasing *releasing = xcalloc(1, sizeof(*releasing));
        *releasing = (struct releasing){ .node = node, .call = call, .dry_run = request->dry_run };
        if (world->release_idle(world->ctx, &idle, on_released, releasing, &err) == 0)
                return;
        rpc_fail(call, RPC_RESOURCE_EXHAUSTED, err.msg);
        free(releasing);
}
