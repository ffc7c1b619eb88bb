/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/world.h"

#include <stdlib.h>
#include <string.h>

#include "agent/narrate.h"
#include "base/alloc.h"
#include "base/log.h"
#include "core/group.h"
#include "host/holders.h"
#include "host/host.h"

int world_open(struct world *world, const char *sim_dir, const char *mounts, struct config *config, struct err *err)
{
        *world = (struct world){
                .machine = TREE_NULL,
                .config = config,
                .modules = modules_new(),
                .owners = owners_new(sim_dir  ? sim_dir
                                     : mounts ? mounts
                                              : ""),
        };

        int r = sim_dir  ? sim_open(&world->sim, sim_dir, err)
                : mounts ? tree_open_mounts(&world->machine, mounts, err)
                         : tree_open(&world->machine, NULL, err);
        if (r < 0)
                return r;
        world->tree = world->sim ? sim_tree(world->sim) : &world->machine;
        return names_new(&world->names, config->pci_ids, NULL, err);
}

void world_close(struct world *world)
{
        offer_unref(world->offer);
        inventory_unref(world->inventory);
        names_free(world->names);
        modules_free(world->modules);
        owners_free(world->owners);
        config_free(world->config);
        sim_free(world->sim);
        tree_close(&world->machine);
        for (size_t i = 0; i < world->n_marks; i++)
                free(world->mark_drivers[i]);
        for (size_t i = 0; i < world->n_stuck; i++)
                free(world->stuck[i].detail);
        free(world->stuck);
        free(world->marks);
        free(world->mark_drivers);
        *world = (struct world){ .machine = TREE_NULL };
}

static struct offer *make_offer(const struct world *world)
{
        const struct offer_input in = {
                .inventory = world->inventory,
                .rules = &world->config->rules,
                .past = world->offer,
                .marks = world->marks,
                .n_marks = world->n_marks,
                .at_work = world->at_work,
                .cordoned = world->cordoned,
                .releasing = world->releasing,
                .given_from = world->given_from,
                .ctx = world->claims_ctx,
        };

        return offer_decide(&in);
}

static bool shares_a_group(const struct inventory *inventory, const struct device *device, struct bdf card)
{
        for (size_t i = 0; i < inventory->n_functions; i++) {
                const struct function *fn = &inventory->functions[i];
                if (fn->group >= 0 && fn->group == device->group && bdf_equal(card_of(fn), card))
                        return true;
        }
        return false;
}

static struct device_mark *find_mark(const struct world *world, const char *device)
{
        for (size_t i = 0; i < world->n_marks; i++)
                if (streq(world->marks[i].id, device))
                        return &world->marks[i];
        return NULL;
}

/* Looked for in every offer: what a stuck card carries may come later than the word that it is stuck. True: there is news. */
static bool mark_stuck_devices(struct world *world, const struct offer *offer)
{
        bool news = false;

        for (size_t i = 0; i < world->n_stuck; i++)
                for (size_t k = 0; k < offer->n_devices; k++) {
                        const struct device *d = &offer->devices[k];
                        const struct device_mark *mark = find_mark(world, d->id);
                        if ((mark && mark->reason == REASON_STUCK) ||
                            (!bdf_equal(d->card, world->stuck[i].card) && !shares_a_group(world->inventory, d, world->stuck[i].card)))
                                continue;
                        world_mark(world, d->id, REASON_STUCK, world->stuck[i].detail);
                        news = true;
                }
        return news;
}

static void decide(struct world *world)
{
        struct offer *offer = make_offer(world);

        if (mark_stuck_devices(world, offer)) {
                offer_unref(offer);
                offer = make_offer(world);
        }
        narrate_offer(world->offer, offer);
        offer_unref(world->offer);
        world->offer = offer;
}

/* Who has the functions of the device's group: "0000:3b:00.0 nvidia, ...". */
static char *drivers_of(const struct world *world, const char *device)
{
        struct strbuf text = { 0 };
        struct bdf bdf;

        strbuf_add(&text, "");
        if (!bdf_parse(device, &bdf))
                return strbuf_take(&text);
        const struct function *own = inventory_function(world->inventory, bdf);
        for (size_t i = 0; own && i < world->inventory->n_functions; i++) {
                const struct function *fn = &world->inventory->functions[i];
                if (fn == own || (own->group >= 0 && fn->group == own->group))
                        strbuf_addf(&text, BDF_FMT " %s, ", BDF_ARGS(fn->bdf), fn->driver);
        }
        return strbuf_take(&text);
}

static void mark_remove(struct world *world, size_t at)
{
        free(world->mark_drivers[at]);
        world->n_marks--;
        world->marks[at] = world->marks[world->n_marks];
        world->mark_drivers[at] = world->mark_drivers[world->n_marks];
}

