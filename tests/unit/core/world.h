/* SPDX-License-Identifier: Apache-2.0 */
/* Hosts and rules as short texts, for the tests of what is offered and planned.
 *
 * A host is lines, one per function:  BDF vendor:device class driver [option...]      driver "-" = none
 *   g=N group (default: one of its own)   n=N NUMA node (default 0)   vfs=N   vf=PF   type=N:NAME (vendor-VFIO VF)   vgpu (one
 *   without type)   mdev (is a parent)   boot, fb (host display)   cdev, nonode (group node absent)   noiommu   nogroup
 *   lock (NVIDIA's unbindLock)   override=DRIVER   root=NAME   model=NAME ('+' for a blank)   reset=METHOD+METHOD   power=CONTROL/D3COLD
 * up=BRIDGE (directly above) or per instance:  mdev UUID PARENT type_id NAME driver group   ("-" = none; '+' in NAME for a blank) or what
 * the kernel's modules say, DRIVER when it is registered:  variant ALIAS MODULE [DRIVER] or words about the machine:  !vfio (no
 * /dev/vfio/vfio)   !vfio-pci (no such driver)   !holders   broken NAME [g=N]   driver NAME A node exists for what is on VFIO. Models: 26b9
 * L40S, 2335 H200, 2204 RTX 3090, 22a3 NVSwitch, 74a1 MI300X.
 *
 * Rules are lines:  key=value ...  with keys ids, addresses, deny, resource, prefix, alias, bind, release, group, topology, prefer;
 * or the word loadModules. */
#ifndef SLUICE_TESTS_CORE_WORLD_H
#define SLUICE_TESTS_CORE_WORLD_H

#include <stdlib.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/group.h"

#define VFIO "vfio-pci"

static inline bool option(const char *word, const char *key, const char **value)
{
        size_t n = strlen(key);

        *value = word + n;
        return strncmp(word, key, n) == 0;
}

static inline void unplus(char *s)
{
        for (; *s; s++)
                if (*s == '+')
                        *s = ' ';
}

static inline const char *world_model(uint16_t device)
{
        switch (device) {
        case 0x26b9:
                return "AD102GL [L40S]";
        case 0x2335:
                return "GH100 [H200 SXM 141GB]";
        case 0x2204:
                return "GA102 [GeForce RTX 3090]";
        case 0x22a3:
                return "GH100 [H100 NVSwitch]";
        case 0x74a1:
                return "Aqua Vanjaram [Instinct MI300X]";
        default:
                return "";
        }
}

static inline void world_option(struct function *fn, const char *word)
{
        const char *value;

        if (option(word, "g=", &value))
                fn->group = atoi(value);
        else if (option(word, "n=", &value))
                fn->numa_node = atoi(value);
        else if (option(word, "vfs=", &value))
                fn->n_vfs = (unsigned)atoi(value);
        else if (option(word, "vf=", &value))
                fn->is_vf = bdf_parse(value, &fn->physfn);
        else if (option(word, "type=", &value)) {
                fn->vgpu_capable = true;
                fn->vgpu_type = (uint32_t)atoi(value);
                str_format(fn->vgpu_name, sizeof(fn->vgpu_name), "%s", strchr(value, ':') + 1);
                unplus(fn->vgpu_name);
                fn->vfio_index = 0;
                fn->group_node = true;
        } else if (streq(word, "vgpu"))
                fn->vgpu_capable = true;
        else if (streq(word, "mdev"))
                fn->mdev_parent = true;
        else if (streq(word, "boot"))
                fn->boot_vga = 1;
        else if (streq(word, "fb"))
                fn->framebuffer = true;
        else if (streq(word, "cdev"))
                fn->vfio_index = 1, fn->cdev_node = true;
        else if (streq(word, "nonode"))
                fn->group_node = false;
        else if (streq(word, "noiommu"))
                fn->noiommu = true;
        else if (streq(word, "nogroup"))
                fn->group = -1, fn->group_node = false;
        else if (streq(word, "lock"))
                fn->unbind_lock = true;
        else if (option(word, "override=", &value)) {
                fn->override_known = true;
                str_format(fn->driver_override, sizeof(fn->driver_override), "%s", value);
        } else if (option(word, "power=", &value)) { /* CONTROL/D3COLD */
                str_format(fn->power_control, sizeof(fn->power_control), "%.*s", (int)strcspn(value, "/"), value);
                (void)str_copy(fn->d3cold_allowed, sizeof(fn->d3cold_allowed), strchr(value, '/') + 1);
        } else if (option(word, "reset=", &value)) {
                str_format(fn->reset_methods, sizeof(fn->reset_methods), "%s", value);
                unplus(fn->reset_methods);
        } else if (option(word, "up=", &value))
                assert_true(bdf_parse(value, &fn->upstream));
        else if (option(word, "root=", &value))
                str_format(fn->root, sizeof(fn->root), "%s", value);
        else if (option(word, "model=", &value)) {
                str_format(fn->model, sizeof(fn->model), "%s", value);
                unplus(fn->model);
        } else
                fail_msg("the test's host has an unknown option '%s'", word);
}

