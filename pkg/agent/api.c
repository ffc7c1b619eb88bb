/* SPDX-License-Identifier: Apache-2.0 */
/* What the node API sees of the daemon. */
#include "agent/agent_priv.h"

static const struct inventory *see_inventory(void *ctx)
{
        return ((struct agent *)ctx)->world.inventory;
}

static const struct offer *see_offer(void *ctx)
{
        return ((struct agent *)ctx)->world.offer;
}

static const struct rules *see_rules(void *ctx)
{
        return &((struct agent *)ctx)->world.config->rules;
}

static const struct ledger *see_ledger(void *ctx)
{
        return ((struct agent *)ctx)->ledger;
}

static const char *why_not_ready(void *ctx)
{
        const struct agent *agent = ctx;

        if (agent->stopping)
                return "sluiced is ending";
        return agent->serving ? NULL : "devices are being bound, kubelet is served when that is done";
}

static void ask(void *ctx, const struct device *device, ask_fn *done, void *done_ctx)
{
        ask_holders(((struct agent *)ctx)->hands, device, done, done_ctx);
}

void agent_start_api(struct agent *agent)
{
        const struct node_world world = {
                .ctx = agent,
                .inventory = see_inventory,
                .offer = see_offer,
                .rules = see_rules,
                .ledger = see_ledger,
                .why_not_ready = why_not_ready,
                .ask_holders = ask,
        };
        const struct node_config config = { .run_dir = agent->options->run_dir, .simulated = agent->options->sim_dir != NULL };

        agent->node = node_start(&agent->loop, agent->rpc, &world, &config);
}
