/* SPDX-License-Identifier: Apache-2.0 */
/* The DevicePlugin service: what kubelet asks, put to the door (claims) and to core, and their answers put into its
 * messages. At most one log line per refused call, none per healthy one. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "core/preferred.h"
#include "kubelet/kubelet_priv.h"

/* Kubelet sends one container with a handful of devices; these bound what anybody else can make us copy. */
enum { CONTAINERS_MAX = 64, IDS_MAX = 1024 };

/* ---- refusals ---- */

enum rpc_code serve_code(enum reason reason)
{
        switch (reason) {
        case REASON_NONE:
                return RPC_OK;
        case REASON_EMPTY_REQUEST:
        case REASON_MALFORMED:
        case REASON_DUPLICATE_DEVICE:
        case REASON_TOO_MANY_DEVICES:
                return RPC_INVALID_ARGUMENT;
        case REASON_UNKNOWN_DEVICE:
                return RPC_NOT_FOUND;
        case REASON_STEP_FAILED:
                return RPC_INTERNAL;
        case REASON_HAND_LOST:
        case REASON_CARD_BUSY:
                return RPC_ABORTED;
        case REASON_DEADLINE:
                return RPC_DEADLINE_EXCEEDED;
        case REASON_OVERLOAD:
                return RPC_RESOURCE_EXHAUSTED;
        case REASON_TOO_LATE:
                return RPC_UNAVAILABLE;
        default:
                return RPC_FAILED_PRECONDITION; /* The device or the host is not as it would have to be. */
        }
}

static void refuse(const struct plugin *plugin, struct rpc_call *call, const char *what, enum rpc_code code, const char *text)
{
        log_warn("%s: %s refused: %s", plugin->resource, what, text);
        rpc_fail(call, code, text);
}

enum { WHOLE_TEXT_MAX = ERR_MSG_MAX + 320 };

/* As the claims say it: sentence, word, remedy. */
static void say_whole(char *out, size_t size, enum reason reason, const char *text)
{
        str_format(out, size, "%s [%s] %s", text, reason_word(reason), reason_remedy(reason));
}

static void refuse_for(const struct plugin *plugin, struct rpc_call *call, const char *what, enum reason reason, const char *text)
{
        char whole[WHOLE_TEXT_MAX];

        say_whole(whole, sizeof(whole), reason, text);
        refuse(plugin, call, what, serve_code(reason), whole);
}

/* ---- Allocate and PreStartContainer: one claim each ---- */

struct asking {
        struct plugin *plugin;
        struct rpc_call *call;
        bool verify_only; /* PreStartContainer */
        char **ids;
        size_t n_ids;
};

static void asking_free(struct asking *asking)
{
        for (size_t i = 0; i < asking->n_ids; i++)
                free(asking->ids[i]);
        free(asking->ids);
        free(asking);
}

static void asking_refuse(const struct asking *asking, enum reason reason, const char *text)
{
        _cleanup_strbuf_ struct strbuf what = { 0 };

        strbuf_addf(&what, "%s of", asking->verify_only ? "PreStartContainer" : "Allocate");
        for (size_t i = 0; i < asking->n_ids && what.len < 256; i++)
                strbuf_addf(&what, " %.64s", asking->ids[i]);
        refuse(asking->plugin, asking->call, what.text, serve_code(reason), text && *text ? text : reason_sentence(reason));
}

