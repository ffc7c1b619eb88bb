/* SPDX-License-Identifier: Apache-2.0 */
/* What Sluice bound and nobody has goes back to what it was before: `sluicectl release --idle`, before Sluice is taken off a node. It goes
 * through the door as everything does: a turn on the queue of the cards, an intent on the disk, a plan whose guards look for holders.
 * Loop thread.
 *
 * What is given back is withheld from new pods until somebody says otherwise or the daemon starts anew: else a rule that binds at start
 * would take it at once, and the next pod a moment later. Unknown is not free: what a claim names, what kubelet does not tell of, what
 * somebody has open and what nobody can see stays as it is, and the answer says why. */
#ifndef SLUICE_CLAIMS_IDLE_H
#define SLUICE_CLAIMS_IDLE_H

#include "claims/claims.h"
#include "core/plan.h"

enum { IDLE_UNITS_MAX = 256 /* of one call, and of all that have not ended */ };

struct idle_request {
        char *const *names; /* ids of devices, or addresses of functions; 0 = all that Sluice bound */
        size_t n_names;
        bool dry_run; /* only what would be done; the conditions of each plan are tried, nothing is changed */
};

enum idle_end {
        IDLE_NOTHING,    /* Sluice has not bound it, or its release gave it back before */
        IDLE_GIVEN_BACK, /* or, when it was only asked for, would be */
        IDLE_LEFT,       /* as it was: @reason and @text say why */
};
/* What shares an IOMMU group is given back together. */
struct idle_outcome {
        char name[DEVICE_ID_MAX]; /* the device; of functions that are none any more, the address of the first */
        enum idle_end end;
        enum reason reason;
        char text[ERR_MSG_MAX];
        struct original *originals; /* as they were remembered */
        size_t n_originals;
        const struct plan *plan; /* what would be done; NULL unless it was asked for and is possible */
};
typedef void idle_fn(void *ctx, const struct idle_outcome *list, size_t n); /* borrowed for the call */

/* @done is called once, maybe before this returns. Negative: nothing was begun and @done is not called: -E2BIG, more than
 * IDLE_UNITS_MAX; -EAGAIN, more than that together with calls that have not ended. */
int idle_release(struct claims *claims, const struct idle_request *request, idle_fn *done, void *ctx, struct err *err);

#endif
