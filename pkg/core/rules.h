/* SPDX-License-Identifier: Apache-2.0 */
/* Rules: what may be offered, under which name, and what may be done to it. Filled by pkg/config, read by offer.
 *
 * Ordered, first match wins. No configuration = what rules_init() leaves (@implicit, no rule): what is already usable
 * through VFIO is offered and nothing is ever bound. Plain data, built once, then read only; any thread. */
#ifndef SLUICE_CORE_RULES_H
#define SLUICE_CORE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/device.h"

/* "10de:26b9", "10de:*", "*:*": @any_* means '*'. */
struct id_pattern {
        bool any_vendor, any_device;
        uint16_t vendor, device;
};
bool id_pattern_parse(const char *s, struct id_pattern *ret); /* exactly 4 hex digits or '*' on each side */

enum sriov_role { ROLE_ANY, ROLE_PF, ROLE_VF }; /* PF here means "not a VF" */

/* Every list that is not empty must match (any of its entries); an empty selector matches every GPU. An mdev instance is
 * matched by the properties of the function it hangs on, except that @addresses and @models may also match its own UUID
 * and profile name, and that @drivers means its own driver. A vendor-VFIO VF with a type matches @models by its profile
 * name too. Strings are owned. */
struct selector {
        struct id_pattern *ids;
        size_t n_ids;
        struct id_pattern *subsystems;
        size_t n_subsystems;
        char **addresses; /* globs over the full lower-case BDF, or an mdev UUID: "0000:3b:00.0", "0000:3b:*" */
        size_t n_addresses;
        uint16_t *classes; /* top 16 bits: 0x0302 */
        size_t n_classes;
        char **drivers; /* bound driver; "none" = unbound */
        size_t n_drivers;
        enum sriov_role role;
        bool has_vf_range;
        unsigned vf_first, vf_last; /* inclusive, virtfnN numbers */
        int *numa_nodes;            /* -1 allowed: unknown */
        size_t n_numa_nodes;
        char **models; /* globs over the pci.ids name, or the profile name of a vGPU ("2235-557" where the type has none) */
        size_t n_models;
};

enum group_rule { GROUP_WITHHOLD, GROUP_ONE_DEVICE }; /* two GPUs in one group */
enum topology_rule { TOPOLOGY_DROP, TOPOLOGY_SPLIT }; /* a pool with known and unknown NUMA nodes */
enum prefer_strategy { PREFER_PACK, PREFER_SPREAD };

struct rule {
        unsigned line; /* in the configuration file, for explain and log; 0 = implicit */
        struct selector select;
        bool deny;
        char resource[RESOURCE_MAX]; /* whole name "vendor.example/name"; "" = made from prefix and name rule */
        char prefix[RESOURCE_MAX];   /* "" = by vendor */
        char alias[64];              /* the name part; "" = by name rule */
        enum bind_policy bind;
        enum release_policy release;
        enum power_policy power;
        enum persistence_policy persistence;
        enum device_mode mode;
        enum group_rule group;
        enum topology_rule topology;
        enum prefer_strategy prefer;
};

/* How the name part is made from a model or profile name (core/naming.h). */
enum name_rule { NAME_DEFAULT, NAME_KEEP_HYPHEN, NAME_STRIP_BRAND };

/* A name for an id everywhere: "aliases" of the configuration. */
struct alias {
        struct id_pattern id; /* no wildcards */
        char name[64];        /* the name part */
};

struct rules {
        bool implicit;     /* no configuration */
        uint16_t *classes; /* top 16 bits of GPU classes */
        size_t n_classes;
        enum name_rule name_rule;
        bool load_modules; /* a VFIO driver that is not there is loaded when something is to be bound to it */
        struct alias *aliases;
        size_t n_aliases;
        struct rule *rules;
        size_t n_rules;
};

/* Defaults: classes 0300, 0302, 0380, 1200; name rule default; no rules; implicit. */
void rules_init(struct rules *rules);
void rules_done(struct rules *rules);
/* bind never, release keep, power leave, persistence leave, group withhold, topology drop, prefer pack */
void rule_init(struct rule *rule);
void rule_done(struct rule *rule);

bool rules_class_is_gpu(const struct rules *rules, uint32_t class_code);

/* Number (1-based) of the first rule that selects the function (and the instance, when not NULL); 0 = none.
 * Functions outside the class list are reached only by a rule that names their address (an instance: its UUID or its
 * parent's address) or their vendor:device without wildcards in the entry that matches. @by_address (may be NULL) says
 * whether the rule found names this very address without wildcards; false when there is none. */
unsigned rules_match(const struct rules *rules, const struct function *fn, const struct instance *instance, bool *by_address);

#endif
