/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/fs.h"
#include "config/config_priv.h"
#include "config/yaml.h"

DEFINE_CLEANUP(struct yaml *, yaml_close)

struct config *config_default(void)
{
        struct config *config = xcalloc(1, sizeof(*config));

        *config = (struct config){ .bind_deadline_ms = 10 * 1000, .rescan_ms = 10 * 1000 };
        rules_init(&config->rules);
        return config;
}

struct config *config_free(struct config *config)
{
        if (!config)
                return NULL;
        rules_done(&config->rules);
        free(config->pci_ids);
        free(config);
        return NULL;
}

int config_parse(const char *file, const char *text, size_t n, struct config **ret, struct strbuf *problems)
{
        _cleanup_(yaml_closep) struct yaml *yaml = yaml_open(file, text, n, problems);
        if (!yaml)
                return -EINVAL;
        _cleanup_(config_freep) struct config *config = config_default();
        if (!config_take(yaml, config))
                return -EINVAL;
        *ret = TAKE_PTR(config);
        return 0;
}

int config_load(const char *path, struct config **ret, struct strbuf *problems)
{
        struct err err;
        size_t n;

        _cleanup_free_ char *text = xcalloc(1, CONFIG_MAX_BYTES + 1);
        int r = fs_read(AT_FDCWD, path, text, CONFIG_MAX_BYTES + 1, &n, &err);
        if (r < 0) {
                strbuf_addf(problems, "%s\n", err.msg); /* names the file */
                return r;
        }
        return config_parse(path, text, n, ret, problems);
}

/* ---- printing ---- */

static void add_quoted(struct strbuf *b, const char *s)
{
        strbuf_add(b, "\"");
        for (; *s; s++)
                strbuf_addf(b, "%s%c", *s == '"' || *s == '\\' ? "\\" : "", *s);
        strbuf_add(b, "\"");
}

static void add_strings(struct strbuf *b, const char *key, char *const *list, size_t n)
{
        if (n == 0)
                return;
        strbuf_addf(b, "      %s: [", key);
        for (size_t i = 0; i < n; i++) {
                strbuf_add(b, i ? ", " : "");
                add_quoted(b, list[i]);
        }
        strbuf_add(b, "]\n");
}

static void add_half(struct strbuf *b, bool any, uint16_t value)
{
        if (any)
                strbuf_add(b, "*");
        else
                strbuf_addf(b, "%04x", value);
}

static void add_ids(struct strbuf *b, const char *key, const struct id_pattern *list, size_t n)
{
        if (n == 0)
                return;
        strbuf_addf(b, "      %s: [", key);
        for (size_t i = 0; i < n; i++) {
                strbuf_add(b, i ? ", \"" : "\"");
                add_half(b, list[i].any_vendor, list[i].vendor);
                strbuf_add(b, ":");
                add_half(b, list[i].any_device, list[i].device);
                strbuf_add(b, "\"");
        }
        strbuf_add(b, "]\n");
}

static void add_classes(struct strbuf *b, const char *indent, const uint16_t *list, size_t n)
{
        strbuf_addf(b, "%sclasses: [", indent);
        for (size_t i = 0; i < n; i++)
                strbuf_addf(b, "%s\"%04x\"", i ? ", " : "", list[i]);
        strbuf_add(b, "]\n");
}

static void add_selector(struct strbuf *b, const struct selector *s)
{
        strbuf_add(b, "    select:\n");
        add_ids(b, "ids", s->ids, s->n_ids);
        add_ids(b, "subsystems", s->subsystems, s->n_subsystems);
        add_strings(b, "addresses", s->addresses, s->n_addresses);
        if (s->n_classes > 0)
                add_classes(b, "      ", s->classes, s->n_classes);
        add_strings(b, "drivers", s->drivers, s->n_drivers);
        strbuf_addf(b, "      role: %s\n", config_roles[s->role]);
        if (s->has_vf_range)
                strbuf_addf(b, "      vfRange: \"%u-%u\"\n", s->vf_first, s->vf_last);
        if (s->n_numa_nodes > 0) {
                strbuf_add(b, "      numaNodes: [");
                for (size_t i = 0; i < s->n_numa_nodes; i++)
                        strbuf_addf(b, "%s%d", i ? ", " : "", s->numa_nodes[i]);
                strbuf_add(b, "]\n");
        }
        add_strings(b, "models", s->models, s->n_models);
}

static void add_rule(struct strbuf *b, const struct rule *rule)
{
        strbuf_addf(b, "  - deny: %s\n", rule->deny ? "true" : "false");
        add_selector(b, &rule->select);
        if (rule->resource[0])
                strbuf_addf(b, "    resource: \"%s\"\n", rule->resource);
        if (rule->prefix[0])
                strbuf_addf(b, "    prefix: \"%s\"\n", rule->prefix);
        if (rule->alias[0])
                strbuf_addf(b, "    alias: \"%s\"\n", rule->alias);
        strbuf_addf(b,
                    "    bind: %s\n    release: %s\n    power: %s\n    persistence: %s\n    mode: vfio\n    group: %s\n    topology: %s\n  "
                    "  prefer: %s\n",
                    config_binds[rule->bind], config_releases[rule->release], config_powers[rule->power],
                    config_persistences[rule->persistence], config_groups[rule->group], config_topologies[rule->topology],
                    config_prefers[rule->prefer]);
}

static void add_duration(struct strbuf *b, const char *key, unsigned ms)
{
        if (ms % 1000 == 0)
                strbuf_addf(b, "%s: %us\n", key, ms / 1000);
        else
                strbuf_addf(b, "%s: %ums\n", key, ms);
}

char *config_print(const struct config *config)
{
        const struct rules *rules = &config->rules;
        struct strbuf b = { 0 };

        strbuf_add(&b, "apiVersion: " CONFIG_API_VERSION "\nkind: " CONFIG_KIND "\n");
        add_classes(&b, "", rules->classes, rules->n_classes);
        strbuf_addf(&b, "nameRule: %s\n", config_name_rules[rules->name_rule]);
        if (rules->n_aliases > 0)
                strbuf_add(&b, "aliases:\n");
        for (size_t i = 0; i < rules->n_aliases; i++)
                strbuf_addf(&b, "  - {id: \"%04x:%04x\", name: \"%s\"}\n", rules->aliases[i].id.vendor, rules->aliases[i].id.device,
                            rules->aliases[i].name);
        if (config->pci_ids) {
                strbuf_add(&b, "pciIds: ");
                add_quoted(&b, config->pci_ids);
                strbuf_add(&b, "\n");
        }
        strbuf_addf(&b, "registration: %s\n", config_registrations[config->registration]);
        if (config->node_group > 0)
                strbuf_addf(&b, "nodeSocketGroup: %u\n", config->node_group);
        add_duration(&b, "bindDeadline", config->bind_deadline_ms);
        add_duration(&b, "rescan", config->rescan_ms);
        strbuf_addf(&b, "loadModules: %s\n", rules->load_modules ? "true" : "false");
        strbuf_addf(&b, "rules:%s\n", rules->n_rules ? "" : " []  # the implicit rule: what is usable through VFIO already, bind nothing");
        for (size_t i = 0; i < rules->n_rules; i++)
                add_rule(&b, &rules->rules[i]);
        return strbuf_take(&b);
}
