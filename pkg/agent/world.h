/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon knows: the last look at the host, the configuration in force and the offer that follows from both.
 * Loop thread. */
#ifndef SLUICE_AGENT_WORLD_H
#define SLUICE_AGENT_WORLD_H

#include "agent/owners.h"
#include "agent/probe.h"
#include "base/err.h"
#include "base/tree.h"
#include "config/config.h"
#include "core/offer.h"
#include "host/modules.h"
#include "host/names.h"
#include "sim/sim.h"

struct stuck_card {
        struct bdf card;
        char *detail;
};

struct world {
        struct sim *sim;         /* NULL on the machine */
        struct tree machine;     /* own tree when there is no sim */
        const struct tree *tree; /* one of the two */
        struct config *config;
        struct names *names;
        struct modules *modules;
        struct owners *owners;
        int modules_error;                                               /* of the last look, 0 = none: said once */
        bool (*at_work)(void *ctx, struct bdf card);                     /* offer_input's */
        bool (*ours)(void *ctx, struct bdf card);                        /* narrate_inventory's */
        const char *(*cordoned)(void *ctx, const struct device *device); /* offer_input's */
        const char *(*releasing)(void *ctx, const char *device);         /* offer_input's */
        const char *(*given_from)(void *ctx, const char *device);        /* offer_input's */
        void *claims_ctx;                                                /* of these five */
        struct probe *probe;                                             /* what hands read; borrowed, NULL = none */
        struct inventory *inventory;                                     /* NULL before the first look */
        struct offer *offer;                                             /* NULL before the first look */
        struct device_mark *marks;
        char **mark_drivers; /* beside marks: in the device's group at the first look after the mark; NULL = not looked yet */
        size_t n_marks, cap_marks;
        struct stuck_card *stuck;
        size_t n_stuck, cap_stuck;
};

/* @sim_dir NULL: the machine, read from a container when @mounts is not NULL (tree_open_mounts). Takes @config over, also on
 * failure (world_close). */
int world_open(struct world *world, const char *sim_dir, const char *mounts, struct config *config, struct err *err);
void world_close(struct world *world);

/* Reads the host and decides anew; what changed is logged. On failure the last snapshot stays in force.
 * @ret_settle_ms (may be NULL): ms until a pending reaction of a simulated host is due, -1 = none. */
int world_look(struct world *world, int64_t *ret_settle_ms, struct err *err);

/* Puts @config in force (takes it over) and decides anew. A configuration whose pci.ids file cannot be read is refused and
 * the old one stays. */
int world_configure(struct world *world, struct config *config, struct err *err);

/* Decides anew from the last look: what is decided from beside it has changed. */
void world_decide(struct world *world);

/* What sysfs does not show: STUCK stays for this boot; BROKEN_BINDING until somebody has changed a driver in the
 * device's group (bound it by hand, unplugged it); NO_ANSWER until the next daemon asks again (claims/release.c). Takes effect
 * at the next world_look. */
void world_mark(struct world *world, const char *device, enum reason reason, const char *detail);

/* STUCK for every device that a card carries, or that shares an IOMMU group with one of its functions, also those that come
 * later: a card may be out of sight when the word comes. Takes effect at the next world_look. */
void world_mark_stuck(struct world *world, struct bdf card, const char *detail);

/* Is the device still on the driver and in the group that the last look saw? */
bool world_is_current(const struct world *world, const struct device *device);

/* May a process have the device open? False when it is known that none has, and where holders cannot be seen at all. Asking
 * every process is a hand's work: it takes milliseconds on a busy node. */
bool world_may_be_held(const struct world *world, const struct device *device);

#endif
