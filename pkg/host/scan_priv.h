/* SPDX-License-Identifier: Apache-2.0 */
/* One look at the host in progress, shared by the files that read its nouns: functions, groups and nodes, mdevs,
 * framebuffers. What concerns the whole host is listed once, here; everything else is looked up in these lists.
 *
 * All functions return 0 or -errno with a sentence. -EBADMSG: the kernel answered something that is no valid value.
 * Loop thread. */
#ifndef SLUICE_HOST_SCAN_PRIV_H
#define SLUICE_HOST_SCAN_PRIV_H

#include "base/fs.h"
#include "base/tree.h"
#include "core/inventory.h"
#include "host/names.h"

/* What is known of one IOMMU group; read once per group. */
struct group_fact {
        int group;
        bool noiommu, node;
        bool outsiders_known; /* groups_outsiders() has looked */
};

/* A virtfnN link of a PF. */
struct vf_link {
        struct bdf vf, pf;
        int index;
};

struct scan {
        const struct tree *tree;
        struct names *names; /* may be NULL */
        bool sim_nodes;
        struct inventory *inv;
        int bus;                     /* bus/pci/devices */
        struct fs_list functions;    /* names in it */
        struct fs_list groups;       /* kernel/iommu_groups */
        bool has_groups;             /* that directory exists (it does not in a pod that has only bus and devices) */
        struct fs_list vfio_nodes;   /* dev/vfio */
        struct fs_list vfio_cdevs;   /* dev/vfio/devices */
        struct fs_list mdev_parents; /* class/mdev_bus */
        struct fs_list nvidia_gpus;  /* proc/driver/nvidia/gpus */
        struct group_fact *facts;
        size_t n_facts, cap_facts;
        struct vf_link *vfs;
        size_t n_vfs, cap_vfs;
};

/* Names in the directory @path; none when it is not there. */
int scan_list(int dir, const char *path, struct fs_list *ret, struct err *err);
bool scan_has(const struct fs_list *list, const char *name);

/* Accounts for what could not be read: VANISHED when @gone, else GARBAGE; the sentence becomes the detail. */
void scan_broken(struct scan *scan, const char *name, bool gone, const struct err *err);

/* functions.c: every function on the PCI bus, and the numbers of the VFs. Fails only when we are short of descriptors or memory. */
int functions_read(struct scan *scan, struct err *err);
/* sriov.c: physfn, sriov_totalvfs and the virtfnN links of the function open at @dir; and, at the end, the VFs' numbers. */
int sriov_read(struct scan *scan, int dir, struct function *fn, struct err *err);
void sriov_number(struct scan *scan);
/* groups.c: the group that @link of @dir points to, and its node. -1, false, false when there is no link. */
int groups_read(struct scan *scan, int dir, const char *link, int *ret_group, struct group_fact *ret, struct err *err);
/* Finds the groups of the functions that could not be read: they are members all the same. After functions_read's own look. */
int groups_of_broken(struct scan *scan, struct err *err);
/* Notes the members of @group, which groups_read() has read, that are no PCI functions. Once a look. */
int groups_outsiders(struct scan *scan, int group, struct err *err);
/* Is @name, below dev/, a device node? */
int groups_node_exists(const struct scan *scan, const char *name, bool *ret, struct err *err);
/* mdev.c: every mediated device of a PCI function. */
int mdev_read(struct scan *scan, struct err *err);
/* framebuffer.c: marks the functions that own a firmware framebuffer. After functions_read. */
int framebuffer_mark(struct scan *scan, struct err *err);

#endif
