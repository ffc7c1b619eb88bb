/* SPDX-License-Identifier: Apache-2.0 */
/* One table of the sysfs attributes that Sluice reads, each marked free or locked.
 *
 * A locked attribute takes the kernel's device lock in its show function, or wakes the device (on some kernels), and never
 * returns on a wedged device: only a hand may read it (STEP_READ_LOCKED). The scan refuses to read one: freeness is asserted
 * before each read. Links (driver, iommu_group, physfn, virtfnN) and directory listings are not in the table: sysfs answers
 * them itself and never asks a driver. */
#ifndef SLUICE_HOST_ATTRIBUTE_H
#define SLUICE_HOST_ATTRIBUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct host_attribute {
        const char *name; /* last path component(s) below the device's directory: "driver_override", "nvidia/creatable_vgpu_types" */
        bool locked;
        const char *source; /* kernel function or ABI file that shows it */
};
const struct host_attribute *host_attributes(size_t *ret_n); /* sorted by name */
bool host_attribute_is_free(const char *name);               /* unknown names are not free */

/* Reads the free attribute @name below the device's directory @dir: its value without the trailing newline, cleaned
 * (fs_read_value). Asserts freeness. Absence is fs_gone(). */
int attribute_read(int dir, const char *name, char *buf, size_t size, struct err *err);

/* As attribute_read, for a number of @base within [0, @max]. -EBADMSG, with the content in the sentence, for anything else. */
int attribute_number(int dir, const char *name, int base, uint64_t max, uint64_t *ret, struct err *err);

#endif
