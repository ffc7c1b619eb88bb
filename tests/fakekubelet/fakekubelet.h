/* SPDX-License-Identifier: Apache-2.0 */
/* A kubelet for tests: device manager, registration service, plugin watcher and pod admission, as a real gRPC peer.
 *
 * What it reproduces is listed with its tests in selftest.c (rows A1-A7, B1-B3, C1-C4, D1-D7, E1-E2, F1); what differs between
 * Kubernetes versions is the profile. It is independent of pkg/rpc and pkg/kubelet on purpose. Any thread may call; calls
 * that make an RPC block as kubelet's do. All times are milliseconds. */
#ifndef SLUICE_TESTS_FAKEKUBELET_H
#define SLUICE_TESTS_FAKEKUBELET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FK_ID_MAX = 256, FK_RESOURCE_MAX = 320, FK_TEXT_MAX = 1024, FK_NODES_MAX = 8 };

struct fk_profile {
        const char *name;       /* "1.34" */
        bool wipe_all;          /* at start every file but the checkpoint goes, not only sockets (<= 1.32) */
        bool register_context;  /* dial and options run under Register's deadline (>= 1.35) */
        bool abort_on_dropped;  /* an id that leaves the list during its Allocate crashes kubelet (>= 1.34) */
        bool key_by_path;       /* clients are keyed by resource and socket, not by resource (1.37) */
        bool check_utf8;        /* >= 1.34 */
        bool percent_authority; /* of the plugin watcher: "%2Fvar%2F..." instead of the raw path (>= 1.30) */
        bool cdi;               /* reads cdi_devices (>= 1.30) */
        bool active_pods_only;  /* podresources: List leaves out pods that have ended, Get is served (>= 1.34) */
        bool keeps_last;        /* the devices of the pod that was admitted last, until another one is (1.30; of 1.31, 1.32 not known) */
        bool watcher_retries;   /* also when it cannot connect to the service, or Notify fails (1.36; of 1.35 not known) */
};
const struct fk_profile *fk_profile(const char *name); /* NULL = no such */
extern const struct fk_profile fk_profiles[];
extern const size_t fk_n_profiles;

struct fk;
/* Starts below @dir, kubelet's root (device-plugins/, plugins_registry/ and pod-resources/ are made). NULL: cannot listen there (errno). */
struct fk *fk_start(const char *dir, const struct fk_profile *profile);
struct fk *fk_new(const char *dir, const struct fk_profile *profile); /* as fk_start, but down */
/* Ends everything. False: this kubelet crashed at some time (D6); the text is in fk_crash(). */
bool fk_stop(struct fk *k);
const char *fk_crash(struct fk *k); /* "" = it did not */

/* Kubelet dies at once: connections are cut, files stay. A Register whose reply is held lives on (the lost registration). */
void fk_down(struct fk *k);
/* And comes back: wipes as the profile says, reads its checkpoint (0 devices, 0 healthy, stopped endpoints), binds
 * kubelet.sock, and listens @refuse_ms later. */
bool fk_up(struct fk *k, unsigned refuse_ms);
bool fk_restart(struct fk *k, unsigned refuse_ms);
/* Off: its start finds nothing to wipe, as when our socket is made between the wipe and kubelet.sock. */
void fk_set_wipe(struct fk *k, bool on);
void fk_wipe(struct fk *k); /* the directory only, while kubelet runs on: what a careless administrator does */

/* Knobs. They hold until changed; set them before the event they concern. */
enum fk_hold {
        FK_HOLD_NONE,
        FK_HOLD_ENTRY, /* Register hangs before anything happened */
        FK_HOLD_REPLY  /* all is done, only the answer is missing */
};
void fk_hold(struct fk *k, enum fk_hold hold);
unsigned fk_held(struct fk *k);    /* Registers that are being held now */
void fk_release(struct fk *k);     /* and fk_hold(FK_HOLD_NONE) */
void fk_release_one(struct fk *k); /* the one that is held longest; the others stay */
enum fk_order { FK_ORDER_RACE, FK_ORDER_LIST_FIRST, FK_ORDER_REPLY_FIRST };
void fk_order(struct fk *k, enum fk_order order); /* ListAndWatch against the reply to Register */
/* The next @times Registers (of @resource, NULL = any) are refused. With a @text that begins with "failed to" kubelet has
 * tried to connect, and up to 1.36 has forgotten whom it was connected to. */
void fk_refuse(struct fk *k, const char *resource, int code, const char *text, unsigned times);
void fk_set_dial_ms(struct fk *k, unsigned ms);       /* 10000 */
void fk_set_grace_ms(struct fk *k, unsigned ms);      /* 300000: a stopped plugin's capacity goes after it */
void fk_set_backoff_ms(struct fk *k, unsigned ms);    /* 500: the watcher's first pause after a failure */
void fk_set_message_max(struct fk *k, size_t n);      /* 4 MiB: a list message that is larger ends its stream */
void fk_refuse_connect(struct fk *k, unsigned times); /* the next @times that kubelet asks a plugin for options, it hears nothing */
void fk_fail_notify(struct fk *k, unsigned times);    /* the next @times that the watcher would tell of success, it cannot */
void fk_set_seed(struct fk *k, unsigned seed);        /* of every random order */
void fk_set_trace(struct fk *k, bool on);             /* one line per event on stderr */

