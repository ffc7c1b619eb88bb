/* SPDX-License-Identifier: Apache-2.0 */
/* What a release is about to do to the host, written down before it does: an original is ORIGINAL_RESTORING for each function that its
 * plan gives back, and remembers what reset_method said of each function whose reset narrows it. Loop thread. */
#ifndef SLUICE_CLAIMS_RELEASE_INTENT_H
#define SLUICE_CLAIMS_RELEASE_INTENT_H

#include "claims/claims.h"
#include "core/plan.h"

/* Puts it into the ledger: 1; @done: ledger.h. 0: there is nothing of it to be put, and @done is not called. -errno: there is no room. */
int release_intent_put(struct claims *claims, const struct plan *plan, recorded_fn *done, void *ctx, struct err *err);

/* After a look at the host. The plan touched nothing, or is undone: bound as before. What an earlier one narrowed stays remembered. */
void release_intent_withdraw(struct claims *claims, const struct plan *plan);
/* After a look at the host. The plan is done: what it gave back is forgotten. */
void release_intent_complete(struct claims *claims, const struct plan *plan);

#endif
