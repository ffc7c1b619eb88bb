/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent.h"

#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <uv.h>

#include "agent/notify.h"
#include "agent/world.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "claims/claims.h"
#include "hands/hands.h"
#include "host/events.h"
#include "kubelet/kubelet.h"
#include "rpc/rpc.h"

enum {
        LOOK_GAP_MS = 20,          /* two looks are at least this far apart, however many events come */
        RELOAD_SETTLE_MS = 200,    /* an editor or a ConfigMap writes in several steps */
        STOP_HANDS_MS = 1500,      /* plans at work at SIGTERM may end within this time */
        BIND_RETRY_MS = 10 * 1000, /* first retry of a failed bind at start; doubles */
        BIND_RETRY_MAX_MS = 300 * 1000,
};

/* A bind at start that failed, and when to try again. */
struct attempt {
        char id[DEVICE_ID_MAX];
        int64_t next_ms, delay_ms;
        bool running;
};

struct agent {
        const struct agent_options *options;
        uv_loop_t loop;
        struct world world;
        struct hands *hands;
        struct probe *probe;
        struct store *store;
        struct claims *claims;
        struct rpc *rpc;
        struct kubelet *kubelet;
        struct host_events *events;

        uv_poll_t signals;
        uv_timer_t look, backstop, reload, stop_hands;
        uv_fs_event_t config_watch;
        int64_t last_look_ms;

        struct attempt *attempts;
        size_t n_attempts, cap_attempts;
        unsigned n_binding; /* binds at start under way */
        bool serving, stopping, hands_stopping;
        bool kubelet_closed, claims_closed, hands_closed;
        int status;
};

static void reconcile(struct agent *agent);
static void stop(struct agent *agent, int status);
static void on_look(uv_timer_t *timer);

/* ---- looking ---- */

static void look_now(struct agent *agent)
{
        int64_t settle_ms = -1;
        struct err err;

        agent->last_look_ms = clock_ms();
        if (world_look(&agent->world, &settle_ms, &err) < 0) {
                log_error("cannot read the host, the last look stays in force: %s", err.msg);
                return;
        }
        if (agent->stopping)
                return;
        if (agent->serving)
                kubelet_offer(agent->kubelet, agent->world.offer);
        probe_walk(agent->probe, agent->world.inventory, &agent->world.config->rules, agent->last_look_ms);
        if (settle_ms >= 0)
                (void)uv_timer_start(&agent->look, on_look, (uint64_t)settle_ms + 1, 0);
}

static void on_look(uv_timer_t *timer)
{
        struct agent *agent = timer->data;

        look_now(agent);
        reconcile(agent);
}

static void want_look(struct agent *agent)
{
        int64_t due_ms = agent->last_look_ms + LOOK_GAP_MS - clock_ms();
        uint64_t in_ms = due_ms > 1 ? (uint64_t)due_ms : 1;

        if (agent->stopping)
                return;
        if (uv_is_active((uv_handle_t *)&agent->look) && uv_timer_get_due_in(&agent->look) <= in_ms)
                return;
        (void)uv_timer_start(&agent->look, on_look, in_ms, 0);
}

static void on_event(void *ctx, const char *what)
{
        log_debug("event: %s", what);
        want_look(ctx);
}

static void on_backstop(uv_timer_t *timer)
{
        want_look(timer->data);
}

static void on_probed(void *ctx)
{
        want_look(ctx);
}

/* A function that the kernel does not answer for: every device that has to do with it is stuck. */
static void on_probe_stuck(void *ctx, struct bdf bdf, const char *text)
{
        struct agent *agent = ctx;
        const struct offer *offer = agent->world.offer;
        const struct function *fn = inventory_function(agent->world.inventory, bdf);
        char detail[DETAIL_MAX];

        str_format(detail, sizeof(detail), "reading driver_override of " BDF_FMT ": %.120s", BDF_ARGS(bdf), text);
        for (size_t i = 0; i < offer->n_devices; i++) {
                const struct device *d = &offer->devices[i];
                if (bdf_equal(d->bdf, bdf) || (fn && d->group >= 0 && d->group == fn->group))
                        world_mark(&agent->world, d->id, REASON_STUCK, detail);
        }
}

/* ---- what the claims see ---- */

static const struct inventory *see_inventory(void *ctx)
{
        return ((struct agent *)ctx)->world.inventory;
}

static const struct offer *see_offer(void *ctx)
{
        return ((struct agent *)ctx)->world.offer;
}

static const struct rules *see_rules(void *ctx)
{
        return &((struct agent *)ctx)->world.config->rules;
}

