/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"
#include "pluginregistration.pb-c.h"

static void on_options(void *ctx, struct wire_request *rq)
{
        struct plugin *p = ctx;
        V1beta1__DevicePluginOptions m = V1BETA1__DEVICE_PLUGIN_OPTIONS__INIT;

        if (p->slow_options_ms)
                usleep(p->slow_options_ms * 1000);
        str_format(p->watch_authority, sizeof(p->watch_authority), "%s", wire_request_authority(rq));
        m.pre_start_required = 1;
        m.get_preferred_allocation_available = !p->no_preferred;
        if (p->options_code)
                wire_refuse(rq, p->options_code, "no options today");
        else
                wire_reply(rq, &m.base);
}

static bool send_list(struct plugin *p, struct wire_request *rq)
{
        V1beta1__ListAndWatchResponse m = V1BETA1__LIST_AND_WATCH_RESPONSE__INIT;
        size_t n = p->list_nothing ? 0 : p->n_devices, all = n + p->pad;
        V1beta1__Device *d = xcalloc(all + 1, sizeof(*d)), **list = xcalloc(all + 1, sizeof(*list));
        V1beta1__TopologyInfo *topology = xcalloc(n + 1, sizeof(*topology));
        V1beta1__NUMANode *nodes = xcalloc(n + 1, FK_NODES_MAX * sizeof(*nodes)),
                          **node_list = xcalloc(n + 1, FK_NODES_MAX * sizeof(*node_list));
        char long_id[] = "a-rather-long-identifier-of-a-device-that-only-fills-the-message";

        for (size_t i = 0; i < all; i++) {
                v1beta1__device__init(&d[i]);
                list[i] = &d[i];
                d[i].id = i < n ? p->devices[i].id : long_id;
                d[i].health = i < n ? p->devices[i].health : long_id;
                if (i >= n || p->devices[i].n_nodes == 0)
                        continue;
                v1beta1__topology_info__init(&topology[i]);
                topology[i].nodes = &node_list[i * FK_NODES_MAX];
                topology[i].n_nodes = p->devices[i].n_nodes;
                for (size_t k = 0; k < p->devices[i].n_nodes; k++) {
                        V1beta1__NUMANode *node = &nodes[i * FK_NODES_MAX + k];
                        v1beta1__numanode__init(node);
                        node->id = p->devices[i].nodes[k];
                        topology[i].nodes[k] = node;
                }
                d[i].topology = &topology[i];
        }
        m.n_devices = all;
        m.devices = list;
        bool ok = wire_send(rq, &m.base);
        free(d), free(list), free(topology), free(nodes), free(node_list);
        return ok;
}

static void on_watch(void *ctx, struct wire_request *rq)
{
        struct plugin *p = ctx;
        unsigned sent = 0;

        pthread_mutex_lock(&p->mu);
        while (!p->end_streams && !wire_request_gone(rq)) {
                if (sent != p->generation) {
                        sent = p->generation;
                        if (!send_list(p, rq))
                                break;
                }
                struct timespec at;
                (void)clock_gettime(CLOCK_REALTIME, &at);
                at.tv_nsec += 10000000;
                at.tv_sec += at.tv_nsec / 1000000000;
                at.tv_nsec %= 1000000000;
                (void)pthread_cond_timedwait(&p->changed, &p->mu, &at);
        }
        pthread_mutex_unlock(&p->mu);
        wire_end(rq, 14, "the plugin ends");
        pthread_mutex_lock(&p->mu);
        p->ended++;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mu);
}

static void on_preferred(void *ctx, struct wire_request *rq)
{
        struct plugin *p = ctx;
        V1beta1__ContainerPreferredAllocationResponse one = V1BETA1__CONTAINER_PREFERRED_ALLOCATION_RESPONSE__INIT, *list = &one;
        V1beta1__PreferredAllocationResponse m = V1BETA1__PREFERRED_ALLOCATION_RESPONSE__INIT;

        one.n_deviceids = p->n_preferred;
        one.deviceids = (char **)p->preferred_answer;
        m.n_container_responses = 1;
        m.container_responses = &list;
        if (p->preferred_code)
                wire_refuse(rq, p->preferred_code, "cannot prefer");
        else
                wire_reply(rq, &m.base);
}

