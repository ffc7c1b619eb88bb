/* One table of the sysfs attributes that Sluice reads, each marked free or locked.
 *
 * A locked attribute takes the kernel's device lock in its show function (on some kernels) and never returns on a wedged
 * device: only a hand may read it (STEP_READ_LOCKED). The scan refuses to read one: host_attribute_is_free() is asserted
 * before each read. */
#ifndef SLUICE_HOST_ATTRIBUTE_H
#define SLUICE_HOST_ATTRIBUTE_H

#include <stdbool.h>
#include <stddef.h>

struct host_attribute {
        const char *name; /* last path component(s) below the device's directory: "driver_override", "nvidia/creatable_vgpu_types" */
        bool locked;
        const char *source; /* kernel function or ABI file that shows it */
};
const struct host_attribute *host_attributes(size_t *ret_n);
bool host_attribute_is_free(const char *name); /* unknown names are not free */

#endif
