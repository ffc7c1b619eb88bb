/* SPDX-License-Identifier: Apache-2.0 */
/* What a request is about to do to the host, written down before it does: an original for each function that its plans bind.
 * Loop thread. */
#ifndef SLUICE_CLAIMS_INTENT_H
#define SLUICE_CLAIMS_INTENT_H

#include "claims/ledger.h"
#include "core/plan.h"

struct intent;
/* Of @plans, as @inv sees their functions. A function that is still what an earlier plan of this boot made of it keeps what is
 * remembered of before that. */
struct intent *intent_new(const struct ledger *ledger, const struct inventory *inv, const struct plan *plans, size_t n_plans);
struct intent *intent_free(struct intent *intent); /* NULL-safe, returns NULL */

/* Puts them into the ledger as ORIGINAL_BINDING, or those of the plans that are done as ORIGINAL_BOUND. @done: ledger.h. */
int intent_put(const struct intent *intent, struct ledger *ledger, recorded_fn *done, void *ctx, struct err *err);
void intent_complete(const struct intent *intent, struct ledger *ledger, recorded_fn *done, void *ctx);
/* Plan @plan touched nothing, or is undone: the ledger says what it said before. */
void intent_withdraw(const struct intent *intent, struct ledger *ledger, size_t plan);
/* The functions of plan @plan: up to as many as a plan has steps. */
size_t intent_functions(const struct intent *intent, size_t plan, struct bdf ret[static PLAN_STEPS_MAX]);
/* What a hand read just before it set driver_override of @bdf, where that was not known. */
void intent_override_was(struct intent *intent, struct ledger *ledger, struct bdf bdf, const char *before);

#endif
