/* SPDX-License-Identifier: Apache-2.0 */
/* SEES: the only reader of /sys, /dev and /proc. Reads below a tree's descriptors into a core inventory; reads only free
 * attributes, never blocks on a device lock, never opens a device node. Loop thread. */
#ifndef SLUICE_HOST_HOST_H
#define SLUICE_HOST_HOST_H

#include "base/err.h"
#include "base/tree.h"
#include "core/inventory.h"
#include "host/names.h"

/* Reads the whole host. A function that vanishes or turns to garbage in the middle of the read is left out and noted in
 * inventory.broken; only a host that cannot be listed at all is an error. @names is borrowed for the call (NULL: models
 * stay ""). @sim_nodes: plain files in dev/ count as nodes (captured hosts). */
int host_scan(const struct tree *tree, struct names *names, bool sim_nodes, struct inventory **ret, struct err *err);

#endif
