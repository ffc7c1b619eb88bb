/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/agent_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent/notify.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "claims/recovery.h"
#include "claims/release.h"
#include "claims/stock.h"

enum {
        LOOK_GAP_MS = 20,     /* two looks are at least this far apart, however many events come */
        PROBED_LOOK_MS = 250, /* what hands have read changes no list, and a plan looks by itself: not in the way of the start */
        LOOK_TRIES = 3,       /* a look that fails is made again at once: whoever asked for it goes on with what it finds */
};
#ifndef AGENT_TIMES
#define AGENT_TIMES
enum { UNREAD_LOOK_MS = 250 /* what could not be read is looked at again after this; doubles */ };
#endif

static void on_look(uv_timer_t *timer);

/* ---- looking ---- */

static void look_in(struct agent *agent, uint64_t in_ms)
{
        if (agent->stopping)
                return;
        if (uv_is_active((uv_handle_t *)&agent->look) && uv_timer_get_due_in(&agent->look) <= in_ms)
                return;
        (void)uv_timer_start(&agent->look, on_look, in_ms, 0);
}

/* No event tells that what could not be read can be. The pauses grow until the backstop comes sooner. */
static void look_at_unread(struct agent *agent, bool failed)
{
        if (!failed && agent->world.inventory->n_broken == 0) {
                agent->unread_look_ms = 0;
                return;
        }
        agent->unread_look_ms = agent->unread_look_ms ? 2 * agent->unread_look_ms : UNREAD_LOOK_MS;
        if (agent->unread_look_ms < agent->world.config->rescan_ms)
                look_in(agent, agent->unread_look_ms);
        else
                agent->unread_look_ms = agent->world.config->rescan_ms;
}

static void look_now(struct agent *agent)
{
        int64_t settle_ms = -1;
        struct err err;
        int r = -1;

        agent->last_look_ms = clock_ms();
        for (unsigned i = 0; r < 0 && i < LOOK_TRIES; i++)
                r = world_look(&agent->world, &settle_ms, &err);
        if (r < 0)
                log_error("cannot read the host, the last look stays in force: %s", err.msg);
        if (agent->stopping)
                return;
        look_at_unread(agent, r < 0);
        if (r < 0)
                return;
        agent_tell_kubelet(agent);
        if (host_events_follow_types(agent->events, agent->world.tree, agent->world.inventory) && settle_ms < 0)
                settle_ms = LOOK_GAP_MS;
        probe_walk(agent->probe, agent->world.inventory, &agent->world.config->rules, agent->last_look_ms);
        if (settle_ms >= 0)
                look_in(agent, (uint64_t)settle_ms + 1);
}

static void on_look(uv_timer_t *timer)
{
        struct agent *agent = timer->data;

        look_now(agent);
        stock_forget_taken(agent->claims);
        agent_reconcile(agent);
}

/* Soon, and not too often. */
static void look_later(struct agent *agent)
{
        int64_t due_ms = agent->last_look_ms + LOOK_GAP_MS - clock_ms();

        look_in(agent, due_ms > 1 ? (uint64_t)due_ms : 1);
}

static void on_event(void *ctx, const char *what)
{
        log_debug("event: %s", what);
        look_later(ctx);
}

static void on_backstop(uv_timer_t *timer)
{
        struct agent *agent = timer->data;

        agent_arm_backstop(agent);
        agent_check_config(agent);
        if (agent->node)
                node_check(agent->node);
        look_in(agent, 0); /* not a moment later: that would be another wakeup */
}

void agent_arm_backstop(struct agent *agent)
{
        uv_update_time(&agent->loop);
        int64_t now_ms = (int64_t)uv_now(&agent->loop);
        (void)uv_timer_start(&agent->backstop, on_backstop, (uint64_t)(clock_beat(now_ms, agent->world.config->rescan_ms) - now_ms), 0);
}

static void on_probed(void *ctx)
{
        look_in(ctx, PROBED_LOOK_MS);
}

/* A card that the kernel does not answer for: nobody touches it again in this boot. */
static void give_up(struct agent *agent, struct bdf card, const char *detail)
{
        world_mark_stuck(&agent->world, card, detail);
        probe_leave_alone(agent->probe, card);
}

static void on_remembered(void *ctx, struct bdf card, const char *detail)
{
        give_up(ctx, card, detail);
}

static void on_probe_stuck(void *ctx, struct bdf card, const char *text)
{
        struct agent *agent = ctx;

        give_up(agent, card, text);
        stuck_add(agent->stuck, card, text);
        look_later(agent);
}

/* ---- what the claims see; the first three, also the node API ---- */

const struct inventory *agent_inventory(void *agent)
{
        return ((struct agent *)agent)->world.inventory;
}

const struct offer *agent_offer(void *agent)
{
        return ((struct agent *)agent)->world.offer;
}

const struct rules *agent_rules(void *agent)
{
        return &((struct agent *)agent)->world.config->rules;
}