static const struct inventory *see_again(void *ctx)
{
        struct agent *agent = ctx;

        look_now(agent);
        return agent->world.inventory;
}

static void mark(void *ctx, const char *device, enum reason reason, const char *detail)
{
        world_mark(&((struct agent *)ctx)->world, device, reason, detail);
}

static int held(void *ctx, const struct device *device, char *who, size_t size)
{
        return world_held(&((struct agent *)ctx)->world, device, who, size);
}

/* ---- serving ---- */

static void start_serving(struct agent *agent)
{
        const struct kubelet_config config = {
                .dir = agent->options->kubelet_dir,
                .registration = agent->world.config->registration,
                .sim_node = agent->options->sim_node,
        };
        struct err err;

        if (agent->serving || agent->stopping)
                return;
        if (kubelet_start(&agent->kubelet, &agent->loop, agent->rpc, agent->claims, &config, &err) < 0) {
                log_error("cannot serve kubelet: %s", err.msg);
                stop(agent, 1);
                return;
        }
        agent->serving = true;
        kubelet_offer(agent->kubelet, agent->world.offer);
        notify_service_manager("READY=1\nSTATUS=serving");
        if (agent->world.offer->n_pools == 0)
                log_warn("nothing is offered on this node: `sluicectl inventory` says why for each device");
}

/* ---- binding at start ---- */

static struct attempt *find_attempt(struct agent *agent, const char *id)
{
        for (size_t i = 0; i < agent->n_attempts; i++)
                if (streq(agent->attempts[i].id, id))
                        return &agent->attempts[i];
        GROW(agent->attempts, agent->n_attempts, agent->cap_attempts);
        struct attempt *a = &agent->attempts[agent->n_attempts++];
        *a = (struct attempt){ .delay_ms = BIND_RETRY_MS };
        (void)str_copy(a->id, sizeof(a->id), id);
        return a;
}

struct bind_job {
        struct agent *agent;
        char id[DEVICE_ID_MAX];
};

static void on_bound(void *ctx, const struct claim_result *result)
{
        _cleanup_free_ struct bind_job *job = ctx;
        struct agent *agent = job->agent;
        struct attempt *attempt = find_attempt(agent, job->id);

        attempt->running = false;
        if (result->reason) {
                log_warn("bind at start of %s failed, next try in %lld s: %s", job->id, (long long)attempt->delay_ms / 1000, result->text);
                attempt->next_ms = clock_ms() + attempt->delay_ms;
                attempt->delay_ms = attempt->delay_ms * 2 > BIND_RETRY_MAX_MS ? BIND_RETRY_MAX_MS : attempt->delay_ms * 2;
        } else {
                log_info("%s is bound", job->id);
                attempt->delay_ms = BIND_RETRY_MS;
        }
        if (--agent->n_binding == 0)
                start_serving(agent);
}

/* Desired state against the snapshot: devices that a rule wants bound at start and that are not, all cards in parallel. */
static void reconcile(struct agent *agent)
{
        _cleanup_offer_ struct offer *offer = offer_ref(agent->world.offer);
        int64_t now = clock_ms();

        agent->n_binding++; /* no serving from within this loop */
        for (size_t i = 0; i < offer->n_devices && !agent->stopping; i++) {
                const struct device *d = &offer->devices[i];
                char *ids[] = { (char *)d->id };

                if (d->bind != BIND_AT_START || !d->needs_bind || d->state != DEVICE_HEALTHY)
                        continue;
                struct attempt *attempt = find_attempt(agent, d->id);
                if (attempt->running || now < attempt->next_ms)
                        continue;
                attempt->running = true;
                struct bind_job *job = xcalloc(1, sizeof(*job));
                job->agent = agent;
                (void)str_copy(job->id, sizeof(job->id), d->id);
                agent->n_binding++;
                claims_prepare(agent->claims,
                               &(struct claim_request){ .owner = OWNER_RECONCILE, .resource = d->resource, .devices = ids, .n_devices = 1 },
                               on_bound, job);
        }
        if (--agent->n_binding == 0)
                start_serving(agent);
}

/* ---- configuration ---- */

static void log_lines(const char *text)
{
        while (*text) {
                size_t n = strcspn(text, "\n");
                log_error("%.*s", (int)n, text);
                text += n + (text[n] == '\n');
        }
}

