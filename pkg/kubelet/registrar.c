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

/* kubelet.sock as a file, whatever becomes of its name: a Register reaches the kubelet that it is meant for, or nobody. One
 * that went to the successor by chance would be made a second time as soon as the successor is noticed; kubelet up to 1.36
 * then forgets the second when the first ends, and never learns that we are gone. */
struct door {
        int fd; /* O_PATH */
        struct life_epoch epoch;
        struct rpc_client *client;
        unsigned refs; /* the registrar's, and one for each Register in flight */
};

struct registrar {
        struct kubelet *kubelet;
        char *dir;  /* ".../device-plugins" */
        char *sock; /* ".../device-plugins/kubelet.sock" */
        uv_poll_t poll;
        int inotify;
        int watch[2];      /* of the directory, or of the deepest above it; of the one above that. -1 = none (yet) */
        bool there;        /* the directory is; else whatever happens above it is of interest */
        struct door *door; /* NULL until a Register needs it */
        bool absent_said;  /* that kubelet.sock is not there */
};

/* One Register in flight; outlives what the state machine thinks of it. */
struct registering {
        struct plugin *plugin;
        struct door *door;
        unsigned attempt;
};

static void act(struct plugin *plugin, unsigned actions);

/* ---- saying what happened ---- */

/* The first tries around a restart of kubelet fail as a matter of course; a problem that stays is said once. */
enum { WORTH_SAYING = 7 }; /* a tenth of a second */

static void say(struct plugin *plugin, enum life_state before)
{
        const struct life *life = &plugin->life;

        if (life->state == LIFE_SERVING && before != LIFE_SERVING)
                log_info("%s: registered with kubelet", plugin->resource);
        if (life->state == LIFE_BACKOFF && before != LIFE_BACKOFF)
                log_debug("%s: trying again in %lld ms: %s", plugin->resource, (long long)(life->due_ms - clock_ms()), life->problem);
        if (life->state == LIFE_REFUSED && before != LIFE_REFUSED)
                log_error("%s: kubelet refuses this resource until it restarts: %s", plugin->resource, life->problem);
        else if (life->failures >= WORTH_SAYING && life->problem[0] && !streq(life->problem, plugin->said))
                log_warn("%s: not registered, trying again: %s", plugin->resource, life->problem);
        else if (life->problem[0])
                return; /* not yet, or said already */
        str_format(plugin->said, sizeof(plugin->said), "%s", life->problem);
}

static struct life_epoch epoch_of(int dirfd, const char *path, int flags)
{
        struct statx st;

        if (statx(dirfd, path, flags | AT_STATX_SYNC_AS_STAT, STATX_BASIC_STATS | STATX_BTIME, &st) < 0)
                return (struct life_epoch){ 0 };
        /* The birth where the file system knows it; the change time also moves on chmod: once too often, never too seldom. */
        const struct statx_timestamp *born = st.stx_mask & STATX_BTIME ? &st.stx_btime : &st.stx_ctime;
        return (struct life_epoch){
                .dev = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor,
                .ino = st.stx_ino,
                .born_ns = born->tv_sec * INT64_C(1000000000) + born->tv_nsec,
        };
}

struct life_epoch kubelet_socket_epoch(const char *sock)
{
        return epoch_of(AT_FDCWD, sock, 0);
}

/* ---- the way to kubelet ---- */

static void door_unref(struct door *door)
{
        if (!door || --door->refs > 0)
                return;
        (void)rpc_client_free(door->client);
        (void)close(door->fd);
        free(door);
}

/* To whoever made the kubelet.sock of this moment; NULL: it is not there. */
static struct door *door_now(struct registrar *registrar)
{
        char path[32];

        if (registrar->door && life_epoch_equal(kubelet_socket_epoch(registrar->sock), registrar->door->epoch))
                return registrar->door;
        door_unref(registrar->door);
        registrar->door = NULL;
        int fd = open(registrar->sock, O_PATH | O_CLOEXEC);
        if (fd < 0)
                return NULL;
        struct door *door = registrar->door = xcalloc(1, sizeof(*door));
        str_format(path, sizeof(path), "/proc/self/fd/%d", fd);
        door->fd = fd;
        door->epoch = epoch_of(fd, "", AT_EMPTY_PATH);
        door->client = rpc_client_new(registrar->kubelet->rpc, path, 0);
        door->refs = 1;
        return door;
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
                if (!life_epoch_equal(kubelet_socket_epoch(registrar->sock), plugin->life.epoch))
                        registrar_look(kubelet);
                enum life_state before = plugin->life.state;
                act(plugin, life_registered(&plugin->life, kubelet_now(kubelet), registering->attempt, code, text));
                say(plugin, before);
                kubelet_arm(kubelet);
        }
        if (registering->door->refs == 2)
                rpc_client_reset(registering->door->client); /* No connection is kept that nobody uses. */
        door_unref(registering->door);
        free(registering);
        kubelet_release(kubelet);
}

