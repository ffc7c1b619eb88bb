/* SPDX-License-Identifier: Apache-2.0 */
/* What is to be done about functions on which something was under way when a sluiced or its hand ended: decided from their originals and
 * the host, and written down when it is done. No hand is at work on them. Loop thread. */
#ifndef SLUICE_CLAIMS_REMEDY_H
#define SLUICE_CLAIMS_REMEDY_H

#include "claims/claims.h"
#include "core/plan.h"

/* What is still remembered of @functions. The caller frees *@ret. */
size_t remedy_originals(const struct claims *claims, const struct bdf *functions, size_t n, struct original **ret);

/* Is there anything to be done? Asked before it is known that no hand is at work. */
bool remedy_needed(const struct claims *claims, const struct bdf *functions, size_t n);

/* Functions of @devices' groups that are half-way; how many. What is to be given back must not be given away as it is: its companion,
 * without a driver, would not be in the way. */
size_t remedy_half(const struct claims *claims, const struct device *const *devices, size_t n_devices, struct bdf ret[PLAN_FUNCTIONS_MAX]);

enum remedy {
        REMEDY_NONE,     /* nothing was to be done: that is written down */
        REMEDY_RESTORE,  /* @plan gives them back to what they were before */
        REMEDY_SETTINGS, /* @plan gives back what was set of them; they stay bound */
};
/* What is not ours any more is forgotten, and what is bound whole is adopted. REASON_NONE, or why there is no plan now, with @err. */
enum reason remedy_decide(struct claims *claims, const struct bdf *functions, size_t n, enum remedy *ret, struct plan *plan,
                          struct err *err);
void remedy_done(struct claims *claims, const struct bdf *functions, size_t n, enum remedy remedy); /* its plan is */

#endif
