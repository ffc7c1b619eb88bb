/* SPDX-License-Identifier: Apache-2.0 */
/* Path B: kubelet's plugin watcher. A registration socket per pool in plugins_registry tells where the service is; kubelet
 * finds it, also after its own restart, and retries by itself.
 *
 * The service socket is there before the registration socket, and goes after it. What kubelet does not do: ask again when
 * the stream ends while it runs, nor (up to 1.34) when it could not connect to the service. So when kubelet's stream does
 * not come within a while, after the last one's end or after kubelet has asked, the registration socket is made anew: a new
 * inode is a new plugin. What cannot be made (no plugins_registry yet) is tried at the next look, every LOOK_MS. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "kubelet/kubelet_priv.h"
#include "pluginregistration.pb-c.h"

enum { ASK_AGAIN_MAX_DOUBLINGS = 5 };

static const char *service_dir(const struct kubelet *kubelet, char *buf, size_t size)
{
        str_format(buf, size, "%s/plugins/sluice", kubelet->dir);
        return buf;
}

/* From now on kubelet's stream is waited for. */
static void expect_kubelet(struct plugin *plugin)
{
        struct watcher *watcher = &plugin->watcher;
        unsigned doublings = watcher->tries < ASK_AGAIN_MAX_DOUBLINGS ? watcher->tries : ASK_AGAIN_MAX_DOUBLINGS;

        watcher->due_ms = clock_ms() + (plugin->kubelet->ask_again_ms << doublings);
        kubelet_arm(plugin->kubelet);
}

/* ---- the registration service ---- */

static void on_get_info(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct plugin *plugin = ctx;
        static char type[] = "DevicePlugin", version[] = "v1beta1";
        char *versions[] = { version };
        Pluginregistration__PluginInfo info = PLUGINREGISTRATION__PLUGIN_INFO__INIT;

        (void)msg;
        if (!plugin->listener) {
                rpc_fail(call, RPC_UNAVAILABLE, "the service has no socket at the moment");
                return;
        }
        plugin->watcher.asked = true;
        if (!plugin_has_kubelet(plugin))
                expect_kubelet(plugin);
        info.type = type;
        info.name = plugin->resource;
        info.endpoint = (char *)(uintptr_t)listener_path(plugin->listener);
        info.n_supported_versions = 1;
        info.supported_versions = versions;
        rpc_reply(call, &info.base);
}

static void on_notify(void *ctx, struct rpc_call *call, const ProtobufCMessage *msg)
{
        struct plugin *plugin = ctx;
        struct watcher *watcher = &plugin->watcher;
        const Pluginregistration__RegistrationStatus *status = (const Pluginregistration__RegistrationStatus *)(const void *)msg;
        Pluginregistration__RegistrationStatusResponse response = PLUGINREGISTRATION__REGISTRATION_STATUS_RESPONSE__INIT;
        char problem[LIFE_PROBLEM_MAX];

        str_clean(problem, sizeof(problem), status->plugin_registered ? "" : status->error);
        if (status->plugin_registered) {
                watcher->registrations++;
                log_info("%s: registered with kubelet", plugin->resource);
        } else if (!streq(problem, watcher->problem)) {
                log_warn("%s: not registered, trying again: %s", plugin->resource, problem);
        }
        str_format(watcher->problem, sizeof(watcher->problem), "%s", problem);
        rpc_reply(call, &response.base);
}

static const struct rpc_method methods[] = {
        { "/pluginregistration.Registration/GetInfo", &pluginregistration__info_request__descriptor, on_get_info, NULL, NULL },
        { "/pluginregistration.Registration/NotifyRegistrationStatus", &pluginregistration__registration_status__descriptor, on_notify,
          NULL, NULL },
};

static void on_accept(void *ctx, int fd)
{
        rpc_server_adopt(((struct plugin *)ctx)->watcher.server, fd);
}

static void on_refused(void *ctx, unsigned uid)
{
        plugin_refused_peer(ctx, uid);
}

/* ---- the sockets ---- */

static int make_directory(const char *path, struct err *err)
{
        if (mkdir(path, 0750) < 0 && errno != EEXIST)
                return err_set(err, errno, "cannot make %s", path);
        return 0;
}