static const struct inventory *see_again(void *ctx)
{
        struct agent *agent = ctx;

        look_now(agent);
        return agent->world.inventory;
}

static bool is_current(void *ctx, const struct device *device)
{
        return world_is_current(&((struct agent *)ctx)->world, device);
}

static void mark(void *ctx, const char *device, enum reason reason, const char *detail)
{
        world_mark(&((struct agent *)ctx)->world, device, reason, detail);
}

static void mark_stuck(void *ctx, struct bdf card, const char *detail)
{
        struct agent *agent = ctx;

        give_up(agent, card, detail);
        stuck_add(agent->stuck, card, detail);
}

static bool may_be_held(void *ctx, const struct device *device)
{
        return world_may_be_held(&((struct agent *)ctx)->world, device);
}

static bool at_work(void *ctx, struct bdf card)
{
        const struct claims *claims = ((struct agent *)ctx)->claims;

        return claims && claims_at_work(claims, card);
}

static const char *releasing(void *ctx, const char *device)
{
        const struct claims *claims = ((struct agent *)ctx)->claims;

        return claims ? release_of_device(claims, device) : NULL;
}

static const char *given_from(void *ctx, const char *device)
{
        const struct claim *claim = ledger_claim_of(((struct agent *)ctx)->ledger, device);

        return claim && claim->owner == OWNER_KUBELET && claim->state != CLAIM_RELEASING ? claim->resource : NULL;
}

static bool ours(void *ctx, struct bdf card)
{
        const struct claims *claims = ((struct agent *)ctx)->claims;

        return claims && claims_change(claims, card);
}

/* ---- serving ---- */

static struct kubelet_config kubelet_config(const struct agent *agent)
{
        return (struct kubelet_config){
                .dir = agent->options->kubelet_dir,
                .registration = agent->registration,
                .sim_node = agent->options->sim_node,
        };
}

bool agent_has_kubelet(const struct agent *agent)
{
        return agent->registration != REGISTER_NONE;
}

void agent_tell_kubelet(struct agent *agent)
{
        if (agent->kubelet && !agent->stopping)
                kubelet_offer(agent->kubelet, agent->world.offer);
}

static int serve_kubelet(struct agent *agent, struct err *err)
{
        const struct kubelet_config config = kubelet_config(agent);

        if (!agent_has_kubelet(agent)) {
                log_info("registration: none: kubelet is not served, the node API is");
                return 0;
        }
        return kubelet_start(&agent->kubelet, &agent->loop, agent->rpc, agent->claims, &config, err);
}

/* Whoever waited for it may ask the node API at once. */
static void say_ready(const struct agent *agent)
{
        if (agent->serving && agent->node)
                notify_service_manager(agent_has_kubelet(agent) ? "READY=1\nSTATUS=serving"
                                                                : "READY=1\nSTATUS=serving the node API, without kubelet");
}

void agent_serve(struct agent *agent)
{
        struct err err;

        if (agent->serving || agent->stopping)
                return;
        if (serve_kubelet(agent, &err) < 0) {
                log_error("cannot serve kubelet: %s", err.msg);
                agent_stop(agent, 1);
                return;
        }
        agent->serving = true;
        agent_tell_kubelet(agent);
        say_ready(agent);
        if (agent->world.offer->n_pools == 0)
                log_warn("nothing is offered on this node: `sluicectl inventory` says why for each device");
}

/* ---- signals ---- */

static void on_signal(uv_poll_t *poll, int status, int events)
{
        struct agent *agent = poll->data;
        struct signalfd_siginfo info;

        (void)status;
        (void)events;
        while (read(agent->options->signal_fd, &info, sizeof(info)) == sizeof(info)) {
                if (info.ssi_signo == SIGHUP) {
                        agent_reload(agent, true);
                        continue;
                }
                if (!agent->stopping)
                        log_info("%s: ending; bindings stay as they are", strsignal((int)info.ssi_signo));
                agent_stop(agent, 0);
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
                .ctx = agent,
                .inventory = agent_inventory,
                .offer = agent_offer,
                .rules = agent_rules,
                .rescan = see_again,
                .is_current = is_current,
                .mark = mark,
                .mark_stuck = mark_stuck,
                .may_be_held = may_be_held,
                .withhold = agent_withhold,
                .ask_pods = agent_ask_pods,
        };

        agent->world.at_work = at_work;
        agent->world.ours = ours;
        agent->world.cordoned = agent_cordoned;
        agent->world.releasing = releasing;
        agent->world.given_from = given_from;
        agent->world.claims_ctx = agent;
        agent->claims = claims_new(&agent->loop, agent->hands, agent->ledger, &world, agent->world.config->bind_deadline_ms);
}

static void start_events(struct agent *agent)
{
        struct err err;
        bool blind;

        if (host_events_start(&agent->events, &agent->loop, agent->world.tree, agent->options->sim_dir, on_event, agent, &blind, &err) < 0)
                log_warn("no events from the host, only a look every %u ms: %s", agent->world.config->rescan_ms, err.msg);
        else if (blind)
                log_warn("kernel uevents cannot be received here: a look every %u ms has to do", agent->world.config->rescan_ms);
        agent_arm_backstop(agent);
}