/* What kubelet knows. */
struct fk_counts {
        unsigned capacity, allocatable;
        unsigned lists;            /* messages received since the start of the test, over all restarts; each is a checkpoint write */
        unsigned registrations;    /* successful ones, likewise */
        unsigned streams;          /* ListAndWatch streams open now */
        bool known;                /* an endpoint exists, running or stopped */
        bool running;              /* and it is not stopped */
        bool pre_start, preferred; /* options of the last registration */
        char endpoint[108];        /* path of the socket */
};
bool fk_counts(struct fk *k, const char *resource, struct fk_counts *ret);   /* false: never heard of */
unsigned fk_registers(struct fk *k);                                         /* Register calls that arrived, over all restarts */
size_t fk_resources(struct fk *k, char (*ret)[FK_RESOURCE_MAX], size_t max); /* sorted; returns how many there are */

struct fk_device {
        char id[FK_ID_MAX];
        char health[32];
        size_t n_nodes;
        int64_t nodes[FK_NODES_MAX];
};
/* The last complete list in the order of the message. Caller frees *ret. */
size_t fk_devices(struct fk *k, const char *resource, struct fk_device **ret);
unsigned fk_duplicates(struct fk *k, const char *resource); /* ids that occurred twice in the last list */

/* Waits for what @cond says; it is called under kubelet's lock after every event and may call the functions above. */
typedef bool fk_cond(struct fk *k, void *ctx);
bool fk_wait(struct fk *k, unsigned timeout_ms, fk_cond *cond, void *ctx);
bool fk_wait_devices(struct fk *k, const char *resource, unsigned capacity, unsigned allocatable, unsigned timeout_ms);

/* Pods. A container asks for several resources; hints stand for the Topology Manager's verdict. */
struct fk_ask {
        const char *resource;
        size_t n;
        bool has_hint;
        uint64_t nodes; /* bit per NUMA node */
};
/* Admission of one container (init containers first, as kubelet does). 0, or -1 with kubelet's text in @text: the pod has
 * then failed for good. */
int fk_admit(struct fk *k, const char *pod, const char *container, bool init, const struct fk_ask *asks, size_t n, char text[FK_TEXT_MAX]);
int fk_admit_one(struct fk *k, const char *pod, const char *resource, size_t n, char text[FK_TEXT_MAX]); /* container "main" */
/* Start or restart of a container: Allocate if there is no record, PreStartContainer where it is due, then the stored
 * answers merged, first wins. Caller: fk_run_done. */
struct fk_pair {
        char *key, *value; /* a node: container path, host path; annotations and variables likewise; CDI: name, "" */
};
struct fk_run {
        struct fk_pair *envs, *devices, *mounts, *annotations, *cdi;
        size_t n_envs, n_devices, n_mounts, n_annotations, n_cdi;
        char permissions[16]; /* of the devices when all agree, else "" */
        unsigned conflicts;   /* same key with another value, dropped */
};
int fk_container_start(struct fk *k, const char *pod, const char *container, struct fk_run *ret, char text[FK_TEXT_MAX]);
void fk_run_done(struct fk_run *run);
const char *fk_run_env(const struct fk_run *run, const char *name); /* NULL = not set */
/* The ids recorded for a container, sorted; caller frees the array (one block). */
size_t fk_pod_devices(struct fk *k, const char *pod, const char *container, const char *resource, char (**ret)[FK_ID_MAX]);
void fk_pod_end(struct fk *k, const char *pod); /* terminal: its devices are free at once */

/* Podresources, on pod-resources/kubelet.sock. A pod "namespace/name" is in that namespace, any other in "default". */
enum fk_pods {
        FK_PODS_TOLD,
        FK_PODS_UNKNOWN, /* kubelet has just started: the API server has not told it of its pods yet */
        FK_PODS_HELD,    /* no answer */
        FK_PODS_REFUSED, /* an error */
        FK_PODS_GARBAGE  /* bytes that are no list */
};
void fk_pods(struct fk *k, enum fk_pods pods);
void fk_set_pods_delay_ms(struct fk *k, unsigned ms);
void fk_set_pods_pad(struct fk *k, size_t n); /* a further pod makes each list larger by this many bytes */

/* What was asked of the plugin, for assertions. */
struct fk_calls {
        unsigned options, allocate, preferred, prestart, get_info, notify_ok, notify_failed;
        unsigned list;                  /* of podresources; those that the rate limit refused, too */
        size_t available, must, size;   /* of the last GetPreferredAllocation */
        char allocate_ids[FK_TEXT_MAX]; /* of the last Allocate, in the order sent, comma list */
};
struct fk_calls fk_calls(struct fk *k);
/* A raw Allocate or PreStartContainer on the plugin's connection, bypassing the manager: for requests kubelet never makes.
 * Returns the gRPC code, -1 = no running endpoint. */
int fk_raw_allocate(struct fk *k, const char *resource, const char *const *ids, size_t n, char text[FK_TEXT_MAX]);
int fk_raw_prestart(struct fk *k, const char *resource, const char *const *ids, size_t n, char text[FK_TEXT_MAX]);
int fk_raw_preferred(struct fk *k, const char *resource, const char *const *available, size_t n_available, const char *const *must,
                     size_t n_must, int size, char *ret_ids, size_t ret_size, char text[FK_TEXT_MAX]);

#endif
