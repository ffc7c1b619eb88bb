/* SPDX-License-Identifier: Apache-2.0 */
/* What each kind of step does and how it is undone: one table, read by the executor (worker.c). */
#ifndef SLUICE_HANDS_STEPS_H
#define SLUICE_HANDS_STEPS_H

#include "core/plan.h"
#include "hands/kernel.h"
#include "host/wedged.h"

/* Why a step failed: the word, and the sentence. */
struct failure {
        enum reason reason;
        struct err err;
};

/* What a step has done so far, for its undo. @changed is set right before the write, so that a write that failed half-way
 * is undone too. */
struct deed {
        bool changed;
        char before[STEP_TEXT_MAX]; /* STEP_OVERRIDE: the former override; STEP_UNBIND: the former driver; "" = none */
};

struct work {
        struct kernel *kernel;
        const struct plan *plan;
        struct deed deeds[PLAN_STEPS_MAX]; /* by step index */
        char value[ERR_MSG_MAX];           /* what a step tells */
        bool wedged_known;                 /* a walk of reads looks once */
        struct wedged wedged[WEDGED_MAX];
        int n_wedged;
};

/* Both return 0, or -errno and fill @failure (reason GONE: the device itself has vanished). */
struct step_ops {
        int (*act)(struct work *work, const struct step *step, struct deed *deed, struct failure *failure);
        int (*undo)(struct work *work, const struct step *step, struct deed *deed, struct failure *failure); /* NULL = nothing */
};
const struct step_ops *step_ops(enum step_kind kind);

#endif
