/* SPDX-License-Identifier: Apache-2.0 */
/* The BARs that a function has, beside those that the kernel gave it. Pure.
 *
 * Facts: the kernel's file "resource" is what was assigned at enumeration, whatever the registers say by now. vfio-pci shows a guest
 * registers of its own (drivers/vfio/pci/vfio_pci_config.c), but a card may have other ways to the real ones, such as NVIDIA's
 * copy of the configuration space in BAR 0. After a reset the kernel writes BARs and their sizes (Resizable BAR) as it
 * assigned them (pci_restore_state): what differs then did not take it. */
#ifndef SLUICE_CORE_BARS_H
#define SLUICE_CORE_BARS_H

#include "core/inventory.h"

enum {
        CONFIG_HEADER = 64,       /* bytes of the configuration space that anybody may read: pci_read_config() */
        CONFIG_EXTENDED = 0x100,  /* where the extended capabilities begin; CAP_SYS_ADMIN */
        CONFIG_RESIZABLE = 0x15,  /* the extended capability Resizable BAR */
        CONFIG_CAPABILITIES = 64, /* more than any function has: a list that is longer runs in a circle */
};

/* Does a memory BAR of @header (a function's that is no VF: those have none) differ from what was @assigned? True: @what says which, and
 * both addresses. @asleep: it is in D3hot, where it may have forgotten its BARs (PCI Power Management 1.2, 5.4), which the kernel gives it
 * again when it wakes. All BARs moved by one and the same amount are those of a host bridge that translates. I/O ports are not looked at:
 * the numbers in "resource" are the kernel's own on Arm. */
bool bars_moved(const struct bar assigned[static N_BARS], const unsigned char header[static CONFIG_HEADER], bool asleep, char *what,
                size_t what_size);

/* The same of one Resizable BAR control register, which says its BAR's size (bits 13:8: 2^n MiB, PCI Express 5.0, 7.8.6.3). */
bool bars_resized(const struct bar assigned[static N_BARS], uint32_t control, char *what, size_t what_size);

#endif
