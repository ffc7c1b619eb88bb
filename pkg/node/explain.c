/* SPDX-License-Identifier: Apache-2.0 */
/* NodeExplain: a hand is asked who has the device open, then everything is put together from the world of that moment. */
#include "base/alloc.h"
#include "base/str.h"
#include "node/node_priv.h"

struct explaining {
        struct node *node;
        struct rpc_call *call;
        char device[DEVICE_ID_MAX];
};

void node_add_holders(struct pile *pile, pb_holders *m, const struct ask_answer *answer)
{
        if (!answer->complete && m->complete)
                m->why_not = pile_text(pile, answer->why_not);
        m->complete = m->complete && answer->complete;
        if (!m->holders)
                m->holders = pile_take(pile, ASK_HOLDERS_MAX, sizeof(*m->holders));
        for (size_t i = 0; i < answer->n_holders && m->n_holders < ASK_HOLDERS_MAX; i++) {
                pb_holder *h = m->holders[m->n_holders++] = pb_new(pile, holder);
                h->pid = answer->holders[i].pid;
                h->comm = pb_text(answer->holders[i].comm);
                h->node = pb_text(answer->holders[i].node);
        }
}

static pb_cordon *cordon_message(struct pile *pile, const struct cordon *cordon)
{
        if (!cordon)
                return NULL;
        pb_cordon *m = pb_new(pile, cordon);
        m->target = pb_text(cordon->target);
        m->note = pb_text(cordon->note);
        m->since_ms = cordon->since_ms;
        return m;
}

/* Of each function in the device's group that Sluice bound. */
static void find_originals(struct pile *pile, const struct ledger *ledger, struct explanation_input *in)
{
        const struct original **list = pile_take(pile, in->inventory->n_functions, sizeof(*list));

        in->originals = list;
        for (size_t i = 0; i < in->inventory->n_functions; i++) {
                const struct function *fn = &in->inventory->functions[i];
                const struct original *original = ledger_original(ledger, fn->bdf);

                if (original && (bdf_equal(fn->bdf, in->device->bdf) || (fn->group >= 0 && fn->group == in->device->group)))
                        list[in->n_originals++] = original;
        }
}

void node_not_found(struct node *node, struct rpc_call *call, const char *what, const char *id)
{
        char near[NEAREST_TEXT_MAX], clean[2 * DEVICE_ID_MAX], text[ERR_MSG_MAX];

        node_nearest(node->world.offer(node->world.ctx), id, near);
        str_clean(clean, sizeof(clean), id);
        str_format(text, sizeof(text), "there is no %s \"%s\" on this node%s%s", what, clean, *near ? "; near: " : "", near);
        rpc_fail(call, RPC_NOT_FOUND, text);
}

static void explain(struct explaining *explaining, const struct ask_answer *answer)
{
        const struct node_world *world = &explaining->node->world;
        const struct ledger *ledger = world->ledger(world->ctx);
        _cleanup_pile_ struct pile pile = { 0 };
        struct explanation_input in = {
                .inventory = world->inventory(world->ctx),
                .offer = world->offer(world->ctx),
                .rules = world->rules(world->ctx),
        };

        in.device = offer_device(in.offer, explaining->device);
        if (!in.device) { /* it was never listed, and has gone while it was asked */
                node_not_found(explaining->node, explaining->call, "device", explaining->device);
                return;
        }
        const struct claim *claim = ledger_claim_of(ledger, explaining->device);
        in.claims = &claim;
        in.n_claims = claim != NULL;
        find_originals(&pile, ledger, &in);
        in.cordon = cordon_message(&pile, cordons_of(world->cordons(world->ctx), in.device));
        in.holders = pb_new(&pile, holders);
        in.holders->complete = true;
        node_add_holders(&pile, in.holders, answer);
        node_reply(explaining->call, &pb_explanation_of(&pile, &in)->base);
}

static void on_holders(void *ctx, const struct ask_answer *answer)
{
        _cleanup_free_ struct explaining *explaining = ctx;

        explain(explaining, answer);
}

bool node_may_look(const struct device *device, char why_not[static ERR_MSG_MAX])
{
        enum reason reason = device ? device->reason : REASON_GONE;

        if (reason != REASON_STUCK && reason != REASON_GONE)
                return true;
        str_format(why_not, ERR_MSG_MAX, "nobody looked: %s", reason_sentence(reason));
        return false;
}

void node_explain(struct node *node, struct rpc_call *call, const pb_node_explain_request *request)
{
        const struct node_world *world = &node->world;
        const struct device *device = offer_device(world->offer(world->ctx), request->device);
        struct ask_answer unasked = { .n_holders = 0 };

        if (!device) {
                node_not_found(node, call, "device", request->device);
                return;
        }
        struct explaining *explaining = xcalloc(1, sizeof(*explaining));
        *explaining = (struct explaining){ .node = node, .call = call };
        (void)str_copy(explaining->device, sizeof(explaining->device), device->id);
        if (node_may_look(device, unasked.why_not))
                world->ask_holders(world->ctx, device, on_holders, explaining);
        else
                on_holders(explaining, &unasked);
}
