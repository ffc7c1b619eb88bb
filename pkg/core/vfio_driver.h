/* SPDX-License-Identifier: Apache-2.0 */
/* Which VFIO driver a function belongs on: vfio-pci, or the variant driver that the running kernel has for it (Grace's
 * nvgrace_gpu_vfio_pci, mlx5_vfio_pci, ...). Pure.
 *
 * Facts: a variant driver's id table is for VFIO only (PCI_DRIVER_OVERRIDE_DEVICE_VFIO), so that its module carries aliases
 * "vfio_pci:v000010DEd00002342sv*sd*bc*sc*i*" in modules.alias; the alias with the fewest wildcards is the best match, and
 * vfio_pci itself has the one with wildcards only (Documentation/driver-api/vfio.rst, include/linux/mod_devicetable.h). Such a
 * driver takes a device only by driver_override. */
#ifndef SLUICE_CORE_VFIO_DRIVER_H
#define SLUICE_CORE_VFIO_DRIVER_H

#include "core/inventory.h"

#define VFIO_PCI "vfio-pci"

/* vfio-pci, and any *vfio_pci* and *-vfio-pci variant, by name. */
bool vfio_driver_is(const char *driver);

/* What @fn is to be bound to. A VFIO driver that its driver_override names is somebody's choice and holds; else the variant that
 * matches best, else vfio-pci. Two aliases with as many wildcards: the first by module name. True: the driver is registered. False:
 * it is not, and *@ret is what it is called after its module (modules name their PCI driver after themselves, but for - and _). */
bool vfio_driver_pick(const struct inventory *inv, const struct function *fn, char ret[static DRIVER_LEN]);

/* The same name, whichever of - and _ it is spelled with? */
bool vfio_driver_same(const char *a, const char *b);

#endif
