/* SPDX-License-Identifier: Apache-2.0 */
/* Names and pools. A listed device has a wanted name (by its rule, today) and a name (what kubelet knows it by): they differ
 * when the wanted one changed while Sluice runs. */
#include "core/offer_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/str.h"
#include "core/naming.h"

enum { NUMA_NODES_MAX = 64 }; /* kubelet takes node ids 0..63 only */

struct naming {
        const struct offer_input *in;
        struct offer *offer;
        char (*wanted)[RESOURCE_MAX]; /* per device; "" = no name */
        /* Who has which KubeVirt variable. */
        struct owner {
                char *variable;
                const struct device *device;
        } * owners;
        size_t n_owners;
};

/* A node that kubelet can be told of. */
static bool has_node(const struct device *device)
{
        return device->numa_node >= 0 && device->numa_node < NUMA_NODES_MAX;
}

static bool is_listed(const struct device *device)
{
        return device->state != DEVICE_WITHHELD;
}

static void withhold(struct device *device, enum reason reason, const char *detail)
{
        device->state = DEVICE_WITHHELD;
        device->reason = reason;
        memset(device->also, 0, sizeof(device->also));
        device->needs_bind = false;
        device->resource[0] = '\0';
        str_format(device->detail, sizeof(device->detail), "%s", detail);
}

/* ---- wanted names ---- */

static void want_name(struct naming *naming, size_t i)
{
        struct device *device = &naming->offer->devices[i];
        const struct device *then = offer_listed(naming->in->past, device->id);
        const struct inventory *inv = naming->in->inventory;
        const struct function *fn = inventory_function(inv, device->bdf);
        const struct instance *instance = device->kind == DEVICE_VGPU_MDEV ? inventory_instance(inv, device->id) : NULL;
        enum reason warning = REASON_NONE, reason = REASON_NONE;

        bool named = fn && (device->kind != DEVICE_VGPU_MDEV || instance); /* What is gone wants nothing. */
        if (named)
                reason = naming_resource(naming->in->rules, offer_rule(naming->in->rules, device->rule), fn, instance, device->kind,
                                         naming->wanted[i], &warning);
        if (then && (!named || reason != REASON_NONE))
                (void)str_copy(naming->wanted[i], RESOURCE_MAX, then->resource);
        else if (reason != REASON_NONE)
                withhold(device, reason, "");
        else if (warning != REASON_NONE)
                judge_warn(device, warning, naming->wanted[i]);
}

static bool is_mixed(const struct naming *naming, const char *wanted)
{
        bool known = false, unknown = false;

        for (size_t i = 0; i < naming->offer->n_devices; i++)
                if (is_listed(&naming->offer->devices[i]) && streq(naming->wanted[i], wanted)) {
                        known = known || has_node(&naming->offer->devices[i]);
                        unknown = unknown || !has_node(&naming->offer->devices[i]);
                }
        return known && unknown;
}

static void split_name(char name[static RESOURCE_MAX])
{
        const char *slash = strchr(name, '/');
        char part[NAME_PART_MAX + 1];
        int n_prefix = (int)(slash - name);

        _cleanup_free_ char *whole = xasprintf("%s-numa-unknown", slash + 1);
        (void)naming_shorten(whole, part);
        _cleanup_free_ char *split = xasprintf("%.*s/%s", n_prefix, name, part);
        (void)str_copy(name, RESOURCE_MAX, split);
}

static void split_by_numa(struct naming *naming)
{
        const struct offer *offer = naming->offer;
        _cleanup_free_ bool *split = xcalloc(offer->n_devices + 1, sizeof(*split));

        for (size_t i = 0; i < offer->n_devices; i++) {
                const struct device *device = &offer->devices[i];

                split[i] = is_listed(device) && !has_node(device) && device->rule != RULE_NONE &&
                           offer_rule(naming->in->rules, device->rule)->topology == TOPOLOGY_SPLIT && is_mixed(naming, naming->wanted[i]);
        }
        for (size_t i = 0; i < offer->n_devices; i++)
                if (split[i])
                        split_name(naming->wanted[i]);
}

/* ---- names ---- */

/* May the two be of one pool? Never with a mediated device: virt-launcher reads both prefixes of a name, and everything would
 * count twice. A whole GPU and a slice of one only where a rule spells that name: some have one id and so one default name. */
static bool may_share(const struct naming *naming, const struct device *a, const struct device *b)
{
        const struct rule *rule = offer_rule(naming->in->rules, b->rule);

        if (a->kind == b->kind)
                return true;
        return a->kind != DEVICE_VGPU_MDEV && b->kind != DEVICE_VGPU_MDEV && (*rule->resource || *rule->alias);
}

/* Takes the variable of @device's name for it. Returns who has it already under another name, or who has the name and may not
 * share it; NULL = fine. */
static const struct device *own_variable(struct naming *naming, const struct device *device)
{
        _cleanup_free_ char *variable = naming_kubevirt_variable(device->resource, false);

        for (size_t i = 0; i < naming->n_owners; i++) {
                const struct device *owner = naming->owners[i].device;

                if (streq(naming->owners[i].variable, variable))
                        return streq(owner->resource, device->resource) && may_share(naming, owner, device) ? NULL : owner;
        }
        naming->owners[naming->n_owners++] = (struct owner){ .variable = TAKE_PTR(variable), .device = device };
        return NULL;
}

static void keep_name(struct naming *naming, size_t i, const char *name)
{
        struct device *device = &naming->offer->devices[i];

        (void)str_copy(device->resource, sizeof(device->resource), name);
        (void)own_variable(naming, device);
        if (!streq(naming->wanted[i], device->resource))
                judge_warn_first(device, REASON_NAME_NEXT_START, naming->wanted[i]);
}

