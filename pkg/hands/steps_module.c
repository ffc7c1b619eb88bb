/* SPDX-License-Identifier: Apache-2.0 */
/* STEP_LOAD_MODULE. A module that was loaded stays: it does nothing for a device that nobody binds to it. */
#include <errno.h>

#include "base/fs.h"
#include "base/str.h"
#include "core/vfio_driver.h"
#include "hands/steps_priv.h"

int step_load_module(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        char path[128];

        (void)deed;
        str_format(path, sizeof(path), "bus/pci/drivers/%s", s->text);
        if (fs_exists(kernel_tree(work->kernel)->sys, path) == 1)
                return 0;
        int r = kernel_load_module(work->kernel, s->text, &f->err);
        if (r < 0)
                f->reason = streq(s->text, VFIO_PCI) ? REASON_VFIO_MISSING : REASON_VARIANT_MISSING;
        return r;
}
