/* SPDX-License-Identifier: Apache-2.0 */
/* What the node API sees of the daemon. */
#include "agent/agent_priv.h"
#include "base/clock.h"
#include "base/str.h"

enum { POOLS_TOLD = 64 }; /* more pools than a node has models; what lies beyond counts as registered */

static const struct ledger *see_ledger(void *ctx)
{
        return ((struct agent *)ctx)->ledger;
}

/* The first pool that kubelet does not list: a sentence, valid until the next call; NULL = it lists all of them. */
static const char *unregistered(const struct kubelet *kubelet)
{
        static char text[512];
        struct kubelet_status pools[POOLS_TOLD];

        size_t n = kubelet_status(kubelet, pools, N_ELEMENTS(pools));
        for (size_t i = 0; i < n && i < N_ELEMENTS(pools); i++) {
                const struct kubelet_status *pool = &pools[i];
                if (streq(pool->state, "serving"))
                        continue;
                str_format(text, sizeof(text), "%s is not registered with kubelet: %s", pool->resource,
                           *pool->problem                     ? pool->problem
                           : streq(pool->state, "no-kubelet") ? "kubelet is not there"
                                                              : pool->state);
                return text;
        }
        return NULL;
}

static const char *why_not_ready(void *ctx)
{
        const struct agent *agent = ctx;

        if (agent->stopping)
                return "sluiced is ending";
        if (!agent->serving)
                return agent_has_kubelet(agent) ? "devices are being bound, kubelet is served when that is done"
                                                : "devices are being bound";
        return agent->kubelet ? unregistered(agent->kubelet) : NULL;
}

static struct cordons *see_cordons(void *ctx)
{
        return ((struct agent *)ctx)->cordons;
}

const char *agent_cordoned(void *agent, const struct device *device)
{
        const struct cordon *cordon = cordons_of(((struct agent *)agent)->cordons, device);

        return cordon ? cordon->note : NULL;
}

static void on_cordons_changed(void *ctx)
{
        struct agent *agent = ctx;

        world_decide(&agent->world);
        agent_tell_kubelet(agent);
}

void agent_withhold(void *ctx, const char *device, bool on)
{
        struct agent *agent = ctx;

        if (on)
                cordons_hold(agent->cordons, device, "given back by 'sluicectl release --idle'; until uncordoned, or sluiced starts again",
                             clock_unix_ms());
        else
                cordons_let_go(agent->cordons, device);
        on_cordons_changed(agent);
}

void agent_ask_pods(void *ctx, void (*done)(void *ctx, const char *why_unknown), void *done_ctx)
{
        struct agent *agent = ctx;

        if (agent->stopping)
                done(done_ctx, "sluiced is ending");
        else if (!agent->serving)
                done(done_ctx, "kubelet is not served yet: devices are being bound");
        else if (!agent->kubelet) /* registration: none */
                done(done_ctx, NULL);
        else
                kubelet_ask_pods(agent->kubelet, done, done_ctx);
}

static int release_idle(void *ctx, const struct idle_request *request, idle_fn *done, void *done_ctx, struct err *err)
{
        return idle_release(((struct agent *)ctx)->claims, request, done, done_ctx, err);
}

static void ask(void *ctx, const struct device *device, ask_fn *done, void *done_ctx)
{
        ask_holders(((struct agent *)ctx)->hands, device, done, done_ctx);
}

void agent_start_api(struct agent *agent)
{
        const struct node_world world = {
                .ctx = agent,
                .inventory = agent_inventory,
                .offer = agent_offer,
                .rules = agent_rules,
                .ledger = see_ledger,
                .cordons = see_cordons,
                .cordons_changed = on_cordons_changed,
                .why_not_ready = why_not_ready,
                .ask_holders = ask,
                .release_idle = release_idle,
        };
        const struct node_config config = {
                .run_dir = agent->options->run_dir,
                .simulated = agent->options->sim_dir != NULL,
                .has_group = agent->world.config->node_group > 0,
                .group = agent->world.config->node_group,
        };

        agent->node = node_start(&agent->loop, agent->rpc, &world, &config);
}
