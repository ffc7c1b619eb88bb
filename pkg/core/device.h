/* SPDX-License-Identifier: Apache-2.0 */
/* What can be handed out, and the small vocabulary around it. */
#ifndef SLUICE_CORE_DEVICE_H
#define SLUICE_CORE_DEVICE_H

#include "core/inventory.h"
#include "core/reason.h"

enum device_kind {
        DEVICE_GPU,      /* a whole GPU by VFIO */
        DEVICE_VF,       /* an SR-IOV VF by VFIO (vfio-pci) */
        DEVICE_VGPU_VF,  /* a vendor-VFIO VF with a vGPU type set: stays on its vendor driver */
        DEVICE_VGPU_MDEV /* an mdev instance */
};
const char *device_kind_name(enum device_kind kind); /* "gpu", "vf", "vgpu-vf", "vgpu-mdev" */

enum device_mode { MODE_VFIO /* the only one now; container mode comes later */ };
const char *device_mode_name(enum device_mode mode); /* "vfio" */
enum bind_policy { BIND_NEVER, BIND_ON_ALLOCATE, BIND_AT_START };
const char *bind_policy_name(enum bind_policy bind); /* "never", "on-allocate", "at-start" */

/* What becomes of a device when its claim has ended. */
enum release_policy { RELEASE_KEEP, RELEASE_RESTORE, RELEASE_RESET, RELEASE_RESET_RESTORE };
const char *release_policy_name(enum release_policy policy); /* "keep", "restore", "reset", "reset+restore" */
static inline bool release_resets(enum release_policy policy)
{
        return policy == RELEASE_RESET || policy == RELEASE_RESET_RESTORE;
}
static inline bool release_restores(enum release_policy policy)
{
        return policy == RELEASE_RESTORE || policy == RELEASE_RESET_RESTORE;
}
/* Its power management while it is claimed. */
enum power_policy { POWER_LEAVE, POWER_ON };

/* NVIDIA's persistence mode of a GPU that is to be bound. */
enum persistence_policy { PERSISTENCE_LEAVE, PERSISTENCE_TURN_OFF };

enum { DEVICE_ID_MAX = 40, RESOURCE_MAX = 320, DETAIL_MAX = 256, WARNINGS_MAX = 4 };

/* State of a device towards kubelet. */
enum device_state {
        DEVICE_WITHHELD, /* not listed: reason says why */
        DEVICE_HEALTHY,  /* listed Healthy */
        DEVICE_UNHEALTHY /* listed Unhealthy: reason says why */
};
const char *device_state_name(enum device_state state); /* "withheld", "healthy", "unhealthy" */

struct device {
        char id[DEVICE_ID_MAX]; /* kubelet's device id: BDF, or mdev UUID. Stable */
        enum device_kind kind;
        enum device_mode mode;
        enum device_state state;
        enum reason reason;             /* REASON_NONE when healthy; a warning reason may accompany a healthy device */
        char detail[DETAIL_MAX];        /* the case behind the reason: member, class, driver; "" = nothing to add */
        enum reason also[WARNINGS_MAX]; /* further warnings of a healthy device, until REASON_NONE */
        struct bdf bdf;                 /* the function; for an mdev its parent */
        struct bdf card;                /* BDF of the card: PF, function 0 of the slot */
        int group;                      /* IOMMU group handed out, -1 = none */
        int numa_node;                  /* -1 = unknown */
        char resource[RESOURCE_MAX];    /* "" when withheld before naming */
        char model[MODEL_LEN];          /* pci.ids name, or the profile's name for a vGPU; "" = unknown */
        char type[TYPE_LEN];            /* vGPU type of the host driver ("nvidia-222", "1155"); "" = no vGPU */
        uint16_t vendor, device_id;
        char driver[DRIVER_LEN];
        enum bind_policy bind;
        bool needs_bind; /* an Allocate would have to run a plan */
        unsigned rule;   /* 1-based number of the rule that decided, 0 = the implicit one, none = UINT_MAX */
        char root[ROOT_LEN];
        struct bdf upstream;
};

#endif
