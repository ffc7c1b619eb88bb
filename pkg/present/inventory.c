/* SPDX-License-Identifier: Apache-2.0 */
#include "present/present.h"

#include <limits.h>
#include <stdio.h>

#include "core/naming.h"
#include "present/present_priv.h"

bool present_format_parse(const char *s, enum present_format *ret)
{
        static const char *const names[] = {
                [PRESENT_TABLE] = "table", [PRESENT_WIDE] = "wide", [PRESENT_JSON] = "json", [PRESENT_YAML] = "yaml"
        };

        for (size_t i = 0; i < N_ELEMENTS(names); i++)
                if (streq(s, names[i])) {
                        *ret = (enum present_format)i;
                        return true;
                }
        return false;
}

/* ---- JSON ---- */

static json_t *node_bdf(struct bdf bdf)
{
        char text[BDF_TEXT_MAX];

        return node_text(bdf_format(bdf, text));
}

static json_t *node_hex(unsigned digits, uint32_t value)
{
        char text[16];

        (void)snprintf(text, sizeof(text), "%0*x", (int)digits, (unsigned)value);
        return node_text(text);
}

static json_t *device_tree(const struct inventory *inv, const struct device *d)
{
        const struct function *fn = inventory_function(inv, d->bdf); /* NULL: gone since it was listed */
        json_t *o = node_made(json_object());

        node_put(o, "id", node_text(d->id));
        node_put(o, "kind", node_text(device_kind_name(d->kind)));
        node_put(o, "mode", node_text(device_mode_name(d->mode)));
        node_put(o, "bdf", node_bdf(d->bdf));
        node_put(o, "uuid", node_text(d->kind == DEVICE_VGPU_MDEV ? d->id : ""));
        node_put(o, "card", node_bdf(d->card));
        node_put(o, "iommu_group", node_number(d->group));
        node_put(o, "numa_node", node_number(d->numa_node));
        node_put(o, "vendor_id", node_hex(4, d->vendor));
        node_put(o, "device_id", node_hex(4, d->device_id));
        node_put(o, "class", fn ? node_hex(6, fn->class_code) : json_null());
        node_put(o, "model", node_text(d->model));
        node_put(o, "driver", node_text(d->driver));
        node_put(o, "resource", node_text(d->resource));
        node_put(o, "state", node_text(device_state_name(d->state)));
        node_put(o, "reason", node_reason(d->reason, d->detail));
        node_put(o, "bind", node_text(bind_policy_name(d->bind)));
        node_put(o, "needs_bind", json_boolean(d->needs_bind));
        node_put(o, "rule", d->rule == UINT_MAX ? json_null() : node_made(json_integer(d->rule)));
        return o;
}

static json_t *pool_tree(const struct offer *offer, const struct pool *pool)
{
        json_t *o = node_made(json_object()), *ids = node_made(json_array());
        _cleanup_free_ char *variable = naming_kubevirt_variable(pool->resource, pool->mdev);
        int healthy = 0;

        for (size_t i = 0; i < pool->n_devices; i++) {
                const struct device *d = &offer->devices[pool->devices[i]];

                node_push(ids, node_text(d->id));
                healthy += d->state == DEVICE_HEALTHY;
        }
        node_put(o, "resource", node_text(pool->resource));
        node_put(o, "variable", node_text(variable));
        node_put(o, "topology", json_boolean(pool->topology));
        node_put(o, "prefer", node_text(pool->prefer == PREFER_SPREAD ? "spread" : "pack"));
        node_put(o, "healthy", node_number(healthy));
        node_put(o, "devices", ids);
        return o;
}

static json_t *host_tree(const struct inventory *inv)
{
        json_t *o = node_made(json_object());

        node_put(o, "iommu", json_boolean(inv->iommu));
        node_put(o, "vfio_node", json_boolean(inv->vfio_node));
        node_put(o, "iommufd_node", json_boolean(inv->iommufd_node));
        node_put(o, "holders_visible", json_boolean(inv->holders_visible));
        return o;
}

static bool is_warning(const struct device *d)
{
        return d->state == DEVICE_HEALTHY && d->reason != REASON_NONE;
}

/* What concerns the whole host; returns how many of @ret are filled. */
enum { HOST_WARNINGS_MAX = 2 };
static size_t host_warnings(const struct inventory *inv, enum reason ret[static HOST_WARNINGS_MAX])
{
        size_t n = 0;

        if (!inv->vfio_node || !inventory_has_driver(inv, "vfio-pci"))
                ret[n++] = REASON_VFIO_MISSING;
        if (!inv->holders_visible)
                ret[n++] = REASON_HOLDERS_UNKNOWN;
        return n;
}

