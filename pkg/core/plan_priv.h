/* SPDX-License-Identifier: Apache-2.0 */
/* What the makers of plans share: plan_bind.c (the way to VFIO), plan_restore.c (the way back), plan_release.c. All are false
 * when the plan is full, which is as it was then. */
#ifndef SLUICE_CORE_PLAN_PRIV_H
#define SLUICE_CORE_PLAN_PRIV_H

#include "core/plan.h"

bool plan_add(struct plan *plan, struct step step, const char *text);
bool plan_add_card(struct plan *plan, struct bdf card);
/* The lock of its card, and that it is still the same function. */
bool plan_add_function(struct plan *plan, const struct function *fn);
/* REASON_GARBAGE: the function is there, and could not be read. */
enum reason plan_check_read(const struct inventory *inv, struct bdf bdf, struct err *err);
/* Once for a plan, whatever functions it has; @bdf is the first of them. */
bool plan_add_wedged(struct plan *plan, struct bdf bdf);
/* Keeps @fn awake; nothing where it is already, or where the kernel has no such attribute. @to_bind: a VFIO driver takes it
 * before that step. */
bool plan_needs_power(const struct function *fn, bool to_bind);
bool plan_add_power(struct plan *plan, const struct function *fn, bool to_bind);
/* What @original remembers of @fn's attributes. */
bool plan_add_settings_back(struct plan *plan, const struct original *original, const struct function *fn);

#endif
