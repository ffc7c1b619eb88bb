/* SPDX-License-Identifier: Apache-2.0 */
/* Path A: registration through kubelet.sock. Watches kubelet's directory, feeds the state machine of every pool
 * (lifecycle.h) and does what it says. inotify only says "look": what counts is what a look finds. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "kubelet/kubelet_priv.h"

#define KUBELET_SOCK "kubelet.sock"
#define PLUGINS_DIR  "device-plugins"

struct registrar {
        struct kubelet *kubelet;
        char *dir;  /* ".../device-plugins" */
        char *sock; /* ".../device-plugins/kubelet.sock" */
        uv_poll_t poll;
        int inotify;
        int watch;       /* of the directory; -1 = none (yet) */
        int watch_above; /* of kubelet's root, while the directory is not there */
        struct rpc_client *client;
        unsigned n_pending;
        bool absent_said; /* that kubelet.sock is not there */
};

/* One Register in flight; outlives what the state machine thinks of it. */
struct registering {
        struct plugin *plugin;
        unsigned attempt;
};

static void act(struct plugin *plugin, unsigned actions);

/* ---- saying what happened ---- */

/* The first tries around a restart of kubelet fail as a matter of course; a problem that stays is said once. */
enum { WORTH_SAYING = 6 }; /* a tenth of a second */

static void say(struct plugin *plugin, enum life_state before)
{
        const struct life *life = &plugin->life;

        if (life->state == LIFE_SERVING && before != LIFE_SERVING)
                log_info("%s: registered with kubelet", plugin->resource);
        if (life->state == LIFE_REFUSED && before != LIFE_REFUSED)
                log_error("%s: kubelet refuses this resource until it restarts: %s", plugin->resource, life->problem);
        else if (life->failures >= WORTH_SAYING && life->problem[0] && !streq(life->problem, plugin->said))
                log_warn("%s: not registered, trying again: %s", plugin->resource, life->problem);
        else if (life->problem[0])
                return; /* not yet, or said already */
        str_format(plugin->said, sizeof(plugin->said), "%s", life->problem);
}

static struct life_epoch look_at(const char *sock)
{
        struct statx st;

