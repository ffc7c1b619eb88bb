/* SPDX-License-Identifier: Apache-2.0 */
/* What a reset of a function reaches. Pure.
 *
 * Facts (drivers/pci/pci.c, Documentation/ABI/testing/sysfs-bus-pci): "reset_method" lists what the kernel would try, in order.
 * device_specific, acpi (_RST), flr and af_flr concern the function alone. pm goes through D3hot and back, which many functions
 * pass without losing their state. bus and cxl_bus reset the bus that the function is on, with all that is below it: the
 * kernel refuses that when anything else is there, and may list it nevertheless. */
#ifndef SLUICE_CORE_RESET_H
#define SLUICE_CORE_RESET_H

#include "core/inventory.h"

enum reset_scope {
        RESET_FUNCTION, /* the function alone */
        RESET_BUS,      /* all that is below its bus */
        RESET_DOUBTFUL, /* the function alone, and maybe nothing happens */
        RESET_UNKNOWN,  /* a method that this version does not know */
};
enum reset_scope reset_method_scope(const char *method);
const char *reset_scope_name(enum reset_scope scope); /* "function", "bus", "doubtful", "unknown" */

/* The function's methods, each with its scope: "flr (function), bus (bus)"; "" = none. */
void reset_describe(const struct function *fn, char *out, size_t size);

/* "flr af_flr cxl_bus", of whatever names a kernel has for its methods: what a record and a plan may say of them; also "". */
bool reset_is_list(const char *text);

/* The methods that the function has. @before: what was remembered before a reset, "" = nothing. A reset that was cut off leaves the one
 * method that was chosen of these: then it is @before; anything else there is somebody's order. */
const char *reset_methods_of(const struct function *fn, const char *before);

/* Of @methods (as above), in the kernel's order, the first that resets this function and nothing else. True: @ret is its name.
 * False: none does, and @why says of each why not. */
bool reset_choose(const struct inventory *inv, const struct function *fn, const char *methods, char ret[static RESET_LEN], char *why,
                  size_t why_size);

#endif
