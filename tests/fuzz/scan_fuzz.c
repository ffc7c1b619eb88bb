/* SPDX-License-Identifier: Apache-2.0 */
/* A whole host whose files say anything, as a capture, seen and decided by production code: what is offered of it keeps the
 * promises that do not depend on what sysfs says. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/sim/scratch.h"
#include "base/str.h"
#include "core/offer.h"
#include "host/host.h"
#include "sim/capture.h"

enum { ENTRIES_MAX = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
        if (!ok)
                abort();
}

static void check_text(const char *text, size_t size)
{
        check(strnlen(text, size) < size && str_is_utf8(text, strlen(text)));
}
#define CHECK_TEXT(array) check_text((array), sizeof(array))

static void check_inventory(const struct inventory *inv)
{
        for (size_t i = 0; i < inv->n_functions; i++) {
                const struct function *fn = &inv->functions[i];
                CHECK_TEXT(fn->driver);
                CHECK_TEXT(fn->model);
                CHECK_TEXT(fn->root);
                CHECK_TEXT(fn->vgpu_name);
                CHECK_TEXT(fn->reset_methods);
                check(fn->numa_node >= -1 && fn->group >= -1);
                check(i == 0 || !bdf_equal(fn->bdf, inv->functions[i - 1].bdf));
                check(inventory_function(inv, fn->bdf) == fn);
        }
        for (size_t i = 0; i < inv->n_instances; i++)
                check(inventory_instance(inv, inv->instances[i].uuid) == &inv->instances[i]);
        for (size_t i = 0; i < inv->n_broken; i++) {
                CHECK_TEXT(inv->broken[i].name);
                CHECK_TEXT(inv->broken[i].detail);
        }
        for (size_t i = 0; i < inv->n_outsiders; i++) {
                CHECK_TEXT(inv->outsiders[i].name);
                CHECK_TEXT(inv->outsiders[i].subsystem);
                CHECK_TEXT(inv->outsiders[i].driver);
                check(inv->outsiders[i].group >= 0);
        }
}

/* What would be bound never takes a disk, a network card or what is not on PCI along, whatever the rules say. */
static void check_group(const struct inventory *inv, const struct device *device)
{
        if (!device->needs_bind || device->state != DEVICE_HEALTHY)
                return;
        check(device->group >= 0);
        for (size_t i = 0; i < inv->n_functions; i++) {
                unsigned base = inv->functions[i].class_code >> 16;
                if (inv->functions[i].group == device->group)
                        check(base != 0x01 && base != 0x02);
        }
        for (size_t i = 0; i < inv->n_outsiders; i++)
                check(inv->outsiders[i].group != device->group);
}

static void check_offer(const struct inventory *inv, const struct rules *rules)
{
        struct offer_input in = { .inventory = inv, .rules = rules };
        _cleanup_offer_ struct offer *first = offer_decide(&in);
        size_t listed = 0;

        for (size_t i = 0; i < first->n_devices; i++) {
                const struct device *device = &first->devices[i];
                CHECK_TEXT(device->id);
                CHECK_TEXT(device->detail);
                CHECK_TEXT(device->resource);
                CHECK_TEXT(device->model);
                check(i == 0 || strcmp(first->devices[i - 1].id, device->id) < 0);
                check(!rules->implicit || !device->needs_bind || device->state != DEVICE_HEALTHY);
                check_group(inv, device);
                listed += device->state != DEVICE_WITHHELD;
        }
        for (size_t i = 0; i < first->n_pools; i++) {
                check(first->pools[i].n_devices > 0);
                listed -= first->pools[i].n_devices; /* each id is in one pool */
        }
        check(listed == 0);

        /* The same world again changes nothing; and when everything is gone, no id is. */
        in.past = first;
        _cleanup_offer_ struct offer *second = offer_decide(&in);
        check(second->n_pools == first->n_pools);
        for (size_t i = 0; i < first->n_pools; i++)
                check(offer_pool_equal(first, &first->pools[i], second, &second->pools[i]));
        _cleanup_inventory_ struct inventory *nothing = inventory_new();
        inventory_seal(nothing);
        in.inventory = nothing;
        _cleanup_offer_ struct offer *third = offer_decide(&in);
        check(third->n_pools == first->n_pools);
        for (size_t i = 0; i < first->n_pools; i++)
                check(third->pools[i].n_devices == first->pools[i].n_devices);
}

static void decide(const struct inventory *inv)
{
        _cleanup_(rules_done) struct rules none = { 0 }, all = { 0 };

        rules_init(&none);
        rules_init(&all);
        all.implicit = false;
        all.rules = xcalloc(1, sizeof(*all.rules));
        all.n_rules = 1;
        rule_init(&all.rules[0]);
        all.rules[0].bind = BIND_ON_ALLOCATE;
        all.rules[0].group = GROUP_ONE_DEVICE;
        check_offer(inv, &none);
        check_offer(inv, &all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static struct names *names; /* the built-in table is read once */
        _cleanup_(tree_close) struct tree tree = TREE_NULL;
        _cleanup_inventory_ struct inventory *inv = NULL;
        _cleanup_capture_ struct capture c = { 0 };
        struct err err = { 0 };

        if (capture_parse("fuzz", (const char *)data, size, &c, &err) < 0 || c.n > ENTRIES_MAX)
                return 0;
        if (!names)
                check(names_new(&names, NULL, "/nonexistent", &err) == 0);
        _cleanup_scratch_ char *root = scratch_new();
        _cleanup_close_ int dir = open(root, O_RDONLY | O_DIRECTORY);
        if (capture_unpack("fuzz", (const char *)data, size, dir, &err) < 0)
                return 0; /* a file where a directory must be */
        check(tree_open(&tree, root, &err) == 0);
        if (host_scan(&tree, names, true, &inv, &err) < 0) {
                check(*err.msg && !inv);
                return 0;
        }
        check_inventory(inv);
        decide(inv);
        return 0;
}
