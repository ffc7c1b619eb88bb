/* SPDX-License-Identifier: Apache-2.0 */
#include "core/naming.h"

#include <stdio.h>

#include "base/alloc.h"
#include "base/str.h"

static bool is_space(char c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_lower(char c)
{
        return c >= 'a' && c <= 'z';
}

static char upper(char c)
{
        return is_lower(c) ? (char)(c - 'a' + 'A') : c;
}

static bool is_alnum(char c)
{
        return is_lower(c) || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static const char *skip_space(const char *s)
{
        while (is_space(*s))
                s++;
        return s;
}

/* @s without white space at its ends, each run of it inside as one '_', every other character as @map says (0 = drop). */
static char *transform(const char *s, char (*map)(char c, bool keep_hyphen), bool keep_hyphen)
{
        size_t n = 0;

        s = skip_space(s);
        char *out = xcalloc(strlen(s) + 1, 1);
        while (*s) {
                if (!is_space(*s)) {
                        char c = map(*s++, keep_hyphen);
                        if (c)
                                out[n++] = c;
                        continue;
                }
                s = skip_space(s);
                if (*s)
                        out[n++] = '_';
        }
        return out;
}

static char map_slug(char c, bool keep_hyphen)
{
        if (c == '/' || c == '.' || c == '_')
                return '_';
        if (c == '-')
                return keep_hyphen ? c : '\0';
        return is_alnum(c) ? upper(c) : '\0';
}

static char map_profile(char c, bool keep_hyphen)
{
        (void)keep_hyphen;
        return is_alnum(c) || c == '-' || c == '_' || c == '.' ? c : '\0';
}

char *naming_slug(const char *model, enum name_rule rule)
{
        return transform(model, map_slug, rule == NAME_KEEP_HYPHEN);
}

/* What follows the brand word; @profile itself when it starts with none, or is nothing else. */
static const char *strip_brand(const char *profile)
{
        static const char *const brands[] = { "NVIDIA", "GRID" };

        profile = skip_space(profile);
        for (size_t i = 0; i < N_ELEMENTS(brands); i++) {
                size_t n = strlen(brands[i]);

                if (str_has_prefix(profile, brands[i]) && is_space(profile[n]) && *skip_space(profile + n))
                        return skip_space(profile + n);
        }
        return profile;
}

char *naming_profile(const char *profile, enum name_rule rule)
{
        return transform(rule == NAME_STRIP_BRAND ? strip_brand(profile) : profile, map_profile, true);
}

const char *naming_prefix(uint16_t vendor)
{
        switch (vendor) {
        case 0x10de:
                return "nvidia.com";
        case 0x1002:
                return "amd.com";
        case 0x8086:
                return "intel.com";
        default:
                return NULL;
        }
}

static bool part_is_valid(const char *part)
{
        size_t n = strlen(part);

        if (n < 1 || n > NAME_PART_MAX || !is_alnum(part[0]) || !is_alnum(part[n - 1]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!is_alnum(part[i]) && part[i] != '-' && part[i] != '_' && part[i] != '.')
                        return false;
        return true;
}

/* DNS-1123 subdomain: labels of lower-case alphanumerics and '-', that begin and end alphanumeric, joined by dots.
 * Kubernetes limits the whole, not the label. */
static bool prefix_is_valid(const char *s, size_t n)
{
        bool inside = false; /* the character before may end a label */

        if (n < 1 || n > PREFIX_MAX)
                return false;
        for (size_t i = 0; i < n; i++) {
                bool alnum = is_lower(s[i]) || (s[i] >= '0' && s[i] <= '9');

                if (s[i] == '.') {
                        if (!inside)
                                return false;
                        inside = false;
                } else if (s[i] == '-') {
                        if (i == 0 || s[i - 1] == '.')
                                return false;
                        inside = false;
                } else if (!alnum) {
                        return false;
                } else {
                        inside = true;
                }
        }
        return inside;
}

static const char *resource_problem(const char *resource)
{
        const char *slash = strchr(resource, '/');

        if (!slash)
                return "it has no '/' between the prefix and the name";
        if (strchr(slash + 1, '/'))
                return "it has more than one '/'";
        if (strstr(resource, "kubernetes.io/"))
                return "'kubernetes.io/' is reserved for Kubernetes";
        if (str_has_prefix(resource, "requests."))
                return "it must not start with 'requests.'";
        if (!prefix_is_valid(resource, (size_t)(slash - resource)))
                return "its prefix must be a lower-case DNS name of at most 244 characters";
        if (!part_is_valid(slash + 1))
                return "the part after '/' must be 1 to 63 letters, digits, '-', '_' or '.', and begin and end with a letter or digit";
        return NULL;
}

bool naming_resource_is_valid(const char *resource, const char **why)
{
        const char *problem = resource_problem(resource);

        if (problem && why)
                *why = problem;
        return !problem;
}

/* FNV-1a: short, stable for ever, and no one gains anything from a collision. */
static uint32_t hash(const char *s)
{
        uint32_t h = UINT32_C(2166136261);

        for (; *s; s++)
                h = (h ^ (unsigned char)*s) * UINT32_C(16777619);
        return h;
}

bool naming_shorten(const char *name, char out[static NAME_PART_MAX + 1])
{
        enum { TAIL = 9 /* '_' and eight digits */ };

        if (str_copy(out, NAME_PART_MAX + 1, name))
                return false;
        (void)snprintf(out + NAME_PART_MAX - TAIL, TAIL + 1, "_%08X", (unsigned)hash(name));
        return true;
}

char *naming_kubevirt_variable(const char *resource, bool mdev)
{
        char *name = xasprintf("%s%s", mdev ? "MDEV_PCI_RESOURCE_" : "PCI_RESOURCE_", resource);

        for (char *p = name; *p; p++)
                *p = *p == '/' || *p == '.' ? '_' : upper(*p);
        return name;
}

/* What lspci prints for an id that it does not know. */
static bool is_no_model(const char *model)
{
        return !*model || streq(model, "Device") || str_has_prefix(model, "Device ");
}

static const char *find_alias(const struct rules *rules, const struct function *fn)
{
        for (size_t i = 0; i < rules->n_aliases; i++) {
                const struct alias *alias = &rules->aliases[i];

                if (alias->id.vendor == fn->vendor && alias->id.device == fn->device)
                        return alias->name;
        }
        return NULL;
}

/* Kubernetes wants a letter or digit at both ends. Only names that it would refuse are touched. */
static char *trim_to_alnum(char *s)
{
        size_t n = strlen(s), skip = 0;

        while (n > 0 && !is_alnum(s[n - 1]))
                n--;
        while (skip < n && !is_alnum(s[skip]))
                skip++;
        memmove(s, s + skip, n - skip);
        s[n - skip] = '\0';
        return s;
}

static char *vgpu_part(const struct rules *rules, const struct function *fn, const struct instance *instance, enum reason *warning)
{
        const char *profile = instance ? instance->type_name : fn->vgpu_name;

        if (*profile) {
                char *part = trim_to_alnum(naming_profile(profile, rules->name_rule));
                if (*part)
                        return part;
                free(part);
        }
        *warning = REASON_NAME_FALLBACK;
        if (instance)
                return xasprintf("%04x-vgpu", fn->device);
        return xasprintf("%04x-%u", fn->device, fn->vgpu_type);
}

/* The name part before it is shortened. The caller frees. */
static char *make_part(const struct rules *rules, const struct rule *rule, const struct function *fn, const struct instance *instance,
                       enum device_kind kind, enum reason *warning)
{
        if (rule && *rule->alias)
                return xstrdup(rule->alias);
        if (kind == DEVICE_VGPU_MDEV || kind == DEVICE_VGPU_VF)
                return vgpu_part(rules, fn, instance, warning);

        const char *alias = find_alias(rules, fn);
        if (alias)
                return xstrdup(alias);
        if (!is_no_model(fn->model)) {
                char *slug = trim_to_alnum(naming_slug(fn->model, rules->name_rule));
                if (*slug)
                        return slug;
                free(slug);
        }
        *warning = REASON_NAME_FALLBACK;
        return xasprintf("%04x", fn->device);
}

enum reason naming_resource(const struct rules *rules, const struct rule *rule, const struct function *fn, const struct instance *instance,
                            enum device_kind kind, char out[static RESOURCE_MAX], enum reason *warning)
{
        char name[RESOURCE_MAX], part[NAME_PART_MAX + 1];

        out[0] = '\0';
        *warning = REASON_NONE;
        if (rule && *rule->resource) {
                if (!naming_resource_is_valid(rule->resource, NULL))
                        return REASON_NAME_INVALID;
                (void)str_copy(out, RESOURCE_MAX, rule->resource);
                return REASON_NONE;
        }
        const char *prefix = rule && *rule->prefix ? rule->prefix : naming_prefix(fn->vendor);
        if (!prefix)
                return REASON_UNKNOWN_VENDOR;

        enum reason said = REASON_NONE;
        _cleanup_free_ char *whole = make_part(rules, rule, fn, instance, kind, &said);
        if (naming_shorten(whole, part))
                said = REASON_NAME_SHORTENED;
        str_format(name, sizeof(name), "%s/%s", prefix, part);
        if (!naming_resource_is_valid(name, NULL))
                return REASON_NAME_INVALID;
        (void)str_copy(out, RESOURCE_MAX, name);
        *warning = said;
        return REASON_NONE;
}
