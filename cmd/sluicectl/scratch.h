/* SPDX-License-Identifier: Apache-2.0 */
/* A private directory for the length of one command. While it exists, SIGINT, SIGTERM and SIGHUP wait, so that it is removed
 * whatever happens; the command is short. */
#ifndef SLUICE_CMD_SLUICECTL_SCRATCH_H
#define SLUICE_CMD_SLUICECTL_SCRATCH_H

#include <limits.h>
#include <signal.h>

#include "base/err.h"

struct scratch {
        char path[PATH_MAX];
        sigset_t before; /* the signal mask to go back to */
};
int scratch_make(struct scratch *ret, struct err *err);             /* below $TMPDIR, else /dev/shm or /tmp; mode 0700 */
int scratch_remove(const struct scratch *scratch, struct err *err); /* a signal that waited arrives here */

#endif
