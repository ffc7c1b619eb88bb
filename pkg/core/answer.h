/* The answer to an allocation: variable, nodes. KubeVirt's contract to the letter (facts/kubevirt.md section 4). Pure;
 * which nodes exist is in the inventory. */
#ifndef SLUICE_CORE_ANSWER_H
#define SLUICE_CORE_ANSWER_H

#include "base/err.h"
#include "core/offer.h"

struct answer {
        char *env_name;  /* exactly one: PCI_RESOURCE_... or MDEV_PCI_RESOURCE_... */
        char *env_value; /* requested addresses or UUIDs only, sorted, comma list */
        char **nodes;    /* "/dev/vfio/vfio" first, then groups, then cdevs; each once; container path = host path */
        size_t n_nodes;
};

/* Fails (-ENODEV and a sentence) when a node that must be there is not: /dev/vfio/vfio, a group's node and cdev both
 * absent, a device that is not on VFIO. @devices must be of one pool. */
int answer_make(const struct inventory *inv, const char *resource, const struct device *const *devices, size_t n_devices,
                struct answer *ret, struct err *err);
void answer_done(struct answer *answer);
#define _cleanup_answer_ _cleanup_(answer_done)

#endif
