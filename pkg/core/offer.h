/* SPDX-License-Identifier: Apache-2.0 */
/* What to offer: inventory + rules + what was offered before -> devices with state and reason, gathered in pools.
 *
 * Pure. The rules of docs/architecture.md that concern offering live here:
 *  - an id that was ever listed stays in its pool, Unhealthy once gone or no longer offered (until podresources is read), and
 *    also when it has become something else: another vGPU profile, another kind of device, another device in its slot;
 *  - no id is in two pools, no name changes while Sluice runs (the new name is said and takes effect at the next start), nor
 *    over a start while a pod has the device;
 *  - two names with one KubeVirt variable: the one that was there first, else the one of the lowest id, keeps it. So with a
 *    name that would hold mediated and PCI devices together (KubeVirt would count them twice), or, unless a rule spells the
 *    name, whole GPUs and VFs (some have one id);
 *  - pools that mix known and unknown NUMA nodes send no topology, or are split (name + "-numa-unknown"), by rule;
 *  - what needs a node or a driver that is not there is listed Unhealthy, so that its pool exists and it recovers by itself;
 *    what may not be handed out at all is withheld.
 * Of several reasons the one that explains most wins: what an operator decided, what the device is, its group, its binding
 * (offer_judge.c has the order). */
#ifndef SLUICE_CORE_OFFER_H
#define SLUICE_CORE_OFFER_H

#include "core/rules.h"

/* What the daemon knows of a device beyond the inventory. */
struct device_mark {
        char id[DEVICE_ID_MAX];
        enum reason reason; /* STUCK, BROKEN_BINDING: listed Unhealthy with it */
        char detail[DETAIL_MAX];
};

struct pool {
        char resource[RESOURCE_MAX];
        size_t *devices; /* indexes into offer.devices, sorted by id */
        size_t n_devices;
        bool topology; /* send NUMA nodes: every device has one */
        enum prefer_strategy prefer;
        bool mdev; /* pool of mdev instances: MDEV_PCI_RESOURCE_ */
};

/* Ids that one run of the daemon lists: as none is ever dropped, vGPU instances that are made and removed for months would
 * fill memory and kubelet's messages. What comes after that is withheld. */
enum { OFFER_IDS_MAX = 4096 };

struct offer {
        unsigned refs;
        struct device *devices; /* every candidate, listed or withheld, sorted by id */
        size_t n_devices;
        struct pool *pools; /* sorted by resource; only those with listed devices */
        size_t n_pools;
};

struct offer_input {
        const struct inventory *inventory;
        const struct rules *rules;
        const struct offer *past; /* what is offered now; NULL at start */
        const struct device_mark *marks;
        size_t n_marks;
        /* Is a plan at work on @card? NULL = never. Half-way a driver is bound and the node is not there yet: what was healthy
         * stays so until the plan has ended. */
        bool (*at_work)(void *ctx, struct bdf card);
        /* The note of an operator's hold on @device ("" = a hold without), NULL = none. NULL as a whole = never. What is not healthy
         * keeps its own reason. */
        const char *(*cordoned)(void *ctx, const struct device *device);
        /* Is @device being released? NULL = no; else what that waits for, "" = nothing. NULL = none ever is. */
        const char *(*releasing)(void *ctx, const char *device);
        /* The pool that @device was given from, of one that kubelet has given away and not taken back; NULL = of no other. NULL = none
         * ever is. Kubelet counts by pool: under another name it would give the device to a second pod. */
        const char *(*given_from)(void *ctx, const char *device);
        void *ctx;
};

struct offer *offer_decide(const struct offer_input *in); /* one reference; never NULL */
struct offer *offer_ref(struct offer *offer);
struct offer *offer_unref(struct offer *offer); /* NULL-safe, returns NULL */
DEFINE_CLEANUP(struct offer *, offer_unref)
#define _cleanup_offer_ _cleanup_(offer_unrefp)

const struct device *offer_device(const struct offer *offer, const char *id); /* NULL = no candidate */
const struct pool *offer_pool(const struct offer *offer, const char *resource);
const struct device *offer_pool_device(const struct offer *offer, const struct pool *pool, const char *id);

/* Same pools, ids, health, topology: nothing to push. (Reasons may differ.) */
bool offer_pool_equal(const struct offer *a, const struct pool *pa, const struct offer *b, const struct pool *pb);

#endif
