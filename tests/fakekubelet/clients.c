/* SPDX-License-Identifier: Apache-2.0 */
/* Connections to registered plugins, and the lists that come over them.
 *
 * Up to 1.36 kubelet keeps one client per resource name and, when any stream of that name ends, disconnects whichever
 * client the name has *then*: rows A5 and A7 are nothing but this. 1.37 keeps one per name and socket. */
#include "fk_priv.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "deviceplugin.pb-c.h"

struct fk_client *fk_client_ref(struct fk_client *c)
{
        c->refs++;
        return c;
}

/* Locked. */
void fk_client_unref(struct fk_client *c)
{
        if (--c->refs > 0)
                return;
        for (struct fk_client **at = &c->k->live; *at; at = &(*at)->next_live)
                if (*at == c) {
                        *at = c->next_live;
                        break;
                }
        wire_conn_free(c->conn);
        free(c);
}

struct fk_client *fk_client_mapped(struct fk *k, const char *name, const char *path)
{
        for (struct fk_client *c = k->clients; c; c = c->next)
                if (streq(c->name, name) && (!k->profile->key_by_path || !path || streq(c->path, path)))
                        return c;
        return NULL;
}

/* The map forgets the client of this key; its stream, if one is open, goes on. */
static void map_drop(struct fk *k, const char *name, const char *path)
{
        for (struct fk_client **at = &k->clients; *at;) {
                struct fk_client *c = *at;
                if (!streq(c->name, name) || (k->profile->key_by_path && !streq(c->path, path))) {
                        at = &c->next;
                        continue;
                }
                *at = c->next;
                c->mapped = false;
                fk_client_unref(c);
        }
}

static void map_put(struct fk *k, struct fk_client *c)
{
        map_drop(k, c->name, c->path);
        c->next = k->clients;
        k->clients = fk_client_ref(c);
        c->mapped = true;
}

void fk_client_disconnect(struct fk *k, struct fk_client *c)
{
        struct fk_resource *r = fk_resource_get(k, c->name);

        fk_client_ref(c);
        map_drop(k, c->name, c->path);
        wire_conn_close(c->conn);
        if (r->known && (!k->profile->key_by_path || r->endpoint == c)) {
                fk_say(k, "%s: plugin disconnected (%s)", c->name, c->path);
                for (size_t i = 0; i < r->n_devices; i++)
                        r->devices[i].healthy = false;
                r->stopped = true;
                r->stop_ms = clock_ms();
        }
        fk_client_unref(c);
}

void fk_client_forget(struct fk *k, const char *name, const char *path)
{
        fk_lock(k);
        map_drop(k, name, path);
        fk_unlock(k);
}

void fk_clients_cut(struct fk *k)
{
        for (struct fk_client *c = k->live; c; c = c->next_live)
                wire_conn_close(c->conn);
        while (k->clients)
                map_drop(k, k->clients->name, k->clients->path);
}

static bool ask_options(struct fk_client *c, int64_t until_ms, V1beta1__DevicePluginOptions **ret, char text[FK_TEXT_MAX])
{
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;
        struct wire_status status;
        ProtobufCMessage *reply;

        if (!wire_call(c->conn, "/v1beta1.DevicePlugin/GetDevicePluginOptions", &empty.base, &v1beta1__device_plugin_options__descriptor,
                       until_ms, &reply, NULL, &status)) {
                str_format(text, FK_TEXT_MAX, "failed to get device plugin options: rpc error: code = %s desc = %s",
                           wire_code_name(status.code), status.text);
                return false;
        }
        *ret = (V1beta1__DevicePluginOptions *)reply;
        return true;
}

/* Locked. What PluginConnected does. */
static void endpoint_set(struct fk *k, struct fk_client *c, const V1beta1__DevicePluginOptions *options)
{
        struct fk_resource *r = fk_resource_get(k, c->name);

        fk_client_ref(c);
        if (r->endpoint)
                fk_client_unref(r->endpoint);
        r->endpoint = c;
        r->known = r->has_options = true;
        r->stopped = false;
        r->pre_start = options->pre_start_required;
        r->preferred = options->get_preferred_allocation_available;
        r->registrations++;
        fk_say(k, "%s: registered at %s", c->name, c->path);
}

