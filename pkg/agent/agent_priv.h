/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this room share: the agent itself. Loop thread. */
#ifndef SLUICE_AGENT_AGENT_PRIV_H
#define SLUICE_AGENT_AGENT_PRIV_H

#include <uv.h>

#include "agent/agent.h"
#include "agent/world.h"
#include "claims/claims.h"
#include "claims/cordon.h"
#include "claims/stuck.h"
#include "hands/hands.h"
#include "host/events.h"
#include "kubelet/kubelet.h"
#include "node/node.h"
#include "rpc/rpc.h"

/* A bind at start that failed, and when to try again. */
struct attempt {
        char id[DEVICE_ID_MAX];
        int64_t next_ms, delay_ms;
        bool running;
};

/* Enough to see that a file is another one or was written; all zero = not there. */
struct file_stamp {
        uint64_t dev, ino, size;
        int64_t changed_ns;
};

struct agent {
        const struct agent_options *options;
        uv_loop_t loop;
        struct world world;
        struct hands *hands;
        struct probe *probe;
        struct recorder *recorder;
        struct stuck *stuck;
        struct cordons *cordons;
        int state_dir; /* open, for as long as the records below it are */
        struct ledger *ledger;
        struct claims *claims;
        struct rpc *rpc;
        enum registration registration; /* as it was at the start: a changed one takes effect at the next */
        struct kubelet *kubelet;        /* NULL = not served yet, or never: registration: none */
        struct node *node;
        struct host_events *events;

        uv_poll_t signals;
        uv_timer_t look, backstop, reload, stop_hands;
        uv_fs_event_t config_watch;
        struct file_stamp config_stamp, pci_ids_stamp; /* of what is in force, or was found wanting */
        int64_t last_look_ms;
        unsigned unread_look_ms; /* the pause before what could not be read was looked at again; 0 = all could */

        struct attempt *attempts;
        size_t n_attempts, cap_attempts;
        unsigned n_binding; /* what the first list waits for: binds at start, the recovery, the start itself */
        bool serving, stopping, hands_stopping;
        bool kubelet_closed, claims_closed, hands_closed, node_closed;
        int status;
};

/* agent.c */
bool agent_has_kubelet(const struct agent *agent); /* shall be served, sooner or later */
void agent_serve(struct agent *agent);             /* kubelet, where there is one, from now on; once */
void agent_tell_kubelet(struct agent *agent);      /* what is in force now, to kubelet, when it is served */
void agent_arm_backstop(struct agent *agent);      /* the look that comes whatever events say */
/* Of the last look, and what is in force: for whoever asks with the agent as its context. */
const struct inventory *agent_inventory(void *agent);
const struct offer *agent_offer(void *agent);
const struct rules *agent_rules(void *agent);

/* api.c */
const char *agent_cordoned(void *agent, const struct device *device); /* offer_input's */
void agent_withhold(void *agent, const char *device, bool on);        /* claims_world's, and the next */
void agent_ask_pods(void *agent, void (*done)(void *ctx, const char *why_unknown), void *done_ctx);
void agent_start_api(struct agent *agent);

/* bind.c: devices that a rule wants bound at start and that are not; serves when none is left to wait for. */
void agent_reconcile(struct agent *agent);

/* reload.c */
void agent_stamp_names(struct agent *agent); /* before the pci.ids file is read */
void agent_watch_config(struct agent *agent);
void agent_check_config(struct agent *agent); /* reloads when a file has changed, whether an event told of it or not */
void agent_reload(struct agent *agent, bool asked /* by a signal: says so when nothing changed */);

/* stop.c: ends streams, removes sockets, unbinds nothing; the loop runs out. @status is the process'. */
void agent_stop(struct agent *agent, int status);

#endif