static void on_allocate(void *ctx, struct wire_request *rq)
{
        struct plugin *p = ctx;
        V1beta1__ContainerAllocateResponse one = V1BETA1__CONTAINER_ALLOCATE_RESPONSE__INIT, *list = &one;
        V1beta1__ContainerAllocateResponse__EnvsEntry env = V1BETA1__CONTAINER_ALLOCATE_RESPONSE__ENVS_ENTRY__INIT, *envs = &env;
        V1beta1__DeviceSpec node = V1BETA1__DEVICE_SPEC__INIT, *nodes = &node;
        V1beta1__AllocateResponse m = V1BETA1__ALLOCATE_RESPONSE__INIT;

        if (p->drop_on_allocate) {
                pthread_mutex_lock(&p->mu);
                p->list_nothing = true;
                p->generation++;
                pthread_cond_broadcast(&p->changed);
                pthread_mutex_unlock(&p->mu);
                usleep(200000);
        }
        env.key = (char *)"SHARED";
        env.value = (char *)(p->env_value ? p->env_value : p->resource);
        one.n_envs = 1;
        one.envs = &envs;
        node.container_path = node.host_path = (char *)"/dev/shared";
        node.permissions = (char *)"mrw";
        one.n_devices = 1;
        one.devices = &nodes;
        m.n_container_responses = p->empty_answer ? 0 : 1;
        m.container_responses = &list;
        if (p->allocate_code)
                wire_refuse(rq, p->allocate_code, "device d0 is on fire");
        else
                wire_reply(rq, &m.base);
}

static void on_prestart(void *ctx, struct wire_request *rq)
{
        struct plugin *p = ctx;
        V1beta1__PreStartContainerResponse m = V1BETA1__PRE_START_CONTAINER_RESPONSE__INIT;

        if (p->prestart_code)
                wire_refuse(rq, p->prestart_code, "not yet");
        else
                wire_reply(rq, &m.base);
}

static void on_info(void *ctx, struct wire_request *rq)
{
        struct plugin *p = ctx;
        Pluginregistration__PluginInfo m = PLUGINREGISTRATION__PLUGIN_INFO__INIT;
        char *version = (char *)"v1beta1";

        if (p->slow_info_ms)
                usleep(p->slow_info_ms * 1000);
        str_format(p->authority, sizeof(p->authority), "%s", wire_request_authority(rq));
        m.type = (char *)(p->type ? p->type : "DevicePlugin");
        m.name = p->resource;
        m.endpoint = p->path;
        m.n_supported_versions = 1;
        m.supported_versions = &version;
        wire_reply(rq, &m.base);
}

static void on_notify(void *ctx, struct wire_request *rq)
{
        struct plugin *p = ctx;
        const struct wire_bytes *b = wire_request_bytes(rq);
        Pluginregistration__RegistrationStatus *m = pluginregistration__registration_status__unpack(NULL, b->n, b->data);
        Pluginregistration__RegistrationStatusResponse reply = PLUGINREGISTRATION__REGISTRATION_STATUS_RESPONSE__INIT;

        p->registered = m && m->plugin_registered;
        p->refused = m && !m->plugin_registered;
        if (p->notify_fails)
                wire_refuse(rq, 13, "I do not listen");
        else
                wire_reply(rq, &reply.base);
        if (m)
                pluginregistration__registration_status__free_unpacked(m, NULL);
}

static const struct wire_method methods[] = {
        { "/v1beta1.DevicePlugin/GetDevicePluginOptions", on_options },
        { "/v1beta1.DevicePlugin/ListAndWatch", on_watch },
        { "/v1beta1.DevicePlugin/GetPreferredAllocation", on_preferred },
        { "/v1beta1.DevicePlugin/Allocate", on_allocate },
        { "/v1beta1.DevicePlugin/PreStartContainer", on_prestart },
        { "/pluginregistration.Registration/GetInfo", on_info },
        { "/pluginregistration.Registration/NotifyRegistrationStatus", on_notify },
};

