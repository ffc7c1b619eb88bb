/* SPDX-License-Identifier: Apache-2.0 */
/* What the three files of the offer share: offer.c (object, order of the work), offer_judge.c (one device at a time),
 * offer_pools.c (names and pools). */
#ifndef SLUICE_CORE_OFFER_PRIV_H
#define SLUICE_CORE_OFFER_PRIV_H

#include <limits.h>

#include "core/offer.h"

enum { RULE_NONE = UINT_MAX }; /* device.rule: no rule selects it */

/* Rule of a device; the implicit one (all defaults) for 0 and for none. Never NULL. */
const struct rule *offer_rule(const struct rules *rules, unsigned number);

/* Is the function worth a line, offered or not? A GPU by class, one that a rule reaches, or a display or accelerator that only
 * the class list keeps out. */
bool judge_is_candidate(const struct rules *rules, const struct function *fn);

/* Fills @ret but for its name. WITHHELD, or to be listed: HEALTHY or UNHEALTHY. */
void judge_function(const struct inventory *inv, const struct rules *rules, const struct function *fn, struct device *ret);
void judge_instance(const struct inventory *inv, const struct rules *rules, const struct instance *instance, struct device *ret);

/* Attaches a warning to a healthy device. The first is its reason, with a detail; those that follow are words. */
void judge_warn(struct device *device, enum reason reason, const char *detail);
/* The same, before the warnings that it has. */
void judge_warn_first(struct device *device, enum reason reason, const char *detail);

/* Names every listed device of @offer (sorted by id), which may withhold it, and gathers @offer->pools. */
void pools_gather(const struct offer_input *in, struct offer *offer);

/* The device of @past that was listed under this id, or NULL. @past may be NULL. */
const struct device *offer_listed(const struct offer *past, const char *id);

#endif
