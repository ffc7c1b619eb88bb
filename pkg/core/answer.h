/* SPDX-License-Identifier: Apache-2.0 */
/* The answer to an allocation: variable, nodes. KubeVirt's contract to the letter. Pure; which nodes exist
 * is in the inventory. */
#ifndef SLUICE_CORE_ANSWER_H
#define SLUICE_CORE_ANSWER_H

#include "base/err.h"
#include "core/offer.h"

struct answer {
        char *env_name;  /* exactly one: PCI_RESOURCE_... or MDEV_PCI_RESOURCE_... */
        char *env_value; /* requested addresses or UUIDs only, sorted, comma list without spaces */
        char **nodes;    /* "/dev/vfio/vfio" first, then groups, then cdevs, in the order of the addresses; each once;
                          * container path = host path */
        size_t n_nodes;
};

/* @devices are of one pool, @inv is the newest look at the host: every device is checked against it again, so that an answer
 * never names what is no longer so. Refused (not REASON_NONE) with a sentence in @err, its
 * code negative below, and @ret untouched:
 *   -ENODEV  a device is gone, is not on VFIO, has VFs, lost its vGPU type, has no group; a node that must be there is
 *            not: /dev/vfio/vfio, or a device's group node and cdev both
 *   -EINVAL  no device, a device twice, mediated and other devices together, a PCI domain that KubeVirt cannot parse.
 * Companions and the followers of a one-device group appear nowhere: the group node stands for all of them. A group node that
 * is absent is not listed (kernels without CONFIG_VFIO_GROUP), nor is a cdev that sysfs announces and /dev does not have. */
enum reason answer_make(const struct inventory *inv, const char *resource, const struct device *const *devices, size_t n_devices,
                        struct answer *ret, struct err *err);
void answer_done(struct answer *answer); /* copes with a zeroed one */
#define _cleanup_answer_ _cleanup_(answer_done)

#endif