static void call_register(struct plugin *plugin, struct door *door)
{
        struct kubelet *kubelet = plugin->kubelet;
        struct registering *registering = xcalloc(1, sizeof(*registering));
        V1beta1__DevicePluginOptions options = V1BETA1__DEVICE_PLUGIN_OPTIONS__INIT;
        V1beta1__RegisterRequest request = V1BETA1__REGISTER_REQUEST__INIT;
        static char version[] = "v1beta1";

        registering->plugin = plugin;
        registering->door = door;
        registering->attempt = plugin->life.attempt;
        options.pre_start_required = 1;
        options.get_preferred_allocation_available = 1;
        request.version = version;
        request.endpoint = (char *)(uintptr_t)(listener_path(plugin->listener) + strlen(kubelet->registrar->dir) + 1);
        request.resource_name = plugin->resource;
        request.options = &options; /* Old kubelets read them here. */
        log_debug("%s: Register number %u, %s", plugin->resource, registering->attempt, request.endpoint);
        kubelet->open++;
        door->refs++;
        plugin->pending = rpc_client_call(door->client, "/v1beta1.Registration/Register", &request.base, &v1beta1__empty__descriptor,
                                          LIFE_REGISTER_MS, on_registered, registering);
}

/* The socket of ours that is named must have been made after the directory was wiped, and that was before kubelet.sock was made. */
static void register_with(struct plugin *plugin)
{
        struct life_now now = kubelet_now(plugin->kubelet);
        struct door *door = door_now(plugin->kubelet->registrar);

        if (!door)
                act(plugin, life_registered(&plugin->life, now, plugin->life.attempt, RPC_UNAVAILABLE, "kubelet.sock is not there"));
        else if (!life_epoch_equal(door->epoch, plugin->life.epoch))
                act(plugin, life_kubelet(&plugin->life, now, door->epoch)); /* a newer one, whose event is still on the way */
        else
                call_register(plugin, door);
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
                register_with(plugin);
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

/* Makes watch number @i one on @path; for the same directory as before this changes nothing. False: there is none. */
static bool watch_path(struct registrar *registrar, size_t i, const char *path)
{
        int old = registrar->watch[i];
        int now = inotify_add_watch(registrar->inotify, path,
                                    IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR);

        if (now < 0)
                return false;
        registrar->watch[i] = now;
        if (old >= 0 && old != registrar->watch[0] && old != registrar->watch[1])
                (void)inotify_rm_watch(registrar->inotify, old);
        return true;
}

static bool go_up(char *path)
{
        char *slash = strrchr(path, '/');

        if (!slash || slash == path)
                return false;
        *slash = '\0';
        return true;
}

/* Watches the directory or, as long as it is not there, the deepest one above it that is: whoever resets a node removes
 * kubelet's root as well. And the one above that: a directory in which a socket was bound that is still open somewhere does
 * not say that it was removed. */
static void watch_deepest(struct registrar *registrar)
{
        _cleanup_free_ char *path = xstrdup(registrar->dir);
        bool watched = registrar->there = watch_path(registrar, 0, path);

        while (!watched && go_up(path))
                watched = watch_path(registrar, 0, path);
        if (go_up(path))
                (void)watch_path(registrar, 1, path);
}

/* Until nothing changes: the next directory may have been made between two tries. Asked for again at every look: it may be
 * another one by now (re-mounted, made anew). */
static void watch_directory(struct registrar *registrar)
{
        int before[2];

        do {
                memcpy(before, registrar->watch, sizeof(before));
                watch_deepest(registrar);
        } while (memcmp(before, registrar->watch, sizeof(before)) != 0);
}

void registrar_look(struct kubelet *kubelet)
{
        struct registrar *registrar = kubelet->registrar;

        watch_directory(registrar);
        struct life_epoch epoch = kubelet_socket_epoch(registrar->sock);
        for (size_t i = 0; i < kubelet->n_plugins; i++)
                look_for(kubelet->plugins[i], epoch);
        kubelet->look_due_ms = clock_beat(clock_ms(), LOOK_MS);
        kubelet_arm(kubelet);
}

/* A kubelet that starts is gone for a moment, and nobody wants to read that; one that is not there at our start, or at a look
 * by the clock, may be looked for in the wrong directory. */
void registrar_say_absence(struct kubelet *kubelet)
{
        struct registrar *registrar = kubelet->registrar;
        struct life_epoch epoch = kubelet_socket_epoch(registrar->sock);
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
        return !registrar->there || event->wd != registrar->watch[0] || (event->len > 0 && streq(event->name, KUBELET_SOCK));
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
        look_for(plugin, kubelet_socket_epoch(plugin->kubelet->registrar->sock));
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
        registrar->watch[0] = registrar->watch[1] = -1;
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

        door_unref(registrar->door);
        registrar->door = NULL;
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
