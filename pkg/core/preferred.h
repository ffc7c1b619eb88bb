/* SPDX-License-Identifier: Apache-2.0 */
/* GetPreferredAllocation: which of the free devices belong together. Pure. */
#ifndef SLUICE_CORE_PREFERRED_H
#define SLUICE_CORE_PREFERRED_H

#include "base/err.h"
#include "core/offer.h"

struct preferred_request {
        char *const *available;
        size_t n_available;
        char *const *must_include; /* every one must be in available */
        size_t n_must_include;
        int size;
};

/* Chooses exactly @size ids: must_include first, then devices of the same NUMA node (the node with the fewest free
 * devices that is large enough), of the same upstream bridge and PCI root, then packed (fewest free per root first) or
 * spread by @pool->prefer; ties by id. @ret gets @size pointers borrowed from the request (caller provides the array).
 * Errors (-EINVAL with a sentence): size < 1 or more than available, must_include larger than size or not available,
 * duplicates, ids that are not in the pool. */
int preferred_choose(const struct offer *offer, const struct pool *pool, const struct preferred_request *rq, const char **ret,
                     struct err *err);

#endif
