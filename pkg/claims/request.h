/* SPDX-License-Identifier: Apache-2.0 */
/* A request is checked whole before anything is touched: pure, on one offer. */
#ifndef SLUICE_CLAIMS_REQUEST_H
#define SLUICE_CLAIMS_REQUEST_H

#include "claims/claims.h"

enum { REQUEST_DEVICES_MAX = 256 };

/* Resolves @request against @offer: @ret gets request->n_devices devices (caller provides REQUEST_DEVICES_MAX), sorted by
 * id, borrowed from @offer. Not REASON_NONE: @err says which id and why, and nothing may be touched. */
enum reason request_check(const struct offer *offer, const struct claim_request *request, const struct device **ret, struct err *err);

/* The same for a request that is going to wait for its turn: what is being released is none too early to ask for. */
enum reason request_check_early(const struct offer *offer, const struct claim_request *request, const struct device **ret, struct err *err);

/* The cards that preparing @devices concerns: theirs, and those of every other member of their groups. Sorted, without
 * repeats, at most @max; returns the count. */
size_t request_cards(const struct inventory *inv, const struct device *const *devices, size_t n_devices, struct bdf *ret, size_t max);

/* Devices that share a card by request_cards(), directly or over others of @devices, are one unit: they are bound by one plan.
 * @ret[i] is the index of the first device of the unit that device i is of. */
void request_units(const struct inventory *inv, const struct device *const *devices, size_t n_devices, size_t *ret);

/* After @plan left something behind: is a function of @group on another driver than the plan found it on? */
bool request_group_is_broken(const struct inventory *inv, const struct plan *plan, int group);

#endif
