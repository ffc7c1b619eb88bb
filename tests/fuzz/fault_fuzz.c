/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the simulation's fault script. */
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sim/sim_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *line = xstrndup((const char *)data, size);
        struct sim_fault f = { 0 };
        struct err err = { 0 };

        int r = sim_fault_parse(line, &f, &err);
        if (r < 0 && (f.verb != FAULT_NONE || err.msg[0] == '\0'))
                abort();
        if (r == 0 && (f.verb == FAULT_NONE || f.attribute[0] == '\0' || f.key[0] == '\0' || (f.verb == FAULT_REFUSE) != (f.error > 0)))
                abort();
        return 0;
}
