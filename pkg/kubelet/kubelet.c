/* SPDX-License-Identifier: Apache-2.0 */
/* Composes the pools: who is new, what is due, what is still open at the end. */
#include "kubelet/kubelet.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/str.h"
#include "kubelet/kubelet_priv.h"

/* ---- small things that the other files share ---- */

struct life_now kubelet_now(struct kubelet *kubelet)
{
        /* xorshift: enough to keep many nodes from retrying in step. */
        kubelet->random ^= kubelet->random << 13;
        kubelet->random ^= kubelet->random >> 17;
        kubelet->random ^= kubelet->random << 5;
        return (struct life_now){ .ms = clock_ms(), .jitter = kubelet->random & 1023 };
}

uint32_t kubelet_hash(const char *resource)
{
        uint32_t hash = 2166136261u; /* FNV-1a */

        for (; *resource; resource++)
                hash = (hash ^ (unsigned char)*resource) * 16777619u;
        return hash;
}

void kubelet_fresh_name(struct kubelet *kubelet, const char *resource, char name[static SOCKET_NAME_MAX])
{
        str_format(name, SOCKET_NAME_MAX, "sluice-%08x-%d-%u.sock", kubelet_hash(resource), (int)getpid(), kubelet->next_socket++);
}

/* ---- what is due ---- */

static void on_timer(uv_timer_t *timer);

static int64_t earlier(int64_t a, int64_t b)
{
        return a < b ? a : b;
}

