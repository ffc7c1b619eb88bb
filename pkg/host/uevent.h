/* SPDX-License-Identifier: Apache-2.0 */
/* One message of the kernel's uevent socket, `ACTION@DEVPATH\0KEY=VALUE\0...`, to a value. Pure: no socket here. */
#ifndef SLUICE_HOST_UEVENT_H
#define SLUICE_HOST_UEVENT_H

#include <stdbool.h>
#include <stddef.h>

/* UTF-8 without control bytes; "" where the message does not say. Longer values are cut: they are hints. */
struct uevent {
        char action[16];    /* "add", "remove", "bind", "unbind", "change" */
        char subsystem[32]; /* "pci", "vfio" */
        char devpath[256];
        char slot[24];  /* PCI_SLOT_NAME */
        char error[32]; /* ERROR_EVENT: AER recovery */
};

/* False: it is not a kernel message (udevd's own begin with "libudev"), or has no action and path. @ret is untouched then. */
bool uevent_parse(const char *message, size_t n, struct uevent *ret);

/* Does it concern what an inventory shows? PCI functions and drivers, VFIO groups and devices, mdevs, IOMMUs. */
bool uevent_matters(const struct uevent *event);

/* "bind pci 0000:3b:00.0". */
void uevent_describe(const struct uevent *event, char *out, size_t size);

#endif
