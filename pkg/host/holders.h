/* SPDX-License-Identifier: Apache-2.0 */
/* Who has a device's own nodes open: /proc/<pid>/fd against the nodes of one device. Nodes that all cards share
 * (/dev/vfio/vfio, /dev/nvidiactl, /dev/nvidia-uvm*, /dev/nvidia-modeset, /dev/kfd, /dev/iommu) are no evidence.
 *
 * Nothing is opened but directories of /proc. A descriptor is first asked for its text, which touches no file system, and
 * only what lies in some /dev or is named like a wanted node is looked at further: a dead network mount that a process has
 * open cannot hang us.
 *
 * A simulated host has its processes as proc/<pid>/fd/<n> -> /dev/vfio/45 and proc/<pid>/comm; where proc/self is missing,
 * the tree is taken for such a host, and all its processes are visible. Any thread. */
#ifndef SLUICE_HOST_HOLDERS_H
#define SLUICE_HOST_HOLDERS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/tree.h"
#include "core/inventory.h"

struct holder {
        pid_t pid;     /* as the tree's /proc numbers it */
        char comm[32]; /* "" = ended meanwhile */
        char node[64]; /* "/dev/vfio/45" */
};

enum { HOLDERS_MAX = 16, NODES_MAX = 32 };

struct node_list {
        char paths[NODES_MAX][64]; /* host paths, "/dev/..." */
        size_t n;
};
/* Own nodes of one function as the tree shows them now: its VFIO group and cdev, its drm/card* and renderD* nodes, its
 * /dev/nvidia<minor> (Device Minor of /proc/driver/nvidia/gpus/<bdf>/information). Only nodes that exist. -ENODEV: the
 * function is gone. More than NODES_MAX: -E2BIG. @ret is untouched on failure. */
int holders_nodes(const struct tree *tree, struct bdf bdf, struct node_list *ret, struct err *err);

/* /dev/vfio/<group> (or noiommu-<group>) and the cdevs of the group's members, which may be mdevs. */
int holders_nodes_of_group(const struct tree *tree, int group, struct node_list *ret, struct err *err);

/* Processes that have one of @nodes open, one entry per process, at most HOLDERS_MAX; returns the count or -errno. Our own
 * process is none. Compares device numbers where the node is a device, the path otherwise (captured hosts). @ret_blind:
 * some process' descriptors could not be read, or there were too many to look at: absence proves nothing then. */
int holders_find(const struct tree *tree, const struct node_list *nodes, struct holder *ret, bool *ret_blind, struct err *err);

/* True when nobody can have a function on a vfio-pci driver open, told by one read: vfio-pci enables the device at its
 * first open and disables it at the last close (drivers/vfio/pci/vfio_pci_core.c), and "enable" is that count. False: it
 * may be open, or it cannot be told; then holders_find() knows more. Meaningless on other drivers. */
bool holders_none_on_vfio(const struct tree *tree, struct bdf bdf);

/* Can the descriptors of all the host's processes be read? On the machine that takes the host's /proc (its pid 1 in the
 * first pid namespace) and CAP_SYS_PTRACE with CAP_DAC_READ_SEARCH (QEMU runs as another user). */
bool holders_visible(const struct tree *tree);

#endif