void kubelet_arm(struct kubelet *kubelet)
{
        int64_t due_ms = kubelet->look_due_ms;

        if (kubelet->stopping)
                return;
        for (size_t i = 0; i < kubelet->n_plugins; i++) {
                const struct plugin *plugin = kubelet->plugins[i];
                due_ms = earlier(due_ms, plugin->push_due_ms);
                due_ms = earlier(due_ms, kubelet->registration == REGISTER_SOCKET ? plugin->life.due_ms : plugin->watcher.due_ms);
        }
        uv_update_time(kubelet->loop); /* Its time is that of the turn's begin: a quick retry would be late or early by a turn. */
        int64_t in_ms = due_ms - (int64_t)uv_now(kubelet->loop);
        (void)uv_timer_start(&kubelet->timer, on_timer, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
}

static void look(struct kubelet *kubelet)
{
        if (kubelet->registration == REGISTER_SOCKET) {
                registrar_look(kubelet);
                registrar_say_absence(kubelet);
                return;
        }
        kubelet->look_due_ms = clock_beat(clock_ms(), LOOK_MS);
        for (size_t i = 0; i < kubelet->n_plugins; i++)
                watcher_look(kubelet->plugins[i]);
}

static void on_timer(uv_timer_t *timer)
{
        struct kubelet *kubelet = container_of(timer, struct kubelet, timer);
        int64_t now_ms = clock_ms();

        for (size_t i = 0; i < kubelet->n_plugins; i++) {
                plugin_tick(kubelet->plugins[i], now_ms);
                if (kubelet->registration == REGISTER_SOCKET)
                        registrar_tick(kubelet->plugins[i]);
                else
                        watcher_tick(kubelet->plugins[i]);
        }
        if (now_ms >= kubelet->look_due_ms)
                look(kubelet);
        kubelet_arm(kubelet);
}

/* ---- which pod has what ---- */

enum { ASK_SELDOM = 4 }; /* with podresources' pause: about once a minute */

/* While nothing is held there is one thing to learn: a claim whose record was lost. That has time, and a node wakes less. */
static unsigned ask_every(void *ctx)
{
        const struct kubelet *kubelet = ctx;

        if (claims_of_kubelet(kubelet->claims, NULL))
                return 1;
        return kubelet->n_plugins > 0 ? ASK_SELDOM : 0;
}

/* Also what was given under a name that is offered no more. */
static bool is_ours(void *ctx, const char *resource)
{
        const struct kubelet *kubelet = ctx;

        for (size_t i = 0; i < kubelet->n_plugins; i++)
                if (streq(kubelet->plugins[i]->resource, resource))
                        return true;
        return claims_of_kubelet(kubelet->claims, resource);
}

static void on_pod_list(void *ctx, const struct pod_list *list)
{
        claims_observe(((struct kubelet *)ctx)->claims, list);
}

static void start_podresources(struct kubelet *kubelet)
{
        const struct podresources_config config = {
                .dir = kubelet->dir,
                .every = ask_every,
                .is_ours = is_ours,
                .listed = on_pod_list,
                .ctx = kubelet,
        };

        kubelet->podresources = podresources_start(kubelet->loop, kubelet->rpc, &config);
        kubelet->open++;
}

/* A kubelet that was there and is away left its sockets. */
static bool has_left_no_trace(const struct kubelet *kubelet)
{
        static const char *const sockets[] = { "device-plugins/kubelet.sock", "pod-resources/kubelet.sock" };
        bool any = false;

        for (size_t i = 0; i < N_ELEMENTS(sockets); i++) {
                _cleanup_free_ char *path = xasprintf("%s/%s", kubelet->dir, sockets[i]);
                any = any || !life_epoch_equal(kubelet_socket_epoch(path), (struct life_epoch){ 0 });
        }
        return !any;
}

void kubelet_ask_pods(struct kubelet *kubelet, void (*done)(void *ctx, const char *why_not), void *ctx)
{
        if (kubelet->stopping)
                done(ctx, "sluiced is ending");
        else if (has_left_no_trace(kubelet))
                done(ctx, NULL);
        else
                podresources_ask(kubelet->podresources, done, ctx);
}

/* ---- start ---- */

static int check_length(const char *dir, const char *below, const char *longest_name, struct err *err)
{
        size_t n = strlen(dir) + strlen(below) + strlen(longest_name);

        if (n > SOCKET_PATH_MAX)
                return err_say(err, ENAMETOOLONG,
                               "kubelet's directory %.150s is too long: a socket path would have %zu bytes, %d are possible", dir, n,
                               SOCKET_PATH_MAX);
        return 0;
}

int kubelet_check(const struct kubelet_config *config, struct err *err)
{
        static const char longest[] = "sluice-ffffffff-4194304-4294967295.sock";
        _Static_assert(sizeof(longest) <= SOCKET_NAME_MAX, "a socket's name fits");

        int r = check_length(config->dir, config->registration == REGISTER_SOCKET ? "/device-plugins/" : "/plugins/sluice/", longest, err);
        if (r == 0 && config->registration == REGISTER_WATCHER)
                r = check_length(config->dir, "/plugins_registry/", "sluice-ffffffff-reg.sock", err);
        return r;
}

/* What a killed daemon left, whichever way it was registered: kubelet takes it for alive until its file is gone, and a
 * resource that is known both ways is dropped. */
static void sweep(const struct kubelet *kubelet)
{
        static const char *const dirs[] = { "device-plugins", "plugins_registry", "plugins/sluice" };

        for (size_t i = 0; i < N_ELEMENTS(dirs); i++) {
                _cleanup_free_ char *dir = xasprintf("%s/%s", kubelet->dir, dirs[i]);
                listener_sweep(dir, "sluice-");
        }
}

int kubelet_start(struct kubelet **ret, uv_loop_t *loop, struct rpc *rpc, struct claims *claims, const struct kubelet_config *config,
                  struct err *err)
{
        int r = kubelet_check(config, err);
        if (r < 0)
                return r;

        struct kubelet *kubelet = xcalloc(1, sizeof(*kubelet));
        kubelet->loop = loop;
        kubelet->rpc = rpc;
        kubelet->claims = claims;
        kubelet->dir = xstrdup(config->dir);
        kubelet->sim_node = config->sim_node ? xstrdup(config->sim_node) : NULL;
        kubelet->registration = config->registration;
        kubelet->random = (uint32_t)clock_ms() * 2654435761u ^ (uint32_t)getpid() ^ 0x9e3779b9u;
        if (kubelet->random == 0)
                kubelet->random = 1;
        /* In a container every daemon has the same pid: the start keeps the names of two of them apart. */
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        kubelet->next_socket = (unsigned)(now.tv_sec * 100 + now.tv_nsec / 10000000) & 0xffffff;
        kubelet->look_due_ms = clock_beat(clock_ms(), LOOK_MS);
        kubelet->ask_again_ms = ASK_AGAIN_MS;
        if (kubelet->registration == REGISTER_SOCKET) {
                r = registrar_start(kubelet, err);
                if (r < 0)
                        return kubelet_free(kubelet), r;
        }
        sweep(kubelet);
        (void)uv_timer_init(loop, &kubelet->timer);
        kubelet->open++;
        start_podresources(kubelet);
        look(kubelet);
        kubelet_arm(kubelet);
        *ret = kubelet;
        return 0;
}

/* ---- offers ---- */

static struct plugin *find_plugin(const struct kubelet *kubelet, const char *resource)
{
        for (size_t i = 0; i < kubelet->n_plugins; i++)
                if (streq(kubelet->plugins[i]->resource, resource))
                        return kubelet->plugins[i];
        return NULL;
}

static void offer_pool_to_kubelet(struct kubelet *kubelet, struct offer *offer, const struct pool *pool)
{
        struct plugin *plugin = find_plugin(kubelet, pool->resource);

        if (plugin) {
                plugin_offer(plugin, offer);
                return;
        }
        plugin = plugin_new(kubelet, pool->resource);
        plugin_offer(plugin, offer); /* The list is there before anybody can ask for it. */
        GROW(kubelet->plugins, kubelet->n_plugins, kubelet->cap_plugins);
        kubelet->plugins[kubelet->n_plugins++] = plugin;
        if (kubelet->registration == REGISTER_SOCKET)
                registrar_plugin_new(plugin);
        else
                watcher_plugin_new(plugin);
}

void kubelet_offer(struct kubelet *kubelet, struct offer *offer)
{
        if (kubelet->stopping)
                return;
        for (size_t i = 0; i < offer->n_pools; i++)
                offer_pool_to_kubelet(kubelet, offer, &offer->pools[i]);
        for (size_t i = 0; i < kubelet->n_plugins; i++)
                if (!offer_pool(offer, kubelet->plugins[i]->resource))
                        plugin_withdraw(kubelet->plugins[i]);
        kubelet_arm(kubelet);
}

size_t kubelet_status(const struct kubelet *kubelet, struct kubelet_status *ret, size_t max)
{
        for (size_t i = 0; i < kubelet->n_plugins && i < max; i++) {
                const struct plugin *plugin = kubelet->plugins[i];
                bool by_socket = kubelet->registration == REGISTER_SOCKET;
                ret[i] = (struct kubelet_status){
                        .resource = plugin->resource,
                        .state = by_socket ? life_state_name(plugin->life.state) : watcher_state_name(plugin),
                        .problem = by_socket ? plugin->life.problem : plugin->watcher.problem,
                        .registrations = by_socket ? plugin->life.registrations : plugin->watcher.registrations,
                };
        }
        return kubelet->n_plugins;
}

/* ---- the end ---- */

void kubelet_release(struct kubelet *kubelet)
{
        assert(kubelet->open > 0);
        if (--kubelet->open == 0 && kubelet->closed)
                kubelet->closed(kubelet->closed_ctx);
}

void kubelet_release_ctx(void *kubelet)
{
        kubelet_release(kubelet);
}

static void on_timer_closed(uv_handle_t *handle)
{
        kubelet_release(container_of((uv_timer_t *)(void *)handle, struct kubelet, timer));
}

void kubelet_stop(struct kubelet *kubelet, void (*closed)(void *ctx), void *ctx)
{
        assert(!kubelet->stopping);
        kubelet->stopping = true;
        kubelet->closed = closed;
        kubelet->closed_ctx = ctx;
        for (size_t i = 0; i < kubelet->n_plugins; i++) {
                if (kubelet->registration == REGISTER_SOCKET)
                        registrar_plugin_stop(kubelet->plugins[i]);
                else
                        watcher_plugin_stop(kubelet->plugins[i]);
                plugin_stop(kubelet->plugins[i]);
        }
        if (kubelet->registrar)
                registrar_stop(kubelet);
        podresources_stop(TAKE_PTR(kubelet->podresources), kubelet_release_ctx, kubelet);
        uv_close((uv_handle_t *)&kubelet->timer, on_timer_closed);
}

struct kubelet *kubelet_free(struct kubelet *kubelet)
{
        if (!kubelet)
                return NULL;
        for (size_t i = 0; i < kubelet->n_plugins; i++)
                (void)plugin_free(kubelet->plugins[i]);
        registrar_free(kubelet);
        free(kubelet->plugins);
        free(kubelet->dir);
        free(kubelet->sim_node);
        free(kubelet);
        return NULL;
}
