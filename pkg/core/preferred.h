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

/* Chooses exactly @size ids: must_include first, then what is near to it and to each other.
 *  - NUMA node: the one that must_include is on, else the node with the fewest free devices that is large enough, else as few
 *    nodes as possible. Devices on unknown nodes come after the known ones: they are no node.
 *  - below it PREFER_PACK looks for the PCI root, then the bridge directly above, in the same way: near to each other, and
 *    large roots stay whole for large requests;
 *  - PREFER_SPREAD takes devices one by one from the root and the bridge that has given the fewest to this request, then
 *    from the one with the most free: the most bandwidth for each;
 *  - ties go to the lowest id; a device that turned unhealthy meanwhile is the last choice.
 * @ret gets @size pointers borrowed from the request (the caller provides the array).
 * -EINVAL with a sentence: size < 1 or more than available, must_include larger than size or not available, duplicates, ids
 * that are not in the pool. The contents of @ret are undefined then. */
int preferred_choose(const struct offer *offer, const struct pool *pool, const struct preferred_request *rq, const char **ret,
                     struct err *err);

#endif
