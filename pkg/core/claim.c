/* SPDX-License-Identifier: Apache-2.0 */
#include "core/claim.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"

const char *claim_owner_name(enum claim_owner owner)
{
        static const char *const names[] = {
                [OWNER_KUBELET] = "kubelet",
                [OWNER_NODE_API] = "node-api",
                [OWNER_RECONCILE] = "reconcile",
        };

        return names[owner];
}

const char *claim_state_name(enum claim_state state)
{
        static const char *const names[] = {
                [CLAIM_PREPARING] = "preparing",
                [CLAIM_ANSWERED] = "answered",
                [CLAIM_SEEN] = "seen",
                [CLAIM_RELEASING] = "releasing",
        };

        return names[state];
}

const char *original_state_name(enum original_state state)
{
        static const char *const names[] = {
                [ORIGINAL_BINDING] = "binding",
                [ORIGINAL_BOUND] = "bound",
                [ORIGINAL_RESTORING] = "restoring",
        };

        return names[state];
}

void claim_key_of_kubelet(const char *device, char out[static CLAIM_KEY_MAX])
{
        str_format(out, CLAIM_KEY_MAX, "kubelet:%s", device);
}

void claim_copy(struct claim *to, const struct claim *from)
{
        *to = *from;
        to->devices = xmemdup(from->devices, from->n_devices * sizeof(*from->devices));
}

void claim_done(struct claim *claim)
{
        free(claim->devices);
        claim->devices = NULL;
        claim->n_devices = 0;
}

const struct claim_device *claim_device(const struct claim *claim, const char *id)
{
        for (size_t i = 0; i < claim->n_devices; i++)
                if (streq(claim->devices[i].id, id))
                        return &claim->devices[i];
        return NULL;
}
