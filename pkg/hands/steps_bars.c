/* SPDX-License-Identifier: Apache-2.0 */
/* Did the last user leave the BARs as the kernel knows them? */
#include <errno.h>

#include "base/fs.h"
#include "base/str.h"
#include "core/bars.h"
#include "hands/steps_priv.h"
#include "host/value.h"

enum { RESOURCES_MAX = 4096 };

static bool read_dword(struct work *work, struct bdf b, uint32_t offset, uint32_t *ret)
{
        unsigned char bytes[4];
        struct err unused;

        if (kernel_read_config(work->kernel, b, offset, bytes, sizeof(bytes), &unused) != sizeof(bytes))
                return false;
        *ret = (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 | bytes[0];
        return true;
}

/* Where its Resizable BAR capability is; 0 = it has none, or that may not be read here. */
static uint32_t find_resizable(struct work *work, struct bdf b)
{
        uint32_t head, at = CONFIG_EXTENDED;

        for (unsigned i = 0; i < CONFIG_CAPABILITIES && at >= CONFIG_EXTENDED && read_dword(work, b, at, &head); i++) {
                if ((head & 0xffff) == CONFIG_RESIZABLE)
                        return at;
                at = head >> 20 & 0xffc;
        }
        return 0;
}

static bool any_resized(struct work *work, struct bdf b, const struct bar *assigned, char *what, size_t size)
{
        uint32_t control, n = 1, at = find_resizable(work, b);

        for (uint32_t i = 0; at && i < n && i < N_BARS && read_dword(work, b, at + 8 + 8 * i, &control); i++) {
                if (i == 0)
                        n = control >> 5 & 7;
                if (bars_resized(assigned, control, what, size))
                        return true;
        }
        return false;
}

/* "resource" has more lines than one: no value of an attribute. */
static int read_assigned(struct work *work, struct bdf b, struct bar ret[static N_BARS], struct failure *f)
{
        char path[64], text[RESOURCES_MAX];

        str_format(path, sizeof(path), "bus/pci/devices/" BDF_FMT "/resource", BDF_ARGS(b));
        if (fs_read(kernel_tree(work->kernel)->sys, path, text, sizeof(text), NULL, &f->err) < 0)
                return step_missed(b, f);
        return value_resource(text, ret)
                       ? 0
                       : step_refuse(f, REASON_STEP_FAILED, EBADMSG, "resource of " BDF_FMT " makes no sense", BDF_ARGS(b));
}

int step_compare_bars(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        struct bar assigned[N_BARS];
        unsigned char header[CONFIG_HEADER];
        char what[128], state[16];

        (void)deed;
        int r = read_assigned(work, s->bdf, assigned, f);
        if (r < 0)
                return r;
        ssize_t n = kernel_read_config(work->kernel, s->bdf, 0, header, sizeof(header), &f->err);
        if (n < 0)
                return step_missed(s->bdf, f);
        /* Kernels before 5.11 do not say: it may be. */
        bool asleep = step_read_attribute(work, s->bdf, "power_state", state, sizeof(state), f) < 0 || !streq(state, "D0");
        if (n == sizeof(header) &&
            (bars_moved(assigned, header, asleep, what, sizeof(what)) || any_resized(work, s->bdf, assigned, what, sizeof(what))))
                return step_refuse(f, REASON_BARS_CHANGED, EIO, BDF_FMT " did not come back from its reset as it was: %s", BDF_ARGS(s->bdf),
                                   what);
        return 0;
}