static inline void world_function(struct inventory *inv, char *line)
{
        char *save, *address = strtok_r(line, " ", &save), *ids = strtok_r(NULL, " ", &save);
        char *class = strtok_r(NULL, " ", &save), *driver = strtok_r(NULL, " ", &save);
        struct id_pattern id = { 0 };
        struct bdf bdf = { 0 };

        if (!driver || !bdf_parse(address, &bdf) || !id_pattern_parse(ids, &id))
                fail_msg("the test's host has a bad line at '%s'", address);
        struct function *fn = inventory_add_function(inv, bdf);
        fn->vendor = id.vendor;
        fn->device = id.device;
        fn->class_code = (uint32_t)strtoul(class, NULL, 16) << 8;
        fn->numa_node = 0;
        fn->group = (int)(100 + inv->n_functions);
        str_format(fn->driver, sizeof(fn->driver), "%s", streq(driver, "-") ? "" : driver);
        str_format(fn->model, sizeof(fn->model), "%s", world_model(id.device));
        fn->group_node = group_on_vfio(fn);
        for (char *word = strtok_r(NULL, " ", &save); word; word = strtok_r(NULL, " ", &save))
                world_option(fn, word);
}

static inline void world_instance(struct inventory *inv, char *line)
{
        char *words[7], *save;
        struct instance *instance = inventory_add_instance(inv);

        for (int i = 0; i < 7; i++)
                assert_non_null(words[i] = strtok_r(i ? NULL : line, " ", &save));
        str_format(instance->uuid, sizeof(instance->uuid), "%s", words[1]);
        assert_true(bdf_parse(words[2], &instance->parent));
        str_format(instance->type_id, sizeof(instance->type_id), "%s", words[3]);
        unplus(words[4]);
        str_format(instance->type_name, sizeof(instance->type_name), "%s", words[4]);
        str_format(instance->driver, sizeof(instance->driver), "%s", streq(words[5], "-") ? "" : words[5]);
        instance->group = streq(words[6], "-") ? -1 : atoi(words[6]);
        instance->group_node = instance->group >= 0;
}

/* NAME [g=N] */
static inline void world_broken(struct inventory *inv, const char *words)
{
        const char *group = strstr(words, " g=");
        _cleanup_free_ char *name = xasprintf("%.*s", (int)strcspn(words, " "), words);

        inventory_add_broken(inv, name, REASON_GARBAGE, "vendor says 'zz'");
        if (group)
                inv->broken[inv->n_broken - 1].group = atoi(group + 3);
}

static inline void world_variant(struct inventory *inv, struct variant *variant, char *line)
{
        char *save, *alias = strtok_r(line + strlen("variant "), " ", &save), *module = strtok_r(NULL, " ", &save);
        const char *driver = strtok_r(NULL, " ", &save);

        assert_non_null(module);
        *variant = (struct variant){ .module = "" };
        str_format(variant->alias, sizeof(variant->alias), "%s", alias);
        str_format(variant->module, sizeof(variant->module), "%s", module);
        if (driver)
                inventory_add_driver(inv, driver);
}

