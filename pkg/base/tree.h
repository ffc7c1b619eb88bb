/* SPDX-License-Identifier: Apache-2.0 */
/* Where a host's files are: directory descriptors, /sys, /proc, /dev and /lib/modules of the machine or of a directory that
 * replaces it (a captured host). Whoever reads or writes a host is given a tree and cannot tell which it is. */
#ifndef SLUICE_BASE_TREE_H
#define SLUICE_BASE_TREE_H

#include "base/err.h"

struct tree {
        int sys, proc, dev; /* directory descriptors, O_PATH-free (readable) */
        int lib;            /* the module trees, by kernel release; -1 = not to be seen */
};
#define TREE_NULL ((struct tree){ .sys = -1, .proc = -1, .dev = -1, .lib = -1 })

/* @root NULL: the machine ("/sys", "/proc", "/dev"); else sys, proc and dev below the directory @root, all required; lib/modules
 * may be absent. */
int tree_open(struct tree *ret, const char *root, struct err *err);

/* The machine as a container sees it that has the host's directories mounted below @mounts: @mounts/proc and @mounts/dev
 * where they are there, else the container's own; @mounts/lib/modules or none, for a container has none that is the host's; /sys always its
 * own, for reading it says the same and cannot be written. An error when @mounts/proc or @mounts/sys is there and is not the host's: an
 * empty directory would say that nobody has a device open. */
int tree_open_mounts(struct tree *ret, const char *mounts, struct err *err);

/* The host's directory @name ("sys") below @mounts or, when it is not there, the container's own; the caller closes *@ret. */
int tree_open_mount(int *ret, const char *mounts, const char *name, struct err *err);
void tree_close(struct tree *tree);

#endif
