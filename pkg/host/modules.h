/* SPDX-License-Identifier: Apache-2.0 */
/* Which modules of the running kernel are VFIO drivers for certain devices: the "vfio_pci:" aliases of its module tree
 * (modules.alias, and modules.builtin.modinfo for what is built in). Read once, and again when a file has changed (depmod
 * after a driver was installed): these files are a megabyte or two. Loop thread. */
#ifndef SLUICE_HOST_MODULES_H
#define SLUICE_HOST_MODULES_H

#include "base/cleanup.h"
#include "base/err.h"
#include "base/tree.h"
#include "core/inventory.h"

struct modules;
struct modules *modules_new(void);
struct modules *modules_free(struct modules *modules); /* NULL-safe, returns NULL */
DEFINE_CLEANUP(struct modules *, modules_free)
#define _cleanup_modules_ _cleanup_(modules_freep)

/* Gives @inv, which is not shared yet, the variants. No module tree (a pod without that mount, a captured host): none. -errno when
 * a file is there and cannot be read, or is larger than any; what was known before is given then. */
int modules_apply(struct modules *modules, const struct tree *tree, struct inventory *inv, struct err *err);

#endif
