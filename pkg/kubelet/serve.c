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

/* ---- Allocate and PreStartContainer: one claim per container, one after the other ---- */

struct wish {
        char **ids;
        size_t n_ids;
        /* What was granted: a copy of the answer. */
        char *env_name, *env_value;
        char **nodes;
        size_t n_nodes;
};

struct asking {
        struct plugin *plugin;
        struct rpc_call *call;
        bool verify_only; /* PreStartContainer */
        struct wish *wishes;
        size_t n_wishes, at;
};

static void strings_free(char **strings, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(strings[i]);
        free(strings);
}

static char **strings_copy(char *const *strings, size_t n)
{
        char **copy = xcalloc(n + 1, sizeof(*copy));

        for (size_t i = 0; i < n; i++)
                copy[i] = xstrdup(strings[i]);
        return copy;
}

static void asking_free(struct asking *asking)
{
        for (size_t i = 0; i < asking->n_wishes; i++) {
                struct wish *wish = &asking->wishes[i];
                strings_free(wish->ids, wish->n_ids);
                strings_free(wish->nodes, wish->n_nodes);
                free(wish->env_name);
                free(wish->env_value);
        }
        free(asking->wishes);
        free(asking);
}

static struct asking *asking_new(struct plugin *plugin, struct rpc_call *call, bool verify_only, size_t n_wishes)
{
        struct asking *asking = xcalloc(1, sizeof(*asking));

        asking->plugin = plugin;
        asking->call = call;
        asking->verify_only = verify_only;
        asking->wishes = xcalloc(n_wishes, sizeof(*asking->wishes));
        asking->n_wishes = n_wishes;
        return asking;
}

static void asking_refuse(struct asking *asking, enum reason reason, const char *text)
{
        _cleanup_strbuf_ struct strbuf what = { 0 };
        const char *complete = text && *text ? text : reason_sentence(reason);

        strbuf_add(&what, asking->verify_only ? "PreStartContainer" : "Allocate");
        for (size_t i = 0; i < asking->n_wishes; i++)
                for (size_t j = 0; j < asking->wishes[i].n_ids && what.len < 256; j++)
                        strbuf_addf(&what, "%s %.64s", i + j == 0 ? " of" : "", asking->wishes[i].ids[j]);
        refuse(asking->plugin, asking->call, what.text, serve_code(reason), complete);
        asking_free(asking);
}

static void fill_container(V1beta1__ContainerAllocateResponse *container, const struct wish *wish, char *sim_node)
{
        static char permissions[] = "mrw";
        V1beta1__ContainerAllocateResponse__EnvsEntry *env = xcalloc(1, sizeof(*env));
        V1beta1__DeviceSpec *specs = xcalloc(wish->n_nodes + 1, sizeof(*specs));

        v1beta1__container_allocate_response__init(container);
        v1beta1__container_allocate_response__envs_entry__init(env);
        env->key = wish->env_name;
        env->value = wish->env_value;
        container->n_envs = 1;
        container->envs = xcalloc(1, sizeof(*container->envs));
        container->envs[0] = env;
        container->n_devices = wish->n_nodes;
        container->devices = xcalloc(wish->n_nodes + 1, sizeof(*container->devices));
        container->devices[0] = specs; /* Also when there is none: it is freed by that name. */
        for (size_t i = 0; i < wish->n_nodes; i++) {
                v1beta1__device_spec__init(&specs[i]);
                specs[i].container_path = wish->nodes[i];
                specs[i].host_path = sim_node ? sim_node : wish->nodes[i];
                specs[i].permissions = permissions;
                container->devices[i] = &specs[i];
        }
}

static void container_done(V1beta1__ContainerAllocateResponse *container)
{
        free(container->envs[0]);
        free(container->envs);
        free(container->devices[0]);
        free(container->devices);
}

static void reply_allocated(struct asking *asking)
{
        V1beta1__AllocateResponse response = V1BETA1__ALLOCATE_RESPONSE__INIT;
        size_t n = asking->n_wishes;
        _cleanup_free_ V1beta1__ContainerAllocateResponse *containers = xcalloc(n, sizeof(*containers));
        _cleanup_free_ V1beta1__ContainerAllocateResponse **pointers = xcalloc(n, sizeof(V1beta1__ContainerAllocateResponse *));

        for (size_t i = 0; i < n; i++) {
                fill_container(&containers[i], &asking->wishes[i], asking->plugin->kubelet->sim_node);
                pointers[i] = &containers[i];
        }
        response.n_container_responses = n;
        response.container_responses = pointers;
        rpc_reply(asking->call, &response.base);
        for (size_t i = 0; i < n; i++)
                container_done(&containers[i]);
}

static void asking_reply(struct asking *asking)
{
        V1beta1__PreStartContainerResponse started = V1BETA1__PRE_START_CONTAINER_RESPONSE__INIT;

        if (asking->verify_only)
                rpc_reply(asking->call, &started.base);
        else
                reply_allocated(asking);
        asking_free(asking);
}

static void ask_next(struct asking *asking);

static void on_claimed(void *ctx, const struct claim_result *result)
{
        struct asking *asking = ctx;
        struct wish *wish = &asking->wishes[asking->at];

        if (result->reason != REASON_NONE) {
                asking_refuse(asking, result->reason, result->text);
                return;
        }
        if (!asking->verify_only) {
                wish->env_name = xstrdup(result->answer->env_name);
                wish->env_value = xstrdup(result->answer->env_value);
                wish->nodes = strings_copy(result->answer->nodes, result->answer->n_nodes);
                wish->n_nodes = result->answer->n_nodes;
        }
        asking->at++;
        ask_next(asking);
}

