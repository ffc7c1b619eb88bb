/* SPDX-License-Identifier: Apache-2.0 */
/* The fake kubelet's own state. One recursive lock (k->mu) guards all of it and is never held over an RPC. */
#ifndef SLUICE_TESTS_FAKEKUBELET_PRIV_H
#define SLUICE_TESTS_FAKEKUBELET_PRIV_H

#include <pthread.h>

#include "fakekubelet.h"
#include "wire.h"

/* A set of ids, sorted. */
struct idset {
        char **ids;
        size_t n, cap;
};
bool idset_has(const struct idset *set, const char *id);
void idset_add(struct idset *set, const char *id);
void idset_drop(struct idset *set, const char *id);
void idset_add_all(struct idset *set, const struct idset *other);
void idset_done(struct idset *set);

/* A connection to one registered socket; kubelet calls it a client. */
struct fk_client {
        unsigned refs;
        struct fk *k;
        unsigned instance; /* of kubelet: a dead one's clients touch nothing */
        char name[FK_RESOURCE_MAX], path[108];
        struct wire_conn *conn;
        struct fk_client *next; /* in k->clients: what the map knows */
        struct fk_client *next_live;
        bool mapped;
};

struct known_device {
        char id[FK_ID_MAX];
        size_t place; /* in the message */
        bool healthy;
        size_t n_nodes;
        int64_t nodes[FK_NODES_MAX];
};

struct fk_resource {
        char name[FK_RESOURCE_MAX];
        struct fk_resource *next;
        bool known, stopped;
        int64_t stop_ms;
        struct fk_client *endpoint; /* NULL: restored from the checkpoint */
        bool has_options, pre_start, preferred;
        bool has_devices;             /* a list arrived, or the checkpoint knew the name */
        struct known_device *devices; /* sorted by id, each once */
        size_t n_devices;
        struct fk_device *list; /* as it came */
        size_t n_list;
        unsigned duplicates, lists, registrations, streams;
        struct idset allocated;
};

/* What a container was given. */
struct fk_record {
        char *pod, *container, *resource;
        struct idset ids;
        struct known_device *devices; /* as the list had them; ids->n of them */
        struct wire_bytes answer;     /* a packed ContainerAllocateResponse */
        struct fk_record *next;
};

struct fk_container {
        char *name;
        bool init;
};

/* As the API server has told kubelet of it. */
struct fk_pod {
        char *name;
        bool ended;
        struct fk_container *containers;
        size_t n_containers, cap_containers;
        struct fk_pod *next;
};

struct fk_reuse {
        char *pod, *resource;
        struct idset ids;
        struct fk_reuse *next;
};

struct fk_refusal {
        char *resource; /* NULL = any */
        int code;
        char *text;
        unsigned times;
        struct fk_refusal *next;
};

/* One life of kubelet. */
struct fk_instance {
        struct fk *k;
        unsigned number;
        struct wire_server *server, *pods;
        bool dead;
        unsigned held;
        struct fk_instance *next; /* lingering: only held replies live in it */
};

struct fk_watcher;

struct fk {
        const struct fk_profile *profile;
        char dir[96], plugins[108], registry[108], socket[128], pods_dir[120], pods_socket[136];
        pthread_mutex_t mu;
        pthread_cond_t changed;
        unsigned n_threads;
        unsigned instance; /* number of the life; 0 while down */
        unsigned lives;
        struct fk_instance *now, *lingering;
        struct fk_client *clients, *live;
        struct fk_resource *resources;
        struct fk_record *records;
        struct fk_pod *pods; /* as they came */
        char *last_pod;      /* that was admitted, or tried to be */
        bool last_ended;     /* and its devices are kept (keeps_last) */
        struct fk_reuse *reuse;
        struct fk_refusal *refusals;
        struct fk_watcher *watcher;

        enum fk_hold hold;
        enum fk_order order;
        unsigned dial_ms, grace_ms, backoff_ms, seed;
        bool trace, no_wipe;
        unsigned n_registers, held;
        unsigned tickets, let_go; /* Registers that were held, and how many of them may go on */
        size_t message_max;
        unsigned fail_notify, fail_connect;
        enum fk_pods pods_mode;
        unsigned pods_delay_ms;
        size_t pods_pad;
        double pods_tokens; /* of the rate limit, at pods_ms */
        int64_t pods_ms;
        struct fk_calls calls;
        char crash[FK_TEXT_MAX];
};

/* manager.c */
void fk_lock(struct fk *k);
void fk_unlock(struct fk *k); /* and wakes who waits */
void fk_say(struct fk *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
unsigned fk_random(struct fk *k, unsigned below);
void fk_shuffle(struct fk *k, char **ids, size_t n);
void fk_spawn(struct fk *k, void *(*run)(void *), void *arg); /* detached, counted; run ends with fk_thread_end */
void fk_thread_end(struct fk *k);
struct fk_resource *fk_resource_get(struct fk *k, const char *name);  /* makes it */
struct fk_resource *fk_resource_find(struct fk *k, const char *name); /* locked; NULL = never heard of */
bool fk_resource_expired(struct fk *k, const struct fk_resource *r);
const struct known_device *fk_known(const struct fk_resource *r, const char *id);
void fk_checkpoint(struct fk *k); /* what a new life knows of the old one */
bool fk_text_ok(const char *s);   /* well-formed UTF-8 */

/* clients.c */
struct fk_client *fk_client_ref(struct fk_client *c);
void fk_client_unref(struct fk_client *c);
/* Dial, options, endpoint. True: *ret is a reference whose stream is to be started. False: @text says why. Unlocked. */
bool fk_client_connect(struct fk *k, unsigned instance, const char *name, const char *path, int64_t until_ms, struct fk_client **ret,
                       char text[FK_TEXT_MAX]);
void fk_client_start(struct fk_client *c, bool wait_for_list);                        /* consumes the reference */
struct fk_client *fk_client_mapped(struct fk *k, const char *name, const char *path); /* locked; NULL = none; borrowed */
void fk_client_disconnect(struct fk *k, struct fk_client *c);                         /* locked */
void fk_client_forget(struct fk *k, const char *name, const char *path);              /* whoever has this key */
void fk_clients_cut(struct fk *k);                                                    /* locked: the process died */

/* watcher.c */
void fk_watcher_start(struct fk *k);
void fk_watcher_stop(struct fk *k);

/* podresources.c */
bool fk_pods_start(struct fk_instance *in); /* false: cannot listen (errno) */
void fk_pods_stop(struct fk_instance *in);
void fk_pods_admitted(struct fk *k, const char *pod, const char *container, bool init); /* locked */
void fk_pods_ended(struct fk *k, const char *pod);                                      /* locked */
void fk_pods_done(struct fk *k);

/* admit.c */
void fk_recompute(struct fk *k); /* locked: allocated := what the records say */
void fk_records_done(struct fk *k);
bool fk_allocate_call(struct fk *k, struct fk_client *c, const char *resource, const char *const *ids, size_t n, struct wire_bytes *ret,
                      char text[FK_TEXT_MAX], int *ret_code);

#endif
