/* SPDX-License-Identifier: Apache-2.0 */
/* NVIDIA's unbindLock: its driver lets a GPU go only while nobody is its client, and while it is locked nobody becomes one. */
#include "hands/steps_priv.h"

#include <errno.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/str.h"

enum { LOCK_PATH = 192, UNBIND_LOCK_TRIES = 5, UNBIND_LOCK_PAUSE_MS = 100 };

static int unbind_lock_write(struct work *work, struct bdf b, const char *value, char ret[static 16], struct failure *f)
{
        char path[LOCK_PATH];

        (void)snprintf(path, sizeof(path), "driver/nvidia/gpus/" BDF_FMT "/unbindLock", BDF_ARGS(b));
        int r = kernel_write_proc(work->kernel, path, value, &f->err);
        if (r == 0)
                r = fs_read_value(kernel_tree(work->kernel)->proc, path, ret, 16, &f->err);
        return r < 0 ? step_failed(work, b, f) : 0;
}

/* No file: the driver has left since the plan was made, and with it whoever used the GPU through it. */
static bool unbind_lock_absent(struct work *work, struct bdf b)
{
        char path[LOCK_PATH];

        (void)snprintf(path, sizeof(path), "driver/nvidia/gpus/" BDF_FMT "/unbindLock", BDF_ARGS(b));
        return fs_exists(kernel_tree(work->kernel)->proc, path) == 0;
}

static bool unbind_lock_reads(struct work *work, struct bdf b, const char *want)
{
        char path[LOCK_PATH], value[16];
        struct err err;

        (void)snprintf(path, sizeof(path), "driver/nvidia/gpus/" BDF_FMT "/unbindLock", BDF_ARGS(b));
        return fs_read_value(kernel_tree(work->kernel)->proc, path, value, sizeof(value), &err) == 0 && streq(value, want);
}

static int give_unbind_lock_back(struct work *work, struct bdf b, struct failure *f)
{
        char value[16];

        if (unbind_lock_absent(work, b) || unbind_lock_reads(work, b, "0"))
                return 0;
        int r = unbind_lock_write(work, b, "0", value, f);
        if (r == 0 && !streq(value, "0"))
                return step_refuse(f, REASON_STEP_FAILED, EIO, "unbindLock of " BDF_FMT " still reads %s", BDF_ARGS(b), value);
        return r;
}

int step_guard_unbind_lock(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char value[16];

        if (unbind_lock_absent(work, s->bdf))
                return 0;
        for (int i = 0; i < UNBIND_LOCK_TRIES; i++) {
                if (i > 0)
                        step_pause_ms(UNBIND_LOCK_PAUSE_MS);
                deed->changed = true;
                int r = unbind_lock_write(work, s->bdf, "1", value, f);
                if (r < 0)
                        return r;
                if (streq(value, "1"))
                        return 0;
        }
        return step_refuse(f, REASON_UNBIND_LOCK, EBUSY,
                           "the NVIDIA driver does not let " BDF_FMT " go: it still has clients "
                           "(unbindLock reads %s)",
                           BDF_ARGS(s->bdf), value);
}

int step_undo_unbind_lock(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        (void)deed;
        return give_unbind_lock_back(work, s->bdf, f);
}

int step_release_unbind_lock(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        (void)deed;
        return give_unbind_lock_back(work, s->bdf, f);
}
