/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of pkg/kubelet share. One plugin per pool: its server, its socket, its streams, and the way it is made
 * known to kubelet: path A (registrar.c) or path B (watcher.c), one for all pools. */
#ifndef SLUICE_KUBELET_KUBELET_PRIV_H
#define SLUICE_KUBELET_KUBELET_PRIV_H

#include "deviceplugin.pb-c.h"
#include "kubelet/kubelet.h"
#include "kubelet/lifecycle.h"
#include "kubelet/podresources.h"
#include "rpc/listener.h"

#ifndef GATHER_TIMES
#define GATHER_TIMES
enum { GATHER_MS = 250 /* changes of a list after the first are gathered this long: each costs kubelet an fsync */ };
#endif
enum {
        LOOK_MS = 5000, /* (at a beat) files are compared this often whatever inotify says: a re-mount makes it go silent */
        STOP_GRACE_MS = 2000,
        ASK_AGAIN_MS = 15000, /* path B: kubelet's stream has ended, or it has asked, and it is not there by then; it dials 10 s */
        STREAMS_MAX = 64,
        SOCKET_NAME_MAX = 40 /* "sluice-<8 hex>-<pid>-<n>.sock" */
};

struct open_stream {
        struct rpc_stream *stream;
        unsigned version; /* of the list it was given last */
        bool kubelets;    /* its end means that kubelet has let us go */
};

/* Path B, per plugin: see watcher.c. */
struct watcher {
        struct rpc_server *server;
        struct listener *listener;
        int64_t due_ms; /* when the registration socket is to be made (again); INT64_MAX = never */
        unsigned tries;
        bool asked; /* GetInfo came since the socket was made */
        unsigned registrations;
        char problem[LIFE_PROBLEM_MAX];
};

struct plugin {
        struct kubelet *kubelet;
        char resource[RESOURCE_MAX];
        struct offer *offer; /* the last one whose list was small enough to send; NULL = none yet: an empty list */
        bool withdrawn;      /* the pool is in no offer any more: all listed as Unhealthy */
        bool too_large_said, refused_said;
        unsigned version;    /* of the list */
        int64_t pushed_ms;   /* when a change was last sent */
        int64_t push_due_ms; /* INT64_MAX = nothing waits */
        struct rpc_server *server;
        struct listener *listener;
        struct open_stream streams[STREAMS_MAX];
        size_t n_streams;
        bool options_asked; /* on the present socket */

        struct life life;            /* path A */
        struct rpc_pending *pending; /* the Register in flight */
        char said[LIFE_PROBLEM_MAX]; /* the problem that the log knows */
        struct watcher watcher;      /* path B */
};

struct registrar; /* path A: kubelet.sock and its directory */

struct kubelet {
        uv_loop_t *loop;
        struct rpc *rpc;
        struct claims *claims;
        char *dir;
        char *sim_node; /* host_path of every node in an answer; NULL = the node itself */
        enum registration registration;
        struct plugin **plugins; /* as they came */
        size_t n_plugins, cap_plugins;
        struct registrar *registrar;
        struct podresources *podresources;
        uv_timer_t timer; /* one for everything that is due */
        int64_t look_due_ms;
        int64_t ask_again_ms; /* path B: ASK_AGAIN_MS; a field so that a test need not wait so long */
        uint32_t random;
        unsigned next_socket; /* makes socket names fresh */
        unsigned open;        /* servers, handles and calls that have not come back */
        bool stopping;
        void (*closed)(void *ctx);
        void *closed_ctx;
};
struct life_now kubelet_now(struct kubelet *kubelet);
void kubelet_arm(struct kubelet *kubelet);     /* sets the timer to the next thing that is due */
void kubelet_release(struct kubelet *kubelet); /* one of @open has come back */
void kubelet_release_ctx(void *kubelet);       /* the same as a callback */
uint32_t kubelet_hash(const char *resource);
/* "sluice-<hash>-<pid>-<n>.sock", never used before. */
void kubelet_fresh_name(struct kubelet *kubelet, const char *resource, char name[static SOCKET_NAME_MAX]);

/* ---- plugin.c ---- */
struct plugin *plugin_new(struct kubelet *kubelet, const char *resource);
struct plugin *plugin_free(struct plugin *plugin);
void plugin_offer(struct plugin *plugin, struct offer *offer); /* takes a reference when it uses it */
void plugin_withdraw(struct plugin *plugin);
void plugin_tick(struct plugin *plugin, int64_t now_ms);
void plugin_stop(struct plugin *plugin);
const struct pool *plugin_pool(const struct plugin *plugin); /* NULL = nothing was offered yet */
/* Opens the service socket @dir/@name, closing the former one first. */
int plugin_listen(struct plugin *plugin, const char *dir, const char *name, struct err *err);
void plugin_finish_streams(struct plugin *plugin, const char *why);
void plugin_cancel_streams(struct plugin *plugin);
void plugin_options_asked(struct plugin *plugin, struct rpc_call *call);
void plugin_stream_opened(struct plugin *plugin, struct rpc_stream *stream);
bool plugin_has_kubelet(const struct plugin *plugin);          /* a stream of kubelet's is open */
void plugin_refused_peer(struct plugin *plugin, unsigned uid); /* says it once */

/* ---- serve.c: the DevicePlugin service; the context is the plugin ---- */
extern const struct rpc_method serve_methods[];
extern const size_t serve_n_methods;
enum rpc_code serve_code(enum reason reason); /* how a refusal is said in gRPC */

/* ---- list.c ---- */
struct list {
        V1beta1__ListAndWatchResponse msg;
        void *block;
};
/* The list of @pool (NULL: empty). Texts are borrowed from the offer. */
void list_make(struct list *ret, const struct offer *offer, const struct pool *pool, bool withdrawn);
void list_done(struct list *list);
#define _cleanup_list_ _cleanup_(list_done)

/* ---- registrar.c: path A ---- */
struct life_epoch kubelet_socket_epoch(const char *sock); /* of a socket of kubelet's; all zero: it is not there */
int registrar_start(struct kubelet *kubelet, struct err *err);
void registrar_look(struct kubelet *kubelet);
void registrar_say_absence(struct kubelet *kubelet); /* once, until it was there again */
void registrar_plugin_new(struct plugin *plugin);
void registrar_stream(struct plugin *plugin, bool opened);
void registrar_tick(struct plugin *plugin);
void registrar_plugin_stop(struct plugin *plugin);
void registrar_stop(struct kubelet *kubelet);
void registrar_free(struct kubelet *kubelet);

/* ---- watcher.c: path B ---- */
void watcher_plugin_new(struct plugin *plugin);
void watcher_look(struct plugin *plugin);
void watcher_stream(struct plugin *plugin, bool opened);
void watcher_tick(struct plugin *plugin);
void watcher_plugin_stop(struct plugin *plugin);
const char *watcher_state_name(const struct plugin *plugin);

#endif