static json_t *warning_tree(const char *device, enum reason reason, const char *detail)
{
        json_t *o = node_made(json_object());

        node_put(o, "device", node_text(device));
        node_put(o, "reason", node_reason(reason, detail));
        return o;
}

static json_t *warnings_tree(const struct inventory *inv, const struct offer *offer)
{
        enum reason host[HOST_WARNINGS_MAX];
        json_t *list = node_made(json_array());

        for (size_t i = 0, n = host_warnings(inv, host); i < n; i++)
                node_push(list, warning_tree("", host[i], ""));
        for (size_t i = 0; i < offer->n_devices; i++) {
                const struct device *d = &offer->devices[i];

                if (is_warning(d))
                        node_push(list, warning_tree(d->id, d->reason, d->detail));
                for (size_t k = 0; k < WARNINGS_MAX && d->also[k]; k++)
                        node_push(list, warning_tree(d->id, d->also[k], ""));
        }
        return list;
}

static json_t *broken_tree(const struct inventory *inv)
{
        json_t *list = node_made(json_array());

        for (size_t i = 0; i < inv->n_broken; i++) {
                const struct broken *b = &inv->broken[i];
                json_t *o = node_made(json_object());

                node_put(o, "name", node_text(b->name));
                node_put(o, "reason", node_reason(b->reason, b->detail));
                node_push(list, o);
        }
        return list;
}

static json_t *inventory_tree(const struct inventory *inv, const struct offer *offer)
{
        json_t *root = node_made(json_object()), *devices = node_made(json_array()), *pools = node_made(json_array());

        for (size_t i = 0; i < offer->n_devices; i++)
                node_push(devices, device_tree(inv, &offer->devices[i]));
        for (size_t i = 0; i < offer->n_pools; i++)
                node_push(pools, pool_tree(offer, &offer->pools[i]));
        node_put(root, "host", host_tree(inv));
        node_put(root, "devices", devices);
        node_put(root, "pools", pools);
        node_put(root, "broken", broken_tree(inv));
        node_put(root, "warnings", warnings_tree(inv, offer));
        return root;
}

/* ---- tables ---- */

enum cell { MODEL, BDF, DRIVER, GROUP, NUMA, RESOURCE, STATE, REASON, ID, KIND, IDS, CARD, BIND, DETAIL, N_CELLS };

static const struct column titles[N_CELLS] = {
        [MODEL] = { "MODEL", false }, [BDF] = { "BDF", false },           [DRIVER] = { "DRIVER", false },
        [GROUP] = { "GROUP", true },  [NUMA] = { "NUMA", true },          [RESOURCE] = { "RESOURCE", false },
        [STATE] = { "STATE", false }, [REASON] = { "REASON", false },     [ID] = { "ID", false },
        [KIND] = { "KIND", false },   [IDS] = { "VENDOR:DEVICE", false }, [CARD] = { "CARD", false },
        [BIND] = { "BIND", false },   [DETAIL] = { "DETAIL", false },
};
static const enum cell narrow[] = { MODEL, BDF, DRIVER, GROUP, NUMA, RESOURCE, STATE, REASON };
static const enum cell wide[] = { ID, KIND, MODEL, BDF, CARD, IDS, DRIVER, GROUP, NUMA, BIND, RESOURCE, STATE, REASON, DETAIL };

struct view {
        struct text_table *table;
        const enum cell *cells;
        size_t n_cells;
        bool used[REASON_MAX]; /* words that the legend explains */
};

/* The table's line from the text of every cell that there is; NULL = '-'. */
static int add_line(struct view *view, const char *const texts[static N_CELLS], struct err *err)
{
        const char *line[N_CELLS];

        for (size_t i = 0; i < view->n_cells; i++)
                line[i] = texts[view->cells[i]];
        return text_table_add(view->table, line, err);
}

/* The narrow table has one column for the reason: the word, and the case where it says more. */
static void reason_cell(const struct view *view, enum reason reason, const char *detail, char *out, size_t size)
{
        if (view->cells == narrow && *detail)
                str_format(out, size, "%s: %s", reason_word(reason), detail);
        else
                str_format(out, size, "%s", reason_word(reason));
}

/* Further warnings, behind the first. */
static void also_cell(struct view *view, const struct device *d, char *out, size_t size)
{
        for (size_t i = 0; i < WARNINGS_MAX && d->also[i]; i++) {
                size_t n = strlen(out);

                str_format(out + n, size - n, ", %s", reason_word(d->also[i]));
                view->used[d->also[i]] = true;
        }
}

