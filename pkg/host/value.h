/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that sysfs and /proc answer, to values. Pure: no file is touched here. Any thread. */
#ifndef SLUICE_HOST_VALUE_H
#define SLUICE_HOST_VALUE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/inventory.h"

/* Who a function is, from "modalias": `pci:v000010DEd000026B9sv000010DEsd00001851bc03sc02i00` (modalias_show of the
 * kernel's drivers/pci/pci-sysfs.c). */
struct value_ids {
        uint16_t vendor, device, subvendor, subdevice;
        uint32_t class_code; /* 0xCCSSPP */
};
bool value_modalias(const char *text, struct value_ids *ret);

/* numa_node: "-1" (unknown) or a node number up to 4095. */
bool value_numa(const char *text, int *ret);

/* The first N_BARS lines of "resource": `0xstart 0xend 0xflags`. Fewer lines, or an end before the start, is no answer. */
bool value_resource(const char *text, struct bar ret[static N_BARS]);

/* The N of a whole name `<prefix>N`: "vfio7", "virtfn12". */
bool value_index(const char *name, const char *prefix, int *ret);

/* Where a function hangs, from the target of its link in bus/pci/devices. */
struct value_place {
        char root[ROOT_LEN];
        struct bdf root_port, upstream;
};
/* "../../../devices/pci0000:60/0000:60:01.0/0000:61:00.0" of 0000:61:00.0. The root is the nearest one (a VMD makes a
 * second one below its own function). False when there is no root, or the last component is not @self. */
bool value_place(const char *target, struct bdf self, struct value_place *ret);

/* The last PCI address among the components of @path: who a class device belongs to. */
bool value_last_bdf(const char *path, struct bdf *ret);

/* A firmware framebuffer in the text of /proc/iomem. */
struct value_range {
        bool has_owner;
        struct bdf owner;    /* of the nearest line that encloses it by indentation and names a function */
        uint64_t start, end; /* 0, 0 where the kernel hides addresses (no CAP_SYSLOG) */
};
/* Fills at most @max ranges (BOOTFB, efifb, simplefb, vesafb and simple-framebuffer lines); returns how many. */
size_t value_framebuffers(const char *iomem, struct value_range *ret, size_t max);

#endif