        if (statx(AT_FDCWD, sock, AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
                return (struct life_epoch){ 0 };
        /* The birth where the file system knows it; the change time also moves on chmod: once too often, never too seldom. */
        const struct statx_timestamp *born = st.stx_mask & STATX_BTIME ? &st.stx_btime : &st.stx_ctime;
        return (struct life_epoch){
                .dev = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor,
                .ino = st.stx_ino,
                .born_ns = born->tv_sec * INT64_C(1000000000) + born->tv_nsec,
        };
}

/* ---- doing what the state machine says ---- */

static void listen_fresh(struct plugin *plugin)
{
        char name[SOCKET_NAME_MAX];
        struct err err = { 0 };

        kubelet_fresh_name(plugin->kubelet, plugin->resource, name);
        int r = plugin_listen(plugin, plugin->kubelet->registrar->dir, name, &err);
        act(plugin, life_listening(&plugin->life, kubelet_now(plugin->kubelet), r < 0 ? err.msg : NULL));
}

static void on_registered(void *ctx, enum rpc_code code, const char *text, const ProtobufCMessage *msg)
{
        struct registering *registering = ctx;
        struct plugin *plugin = registering->plugin;
        struct kubelet *kubelet = plugin->kubelet;
        struct registrar *registrar = kubelet->registrar;

        (void)msg;
        if (!kubelet->stopping) {
                if (registering->attempt == plugin->life.attempt)
                        plugin->pending = NULL;
                /* Whose answer this is, only a look at kubelet.sock can tell: its event may still be on the way. */
                if (!life_epoch_equal(look_at(registrar->sock), plugin->life.epoch))
                        registrar_look(kubelet);
                enum life_state before = plugin->life.state;
                act(plugin, life_registered(&plugin->life, kubelet_now(kubelet), registering->attempt, code, text));
                say(plugin, before);
                kubelet_arm(kubelet);
        }
        free(registering);
        if (--registrar->n_pending == 0 && registrar->client)
                rpc_client_reset(registrar->client); /* No connection is kept that nobody uses. */
        kubelet_release(kubelet);
}

static void call_register(struct plugin *plugin)
{
        struct kubelet *kubelet = plugin->kubelet;
        struct registrar *registrar = kubelet->registrar;
        struct registering *registering = xcalloc(1, sizeof(*registering));
        V1beta1__DevicePluginOptions options = V1BETA1__DEVICE_PLUGIN_OPTIONS__INIT;
        V1beta1__RegisterRequest request = V1BETA1__REGISTER_REQUEST__INIT;
        static char version[] = "v1beta1";

        registering->plugin = plugin;
        registering->attempt = plugin->life.attempt;
        options.pre_start_required = 1;
        options.get_preferred_allocation_available = 1;
        request.version = version;
        request.endpoint = (char *)(uintptr_t)(listener_path(plugin->listener) + strlen(registrar->dir) + 1);
        request.resource_name = plugin->resource;
        request.options = &options; /* Old kubelets read them here. */
        kubelet->open++;
        registrar->n_pending++;
        plugin->pending = rpc_client_call(registrar->client, "/v1beta1.Registration/Register", &request.base, &v1beta1__empty__descriptor,
                                          LIFE_REGISTER_MS, on_registered, registering);
}

static void drop_register(struct plugin *plugin)
{
        if (plugin->pending)
                rpc_pending_cancel(plugin->pending);
        plugin->pending = NULL;
}

static void act(struct plugin *plugin, unsigned actions)
{
        if (actions & LIFE_DROP_REGISTER)
                drop_register(plugin);
        if (actions & LIFE_FINISH_STREAMS)
                plugin_finish_streams(plugin, "registering anew");
        if (actions & LIFE_CANCEL_STREAMS)
                plugin_cancel_streams(plugin);
        if (actions & LIFE_LISTEN)
                listen_fresh(plugin); /* Goes on from there. */
        if (actions & LIFE_REGISTER)
                call_register(plugin);
}

/* ---- looking ---- */

static void look_for(struct plugin *plugin, struct life_epoch epoch)
{
        struct kubelet *kubelet = plugin->kubelet;
        enum life_state before = plugin->life.state;

        act(plugin, life_kubelet(&plugin->life, kubelet_now(kubelet), epoch));
        if (plugin->listener && !listener_intact(plugin->listener))
                act(plugin, life_socket_gone(&plugin->life, kubelet_now(kubelet)));
        say(plugin, before);
}

/* Makes *@watch one on @path; for the same directory as before this changes nothing. False: there is none. */
static bool watch_path(const struct registrar *registrar, int *watch, const char *path, uint32_t mask)
{
        int now = inotify_add_watch(registrar->inotify, path, mask | IN_ONLYDIR);

        if (*watch >= 0 && *watch != now)
                (void)inotify_rm_watch(registrar->inotify, *watch);
        *watch = now;
        return now >= 0;
}

static bool watch_it(struct registrar *registrar)
{
        return watch_path(registrar, &registrar->watch, registrar->dir,
                          IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF);
}

/* Watches the directory, or the one above it as long as kubelet has not made it; tried once more then, because it may have
 * been made between the two. Asked for again at every look: it may be another one by now (re-mounted, made anew). */
static void watch_directory(struct registrar *registrar)
{
        if (!watch_it(registrar)) {
                (void)watch_path(registrar, &registrar->watch_above, registrar->kubelet->dir, IN_CREATE | IN_MOVED_TO);
                (void)watch_it(registrar);
        } else if (registrar->watch_above >= 0) {
                (void)inotify_rm_watch(registrar->inotify, registrar->watch_above);
                registrar->watch_above = -1;
        }
}

void registrar_look(struct kubelet *kubelet)
{
        struct registrar *registrar = kubelet->registrar;

        watch_directory(registrar);
        struct life_epoch epoch = look_at(registrar->sock);
        for (size_t i = 0; i < kubelet->n_plugins; i++)
                look_for(kubelet->plugins[i], epoch);
        kubelet->look_due_ms = clock_ms() + LOOK_MS;
        kubelet_arm(kubelet);
}

/* A kubelet that starts is gone for a moment, and nobody wants to read that; one that is not there at our start, or at a look
 * by the clock, may be looked for in the wrong directory. */
void registrar_say_absence(struct kubelet *kubelet)
{
        struct registrar *registrar = kubelet->registrar;
        struct life_epoch epoch = look_at(registrar->sock);
        bool absent = epoch.ino == 0 && epoch.dev == 0;

        if (absent && !registrar->absent_said)
                log_info("kubelet is not there yet: no %s", registrar->sock);
        registrar->absent_said = absent;
}

/* Our own sockets come and go there too: only what may concern us is worth a look. */
static bool worth_a_look(const struct registrar *registrar, const struct inotify_event *event)
{
        if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_DELETE | IN_MOVED_FROM))
                return true;
        return event->wd == registrar->watch_above ? event->len > 0 && streq(event->name, PLUGINS_DIR)
                                                   : event->len > 0 && streq(event->name, KUBELET_SOCK);
}

