/* SPDX-License-Identifier: Apache-2.0 */
#include "core/rules.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"

/* "*" or exactly four hexadecimal digits, ended by @end. Returns what follows @end's place, NULL when it is neither. */
static const char *parse_half(const char *s, char end, bool *any, uint16_t *ret)
{
        char digits[5];
        uint64_t value;

        if (s[0] == '*' && s[1] == end) {
                *any = true;
                *ret = 0;
                return s + 1;
        }
        if (strnlen(s, 4) < 4 || s[4] != end || s[1] == 'x' || s[1] == 'X')
                return NULL;
        memcpy(digits, s, 4);
        digits[4] = '\0';
        if (!str_to_u64(digits, 16, UINT16_MAX, &value))
                return NULL;
        *any = false;
        *ret = (uint16_t)value;
        return s + 4;
}

bool id_pattern_parse(const char *s, struct id_pattern *ret)
{
        struct id_pattern p;

        s = parse_half(s, ':', &p.any_vendor, &p.vendor);
        if (!s || !parse_half(s + 1, '\0', &p.any_device, &p.device))
                return false;
        *ret = p;
        return true;
}

void rule_init(struct rule *rule)
{
        *rule = (struct rule){ .bind = BIND_NEVER,
                               .release = RELEASE_KEEP,
                               .power = POWER_LEAVE,
                               .persistence = PERSISTENCE_LEAVE,
                               .mode = MODE_VFIO,
                               .group = GROUP_WITHHOLD,
                               .topology = TOPOLOGY_DROP,
                               .prefer = PREFER_PACK };
}

static void free_strings(char **list, size_t n)
{
        for (size_t i = 0; i < n; i++)
                free(list[i]);
        free(list);
}

static void selector_done(struct selector *select)
{
        free(select->ids);
        free(select->subsystems);
        free_strings(select->addresses, select->n_addresses);
        free(select->classes);
        free_strings(select->drivers, select->n_drivers);
        free(select->numa_nodes);
        free_strings(select->models, select->n_models);
        *select = (struct selector){ 0 };
}

void rule_done(struct rule *rule)
{
        selector_done(&rule->select);
}

void rules_init(struct rules *rules)
{
        static const uint16_t classes[] = { 0x0300, 0x0302, 0x0380, 0x1200 };

        *rules = (struct rules){
                .implicit = true, .classes = xmemdup(classes, sizeof(classes)), .n_classes = N_ELEMENTS(classes), .name_rule = NAME_DEFAULT
        };
}

void rules_done(struct rules *rules)
{
        free(rules->classes);
        free(rules->aliases);
        for (size_t i = 0; i < rules->n_rules; i++)
                rule_done(&rules->rules[i]);
        free(rules->rules);
        *rules = (struct rules){ 0 };
}

static bool has_class(const uint16_t *classes, size_t n, uint32_t class_code)
{
        for (size_t i = 0; i < n; i++)
                if (classes[i] == class_code >> 8)
                        return true;
        return false;
}

bool rules_class_is_gpu(const struct rules *rules, uint32_t class_code)
{
        return has_class(rules->classes, rules->n_classes, class_code);
}

/* What is matched: a function, and the instance on it where that is the candidate. */
struct candidate {
        const struct function *fn;
        const struct instance *instance; /* may be NULL */
        char address[BDF_TEXT_MAX];
};

/* How a selector reached its candidate. */
struct hit {
        bool by_address; /* an address (or UUID) without wildcards */
        bool by_id;      /* a vendor:device without wildcards */
};

/* Any of @patterns; @ret_exact says whether one without wildcards was among those that match. */
static bool match_ids(const struct id_pattern *patterns, size_t n, uint16_t vendor, uint16_t device, bool *ret_exact)
{
        bool any = false;

        *ret_exact = false;
        for (size_t i = 0; i < n; i++) {
                const struct id_pattern *p = &patterns[i];

                if ((!p->any_vendor && p->vendor != vendor) || (!p->any_device && p->device != device))
                        continue;
                any = true;
                if (!p->any_vendor && !p->any_device)
                        *ret_exact = true;
        }
        return any;
}

