/* SPDX-License-Identifier: Apache-2.0 */
/* One pool: its list, who is told of it, and when. The first change is sent at once, what follows is gathered. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "kubelet/kubelet_priv.h"

struct plugin *plugin_new(struct kubelet *kubelet, const char *resource)
{
        struct plugin *plugin = xcalloc(1, sizeof(*plugin));

        plugin->kubelet = kubelet;
        (void)str_copy(plugin->resource, sizeof(plugin->resource), resource);
        plugin->pushed_ms = INT64_MIN / 2;
        plugin->push_due_ms = INT64_MAX;
        plugin->server = rpc_server_new(kubelet->rpc, serve_methods, serve_n_methods, plugin);
        kubelet->open++;
        return plugin;
}

struct plugin *plugin_free(struct plugin *plugin)
{
        if (!plugin)
                return NULL;
        (void)offer_unref(plugin->offer);
        free(plugin);
        return NULL;
}

const struct pool *plugin_pool(const struct plugin *plugin)
{
        return plugin->offer ? offer_pool(plugin->offer, plugin->resource) : NULL;
}

/* ---- the list ---- */

static void send_to(struct plugin *plugin, struct open_stream *to, const struct list *list)
{
        to->version = plugin->version;
        (void)rpc_stream_set(to->stream, &list->msg.base); /* The size was checked when the offer was taken. */
}

static void push(struct plugin *plugin, int64_t now_ms)
{
        _cleanup_list_ struct list list = { .block = NULL };

        plugin->push_due_ms = INT64_MAX;
        if (plugin->n_streams == 0)
                return; /* Nobody was told, so the next change is still the first one. */
        plugin->pushed_ms = now_ms;
        list_make(&list, plugin->offer, plugin_pool(plugin), plugin->withdrawn);
        for (size_t i = 0; i < plugin->n_streams; i++)
                if (plugin->streams[i].version != plugin->version)
                        send_to(plugin, &plugin->streams[i], &list);
}

static void changed(struct plugin *plugin)
{
        int64_t now_ms = clock_ms();

        plugin->version++;
        if (now_ms - plugin->pushed_ms >= GATHER_MS)
                push(plugin, now_ms);
        else if (plugin->push_due_ms == INT64_MAX)
                plugin->push_due_ms = plugin->pushed_ms + GATHER_MS;
}

void plugin_tick(struct plugin *plugin, int64_t now_ms)
{
        if (now_ms >= plugin->push_due_ms)
                push(plugin, now_ms);
}

/* Kubelet takes 4 MiB at most and would drop the whole resource. */
static bool fits(struct plugin *plugin, const struct offer *offer, const struct pool *pool)
{
        _cleanup_list_ struct list list;

        list_make(&list, offer, pool, true); /* "Unhealthy" is the longer word: whatever turns sick, it still fits. */
        bool ok = protobuf_c_message_get_packed_size(&list.msg.base) <= RPC_SEND_MAX;
        if (!ok && !plugin->too_large_said)
                log_error("%s: a list of %zu devices is larger than kubelet accepts; the former list stays", plugin->resource,
                          pool->n_devices);
        plugin->too_large_said = !ok;
        return ok;
}

void plugin_offer(struct plugin *plugin, struct offer *offer)
{
        const struct pool *pool = offer_pool(offer, plugin->resource), *past = plugin_pool(plugin);
        bool same = past && !plugin->withdrawn && offer_pool_equal(plugin->offer, past, offer, pool);

        if (!same && !fits(plugin, offer, pool))
                return;
        struct offer *former = plugin->offer;
        plugin->offer = offer_ref(offer);
        plugin->withdrawn = false;
        (void)offer_unref(former);
        if (!same)
                changed(plugin);
}

void plugin_withdraw(struct plugin *plugin)
{
        if (plugin->withdrawn)
                return;
        plugin->withdrawn = true; /* Never dropped: a device may be in flight or held. */
        changed(plugin);
}

/* ---- the socket ---- */

static void on_accept(void *ctx, int fd)
{
        rpc_server_adopt(((struct plugin *)ctx)->server, fd);
}

