/* SPDX-License-Identifier: Apache-2.0 */
/* A claim: who was given what; and the original: what a function was before Sluice bound it. Plain data and pure decisions;
 * kept by pkg/claims, written down as one record each. */
#ifndef SLUICE_CORE_CLAIM_H
#define SLUICE_CORE_CLAIM_H

#include "core/device.h"

enum claim_owner { OWNER_KUBELET, OWNER_NODE_API, OWNER_RECONCILE /* binds at start; never has a claim */ };

enum claim_state {
        CLAIM_PREPARING, /* intent: its plan may be at work */
        CLAIM_ANSWERED,  /* granted. Kubelet's: podresources has not shown it yet */
        CLAIM_SEEN,      /* kubelet's: podresources has shown it */
        CLAIM_RELEASING, /* its owner has gone; the release plan is at work, or waits for a descriptor to be closed */
};

const char *claim_owner_name(enum claim_owner owner); /* "kubelet", "node-api", "reconcile" */
const char *claim_state_name(enum claim_state state); /* "preparing", "answered", "seen", "releasing" */

enum { CLAIM_KEY_MAX = 80, CLAIM_DEVICES_MAX = 256, POD_NAME_MAX = 254, NAMESPACE_MAX = 64, CONTAINER_MAX = 64 };

/* A device as its holder was told it is. Kubelet keeps an answer and repeats it after a reboot without asking: by then another
 * card may be at the address, or the same one in another group. */
struct claim_device {
        char id[DEVICE_ID_MAX];
        struct bdf card;
        int group;               /* IOMMU group of the node in the answer, -1 = none */
        uint16_t vendor, device; /* identity */
};

/* Kubelet's claims have one device each, whatever one Allocate named: kubelet frees and gives again single ids. */
struct claim {
        char key[CLAIM_KEY_MAX]; /* "kubelet:<device id>"; the node API: "node:<the caller's id>" */
        enum claim_owner owner;
        enum claim_state state;
        enum device_mode mode;
        char resource[RESOURCE_MAX];  /* the pool it was given from */
        struct claim_device *devices; /* 1 to CLAIM_DEVICES_MAX; the claim owns them */
        size_t n_devices;
        char boot_id[BOOT_ID_LEN]; /* of the boot that it was given in; "" = unknown */
        int64_t since_ms;          /* Unix time it was given at */
        /* Kubelet's, once seen; "" before. */
        char pod_namespace[NAMESPACE_MAX], pod[POD_NAME_MAX], container[CONTAINER_MAX];
};
void claim_key_of_kubelet(const char *device, char out[static CLAIM_KEY_MAX]);
void claim_copy(struct claim *to, const struct claim *from); /* @to is overwritten, not freed; claim_done() when it has served */
void claim_done(struct claim *claim);                        /* copes with a zeroed one */
#define _cleanup_claim_ _cleanup_(claim_done)
bool claim_device_is(const struct claim_device *told, const struct device *now);    /* is what the holder was told true now? */
const struct claim_device *claim_device(const struct claim *claim, const char *id); /* NULL = none of its devices */

enum original_state {
        ORIGINAL_BINDING,   /* intent: a plan to bind it may be at work */
        ORIGINAL_BOUND,     /* bound by Sluice, read back */
        ORIGINAL_RESTORING, /* intent: a plan to give it back may be at work */
};
const char *original_state_name(enum original_state state); /* "binding", "bound", "restoring" */

#define POWER_CONTROL "power/control" /* of a function: "on" = never suspended */
#define POWER_D3COLD  "d3cold_allowed"

/* One per function that Sluice bound, or is about to bind: companions have theirs. It lives as long as the binding, which may
 * be longer than any claim. One whose former driver is its target was not bound by Sluice: it remembers such attributes only,
 * and lives until they are given back. */
struct original {
        struct bdf bdf, card;
        enum original_state state;
        uint16_t vendor, device, subvendor, subdevice; /* identity: a card that was moved or replaced is noticed */
        char driver[DRIVER_LEN];                       /* before; "" = none */
        char driver_override[DRIVER_LEN];              /* before; "" = none, as far as it is known */
        bool override_known;                           /* was it read? Else "" is the likely value: a plan refuses any other driver's */
        char target[DRIVER_LEN];                       /* the VFIO driver it was bound to */
        char boot_id[BOOT_ID_LEN];                     /* of the boot that it was bound in; a reboot ends every binding */
        /* What its power attributes said before Sluice set them for a claim; "" = not set, or given back. */
        char power_control[POWER_LEN], d3cold_allowed[POWER_LEN];
        /* What its reset_method said before a release left it the one method to be used; "" = it was not, or is given back. */
        char reset_methods[RESET_LEN];
};

/* @boot_id "" = unknown, which is no other boot. */
bool original_is_of_other_boot(const struct original *original, const char *boot_id);
/* The original of @fn, which is about to be bound to @target in boot @boot_id. @former: what was remembered of a function at its
 * address, NULL = nothing. It counts, and not what is seen now, when it is of this boot and of this function and a plan of ours
 * made of it what it is: without driver, or on the former one with our override. */
void original_make(const struct original *former, const struct function *fn, const char *boot_id, const char *target, struct original *ret);
/* The original of @fn, which is on its VFIO driver and stays there: @former where that is of this binding, else one that says that
 * Sluice did not bind it. */
void original_keep(const struct original *former, const struct function *fn, const char *boot_id, struct original *ret);
/* @attribute (POWER_*) is about to be set for a claim: remembers what it says before. */
void original_note_power(struct original *original, const struct function *fn, const char *attribute);
static inline bool original_has_settings(const struct original *original)
{
        return *original->power_control || *original->d3cold_allowed || *original->reset_methods;
}
bool original_is_bound_by_us(const struct original *original);

#endif
