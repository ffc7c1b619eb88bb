/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/owners.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/vfio_driver.h"
#include "host/owner.h"

struct known {
        struct bdf bdf;
        char override[DRIVER_LEN], owner[OWNER_LEN];
};

struct owners {
        char *root;
        struct known *known; /* one per address */
        size_t n, cap;
};

struct owners *owners_new(const char *root)
{
        struct owners *owners = xcalloc(1, sizeof(*owners));

        owners->root = xstrdup(root);
        return owners;
}

struct owners *owners_free(struct owners *owners)
{
        if (!owners)
                return NULL;
        free(owners->root);
        free(owners->known);
        free(owners);
        return NULL;
}

static struct known *find(struct owners *owners, struct bdf bdf)
{
        for (size_t i = 0; i < owners->n; i++)
                if (bdf_equal(owners->known[i].bdf, bdf))
                        return &owners->known[i];
        GROW(owners->known, owners->n, owners->cap);
        owners->known[owners->n] = (struct known){ .bdf = bdf };
        return &owners->known[owners->n++];
}

void owners_apply(struct owners *owners, struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_functions; i++) {
                struct function *fn = &inv->functions[i];

                if (!fn->override_known || !*fn->driver_override || vfio_driver_is(fn->driver_override))
                        continue;
                struct known *k = find(owners, fn->bdf);
                if (!streq(k->override, fn->driver_override)) {
                        (void)str_copy(k->override, sizeof(k->override), fn->driver_override);
                        owner_find(owners->root, fn, k->owner, sizeof(k->owner));
                }
                (void)str_copy(fn->override_owner, sizeof(fn->override_owner), k->owner);
        }
}
