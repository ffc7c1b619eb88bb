/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what takes a device's lock: where another task hangs with it, the read never returns, so that a child does it. */
#ifndef SLUICE_CMD_SLUICECTL_LOCKED_H
#define SLUICE_CMD_SLUICECTL_LOCKED_H

#include "base/tree.h"
#include "core/claim.h"
#include "sim/sim.h"

struct override {
        bool read, hangs;      /* neither: it cannot be read, or was not asked for any more */
        char text[DRIVER_LEN]; /* "" = none */
};
/* What driver_override of the functions of @originals says, in @ret, which is zeroed. @sim NULL = @tree is no simulated host. The
 * program has one thread. */
void locked_overrides(const struct tree *tree, struct sim *sim, const struct original *originals, size_t n, struct override *ret);

#endif