static void reply_allocated(const struct asking *asking, const struct answer *answer)
{
        static char permissions[] = "mrw";
        V1beta1__ContainerAllocateResponse__EnvsEntry env = V1BETA1__CONTAINER_ALLOCATE_RESPONSE__ENVS_ENTRY__INIT, *envs[] = { &env };
        V1beta1__ContainerAllocateResponse container = V1BETA1__CONTAINER_ALLOCATE_RESPONSE__INIT, *containers[] = { &container };
        V1beta1__AllocateResponse response = V1BETA1__ALLOCATE_RESPONSE__INIT;
        _cleanup_free_ V1beta1__DeviceSpec *specs = xcalloc(answer->n_nodes, sizeof(*specs));
        _cleanup_free_ V1beta1__DeviceSpec **pointers = xcalloc(answer->n_nodes, sizeof(V1beta1__DeviceSpec *));
        char *sim_node = asking->plugin->kubelet->sim_node;

        env.key = answer->env_name;
        env.value = answer->env_value;
        for (size_t i = 0; i < answer->n_nodes; i++) {
                v1beta1__device_spec__init(&specs[i]);
                specs[i].container_path = answer->nodes[i];
                specs[i].host_path = sim_node ? sim_node : answer->nodes[i];
                specs[i].permissions = permissions;
                pointers[i] = &specs[i];
        }
        container.n_envs = 1;
        container.envs = envs;
        container.n_devices = answer->n_nodes;
        container.devices = pointers;
        response.n_container_responses = 1;
        response.container_responses = containers;
        rpc_reply(asking->call, &response.base);
}

static void on_claimed(void *ctx, const struct claim_result *result)
{
        struct asking *asking = ctx;
        V1beta1__PreStartContainerResponse started = V1BETA1__PRE_START_CONTAINER_RESPONSE__INIT;

        if (result->reason != REASON_NONE)
                asking_refuse(asking, result->reason, result->text);
        else if (asking->verify_only)
                rpc_reply(asking->call, &started.base);
        else
                reply_allocated(asking, result->answer);
        asking_free(asking);
}

static void ask(struct plugin *plugin, struct rpc_call *call, bool verify_only, char *const *ids, size_t n_ids)
{
        const char *what = verify_only ? "PreStartContainer" : "Allocate";

        if (n_ids == 0) {
                refuse_for(plugin, call, what, REASON_EMPTY_REQUEST, "the request names no device");
                return;
        }
        if (n_ids > IDS_MAX) {
                refuse_for(plugin, call, what, REASON_TOO_MANY_DEVICES, "the request names too many devices");
                return;
        }
        struct asking *asking = xcalloc(1, sizeof(*asking));
        *asking = (struct asking){
                .plugin = plugin,
                .call = call,
                .verify_only = verify_only,
                .ids = xcalloc(n_ids, sizeof(*ids)),
                .n_ids = n_ids,
        };
        for (size_t i = 0; i < n_ids; i++)
                asking->ids[i] = xstrdup(ids[i]);
        const struct claim_request request = {
                .owner = OWNER_KUBELET,
                .resource = plugin->resource,
                .devices = asking->ids,
                .n_devices = n_ids,
                .mode = MODE_VFIO,
                .verify_only = verify_only,
        };
        claims_prepare(plugin->kubelet->claims, &request, on_claimed, asking);
}

/* Kubelet asks for one container at a time. Several would be several claims, and the first ones could not be taken back when
 * a later one is refused. */
static void on_allocate(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        const V1beta1__AllocateRequest *request = (const V1beta1__AllocateRequest *)(const void *)msg;

        if (request->n_container_requests != 1) {
                refuse_for(ctx, call, "Allocate", REASON_MALFORMED, "the request is not for exactly one container, as kubelet's are");
                return;
        }
        ask(ctx, call, false, request->container_requests[0]->devices_ids, request->container_requests[0]->n_devices_ids);
}

static void on_pre_start(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        const V1beta1__PreStartContainerRequest *request = (const V1beta1__PreStartContainerRequest *)(const void *)msg;

        ask(ctx, call, true, request->devices_ids, request->n_devices_ids);
}

/* ---- GetPreferredAllocation ---- */