static bool match_addresses(const struct selector *select, const struct candidate *c, bool *ret_exact)
{
        bool any = false;

        *ret_exact = false;
        for (size_t i = 0; i < select->n_addresses; i++) {
                const char *pattern = select->addresses[i];

                if (!str_glob(pattern, c->address) && !(c->instance && str_glob(pattern, c->instance->uuid)))
                        continue;
                any = true;
                if (!strpbrk(pattern, "*?"))
                        *ret_exact = true;
        }
        return any;
}

static bool match_drivers(const struct selector *select, const struct candidate *c)
{
        const char *driver = c->instance ? c->instance->driver : c->fn->driver;

        for (size_t i = 0; i < select->n_drivers; i++)
                if (streq(select->drivers[i], *driver ? driver : "none"))
                        return true;
        return false;
}

/* What a vendor-VFIO VF with a type is named by. */
static void profile_of(const struct function *fn, char out[static TYPE_LEN])
{
        if (*fn->vgpu_name)
                (void)str_copy(out, TYPE_LEN, fn->vgpu_name);
        else
                str_format(out, TYPE_LEN, "%04x-%u", fn->device, fn->vgpu_type);
}

static bool match_models(const struct selector *select, const struct candidate *c)
{
        char profile[TYPE_LEN];

        profile_of(c->fn, profile);
        for (size_t i = 0; i < select->n_models; i++) {
                const char *pattern = select->models[i];

                if (str_glob(pattern, c->fn->model) || (c->instance && str_glob(pattern, c->instance->type_name)) ||
                    (!c->instance && c->fn->vgpu_type && str_glob(pattern, profile)))
                        return true;
        }
        return false;
}

static bool match_numa(const struct selector *select, const struct function *fn)
{
        for (size_t i = 0; i < select->n_numa_nodes; i++)
                if (select->numa_nodes[i] == fn->numa_node)
                        return true;
        return false;
}

static bool match_role(const struct selector *select, const struct function *fn)
{
        if (select->role != ROLE_ANY && fn->is_vf != (select->role == ROLE_VF))
                return false;
        if (!select->has_vf_range)
                return true;
        return fn->is_vf && fn->vf_index >= 0 && (unsigned)fn->vf_index >= select->vf_first && (unsigned)fn->vf_index <= select->vf_last;
}

static bool selects(const struct selector *select, const struct candidate *c, struct hit *ret)
{
        const struct function *fn = c->fn;
        struct hit hit = { 0 };
        bool exact;

        if (select->n_ids && !match_ids(select->ids, select->n_ids, fn->vendor, fn->device, &hit.by_id))
                return false;
        if (select->n_subsystems && !match_ids(select->subsystems, select->n_subsystems, fn->subvendor, fn->subdevice, &exact))
                return false;
        if (select->n_addresses && !match_addresses(select, c, &hit.by_address))
                return false;
        if (select->n_classes && !has_class(select->classes, select->n_classes, fn->class_code))
                return false;
        if ((select->n_drivers && !match_drivers(select, c)) || (select->n_models && !match_models(select, c)) ||
            (select->n_numa_nodes && !match_numa(select, fn)) || !match_role(select, fn))
                return false;
        *ret = hit;
        return true;
}

unsigned rules_match(const struct rules *rules, const struct function *fn, const struct instance *instance, bool *by_address)
{
        bool is_gpu = rules_class_is_gpu(rules, fn->class_code);
        struct candidate c = { .fn = fn, .instance = instance };

        bdf_format(fn->bdf, c.address);
        for (size_t i = 0; i < rules->n_rules; i++) {
                struct hit hit;

                if (!selects(&rules->rules[i].select, &c, &hit) || (!is_gpu && !hit.by_address && !hit.by_id))
                        continue;
                if (by_address)
                        *by_address = hit.by_address;
                return (unsigned)i + 1;
        }
        if (by_address)
                *by_address = false;
        return 0;
}
