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
 * inventory.broken with the file and its content; a bridge is read for its ids, driver and group only. An error, with @ret
 * untouched and the last snapshot still good: the bus, the drivers or the nodes cannot be listed for another reason than
 * absence, or we are short of descriptors or memory.
 *
 * @names is borrowed for the call (NULL: models stay ""); the system's file is opened only for display, processing and
 * NVIDIA's bridge-class functions and for what is on VFIO. @sim_nodes: plain files in dev/ count as nodes (captured
 * hosts). About 16 file accesses a function: 5 ms for 64 GPUs below 64 ports on a small virtual machine. */
int host_scan(const struct tree *tree, struct names *names, bool sim_nodes, struct inventory **ret, struct err *err);

/* Two links and the ids tell whether a device is still the one of the snapshot, on its driver and in its group: for answers that
 * must not wait for a scan. False also when it cannot be told. */
bool host_function_is_current(const struct tree *tree, const struct function *fn);
bool host_instance_is_current(const struct tree *tree, const struct instance *instance);

#endif
