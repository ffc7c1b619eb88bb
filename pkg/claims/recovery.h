/* SPDX-License-Identifier: Apache-2.0 */
/* After a crash: what an earlier daemon, or a hand that died, left between two steps is finished or undone, from the record and
 * the host as it is. Loop thread.
 *
 * A record of something under way is acted on only when a hand has found that no other one is at work on its cards (that of a
 * killed daemon may be): until then the cards are the recovery's own. All on VFIO, with its nodes: it is bound. Anything else
 * is given back to what it was before (plan_restore); in use is sacred there too, so it is tried again, with growing pauses.
 * What was set for a claim which is none any more (power), or for its release (reset_method), is given back the same way: settings.h. */
#ifndef SLUICE_CLAIMS_RECOVERY_H
#define SLUICE_CLAIMS_RECOVERY_H

#include "claims/claims.h"

/* At start, when the world has been looked at, before anything else goes through the door. Says in the log what has become of
 * each record. @done is called once, maybe before this returns: every unit that was under way has been dealt with, or has to
 * wait for something. */
void recovery_start(struct claims *claims, void (*done)(void *ctx), void *ctx);

/* A hand ended in the middle of its plan on @functions. Their originals say what was before. A recovery of one of them that waits is
 * taken over: it has one. */
void recovery_of(struct claims *claims, const struct bdf *functions, size_t n);

/* A claim has ended, or a request that was to become one: what was set for it is given back (settings.h). */
void recovery_of_settings(struct claims *claims);

#endif
