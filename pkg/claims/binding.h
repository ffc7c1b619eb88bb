/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of one request on their way to vfio-pci: split into units that must be bound together, a plan for each, all at
 * work side by side under one deadline; and what the end of each plan says about the devices. Loop thread. */
#ifndef SLUICE_CLAIMS_BINDING_H
#define SLUICE_CLAIMS_BINDING_H

#include "claims/claims.h"

struct binding;

/* Plans for all of @devices; nothing is touched. *@ret is NULL when all are bound already (and, for a @claim,
 * powered as their rules say). @world is borrowed. Not
 * REASON_NONE: @err says why not, and @ret is untouched. */
enum reason binding_new(struct binding **ret, const struct claims_world *world, const struct device *const *devices, size_t n_devices,
                        bool claim, struct err *err);
const struct plan *binding_plans(const struct binding *binding, size_t *ret_n);

/* All plans are done, or none: hands_run_all(). @failed is called at the first that is not, after the world has been looked
 * at; what the others did is being undone then. @over is called last, when every plan has ended; it may free the binding. */
typedef void binding_override_fn(void *ctx, struct bdf bdf, const char *before); /* what its hand read */
typedef void binding_failed_fn(void *ctx, const struct hands_result *result);
typedef void binding_over_fn(void *ctx, bool done);
void binding_run(struct binding *binding, struct hands *hands, unsigned deadline_ms, binding_override_fn *override,
                 binding_failed_fn *failed, binding_over_fn *over, void *ctx);
enum plan_end binding_end(const struct binding *binding, size_t plan); /* which has ended */
bool binding_at_work(const struct binding *binding, struct bdf card);  /* has a plan on @card not ended yet? */
bool binding_concerns(const struct binding *binding, struct bdf card); /* has it a plan on @card, ended or not? */
struct binding *binding_free(struct binding *binding);                 /* not at work. NULL-safe, returns NULL */

#endif
