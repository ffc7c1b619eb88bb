/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin watcher (path B): sockets below plugins_registry are dialled, asked, registered and told.
 *
 * Kubelet reconciles once a second; so does this thread, and looks at the directory then (kubelet's inotify only moves the
 * moment within that second). A failing socket is tried again after a pause that doubles from 0.5 s to 2 min 2 s; but up to
 * 1.34 only for as long as kubelet has not accepted what it says: a service that cannot be connected then, or a plugin that
 * cannot be told, is left as it is until the socket is another one. */
#include "fk_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "pluginregistration.pb-c.h"

enum { TICK_MS = 1000, GET_INFO_MS = 1000, NOTIFY_MS = 5000, BACKOFF_MAX_MS = 122000 };

struct plugin {
        char path[512];
        ino_t inode;
        struct timespec changed;
        bool seen, registered;
        char name[FK_RESOURCE_MAX], endpoint[108];
        int64_t next_ms;
        unsigned pause_ms;
        struct plugin *next;
};

struct fk_watcher {
        struct fk *k;
        unsigned instance;
        pthread_t thread;
        bool stop;
        struct wire_conn *conn; /* in use now; stopping closes it */
        struct plugin *plugins;
};

static void authority_of(const struct fk *k, const char *path, char *out, size_t size)
{
        size_t n = 0;

        for (const char *p = path; *p && n + 4 < size; p++) {
                if (*p == '/' && k->profile->percent_authority) {
                        memcpy(out + n, "%2F", 3);
                        n += 3;
                } else {
                        out[n++] = *p;
                }
        }
        out[n] = '\0';
}

static void deregister(struct fk *k, struct plugin *p)
{
        fk_lock(k);
        struct fk_client *c = p->registered ? fk_client_mapped(k, p->name, p->endpoint) : NULL;
        if (c)
                fk_client_disconnect(k, c);
        p->registered = false;
        fk_unlock(k);
}

/* Once less to fail from now on; false: no more failures were asked for. */
static bool take_failure(struct fk *k)
{
        fk_lock(k);
        bool fails = k->fail_notify > 0;
        k->fail_notify -= fails;
        fk_unlock(k);
        return fails;
}

static bool notify(struct fk *k, struct wire_conn *conn, bool ok, const char *text)
{
        if (ok && take_failure(k))
                return false;
        Pluginregistration__RegistrationStatus m = PLUGINREGISTRATION__REGISTRATION_STATUS__INIT;
        ProtobufCMessage *reply = NULL;
        struct wire_status status;

        m.plugin_registered = ok;
        m.error = (char *)text;
        bool sent = wire_call(conn, "/pluginregistration.Registration/NotifyRegistrationStatus", &m.base,
                              &pluginregistration__registration_status_response__descriptor, clock_ms() + NOTIFY_MS, &reply, NULL, &status);
        if (reply)
                protobuf_c_message_free_unpacked(reply, NULL);
        fk_lock(k);
        k->calls.notify_ok += sent && ok;
        k->calls.notify_failed += !ok;
        fk_unlock(k);
        return sent;
}

static bool version_known(const Pluginregistration__PluginInfo *info, char text[FK_TEXT_MAX])
{
        size_t at = 0;
        char list[256] = "";

        for (size_t i = 0; i < info->n_supported_versions; i++) {
                if (streq(info->supported_versions[i], "v1beta1"))
                        return true;
                if (at < sizeof(list))
                        at += (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i ? " " : "", info->supported_versions[i]);
        }
        str_format(text, FK_TEXT_MAX,
                   "RegisterPlugin error -- plugin validation failed with err: manager version, v1beta1, is not among plugin supported "
                   "versions [%s]",
                   list);
        return false;
}

/* Whether there is a handler that accepts it; tried again when not. */
static bool validate(struct plugin *p, const Pluginregistration__PluginInfo *info, char text[FK_TEXT_MAX])
{
        if (!streq(info->type, "DevicePlugin")) {
                str_format(text, FK_TEXT_MAX, "RegisterPlugin error -- no handler registered for plugin type: %s at socket %s", info->type,
                           p->path);
                return false;
        }
        if (!version_known(info, text))
                return false;
        str_format(p->name, sizeof(p->name), "%s", info->name);
        str_format(p->endpoint, sizeof(p->endpoint), "%s", info->endpoint[0] ? info->endpoint : p->path);
        return true;
}

/* True: not to be tried again. */
static bool enlist(struct fk_watcher *w, struct plugin *p, struct wire_conn *conn, char text[FK_TEXT_MAX])
{
        struct fk *k = w->k;
        struct fk_client *c;

        if (!fk_client_connect(k, w->instance, p->name, p->endpoint, INT64_MAX, &c, text)) {
                char why[FK_TEXT_MAX + 80];
                str_format(why, sizeof(why), "RegisterPlugin error -- plugin registration failed with err: %s", text);
                (void)notify(k, conn, false, why);
                p->registered = !k->profile->watcher_retries;
                return p->registered;
        }
        /* The client's stream is started only after everything else has gone well. */
        p->registered = true;
        fk_client_start(c, true);
        if (!notify(k, conn, true, "") && k->profile->watcher_retries) {
                str_format(text, FK_TEXT_MAX, "failed to notify the plugin");
                deregister(k, p);
                return false;
        }
        return true;
}

