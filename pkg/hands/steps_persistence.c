/* SPDX-License-Identifier: Apache-2.0 */
/* STEP_PERSISTENCE_OFF. Persistence that the driver itself keeps (nvidia-smi -pm 1 without the daemon) has no switch that does not
 * open the GPU; its unbindLock tells of that one. */
#include <errno.h>

#include "base/str.h"
#include "hands/persistenced.h"
#include "hands/steps_priv.h"

enum {
        SOCKET_PATH_MAX = 640,
        ANSWER_MS = 3000, /* it serves one caller at a time, and starting a GPU takes a second or two */
        RESTORE_MS = 10000,
};

static void socket_path(struct work *work, char out[static SOCKET_PATH_MAX])
{
        str_format(out, SOCKET_PATH_MAX, "%s/run/nvidia-persistenced/socket", kernel_root(work->kernel));
}

int step_persistence_off(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        bool on = false;
        struct err ignored;
        char path[SOCKET_PATH_MAX];

        socket_path(work, path);
        int r = persistenced_get(path, s->bdf, ANSWER_MS, &on, &f->err);
        if (r == 0 && on) {
                deed->changed = true;
                r = persistenced_set(path, s->bdf, ANSWER_MS, false, &f->err);
                if (r < 0 && persistenced_get(path, s->bdf, ANSWER_MS, &on, &ignored) == 0 && on)
                        deed->changed = false; /* it said no, and meant it */
        }
        /* No daemon, or not its GPU: nothing is kept by it. */
        if (r == 0 || (!deed->changed && (r == -ENOENT || r == -ENODEV)))
                return 0;
        f->reason = REASON_PERSISTENCE;
        return r;
}

int step_undo_persistence_off(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char path[SOCKET_PATH_MAX];

        (void)deed;
        socket_path(work, path);
        int r = persistenced_set(path, s->bdf, RESTORE_MS, true, &f->err);
        if (r < 0) /* the GPU is back on its driver, and works without */
                f->reason = REASON_NOT_RESTORED;
        return r < 0 ? err_prefix(&f->err, "persistence mode of " BDF_FMT " is off and was on", BDF_ARGS(s->bdf)) : 0;
}
