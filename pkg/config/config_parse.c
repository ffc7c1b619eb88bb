/* SPDX-License-Identifier: Apache-2.0 */
/* The schema: tables of keys and how each value is taken. docs/config.md documents these keys and is tested against them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "config/config_priv.h"
#include "config/yaml.h"
#include "core/naming.h"

/* ---- values ---- */

static void take_id(struct yaml *yaml, const struct yaml_node *item, const char *path, struct id_pattern **list, size_t *n)
{
        struct id_pattern id;

        const char *text = yaml_scalar(yaml, item, path);
        if (!text)
                return;
        if (!id_pattern_parse(text, &id)) {
                yaml_problem(yaml, item, path, "\"%.64s\" is no vendor:device of four hexadecimal digits or '*' each", text);
                return;
        }
        *list = xrealloc(*list, *n + 1, sizeof(**list));
        (*list)[(*n)++] = id;
}

static void take_text(struct yaml *yaml, const struct yaml_node *item, const char *path, char ***list, size_t *n)
{
        const char *text = yaml_scalar(yaml, item, path);

        if (!text)
                return;
        if (!*text) {
                yaml_problem(yaml, item, path, "it is empty");
                return;
        }
        *list = xrealloc(*list, *n + 1, sizeof(**list));
        (*list)[(*n)++] = xstrdup(text);
}

/* An address that is spelled in a way that never matches would be a rule that silently does nothing, and a denial that does
 * nothing offers the device. So capitals are lowered, and without a wildcard it must be a whole address or UUID. */
static void take_address(struct yaml *yaml, const struct yaml_node *item, const char *path, char ***list, size_t *n)
{
        const char *text = yaml_scalar(yaml, item, path);
        struct bdf bdf;

        if (!text)
                return;
        _cleanup_free_ char *address = xstrdup(text);
        for (char *p = address; *p; p++)
                if (*p >= 'A' && *p <= 'F')
                        *p = (char)(*p - 'A' + 'a');
        bool has_wildcard = strpbrk(address, "*?") != NULL;
        bool good =
                has_wildcard ? address[strspn(address, "0123456789abcdef:.-*?")] == '\0' : bdf_parse(address, &bdf) || str_is_uuid(address);
        if (!good) {
                yaml_problem(yaml, item, path, "\"%.64s\" is no PCI address such as 0000:3b:00.0 or 0000:3b:*, nor the UUID of an mdev",
                             text);
                return;
        }
        *list = xrealloc(*list, *n + 1, sizeof(**list));
        (*list)[(*n)++] = TAKE_PTR(address);
}

static void take_class(struct yaml *yaml, const struct yaml_node *item, const char *path, uint16_t **list, size_t *n)
{
        uint64_t value;

        const char *text = yaml_scalar(yaml, item, path);
        if (!text)
                return;
        if (strlen(text) != 4 || strspn(text, "0123456789abcdefABCDEF") != 4 || !str_to_u64(text, 16, UINT16_MAX, &value)) {
                yaml_problem(yaml, item, path, "\"%.64s\" is no PCI class of four hexadecimal digits such as \"0302\"", text);
                return;
        }
        *list = xrealloc(*list, *n + 1, sizeof(**list));
        (*list)[(*n)++] = (uint16_t)value;
}

static void take_fixed(struct yaml *yaml, const struct yaml_node *value, const char *path, char *out, size_t size)
{
        const char *text = yaml_scalar(yaml, value, path);

        if (text && !*text) {
                yaml_problem(yaml, value, path, "it is empty: leave the key out for the default");
        } else if (text && !str_copy(out, size, text)) {
                out[0] = '\0';
                yaml_problem(yaml, value, path, "it is longer than %zu bytes", size - 1);
        }
}

/* A name that would stand before or after the '/' of a resource: checked as a whole one. */
static bool is_good_resource(struct yaml *yaml, const struct yaml_node *value, const char *path, const char *prefix, const char *name)
{
        const char *why = "";

        _cleanup_free_ char *whole = xasprintf("%s/%s", prefix, name);
        if (naming_resource_is_valid(whole, &why))
                return true;
        yaml_problem(yaml, value, path, "it makes no resource name that Kubernetes takes: %s", why);
        return false;
}

/* ---- select ---- */