static bool attempt(struct fk_watcher *w, struct plugin *p, struct wire_conn *conn, char text[FK_TEXT_MAX])
{
        Pluginregistration__InfoRequest ask = PLUGINREGISTRATION__INFO_REQUEST__INIT;
        struct fk *k = w->k;
        ProtobufCMessage *reply;
        struct wire_status status;

        if (!wire_conn_dial(conn, clock_ms() + k->dial_ms)) {
                str_format(text, FK_TEXT_MAX, "failed to dial socket %s: context deadline exceeded", p->path);
                return false;
        }
        fk_lock(k);
        k->calls.get_info++;
        fk_unlock(k);
        if (!wire_call(conn, "/pluginregistration.Registration/GetInfo", &ask.base, &pluginregistration__plugin_info__descriptor,
                       clock_ms() + GET_INFO_MS, &reply, NULL, &status)) {
                str_format(text, FK_TEXT_MAX, "failed to get plugin info: %s %s", wire_code_name(status.code), status.text);
                return false;
        }
        bool ok = validate(p, (const Pluginregistration__PluginInfo *)reply, text);
        protobuf_c_message_free_unpacked(reply, NULL);
        if (!ok) {
                (void)notify(k, conn, false, text);
                return false;
        }
        return enlist(w, p, conn, text);
}

static void try_plugin(struct fk_watcher *w, struct plugin *p)
{
        char authority[1024], text[FK_TEXT_MAX] = "";

        authority_of(w->k, p->path, authority, sizeof(authority));
        struct wire_conn *conn = wire_conn_new(p->path, authority);
        fk_lock(w->k);
        w->conn = conn;
        if (w->stop)
                wire_conn_close(conn);
        fk_unlock(w->k);
        if (attempt(w, p, conn, text)) {
                p->pause_ms = 0;
        } else {
                fk_say(w->k, "watcher: %s: %s", p->path, text);
                p->pause_ms = p->pause_ms ? 2 * p->pause_ms : w->k->backoff_ms;
                if (p->pause_ms > BACKOFF_MAX_MS)
                        p->pause_ms = BACKOFF_MAX_MS;
                p->next_ms = clock_ms() + p->pause_ms;
        }
        fk_lock(w->k);
        w->conn = NULL;
        fk_unlock(w->k);
        wire_conn_close(conn);
        wire_conn_free(conn);
}

static struct plugin *plugin_get(struct fk_watcher *w, const char *path)
{
        struct plugin *p = w->plugins;

        while (p && !streq(p->path, path))
                p = p->next;
        if (!p) {
                p = xcalloc(1, sizeof(*p));
                str_format(p->path, sizeof(p->path), "%s", path);
                p->next = w->plugins;
                w->plugins = p;
        }
        return p;
}

static void look(struct fk_watcher *w)
{
        DIR *dir = opendir(w->k->registry);

        for (struct plugin *p = w->plugins; p; p = p->next)
                p->seen = false;
        for (struct dirent *e; dir && (e = readdir(dir));) {
                char path[512];
                struct stat st;
                str_format(path, sizeof(path), "%s/%s", w->k->registry, e->d_name);
                if (e->d_name[0] == '.' || lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
                        continue;
                struct plugin *p = plugin_get(w, path);
                bool again = p->inode != st.st_ino || p->changed.tv_sec != st.st_ctim.tv_sec || p->changed.tv_nsec != st.st_ctim.tv_nsec;
                if (p->inode != 0 && again) { /* re-created: unregister, then register */
                        deregister(w->k, p);
                        p->next_ms = 0;
                        p->pause_ms = 0;
                }
                p->inode = st.st_ino;
                p->changed = st.st_ctim;
                p->seen = true;
        }
        if (dir)
                (void)closedir(dir);
}

static void reconcile(struct fk_watcher *w)
{
        look(w);
        for (struct plugin **at = &w->plugins; *at;) {
                struct plugin *p = *at;
                if (!p->seen) {
                        deregister(w->k, p);
                        *at = p->next;
                        free(p);
                        continue;
                }
                if (!p->registered && clock_ms() >= p->next_ms)
                        try_plugin(w, p);
                at = &p->next;
        }
}

static bool stopped(struct fk *k, void *ctx)
{
        const struct fk_watcher *w = ctx;

        (void)k;
        return w->stop;
}

static void *watcher_main(void *arg)
{
        struct fk_watcher *w = arg;
        unsigned tick = w->k->backoff_ms < TICK_MS ? w->k->backoff_ms : TICK_MS;

        do
                reconcile(w);
        while (!fk_wait(w->k, tick, stopped, w));
        while (w->plugins) {
                struct plugin *p = w->plugins;
                w->plugins = p->next;
                free(p);
        }
        return NULL;
}

void fk_watcher_start(struct fk *k)
{
        struct fk_watcher *w = xcalloc(1, sizeof(*w));

        w->k = k;
        w->instance = k->instance;
        k->watcher = w;
        if (pthread_create(&w->thread, NULL, watcher_main, w) != 0)
                abort(); /* out of threads: no test can go on */
}

void fk_watcher_stop(struct fk *k)
{
        struct fk_watcher *w = k->watcher;

        if (!w)
                return;
        fk_lock(k);
        w->stop = true;
        if (w->conn)
                wire_conn_close(w->conn);
        fk_unlock(k);
        (void)pthread_join(w->thread, NULL);
        k->watcher = NULL;
        free(w);
}
