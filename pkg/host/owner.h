/* SPDX-License-Identifier: Apache-2.0 */
/* Who has set a driver_override: the kernel does not say. What can be found is a manager's own record: driverctl's
 * (/etc/driverctl.d/pci-<address>, one driver name), or a udev rule that writes driver_override and names the device, its ids or
 * neither. Reads a few dozen small files: once for a device, not at every look. Any thread. */
#ifndef SLUICE_HOST_OWNER_H
#define SLUICE_HOST_OWNER_H

#include <stddef.h>

#include "core/inventory.h"

/* "driverctl (/etc/driverctl.d/pci-0000:3b:00.0)", "a udev rule (/etc/udev/rules.d/10-gpu.rules)"; "" = nobody that is known. @root:
 * what to put before /etc, "" on the machine. @fn's driver_override is known. */
void owner_find(const char *root, const struct function *fn, char *out, size_t size);

#endif
