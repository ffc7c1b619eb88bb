/* SPDX-License-Identifier: Apache-2.0 */
/* What nvidia-persistenced is asked: whether it keeps a GPU initialised (it has /dev/nvidiaN open then, so that nothing can be
 * unbound), and to stop doing so, or to do so again. ONC RPC (RFC 5531, record marking) over its unix socket, program 35006,
 * version 1; it does what root asks only. On a Grace superchip the first takes the GPU's memory off line too. By contract: the
 * program, its procedures and their arguments as of nvidia-persistenced 595 (nvpd_rpc.h). Hands only: it blocks, for as
 * long as it is told. */
#ifndef SLUICE_HANDS_PERSISTENCED_H
#define SLUICE_HANDS_PERSISTENCED_H

#include <stdbool.h>

#include "base/err.h"
#include "core/bdf.h"

/* 0 and whether it is on. -ENOENT: no such daemon runs here. -ENODEV: it does not know the GPU. Else -errno and a sentence. */
int persistenced_get(const char *socket, struct bdf bdf, int wait_ms, bool *ret_on, struct err *err);
int persistenced_set(const char *socket, struct bdf bdf, int wait_ms, bool on, struct err *err);

#endif