/* The names that kubelet knows come first and never change: of what is listed, and of what an earlier daemon listed and a pod has. */
static void keep_names(struct naming *naming)
{
        const struct offer_input *in = naming->in;

        for (size_t i = 0; i < naming->offer->n_devices; i++) {
                const struct device *then = offer_listed(in->past, naming->offer->devices[i].id);
                if (then)
                        keep_name(naming, i, then->resource);
        }
        for (size_t i = 0; in->given_from && i < naming->offer->n_devices; i++) {
                const struct device *device = &naming->offer->devices[i];
                const char *name = is_listed(device) && !*device->resource ? in->given_from(in->ctx, device->id) : NULL;
                if (name)
                        keep_name(naming, i, name);
        }
}

static void give_names(struct naming *naming)
{
        for (size_t i = 0; i < naming->offer->n_devices; i++) {
                struct device *device = &naming->offer->devices[i];
                char detail[DETAIL_MAX];

                if (!is_listed(device) || *device->resource)
                        continue;
                (void)str_copy(device->resource, sizeof(device->resource), naming->wanted[i]);
                const struct device *owner = own_variable(naming, device);
                if (!owner)
                        continue;
                str_format(detail, sizeof(detail), "%s, and %s of %s (%s)", device->resource, owner->resource, owner->id,
                           device_kind_name(owner->kind));
                withhold(device, REASON_NAME_AMBIGUOUS, detail);
        }
}

static void name_all(const struct offer_input *in, struct offer *offer)
{
        _cleanup_free_ char(*wanted)[RESOURCE_MAX] = xcalloc(offer->n_devices + 1, sizeof(*wanted));
        _cleanup_free_ struct owner *owners = xcalloc(offer->n_devices + 1, sizeof(*owners));
        struct naming naming = { .in = in, .offer = offer, .wanted = wanted, .owners = owners };

        for (size_t i = 0; i < offer->n_devices; i++) {
                offer->devices[i].resource[0] = '\0';
                if (is_listed(&offer->devices[i]))
                        want_name(&naming, i);
        }
        split_by_numa(&naming);
        keep_names(&naming);
        give_names(&naming);
        for (size_t i = 0; i < naming.n_owners; i++)
                free(owners[i].variable);
}

/* ---- pools ---- */

static int compare_by_resource(const void *a, const void *b, void *devices)
{
        const struct device *all = devices;
        size_t x = *(const size_t *)a, y = *(const size_t *)b;
        int r = strcmp(all[x].resource, all[y].resource);

        return r ? r : (x > y) - (x < y); /* devices are sorted by id */
}

/* Strategy of the device's rule; false: no rule of today stands behind it. */
static bool prefers(const struct rules *rules, const struct device *device, enum prefer_strategy *ret)
{
        if (device->rule == RULE_NONE || device->reason == REASON_GONE)
                return false;
        *ret = offer_rule(rules, device->rule)->prefer;
        return true;
}

static void choose_strategy(const struct rules *rules, struct device *devices, struct pool *pool)
{
        enum prefer_strategy one;
        bool chosen = false, differ = false;

        for (size_t i = 0; i < pool->n_devices; i++) {
                if (!prefers(rules, &devices[pool->devices[i]], &one))
                        continue;
                if (!chosen)
                        pool->prefer = one;
                differ = differ || one != pool->prefer;
                chosen = true;
        }
        for (size_t i = 0; differ && i < pool->n_devices; i++)
                judge_warn(&devices[pool->devices[i]], REASON_PREFER_MIXED, pool->prefer == PREFER_SPREAD ? "spread" : "pack");
}

static void choose_topology(struct device *devices, struct pool *pool)
{
        size_t n_known = 0;

        for (size_t i = 0; i < pool->n_devices; i++)
                n_known += has_node(&devices[pool->devices[i]]);
        pool->topology = n_known == pool->n_devices;
        for (size_t i = 0; i < pool->n_devices; i++) {
                struct device *device = &devices[pool->devices[i]];
                char detail[32];

                if (device->numa_node >= NUMA_NODES_MAX) {
                        str_format(detail, sizeof(detail), "node %d", device->numa_node);
                        judge_warn(device, REASON_NUMA_HIGH, detail);
                }
                if (n_known > 0 && !pool->topology)
                        judge_warn(device, REASON_NUMA_MIXED, "");
        }
}

static void fill_pool(const struct rules *rules, struct device *devices, struct pool *pool)
{
        pool->mdev = devices[pool->devices[0]].kind == DEVICE_VGPU_MDEV;
        choose_strategy(rules, devices, pool);
        choose_topology(devices, pool);
}

void pools_gather(const struct offer_input *in, struct offer *offer)
{
        size_t n = 0;

        name_all(in, offer);
        _cleanup_free_ size_t *listed = xcalloc(offer->n_devices + 1, sizeof(*listed));
        for (size_t i = 0; i < offer->n_devices; i++)
                if (is_listed(&offer->devices[i]))
                        listed[n++] = i;
        qsort_r(listed, n, sizeof(*listed), compare_by_resource, offer->devices);

        offer->pools = xcalloc(n + 1, sizeof(*offer->pools));
        for (size_t first = 0, end; first < n; first = end) {
                struct pool *pool = &offer->pools[offer->n_pools++];
                const char *resource = offer->devices[listed[first]].resource;

                for (end = first + 1; end < n && streq(offer->devices[listed[end]].resource, resource);)
                        end++;
                (void)str_copy(pool->resource, sizeof(pool->resource), resource);
                pool->n_devices = end - first;
                pool->devices = xmemdup(&listed[first], pool->n_devices * sizeof(*listed));
                fill_pool(in->rules, offer->devices, pool);
        }
}
