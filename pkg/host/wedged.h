/* SPDX-License-Identifier: Apache-2.0 */
/* Tasks that are inside the kernel to take a device from its driver: somebody's unbind, removal, or change of virtual functions.
 * One that stays there has the device's lock, and whoever wants it next hangs too, until the reboot.
 *
 * Seen by the kernel stack (/proc/<pid>/stack, CAP_SYS_ADMIN), else by the function that a task waits in (/proc/<pid>/wchan,
 * CAP_SYS_PTRACE), which tells less; without either, not at all. NVIDIA's driver waits for its clients in an interruptible sleep
 * (nv_pci_remove, os_delay), so that such a task is "S", and "R" once somebody tried to kill it; other drivers' are "D".
 * Stacks are read of those only: the kernel takes a lock of the task for it that an exec holds. Hands, any thread. */
#ifndef SLUICE_HOST_WEDGED_H
#define SLUICE_HOST_WEDGED_H

#include <sys/types.h>

#include "base/err.h"
#include "base/tree.h"
#include "core/bdf.h"

struct wedged {
        pid_t pid;
        char comm[32];
        char where[64]; /* the kernel function: "nv_pci_remove_helper" */
        bool known;     /* the device is: a file of its in sysfs is what the task has open */
        struct bdf bdf;
};
enum { WEDGED_MAX = 16 };

/* Those there are right now, at most WEDGED_MAX; their number, or -errno. Our own hands are left out: whose device is theirs is
 * told by its lock. A task in the middle of a removal that is soon over is among them: look again. */
int wedged_find(const struct tree *tree, struct wedged ret[static WEDGED_MAX], struct err *err);

#endif