void plugin_start(struct plugin *p, const char *dir, const char *resource, const char *name, size_t n)
{
        *p = (struct plugin){ .generation = 1, .n_devices = n };
        str_format(p->dir, sizeof(p->dir), "%s", dir);
        str_format(p->resource, sizeof(p->resource), "%s", resource);
        str_format(p->name, sizeof(p->name), "%s", name);
        str_format(p->path, sizeof(p->path), "%s/device-plugins/%s", dir, name);
        (void)pthread_mutex_init(&p->mu, NULL);
        (void)pthread_cond_init(&p->changed, NULL);
        for (size_t i = 0; i < n; i++) {
                str_format(p->devices[i].id, FK_ID_MAX, "d%zu", i);
                str_format(p->devices[i].health, sizeof(p->devices[i].health), "Healthy");
                p->devices[i].n_nodes = 1;
                p->devices[i].nodes[0] = (int64_t)(i % 2);
        }
        p->server = wire_server_new(p->path, 0, methods, N_ELEMENTS(methods), p);
        if (!p->server)
                abort(); /* the directory is not there */
}

void plugin_watch_socket(struct plugin *p, const char *name)
{
        char path[256];

        str_format(path, sizeof(path), "%s/plugins_registry/%s", p->dir, name);
        wire_server_free(p->registration);
        p->registration = wire_server_new(path, 0, methods, N_ELEMENTS(methods), p);
        if (!p->registration)
                abort(); /* the directory is not there */
}

void plugin_push(struct plugin *p)
{
        pthread_mutex_lock(&p->mu);
        p->generation++;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mu);
}

void plugin_health(struct plugin *p, size_t device, const char *health)
{
        pthread_mutex_lock(&p->mu);
        str_format(p->devices[device].health, sizeof(p->devices[device].health), "%s", health);
        p->generation++;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mu);
}

void plugin_end_streams(struct plugin *p)
{
        pthread_mutex_lock(&p->mu);
        unsigned before = p->ended;
        p->end_streams = true;
        pthread_cond_broadcast(&p->changed);
        while (p->ended == before)
                pthread_cond_wait(&p->changed, &p->mu);
        p->end_streams = false;
        pthread_mutex_unlock(&p->mu);
}

void plugin_stop(struct plugin *p)
{
        pthread_mutex_lock(&p->mu);
        p->end_streams = true;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mu);
        wire_server_free(p->server);
        wire_server_free(p->registration);
        (void)unlink(p->path);
        (void)pthread_mutex_destroy(&p->mu);
        (void)pthread_cond_destroy(&p->changed);
}

int plugin_register(struct plugin *p, int64_t timeout_ms, char text[FK_TEXT_MAX])
{
        V1beta1__RegisterRequest m = V1BETA1__REGISTER_REQUEST__INIT;
        V1beta1__DevicePluginOptions options = V1BETA1__DEVICE_PLUGIN_OPTIONS__INIT; /* says no to both; ignored */
        struct wire_status status = { .code = 14 };
        ProtobufCMessage *reply = NULL;
        char path[256];

        str_format(path, sizeof(path), "%s/device-plugins/kubelet.sock", p->dir);
        struct wire_conn *conn = wire_conn_new(path, "localhost");
        m.version = (char *)"v1beta1";
        m.endpoint = p->name;
        m.resource_name = p->resource;
        m.options = &options;
        int64_t until = clock_ms() + timeout_ms;
        if (wire_conn_dial(conn, until))
                (void)wire_call(conn, "/v1beta1.Registration/Register", &m.base, &v1beta1__empty__descriptor, until, &reply, NULL, &status);
        if (reply)
                protobuf_c_message_free_unpacked(reply, NULL);
        str_format(text, FK_TEXT_MAX, "%s", status.text);
        wire_conn_close(conn);
        wire_conn_free(conn);
        return status.code;
}
