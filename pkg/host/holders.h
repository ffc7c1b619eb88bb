/* Who has a device's own nodes open: /proc/<pid>/fd against the nodes of one device. Nodes that all cards share
 * (/dev/vfio/vfio, /dev/nvidiactl, /dev/nvidia-uvm*, /dev/nvidia-modeset, /dev/kfd, /dev/iommu) are no evidence. */
#ifndef SLUICE_HOST_HOLDERS_H
#define SLUICE_HOST_HOLDERS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/tree.h"
#include "core/inventory.h"

struct holder {
        pid_t pid;
        char comm[32];
        char node[64]; /* "/dev/vfio/45" */
};

enum { HOLDERS_MAX = 16, NODES_MAX = 32 };

struct node_list {
        char paths[NODES_MAX][64]; /* host paths, "/dev/..." */
        size_t n;
};
/* Own nodes of one function as the tree shows them now: its VFIO group and cdev, its drm/card* and renderD* nodes, its
 * /dev/nvidia<minor> (Device Minor of /proc/driver/nvidia/gpus/<bdf>/information). */
int holders_nodes(const struct tree *tree, struct bdf bdf, struct node_list *ret, struct err *err);
int holders_nodes_of_group(const struct tree *tree, int group, struct node_list *ret, struct err *err);

/* Processes that have one of @nodes open, at most HOLDERS_MAX; returns the count or -errno. Compares device numbers where
 * the node is a device, the path otherwise (captured hosts). @ret_blind: some process' descriptors could not be read. */
int holders_find(const struct tree *tree, const struct node_list *nodes, struct holder *ret, bool *ret_blind, struct err *err);

/* Can descriptors of other processes be read at all? (CAP_SYS_PTRACE and the host's /proc.) */
bool holders_visible(const struct tree *tree);

#endif