static struct fk_client *client_new(struct fk *k, unsigned instance, const char *name, const char *path)
{
        struct fk_client *c = xcalloc(1, sizeof(*c));

        c->refs = 1;
        c->k = k;
        c->instance = instance;
        str_format(c->name, sizeof(c->name), "%s", name);
        str_format(c->path, sizeof(c->path), "%s", path);
        c->conn = wire_conn_new(path, "localhost");
        c->next_live = k->live;
        k->live = c;
        return c;
}

bool fk_client_connect(struct fk *k, unsigned instance, const char *name, const char *path, int64_t until_ms, struct fk_client **ret,
                       char text[FK_TEXT_MAX])
{
        V1beta1__DevicePluginOptions *options = NULL;

        fk_lock(k);
        if (k->instance != instance) {
                fk_unlock(k);
                str_format(text, FK_TEXT_MAX, "kubelet is gone");
                return false;
        }
        if (k->profile->key_by_path && fk_client_mapped(k, name, path)) {
                fk_unlock(k);
                str_format(text, FK_TEXT_MAX, "device plugin already connected: %s", path);
                return false;
        }
        struct fk_client *c = client_new(k, instance, name, path);
        map_put(k, c);
        bool fails = k->fail_connect > 0;
        k->fail_connect -= fails;
        int64_t dial_until = fails ? 0 : clock_ms() + k->dial_ms;
        fk_unlock(k);

        int64_t options_until = -1;
        if (k->profile->register_context && until_ms != INT64_MAX) {
                dial_until = until_ms < dial_until ? until_ms : dial_until;
                options_until = until_ms;
        }
        bool ok = wire_conn_dial(c->conn, dial_until);
        if (!ok)
                str_format(text, FK_TEXT_MAX, "failed to dial device plugin: context deadline exceeded");
        else
                ok = ask_options(c, options_until, &options, text);

        fk_lock(k);
        k->calls.options += options != NULL;
        if (ok && (k->instance != instance || (k->profile->register_context && clock_ms() >= until_ms))) {
                ok = false;
                str_format(text, FK_TEXT_MAX, "context deadline exceeded");
        }
        if (ok) {
                endpoint_set(k, c, options);
                *ret = c;
        } else {
                fk_say(k, "%s: cannot register %s: %s", name, path, text);
                if (k->instance == instance)
                        map_drop(k, name, path); /* by key: an older client of the name goes from the map with it (A7) */
                wire_conn_close(c->conn);
                fk_client_unref(c);
        }
        fk_unlock(k);
        if (options)
                v1beta1__device_plugin_options__free_unpacked(options, NULL);
        return ok;
}

/* Lists */

