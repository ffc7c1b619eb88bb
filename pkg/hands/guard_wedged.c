/* SPDX-License-Identifier: Apache-2.0 */
/* STEP_GUARD_WEDGED, and what a locked read asks: somebody else hangs in the kernel with a device's lock; a hand that goes there next hangs
 * as well, and the device is lost for the boot in our name. The kernel takes the driver's links away before the driver's own code runs
 * (drivers/base/dd.c), so a device that still shows a driver is not the one that an unknown removal is about. */
#include <errno.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/str.h"
#include "hands/steps_priv.h"
#include "host/wedged.h"

static bool same_slot(struct bdf a, struct bdf b)
{
        return a.domain == b.domain && a.bus == b.bus && a.device == b.device;
}

static bool without_driver(const struct tree *tree, struct bdf b)
{
        char path[64];

        str_format(path, sizeof(path), "bus/pci/devices/" BDF_FMT "/driver", BDF_ARGS(b));
        return fs_exists(tree->sys, path) == 0;
}

static bool may_be_at(const struct tree *tree, const struct wedged *w, struct bdf b)
{
        return w->known ? same_slot(b, w->bdf) : without_driver(tree, b);
}

/* The function of the plan that @w may be at; NULL = none. */
static const struct bdf *concerned(const struct plan *plan, const struct tree *tree, const struct wedged *w)
{
        for (uint32_t i = 0; i < plan->n_cards; i++)
                if (w->known && same_slot(plan->cards[i], w->bdf))
                        return &plan->cards[i];
        for (uint32_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].kind == STEP_NEED_IDENTITY && may_be_at(tree, w, plan->steps[i].bdf))
                        return &plan->steps[i].bdf;
        return NULL;
}

static int refuse_wedged(const struct wedged *w, struct bdf b, struct failure *f)
{
        return step_refuse(f, REASON_WEDGED, EDEADLK, "task %d (%s) hangs in the kernel (%s) taking %s from its driver; " BDF_FMT " %s",
                           (int)w->pid, w->comm, w->where, w->known ? "a device" : "an unknown device", BDF_ARGS(b),
                           w->known ? "is that card's, and who touches it next would hang too" : "has no driver and may be it");
}

int step_guard_wedged(struct work *work, const struct step *s, struct deed *deed, struct failure *f)
{
        struct patience patience = { .until = clock_ms() + s->wait_ms };
        struct wedged found[WEDGED_MAX], culprit = { 0 };
        struct bdf at = { 0 };
        bool any;

        (void)deed;
        do {
                const struct tree *tree = kernel_tree(work->kernel);
                int n = wedged_find(tree, found, &f->err);
                if (n < 0) {
                        f->reason = REASON_STEP_FAILED;
                        return n;
                }
                any = false;
                for (int i = 0; i < n && !any; i++) {
                        const struct bdf *b = concerned(work->plan, tree, &found[i]);
                        any = b != NULL;
                        if (b)
                                at = *b, culprit = found[i];
                }
        } while (any && step_patience_left(&patience));
        return any ? refuse_wedged(&culprit, at, f) : 0;
}

int step_read_look(struct work *work, struct failure *f)
{
        if (work->wedged_known)
                return 0;
        int n = wedged_find(kernel_tree(work->kernel), work->wedged, &f->err);
        if (n < 0) {
                f->reason = REASON_STEP_FAILED;
                return n;
        }
        work->n_wedged = n;
        work->wedged_known = true;
        return 0;
}

int step_read_wedged(struct work *work, const struct step *s, struct failure *f)
{
        for (int i = 0; i < work->n_wedged; i++)
                if (may_be_at(kernel_tree(work->kernel), &work->wedged[i], s->bdf))
                        return refuse_wedged(&work->wedged[i], s->bdf, f);
        return 0;
}
