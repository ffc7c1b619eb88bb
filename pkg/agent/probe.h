/* SPDX-License-Identifier: Apache-2.0 */
/* What only a hand may read: driver_override of every function whose group holds a GPU. One hand walks all of them; when
 * it hangs, the card it hangs at is stuck and a new hand goes on with the rest. A card that a hand is at work on is left out
 * and asked again, and so is one with which another task hangs in the kernel. One of our own has its deadline; one that outlived the daemon
 * that started it hangs when it has been at work for PROBE_BUSY_MS, as does that task, and its card is stuck too. Loop thread. */
#ifndef SLUICE_AGENT_PROBE_H
#define SLUICE_AGENT_PROBE_H

#include "core/rules.h"
#include "hands/hands.h"

typedef void probe_done_fn(void *ctx);                                     /* something new is known: look again */
typedef void probe_stuck_fn(void *ctx, struct bdf card, const char *text); /* the kernel does not answer for @card */

/* Is a plan of ours at work on @card, or was it until just now? */
typedef bool probe_at_work_fn(void *ctx, struct bdf card);

struct probe;
struct probe *probe_new(struct hands *hands, probe_done_fn *done, probe_stuck_fn *stuck, probe_at_work_fn *at_work, void *ctx);
struct probe *probe_free(struct probe *probe); /* after hands_stop: no walk is under way */

/* Writes what is known into @inventory (not shared yet). A function that changed its driver or identity is unknown again, and so is
 * one of a card that a plan of ours is changing: what was read before may be what an earlier hand left half-done. */
void probe_apply(struct probe *probe, struct inventory *inventory);

/* @card is stuck: none of its functions is read again in this boot. */
void probe_leave_alone(struct probe *probe, struct bdf card);

/* Starts a walk over what is unknown or older than PROBE_AGE_MS; nothing when one is under way. PROBE_STEP_MS is for one
 * read: it takes microseconds, but others (an administrator's unbind) may have the device's lock for a while. */
enum { PROBE_AGE_MS = 60 * 1000, PROBE_STEP_MS = 5000, PROBE_BUSY_MS = 30 * 1000 };
void probe_walk(struct probe *probe, const struct inventory *inventory, const struct rules *rules, int64_t now_ms);

#endif