static void reload(struct agent *agent, bool asked)
{
        _cleanup_strbuf_ struct strbuf problems = { 0 };
        struct config *config = NULL;
        struct err err;

        int r = config_load(agent->options->config_path, &config, &problems);
        if (r < 0) {
                log_lines(problems.text ? problems.text : "");
                log_error("%s is not used, the configuration in force stays", agent->options->config_path);
                return;
        }
        _cleanup_free_ char *before = config_print(agent->world.config);
        _cleanup_free_ char *after = config_print(config);
        if (streq(before, after)) {
                config_unref(config);
                if (asked)
                        log_info("%s is unchanged", agent->options->config_path);
                return;
        }
        if (config->registration != agent->world.config->registration)
                log_warn("the new 'registration' takes effect at the next start");
        unsigned deadline_ms = config->bind_deadline_ms;
        unsigned rescan_ms = config->rescan_ms;
        if (world_configure(&agent->world, config, &err) < 0) {
                log_error("%s is not used: %s", agent->options->config_path, err.msg);
                return;
        }
        log_info("%s is in force", agent->options->config_path);
        claims_set_deadline(agent->claims, deadline_ms);
        (void)uv_timer_start(&agent->backstop, on_backstop, rescan_ms, rescan_ms);
        if (agent->serving)
                kubelet_offer(agent->kubelet, agent->world.offer);
        reconcile(agent);
}

static void on_reload_timer(uv_timer_t *timer)
{
        struct agent *agent = timer->data;

        if (access(agent->options->config_path, F_OK) == 0 && !agent->stopping)
                reload(agent, false);
}

static void on_config_changed(uv_fs_event_t *watch, const char *name, int events, int status)
{
        struct agent *agent = watch->data;

        (void)name;
        (void)events;
        (void)status;
        (void)uv_timer_start(&agent->reload, on_reload_timer, RELOAD_SETTLE_MS, 0);
}

static void watch_config(struct agent *agent)
{
        _cleanup_free_ char *path = xstrdup(agent->options->config_path);

        /* The directory: an editor and a ConfigMap replace the file. Without the directory only SIGHUP reloads. */
        int r = uv_fs_event_start(&agent->config_watch, on_config_changed, dirname(path), 0);
        if (r < 0 && r != UV_ENOENT)
                log_warn("cannot watch %s for changes (%s): send SIGHUP after a change", agent->options->config_path, uv_strerror(r));
}

/* ---- signals and the end ---- */

static void on_handle_closed(uv_handle_t *handle)
{
        (void)handle;
}

static void on_rpc_stopped(void *ctx)
{
        struct agent *agent = ctx;
        uv_handle_t *handles[] = {
                (uv_handle_t *)&agent->signals, (uv_handle_t *)&agent->look,       (uv_handle_t *)&agent->backstop,
                (uv_handle_t *)&agent->reload,  (uv_handle_t *)&agent->stop_hands, (uv_handle_t *)&agent->config_watch,
        };

        for (size_t i = 0; i < N_ELEMENTS(handles); i++)
                if (!uv_is_closing(handles[i]))
                        uv_close(handles[i], on_handle_closed);
}

static void stop_hands(struct agent *agent);

/* The last steps need each other: kubelet's open calls end with the claims, the claims with the hands. */
static void stop_step(struct agent *agent)
{
        if (agent->kubelet_closed && agent->claims_closed && !agent->hands_stopping)
                stop_hands(agent);
        if (!agent->kubelet_closed || !agent->claims_closed || !agent->hands_closed)
                return;
        agent->claims = claims_free(agent->claims);
        agent->kubelet = kubelet_free(agent->kubelet);
        rpc_stop(agent->rpc, on_rpc_stopped, agent);
}

static void on_kubelet_closed(void *ctx)
{
        struct agent *agent = ctx;

        agent->kubelet_closed = true;
        stop_step(agent);
}

static void on_claims_closed(void *ctx)
{
        struct agent *agent = ctx;

        agent->claims_closed = true;
        stop_step(agent);
}

static void on_hands_closed(void *ctx)
{
        struct agent *agent = ctx;

        agent->hands_closed = true;
        stop_step(agent);
}

static void stop_hands(struct agent *agent)
{
        agent->hands_stopping = true;
        hands_stop(agent->hands, on_hands_closed, agent);
}

static void on_stop_hands(uv_timer_t *timer)
{
        struct agent *agent = timer->data;

        if (!agent->hands_stopping)
                stop_hands(agent);
}

/* Ends streams, removes sockets, unbinds nothing. */
static void stop(struct agent *agent, int status)
{
        if (agent->stopping)
                return;
        agent->stopping = true;
        agent->status = status;
        notify_service_manager("STOPPING=1");
        host_events_stop(agent->events);
        agent->events = NULL;
        (void)uv_timer_stop(&agent->look);
        (void)uv_timer_stop(&agent->backstop);
        (void)uv_timer_start(&agent->stop_hands, on_stop_hands, STOP_HANDS_MS, 0);
        claims_stop(agent->claims, on_claims_closed, agent);
        if (agent->kubelet)
                kubelet_stop(agent->kubelet, on_kubelet_closed, agent);
        else
                on_kubelet_closed(agent);
}

