/* SPDX-License-Identifier: Apache-2.0 */
/* What changed, as log lines: one per change, none when nothing did. */
#ifndef SLUICE_AGENT_NARRATE_H
#define SLUICE_AGENT_NARRATE_H

#include "core/offer.h"

void narrate_inventory(const struct inventory *old, const struct inventory *now); /* @old NULL: the first look, one line */
void narrate_offer(const struct offer *old, const struct offer *now);

#endif