static int known_compare(const void *a, const void *b)
{
        const struct known_device *x = a, *y = b;
        int order = strcmp(x->id, y->id);

        order = order != 0 ? order : y->healthy - x->healthy;
        return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

static bool list_text_ok(const V1beta1__ListAndWatchResponse *m)
{
        for (size_t i = 0; i < m->n_devices; i++)
                if (!fk_text_ok(m->devices[i]->id) || !fk_text_ok(m->devices[i]->health))
                        return false;
        return true;
}

static void list_copy(struct fk_resource *r, const V1beta1__ListAndWatchResponse *m)
{
        free(r->list);
        r->list = xcalloc(m->n_devices + 1, sizeof(*r->list));
        r->n_list = m->n_devices;
        for (size_t i = 0; i < m->n_devices; i++) {
                const V1beta1__Device *from = m->devices[i];
                struct fk_device *d = &r->list[i];
                (void)str_copy(d->id, sizeof(d->id), from->id);
                (void)str_copy(d->health, sizeof(d->health), from->health);
                for (size_t j = 0; from->topology && j < from->topology->n_nodes && j < FK_NODES_MAX; j++)
                        d->nodes[d->n_nodes++] = from->topology->nodes[j]->id;
        }
}

/* Locked. The message replaces everything. Kubelet has a set of healthy and a set of unhealthy ids: one that is listed as both
 * counts twice. */
static void list_take(struct fk *k, struct fk_resource *r, const V1beta1__ListAndWatchResponse *m)
{
        size_t n = 0;

        list_copy(r, m);
        r->duplicates = 0;
        struct known_device *known = xcalloc(r->n_list + 1, sizeof(*known));
        for (size_t i = 0; i < r->n_list; i++) {
                struct known_device *d = &known[i];
                memcpy(d->id, r->list[i].id, sizeof(d->id));
                d->place = i;
                d->healthy = streq(r->list[i].health, "Healthy");
                d->n_nodes = r->list[i].n_nodes;
                memcpy(d->nodes, r->list[i].nodes, sizeof(d->nodes));
        }
        qsort(known, r->n_list, sizeof(*known), known_compare);
        for (size_t i = 0; i < r->n_list; i++) {
                bool again = n > 0 && streq(known[n - 1].id, known[i].id);
                r->duplicates += again;
                if (again && known[n - 1].healthy == known[i].healthy)
                        n--;
                known[n++] = known[i];
        }
        free(r->devices);
        r->devices = known;
        r->n_devices = n;
        r->has_devices = true;
        r->lists++;
        fk_say(k, "%s: list of %zu", r->name, n);
}

struct run {
        struct fk_client *c;
        bool listed, over; /* guarded by the lock */
        unsigned refs;
};

static void run_unref(struct run *run)
{
        if (--run->refs == 0)
                free(run);
}

static bool run_next(struct run *run, struct wire_stream *stream)
{
        struct fk *k = run->c->k;
        struct wire_bytes bytes;
        struct wire_status status;

        if (!wire_stream_next(stream, &bytes, &status)) {
                fk_say(k, "%s: ListAndWatch ended: %s %s", run->c->name, wire_code_name(status.code), status.text);
                return false;
        }
        if (bytes.n > k->message_max) {
                fk_say(k, "%s: ListAndWatch ended: ResourceExhausted grpc: received message larger than max (%zu vs. %zu)", run->c->name,
                       bytes.n, k->message_max);
                wire_bytes_done(&bytes);
                return false;
        }
        V1beta1__ListAndWatchResponse *m = v1beta1__list_and_watch_response__unpack(NULL, bytes.n, bytes.data);
        wire_bytes_done(&bytes);
        bool ok = m && (!k->profile->check_utf8 || list_text_ok(m));
        fk_lock(k);
        if (ok && k->instance == run->c->instance)
                list_take(k, fk_resource_get(k, run->c->name), m);
        else if (!ok)
                fk_say(k, "%s: Internal: grpc: failed to unmarshal: string field contains invalid UTF-8", run->c->name);
        run->listed = true;
        fk_unlock(k);
        if (m)
                v1beta1__list_and_watch_response__free_unpacked(m, NULL);
        return ok;
}

static void *run_main(void *arg)
{
        struct run *run = arg;
        struct fk_client *c = run->c;
        struct fk *k = c->k;
        V1beta1__Empty empty = V1BETA1__EMPTY__INIT;
        struct wire_stream *stream = wire_stream_open(c->conn, "/v1beta1.DevicePlugin/ListAndWatch", &empty.base);

        fk_lock(k);
        fk_resource_get(k, c->name)->streams += stream != NULL;
        fk_unlock(k);
        while (stream && run_next(run, stream))
                ;
        wire_stream_free(stream);
        fk_lock(k);
        fk_resource_get(k, c->name)->streams -= stream != NULL;
        run->listed = run->over = true;
        if (k->instance == c->instance) {
                /* Whoever has the key now is disconnected, this client or a newer one. */
                struct fk_client *mapped = fk_client_mapped(k, c->name, c->path);
                if (mapped)
                        fk_client_disconnect(k, mapped);
        }
        run_unref(run);
        fk_client_unref(c);
        fk_unlock(k);
        fk_thread_end(k);
        return NULL;
}

static bool run_listed(struct fk *k, void *ctx)
{
        const struct run *run = ctx;

        (void)k;
        return run->listed;
}

void fk_client_start(struct fk_client *c, bool wait_for_list)
{
        struct fk *k = c->k;
        struct run *run = xcalloc(1, sizeof(*run));

        run->c = c;
        run->refs = 2;
        fk_spawn(k, run_main, run);
        if (wait_for_list)
                (void)fk_wait(k, 5000, run_listed, run);
        fk_lock(k);
        run_unref(run);
        fk_unlock(k);
}
