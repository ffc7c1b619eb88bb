/* SPDX-License-Identifier: Apache-2.0 */
/* What changed, as log lines: one per change, none when nothing did. */
#ifndef SLUICE_AGENT_NARRATE_H
#define SLUICE_AGENT_NARRATE_H

#include "core/offer.h"

/* @old NULL: the first look, one line. What changed on a card where @ours is true we did ourselves: that is for the debug log. */
void narrate_inventory(const struct inventory *old, const struct inventory *now, bool (*ours)(void *ctx, struct bdf card), void *ctx);
void narrate_offer(const struct offer *old, const struct offer *now);

#endif
