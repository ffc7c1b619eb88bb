/* SPDX-License-Identifier: Apache-2.0 */
#include "claims/settings.h"

#include "base/log.h"
#include "claims/claims_priv.h"

static bool has_claim(const struct claims *claims, struct bdf bdf)
{
        char id[BDF_TEXT_MAX];

        return ledger_claim_of(claims->ledger, bdf_format(bdf, id)) != NULL;
}

bool settings_owed(const struct claims *claims, const struct original *original)
{
        const struct inventory *inv = claims->world.inventory(claims->world.ctx);
        const struct function *fn = inventory_function(inv, original->bdf);

        if (!original_has_settings(original) || has_claim(claims, original->bdf))
                return false;
        for (size_t i = 0; fn && fn->group >= 0 && i < inv->n_functions; i++)
                if (inv->functions[i].group == fn->group && has_claim(claims, inv->functions[i].bdf))
                        return false;
        return true;
}

struct search {
        const struct claims *claims;
        const struct device *const *devices;
        size_t n_devices;
        bool found;
};

static void look_at(void *ctx, const struct original *original)
{
        struct search *search = ctx;
        const struct claims_world *world = &search->claims->world;

        if (search->found || !original_has_settings(original))
                return;
        const struct function *fn = inventory_function(world->inventory(world->ctx), original->bdf);
        for (size_t i = 0; fn && !search->found && i < search->n_devices; i++) {
                const struct device *device = search->devices[i];
                if (bdf_equal(device->bdf, fn->bdf) || (fn->group >= 0 && fn->group == device->group))
                        search->found = settings_owed(search->claims, original);
        }
}

bool settings_owed_for(const struct claims *claims, const struct device *const *devices, size_t n_devices)
{
        struct search search = { .claims = claims, .devices = devices, .n_devices = n_devices };

        ledger_each_original(claims->ledger, look_at, &search);
        return search.found;
}

size_t settings_owed_of(const struct claims *claims, struct original *list, size_t n)
{
        size_t n_owed = 0;

        for (size_t i = 0; i < n; i++)
                if (settings_owed(claims, &list[i]))
                        list[n_owed++] = list[i];
        return n_owed;
}

void settings_given_back(struct claims *claims, const struct original *list, size_t n)
{
        for (size_t i = 0; i < n; i++) {
                struct original original = list[i];
                struct err unused;
                log_info(BDF_FMT " has its %s back", BDF_ARGS(original.bdf),
                         *original.power_control || *original.d3cold_allowed ? "power states" : "reset methods");
                original.power_control[0] = original.d3cold_allowed[0] = original.reset_methods[0] = '\0';
                if (original_is_bound_by_us(&original)) /* it is in the ledger: there is room */
                        (void)ledger_put_originals(claims->ledger, &original, 1, NULL, NULL, &unused);
                else
                        ledger_remove_originals(claims->ledger, &original.bdf, 1, NULL, NULL);
        }
}