/* Fills @response for one container; its list of ids is the caller's to free. */
static int prefer(const struct plugin *plugin, const V1beta1__ContainerPreferredAllocationRequest *container,
                  V1beta1__ContainerPreferredAllocationResponse *response, struct err *err)
{
        const struct pool *pool = plugin_pool(plugin);
        const struct preferred_request request = {
                .available = container->available_deviceids,
                .n_available = container->n_available_deviceids,
                .must_include = container->must_include_deviceids,
                .n_must_include = container->n_must_include_deviceids,
                .size = container->allocation_size,
        };
        _cleanup_free_ const char **chosen = xcalloc(container->n_available_deviceids + 1, sizeof(*chosen));

        if (!pool)
                return err_say(err, EINVAL, "%s has no devices", plugin->resource);
        int r = preferred_choose(plugin->offer, pool, &request, chosen, err);
        if (r < 0)
                return r;
        response->n_deviceids = (size_t)container->allocation_size;
        response->deviceids = (char **)(uintptr_t)TAKE_PTR(chosen); /* the ids are the request's */
        return 0;
}

static void on_prefer(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct plugin *plugin = ctx;
        const V1beta1__PreferredAllocationRequest *request = (const V1beta1__PreferredAllocationRequest *)(const void *)msg;
        V1beta1__PreferredAllocationResponse response = V1BETA1__PREFERRED_ALLOCATION_RESPONSE__INIT;
        V1beta1__ContainerPreferredAllocationResponse containers[CONTAINERS_MAX], *pointers[CONTAINERS_MAX];
        size_t n = request->n_container_requests;
        struct err err = { 0 };
        int r = 0;

        if (n == 0 || n > CONTAINERS_MAX) {
                refuse_for(plugin, call, "GetPreferredAllocation", REASON_MALFORMED, "the request names no container, or too many");
                return;
        }
        for (size_t i = 0; i < n; i++) {
                v1beta1__container_preferred_allocation_response__init(&containers[i]);
                pointers[i] = &containers[i];
        }
        for (size_t i = 0; i < n && r == 0; i++)
                r = prefer(plugin, request->container_requests[i], &containers[i], &err);
        if (r < 0) {
                refuse_for(plugin, call, "GetPreferredAllocation", REASON_MALFORMED, err.msg);
        } else {
                response.n_container_responses = n;
                response.container_responses = pointers;
                rpc_reply(call, &response.base);
        }
        for (size_t i = 0; i < n; i++)
                free(containers[i].deviceids);
}

/* ---- the rest ---- */

/* Asked inside Register: answered at once, always. */
static void on_options(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        V1beta1__DevicePluginOptions options = V1BETA1__DEVICE_PLUGIN_OPTIONS__INIT;

        (void)msg;
        plugin_options_asked(ctx, call);
        options.pre_start_required = 1;
        options.get_preferred_allocation_available = 1;
        rpc_reply(call, &options.base);
}

static void on_list_and_watch(void *ctx, struct rpc_stream *stream, const ProtobufCMessage *msg)
{
        (void)msg;
        plugin_stream_opened(ctx, stream);
}

static void on_malformed(void *ctx, struct rpc_call *call, const char *path, const char *why)
{
        refuse_for(ctx, call, strrchr(path, '/') + 1, REASON_MALFORMED, why);
}

#define METHOD(name) "/v1beta1.DevicePlugin/" name
const struct rpc_method serve_methods[] = {
        { METHOD("GetDevicePluginOptions"), &v1beta1__empty__descriptor, on_options, NULL, on_malformed },
        { METHOD("ListAndWatch"), &v1beta1__empty__descriptor, NULL, on_list_and_watch, on_malformed },
        { METHOD("GetPreferredAllocation"), &v1beta1__preferred_allocation_request__descriptor, on_prefer, NULL, on_malformed },
        { METHOD("Allocate"), &v1beta1__allocate_request__descriptor, on_allocate, NULL, on_malformed },
        { METHOD("PreStartContainer"), &v1beta1__pre_start_container_request__descriptor, on_pre_start, NULL, on_malformed },
};
const size_t serve_n_methods = N_ELEMENTS(serve_methods);