static void on_refused(void *ctx, unsigned uid)
{
        plugin_refused_peer(ctx, uid);
}

void plugin_refused_peer(struct plugin *plugin, unsigned uid)
{
        if (plugin->refused_said)
                return;
        plugin->refused_said = true;
        log_error("%s: a process of user %u connected to %s and was turned away: only root may. A kubelet in a user namespace cannot "
                  "be served",
                  plugin->resource, uid, plugin->listener ? listener_path(plugin->listener) : "the socket");
}

int plugin_listen(struct plugin *plugin, const char *dir, const char *name, struct err *err)
{
        _cleanup_free_ char *path = xasprintf("%s/%s", dir, name);

        listener_close(plugin->listener);
        plugin->listener = NULL;
        plugin->refused_said = false;
        plugin->options_asked = false;
        return listener_open(&plugin->listener, plugin->kubelet->loop, path, on_accept, on_refused, plugin, err);
}

/* ---- the streams ---- */

static void tell_registration(struct plugin *plugin, bool opened)
{
        if (plugin->kubelet->stopping)
                return;
        if (plugin->kubelet->registration == REGISTER_SOCKET)
                registrar_stream(plugin, opened);
        else
                watcher_stream(plugin, opened);
        kubelet_arm(plugin->kubelet);
}

static void on_stream_closed(void *ctx, struct rpc_stream *stream)
{
        struct plugin *plugin = ctx;
        size_t i = 0;

        while (plugin->streams[i].stream != stream)
                i++;
        bool kubelets = plugin->streams[i].kubelets;
        plugin->streams[i] = plugin->streams[--plugin->n_streams];
        if (kubelets)
                tell_registration(plugin, false);
}

void plugin_options_asked(struct plugin *plugin, struct rpc_call *call)
{
        plugin->options_asked = true;
        rpc_call_mark(call);
}

bool plugin_has_kubelet(const struct plugin *plugin)
{
        for (size_t i = 0; i < plugin->n_streams; i++)
                if (plugin->streams[i].kubelets)
                        return true;
        return false;
}

/* Kubelet asks for the options and then, on the same connection, for the list (1.26 to 1.36, both ways of registration). Who
 * asks for the list alone while somebody has asked for options is an administrator with a tool, whose leaving means nothing.
 * As long as nobody has asked, every stream may be kubelet's: once too often registered harms less than never. */
static bool is_kubelets(const struct plugin *plugin, const struct rpc_stream *stream)
{
        return !plugin->options_asked || rpc_stream_marked(stream);
}

void plugin_stream_opened(struct plugin *plugin, struct rpc_stream *stream)
{
        _cleanup_list_ struct list list = { .block = NULL };

        if (plugin->n_streams == STREAMS_MAX) {
                rpc_stream_finish(stream, RPC_RESOURCE_EXHAUSTED, "too many streams");
                return;
        }
        rpc_stream_on_close(stream, on_stream_closed, plugin);
        list_make(&list, plugin->offer, plugin_pool(plugin), plugin->withdrawn);
        struct open_stream *open = &plugin->streams[plugin->n_streams++];
        *open = (struct open_stream){ .stream = stream, .kubelets = is_kubelets(plugin, stream) };
        send_to(plugin, open, &list);
        if (open->kubelets)
                tell_registration(plugin, true);
}

void plugin_finish_streams(struct plugin *plugin, const char *why)
{
        for (size_t i = 0; i < plugin->n_streams; i++)
                rpc_stream_finish(plugin->streams[i].stream, RPC_UNAVAILABLE, why);
}

void plugin_cancel_streams(struct plugin *plugin)
{
        for (size_t i = 0; i < plugin->n_streams; i++)
                rpc_stream_cancel(plugin->streams[i].stream);
}

/* The registration has been stopped before. */
void plugin_stop(struct plugin *plugin)
{
        listener_close(plugin->listener);
        plugin->listener = NULL;
        rpc_server_stop(plugin->server, STOP_GRACE_MS, kubelet_release_ctx, plugin->kubelet);
        plugin->server = NULL;
}