static void on_inotify(uv_poll_t *poll, int status, int events)
{
        struct registrar *registrar = container_of(poll, struct registrar, poll);
        _Alignas(struct inotify_event) char buf[8192];
        bool look = false;
        ssize_t n;

        (void)status;
        (void)events;
        while ((n = read(registrar->inotify, buf, sizeof(buf))) > 0)
                for (const char *at = buf; at < buf + n;) {
                        const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
                        look = look || worth_a_look(registrar, event);
                        at += sizeof(*event) + event->len;
                }
        if (look)
                registrar_look(registrar->kubelet);
}

/* ---- events of a plugin ---- */

void registrar_plugin_new(struct plugin *plugin)
{
        life_init(&plugin->life);
        look_for(plugin, look_at(plugin->kubelet->registrar->sock));
}

void registrar_stream(struct plugin *plugin, bool opened)
{
        struct life_now now = kubelet_now(plugin->kubelet);
        enum life_state before = plugin->life.state;

        act(plugin, opened ? life_stream_opened(&plugin->life, now) : life_stream_closed(&plugin->life, now));
        say(plugin, before);
}

void registrar_tick(struct plugin *plugin)
{
        enum life_state before = plugin->life.state;

        act(plugin, life_tick(&plugin->life, kubelet_now(plugin->kubelet)));
        say(plugin, before);
}

void registrar_plugin_stop(struct plugin *plugin)
{
        drop_register(plugin);
}

/* ---- start and stop ---- */

int registrar_start(struct kubelet *kubelet, struct err *err)
{
        struct registrar *registrar = xcalloc(1, sizeof(*registrar));

        registrar->kubelet = kubelet;
        registrar->watch = registrar->watch_above = -1;
        registrar->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        int r = registrar->inotify < 0 ? -errno : uv_poll_init(kubelet->loop, &registrar->poll, registrar->inotify);
        if (r < 0) {
                if (registrar->inotify >= 0)
                        (void)close(registrar->inotify);
                free(registrar);
                return err_set(err, -r, "cannot watch kubelet's directory (raise fs.inotify.max_user_instances?)");
        }
        registrar->dir = xasprintf("%s/" PLUGINS_DIR, kubelet->dir);
        registrar->sock = xasprintf("%s/" KUBELET_SOCK, registrar->dir);
        registrar->client = rpc_client_new(kubelet->rpc, registrar->sock, 0);
        kubelet->registrar = registrar;
        kubelet->open++;
        (void)uv_poll_start(&registrar->poll, UV_READABLE, on_inotify);
        return 0;
}

static void on_poll_closed(uv_handle_t *handle)
{
        struct registrar *registrar = container_of((uv_poll_t *)(void *)handle, struct registrar, poll);

        kubelet_release(registrar->kubelet);
}

void registrar_stop(struct kubelet *kubelet)
{
        struct registrar *registrar = kubelet->registrar;

        registrar->client = rpc_client_free(registrar->client);
        (void)uv_poll_stop(&registrar->poll);
        (void)close(registrar->inotify);
        uv_close((uv_handle_t *)&registrar->poll, on_poll_closed);
}

void registrar_free(struct kubelet *kubelet)
{
        if (!kubelet->registrar)
                return;
        free(kubelet->registrar->dir);
        free(kubelet->registrar->sock);
        free(kubelet->registrar);
        kubelet->registrar = NULL;
}