static int open_service(struct plugin *plugin, struct err *err)
{
        char dir[256], name[SOCKET_NAME_MAX];

        str_format(dir, sizeof(dir), "%s/plugins", plugin->kubelet->dir);
        int r = make_directory(dir, err);
        if (r == 0)
                r = make_directory(service_dir(plugin->kubelet, dir, sizeof(dir)), err);
        if (r < 0)
                return r;
        kubelet_fresh_name(plugin->kubelet, plugin->resource, name);
        return plugin_listen(plugin, dir, name, err);
}

static int open_registration(struct plugin *plugin, struct err *err)
{
        struct watcher *watcher = &plugin->watcher;
        char dir[256], name[SOCKET_NAME_MAX], path[256];

        listener_close(watcher->listener);
        watcher->listener = NULL;
        watcher->asked = false;
        str_format(dir, sizeof(dir), "%s/plugins_registry", plugin->kubelet->dir);
        str_format(name, sizeof(name), "sluice-%08x-reg.sock", kubelet_hash(plugin->resource));
        /* Always the same name: what a killed daemon left stands in the way, in a directory that was mounted after our start too. */
        listener_sweep(dir, name);
        str_format(path, sizeof(path), "%.200s/%s", dir, name);
        return listener_open(&watcher->listener, plugin->kubelet->loop, path, on_accept, on_refused, plugin, err);
}

/* Makes what is missing, in the order that kubelet needs. */
static void make_sockets(struct plugin *plugin)
{
        struct watcher *watcher = &plugin->watcher;
        struct err err = { 0 };
        int r = 0;

        if (!plugin->listener || !listener_intact(plugin->listener)) {
                listener_close(watcher->listener);
                watcher->listener = NULL;
                r = open_service(plugin, &err);
        }
        if (r == 0 && (!watcher->listener || !listener_intact(watcher->listener)))
                r = open_registration(plugin, &err);
        if (r == 0)
                return;
        if (!streq(err.msg, watcher->problem))
                log_warn("%s: not registered, trying again: %s", plugin->resource, err.msg);
        str_clean(watcher->problem, sizeof(watcher->problem), err.msg);
}

/* ---- events of a plugin ---- */

void watcher_plugin_new(struct plugin *plugin)
{
        struct kubelet *kubelet = plugin->kubelet;

        plugin->watcher.server = rpc_server_new(kubelet->rpc, methods, N_ELEMENTS(methods), plugin);
        plugin->watcher.due_ms = INT64_MAX;
        kubelet->open++;
        make_sockets(plugin);
}

void watcher_look(struct plugin *plugin)
{
        make_sockets(plugin);
}

void watcher_stream(struct plugin *plugin, bool opened)
{
        struct watcher *watcher = &plugin->watcher;

        if (opened) {
                watcher->due_ms = INT64_MAX;
                watcher->tries = 0;
                watcher->problem[0] = '\0';
                return;
        }
        if (plugin_has_kubelet(plugin))
                return;
        watcher->asked = false;
        expect_kubelet(plugin);
}

void watcher_tick(struct plugin *plugin)
{
        struct watcher *watcher = &plugin->watcher;

        if (clock_ms() < watcher->due_ms)
                return;
        watcher->due_ms = INT64_MAX;
        if (!plugin_has_kubelet(plugin) && watcher->listener) {
                /* Kubelet does not come by itself. */
                watcher->tries++;
                listener_close(watcher->listener);
                watcher->listener = NULL;
        }
        make_sockets(plugin);
        if (!plugin_has_kubelet(plugin) && watcher->tries > 0)
                watcher_stream(plugin, false);
}

void watcher_plugin_stop(struct plugin *plugin)
{
        struct watcher *watcher = &plugin->watcher;

        listener_close(watcher->listener);
        watcher->listener = NULL;
        rpc_server_stop(watcher->server, STOP_GRACE_MS, kubelet_release_ctx, plugin->kubelet);
        watcher->server = NULL;
}

const char *watcher_state_name(const struct plugin *plugin)
{
        const struct watcher *watcher = &plugin->watcher;

        if (plugin_has_kubelet(plugin))
                return life_state_name(LIFE_SERVING);
        if (!watcher->listener)
                return life_state_name(LIFE_BACKOFF);
        return life_state_name(watcher->asked ? LIFE_WAIT : LIFE_LISTENING);
}
