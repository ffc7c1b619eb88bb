/* SPDX-License-Identifier: Apache-2.0 */
/* The end. */
#include "agent/agent_priv.h"
#include "agent/notify.h"

enum { STOP_HANDS_MS = 1500 /* plans at work when the end is asked for may end within this time */ };

static void on_handle_closed(uv_handle_t *handle)
{
        (void)handle;
}

static void on_rpc_stopped(void *ctx)
{
        struct agent *agent = ctx;
        uv_handle_t *handles[] = {
                (uv_handle_t *)&agent->signals, (uv_handle_t *)&agent->look,       (uv_handle_t *)&agent->backstop,
                (uv_handle_t *)&agent->reload,  (uv_handle_t *)&agent->stop_hands, (uv_handle_t *)&agent->config_watch,
        };

        /* Not before: it is a claim that has just come to its end that says that all have. */
        agent->claims = claims_free(agent->claims);
        ledger_stop(agent->ledger);
        for (size_t i = 0; i < N_ELEMENTS(handles); i++)
                if (!uv_is_closing(handles[i]))
                        uv_close(handles[i], on_handle_closed);
}

static void stop_hands(struct agent *agent);

/* The last steps need each other: kubelet's open calls end with the claims, the claims with the hands. */
static void stop_step(struct agent *agent)
{
        if (agent->kubelet_closed && agent->claims_closed && !agent->hands_stopping)
                stop_hands(agent);
        if (!agent->kubelet_closed || !agent->claims_closed || !agent->hands_closed || !agent->node_closed)
                return;
        agent->kubelet = kubelet_free(agent->kubelet);
        agent->node = node_free(agent->node);
        if (agent->rpc)
                rpc_stop(agent->rpc, on_rpc_stopped, agent);
        else
                on_rpc_stopped(agent);
}

static void on_kubelet_closed(void *ctx)
{
        struct agent *agent = ctx;

        agent->kubelet_closed = true;
        stop_step(agent);
}

/* Only now are kubelet's streams ended: at the end of ListAndWatch it drops the connection, and an Allocate that was being
 * answered would fail with Canceled although its device is bound. */
static void on_claims_closed(void *ctx)
{
        struct agent *agent = ctx;

        agent->claims_closed = true;
        if (agent->kubelet)
                kubelet_stop(agent->kubelet, on_kubelet_closed, agent);
        else
                on_kubelet_closed(agent);
}

static void on_hands_closed(void *ctx)
{
        struct agent *agent = ctx;

        agent->hands_closed = true;
        stop_step(agent);
}

static void on_node_closed(void *ctx)
{
        struct agent *agent = ctx;

        agent->node_closed = true;
        stop_step(agent);
}

static void stop_hands(struct agent *agent)
{
        agent->hands_stopping = true;
        hands_stop(agent->hands, on_hands_closed, agent);
}

static void on_stop_hands(uv_timer_t *timer)
{
        struct agent *agent = timer->data;

        if (!agent->hands_stopping)
                stop_hands(agent);
}

/* Ends streams, removes sockets, unbinds nothing. Also the end of a start that failed: then there is no kubelet, no events
 * and perhaps no rpc. */
void agent_stop(struct agent *agent, int status)
{
        if (agent->stopping)
                return;
        agent->stopping = true;
        agent->status = status;
        notify_service_manager("STOPPING=1");
        host_events_stop(agent->events);
        agent->events = NULL;
        (void)uv_timer_stop(&agent->look);
        (void)uv_timer_stop(&agent->backstop);
        (void)uv_timer_start(&agent->stop_hands, on_stop_hands, STOP_HANDS_MS, 0);
        if (agent->node)
                node_stop(agent->node, on_node_closed, agent);
        else
                agent->node_closed = true;
        if (agent->claims)
                claims_stop(agent->claims, on_claims_closed, agent);
        else
                on_claims_closed(agent);
}
