/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a claim: what its rule says of its devices (plan_release) is done on the queue of their cards, and the claim is
 * gone. Until then it is CLAIM_RELEASING, on the disk too: a daemon that starts anew goes on with it. Loop thread.
 *
 * Its devices are listed Unhealthy meanwhile. An Allocate for one of them waits behind the release; one that comes while the
 * release waits for something itself (a descriptor that is still open, a driver that is not there) is refused with what that is.
 * A release that fails is tried again, with growing pauses: a device is not given to anybody in the state that its last user
 * left it in when its rule asks for more. */
#ifndef SLUICE_CLAIMS_RELEASE_H
#define SLUICE_CLAIMS_RELEASE_H

#include "claims/claims.h"

#ifndef RELEASE_TIMES
#define RELEASE_TIMES
enum {
        RELEASE_HELD_MS = 2000,      /* the cards are kept while a descriptor is about to be closed */
        RELEASE_HELD_RETRY_MS = 100, /* looked at so often then */
};
#endif

/* The claim @key has no owner any more, and nobody has its devices open as far as is known. False: a request is under way for
 * one of their cards, and may be for the very device; to be said again later. */
bool release_claim(struct claims *claims, const char *key);

void release_resume(struct claims *claims); /* at start: what an earlier daemon had begun */

/* Is @device being released? NULL = no; else what the release waits for, "" = nothing. */
const char *release_of_device(const struct claims *claims, const char *device);

#endif