/* A binding that we left broken is somebody's to mend; when he has, it is as good as any. */
static void forget_mended(struct world *world)
{
        for (size_t i = world->n_marks; i-- > 0;) {
                if (world->marks[i].reason != REASON_BROKEN_BINDING)
                        continue;
                _cleanup_free_ char *now = drivers_of(world, world->marks[i].id);
                if (!world->mark_drivers[i])
                        world->mark_drivers[i] = TAKE_PTR(now);
                else if (!streq(world->mark_drivers[i], now))
                        mark_remove(world, i);
        }
}

/* A variant that is not seen is not bound to, so that a tree that cannot be read is worth a word. */
static void apply_modules(struct world *world, struct inventory *inventory)
{
        struct err err;

        int r = modules_apply(world->modules, world->tree, inventory, &err);
        if (r < 0 && r != world->modules_error)
                log_warn("%s; devices with a VFIO driver of their own may be bound to vfio-pci", err.msg);
        world->modules_error = r;
}

int world_look(struct world *world, int64_t *ret_settle_ms, struct err *err)
{
        struct inventory *inventory;
        int64_t settle_ms = -1;

        int r = world->sim ? sim_settle(world->sim, &settle_ms, err) : 0;
        if (r == 0)
                r = host_scan(world->tree, world->names, world->sim != NULL, &inventory, err);
        if (r < 0)
                return r;
        names_trim(world->names);
        apply_modules(world, inventory);
        if (world->probe)
                probe_apply(world->probe, inventory);
        owners_apply(world->owners, inventory);
        if (ret_settle_ms)
                *ret_settle_ms = settle_ms;
        narrate_inventory(world->inventory, inventory, world->ours, world->claims_ctx);
        inventory_unref(world->inventory);
        world->inventory = inventory;
        forget_mended(world);
        decide(world);
        return 0;
}

void world_decide(struct world *world)
{
        decide(world);
}

int world_configure(struct world *world, struct config *config, struct err *err)
{
        struct names *names;

        int r = names_new(&names, config->pci_ids, NULL, err);
        if (r < 0) {
                config_free(config);
                return r;
        }
        struct names *old_names = world->names;
        struct config *old_config = world->config;
        world->names = names;
        world->config = config;
        r = world_look(world, NULL, err);
        if (r < 0) {
                world->names = old_names;
                world->config = old_config;
                names_free(names);
                config_free(config);
                return r;
        }
        names_free(old_names);
        config_free(old_config);
        return 0;
}

void world_mark(struct world *world, const char *device, enum reason reason, const char *detail)
{
        struct device_mark *mark = find_mark(world, device);

        if (mark && mark->reason == REASON_STUCK)
                return; /* it does not become better by what else happens */
        if (!mark) {
                if (world->n_marks == world->cap_marks) {
                        world->cap_marks = world->cap_marks ? 2 * world->cap_marks : 8;
                        world->marks = xrealloc(world->marks, world->cap_marks, sizeof(*world->marks));
                        world->mark_drivers = xrealloc(world->mark_drivers, world->cap_marks, sizeof(*world->mark_drivers));
                }
                mark = &world->marks[world->n_marks];
                world->mark_drivers[world->n_marks++] = NULL;
        } else {
                free(world->mark_drivers[mark - world->marks]);
                world->mark_drivers[mark - world->marks] = NULL;
        }
        *mark = (struct device_mark){ .reason = reason };
        (void)str_copy(mark->id, sizeof(mark->id), device);
        str_clean(mark->detail, sizeof(mark->detail), detail);
}

bool world_is_current(const struct world *world, const struct device *device)
{
        const struct instance *instance = device->kind == DEVICE_VGPU_MDEV ? inventory_instance(world->inventory, device->id) : NULL;
        const struct function *fn = inventory_function(world->inventory, device->bdf);

        if (instance)
                return host_instance_is_current(world->tree, instance);
        return fn && host_function_is_current(world->tree, fn);
}

void world_mark_stuck(struct world *world, struct bdf card, const char *detail)
{
        for (size_t i = 0; i < world->n_stuck; i++)
                if (bdf_equal(world->stuck[i].card, card))
                        return; /* why it was at first says more */
        GROW(world->stuck, world->n_stuck, world->cap_stuck);
        world->stuck[world->n_stuck++] = (struct stuck_card){ .card = card, .detail = xstrdup(detail) };
}

bool world_may_be_held(const struct world *world, const struct device *device)
{
        const struct function *fn = inventory_function(world->inventory, device->bdf);
        bool on_vfio = fn && (device->kind == DEVICE_GPU || device->kind == DEVICE_VF) && group_on_vfio(fn);

        return world->inventory->holders_visible && !(on_vfio && holders_none_on_vfio(world->tree, device->bdf));
}