static int open_state(struct agent *agent, struct err *err)
{
        _cleanup_close_ int dir = fs_open(AT_FDCWD, agent->options->state_dir, O_RDONLY | O_DIRECTORY, 0);
        if (dir < 0)
                return err_set(err, -dir, "cannot open %s", agent->options->state_dir);
        agent->recorder = recorder_new(&agent->loop);
        int r = ledger_open(dir, &agent->loop, agent->recorder, &agent->ledger, err);
        if (r == 0)
                r = cordons_open(dir, agent->recorder, &agent->cordons, err);
        if (r < 0)
                return r;
        agent->state_dir = TAKE_FD(dir);
        return 0;
}

/* What an earlier daemon of this boot gave up stays so. Before anything is read from it, or offered. */
static int open_stuck(struct agent *agent, struct err *err)
{
        const char *boot_id = agent->world.inventory->boot_id;

        int r = stuck_open(agent->state_dir, agent->recorder, boot_id, on_remembered, agent, &agent->stuck, err);
        if (r == 0 && agent->world.n_stuck > 0)
                r = world_look(&agent->world, NULL, err);
        return r;
}

static void on_recovered(void *ctx)
{
        struct agent *agent = ctx;

        if (--agent->n_binding == 0)
                agent_serve(agent);
}

static void free_all(struct agent *agent)
{
        stuck_free(agent->stuck);
        cordons_free(agent->cordons);
        ledger_free(agent->ledger);
        cleanup_close(&agent->state_dir);
        recorder_free(agent->recorder);
        probe_free(agent->probe);
        hands_free(agent->hands);
        world_close(&agent->world);
        free(agent->attempts);
}

/* What needs no loop. On failure nothing is left to be waited for. */
static int prepare(struct agent *agent, struct err *err)
{
        agent->registration = agent->options->config->registration;
        int r = world_open(&agent->world, agent->options->sim_dir, agent->options->host_mounts, agent->options->config, err);
        if (r == 0 && agent_has_kubelet(agent)) {
                const struct kubelet_config config = kubelet_config(agent);
                r = kubelet_check(&config, err); /* Before anything is bound for a kubelet that could not be served. */
        }
        if (r == 0 && uv_loop_init(&agent->loop) < 0)
                r = err_say(err, ENOMEM, "no event loop can be made");
        return r;
}

/* What needs no gRPC. */
static int look_first(struct agent *agent, struct err *err)
{
        int r = open_state(agent, err);
        if (r < 0)
                return r;
        start_claims(agent);
        r = world_look(&agent->world, NULL, err);
        if (r == 0)
                r = open_stuck(agent, err);
        if (r < 0)
                return r;
        agent->last_look_ms = clock_ms();
        probe_walk(agent->probe, agent->world.inventory, &agent->world.config->rules, agent->last_look_ms);
        start_events(agent);
        if (host_events_follow_types(agent->events, agent->world.tree, agent->world.inventory))
                look_later(agent);
        agent_watch_config(agent);
        return 0;
}

/* gRPC starts beside the first look. On failure agent_stop ends what has begun. */
static int start(struct agent *agent, struct err *err)
{
        int r = rpc_start(&agent->rpc, err);

        hands_attach(agent->hands, &agent->loop);
        agent->probe = probe_new(agent->hands, on_probed, on_probe_stuck, ours, agent);
        agent->world.probe = agent->probe;
        init_handles(agent);
        if (r == 0)
                r = look_first(agent, err);
        if (agent->rpc)
                rpc_attach(agent->rpc, &agent->loop);
        if (r < 0)
                return r;
        /* No serving before what was under way has had its chance to end, nor, where that is at once, before what is to be bound. */
        agent->n_binding += 2;
        recovery_start(agent->claims, on_recovered, agent);
        release_resume(agent->claims); /* behind the recovery of the same cards */
        agent_reconcile(agent);
        if (--agent->n_binding == 0)
                agent_serve(agent);
        if (!agent->stopping) {
                agent_start_api(agent); /* not in the way of the first list */
                say_ready(agent);
        }
        return 0;
}

int agent_run(const struct agent_options *options)
{
        struct agent agent = { .options = options, .hands = options->hands, .state_dir = -1 };
        struct err err;

        agent_stamp_names(&agent);
        if (prepare(&agent, &err) < 0) {
                log_error("cannot start: %s", err.msg);
                free_all(&agent);
                return 1;
        }
        if (start(&agent, &err) < 0) {
                log_error("cannot start: %s", err.msg);
                agent_stop(&agent, 1);
        }
        (void)uv_run(&agent.loop, UV_RUN_DEFAULT);
        free_all(&agent);
        (void)uv_loop_close(&agent.loop);
        return agent.status;
}