static void number_cell(char *out, size_t size, int number)
{
        out[0] = '\0';
        if (number >= 0)
                str_format(out, size, "%d", number);
}

static int add_device(struct view *view, const struct device *d, struct err *err)
{
        char bdf[BDF_TEXT_MAX], card[BDF_TEXT_MAX], group[16], numa[16], ids[16], reason[DETAIL_MAX + 256];

        number_cell(group, sizeof(group), d->group);
        number_cell(numa, sizeof(numa), d->numa_node);
        str_format(ids, sizeof(ids), "%04x:%04x", d->vendor, d->device_id);
        reason_cell(view, d->reason, d->detail, reason, sizeof(reason));
        also_cell(view, d, reason, sizeof(reason));
        view->used[d->reason] = true;

        const char *const texts[N_CELLS] = {
                [MODEL] = d->model,
                [BDF] = bdf_format(d->bdf, bdf),
                [DRIVER] = d->driver,
                [GROUP] = group,
                [NUMA] = numa,
                [RESOURCE] = d->resource,
                [STATE] = device_state_name(d->state),
                [REASON] = reason,
                [ID] = d->id,
                [KIND] = device_kind_name(d->kind),
                [IDS] = ids,
                [CARD] = bdf_format(d->card, card),
                [BIND] = bind_policy_name(d->bind),
                [DETAIL] = d->detail,
        };
        return add_line(view, texts, err);
}

static int add_broken(struct view *view, const struct broken *b, struct err *err)
{
        char reason[DETAIL_MAX + 64];

        reason_cell(view, b->reason, b->detail, reason, sizeof(reason));
        view->used[b->reason] = true;

        const char *const texts[N_CELLS] = {
                [BDF] = b->name, [ID] = b->name, [STATE] = device_state_name(DEVICE_WITHHELD), [REASON] = reason, [DETAIL] = b->detail,
        };
        return add_line(view, texts, err);
}

static void explain(enum reason reason, struct strbuf *out)
{
        strbuf_addf(out, "  %s: %s\n      %s\n", reason_word(reason), reason_sentence(reason), reason_remedy(reason));
}

static void add_legend(const struct view *view, const struct inventory *inv, struct strbuf *out)
{
        enum reason host[HOST_WARNINGS_MAX];
        bool any = false;

        for (enum reason r = REASON_NONE + 1; r < REASON_MAX; r++) {
                if (!view->used[r])
                        continue;
                strbuf_add(out, any ? "" : "\nReasons, and what to do:\n");
                explain(r, out);
                any = true;
        }
        size_t n = host_warnings(inv, host);
        strbuf_add(out, n > 0 ? "\nThis host:\n" : "");
        for (size_t i = 0; i < n; i++)
                explain(host[i], out);
}

static int fill_view(struct view *view, const struct inventory *inv, const struct offer *offer, struct err *err)
{
        for (size_t i = 0; i < offer->n_devices; i++) {
                int r = add_device(view, &offer->devices[i], err);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < inv->n_broken; i++) {
                int r = add_broken(view, &inv->broken[i], err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int inventory_table(const struct inventory *inv, const struct offer *offer, bool is_wide, struct strbuf *out, struct err *err)
{
        struct view view = { .cells = is_wide ? wide : narrow, .n_cells = is_wide ? N_ELEMENTS(wide) : N_ELEMENTS(narrow) };
        _cleanup_text_table_ struct text_table *table = NULL;
        _cleanup_strbuf_ struct strbuf text = { 0 };
        struct column columns[N_CELLS];

        for (size_t i = 0; i < view.n_cells; i++)
                columns[i] = titles[view.cells[i]];
        int r = text_table_new(&table, columns, view.n_cells, err);
        if (r < 0)
                return r;
        view.table = table;
        r = fill_view(&view, inv, offer, err);
        if (r < 0)
                return r;
        if (offer->n_devices + inv->n_broken == 0)
                strbuf_add(&text, "No GPU on this host.\n");
        else if ((r = text_table_print(table, &text, err)) < 0)
                return r;
        add_legend(&view, inv, &text);
        strbuf_add_n(out, text.text, text.len);
        return 0;
}

int present_inventory(const struct inventory *inv, const struct offer *offer, enum present_format format, struct strbuf *out,
                      struct err *err)
{
        if (format == PRESENT_TABLE || format == PRESENT_WIDE)
                return inventory_table(inv, offer, format == PRESENT_WIDE, out, err);
        _cleanup_json_ json_t *tree = inventory_tree(inv, offer);
        return tree_text(tree, format, out, err);
}
