/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker receives: a plan that passes the check can be described and walked, whatever its bytes are. Short inputs are
 * filled up with zeros, so that the corpus does not depend on the size of a plan. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "hands/steps.h"
#include "hands/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A component "..", which would lead out of the device's directory; "..x" is a name like any other. */
static bool leads_out(const char *path)
{
        for (const char *part = path; part; part = (part = strchr(part, '/')) ? part + 1 : NULL)
                if (strcspn(part, "/") == 2 && part[0] == '.' && part[1] == '.')
                        return true;
        return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct plan plan = { 0 };
        struct err err = { 0 };
        char text[160];

        if (size != sizeof(plan) && wire_plan_valid(data, size, &err) == 0)
                abort();
        memcpy(&plan, data, size < sizeof(plan) ? size : sizeof(plan));
        if (wire_plan_valid(&plan, sizeof(plan), &err) < 0)
                return *err.msg ? 0 : (abort(), 0);
        for (uint32_t i = 0; i < plan.n_steps; i++) {
                step_describe(&plan.steps[i], text, sizeof(text));
                if (!*text || strchr(text, '\n') || leads_out(plan.steps[i].text) || !step_ops(plan.steps[i].kind)->act)
                        abort();
        }
        return 0;
}