/* An empty list, as a template makes it of no values, reads as "none of them" and a key left out as "all of them". */
static void select_list(struct yaml *yaml, const struct yaml_node *value, const char *path,
                        void (*item)(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target), void *target,
                        const size_t *n)
{
        unsigned n_problems = yaml_n_problems(yaml);

        yaml_list(yaml, value, path, item, target);
        if (*n == 0 && yaml_n_problems(yaml) == n_problems)
                yaml_problem(yaml, value, path, "it is empty: leave the key out to select every GPU");
}

#define LIST_TAKER(key, item_taker, list)                                                                          \
        static void key##_item(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target)    \
        {                                                                                                          \
                struct selector *s = target;                                                                       \
                item_taker(yaml, item, path, &s->list, &s->n_##list);                                              \
        }                                                                                                          \
        static void select_##key(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target) \
        {                                                                                                          \
                select_list(yaml, value, path, key##_item, target, &((struct selector *)target)->n_##list);        \
        }
LIST_TAKER(ids, take_id, ids)
LIST_TAKER(subsystems, take_id, subsystems)
LIST_TAKER(addresses, take_address, addresses)
LIST_TAKER(classes, take_class, classes)
LIST_TAKER(drivers, take_text, drivers)
LIST_TAKER(models, take_text, models)

static void numa_item(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target)
{
        struct selector *s = target;
        uint64_t node = 0;

        const char *text = yaml_scalar(yaml, item, path);
        if (!text)
                return;
        bool unknown = streq(text, "-1");
        if (!unknown && !str_to_u64(text, 10, 63, &node)) {
                yaml_problem(yaml, item, path, "\"%.64s\" is no NUMA node between 0 and 63, nor -1 for unknown", text);
                return;
        }
        s->numa_nodes = xrealloc(s->numa_nodes, s->n_numa_nodes + 1, sizeof(*s->numa_nodes));
        s->numa_nodes[s->n_numa_nodes++] = unknown ? -1 : (int)node;
}

static void select_numa(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        select_list(yaml, value, path, numa_item, target, &((struct selector *)target)->n_numa_nodes);
}

static void select_role(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        int i = yaml_choice(yaml, value, path, config_roles, N_ELEMENTS(config_roles));

        if (i >= 0)
                ((struct selector *)target)->role = (enum sriov_role)i;
}

static void select_vf_range(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct selector *s = target;
        char first_text[16];
        uint64_t first, last;

        const char *text = yaml_scalar(yaml, value, path);
        if (!text)
                return;
        size_t n = strcspn(text, "-");
        str_format(first_text, sizeof(first_text), "%.*s", (int)(n < 15 ? n : 15), text);
        if (!str_to_u64(first_text, 10, UINT16_MAX, &first) || !str_to_u64(text[n] ? text + n + 1 : first_text, 10, UINT16_MAX, &last) ||
            first > last) {
                yaml_problem(yaml, value, path, "\"%.64s\" is no range of VF numbers such as 0-7", text);
                return;
        }
        s->has_vf_range = true;
        s->vf_first = (unsigned)first;
        s->vf_last = (unsigned)last;
}

static const struct yaml_key select_keys[] = {
        { "ids", select_ids, false },          { "subsystems", select_subsystems, false }, { "addresses", select_addresses, false },
        { "classes", select_classes, false },  { "drivers", select_drivers, false },       { "role", select_role, false },
        { "vfRange", select_vf_range, false }, { "numaNodes", select_numa, false },        { "models", select_models, false },
};

/* ---- a rule ---- */

static void rule_select(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        yaml_mapping(yaml, value, path, select_keys, N_ELEMENTS(select_keys), &((struct rule *)target)->select);
}

static void rule_deny(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        (void)yaml_bool(yaml, value, path, &((struct rule *)target)->deny);
}

static void rule_resource(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct rule *rule = target;
        const char *why = "";

        take_fixed(yaml, value, path, rule->resource, sizeof(rule->resource));
        if (rule->resource[0] && !naming_resource_is_valid(rule->resource, &why)) {
                rule->resource[0] = '\0';
                yaml_problem(yaml, value, path, "it is no resource name that Kubernetes takes: %s", why);
        }
}

static void rule_prefix(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct rule *rule = target;

        take_fixed(yaml, value, path, rule->prefix, sizeof(rule->prefix));
        if (rule->prefix[0] && !is_good_resource(yaml, value, path, rule->prefix, "x"))
                rule->prefix[0] = '\0';
}

static void rule_alias(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct rule *rule = target;

        take_fixed(yaml, value, path, rule->alias, sizeof(rule->alias));
        if (rule->alias[0] && !is_good_resource(yaml, value, path, "sluice.dev", rule->alias))
                rule->alias[0] = '\0';
}

static void rule_mode(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        const char *text = yaml_scalar(yaml, value, path);

        (void)target;
        if (text && !streq(text, "vfio"))
                yaml_problem(yaml, value, path, "\"%.64s\" is not possible: vfio is the only mode so far", text);
}

#define CHOICE_TAKER(key, field, type, names)                                                                    \
        static void rule_##key(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target) \
        {                                                                                                        \
                int i = yaml_choice(yaml, value, path, names, N_ELEMENTS(names));                                \
                if (i >= 0)                                                                                      \
                        ((struct rule *)target)->field = (type)i;                                                \
        }
CHOICE_TAKER(bind, bind, enum bind_policy, config_binds)
CHOICE_TAKER(release, release, enum release_policy, config_releases)
CHOICE_TAKER(power, power, enum power_policy, config_powers)
CHOICE_TAKER(persistence, persistence, enum persistence_policy, config_persistences)
CHOICE_TAKER(group, group, enum group_rule, config_groups)
CHOICE_TAKER(topology, topology, enum topology_rule, config_topologies)
CHOICE_TAKER(prefer, prefer, enum prefer_strategy, config_prefers)

static const struct yaml_key rule_keys[] = {
        { "select", rule_select, false },
        { "deny", rule_deny, false },
        { "resource", rule_resource, false },
        { "prefix", rule_prefix, false },
        { "alias", rule_alias, false },
        { "bind", rule_bind, false },
        { "mode", rule_mode, false },
        { "group", rule_group, false },
        { "topology", rule_topology, false },
        { "prefer", rule_prefer, false },
        { "release", rule_release, false },
        { "power", rule_power, false },
        { "persistence", rule_persistence, false },
};

static void check_rule(struct yaml *yaml, const struct yaml_node *node, const char *path, const struct rule *rule)
{
        bool named = rule->resource[0] || rule->prefix[0] || rule->alias[0];

        if (rule->deny && (named || rule->bind != BIND_NEVER || rule->group != GROUP_WITHHOLD || rule->topology != TOPOLOGY_DROP ||
                           rule->prefer != PREFER_PACK || rule->release != RELEASE_KEEP || rule->power != POWER_LEAVE ||
                           rule->persistence != PERSISTENCE_LEAVE))
                yaml_problem(yaml, node, path, "a rule that denies gives no name, binds nothing and has no use for the other keys");
        if (rule->resource[0] && (rule->prefix[0] || rule->alias[0]))
                yaml_problem(yaml, node, path, "'resource' is the whole name: it excludes 'prefix' and 'alias'");
        if (rule->select.has_vf_range && rule->select.role == ROLE_PF)
                yaml_problem(yaml, node, path, "'vfRange' selects VFs, 'role: pf' excludes them");
        if (release_restores(rule->release) && rule->bind != BIND_ON_ALLOCATE)
                yaml_problem(yaml, node, path,
                             "'release: %s' gives a device back to the driver that 'bind: on-allocate' took it from; with 'bind: %s' "
                             "that has no use",
                             config_releases[rule->release], config_binds[rule->bind]);
}

static void rules_item(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target)
{
        struct rules *rules = &((struct config *)target)->rules;

        if (rules->n_rules == CONFIG_MAX_RULES) {
                yaml_problem(yaml, item, path, "more than %d rules", CONFIG_MAX_RULES);
                return;
        }
        rules->rules = xrealloc(rules->rules, rules->n_rules + 1, sizeof(*rules->rules));
        struct rule *rule = &rules->rules[rules->n_rules++];
        rule_init(rule);
        rule->line = yaml_line(item);
        yaml_mapping(yaml, item, path, rule_keys, N_ELEMENTS(rule_keys), rule);
        check_rule(yaml, item, path, rule);
}

/* ---- aliases ---- */

static void alias_id(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct alias *alias = target;

        const char *text = yaml_scalar(yaml, value, path);
        if (text && (!id_pattern_parse(text, &alias->id) || alias->id.any_vendor || alias->id.any_device))
                yaml_problem(yaml, value, path, "\"%.64s\" is no vendor:device of four hexadecimal digits each", text);
}

static void alias_name(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct alias *alias = target;

        take_fixed(yaml, value, path, alias->name, sizeof(alias->name));
        if (alias->name[0])
                (void)is_good_resource(yaml, value, path, "sluice.dev", alias->name);
}

static const struct yaml_key alias_keys[] = { { "id", alias_id, true }, { "name", alias_name, true } };

static void aliases_item(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target)
{
        struct rules *rules = &((struct config *)target)->rules;
        struct alias alias = { 0 };

        yaml_mapping(yaml, item, path, alias_keys, N_ELEMENTS(alias_keys), &alias);
        for (size_t i = 0; i < rules->n_aliases; i++)
                if (rules->aliases[i].id.vendor == alias.id.vendor && rules->aliases[i].id.device == alias.id.device)
                        yaml_problem(yaml, item, path, "%04x:%04x has an alias already", alias.id.vendor, alias.id.device);
        rules->aliases = xrealloc(rules->aliases, rules->n_aliases + 1, sizeof(*rules->aliases));
        rules->aliases[rules->n_aliases++] = alias;
}

/* ---- the top ---- */

static void top_api_version(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        const char *text = yaml_scalar(yaml, value, path);

        (void)target;
        if (text && !streq(text, CONFIG_API_VERSION))
                yaml_problem(yaml, value, path, "\"%.64s\" is not understood, only " CONFIG_API_VERSION, text);
}

static void top_kind(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        const char *text = yaml_scalar(yaml, value, path);

        (void)target;
        if (text && !streq(text, CONFIG_KIND))
                yaml_problem(yaml, value, path, "\"%.64s\" is not understood, only " CONFIG_KIND, text);
}

static void classes_item_top(struct yaml *yaml, const struct yaml_node *item, const char *path, void *target)
{
        struct rules *rules = target;
        size_t n = rules->n_classes;

        take_class(yaml, item, path, &rules->classes, &rules->n_classes);
        if (rules->n_classes == n)
                return;
        /* A slip here, and a rule that binds every GPU would take the node's disks or its network away. */
        unsigned base = rules->classes[n] >> 8;
        if (base == 0x01 || base == 0x02 || base == 0x06)
                yaml_problem(yaml, item, path,
                             "%04x is a class of storage, network or bridge functions: a rule may name one by its address",
                             rules->classes[n]);
}

static void top_classes(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct rules *rules = &((struct config *)target)->rules;

        rules->n_classes = 0; /* the list replaces the default */
        yaml_list(yaml, value, path, classes_item_top, rules);
        if (rules->n_classes == 0)
                yaml_problem(yaml, value, path, "it is empty: no GPU could be found");
}

static void top_name_rule(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        int i = yaml_choice(yaml, value, path, config_name_rules, N_ELEMENTS(config_name_rules));

        if (i >= 0)
                ((struct config *)target)->rules.name_rule = (enum name_rule)i;
}

static void top_aliases(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        yaml_list(yaml, value, path, aliases_item, target);
}

static void top_pci_ids(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        struct config *config = target;

        const char *text = yaml_scalar(yaml, value, path);
        if (!text)
                return;
        if (text[0] != '/') {
                yaml_problem(yaml, value, path, "\"%.64s\" is no absolute path", text);
                return;
        }
        free(config->pci_ids);
        config->pci_ids = xstrdup(text);
        config->pci_ids_line = yaml_line(value);
}

static void top_registration(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        int i = yaml_choice(yaml, value, path, config_registrations, N_ELEMENTS(config_registrations));

        if (i >= 0)
                ((struct config *)target)->registration = (enum registration)i;
}

static void top_node_group(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        uint64_t group;

        const char *text = yaml_scalar(yaml, value, path);
        if (!text)
                return;
        if (!str_to_u64(text, 10, UINT32_MAX - 1, &group) || group == 0) /* (gid_t)-1 means none to the kernel, and 0 is root's own */
                yaml_problem(yaml, value, path, "\"%.64s\" is no number of a group, from 1 to 4294967294", text);
        else
                ((struct config *)target)->node_group = (uint32_t)group;
}

static void top_bind_deadline(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        (void)yaml_duration(yaml, value, path, 1000, 60 * 1000, &((struct config *)target)->bind_deadline_ms);
}

static void top_load_modules(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        (void)yaml_bool(yaml, value, path, &((struct config *)target)->rules.load_modules);
}

static void top_rescan(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        (void)yaml_duration(yaml, value, path, 5 * 1000, 10 * 60 * 1000, &((struct config *)target)->rescan_ms);
}

static void top_rules(struct yaml *yaml, const struct yaml_node *value, const char *path, void *target)
{
        yaml_list(yaml, value, path, rules_item, target);
}

static const struct yaml_key top_keys[] = {
        { "apiVersion", top_api_version, true },
        { "kind", top_kind, true },
        { "classes", top_classes, false },
        { "nameRule", top_name_rule, false },
        { "aliases", top_aliases, false },
        { "pciIds", top_pci_ids, false },
        { "registration", top_registration, false },
        { "nodeSocketGroup", top_node_group, false },
        { "bindDeadline", top_bind_deadline, false },
        { "rescan", top_rescan, false },
        { "loadModules", top_load_modules, false },
        { "rules", top_rules, false },
};

void config_each_key(void (*each)(void *ctx, const char *path), void *ctx)
{
        static const struct {
                const char *prefix;
                const struct yaml_key *keys;
                size_t n;
        } tables[] = {
                { "", top_keys, N_ELEMENTS(top_keys) },
                { "aliases[].", alias_keys, N_ELEMENTS(alias_keys) },
                { "rules[].", rule_keys, N_ELEMENTS(rule_keys) },
                { "rules[].select.", select_keys, N_ELEMENTS(select_keys) },
        };

        for (size_t t = 0; t < N_ELEMENTS(tables); t++)
                for (size_t i = 0; i < tables[t].n; i++) {
                        _cleanup_free_ char *path = xasprintf("%s%s", tables[t].prefix, tables[t].keys[i].name);
                        each(ctx, path);
                }
}

/* The resource name that a rule spells out, by itself or as prefix and alias; "" when the name depends on the device. */
static void spelled_name(const struct rule *rule, char out[static RESOURCE_MAX])
{
        if (rule->resource[0] || !rule->prefix[0] || !rule->alias[0])
                (void)str_copy(out, RESOURCE_MAX, rule->resource);
        else
                str_format(out, RESOURCE_MAX, "%s/%s", rule->prefix, rule->alias);
}

/* Two rules whose names KubeVirt's variable cannot tell apart (facts: '.' and '/' become '_', case is lost), or whose one pool
 * cannot do what both ask. */
static void check_pair(struct yaml *yaml, const struct rules *rules, size_t first, size_t second)
{
        const struct rule *a = &rules->rules[first], *b = &rules->rules[second];
        char path[YAML_PATH_MAX], name_a[RESOURCE_MAX], name_b[RESOURCE_MAX];

        spelled_name(a, name_a);
        spelled_name(b, name_b);
        if (!*name_a || !*name_b)
                return;
        str_format(path, sizeof(path), "rules[%zu]", second);
        if (streq(name_a, name_b)) {
                if (a->prefer != b->prefer)
                        yaml_problem_at(yaml, b->line, path, "it says 'prefer: %s' of %s, and rules[%zu] says '%s': a pool has one",
                                        config_prefers[b->prefer], name_b, first, config_prefers[a->prefer]);
                return;
        }
        _cleanup_free_ char *va = naming_kubevirt_variable(name_a, false);
        _cleanup_free_ char *vb = naming_kubevirt_variable(name_b, false);
        if (streq(va, vb))
                yaml_problem_at(yaml, b->line, path, "%s and %s (rules[%zu]) become the same KubeVirt variable %s", name_b, name_a, first,
                                va);
}

bool config_take(struct yaml *yaml, struct config *config)
{
        yaml_mapping(yaml, yaml_root(yaml), "", top_keys, N_ELEMENTS(top_keys), config);
        for (size_t i = 0; i < config->rules.n_rules; i++)
                for (size_t k = 0; k < i; k++)
                        check_pair(yaml, &config->rules, k, i);
        config->rules.implicit = config->rules.n_rules == 0;
        return yaml_n_problems(yaml) == 0;
}