static inline struct inventory *world_host(const char *text)
{
        struct inventory *inv = inventory_new();
        _cleanup_free_ char *copy = xstrdup(text);
        char *save = NULL;
        bool has_driver = true;
        struct variant variants[8];
        size_t n_variants = 0;

        inv->vfio_node = inv->iommu = inv->holders_visible = true;
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (streq(line, "!vfio"))
                        inv->vfio_node = false;
                else if (streq(line, "!vfio-pci"))
                        has_driver = false;
                else if (streq(line, "!holders"))
                        inv->holders_visible = false;
                else if (str_has_prefix(line, "broken "))
                        world_broken(inv, line + 7);
                else if (str_has_prefix(line, "variant "))
                        world_variant(inv, &variants[n_variants++], line);
                else if (str_has_prefix(line, "driver "))
                        inventory_add_driver(inv, line + 7);
                else if (str_has_prefix(line, "mdev "))
                        world_instance(inv, line);
                else
                        world_function(inv, line);
        }
        if (has_driver)
                inventory_add_driver(inv, VFIO);
        inventory_seal(inv);
        inventory_set_variants(inv, variants, n_variants);
        return inv;
}

static inline void world_rule_option(struct rule *rule, const char *word)
{
        const char *value;

        if (option(word, "ids=", &value)) {
                rule->select.ids = xrealloc(rule->select.ids, rule->select.n_ids + 1, sizeof(*rule->select.ids));
                assert_true(id_pattern_parse(value, &rule->select.ids[rule->select.n_ids++]));
        } else if (option(word, "addresses=", &value)) {
                rule->select.addresses = xrealloc(rule->select.addresses, rule->select.n_addresses + 1, sizeof(char *));
                rule->select.addresses[rule->select.n_addresses++] = xstrdup(value);
        } else if (streq(word, "deny"))
                rule->deny = true;
        else if (option(word, "resource=", &value))
                str_format(rule->resource, sizeof(rule->resource), "%s", value);
        else if (option(word, "prefix=", &value))
                str_format(rule->prefix, sizeof(rule->prefix), "%s", value);
        else if (option(word, "alias=", &value))
                str_format(rule->alias, sizeof(rule->alias), "%s", value);
        else if (streq(word, "bind=on-allocate"))
                rule->bind = BIND_ON_ALLOCATE;
        else if (streq(word, "bind=at-start"))
                rule->bind = BIND_AT_START;
        else if (streq(word, "release=keep"))
                rule->release = RELEASE_KEEP;
        else if (streq(word, "release=restore"))
                rule->release = RELEASE_RESTORE;
        else if (streq(word, "release=reset"))
                rule->release = RELEASE_RESET;
        else if (streq(word, "release=reset+restore"))
                rule->release = RELEASE_RESET_RESTORE;
        else if (streq(word, "group=one-device"))
                rule->group = GROUP_ONE_DEVICE;
        else if (streq(word, "power=on"))
                rule->power = POWER_ON;
        else if (streq(word, "persistence=off"))
                rule->persistence = PERSISTENCE_TURN_OFF;
        else if (streq(word, "topology=split"))
                rule->topology = TOPOLOGY_SPLIT;
        else if (streq(word, "prefer=spread"))
                rule->prefer = PREFER_SPREAD;
        else if (!streq(word, "any"))
                fail_msg("the test's rule has an unknown option '%s'", word);
}

/* NULL: no configuration. */
static inline struct rules world_rules(const char *text)
{
        struct rules rules;
        char *save = NULL, *words = NULL;

        rules_init(&rules);
        if (!text)
                return rules;
        rules.implicit = false;
        _cleanup_free_ char *copy = xstrdup(text);
        for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (streq(line, "loadModules")) {
                        rules.load_modules = true;
                        continue;
                }
                rules.rules = xrealloc(rules.rules, rules.n_rules + 1, sizeof(*rules.rules));
                struct rule *rule = &rules.rules[rules.n_rules++];
                rule_init(rule);
                for (char *word = strtok_r(line, " ", &words); word; word = strtok_r(NULL, " ", &words))
                        world_rule_option(rule, word);
        }
        return rules;
}

#endif