static void on_signal(uv_poll_t *poll, int status, int events)
{
        struct agent *agent = poll->data;
        struct signalfd_siginfo info;

        (void)status;
        (void)events;
        while (read(agent->options->signal_fd, &info, sizeof(info)) == sizeof(info)) {
                if (info.ssi_signo == SIGHUP) {
                        notify_service_manager("STATUS=re-reading the configuration");
                        reload(agent, true);
                        notify_service_manager("STATUS=serving");
                        continue;
                }
                log_info("%s: ending; bindings stay as they are", strsignal((int)info.ssi_signo));
                stop(agent, 0);
        }
}

/* ---- start ---- */

static void init_handles(struct agent *agent)
{
        uv_timer_t *timers[] = { &agent->look, &agent->backstop, &agent->reload, &agent->stop_hands };

        for (size_t i = 0; i < N_ELEMENTS(timers); i++) {
                (void)uv_timer_init(&agent->loop, timers[i]);
                timers[i]->data = agent;
        }
        (void)uv_fs_event_init(&agent->loop, &agent->config_watch);
        agent->config_watch.data = agent;
        (void)uv_poll_init(&agent->loop, &agent->signals, agent->options->signal_fd);
        agent->signals.data = agent;
        (void)uv_poll_start(&agent->signals, UV_READABLE, on_signal);
}

static void start_claims(struct agent *agent)
{
        const struct claims_world world = {
                .ctx = agent, .inventory = see_inventory, .offer = see_offer, .rules = see_rules, .rescan = see_again, .mark = mark, .held = held,
        };

        agent->store = store_memory_new();
        agent->claims = claims_new(&agent->loop, agent->hands, agent->store, &world, agent->world.config->bind_deadline_ms);
}

static void start_events(struct agent *agent)
{
        struct err err;
        bool blind;

        if (host_events_start(&agent->events, &agent->loop, agent->world.tree, agent->options->sim_dir, on_event, agent, &blind, &err) < 0)
                log_warn("no events from the host, only a look every %u ms: %s", agent->world.config->rescan_ms, err.msg);
        else if (blind)
                log_warn("kernel uevents cannot be received here: a look every %u ms has to do", agent->world.config->rescan_ms);
        (void)uv_timer_start(&agent->backstop, on_backstop, agent->world.config->rescan_ms, agent->world.config->rescan_ms);
}

/* The hands first: their zygote is spawned before any thread exists. */
static int start(struct agent *agent, struct err *err)
{
        const struct hands_config hands = {
                .program = agent->options->hand_program, .sim_dir = agent->options->sim_dir, .lock_dir = agent->options->run_dir,
        };

        int r = hands_start(&agent->hands, &hands, err);
        if (r < 0)
                return r;
        hands_attach(agent->hands, &agent->loop);
        agent->probe = probe_new(agent->hands, on_probed, on_probe_stuck, agent);
        agent->world.probe = agent->probe;
        init_handles(agent);
        r = rpc_start(&agent->rpc, &agent->loop, err);
        if (r < 0)
                return r;
        r = world_look(&agent->world, NULL, err);
        if (r < 0)
                return r;
        agent->last_look_ms = clock_ms();
        probe_walk(agent->probe, agent->world.inventory, &agent->world.config->rules, agent->last_look_ms);
        start_claims(agent);
        start_events(agent);
        watch_config(agent);
        reconcile(agent); /* serves when nothing is left to bind */
        return 0;
}

int agent_run(const struct agent_options *options)
{
        struct agent agent = { .options = options };
        struct err err;

        if (uv_loop_init(&agent.loop) < 0) {
                log_error("cannot make an event loop");
                return 1;
        }
        int r = world_open(&agent.world, options->sim_dir, options->config, &err);
        if (r == 0)
                r = start(&agent, &err);
        if (r < 0) {
                /* Nothing is served yet and nothing was touched: the process ends and the kernel tidies up. */
                log_error("cannot start: %s", err.msg);
                return 1;
        }
        (void)uv_run(&agent.loop, UV_RUN_DEFAULT);
        probe_free(agent.probe);
        hands_free(agent.hands);
        agent.store->ops->free(agent.store);
        world_close(&agent.world);
        free(agent.attempts);
        (void)uv_loop_close(&agent.loop);
        return agent.status;
}