/* May recurse through the claims as deep as there are containers: CONTAINERS_MAX. */
static void ask_next(struct asking *asking)
{
        if (asking->at == asking->n_wishes) {
                asking_reply(asking);
                return;
        }
        const struct wish *wish = &asking->wishes[asking->at];
        const struct claim_request request = {
                .owner = OWNER_KUBELET,
                .resource = asking->plugin->resource,
                .devices = wish->ids,
                .n_devices = wish->n_ids,
                .mode = MODE_VFIO,
                .verify_only = asking->verify_only,
        };
        claims_prepare(asking->plugin->kubelet->claims, &request, on_claimed, asking);
}

/* What can be said without the claims: counts, and one device for two containers. */
static enum reason wishes_problem(const struct asking *asking, char *text, size_t size)
{
        str_format(text, size, "the request names no device");
        for (size_t i = 0; i < asking->n_wishes; i++)
                if (asking->wishes[i].n_ids == 0)
                        return REASON_EMPTY_REQUEST;
        for (size_t i = 1; i < asking->n_wishes; i++)
                for (size_t j = 0; j < asking->wishes[i].n_ids; j++)
                        for (size_t k = 0; k < i; k++)
                                for (size_t l = 0; l < asking->wishes[k].n_ids; l++)
                                        if (streq(asking->wishes[i].ids[j], asking->wishes[k].ids[l])) {
                                                str_format(text, size, "the request gives device %.64s to two containers",
                                                           asking->wishes[i].ids[j]);
                                                return REASON_DUPLICATE_DEVICE;
                                        }
        return REASON_NONE;
}

static void ask(struct asking *asking)
{
        char problem[128], clean[128], text[WHOLE_TEXT_MAX];

        enum reason reason = wishes_problem(asking, problem, sizeof(problem));
        if (!reason) {
                ask_next(asking);
                return;
        }
        str_clean(clean, sizeof(clean), problem);
        say_whole(text, sizeof(text), reason, clean);
        asking_refuse(asking, reason, text);
}

static void on_allocate(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct plugin *plugin = ctx;
        const V1beta1__AllocateRequest *request = (const V1beta1__AllocateRequest *)(const void *)msg;
        size_t n_ids = 0;

        for (size_t i = 0; i < request->n_container_requests; i++)
                n_ids += request->container_requests[i]->n_devices_ids;
        if (request->n_container_requests == 0 || request->n_container_requests > CONTAINERS_MAX || n_ids > IDS_MAX) {
                if (request->n_container_requests == 0)
                        refuse_for(plugin, call, "Allocate", REASON_EMPTY_REQUEST, "the request names no device");
                else
                        refuse_for(plugin, call, "Allocate", REASON_TOO_MANY_DEVICES, "the request names too many containers or devices");
                return;
        }
        struct asking *asking = asking_new(plugin, call, false, request->n_container_requests);
        for (size_t i = 0; i < asking->n_wishes; i++) {
                const V1beta1__ContainerAllocateRequest *container = request->container_requests[i];
                asking->wishes[i].ids = strings_copy(container->devices_ids, container->n_devices_ids);
                asking->wishes[i].n_ids = container->n_devices_ids;
        }
        ask(asking);
}

static void on_pre_start(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct plugin *plugin = ctx;
        const V1beta1__PreStartContainerRequest *request = (const V1beta1__PreStartContainerRequest *)(const void *)msg;

        if (request->n_devices_ids > IDS_MAX) {
                refuse_for(plugin, call, "PreStartContainer", REASON_TOO_MANY_DEVICES, "the request names too many devices");
                return;
        }
        struct asking *asking = asking_new(plugin, call, true, 1);
        asking->wishes[0].ids = strings_copy(request->devices_ids, request->n_devices_ids);
        asking->wishes[0].n_ids = request->n_devices_ids;
        ask(asking);
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
                refuse(plugin, call, "GetPreferredAllocation", RPC_INVALID_ARGUMENT, "the request names no container, or too many");
                return;
        }
        for (size_t i = 0; i < n; i++) {
                v1beta1__container_preferred_allocation_response__init(&containers[i]);
                pointers[i] = &containers[i];
        }
        for (size_t i = 0; i < n && r == 0; i++)
                r = prefer(plugin, request->container_requests[i], &containers[i], &err);
        if (r < 0) {
                refuse(plugin, call, "GetPreferredAllocation", RPC_INVALID_ARGUMENT, err.msg);
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

#define METHOD(name) "/v1beta1.DevicePlugin/" name
const struct rpc_method serve_methods[] = {
        { METHOD("GetDevicePluginOptions"), &v1beta1__empty__descriptor, on_options, NULL },
        { METHOD("ListAndWatch"), &v1beta1__empty__descriptor, NULL, on_list_and_watch },
        { METHOD("GetPreferredAllocation"), &v1beta1__preferred_allocation_request__descriptor, on_prefer, NULL },
        { METHOD("Allocate"), &v1beta1__allocate_request__descriptor, on_allocate, NULL },
        { METHOD("PreStartContainer"), &v1beta1__pre_start_container_request__descriptor, on_pre_start, NULL },
};
const size_t serve_n_methods = N_ELEMENTS(serve_methods);
