/* SPDX-License-Identifier: Apache-2.0 */
/* What only a hand may read: driver_override of every function whose group holds a GPU. One hand walks all of them; when
 * it hangs, the function it hangs at is stuck and a new hand goes on with the rest. Loop thread. */
#ifndef SLUICE_AGENT_PROBE_H
#define SLUICE_AGENT_PROBE_H

#include "core/rules.h"
#include "hands/hands.h"

typedef void probe_done_fn(void *ctx);                                /* something new is known: look again */
typedef void probe_stuck_fn(void *ctx, struct bdf bdf, const char *text); /* the kernel did not answer for @bdf */

struct probe;
struct probe *probe_new(struct hands *hands, probe_done_fn *done, probe_stuck_fn *stuck, void *ctx);
struct probe *probe_free(struct probe *probe); /* after hands_stop: no walk is under way */

/* Writes what is known into @inventory (not shared yet). A function that changed its driver or identity is unknown again. */
void probe_apply(struct probe *probe, struct inventory *inventory);

/* Starts a walk over what is unknown or older than PROBE_AGE_MS; nothing when one is under way. */
enum { PROBE_AGE_MS = 60 * 1000, PROBE_STEP_MS = 1000 };
void probe_walk(struct probe *probe, const struct inventory *inventory, const struct rules *rules, int64_t now_ms);

#endif
