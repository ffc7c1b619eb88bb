/* SPDX-License-Identifier: Apache-2.0 */
/* The methods. What a request says is checked here; what they tell is made by present/. */
#include "base/alloc.h"
#include "base/str.h"
#include "node/node_priv.h"

void node_reply(struct rpc_call *call, const ProtobufCMessage *message)
{
        if (protobuf_c_message_get_packed_size(message) > RPC_SEND_MAX)
                rpc_fail(call, RPC_RESOURCE_EXHAUSTED, "the answer would be larger than a client takes: ask for smaller pages (page_size)");
        else
                rpc_reply(call, message);
}

/* ---- Identity ---- */

static void get_plugin_info(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        typedef Sluice__Node__V1__GetPluginInfoResponse__ManifestEntry entry;
        const struct node *node = ctx;
        entry api = SLUICE__NODE__V1__GET_PLUGIN_INFO_RESPONSE__MANIFEST_ENTRY__INIT, simulated = api, *entries[] = { &api, &simulated };
        pb_get_plugin_info_response info = SLUICE__NODE__V1__GET_PLUGIN_INFO_RESPONSE__INIT;

        (void)msg;
        api.key = pb_text("api");
        api.value = pb_text("sluice.node.v1");
        simulated.key = pb_text("simulated");
        simulated.value = pb_text("true");
        info.name = pb_text("sluice.dev");
        info.vendor_version = pb_text(SLUICE_VERSION);
        info.manifest = entries;
        info.n_manifest = node->config.simulated ? 2 : 1;
        rpc_reply(call, &info.base);
}

static void probe(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        const struct node *node = ctx;
        const char *why_not = node->world.why_not_ready(node->world.ctx);
        pb_probe_response answer = SLUICE__NODE__V1__PROBE_RESPONSE__INIT;

        (void)msg;
        answer.ready = !why_not;
        answer.why_not = pb_text(why_not ? why_not : "");
        rpc_reply(call, &answer.base);
}

/* ---- Node ---- */

static void list_devices(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        const pb_node_list_devices_request *request = (const pb_node_list_devices_request *)(const void *)msg;
        const struct node_world *world = &((struct node *)ctx)->world;
        _cleanup_pile_ struct pile pile = { 0 };

        if (strlen(request->page_token) >= DEVICE_ID_MAX) {
                rpc_fail(call, RPC_INVALID_ARGUMENT, "page_token is none that an answer had");
                return;
        }
        node_reply(call, &pb_devices_of(&pile, world->inventory(world->ctx), world->offer(world->ctx), request->page_token,
                                        node_page_size(request->page_size, DEVICES_PAGE_MAX))
                                  ->base);
}

static void list_prepared(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        node_list_prepared(ctx, call, (const pb_node_list_prepared_request *)(const void *)msg);
}

static void explain(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        node_explain(ctx, call, (const pb_node_explain_request *)(const void *)msg);
}

static void cordon(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        node_cordon(ctx, call, (const pb_node_cordon_request *)(const void *)msg);
}

static void uncordon(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        node_uncordon(ctx, call, (const pb_node_uncordon_request *)(const void *)msg);
}

static void release_idle(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        node_release_idle(ctx, call, (const pb_node_release_idle_request *)(const void *)msg);
}

#define IDENTITY(name, message, function)                                                                                            \
        {                                                                                                                            \
                .path = "/sluice.node.v1.Identity/" name, .request = &sluice__node__v1__##message##__descriptor, .unary = (function) \
        }
#define NODE(name, message, function)                                                                                            \
        {                                                                                                                        \
                .path = "/sluice.node.v1.Node/" name, .request = &sluice__node__v1__##message##__descriptor, .unary = (function) \
        }
const struct rpc_method node_methods[] = {
        IDENTITY("GetPluginInfo", get_plugin_info_request, get_plugin_info),
        IDENTITY("Probe", probe_request, probe),
        NODE("NodeListDevices", node_list_devices_request, list_devices),
        NODE("NodeListPrepared", node_list_prepared_request, list_prepared),
        NODE("NodeExplain", node_explain_request, explain),
        NODE("NodeCordon", node_cordon_request, cordon),
        NODE("NodeUncordon", node_uncordon_request, uncordon),
        NODE("NodeReleaseIdle", node_release_idle_request, release_idle),
};
const size_t node_n_methods = N_ELEMENTS(node_methods);
